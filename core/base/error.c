/* base/error.c - what a call that cannot be served says. */
#include "base/error.h"

PyObject *
twr_callee_name(PyObject *callee)
{
    return callee != NULL ? PyObject_Repr(callee)
                          : PyUnicode_FromString("await_()");
}

int
twr_refuse(TwrState *state, PyObject *callee, PyObject *reason,
           const char *advice)
{
    PyObject *name = reason == NULL ? NULL : twr_callee_name(callee);
    if (name != NULL) {
        PyErr_Format(state->CannotSuspend, "%U cannot wait here: %U; %s", name,
                     reason, advice);
    }
    Py_XDECREF(name);
    Py_XDECREF(reason);
    return -1;
}

int
twr_refuse_here(TwrState *state, PyObject *callee, PyObject *reason)
{
    return twr_refuse(state, callee, reason,
                      callee != NULL ? "await its ~ form instead"
                                     : "use await instead");
}

int
twr_refuse_greenlet(TwrState *state, PyObject *callee)
{
    return twr_refuse(
        state, callee,
        PyUnicode_FromString("this greenlet is not one in which the running "
                             "loop runs its callbacks"),
        "make the call in a thread of its own, as by "
        "concurrent.futures.ThreadPoolExecutor, or in a task of that loop");
}

int
twr_refuse_caller(TwrState *state, PyObject *callee)
{
    return twr_refuse_here(
        state, callee,
        PyUnicode_FromString("the turns of the running loop are taken by "
                             "something else than its run_forever"));
}

int
twr_refuse_between(TwrState *state, PyObject *callee)
{
    return twr_refuse(
        state, callee,
        PyUnicode_FromString("the loop is between two callbacks, as in a "
                             "signal handler or a finalizer"),
        "have it called by loop.call_soon_threadsafe()");
}

int
twr_refuse_closed(TwrState *state, PyObject *callee)
{
    return twr_refuse_here(
        state, callee,
        PyUnicode_FromString("the loop has been closed meanwhile"));
}
