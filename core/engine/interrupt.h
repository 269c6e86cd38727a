/* engine/interrupt.h - Ctrl-C while calls wait: whom it is for.
 *
 * Our handler of SIGINT cancels the call in the foreground, as asyncio.Runner
 * does its main task: when what was called has ended, the call raises
 * KeyboardInterrupt.
 *
 *     no loop was running     the call that runs the loop is the one; before
 *                             its task's first step and after its last, the
 *                             signal is kept for the call to raise
 *     a loop was running      the one that somebody at a keyboard waits for:
 *                             1. code of a notebook cell
 *                             2. what handles another message of the notebook
 *                             3. code at the top level, as at a prompt; or
 *                                the task that run_until_complete waits for
 *                             the latest, if there are more of a kind
 *     calls of a closed loop  who runs now, when those have ended (closed.c)
 *     are being ended
 *     none of these           KeyboardInterrupt, in the code that runs now
 *     asked a second time     the call raises KeyboardInterrupt, at once
 *     asked a third time      KeyboardInterrupt, in the code that runs now:
 *                             that does not let the loop come round
 *
 * That is told by the frames below a call, down to the loop's (_prompts.py
 * looks at them, when the signal has come).  It cannot be told by the order of
 * calls: a background task may have made the first and the latest.  Nor by the
 * handler: ipykernel puts Python's own one in place while it handles a message
 * and at no other time, but python -m asyncio leaves it there.  If the code
 * that runs now is as much in the foreground as any call, it is interrupted.
 *
 * asyncio.run sets a handler of its own, which cancels its main task, and so
 * does ipykernel while a cell awaits; they are left alone. */
#ifndef TWR_INTERRUPT_H
#define TWR_INTERRUPT_H

#include "engine/call.h"

/* The signal handler, a function of the module. */
extern PyMethodDef twr_interrupt_def;

/* *call is set to the call that Ctrl-C is for; NULL: the code that runs now,
 * in frame (or None). */
int twr_interrupt_foreground(Thread *th, PyObject *frame, Call **call);

/* A call begins, of whose error twr_interrupt_ends() is going to be asked. */
void twr_interrupt_begin(Thread *th);

/* Whether exc, the error of the call for which twr_interrupt_begin() was
 * called, has come of a signal or is to end the program. */
bool twr_interrupt_ends(Thread *th, PyObject *exc);

/* Have exc (stolen) raised in the code that runs next in the main thread. */
void twr_interrupt_raise_soon(PyObject *exc);

/* If Ctrl-C was kept, and need not be any longer, interrupt the call that runs
 * the loop, or raise KeyboardInterrupt if there is none. */
int twr_interrupt_deliver(Thread *th);

/* Keep Ctrl-C until it can be delivered. */
void twr_interrupt_keep(Thread *th);

/* Whether Ctrl-C was kept; it is no longer. */
bool twr_interrupt_take_kept(Thread *th);

/* Cancel the task that call carries; when that is done, call raises the
 * pending exception, which is taken.  False: the task is done, or was
 * cancelled so before, and the exception stays. */
bool twr_interrupt_carrier_with(Thread *th, Call *call);

/* What the interrupted call of task is to return, now that what it called has
 * ended with result (stolen; or NULL and an exception).  thrown: what a signal
 * handler has raised; NULL: KeyboardInterrupt. */
PyObject *twr_interrupt_result(Thread *th, PyObject *task, PyObject *thrown,
                               PyObject *result);

/* The call of task is over: Ctrl-C is no longer a second one for it. */
void twr_interrupt_forget(Thread *th, PyObject *task);

#endif
