/* asyncio/quick_facts.h - which types are asyncio's own, and their slots. */
#ifndef TWR_QUICK_FACTS_H
#define TWR_QUICK_FACTS_H

#include "base/state.h"

/* Learn which types are asyncio's own; what is not as expected switches the
 * quick way off. */
int twr_quick_init(TwrState *state);

#endif
