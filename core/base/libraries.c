/* base/libraries.c - which libraries that matter to calls have been imported.
 */
#include "base/libraries.h"

/* By INDEX_. */
static const char *const module_names[] = {
#define X(name, module) module,
    TWR_LIBRARIES(X)
#undef X
};

int
twr_libraries_init(TwrState *state)
{
    for (int i = 0; i < N_LIBRARIES; i++) {
        state->libraries.names[i] =
            PyUnicode_InternFromString(module_names[i]);
        if (state->libraries.names[i] == NULL) {
            return -1;
        }
    }
    return twr_watch_begin(&state->libraries.watch, PyImport_GetModuleDict());
}

int
twr_libraries_look(TwrState *state)
{
    PyObject *modules = PyImport_GetModuleDict();
    twr_watch_note(&state->libraries.watch);
    unsigned imported = 0;
    for (int i = 0; i < N_LIBRARIES; i++) {
        PyObject *name = state->libraries.names[i];
        if (PyDict_GetItemWithError(modules, name) != NULL) {
            imported |= 1u << i;
        }
        else if (PyErr_Occurred()) {
            twr_watch_forget(&state->libraries.watch);
            return -1;
        }
    }
    state->libraries.imported = imported;
    return 0;
}
