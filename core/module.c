/* module.c - the module: its types, its constants, its state.
 *
 * tworoutine._core
 *     tworoutine      the decorator
 *     await_          a synchronous await
 *     CannotSuspend   where a call cannot be served
 *     why_no_handoff  None, or why no running loop can be shared here
 *     Portal          the coroutine that portal() and run() make
 *     Awaiting        one that awaits some other object
 *     home            the ContextVar of home()
 *     Dual            what all duals derive from
 *     Special         a special method of theirs
 *     dual_new, dual_method, dual_of,
 *     home_of, look, adopt, adopting, in_portal, drivable, stepper,
 * thread_loop, prime, refit, hide, hidden, show, run_in, end_thread,
 * end_closed, unregistered, after_fork, cold for tworoutine/_*.py: api.c */
#include "api.h"
#include "asyncio/debug.h"
#include "asyncio/facts.h"
#include "asyncio/future.h"
#include "asyncio/handle.h"
#include "asyncio/loop.h"
#include "asyncio/quick_facts.h"
#include "asyncio/run_once.h"
#include "asyncio/running.h"
#include "asyncio/task.h"
#include "asyncio/task_fields.h"
#include "asyncio/timers.h"
#include "backends/portal.h"
#include "base/facts.h"
#include "base/libraries.h"
#include "base/state.h"
#include "coro/awaiting.h"
#include "end.h"
#include "engine/call.h"
#include "engine/closed.h"
#include "engine/drives.h"
#include "engine/interrupt.h"
#include "engine/marker.h"
#include "face/dual_type.h"
#include "face/generator.h"
#include "face/manager.h"
#include "face/methods.h"
#include "face/special.h"
#include "face/tworoutine.h"
#include "face/wrapper.h"
#include "stack/context.h"
#include "stack/footing.h"
#include "stack/greenlet.h"

static int
add_types(PyObject *module, TwrState *state)
{
    struct {
        PyTypeObject **field;
        PyType_Spec *spec;
    } const types[] = {
        {&state->types.call, &twr_call_spec},
        {&state->types.driven, &twr_driven_spec},
        {&state->types.marker, &twr_marker_spec},
        {&state->types.thread, &twr_thread_spec},
        {&state->types.generator, &twr_generator_spec},
        {&state->types.manager, &twr_manager_spec},
        {&state->types.slow_limit, &twr_slow_limit_spec},
        {&state->types.doc, &twr_doc_spec},
        {&state->types.dual, &twr_dual_spec},
        {&state->types.special, &twr_special_spec},
        {&state->types.portal, &twr_portal_spec},
        {&state->types.awaiting, &twr_awaiting_spec},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        *types[i].field = (PyTypeObject *)PyType_FromModuleAndSpec(
            module, types[i].spec, NULL);
        if (*types[i].field == NULL) {
            return -1;
        }
    }
    if (twr_tworoutine_init(module, state) < 0 ||
        twr_tworoutine_set_doc(state) < 0 ||
        PyModule_AddType(module, state->types.portal) < 0 ||
        PyModule_AddType(module, state->types.dual) < 0 ||
        PyModule_AddType(module, state->types.special) < 0 ||
        PyModule_AddType(module, state->types.awaiting) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->types.tworoutine);
}

static int
add_constants(PyObject *module, TwrState *state)
{
    state->CannotSuspend = PyErr_NewExceptionWithDoc(
        "tworoutine.CannotSuspend",
        "A synchronous call cannot wait where it was made.\n\n"
        "Raised at once, with the coroutine closed; the message says why and "
        "what to do.",
        PyExc_RuntimeError, NULL);
    state->home = PyContextVar_New("tworoutine.home", NULL);
    state->neutral = PyContext_New();
    state->kw.context = Py_BuildValue("(s)", "context");
    state->kw.msg = Py_BuildValue("(s)", "msg");
    state->kw.task = Py_BuildValue("(ss)", "loop", "context");
    state->interrupted = PyCFunction_New(&twr_interrupt_def, module);
    state->end_closed = PyCFunction_New(&twr_closed_def, module);
    state->asyncio_dot = PyUnicode_InternFromString("asyncio.");
    if (state->asyncio_dot == NULL || state->neutral == NULL ||
        state->home == NULL || state->kw.context == NULL ||
        state->kw.msg == NULL || state->kw.task == NULL ||
        state->interrupted == NULL || state->end_closed == NULL ||
        state->CannotSuspend == NULL) {
        return -1;
    }
    if (PyModule_AddObjectRef(module, "end_closed", state->end_closed) < 0 ||
        PyModule_AddObjectRef(module, "home", state->home) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "CannotSuspend",
                                 state->CannotSuspend);
}

static int
add_diagnostics(PyObject *module, TwrState *state)
{
    PyObject *why = state->loop.why_not != NULL   ? state->loop.why_not
                    : state->task.why_not != NULL ? state->task.why_not
                                                  : Py_None;
    return PyModule_AddObjectRef(module, "why_no_handoff", why);
}

/* Is this the asyncio that we know?  If not, state->loop.why_not says so. */
static int
init_asyncio(TwrState *state)
{
    return twr_facts_init(state) < 0 || twr_quick_init(state) < 0 ||
                   twr_loop_init(state) < 0 || twr_running_init(state) < 0 ||
                   twr_run_once_init(state) < 0 ||
                   twr_timers_init(state) < 0 || twr_debug_init(state) < 0 ||
                   twr_handle_init(state) < 0 || twr_future_init(state) < 0 ||
                   twr_task_init(state) < 0 || twr_task_fields_init(state) < 0
               ? -1
               : 0;
}

static int
module_exec(PyObject *module)
{
    TwrState *state = twr_state(module);
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "tworoutine can be imported by the main interpreter "
                        "only, not by a subinterpreter");
        return -1;
    }
    if (twr_state_import(state) < 0 || twr_libraries_init(state) < 0 ||
        twr_greenlet_init() < 0 || twr_footing_init(state) < 0 ||
        add_types(module, state) < 0 || twr_wrapper_init(state) < 0 ||
        add_constants(module, state) < 0 || init_asyncio(state) < 0 ||
        twr_context_init(state) < 0 || twr_marker_init(state) < 0) {
        PyObject *pending = twr_error_take();
        twr_watch_end(&state->libraries.watch);
        twr_error_put(pending);
        return -1;
    }
    return add_diagnostics(module, state);
}

/* Do to every object of the state what a visitor does. */
static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    TwrState *state = twr_state(module);
    PyTypeObject *const *types = (PyTypeObject *const *)&state->types;
    for (size_t i = 0; i < sizeof(TwrTypes) / sizeof(*types); i++) {
        Py_VISIT(types[i]);
    }
    for (int i = 0; i < N_COLD; i++) {
        Py_VISIT(state->cold[i]);
    }
    Py_VISIT(state->CannotSuspend);
    Py_VISIT(state->home);
    Py_VISIT(state->neutral);
    Py_VISIT(state->footing_code);
    Py_VISIT(state->greenback_portals);
    Py_VISIT(state->interrupted);
    Py_VISIT(state->end_closed);
    Py_VISIT(state->child_error);
#define X(field, module_name, attribute) Py_VISIT(state->field);
    TWR_IMPORTS(X)
#undef X
    return 0;
}

/* The state of a process-wide module, of which greenlet allows only one, is
 * kept until the process ends: greenlets that are parked may still use it. */
static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tworoutine._core",
    .m_doc = "The C core of tworoutine.",
    .m_size = sizeof(TwrState),
    .m_methods = twr_api_methods,
    .m_slots = core_slots,
    .m_traverse = module_traverse,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
