/* stack/walk.h - the Python frames below the running code.
 *
 * They go on in other greenlets: below the outermost frame of one are those of
 * its parent, which waits for it. */
#ifndef TWR_WALK_H
#define TWR_WALK_H

#include "stack/greenlet.h"

/* A walk down the stack, innermost frame first. */
typedef struct {
    PyFrameObject *frame; /* where the walk stands; NULL: at its end */
    PyObject *greenlet;   /* whose frame that is; NULL: the running one's */
} TwrWalk;

/* Begin at the innermost frame of the running greenlet. */
void twr_walk_begin(TwrWalk *walk);

/* Go on to the next frame; on failure the walk ends, with an exception. */
void twr_walk_on(TwrWalk *walk);

/* Drop what the walk holds; a pending exception is kept. */
void twr_walk_end(TwrWalk *walk);

/* The code of the function that runs in frame; borrowed, to be compared. */
PyObject *twr_walk_code(PyFrameObject *frame);

#endif
