/* engine/drives.h - the loops that a thread drives, or in which its calls are
 * parked: a record of each. */
#ifndef TWR_DRIVES_H
#define TWR_DRIVES_H

#include "engine/thread.h"

/* Where the native greenlet of a loop is: see engine/driven.h. */
typedef enum {
    PLACE_NONE,
    PLACE_OURS,
    PLACE_PINNED,
    PLACE_RETURNING,
    PLACE_IDLE,
    PLACE_ENDING,
} NativePlace;

/* Written by engine/driven.c, unless another file is named. */
struct Driven {
    PyObject_HEAD
    Thread *thread;    /* that drives it; borrowed, NULL once it has ended */
    TwrIteration it;   /* the loop, and its turn: run_once.c; parks: call.c */
    NativePlace place; /* of the native greenlet */
    PyObject *native;  /* the greenlet inside run_forever, or NULL */
    PyObject *native_error; /* to raise from run_forever; or NULL */
    Py_ssize_t native_left; /* handles its _run_once will still pop */
    Call *pinned;           /* the call above it; borrowed, or NULL */
    Call *parked;       /* by call.c: newest first; owned by their stacks */
    Call *bounced;      /* hard build: parked only to go on; or NULL */
    Call *main_call;    /* run.c's call, which ends the run; borrowed */
    PyObject *carriers; /* by callback.c, dict: id of carried task -> Call */
    int refusals; /* by closed.c: calls made while those left are ended */
};

extern PyType_Spec twr_driven_spec;

/* Whether calls in the loop of driven (may be NULL), which is closed, are
 * being ended.  Quiet. */
static inline bool
twr_driven_is_ending(const Driven *driven)
{
    return driven != NULL && driven->place == PLACE_ENDING;
}

/* The Driven of a loop that we do not drive: an old one if calls are parked
 * there.  It stays in th->drives.kept until released. */
Driven *twr_driven_of(Thread *th, PyObject *loop);

/* Take driven out of th->drives.kept, unless a call is still parked there.
 * Keeps a pending exception; -1: it has failed. */
int twr_driven_release(Thread *th, Driven *driven);

/* The record of a thread is dropped: calls that are still parked keep their
 * Drivens, which forget the thread. */
void twr_drives_drop(Thread *th);

/* loop is no longer the thread's own one: drop what was kept for it, unless a
 * call is still parked there. */
void twr_driven_forget_loop(Thread *th, PyObject *loop);

#endif
