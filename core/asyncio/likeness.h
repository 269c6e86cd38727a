/* asyncio/likeness.h - what a driver's footing is to look like.
 *
 * That of a running loop looks like the frames of its native greenlet, from
 * _run_once down to the program.  It is made when a loop comes to be driven,
 * and serves until one is that has another native greenlet.
 *
 * The loop that calls run by themselves has none: its footing looks like a
 * run_until_complete at the bottom of the thread, and is always the same.
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
