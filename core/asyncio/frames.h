/* asyncio/frames.h - what the frames below a call tell of the loop.
 *
 * A loop that runs by itself stands in frames like these:
 *
 *     run_until_complete > run_forever > _run_once > Handle._run > step > ...
 *                          ^ caller      ^ native    ^ runs a handle
 *
 * Where the _run_once is one that run_forever has called, its greenlet is the
 * native one of that loop, and the local variables of _run_once say how many
 * handles it will still pop before it polls again.  The run_until_complete of
 * nest_asyncio counts as a run_forever: it calls _run_once itself, and its run
 * ends with a future (until).
 *
 * A signal handler may come in the middle of asyncio's own code, and make a
 * call there.  Two such places have to be known, since they look like others:
 * a loop that is about to run, or has just run, and does not count as running;
 * and a step of a task in which asyncio is at work on what others use, too.
 *
 * The collector, too, may come there, with finalizers.  Where no loop runs,
 * asyncio may be about to run one, with its tasks half prepared: as
 * asyncio.run does, which gathers the tasks that are left. */
#ifndef TWR_FRAMES_H
#define TWR_FRAMES_H

#include "stack/walk.h"

/* Of the code of a coroutine or an async generator. */
#define TWR_STEPPED_FLAGS (CO_COROUTINE | CO_ASYNC_GENERATOR)

/* Who has called the _run_once that is below the running code. */
typedef enum {
    CALLER_ERROR = -1,
    CALLER_NONE,        /* there is no _run_once */
    CALLER_RUN_FOREVER, /* asyncio's own run_forever, or nest_asyncio's */
    CALLER_OTHER,       /* somebody who takes the turns by hand */
} TwrCaller;

/* Who has called the innermost _run_once below the running code. */
TwrCaller twr_frames_caller(TwrState *state);

/* How many handles the innermost _run_once, if that is one of loop, will still
 * pop.  -1 without exception: neither run_forever nor the run_until_complete
 * of nest_asyncio has called it, or it has not run the handle in which the
 * running code is; -2: error.  direct: the running code is such a handle
 * itself (our marker). */
Py_ssize_t twr_frames_native_left(TwrState *state, PyObject *loop,
                                  bool direct);

/* Returns as twr_frames_native_left() for code in a handle; *native is set to
 * the greenlet of that _run_once, or to NULL if no number is returned. */
Py_ssize_t twr_frames_native(TwrState *state, PyObject *loop,
                             PyObject **native);

/* A weakref to the future with which the run ends that has called the
 * innermost _run_once; NULL without exception: with no future, as run_forever.
 */
PyObject *twr_frames_until(TwrState *state);

/* 1 if a run_until_complete or run_forever of loop is below the running code,
 * even if only about to run the loop. */
int twr_frames_run(TwrState *state, PyObject *loop);

/* twr_frames_interrupted(), for which the frames are looked at. */
int twr_frames_look_interrupted(TwrState *state);

/* 1 if a signal handler, below which the running code is, has interrupted
 * asyncio's own code. */
static inline int
twr_frames_interrupted(TwrState *state)
{
    return (twr_thread_code_flags() & TWR_STEPPED_FLAGS) != 0
               ? 0 /* the code that runs begins here */
               : twr_frames_look_interrupted(state);
}

/* 1 if asyncio's own code is below the running code, and has not come to run a
 * handle or a task. */
int twr_frames_in_asyncio(TwrState *state);

/* 1 if frame is one of asyncio's own code, but for that which runs handles,
 * and so anybody's code. */
int twr_frames_own(TwrState *state, PyObject *frame);

/* The first step of task, which we have begun, runs from now on in this
 * thread; NULL: it runs no more.  Returns the one before; all are borrowed.
 * Quiet. */
PyObject *twr_frames_first_step(PyObject *task);

/* 1 if the step of task that runs was begun by a handle of its loop, and not
 * by whoever made the task, as the first step of an eager task is. */
int twr_frames_steps_task(TwrState *state, PyObject *task);

#endif
