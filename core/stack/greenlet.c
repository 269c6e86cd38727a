/* stack/greenlet.c - the only door to greenlet: other C stacks for a thread.
 */
#include "stack/greenlet.h"

#include <greenlet.h>

int
twr_greenlet_init(void)
{
    PyGreenlet_Import();
    return _PyGreenlet_API == NULL ? -1 : 0;
}

PyObject *
twr_greenlet_current(void)
{
    return (PyObject *)PyGreenlet_GetCurrent();
}

PyObject *
twr_greenlet_new(PyObject *run, PyObject *parent)
{
    return (PyObject *)PyGreenlet_New(run, (PyGreenlet *)parent);
}

PyObject *
twr_greenlet_parent(PyObject *greenlet)
{
    return (PyObject *)PyGreenlet_GetParent((PyGreenlet *)greenlet);
}

int
twr_greenlet_set_parent(PyObject *greenlet, PyObject *parent)
{
    return PyGreenlet_SetParent((PyGreenlet *)greenlet, (PyGreenlet *)parent);
}

bool
twr_greenlet_is_started(PyObject *greenlet)
{
    return PyGreenlet_STARTED((PyGreenlet *)greenlet);
}

bool
twr_greenlet_is_active(PyObject *greenlet)
{
    return PyGreenlet_ACTIVE((PyGreenlet *)greenlet);
}

PyObject *
twr_greenlet_first(void)
{
    PyObject *parent, *greenlet = twr_greenlet_current();
    while (greenlet != NULL &&
           (parent = twr_greenlet_parent(greenlet)) != NULL) {
        Py_SETREF(greenlet, parent);
    }
    return greenlet;
}

/* Beware: greenlet (3.5) takes a reference to the first object that waits in
 * the trashcan of the thread: where objects have none left, and so the object
 * would be freed twice. */
PyObject *
twr_greenlet_switch(PyObject *greenlet, PyObject *args)
{
    PyObject *trash = twr_trash_take();
    PyObject *got = PyGreenlet_Switch((PyGreenlet *)greenlet, args, NULL);
    twr_trash_put(trash);
    return got;
}

PyObject *
twr_greenlet_throw(PyObject *greenlet, PyObject *exc)
{
    PyObject *trash = twr_trash_take();
    PyObject *got = PyGreenlet_Throw((PyGreenlet *)greenlet,
                                     (PyObject *)Py_TYPE(exc), exc, NULL);
    twr_trash_put(trash);
    return got;
}

void
twr_greenlet_exit(void)
{
    PyErr_SetNone(PyExc_GreenletExit);
}

bool
twr_greenlet_is_killed(void)
{
    PyObject *exc = PyErr_GetHandledException();
    bool killed =
        exc != NULL && PyErr_GivenExceptionMatches(exc, PyExc_GreenletExit);
    Py_XDECREF(exc);
    return killed;
}

bool
twr_greenlet_is_plain(PyObject *greenlet)
{
    return Py_IS_TYPE(greenlet, &PyGreenlet_Type);
}
