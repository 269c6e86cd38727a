/* engine/drive.h - lend the running asyncio loop to another greenlet.
 *
 * A synchronous call sits in the middle of a step of its task:
 *
 *     run_forever > _run_once > Handle._run > task step > main() > f(x)
 *
 * and what f waits for can only happen if the loop goes on.  So the call parks
 * this stack as it is (engine/park.c), and a driver, which is another stack,
 * runs the turns of the loop from there on (asyncio/run_once.c):
 *
 *     native:  run_forever > _run_once > ... > main() > f(x)  parked
 *     driver:  twr_drive > Handle._run > other task > g(x)    parked
 *     driver:  twr_drive > Handle._run > ...                  runs
 *
 * When what f waits for is done, its future queues the Call as its callback.
 * A driver that comes upon it, in the very place of the queue where the task
 * would have been woken up, switches to the parked stack and goes idle.  That
 * stack finishes its step and is, below it, a driver again: it goes on with
 * the turn where the other left it.  At most one runs; none waits for another.
 *
 * The native greenlet is the one inside run_forever.  It must not stay pinned
 * below somebody's call, or asyncio.run could not return; so when that call is
 * over, a marker in front of the queue makes the native _run_once call us
 * (engine/marker.c), and the native greenlet parks there, with nothing of the
 * user's above, until the loop stops.  Its _run_once will then still pop the
 * handles that were counted when its turn began: padding is put in front for
 * them (engine/stop.c).  Where run_until_complete of nest_asyncio takes the
 * turns in place of run_forever, the run ends with a future: driven->it.until.
 *
 * The only calls that can still pin the native greenlet are the first in the
 * life of a loop, and those that follow it in the very same step: when the
 * loop stops, the marker is left in the queue, and a later run begins with the
 * marker.  So does one of a loop that we ran ourselves (backends/run.c), or of
 * IPython's prompt.  If the loop stops while such a call waits, the call is
 * cancelled, with a warning.
 *
 * A parked call leaves its task (asyncio knows one current task a loop) and
 * its contexts, and makes its task look suspended (asyncio/task.c), so that it
 * can be cancelled.  A caller without a task, such as a plain callback,
 * carries one (backends/carry.c): a task is made, and its steps, when a
 * driver comes upon them, are run on the caller's stack. */
#ifndef TWR_DRIVE_H
#define TWR_DRIVE_H

#include "engine/call.h"

/* Drive th->drives.now until another greenlet has to run, which is returned.
 * Switches. */
PyObject *twr_drive(Thread *th);

#endif
