/* base/hard.c - the hard build: what could be rare happens each time. */
#include "base/hard.h"

#if defined(__GNUC__)
#define TWR_NOINLINE __attribute__((noinline))
#else
#define TWR_NOINLINE
#endif

enum { SPOILT = 4096 }; /* bytes, and more than any frame of ours */

/* Not inlined: the frame of this call lies where the frames of earlier calls,
 * which have returned, have been.  Quiet. */
static void TWR_NOINLINE
spoil_stack(void)
{
    volatile unsigned char rubbish[SPOILT];
    for (size_t i = 0; i < sizeof(rubbish); i++) {
        rubbish[i] = 0xDB;
    }
}

void
twr_hard_spoil(void)
{
    if (TWR_IS_HARD) {
        spoil_stack();
    }
}
