/* base/libraries.h - which libraries that matter to calls have been imported.
 *
 * Who imports none of them pays for one test a call: sys.modules is looked at
 * again only after it has changed. */
#ifndef TWR_LIBRARIES_H
#define TWR_LIBRARIES_H

#include "base/state.h"

/* The sum of the LIBRARY_ flags of those that have been imported. */
unsigned twr_libraries_look(TwrState *state);

/* The same, as it was found last if sys.modules has not changed. */
static inline unsigned
twr_libraries(TwrState *state)
{
    return twr_dict_is_unchanged(&state->libraries.watch)
               ? state->libraries.imported
               : twr_libraries_look(state);
}

/* Make the names. */
int twr_libraries_init(TwrState *state);

#endif
