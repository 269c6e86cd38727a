/* engine/sigint.h - our handler of SIGINT, while calls wait or run a loop.
 *
 * Python's handler raises KeyboardInterrupt in whatever code happens to run.
 * While calls wait or run a loop, and only if Python's handler is in place,
 * ours takes its place (engine/interrupt.c has it). */
#ifndef TWR_SIGINT_H
#define TWR_SIGINT_H

#include "engine/thread.h"

/* Set our handler, if Python's is in place and this is the main thread. */
int twr_sigint_set(Thread *th);

/* Put Python's handler back, if ours is in place.  Keeps a pending
 * exception; -1: it has failed. */
int twr_sigint_restore(Thread *th);

#endif
