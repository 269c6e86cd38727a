/* base/libraries.h - which libraries that matter to calls have been imported.
 *
 * Who imports none of them pays for one test a call: sys.modules is looked at
 * again only after it has changed. */
#ifndef TWR_LIBRARIES_H
#define TWR_LIBRARIES_H

#include "base/state.h"

/* Look at sys.modules.  -1: a key there cannot be compared. */
int twr_libraries_look(TwrState *state);

/* The same, unless nothing has changed since it was looked at. */
static inline int
twr_libraries_check(TwrState *state)
{
    return twr_dict_is_unchanged(&state->libraries.watch)
               ? 0
               : twr_libraries_look(state);
}

/* The LIBRARY_ flags of those that have been imported, as of the last look. */
static inline unsigned
twr_libraries(TwrState *state)
{
    if (twr_libraries_check(state) < 0) {
        PyErr_Clear(); /* who begins a call is told */
    }
    return state->libraries.imported;
}

/* Make the names. */
int twr_libraries_init(TwrState *state);

#endif
