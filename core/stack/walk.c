/* stack/walk.c - the Python frames below the running code. */
#include "stack/walk.h"

/* The innermost frame of a greenlet that does not run; NULL without error:
 * that greenlet has none. */
static PyFrameObject *
frame_of(PyObject *greenlet)
{
    PyObject *frame = PyObject_GetAttrString(greenlet, "gr_frame");
    if (frame != NULL && !PyFrame_Check(frame)) {
        Py_CLEAR(frame);
    }
    return (PyFrameObject *)frame;
}

/* If there are no more frames in this greenlet, go on to the next one below
 * that has any. */
static void
go_below(TwrWalk *walk)
{
    while (walk->frame == NULL && !PyErr_Occurred()) {
        PyObject *last = walk->greenlet != NULL ? Py_NewRef(walk->greenlet)
                                                : twr_greenlet_current();
        PyObject *parent = last == NULL ? NULL : twr_greenlet_parent(last);
        Py_XDECREF(last);
        if (parent == NULL) {
            break;
        }
        Py_XSETREF(walk->greenlet, parent);
        walk->frame = frame_of(parent);
    }
}

void
twr_walk_begin(TwrWalk *walk)
{
    walk->greenlet = NULL;
    walk->frame = twr_thread_frame();
    go_below(walk);
}

void
twr_walk_on(TwrWalk *walk)
{
    Py_SETREF(walk->frame, PyFrame_GetBack(walk->frame));
    go_below(walk);
}

void
twr_walk_end(TwrWalk *walk)
{
    Py_CLEAR(walk->frame);
    Py_CLEAR(walk->greenlet);
}
