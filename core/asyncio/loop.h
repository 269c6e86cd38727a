/* asyncio/loop.h - a loop: may we drive it, and its ready queue.
 *
 * The ready queue, loop._ready, is a deque of handles.  Three kinds of ours
 * stand there: the Call of a parked call (its future has queued it), the
 * marker, which parks the native greenlet, and padding, which is skipped. */
#ifndef TWR_LOOP_H
#define TWR_LOOP_H

#include "asyncio/iteration.h"

/* The last type of loop found to be asyncio's own: part of a thread's record
 * (engine/thread.h). */
typedef struct {
    PyTypeObject *type;
    unsigned int version; /* its version tag then */
} TwrLoopType;

/* Look whether type(loop) is one whose turns we can drive, 1; known is told.
 */
int twr_loop_look(TwrState *state, TwrLoopType *known, PyObject *loop);

/* 1 if type(loop) is one whose turns we can drive; known is asked first. */
static inline int
twr_loop_is_drivable(TwrState *state, TwrLoopType *known, PyObject *loop)
{
    const PyTypeObject *type = Py_TYPE(loop);
    /* The version tag changes with every change to the type, as by a monkey
     * patch; 0 means that it has none now. */
    return type == known->type && type->tp_version_tag == known->version &&
                   known->version != 0
               ? 1
               : twr_loop_look(state, known, loop);
}

/* 1 if nest_asyncio has changed type(loop).  We can drive such loops, too,
 * where frames.c knows who takes its turns. */
int twr_loop_is_patched(TwrState *state, PyObject *loop);

/* 1 if loop itself says that nest_asyncio has changed its type. */
int twr_loop_says_patched(TwrState *state, PyObject *loop);

/* 1 if loop can be run now: it is open, and neither runs nor is about to. */
int twr_loop_is_usable(TwrState *state, PyObject *loop);

/* The loop set for this thread; NULL without error: none, or none that can be
 * used.  A loop that is not ours (NULL: we have none) may be what asyncio is
 * at work on: a finalizer, say, has come in the middle, and must not run the
 * tasks of that loop.  *vacant: whether another loop may be set. */
PyObject *twr_loop_set_for_thread(TwrState *state, PyObject *ours,
                                  bool *vacant);

/* loop._ready */
PyObject *twr_loop_ready(TwrState *state, PyObject *loop);

/* Have loop stop at the end of this turn, or go on. */
int twr_loop_set_stopping(TwrState *state, PyObject *loop, bool stopping);

/* Queue call as loop.call_soon does. */
int twr_loop_call_soon(TwrState *state, PyObject *loop, PyObject *call);

/* Queue call as the next handle. */
int twr_loop_call_next(TwrIteration *it, PyObject *call);

/* Put handle, which was the next one, in front of the queue again. */
int twr_loop_put_back(TwrIteration *it, PyObject *handle);

/* Queue callback (NULL: one that does nothing), and have loop come to it even
 * if it waits in its selector: as a signal handler needs. */
int twr_loop_wake(TwrState *state, PyObject *loop, PyObject *callback);

/* Put `count` handles that are skipped in front of the queue. */
int twr_loop_pad(TwrIteration *it, Py_ssize_t count);

/* Put our marker in front of the queue. */
int twr_loop_mark(TwrIteration *it);

/* Take our marker out of the queue, if it is there. */
int twr_loop_unmark(TwrIteration *it);

/* Have the next run of loop begin with our marker. */
int twr_loop_prime(TwrState *state, PyObject *loop);

/* Look for the names that this file relies on. */
int twr_loop_init(TwrState *state);

#endif
