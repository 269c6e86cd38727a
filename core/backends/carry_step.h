/* backends/carry_step.h - one step of a task that a call carries.
 *
 * What comes out of a step is seldom the task's: its KeyboardInterrupt or
 * SystemExit, which end the call, too.  Anything else, as what a signal
 * handler raises before the coroutine goes on or after it is suspended, is the
 * call's.  It would get lost, or the step with it, and so the task: the task
 * is cancelled, as by Ctrl-C, and the call raises the exception at its end. */
#ifndef TWR_CARRY_STEP_H
#define TWR_CARRY_STEP_H

#include "engine/call.h"

/* Run a handle (stolen) of the task that call carries, on this stack.  -1: the
 * call ends with what is pending.  Switches. */
int twr_carry_step(Thread *th, PyObject *loop, Call *call, PyObject *handle);

/* A step of the task has run (0), or failed with what is pending (-1): that of
 * handle; NULL: the first, taken as the task was made.  -1: the call ends; 0:
 * the task goes on, which after a failure has been cancelled, or has ended. */
int twr_carry_stepped(Thread *th, PyObject *loop, Call *call, PyObject *handle,
                      int ran);

/* What a signal handler has raised here, and not in the task, cancels the
 * task, as Ctrl-C does while the call waits.  Whether it has. */
bool twr_carry_interrupted(Thread *th, Call *call);

/* If the call has been ended together with its loop (engine/closed.c): what it
 * called ends before it, and not when the task is collected.  Keeps the
 * pending exception. */
void twr_carry_close(TwrState *state, Call *call);

#endif
