/* engine/greenback.c - greenback's portals, beside our drivers. */
#include "engine/greenback.h"

#include "asyncio/handle.h"
#include "asyncio/task_fields.h"
#include "base/libraries.h"
#include "stack/greenlet.h"

void
twr_greenback_look(TwrState *state)
{
    if (state->greenback_portals != NULL ||
        !(twr_libraries(state) & LIBRARY_greenback)) {
        return;
    }
    PyObject *name = state->libraries.names[INDEX_greenback];
    PyObject *module = PyImport_GetModule(name);
    if (module == NULL) {
        PyErr_Clear();
        return;
    }
    /* A WeakKeyDictionary, task -> portal, is a dictionary inside. */
    PyObject *tasks = PyObject_GetAttrString(module, "task_portals");
    PyObject *data =
        tasks == NULL ? NULL : PyObject_GetAttrString(tasks, "data");
    if (data != NULL && PyDict_Check(data)) {
        state->greenback_portals = Py_NewRef(data);
    }
    PyErr_Clear();
    Py_XDECREF(data);
    Py_XDECREF(tasks);
    Py_DECREF(module);
}

bool
twr_greenback_has_portals(TwrState *state)
{
    return state->greenback_portals != NULL &&
           PyDict_GET_SIZE(state->greenback_portals) > 0;
}

PyObject *
twr_greenback_portal_of(TwrState *state, PyObject *task)
{
    PyObject *ref = task == NULL ? NULL : PyWeakref_NewRef(task, NULL);
    PyObject *portal =
        ref == NULL ? NULL
                    : PyDict_GetItemWithError(state->greenback_portals, ref);
    Py_XINCREF(portal);
    if (portal == twr_greenlet_running() || portal == Py_None) {
        Py_CLEAR(portal);
    }
    PyErr_Clear();
    Py_XDECREF(ref);
    Py_XDECREF(task);
    return portal;
}

void
twr_greenback_step(TwrState *state, PyObject *handle, PyObject *callback)
{
    if (!twr_greenback_has_portals(state)) {
        return;
    }
    PyObject *portal = twr_greenback_portal_of(
        state, Py_XNewRef(twr_task_of_callback(state, callback)));
    PyObject *context = portal == NULL ? NULL : twr_handle_context(handle);
    if (context != NULL) {
        PyObject_SetAttrString(portal, "gr_context", context);
    }
    PyErr_Clear();
    Py_XDECREF(context);
    Py_XDECREF(portal);
}
