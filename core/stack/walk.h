/* stack/walk.h - the Python frames below the running code.
 *
 * Frames go on in other greenlets: below the outermost frame of a greenlet are
 * the frames of its parent, which waits for it.
 *
 *     running greenlet    its parent           the thread's first
 *     code > caller   ->  switch > caller  ->  switch > ... > <module>
 *
 *     for (twr_walk_begin(&walk); walk.frame != NULL; twr_walk_on(&walk)) ...
 *     twr_walk_end(&walk);
 *
 * After a walk, PyErr_Occurred() tells whether it has failed. */
#ifndef TWR_WALK_H
#define TWR_WALK_H

#include "stack/greenlet.h"

/* A walk down the stack, innermost frame first. */
typedef struct {
    PyFrameObject *frame; /* where the walk stands; NULL: at its end */
    PyObject *greenlet;   /* whose frame that is; NULL: the running one's */
} TwrWalk;

/* Begin at the innermost frame of the running greenlet; on failure the walk
 * is at its end, with an exception. */
void twr_walk_begin(TwrWalk *walk);

/* Go on to the next frame; on failure the walk ends, with an exception. */
void twr_walk_on(TwrWalk *walk);

/* Drop what the walk holds; a pending exception is kept. */
void twr_walk_end(TwrWalk *walk);

/* The code of the function that runs in frame; borrowed: the frame has it. */
static inline PyObject *
twr_walk_code(PyFrameObject *frame)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    Py_DECREF(code);
    return code;
}

#endif
