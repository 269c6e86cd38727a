/* end.h - a thread ends, or its loop: what is left in it.
 *
 * The loop that was kept for calls is closed as asyncio.Runner closes one;
 * calls that can never go on are ended; hub, drivers and workers go.  It
 * happens as the thread's record goes, at exit, and when it is asked for. */
#ifndef TWR_END_H
#define TWR_END_H

#include "engine/thread.h"

extern PyType_Spec twr_thread_spec;

/* Close this thread's own loop and end its greenlets; inside a call, or with a
 * loop running, leave all as it is.  More calls may follow.  Switches. */
int twr_end_thread(void);

#endif
