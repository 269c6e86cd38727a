/* engine/call.h - one call that waits.
 *
 * A Call is owned by the stack of the call that waits.  It is the done
 * callback of the future that the call waits for, and stands in the ready
 * queue when that is done.  There a driver usually finds the Call
 * (engine/drive.c); if a loop that runs by itself calls it, engine/wake.c says
 * what happens. */
#ifndef TWR_CALL_H
#define TWR_CALL_H

#include "base/clock.h"
#include "engine/driven.h"

struct Call {
    PyObject_HEAD
    Driven *driven;          /* the loop that it waits in; NULL: not yet */
    PyObject *callee;        /* the tworoutine that was called, or NULL */
    PyObject *greenlet;      /* who waits */
    PyObject *step_greenlet; /* the greenlet whose step it is part of */
    PyObject *task; /* whose step it is; of a carrier, the task it carries */
    PyObject *awaited;  /* the future waited for; NULL after a bare yield */
    PyObject *error;    /* to raise in the call when it goes on */
    PyObject *thrown;   /* to raise when the task, cancelled for it, is done */
    PyObject *handle;   /* of a carrier: a handle of its task, to run */
    PyObject *frame;    /* that made it, where others serve it; or NULL */
    Call *older;        /* the next one in driven->parked; borrowed */
    Call **link;        /* what points to this one there */
    PyObject *iterator; /* what it steps, while that waits; borrowed */
    uint32_t since;     /* twr_clock_ms() when it began to wait; or 0 */
    bool carries;       /* it carries its own task: backends/carry.c */
    bool woken;         /* its turn has come before it was parked */
    bool parked;        /* it is in driven->parked */
    bool interrupted;   /* Ctrl-C, or the like, has cancelled the task */
    bool ending;        /* so has the loop, which is to stop */
};

extern PyType_Spec twr_call_spec;

/* What a call asks of those above. */
typedef struct {
    /* A loop that runs by itself calls call back.  Switches. */
    PyObject *(*wake)(Thread *th, Call *call);
} TwrCallJobs;
extern const TwrCallJobs twr_call_jobs; /* in hooks.c */

/* A call of callee in a step of task, both of which may be NULL. */
Call *twr_call_new(TwrState *state, PyObject *task, PyObject *callee);

/* Put call in front of driven->parked of its own loop.  Quiet. */
void twr_call_link(Call *call);

/* Take call out of driven->parked.  Quiet. */
void twr_call_unlink(Call *call);

/* Note that a call of callee waits for what, in this greenlet, in a way that
 * is not ours.  Returns what twr_call_return() takes; NULL without error:
 * there was no memory to note it. */
Call *twr_call_leave(Thread *th, PyObject *callee, PyObject *what);

/* Note that call is under way, if no loop knows of that yet.  Quiet. */
void twr_call_note(Thread *th, Call *call);

/* Undo twr_call_note().  Quiet. */
void twr_call_unnote(Call *call);

/* The call that was noted (stolen, may be NULL) is over.  Keeps a pending
 * exception. */
void twr_call_return(Call *call);

/* The record of the thread is dropped: forget what was noted there.  Quiet. */
void twr_call_forget(Thread *th);

/* The call that is parked uppermost in the step of which call is part; or
 * call. Borrowed.  Quiet. */
Call *twr_call_uppermost(Driven *driven, Call *call);

/* CannotSuspend in a child that was forked while the call ran. */
int twr_call_check_fork(Thread *th, PyObject *callee);

/* Stop listening to what call waits for.  Keeps a pending exception; a failure
 * is of no consequence then, else -1. */
int twr_call_detach(TwrState *state, Call *call);

/* The turn of call has come in the queue: whether call is to go on now.  If it
 * is only about to park, that is noted. */
bool twr_call_take_turn(TwrState *state, Call *call);

/* Ask the future that call waits for how it ended.  To be done before call
 * goes on: what the code of the call is handling would become the context of
 * the future's exception. */
void twr_call_collect(TwrState *state, Call *call);

/* The greenlet to switch to so that call goes on. */
PyObject *twr_call_resume(Thread *th, Call *call);

/* The greenlet to switch to so that call raises the pending exception; NULL
 * without error: it has gone on meanwhile. */
PyObject *twr_call_fail(Thread *th, Call *call);

/* The loop is to stop: cancel the task of call, but only once, and not where
 * the task cleans up after a cancel. */
int twr_call_end(TwrState *state, Call *call);

/* Cancel the task of a parked call; or, if the task is done or at_once is set,
 * make the call go on with KeyboardInterrupt.  For signal handlers. */
int twr_call_interrupt(TwrState *state, Call *call, bool at_once);

#endif
