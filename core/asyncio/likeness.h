/* asyncio/likeness.h - what a driver's footing is to look like.
 *
 * For a loop that runs by itself: like the frames of its native greenlet, from
 * _run_once down to the program.  That footing is made when the loop comes to
 * be driven, and serves until a loop is driven that has another native
 * greenlet.
 *
 * For the loop of calls, which has no native greenlet: like a
 * run_until_complete at the bottom of the thread.  That footing is made once.
 *
 *     running loop   <module> > ... > run_forever > _run_once | driver
 *     loop of calls  <module> > run_until_complete > run_forever > _run_once |
 *
 * Workers (of portals) stand on what is at the bottom of the thread, whatever
 * loop steps them. */
#ifndef TWR_LIKENESS_H
#define TWR_LIKENESS_H

#include "stack/stacks.h"

/* Have drivers stand on what looks like the loop below the running code, of
 * which a step runs, and what is below that.  Without memory they stand as
 * before. */
void twr_likeness_of_native(TwrStacks *st);

/* Have drivers stand on what looks like a run of the loop of calls, at the
 * bottom of the program (is_main) or of another thread. */
void twr_likeness_of_run(TwrStacks *st, bool is_main);

#endif
