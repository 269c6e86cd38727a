/* engine/thread.h - what belongs to one thread of the operating system.
 *
 * The record is made when a call is first made in a thread, lives in the
 * thread's dictionary, and goes when the thread ends (end.c).  It is composed
 * of one struct for each unit, which alone writes there; the others read.  But
 * the active greenlet is also swapped by backends/portal_step.c, and the
 * footing chosen by asyncio/likeness.c. */
#ifndef TWR_THREAD_H
#define TWR_THREAD_H

#include "asyncio/loop.h"
#include "stack/stacks.h"

typedef struct Thread Thread;
typedef struct Driven Driven; /* engine/drives.h */
typedef struct Call Call;     /* engine/call.h */
typedef struct Portal Portal; /* backends/portal.h */

/* Written by engine/driven.c (now) and drives.c (kept). */
typedef struct {
    Driven *now; /* the loop being driven; NULL: it runs by itself or none */
    PyObject *kept; /* list of Driven: those in which calls are parked */
    Call *apart;    /* by call.c: calls that are not parked; borrowed */
} TwrDrives;

/* Written by engine/sigint.c (ours) and interrupt.c. */
typedef struct {
    PyObject *task; /* whose call is being interrupted; or NULL */
    bool ours;      /* our SIGINT handler is in place */
    bool kept;      /* Ctrl-C came when there was no step to end */
    bool raised;    /* a call has raised what a signal handler raised */
} TwrSigint;

/* Written by backends/portal*.c. */
typedef struct {
    Portal *stepped; /* being stepped, latest first: their steps own them */
    Portal *parked;  /* with a call parked, latest first; borrowed */
} TwrPortals;

/* Written by backends/own_loop.c and, in_run, run.c; but a fork takes own_loop
 * away. */
typedef struct {
    PyObject *own_loop; /* the loop kept for calls where none runs */
    PyObject *hidden;   /* a running loop that we hide from the code above */
    bool in_run;        /* a call runs its own loop, or is about to */
} TwrRun;

struct Thread {
    PyObject_HEAD
    TwrState *state;
    TwrStacks stacks;
    TwrDrives drives;
    TwrSigint sigint;
    TwrPortals portals;
    TwrRun run;
    TwrLoopType known;
    PyObject *first; /* the greenlet it began with; borrowed; NULL: not seen */
    const void *first_stack; /* its data stack, to know it by; or NULL */
    unsigned long ident;     /* of the thread, as threading knows it */
    Thread *older;           /* the next record of the process; borrowed */
    Thread **link;           /* what points to this one there; NULL: nothing */
    bool is_main;            /* signals are handled in this thread */
    bool ending; /* its loop is being closed, its calls are ended: end.c */
    bool forked; /* made before a fork: of no use in this process */
};

/* The record of which st is a part.  Quiet. */
static inline Thread *
twr_thread_of(TwrStacks *st)
{
    return (Thread *)((char *)st - offsetof(Thread, stacks));
}

/* The record of a thread of the system, perhaps of a parent process, or NULL,
 * and the number of its thread state, whose dictionary owns the record: a
 * thread of a library in C has one state after the other.  Written by thread.c
 * alone. */
typedef struct {
    Thread *th;
    uint64_t state_id;
} TwrHere;
extern _Thread_local TwrHere twr_here;

/* This thread's record, perhaps of a parent process; or NULL.  Quiet. */
static inline Thread *
twr_thread_here(void)
{
    return twr_here.state_id == PyThreadState_Get()->id ? twr_here.th : NULL;
}

/* This thread's record if there is one of this process; or NULL.  Quiet. */
static inline Thread *
twr_thread_if_any(void)
{
    Thread *th = twr_thread_here();
    return th != NULL && !th->forked ? th : NULL;
}

/* Make this thread's record, of which there is none; borrowed. */
Thread *twr_thread_make(TwrState *state);

/* This thread's record, made when first asked for; borrowed. */
static inline Thread *
twr_thread(TwrState *state)
{
    Thread *th = twr_thread_if_any();
    return th != NULL ? th : twr_thread_make(state);
}

/* Whether th is the record of the running thread, be it of a parent process.
 * Quiet. */
bool twr_thread_is_here(const Thread *th);

/* The first record of the process, whose `next` is another; NULL: none. The
 * list is whole whenever code runs.  Quiet. */
Thread *twr_thread_list(void);

/* Take th out of that list, if it is there.  Quiet. */
void twr_thread_unlist(Thread *th);

/* Have the next call make another record.  Quiet. */
void twr_thread_forget(Thread *th);

/* Have the next call make another record, while frames go on using th, which
 * is never freed. */
int twr_thread_abandon(Thread *th);

/* In a forked child: drop this thread's record.  Returns the kept loop, which
 * must not be closed in the usual way; NULL without error: none.  If that loop
 * runs, the call that runs it discards it in the end. */
PyObject *twr_thread_after_fork(void);

/* twr_thread_in_step(), for which greenlet is asked. */
int twr_thread_look_in_step(Thread *th);

/* Whether the running greenlet is the one in which the steps of the loop run:
 * the active one, or, while the loop runs by itself, probably the thread's
 * first.  -1: error. */
static inline int
twr_thread_in_step(Thread *th)
{
    const void *stack = twr_thread_data_stack();
    return th->drives.now == NULL && stack != NULL && stack == th->first_stack
               ? 1
               : twr_thread_look_in_step(th);
}

/* 1 if type(loop) is one whose turns we can drive. */
static inline int
twr_thread_can_drive(Thread *th, PyObject *loop)
{
    return twr_loop_is_drivable(th->state, &th->known, loop);
}

/* The name of a library that is not asyncio and runs tasks in this thread, or
 * None. */
PyObject *twr_thread_library(TwrState *state);

/* 1 if there is such a library. */
int twr_thread_is_foreign(TwrState *state);

/* Call a cold function with arg (may be NULL).  A failure is reported, and a
 * pending exception kept.  -1: it has failed. */
int twr_thread_cold(Thread *th, TwrCold which, PyObject *arg);

/* Have atexit end this thread's loop and greenlets, if it has forgotten to. */
void twr_thread_register(Thread *th);

#endif
