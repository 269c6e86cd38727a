/* explain.h - whose the two loops are, where a call has met another one. */
#ifndef TWR_EXPLAIN_H
#define TWR_EXPLAIN_H

#include "backends/backend.h"

/* A call has failed, with the pending exception: if it has waited for what
 * belongs to another loop, a note says whose the two are, and what to write.
 * asyncio raises a RuntimeError; or the wait was in vain, until some time
 * limit. */
void twr_explain(const TwrPlace *place);

#endif
