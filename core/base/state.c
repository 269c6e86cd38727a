/* base/state.c - the state of the module, and the way to what is in Python. */
#include "base/state.h"

TwrState *
twr_state(PyObject *module)
{
    return (TwrState *)PyModule_GetState(module);
}

static int
import_names(TwrState *state)
{
#define X(name)                                                               \
    state->names.name = PyUnicode_InternFromString(#name);                    \
    if (state->names.name == NULL) {                                          \
        return -1;                                                            \
    }
    TWR_NAMES(X)
#undef X
    return 0;
}

PyObject *
twr_import(const char *module, const char *attribute)
{
    PyObject *mod = PyImport_ImportModule(module);
    if (mod == NULL || attribute == NULL) {
        return mod;
    }
    PyObject *value = PyObject_GetAttrString(mod, attribute);
    Py_DECREF(mod);
    return value;
}

static int
import_others(TwrState *state)
{
#define X(field, module, attribute)                                           \
    state->field = twr_import(module, attribute);                             \
    if (state->field == NULL) {                                               \
        return -1;                                                            \
    }
    TWR_IMPORTS(X)
#undef X
    return 0;
}

int
twr_state_import(TwrState *state)
{
    return import_names(state) < 0 ? -1 : import_others(state);
}

/* By TwrCold. */
static const char *const cold_names[] = {
#define X(name) #name,
    TWR_COLD(X)
#undef X
};

int
twr_cold_use(TwrState *state, PyObject *module)
{
    PyObject *found[N_COLD] = {NULL};
    int result = 0;
    for (int i = 0; i < N_COLD && result == 0; i++) {
        found[i] = PyObject_GetAttrString(module, cold_names[i]);
        result = found[i] == NULL ? -1 : 0;
    }
    for (int i = 0; i < N_COLD; i++) {
        if (result == 0) {
            Py_XSETREF(state->cold[i], found[i]);
        }
        else {
            Py_XDECREF(found[i]);
        }
    }
    return result;
}

/* Import the cold module: needed only by who has imported the core alone, for
 * tworoutine gives us that module as it is imported itself. */
static int
load_cold(TwrState *state)
{
    PyObject *module = PyImport_ImportModule("tworoutine._cold");
    int used = module == NULL ? -1 : twr_cold_use(state, module);
    Py_XDECREF(module);
    return used;
}

PyObject *
twr_cold(TwrState *state, TwrCold which, const char *format, ...)
{
    if (state->cold[which] == NULL && load_cold(state) < 0) {
        return NULL;
    }
    va_list va;
    va_start(va, format);
    PyObject *args =
        format == NULL ? PyTuple_New(0) : Py_VaBuildValue(format, va);
    va_end(va);
    PyObject *function = Py_NewRef(state->cold[which]);
    PyObject *result =
        args == NULL ? NULL : PyObject_CallObject(function, args);
    Py_DECREF(function);
    Py_XDECREF(args);
    return result;
}

int
twr_truth(PyObject *value)
{
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    return truth;
}

int
twr_double(PyObject *value, double *number)
{
    if (value == NULL) {
        return -1;
    }
    *number = PyFloat_AsDouble(value);
    Py_DECREF(value);
    return *number == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int
twr_flag(PyObject *op, PyObject *name)
{
    return twr_truth(PyObject_GetAttr(op, name));
}

bool
twr_has(PyObject *op, const char *name, PyObject *value)
{
    PyObject *found = PyObject_GetAttrString(op, name);
    PyErr_Clear();
    Py_XDECREF(found); /* only compared */
    return found == value;
}

int
twr_ask(PyObject *op, PyObject *method)
{
    return twr_truth(PyObject_CallMethodNoArgs(op, method));
}

int
twr_is_method(PyObject *type, PyObject *name, PyObject *known)
{
    PyObject *found;
    if (PyObject_GetOptionalAttr(type, name, &found) < 0) {
        return -1;
    }
    Py_XDECREF(found); /* only compared */
    return found == known;
}

void
twr_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (type->tp_weaklistoffset > 0) {
        PyObject_ClearWeakRefs(op);
    }
    type->tp_clear(op);
    twr_free(op);
}
