/* greenback.c - greenback's portals: beside our drivers, and calls below them.
 *
 * A task with a portal of greenback runs in a greenlet of its own, a child of
 * the one in which its first step ran: the portal.  At each step greenback
 * asks the portal for its contextvars context, taking it for the greenlet in
 * which the step runs.  Here that may be another driver.  So before a step of
 * such a task its portal, which is parked, is given the context of the step;
 * when the portal goes on, it takes its own one back (switch_to in stack.c).
 *
 * What the portal is sent by its child comes to us, and is forwarded like any
 * switch that was not meant for us.
 *
 * A call made in that child is one that greenback can serve, under any loop
 * for which it has portals: what the call waits for goes through its portal.
 */
#include "twr.h"

void
twr_greenback_find(TwrState *state)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (state->gb_portals != NULL || !PyDict_Check(modules) ||
        PyDict_GET_SIZE(modules) == state->n_modules) {
        return;
    }
    state->n_modules = PyDict_GET_SIZE(modules);
    PyObject *module = PyImport_GetModule(state->greenback);
    if (module == NULL) {
        PyErr_Clear();
        return;
    }
    /* A WeakKeyDictionary, task -> portal, is a dictionary inside. */
    PyObject *tasks = PyObject_GetAttrString(module, "task_portals");
    PyObject *data =
        tasks == NULL ? NULL : PyObject_GetAttrString(tasks, "data");
    if (data != NULL && PyDict_Check(data)) {
        state->gb_portals = Py_NewRef(data);
    }
    PyErr_Clear();
    Py_XDECREF(data);
    Py_XDECREF(tasks);
    Py_DECREF(module);
}

static bool
has_portals(TwrState *state)
{
    return state->gb_portals != NULL && PyDict_GET_SIZE(state->gb_portals) > 0;
}

/* The open portal of task (taken; NULL: there is none), if that is another
 * greenlet than the running one; or NULL.  Clears the pending exception. */
static PyObject *
other_portal(TwrState *state, PyObject *task)
{
    PyObject *ref = task == NULL ? NULL : PyWeakref_NewRef(task, NULL);
    PyObject *portal =
        ref == NULL ? NULL : PyDict_GetItemWithError(state->gb_portals, ref);
    Py_XINCREF(portal);
    PyObject *me = portal == NULL ? NULL : twr_stack_current();
    if (portal == me || portal == Py_None) {
        Py_CLEAR(portal);
    }
    PyErr_Clear();
    Py_XDECREF(me);
    Py_XDECREF(ref);
    Py_XDECREF(task);
    return portal;
}

int
twr_greenback_here(TwrState *state)
{
    twr_greenback_find(state);
    PyObject *module =
        has_portals(state) ? PyImport_GetModule(state->greenback) : NULL;
    if (module == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *task = PyObject_CallMethod(module, "current_task", NULL);
    Py_DECREF(module);
    if (task == NULL && !PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        return -1; /* not that there is none: a signal handler's */
    }
    PyObject *portal = other_portal(state, task);
    Py_XDECREF(portal);
    return portal != NULL;
}

PyObject *
twr_greenback_wait(TwrState *state, PyObject *awaitable)
{
    PyObject *module = PyImport_GetModule(state->greenback);
    PyObject *result =
        module == NULL ? NULL
                       : PyObject_CallMethod(module, "await_", "O", awaitable);
    Py_XDECREF(module);
    return result;
}

void
twr_greenback_step(TwrState *state, PyObject *handle, PyObject *callback)
{
    if (!has_portals(state)) {
        return;
    }
    PyObject *portal =
        other_portal(state, PyObject_GetAttr(callback, state->names.__self__));
    PyObject *context =
        portal == NULL ? NULL : PyObject_GetAttrString(handle, "_context");
    if (context != NULL) {
        PyObject_SetAttrString(portal, "gr_context", context);
    }
    PyErr_Clear();
    Py_XDECREF(context);
    Py_XDECREF(portal);
}
