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

/* module.attribute, or module itself if attribute is NULL. */
static PyObject *
import_from(const char *module, const char *attribute)
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
    state->field = import_from(module, attribute);                            \
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

/* The module is given to us as tworoutine is imported; who imports the core
 * alone has it imported by the first call that needs it. */
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
twr_flag(PyObject *op, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(op, name);
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    return truth;
}

int
twr_ask(PyObject *op, PyObject *method)
{
    PyObject *value = PyObject_CallMethodNoArgs(op, method);
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    return truth;
}
