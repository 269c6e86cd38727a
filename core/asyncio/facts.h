/* asyncio/facts.h - whether this Python's asyncio is the one that we know.
 *
 * Each file of asyncio/ relies on names that asyncio keeps private; and each
 * has its names looked for once, at import: in the code of the functions that
 * are to use them, or among the attributes of the types that are to have them.
 * If one is missing, no loop is ever driven, and calls say which. */
#ifndef TWR_FACTS_H
#define TWR_FACTS_H

#include "base/state.h"

/* Fill in state->loop; its why_not, if loops cannot be driven. */
int twr_facts_init(TwrState *state);

/* A place where names are to be found: what is looked at, and where. */
typedef struct {
    const char *owner;    /* a class of asyncio, as it is written there */
    const char *function; /* its method of that name; NULL: the class itself */
    const char *attribute; /* of the method's code, "co_names" perhaps */
} TwrFactsPlace;

/* 0 if all names (NULL at the end) are found in place; if one is not, and no
 * reason is known yet, state->loop.why_not becomes one.  -1: error. */
int twr_facts_require(TwrState *state, TwrFactsPlace place,
                      const char *const *names);

/* type.name.__code__ */
PyObject *twr_facts_code_of(PyObject *type, const char *name);

/* Names of attributes by which asyncio and inspect take a function for one
 * that makes coroutines; NULL at the end. */
extern const char *const twr_facts_coroutine_marks[];

#endif
