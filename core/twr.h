/* twr.h - the map of the core.
 *
 * f(x) is `await (~f)(x)`: a synchronous call that waits.  Whatever it waits
 * for can only happen if the event loop goes on; so the call suspends only its
 * own execution context, a C stack, and the loop goes on from another one.
 *
 * The house has floors.  A file knows only what stands below it; the order of
 * all files is in floors.txt, bottom first, and the tests enforce it.  What
 * has to go up goes through a table of functions declared below (hooks.c fills
 * them).  Here the top comes first; a star stands for several files.
 *
 *     module api hooks        the module; what tworoutine/_*.py call; hooks
 *     face/                   what users hold
 *         dual_type special   duals of others' objects: attributes | `with`, +
 *         tworoutine          the decorator type
 *         methods attrs       what it shows of its function
 *         call                a tworoutine, and what calling one does
 *         serve dual          what it does with what its function returned |
 *                             what passes through a dual
 *         manager generator   async context managers | generators
 *         wrapper object      both of these | the layout of a tworoutine
 *     look end                the calls that wait, for who looks at them | a
 *                             thread ends
 *     await explain           find who serves a call; refuse one while our
 *                             greenlets end | which loops are whose
 *     backends/               ways to wait: one table (await.c), asked in turn
 *         home                calls that run in another thread's loop
 *         others              greenback, trio, gevent, Twisted, SQLAlchemy
 *                             (with tworoutine/_hosts.py, _gevent.py)
 *         run own_loop        no loop runs: run one | which one
 *         callback            in a callback of the running loop: no task runs
 *         carry carry_step    for both: the call carries a task | steps it
 *         task                in a task of the running loop
 *         drivable            may calls wait in the running loop, or why not
 *         adopt               tasks made past a task factory get portals
 *         portal*             is it below a portal? As under uvloop, trio
 *         backend             what a way to wait is
 *     engine/                 park a call, drive the loop, let the call go on
 *         drive stop          the loop over handles | a loop is to stop, or a
 *                             handle has failed
 *         in_place            a bare yield goes on without leaving its stack
 *         greenback           greenback's portals, beside our drivers
 *         wake                a parked call is called back, and not found by a
 *                             driver
 *         park                a call leaves its stack, and comes back to it
 *         marker              what has the native greenlet idle in its turn
 *         closed              calls whose loop has been closed
 *         interrupt           Ctrl-C: whom it is for (with _prompts.py)
 *         call                one call that waits
 *         driven drives       a loop that we drive: the machine | all of them
 *         input_hook          what goes on while somebody types
 *         sigint              ours in place of Python's handler, while calls
 *                             wait or a call runs a loop
 *         thread              what belongs to a thread of the system
 *     coro/                   coroutines, from outside
 *         awaiting*           a coroutine for what is none
 *         awaitable step      what can be waited for; one step of it
 *     asyncio/                all that asyncio keeps private; in C, only here
 *         debug               slow callbacks
 *         handle task future  a handle run | a task asked, cancelled | listen
 *         task_current        the current task of a loop
 *         task_fields         what a task keeps private
 *         running loop        what run_forever does around it | may we drive
 *                             it; what we queue there
 *         run_once timers     one turn, cut into handles | its timers, those
 *                             cancelled, too
 *         quick*              the same, where nobody has replaced a part
 *         iteration           where a turn stands
 *         likeness            what a driver's frames are to look like
 *         frames facts        what frames tell | is asyncio what we know
 *     stack/                  C stacks and what goes with them
 *         pool switch stacks  hub, drivers, workers | who switches | what
 *                             both files are about
 *         footing data_stack  the frames on which a driver stands | where
 *                             they lie
 *         context             contextvars contexts, left and entered
 *         walk                frames below
 *         greenlet            the only door to greenlet
 *     base/
 *         error libraries     refusals | which libraries have been imported
 *         state clock         names, types | a clock: since when calls wait
 *         direct facts        C functions, called past their type | what has
 *                             been found out at import
 *         watch               whether a dictionary has changed
 *         list hard compat    lists of calls, threads | make hard | versions
 *
 * A new library that runs its own loop: TWR_LIBRARIES in base/state.h, a
 * backend in backends/others.c, its place in the table of await.c, and what is
 * rare about it in tworoutine/_hosts.py.
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
 *     hub       the greenlet in which drivers and workers begin
 *     token     whom a switch is meant for: other libraries switch, too
 *     cold      of what happens once in a thousand calls: tworoutine/_cold.py
 *     to close  to end a coroutine, a loop or an iterator by its close()
 *     to end    a call, or a thread: to have it raise, clean up and return
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
 *
 * What bears neither word may call Python, as a method of a future that is of
 * a user's class; and whatever Python is called may make calls, which park. So
 * after that, too, an object may have gone that only its stack owned: hold a
 * reference, and look whether a Call is still parked.
 */
#ifndef TWR_H
#define TWR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compat.h"

#endif
