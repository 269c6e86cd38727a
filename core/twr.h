/* twr.h - the map of the core.
 *
 * f(x) is `await (~f)(x)`: a synchronous call that waits.  Whatever it waits
 * for can only happen if the event loop goes on; so the call suspends only its
 * own execution context, a C stack, and the loop goes on from another one.
 *
 * The house has floors.  A file knows only what stands below it, in the order
 * of floors.txt, which the tests enforce; what has to go up goes through a
 * table of functions declared below (hooks.c fills them).
 *
 *     module.c api.c hooks.c  the module; what tworoutine/_*.py call
 *     face/                   what users hold
 *         call                a tworoutine, and what calling one does
 *         tworoutine          the decorator type
 *         attrs methods       what it shows of its function
 *         wrapper generator manager
 *                             async generators and context managers
 *     await  end              find who serves a call | a thread ends
 *     backends/               ways to wait: one table, asked in turn
 *         portal*             below a portal: under uvloop, trio, curio
 *         others              greenback, gevent, Twisted, SQLAlchemy
 *         own_loop run        no loop runs: which one to run; run it
 *         drivable            may calls wait in the running loop, or why not
 *         task                in a task of the running loop
 *         callback            in no task of it: the call carries one
 *     engine/                 park a call, drive the loop, let the call go on
 *         thread              what belongs to a thread of the system
 *         drives driven       loops that we drive; one of them: the state
 * machine call park wake      a call; how it parks; how it is called back
 *         drive stop marker   the loop over handles; its end; the queue's end
 *         interrupt sigint    Ctrl-C: whom it is for; our handler in place
 *         closed              calls whose loop has been closed
 *         greenback           greenback's portals, beside our drivers
 *     coro/                   coroutines, from outside
 *         awaitable step      what can be waited for; one step of it
 *         awaiting*           a coroutine for what is none
 *     asyncio/                all that asyncio keeps private, and only here
 *         facts frames        is it what we know; what frames tell
 *         loop running        a loop's queue; what run_forever does around it
 *         run_once timers iteration
 *                             one turn, cut into handles; its timers
 *         task_fields task future handle
 *         debug               slow callbacks
 *         likeness            what a driver's frames are to look like
 *     stack/                  C stacks and what goes with them
 *         greenlet            the only door to greenlet
 *         switch pool         the token; hub, drivers, workers (stacks.h)
 *         walk footing        frames below; what a driver stands on
 *         context             contextvars contexts, left and entered
 *     base/
 *         state error compat  names, types, facts; refusals; Python versions
 *
 * The way of one call that waits, from f(x) to the switch and back:
 *
 *     face/call.c         f(x): call the function, hand on its coroutine
 *     await.c             find the backend; step the coroutine in place
 *     backends/task.c     it has yielded: listen to that, leave the task
 *     engine/park.c       leave the contexts, pin the native greenlet, park
 *     stack/pool.c        a driver that idles, or a new one ...
 *     stack/switch.c      ... is switched to
 *     engine/drive.c      handle after handle, until one of them is a Call
 *     asyncio/run_once.c  (which handle is next)
 *     stack/switch.c      back to the stack that was left
 *     engine/park.c       enter the contexts, unpin
 *     backends/task.c     enter the task; the result, or an error
 *     await.c             send it into the coroutine
 *
 * Words.
 *
 *     call      one synchronous call that waits, or may; its struct is Call
 *     callee    the tworoutine that was called; NULL stands for await_()
 *     to park   to leave a stack in the middle of a step, and go elsewhere
 *     driver    a greenlet of ours that runs a loop's turns
 *     native greenlet
 *               the one inside the loop's own run_forever()
 *     pinned    the native greenlet is below a call that waits
 *     active    the greenlet in which the step of the loop runs
 *     carrier   a call that made a task, whose steps run on the call's stack
 *     portal    a coroutine around another one, stepped on a worker
 *     hub       the greenlet that starts drivers and workers
 *     cold      of what happens once in a thousand calls: tworoutine/_cold.py
 *     to close  to end a coroutine, a loop or an iterator by its close()
 *
 * Contracts.  Everywhere: arguments are borrowed, returned objects are new,
 * failure is NULL or -1 with an exception set; only deviations are written
 * down.  Two words have a meaning of their own, and the tests compare them
 * with the code:
 *
 *     Switches.  Other code runs on this thread meanwhile.  Across it, hold no
 *                lock, no borrowed reference and no address of a local that
 *                others know, and read every field again.
 *     Quiet.     Runs nobody's code: no Python, no destructor, no switch.
 */
#ifndef TWR_H
#define TWR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compat.h"

#endif
