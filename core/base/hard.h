/* base/hard.h - the hard build: what could be rare happens each time.
 *
 * Built with TWR_HARD, a call parks and goes on wherever it may, even if there
 * is nothing to wait for: nothing else runs meanwhile, so that the order of
 * events stays what it is, but all that a switch can spoil is put to the test.
 * And a greenlet of ours fills the free part of its stack with rubbish, before
 * each switch and after, so that no pointer to what was there still works. */
#ifndef TWR_HARD_H
#define TWR_HARD_H

#include "twr.h"

#ifdef TWR_HARD
#define TWR_IS_HARD true
#else
#define TWR_IS_HARD false
#endif

/* In the hard build, fill the stack below the caller's frame with rubbish.
 * Quiet. */
void twr_hard_spoil(void);

#endif
