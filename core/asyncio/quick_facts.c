/* asyncio/quick_facts.c - which types are asyncio's own, and their slots. */
#include "asyncio/quick_facts.h"

#include <structmember.h>

/* The offset of a slot (a member descriptor) of type; -1: it is none. */
static Py_ssize_t
find_slot(PyTypeObject *type, const char *name)
{
    PyObject *slot = PyObject_GetAttrString((PyObject *)type, name);
    Py_ssize_t offset = -1;
    if (slot != NULL && Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
        PyDescr_TYPE(slot) == type) {
        offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    }
    PyErr_Clear();
    Py_XDECREF(slot);
    return offset;
}

/* The C function of a method of a type in C; NULL: it is none. */
static PyCFunction
find_method(PyTypeObject *type, const char *name)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)type, name);
    PyCFunction function = NULL;
    if (method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        function = ((PyMethodDescrObject *)method)->d_method->ml_meth;
    }
    PyErr_Clear();
    Py_XDECREF(method);
    return function;
}

/* module.name, if it is a type. */
static PyTypeObject *
find_type(const char *module, const char *name)
{
    PyObject *type = twr_import(module, name);
    if (type != NULL && !PyType_Check(type)) {
        Py_CLEAR(type);
    }
    PyErr_Clear();
    return (PyTypeObject *)type;
}

/* Whether a method of type is a function of the module of type. */
static bool
is_own(PyTypeObject *type, const char *name)
{
    PyObject *here = PyObject_GetAttrString((PyObject *)type, "__module__");
    PyObject *method = PyObject_GetAttrString((PyObject *)type, name);
    PyObject *there =
        method == NULL ? NULL : PyObject_GetAttrString(method, "__module__");
    bool own = here != NULL && there != NULL &&
               PyObject_RichCompareBool(here, there, Py_EQ) > 0;
    PyErr_Clear();
    Py_XDECREF(here);
    Py_XDECREF(method);
    Py_XDECREF(there);
    return own;
}

/* A method of type, if it is asyncio's own; NULL without error: it is not, or
 * type is NULL. */
static PyObject *
own_method(PyTypeObject *type, const char *name)
{
    PyObject *method = type != NULL && is_own(type, name)
                           ? PyObject_GetAttrString((PyObject *)type, name)
                           : NULL;
    PyErr_Clear();
    return method;
}

static bool
learn_handles(TwrState *state, TwrQuickFacts *facts)
{
    facts->handle = (PyTypeObject *)Py_NewRef(state->Handle);
    facts->timer = find_type("asyncio.events", "TimerHandle");
    if (facts->timer == NULL || !is_own(facts->handle, "_run")) {
        return false;
    }
    facts->callback_at = find_slot(facts->handle, "_callback");
    facts->args_at = find_slot(facts->handle, "_args");
    facts->context_at = find_slot(facts->handle, "_context");
    facts->cancelled_at = find_slot(facts->handle, "_cancelled");
    facts->when_at = find_slot(facts->timer, "_when");
    facts->handle_version = twr_type_version(facts->handle);
    facts->timer_version = twr_type_version(facts->timer);
    return facts->callback_at > 0 && facts->args_at > 0 &&
           facts->context_at > 0 && facts->cancelled_at > 0 &&
           facts->when_at > 0;
}

static bool
learn_deque(TwrQuickFacts *facts)
{
    facts->deque = find_type("collections", "deque");
    if (facts->deque == NULL) {
        return false;
    }
    facts->popleft = find_method(facts->deque, "popleft");
    facts->append = find_method(facts->deque, "append");
    facts->appendleft = find_method(facts->deque, "appendleft");
    return facts->popleft != NULL && facts->append != NULL &&
           facts->appendleft != NULL;
}

static bool
learn_loops(TwrState *state, TwrQuickFacts *facts)
{
    facts->selector = find_type("selectors", "EpollSelector");
    facts->epoll = find_type("select", "epoll");
    facts->selector_version =
        facts->selector == NULL ? 0 : twr_type_version(facts->selector);
    PyTypeObject *loop =
        find_type("asyncio.selector_events", "BaseSelectorEventLoop");
    facts->process_events = own_method(loop, "_process_events");
    Py_XDECREF(loop);
    PyTypeObject *base = (PyTypeObject *)state->BaseEventLoop;
    facts->call_soon = own_method(base, "call_soon");
    facts->call_soon_unchecked = own_method(base, "_call_soon");
    /* 3.13+; used by running.c, if they are asyncio's own. */
    facts->setup = own_method(base, "_run_forever_setup");
    facts->cleanup = own_method(base, "_run_forever_cleanup");
    return facts->selector != NULL && facts->epoll != NULL &&
           is_own(facts->selector, "select") &&
           facts->process_events != NULL && facts->call_soon != NULL &&
           facts->call_soon_unchecked != NULL;
}

static bool
learn_clock(TwrState *state, TwrQuickFacts *facts)
{
    PyObject *module = PyImport_ImportModule("time");
    facts->time_dict =
        module == NULL ? NULL : Py_NewRef(PyModule_GetDict(module));
    facts->monotonic =
        module == NULL ? NULL : PyObject_GetAttrString(module, "monotonic");
    facts->time = own_method((PyTypeObject *)state->BaseEventLoop, "time");
    Py_XDECREF(module);
    return facts->monotonic != NULL && PyCFunction_Check(facts->monotonic) &&
           facts->time != NULL;
}

int
twr_quick_init(TwrState *state)
{
    TwrQuickFacts *facts = &state->quick;
    /* 3.11 gives a dictionary another tag only once the value that was there
     * before has gone, and what its finalizer does has been done. */
    facts->sees_attributes =
        TWR_DICT_WATCHERS && twr_watch_sees_attributes() > 0;
    facts->is_known = learn_handles(state, facts) && learn_deque(facts) &&
                      learn_loops(state, facts) && learn_clock(state, facts);
    PyErr_Clear();
    return 0;
}
