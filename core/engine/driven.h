/* engine/driven.h - a loop that we drive, and where its native greenlet is.
 *
 * The native greenlet of a loop is the one inside its run_forever().  Where it
 * stands is a machine of which driven.c alone makes the moves, and asserts
 * after each that all is as the place says:
 *
 *     NONE       nobody drives the loop
 *     OURS       run.c runs it: there is no native greenlet
 *     PINNED     below a call that waits, or is about to
 *     RETURNING  its call is over, its callback is not yet
 *     IDLE       parked by us with no user frame above
 *     ENDING     not in it: closed.c, once the loop has been closed
 *
 *     NONE --run--> OURS --end_run--> NONE
 *     NONE --take_over--> PINNED --unpin--> RETURNING --idle--> IDLE
 *                           ^------pin----------'
 *     NONE --idle--> IDLE      a callback of a loop that runs by itself, or
 *                              the marker that an earlier run has left
 *     PINNED, RETURNING, IDLE --let_go, drop--> NONE
 *     NONE --end_calls--> ENDING --calls_ended--> NONE */
#ifndef TWR_DRIVEN_H
#define TWR_DRIVEN_H

#include "engine/thread.h"

typedef enum {
    PLACE_NONE,
    PLACE_OURS,
    PLACE_PINNED,
    PLACE_RETURNING,
    PLACE_IDLE,
    PLACE_ENDING,
} NativePlace;

struct Driven {
    PyObject_HEAD
    Thread *thread;    /* that drives it; borrowed, NULL once it has ended */
    TwrIteration it;   /* the loop, and where its turn stands */
    NativePlace place; /* of the native greenlet: see above */
    PyObject *native;  /* the greenlet inside run_forever, or NULL */
    PyObject *native_error; /* to raise from run_forever; or NULL */
    Py_ssize_t native_left; /* handles its _run_once will still pop */
    Call *pinned;           /* the call above it; borrowed, or NULL */
    Call *parked;           /* newest first; borrowed: their stacks own them */
    Call *bounced;          /* hard build: parked only to go on; or NULL */
    Call *main_call;        /* run.c's call, which ends the run; borrowed */
    PyObject *carriers; /* dict: carried task -> Call (backends/callback.c) */
    int refusals;       /* calls made while those left behind are ended */
};

extern PyType_Spec twr_driven_spec;

/* The Driven of a loop that we do not drive: an old one if calls are parked in
 * it.  It stays in th->drives.kept until released. */
Driven *twr_driven_of(Thread *th, PyObject *loop);

/* Take it out of th->drives.kept, unless a call is still parked in it.  Keeps
 * a pending exception; -1: it has failed. */
int twr_driven_release(Thread *th, Driven *driven);

/* NONE -> OURS. */
void twr_driven_run(Thread *th, Driven *driven);

/* call, or NULL, is the one that runs the loop; driven may be NULL, too. */
void twr_driven_set_main_call(Driven *driven, Call *call);

/* OURS -> NONE. */
void twr_driven_end_run(Thread *th, Driven *driven);

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
 * will still pop so many handles. */
int twr_driven_idle(Thread *th, Driven *driven, PyObject *native,
                    Py_ssize_t left);

/* IDLE: let greenlet (NULL: a driver) go on, until the loop stops; raises what
 * is to be raised from run_forever.  Switches. */
int twr_driven_wait(Thread *th, Driven *driven, PyObject *greenlet);

/* RETURNING or IDLE -> NONE: the loop is to go on by itself.  The native
 * greenlet. */
PyObject *twr_driven_let_go(Thread *th, Driven *driven);

/* PINNED, RETURNING or IDLE -> NONE: nobody has driven it, or it has ended by
 * itself. */
void twr_driven_drop(Thread *th, Driven *driven);

/* exc (stolen) is to be raised from run_forever. */
void twr_driven_set_error(Driven *driven, PyObject *exc);

/* NONE -> ENDING: me is the greenlet that ends the calls in it. */
void twr_driven_end_calls(Thread *th, Driven *driven, PyObject *me);

/* ENDING -> NONE, with before (or NULL) being driven as it was; stays: calls
 * are left that will not go, and are not looked for again. */
void twr_driven_calls_ended(Thread *th, Driven *driven, Driven *before,
                            bool stays);

/* Take note if the loop that we drove has ended by itself.  running: the loop
 * that runs now, or NULL. */
int twr_driven_settle(Thread *th, PyObject *running);

/* Hard build: call is parked only to go on at once; NULL: none is.  Quiet. */
void twr_driven_set_bounced(Driven *driven, Call *call);

/* Queue call as the next handle: it was called, but by a callback of somebody
 * else's, as in a loop whose call_soon wraps what it is given.  A driver finds
 * it there as soon as that callback has ended. */
int twr_driven_call_next(Driven *driven, PyObject *call);

#endif
