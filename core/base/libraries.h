/* base/libraries.h - which libraries that matter to calls have been imported.
 *
 * Beside some libraries calls are served in another way (TWR_LIBRARIES, in
 * base/state.h), but each call is to pay for one test only, and nobody for a
 * hook in the import system.  So sys.modules is watched, and looked at again
 * only after somebody has changed it. */
#ifndef TWR_LIBRARIES_H
#define TWR_LIBRARIES_H

#include "base/state.h"

/* Look in sys.modules for what is imported.  -1: a key there cannot be
 * compared. */
int twr_libraries_look(TwrState *state);

/* Look in sys.modules if that has changed since the last look. */
static inline int
twr_libraries_check(TwrState *state)
{
    return twr_watch_is_unchanged(&state->libraries.watch)
               ? 0
               : twr_libraries_look(state);
}

/* The LIBRARY_ flags of what is imported, after twr_libraries_check(); if that
 * fails, as of the last look. */
static inline unsigned
twr_libraries(TwrState *state)
{
    if (twr_libraries_check(state) < 0) {
        PyErr_Clear(); /* who begins a call is told */
    }
    return state->libraries.imported;
}

/* Make the names of the modules, and begin to watch sys.modules. */
int twr_libraries_init(TwrState *state);

#endif
