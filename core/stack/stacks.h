/* stack/stacks.h - the stacks of one thread, and the token that passes.
 *
 * Four kinds of greenlets are ours:
 *
 *     hub       one a thread.  It starts drivers and workers, so that their
 *               stacks begin at its shallow depth and not at that of the call
 *               that parks or of the portal that is stepped.
 *     drivers   drive the loop until somebody else has to run, switch there,
 *               and idle in a pool until needed.
 *     workers   do one step of a portal at a time, and idle in another pool.
 *     callers   whoever made a call: they belong to the user, and are left in
 *               the middle of a step while a driver runs on.
 *
 *     thread's stack:   | user ... run_forever | hub | driver or caller ... |
 *                                                      one of many; slices of
 *                                                      the others: on the heap
 *
 * The token.  Other libraries switch greenlets on this thread too, and some
 * (SQLAlchemy) switch to the parent of theirs, which may by then be a parked
 * greenlet of ours.  So a greenlet of ours that wakes up asks whether the
 * switch was meant for it (target); if not, what came is handed on to the
 * greenlet in which the loop's step runs (active), where the other library is
 * waiting for it.
 *
 * A driver that idles holds no reference but to the frames of its footing,
 * which has at least one: greenlet takes a greenlet without any frame for one
 * that runs in another thread, and refuses to tell its context.
 *
 * switch.c passes the token; pool.c keeps hub, drivers and workers. */
#ifndef TWR_STACKS_H
#define TWR_STACKS_H

#include "stack/data_stack.h"
#include "stack/footing.h"

#define TWR_IDLE_MAX 1024 /* kept for later in a pool, per thread */
#define TWR_FOOTINGS 8    /* on which drivers stand; asyncio.run() has three */

/* The drivers, or the workers, of one thread. */
typedef struct {
    struct {
        PyObject *greenlet;
        PyObject *footing; /* of a driver, which owns that; NULL: a worker */
    } idle[TWR_IDLE_MAX];
    int n_idle;
    int n_all; /* those that idle, and those that do not */
} TwrPool;

/* The stacks of one thread: part of its record (engine/thread.h). */
typedef struct {
    TwrState *state;
    /* switch.c: the token */
    PyObject *target; /* whom the last switch was meant for */
    PyObject *active; /* the greenlet in which the loop's steps run */
    /* pool.c: the hub, and what one switch to it is for */
    PyObject *hub;       /* the shallow greenlet in which they begin */
    PyObject *relay;     /* whom the hub is to switch to */
    PyObject *relayed;   /* whom the hub has switched to before; or NULL */
    PyObject *requester; /* who waits for a driver to begin; or NULL */
    PyObject *no_driver; /* why none has begun; or NULL */
    /* pool.c: drivers and workers */
    TwrPool drivers;
    TwrPool workers;
    PyObject *footings[TWR_FOOTINGS]; /* the last ones; first that of now */
    PyObject *run_footing; /* that of the loop of calls; NULL: not made yet */
    TwrChunks chunks;
    PyObject *ending; /* by switch.c: which of ours ends; borrowed, or NULL */
} TwrStacks;

/* What the stacks ask of the floors above. */
typedef struct {
    /* Drive the loop until another greenlet has to run, which is returned;
     * NULL: none can.  Switches. */
    PyObject *(*drive)(TwrStacks *st);
    /* Do worker's part of the step of a portal for which it was switched to;
     * returns the greenlet that asked for the step.  Switches. */
    PyObject *(*work)(TwrStacks *st, PyObject *worker);
    /* The greenlet that steps the portal in which greenlet is parked; NULL
     * without error: none does, or it cannot be told. */
    PyObject *(*stray)(TwrStacks *st, PyObject *greenlet);
    /* Have drivers stand on the footing of the loop of calls. */
    void (*stand)(TwrStacks *st);
} TwrStackJobs;
extern const TwrStackJobs twr_stack_jobs; /* in hooks.c */

/* --- switch.c */

/* Make greenlet the one in which the loop's steps run. */
void twr_switch_set_active(TwrStacks *st, PyObject *greenlet);

/* Switch to target (stolen), and wait until a switch is meant for the running
 * greenlet.  target is held all the while: greenlet may look at who has
 * switched when somebody comes back.  Switches. */
int twr_switch_to(TwrStacks *st, PyObject *target);

/* End a greenlet of ours (stolen) that waits in twr_switch_to(), and lives for
 * as long as it is not the one that is ending.  Switches. */
void twr_switch_end(TwrStacks *st, PyObject *greenlet);

/* 1 if root is the running greenlet or among its parents: root, or a greenlet
 * above root, has switched to the running one.  0 in a driver that only
 * begins, in the frames of which a finalizer may run. */
int twr_switch_is_above(TwrStacks *st, PyObject *root);

/* 1 if the running greenlet, above the loop's step, is not being killed and
 * may be parked while those below wait for it.  Nobody else must switch to
 * those meanwhile: as SQLAlchemy does, and who runs the loop in a greenlet of
 * its own (native; may be NULL), as Playwright does. */
int twr_switch_may_leave(TwrState *state, PyObject *native);

/* --- pool.c */

/* Have drivers stand on footing (stolen) from now on. */
void twr_pool_stand_on(TwrStacks *st, PyObject *footing);

/* Park the running greenlet and let a driver take over.  Switches. */
int twr_pool_park(TwrStacks *st);

/* A worker: one that idles, or a new one, which only runs when it is switched
 * to by twr_pool_switch(). */
PyObject *twr_pool_worker(TwrStacks *st);

/* Park the running greenlet and let greenlet (stolen), a worker or what a step
 * in it has switched to, go on.  Switches. */
int twr_pool_switch(TwrStacks *st, PyObject *greenlet);

/* End hub, drivers and workers.  Switches. */
void twr_pool_end(TwrStacks *st);

/* Whether greenlets of ours are being ended: no call can be made.  Quiet. */
static inline bool
twr_pool_is_ending(const TwrStacks *st)
{
    return st->ending != NULL;
}

#endif
