/* asyncio/quick.c - a turn in C, where everything is asyncio's own. */
#include "asyncio/quick.h"

#include <math.h>

#ifdef __linux__
#include <errno.h>
#include <sys/epoll.h>
#endif

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
    const TwrQuickFacts *facts = &state->quick;
    PyObject *type = (PyObject *)Py_TYPE(loop);
    bool known =
        twr_is_method(type, state->names._process_events,
                      facts->process_events) > 0 &&
        twr_is_method(type, state->names.call_soon, facts->call_soon) > 0 &&
        twr_is_method(type, state->names._call_soon,
                      facts->call_soon_unchecked) > 0 &&
        twr_is_method(type, state->names.time, facts->time) > 0;
    PyErr_Clear();
    return known;
}

/* Whether an instance's dictionary hides what its class has. */
static bool
hides(const TwrState *state, PyObject *dict)
{
    PyObject *const names[] = {
        state->names._run_once, state->names._process_events,
        state->names.call_soon, state->names._call_soon,
        state->names.time,
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (PyDict_GetItemWithError(dict, names[i]) != NULL) {
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
    if (epoll != NULL && (!state->quick.sees_attributes ||
                          twr_watch_begin(&quick->watch, dict) == 0)) {
        quick->selector = selector;
        quick->epoll = epoll;
        quick->dict = Py_NewRef(dict);
        quick->type_version = twr_type_version(Py_TYPE(it->loop));
        epoll = NULL;
    }
    PyErr_Clear();
    Py_XDECREF(epoll);
    Py_XDECREF(dict);
}

/* What loop.__dict__ has under that name; borrowed, may be NULL. */
static PyObject *
attribute(TwrIteration *it, PyObject *name)
{
    return PyDict_GetItemWithError(it->quick.dict, name);
}

/* loop._stopping, as twr_quick_is_stopping() gives. */
static int
look_stopping(TwrIteration *it)
{
    PyObject *flag = attribute(it, it->state->names._stopping);
    return flag == Py_False ? 0 : flag == Py_True ? 1 : -1;
}

/* Look at loop.__dict__: whether all in it is as the quick way needs it. */
static bool
look_at_loop(TwrIteration *it)
{
    TwrState *state = it->state;
    TwrQuick *quick = &it->quick;
    twr_watch_note(&quick->watch);
    bool fits = !hides(state, quick->dict) &&
                attribute(it, state->names._ready) == it->ready &&
                attribute(it, state->names._debug) == Py_False &&
                attribute(it, state->names._selector) == quick->selector;
    quick->timers = twr_quick_look_timers(it);
    quick->stopping = look_stopping(it);
    if (!fits || quick->timers == NULL) {
        twr_watch_forget(&quick->watch);
        return false;
    }
    return true;
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
    PyObject *dict = PyObject_GenericGetDict(it->loop, NULL);
    Py_XDECREF(dict); /* only compared: it may have been replaced */
    if (dict != quick->dict) {
        PyErr_Clear();
        return false;
    }
    return (twr_watch_is_unchanged(&quick->watch) || look_at_loop(it)) &&
           twr_quick_knows_timers(it);
}

#ifdef __linux__

/* Ask epoll once, for so many milliseconds (-1: for ever).  1: there are
 * events, 0: there are none, -1: a signal has come. */
static int
wait_for_events(TwrIteration *it, int milliseconds)
{
    struct epoll_event event;
    int fd = descriptor(it->quick.epoll), n, error;
    Py_BEGIN_ALLOW_THREADS;
    n = epoll_wait(fd, &event, 1, milliseconds);
    error = errno;
    Py_END_ALLOW_THREADS;
    /* Another error is found again by the slow way. */
    return n >= 0 ? n : error == EINTR ? -1 : 1;
}

#else

/* There is no epoll, and no turn is quick. */
static int
wait_for_events(TwrIteration *Py_UNUSED(it), int Py_UNUSED(milliseconds))
{
    return 1;
}

#endif

/* What the selector would be told to wait for at most, rounded as it does. */
static int
milliseconds(TwrIteration *it, double seconds)
{
    const double most = it->state->loop.max_select;
    return seconds <= 0 ? 0
                        : (int)ceil((seconds < most ? seconds : most) * 1e3);
}

int
twr_quick_poll(TwrIteration *it, bool block)
{
    for (;;) {
        double wait = 0;
        int timers = twr_quick_wait(it, &wait);
        if (timers < 0 || (block && PyErr_CheckSignals() < 0)) {
            return -1;
        }
        if (timers && wait <= 0) {
            return 1; /* as the slow way finds */
        }
        int events = wait_for_events(it, !block   ? 0
                                         : timers ? milliseconds(it, wait)
                                                  : -1);
        if (events == 0 && block && timers) {
            return 1; /* the first timer should be due by now */
        }
        if (events >= 0 || !block) {
            return events > 0;
        }
    }
}

bool
twr_quick_has_ready(TwrIteration *it)
{
    return it->quick.dict != NULL &&
           (twr_watch_is_unchanged(&it->quick.watch) ||
            attribute(it, it->state->names._ready) == it->ready);
}

Py_ssize_t
twr_quick_watched(TwrIteration *it)
{
    PyObject *map =
        it->quick.dict == NULL ||
                attribute(it, it->state->names._selector) != it->quick.selector
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
    twr_watch_end(&it->quick.watch);
    Py_CLEAR(it->quick.dict);
    Py_CLEAR(it->quick.epoll);
    it->quick.selector = NULL;
}

int
twr_quick_is_stopping(TwrIteration *it)
{
    return twr_watch_is_unchanged(&it->quick.watch) ? it->quick.stopping
                                                    : look_stopping(it);
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
