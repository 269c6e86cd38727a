/* handoff.h - what loan.c, call.c, handoff.c and host.c share. */
#ifndef TWR_HANDOFF_H
#define TWR_HANDOFF_H

#include "twr.h"

/* --- loan.c */

/* The loop of loan is ours to drive; its owner stands at place, inside a
 * _run_once that will still pop so many handles. */
void twr_loan_begin(Thread *th, Loan *loan, PyObject *owner, OwnerPlace place,
                    Py_ssize_t pops);

/* We drive it no more. */
void twr_loan_drop(Thread *th, Loan *loan);

/* call, which is about to wait, pins the owner of its loop; it waits no more.
 */
int twr_loan_pin(Loan *loan, Call *call);
int twr_loan_unpin(Loan *loan);

/* --- call.c */

Call *twr_call_new(TwrState *state, PyObject *task, PyObject *subject);

/* Make sure that we drive loop, of which call is about to wait. */
int twr_call_take_over(Thread *th, PyObject *loop, Call *call);

/* CannotSuspend in a child that was forked while the call ran. */
int twr_call_check_fork(Thread *th, PyObject *subject);

/* In such a child, a step of task has ended: -1 if by SystemExit or the like,
 * which is raised. */
int twr_call_ended_child(TwrState *state, PyObject *task);

/* Park the calling greenlet until call is resumed.  Switches. */
int twr_call_park(Thread *th, Call *call);

/* call has failed before it waited: it pins the owner no more. */
void twr_call_give_up(Call *call);

/* Stop listening to what call waits for. */
int twr_call_detach(TwrState *state, Call *call);

/* Whether call, whose turn has come in the queue, is to go on. */
bool twr_call_due(TwrState *state, Call *call);

/* Ask the future that call waits for how it ended. */
void twr_call_collect(TwrState *state, Call *call);

/* The greenlet to switch to so that call goes on; the same, raising the
 * pending exception in it: NULL without error if it has gone on meanwhile. */
PyObject *twr_call_resume(Thread *th, Call *call);
PyObject *twr_call_fail(Thread *th, Call *call);

/* The loop is to stop: cancel the task of call, but only once. */
int twr_call_end(TwrState *state, Call *call);

/* task.cancel(): 1 if the task took it, 0 if it is already done. */
int twr_call_cancel_task(TwrState *state, PyObject *task);

/* future.done() */
bool twr_call_future_done(TwrState *state, PyObject *future);

/* --- host.c */

/* Cancel the task that call hosts, which raises the pending exception (then
 * taken) when that is done.  False if it has been cancelled so before, or is
 * done. */
bool twr_host_throw(Thread *th, Call *call);

/* --- handoff.c */

/* CannotSuspend: a greenlet of somebody else, in which a step has come to
 * stand, would have to be parked together with the one that waits for it. */
int twr_handoff_refuse_greenlet(TwrState *state, PyObject *subject);

/* The same: somebody calls _run_once in place of run_forever, and would not
 * get control back before the loop stops. */
int twr_handoff_refuse_turner(TwrState *state, PyObject *subject);

#endif
