/* asyncio/facts.h - whether this Python's asyncio is the one that we know.
 *
 * Each file of asyncio/ relies on names that asyncio keeps private, and has a
 * table of these, which is gone through once, at import:
 *
 *     names of attributes   in the code of the methods that use them, or
 *                           among the attributes of the class that has them
 *     local variables       in the code of the method
 *
 * If a name is missing, state->loop.why_not says which: then no loop is ever
 * driven, and a call in one raises CannotSuspend, for that reason.  What comes
 * and goes with versions of Python, or with other libraries, is not in the
 * tables: that is asked for where it is used. */
#ifndef TWR_FACTS_H
#define TWR_FACTS_H

#include "base/state.h"

/* Names, with blanks between them, that are to be found in one place. */
typedef struct {
    const char *owner; /* a class or module of asyncio; NULL: end of a table */
    const char *method; /* of owner; NULL: owner itself */
    const char *names;  /* of attributes: that method uses, or owner has */
    const char *locals; /* of the local variables of method; NULL: none */
} TwrFact;

/* Fill in state->loop; its why_not, if loops cannot be driven. */
int twr_facts_init(TwrState *state);

/* Look for all names of a table.  If one is missing, and no reason is known
 * yet, state->loop.why_not becomes one. */
int twr_facts_require(TwrState *state, const TwrFact *facts);

/* owner.<name>.__code__ */
PyObject *twr_facts_code_of(PyObject *owner, const char *name);

/* Set *code to owner.<name>.__code__; on failure it stays what it was. */
int twr_facts_keep_code(PyObject *owner, const char *name, PyObject **code);

/* Whether code is that of a handle's _run(), below which runs whatever was
 * queued.  Quiet. */
static inline bool
twr_facts_runs_handle(const TwrState *state, const PyObject *code)
{
    PyObject *codes = state->loop.handle_run_codes;
    bool found = false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(codes); i++) {
        found = found || PyList_GET_ITEM(codes, i) == code;
    }
    return found;
}

/* Names of attributes by which asyncio and inspect take a function for one
 * that makes coroutines; NULL at the end. */
extern const char *const twr_facts_coroutine_marks[];

#endif
