/* engine/driven.h - a loop that we drive, and where its native greenlet is.
 *
 * The native greenlet of a loop is the one inside its run_forever().  Where it
 * stands is a machine of which driven.c alone makes the moves.  Each asserts
 * the place from which it starts, and that all is as the new place says:
 *
 *     NONE       nobody drives the loop
 *     OURS       run.c runs it: there is no native greenlet
 *     PINNED     below a call that waits, or is about to
 *     RETURNING  its call is over, its callback is not yet
 *     IDLE       parked by us with no user frame above
 *     ENDING     closed.c ends the calls of the loop, which is closed; native
 *                is the greenlet that does, or, later, NULL: calls are left
 *                that would not go, and are not looked for again
 *
 *     NONE ------run-------> OURS
 *     OURS ----end_run-----> NONE
 *     NONE ---take_over----> PINNED
 *     PINNED ----pin-------> PINNED     another call above it, or the same
 *     PINNED ---unpin------> RETURNING
 *     RETURNING --pin------> PINNED     the callback makes another call
 *     RETURNING --idle-----> IDLE
 *     NONE ------idle------> IDLE       in a callback of a loop that runs by
 *                                       itself, or in the marker that an
 *                                       earlier run has left
 *     RETURNING --let_go---> NONE       the loop is to stop
 *     IDLE -----let_go-----> NONE
 *     RETURNING --settle---> NONE       it has stopped by itself
 *     IDLE ------wait------> NONE       there was no driver to switch to
 *     RETURNING --idle-----> NONE       it has failed
 *     NONE ----end_calls---> ENDING
 *     ENDING -calls_ended--> NONE       or it stays so, see above
 *
 * th->drives.now is the loop of every place but NONE; while calls of another
 * one are ended, and afterwards, it is what it was before. */
#ifndef TWR_DRIVEN_H
#define TWR_DRIVEN_H

#include "engine/drives.h"

/* NONE -> OURS. */
void twr_driven_run(Thread *th, Driven *driven);

/* call, or NULL, is the one that runs the loop; driven may be NULL, too. */
void twr_driven_set_main_call(Driven *driven, Call *call);

/* OURS -> NONE, leaving the marker for whoever runs the loop next.  Keeps a
 * pending exception; -1: it has failed. */
int twr_driven_end_run(Thread *th, Driven *driven);

/* NONE -> PINNED, inside a _run_once of native that will still pop so many
 * handles. */
void twr_driven_take_over(Thread *th, Driven *driven, PyObject *native,
                          Py_ssize_t left);

/* PINNED or RETURNING -> PINNED: call is about to wait above the native
 * greenlet. */
int twr_driven_pin(Driven *driven, Call *call);

/* PINNED -> RETURNING: call waits no more.  Keeps a pending exception; -1: it
 * has failed. */
int twr_driven_unpin(Driven *driven);

/* NONE or RETURNING -> IDLE, in the running greenlet, inside a _run_once that
 * will still pop so many handles; -1: NONE, what is pending is to be raised
 * from run_forever. */
int twr_driven_idle(Thread *th, Driven *driven, Py_ssize_t left);

/* IDLE: let greenlet (stolen; NULL: a driver) go on, until the loop stops;
 * raises what is to be raised from run_forever.  Switches. */
int twr_driven_wait(Thread *th, Driven *driven, PyObject *greenlet);

/* RETURNING or IDLE -> NONE: the loop is to go on by itself, to its stop.  The
 * native greenlet. */
PyObject *twr_driven_let_go(Thread *th, Driven *driven);

/* The loop wants to stop, and goes on until its native greenlet, which is
 * pinned, idles. */
int twr_driven_stop_later(Driven *driven);

/* No handle runs while polling: calls are refused.  Quiet. */
void twr_driven_set_polling(Driven *driven, bool polling);

/* exc (stolen) is to be raised from run_forever; NULL: nothing is. */
void twr_driven_set_error(Driven *driven, PyObject *exc);

/* NONE -> ENDING: me is the greenlet that ends the calls in it. */
void twr_driven_end_calls(Thread *th, Driven *driven, PyObject *me);

/* ENDING -> NONE, with before (or NULL) being driven as it was; stays: calls
 * are left that will not go, and are not looked for again. */
void twr_driven_calls_ended(Thread *th, Driven *driven, Driven *before,
                            bool stays);

/* RETURNING -> NONE: the loop that we drove has stopped by itself. */
int twr_driven_stopped(Thread *th);

/* RETURNING -> NONE, if the loop that we drove has stopped by itself: another
 * one runs now, or NULL, none. */
static inline int
twr_driven_settle(Thread *th, PyObject *running)
{
    const Driven *driven = th->drives.now;
    return driven == NULL || driven->place != PLACE_RETURNING ||
                   driven->it.loop == running
               ? 0
               : twr_driven_stopped(th);
}

/* Hard build: call is parked only to go on at once; NULL: none is.  Quiet. */
void twr_driven_set_bounced(Driven *driven, Call *call);

/* Queue call as the next handle: it was called, but by a callback of somebody
 * else's, as in a loop whose call_soon wraps what it is given.  A driver finds
 * it there as soon as that callback has ended. */
int twr_driven_call_next(Driven *driven, PyObject *call);

/* Queue handle as the next one again: who was to run it does not.  Keeps a
 * pending exception; -1: it has failed. */
int twr_driven_put_back(Driven *driven, PyObject *handle);

#endif
