/* asyncio/quick.c - a turn in C, where everything is asyncio's own. */
#include "asyncio/quick.h"

#include <structmember.h>
#include <errno.h>
#include <sys/epoll.h>

#ifdef __linux__
#endif

/* --- a loop */

#ifdef __linux__

enum { EPFD_AT = sizeof(PyObject) }; /* of the descriptor in an epoll object */

/* The descriptor of an epoll object. */
static int
descriptor(PyObject *epoll)
{
    return *(int *)((char *)epoll + EPFD_AT);
}

/* Whether that is where it is taken to be. */
static bool
has_descriptor(PyObject *epoll)
{
    PyObject *number = PyObject_CallMethod(epoll, "fileno", NULL);
    bool same = number != NULL && PyLong_Check(number) &&
                PyLong_AsLong(number) == descriptor(epoll);
    PyErr_Clear();
    Py_XDECREF(number);
    return same;
}

/* The epoll object of the loop's selector, if both are of the known types. */
static PyObject *
find_epoll(TwrState *state, PyObject *selector)
{
    PyObject *epoll = NULL;
    if (Py_IS_TYPE(selector, state->quick.selector) &&
        twr_type_version(Py_TYPE(selector)) == state->quick.selector_version) {
        epoll = PyObject_GetAttrString(selector, "_selector");
    }
    if (epoll != NULL &&
        (!Py_IS_TYPE(epoll, state->quick.epoll) || !has_descriptor(epoll))) {
        Py_CLEAR(epoll);
    }
    PyErr_Clear();
    return epoll;
}

/* Whether the loop's type has the methods that the quick way stands for. */
static bool
has_known_type(TwrState *state, PyObject *loop)
{
    PyObject *method =
        PyObject_GetAttrString((PyObject *)Py_TYPE(loop), "_process_events");
    bool same = method == state->quick.process_events;
    PyErr_Clear();
    Py_XDECREF(method);
    return same;
}

/* Whether an instance's dictionary hides what its class has. */
static bool
hides(PyObject *dict)
{
    static const char *const names[] = {"_run_once", "_process_events",
                                        "call_soon", "_call_soon"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (PyDict_GetItemString(dict, names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

void
twr_quick_begin(TwrIteration *it)
{
    TwrState *state = it->state;
    TwrQuick *quick = &it->quick;
    if (quick->dict != NULL || !state->quick.is_known ||
        !Py_IS_TYPE(it->ready, state->quick.deque) ||
        !has_known_type(state, it->loop)) {
        return;
    }
    PyObject *dict = PyObject_GenericGetDict(it->loop, NULL);
    PyObject *selector =
        dict == NULL ? NULL
                     : PyDict_GetItemWithError(dict, state->names._selector);
    PyObject *epoll = selector == NULL ? NULL : find_epoll(state, selector);
    if (epoll != NULL) {
        quick->selector = selector;
        quick->epoll = epoll;
        quick->dict = Py_NewRef(dict);
        quick->type_version = twr_type_version(Py_TYPE(it->loop));
        quick->n_names = -1;
    }
    PyErr_Clear();
    Py_XDECREF(dict);
}

bool
twr_quick_may_turn(TwrIteration *it)
{
    TwrState *state = it->state;
    TwrQuick *quick = &it->quick;
    if (quick->dict == NULL || quick->type_version == 0 ||
        twr_type_version(Py_TYPE(it->loop)) != quick->type_version ||
        state->quick.selector->tp_version_tag !=
            state->quick.selector_version ||
        twr_is_traced()) {
        return false;
    }
    if (PyDict_GET_SIZE(quick->dict) != quick->n_names) {
        if (hides(quick->dict)) {
            return false;
        }
        quick->n_names = PyDict_GET_SIZE(quick->dict);
    }
    PyObject *timers =
        PyDict_GetItemWithError(quick->dict, state->names._scheduled);
    return timers != NULL && PyList_CheckExact(timers) &&
           PyList_GET_SIZE(timers) == 0 &&
           PyDict_GetItemWithError(quick->dict, state->names._debug) ==
               Py_False &&
           PyDict_GetItemWithError(quick->dict, state->names._selector) ==
               quick->selector;
}

int
twr_quick_poll(TwrIteration *it, bool block)
{
    struct epoll_event event;
    for (;;) {
        if (block && PyErr_CheckSignals() < 0) {
            return -1;
        }
        int fd = descriptor(it->quick.epoll), n, error;
        Py_BEGIN_ALLOW_THREADS n = epoll_wait(fd, &event, 1, block ? -1 : 0);
        error = errno;
        Py_END_ALLOW_THREADS if (n >= 0 || error != EINTR)
        {
            return n != 0; /* an error is found again by the slow way */
        }
        if (!block) {
            return 0;
        }
    }
}

#else

void
twr_quick_begin(TwrIteration *it)
{
    (void)it;
}

bool
twr_quick_may_turn(TwrIteration *it)
{
    (void)it;
    return false;
}

int
twr_quick_poll(TwrIteration *it, bool block)
{
    (void)it;
    (void)block;
    return 1;
}

#endif

Py_ssize_t
twr_quick_watched(TwrIteration *it)
{
    PyObject *map = it->quick.dict == NULL ||
                            PyDict_GetItemWithError(
                                it->quick.dict, it->state->names._selector) !=
                                it->quick.selector
                        ? NULL
                        : PyObject_GetAttr(it->quick.selector,
                                           it->state->names._fd_to_key);
    Py_ssize_t watched =
        map != NULL && PyDict_CheckExact(map) ? PyDict_GET_SIZE(map) : -1;
    PyErr_Clear();
    Py_XDECREF(map);
    return watched;
}

void
twr_quick_end(TwrIteration *it)
{
    Py_CLEAR(it->quick.dict);
    Py_CLEAR(it->quick.epoll);
    it->quick.selector = NULL;
}

int
twr_quick_is_stopping(TwrIteration *it)
{
    PyObject *flag =
        PyDict_GetItemWithError(it->quick.dict, it->state->names._stopping);
    return flag == Py_False ? 0 : flag == Py_True ? 1 : -1;
}

PyObject *
twr_quick_pop(TwrIteration *it)
{
    return it->state->quick.popleft(it->ready, NULL);
}

int
twr_quick_append(TwrIteration *it, PyObject *handle)
{
    return twr_done(it->state->quick.append(it->ready, handle));
}

int
twr_quick_append_left(TwrIteration *it, PyObject *handle)
{
    return twr_done(it->state->quick.appendleft(it->ready, handle));
}

/* --- a handle */

bool
twr_quick_is_handle(TwrState *state, PyObject *handle)
{
    const TwrQuickFacts *facts = &state->quick;
    const PyTypeObject *type = Py_TYPE(handle);
    unsigned version = type == facts->handle  ? facts->handle_version
                       : type == facts->timer ? facts->timer_version
                                              : 0;
    return facts->is_known && version != 0 && type->tp_version_tag == version;
}

bool
twr_quick_may_run(TwrIteration *it, PyObject *handle)
{
    TwrState *state = it->state;
    return it->quick.dict != NULL && twr_quick_is_handle(state, handle) &&
           !twr_is_traced() &&
           PyDict_GetItemWithError(it->quick.dict, state->names._debug) ==
               Py_False;
}

/* What a slot of handle holds; borrowed, may be NULL.  Quiet. */
static inline PyObject *
slot(PyObject *handle, Py_ssize_t at)
{
    return *(PyObject **)((char *)handle + at);
}

PyObject *
twr_quick_callback(TwrState *state, PyObject *handle)
{
    return slot(handle, state->quick.callback_at);
}

PyObject *
twr_quick_cancelled(TwrState *state, PyObject *handle)
{
    return slot(handle, state->quick.cancelled_at);
}

/* The callback of handle has failed with exc (stolen): as Handle._run says. */
static int
report_failure(TwrState *state, PyObject *handle, PyObject *exc)
{
    PyObject *handled = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    int told =
        twr_done(twr_cold(state, COLD_handle_failed, "(OO)", handle, exc));
    PyErr_SetHandledException(handled);
    Py_XDECREF(handled);
    Py_DECREF(exc);
    return told;
}

/* Have the traceback of the pending exception begin where Handle._run would
 * stand: in the innermost frame of the driver's footing. */
static void
show_run(void)
{
    PyFrameObject *frame = twr_thread_frame();
    if (frame != NULL) {
        PyTraceBack_Here(frame);
    }
    Py_XDECREF(frame);
}

int
twr_quick_run(TwrState *state, PyObject *handle, bool on_footing)
{
    const TwrQuickFacts *facts = &state->quick;
    PyObject *callback = slot(handle, facts->callback_at);
    PyObject *args = slot(handle, facts->args_at);
    PyObject *context = slot(handle, facts->context_at);
    if (callback == NULL || context == NULL || args == NULL ||
        !PyTuple_CheckExact(args) || !PyContext_CheckExact(context)) {
        return twr_done(PyObject_CallMethodNoArgs(handle, state->names._run));
    }
    Py_INCREF(callback);
    Py_INCREF(args);
    Py_INCREF(context);
    PyObject *result = NULL;
    if (PyContext_Enter(context) == 0) {
        result =
            PyObject_Vectorcall(callback, ((PyTupleObject *)args)->ob_item,
                                (size_t)PyTuple_GET_SIZE(args), NULL);
        PyObject *pending = result == NULL ? twr_error_take() : NULL;
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
        twr_error_put(pending);
    }
    Py_DECREF(context);
    Py_DECREF(args);
    Py_DECREF(callback);
    if (result != NULL) {
        Py_DECREF(result);
        return PyErr_CheckSignals();
    }
    if (on_footing) {
        show_run();
    }
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    return report_failure(state, handle, twr_error_take());
}
