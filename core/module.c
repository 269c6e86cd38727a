/* module.c - the module and its state.
 *
 * tworoutine._core
 *     tworoutine      the decorator
 *     await_          a synchronous await
 *     CannotSuspend   where a call cannot be served
 *     why_no_handoff  None, or why no running loop can be shared here
 *     Portal          the coroutine that portal() and run() make
 *     Awaiting        one that awaits some other object
 *     in_portal, drivable, stepper, thread_loop, prime, refit,
 *     run_in, end_thread,
 *     unregistered, after_fork, adapters      for tworoutine/_*.py */
#include "twr.h"

static int module_exec(PyObject *module);

TwrState *
twr_state(PyObject *module)
{
    return (TwrState *)PyModule_GetState(module);
}

PyObject *
twr_adapters(TwrState *state)
{
    if (state->adapters == NULL) {
        state->adapters = PyImport_ImportModule("tworoutine._adapters");
    }
    return state->adapters;
}

PyDoc_STRVAR(await_doc,
             "await_(awaitable, /)\n--\n\n"
             "Wait for awaitable synchronously, and return its result.\n\n"
             "The same as `await awaitable`, anywhere: a coroutine, a Future, "
             "a Task, an object\nwith __await__.  Raises what it raises, "
             "TypeError if it cannot be awaited, and\nCannotSuspend where a "
             "call cannot wait.");

/* TypeError: await_(op) cannot be meant. */
static PyObject *
refuse_await(TwrState *state, PyObject *op)
{
    const char *advice = "";
    PyObject *enter;
    int manages =
        PyObject_GetOptionalAttr(op, state->names.__aenter__, &enter);
    Py_XDECREF(enter);
    if (manages < 0) {
        return NULL;
    }
    if (Py_IS_TYPE(op, state->tworoutine_type)) {
        advice = "; call it: that waits by itself";
    }
    else if (PyAsyncGen_CheckExact(op)) {
        advice = "; iterate over it with async for";
    }
    else if (manages && !PyType_Check(op)) {
        advice = "; enter it with async with";
    }
    else if (PyCallable_Check(op)) {
        advice = "; call it first";
    }
    return PyErr_Format(PyExc_TypeError,
                        "await_() takes an awaitable, as a coroutine or a "
                        "future, not %R%s",
                        op, advice);
}

static PyObject *
core_await(PyObject *module, PyObject *const *args, Py_ssize_t n,
           PyObject *kwnames)
{
    TwrState *state = twr_state(module);
    if (n == 1 && kwnames == NULL) {
        return twr_is_awaitable(args[0]) ? twr_await(state, args[0], NULL)
                                         : refuse_await(state, args[0]);
    }
    n += kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < n; i++) {
        twr_close_awaitable(state, args[i]);
    }
    PyErr_SetString(PyExc_TypeError,
                    "await_() takes one awaitable, by position; "
                    "asyncio.gather() awaits several");
    return NULL;
}

/* prime(loop): no call of its runs is to pin its owner, if it is ours to
 * drive; see handoff.c. */
static PyObject *
core_prime(PyObject *module, PyObject *loop)
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    int drivable = th == NULL ? -1 : twr_loop_drivable(th, loop);
    if (drivable < 0 || (drivable && twr_loop_prime(state, loop) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* refit(f, g): f has the function of g from now on, or, if g is f, the one
 * that it has has become another. */
static PyObject *
core_refit(PyObject *module, PyObject *args)
{
    PyTypeObject *type = twr_state(module)->tworoutine_type;
    Tworoutine *f, *g;
    if (!PyArg_ParseTuple(args, "O!O!", type, &f, type, &g)) {
        return NULL;
    }
    f->makes = MAKES_UNKNOWN;
    Py_SETREF(f->fn, Py_NewRef(g->fn));
    Py_RETURN_NONE;
}

/* run_in(loop, coro): run a loop that is not running until coro is done. */
static PyObject *
core_run_in(PyObject *module, PyObject *args)
{
    PyObject *loop, *coro;
    if (!PyArg_ParseTuple(args, "OO", &loop, &coro)) {
        return NULL;
    }
    Thread *th = twr_thread(twr_state(module));
    return th == NULL ? NULL : twr_run_in(th, loop, coro, NULL);
}

/* adapters(module): what twr_adapters() is from now on.  Not imported when
 * first needed: that may be in the middle of anything. */
static PyObject *
core_adapters(PyObject *module, PyObject *adapters)
{
    Py_XSETREF(twr_state(module)->adapters, Py_NewRef(adapters));
    Py_RETURN_NONE;
}

/* Close this thread's loop and end its greenlets now. */
static PyObject *
core_end_thread(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (twr_thread_end() < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The next call has atexit call end_thread again. */
static PyObject *
core_unregistered(PyObject *module, PyObject *unused)
{
    (void)unused;
    twr_state(module)->unregistered = true;
    Py_RETURN_NONE;
}

/* In a forked child: nothing that its parent's thread had can be used.
 * Returns the loop that is to be thrown away, or None. */
static PyObject *
core_after_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *loop = twr_thread_after_fork();
    return loop == NULL ? Py_NewRef(Py_None) : loop;
}

/* Whether a call made here would wait in a portal. */
static PyObject *
core_in_portal(PyObject *module, PyObject *unused)
{
    (void)unused;
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    int here = loop == NULL ? -1 : twr_portal_here(th, loop);
    Py_XDECREF(loop);
    return here < 0 ? NULL : PyBool_FromLong(here);
}

/* drivable(loop): whether calls can wait in it without a portal. */
static PyObject *
core_drivable(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    int drivable = th == NULL ? -1 : twr_loop_drivable(th, loop);
    return drivable < 0 ? NULL : PyBool_FromLong(drivable);
}

/* stepper(loop): the greenlet in which the steps of a loop run that we drive
 * in this thread; None if we do not. */
static PyObject *
core_stepper(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    if (th == NULL) {
        return NULL;
    }
    bool ours = th->loan != NULL && th->loan->loop == loop;
    return Py_NewRef(ours && th->active != NULL ? th->active : Py_None);
}

/* thread_loop(): the loop that a call would run where none is running. */
static PyObject *
core_thread_loop(PyObject *module, PyObject *unused)
{
    (void)unused;
    Thread *th = twr_thread(twr_state(module));
    return th == NULL ? NULL : twr_run_loop(th, NULL);
}

static PyObject *
core_hide(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    return th == NULL || twr_run_hide(th, loop) < 0 ? NULL
                                                    : Py_NewRef(Py_None);
}

static PyObject *
core_show(PyObject *module, PyObject *unused)
{
    (void)unused;
    Thread *th = twr_thread(twr_state(module));
    return th == NULL || twr_run_show(th) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef core_methods[] = {
    {"await_", (PyCFunction)(void (*)(void))core_await,
     METH_FASTCALL | METH_KEYWORDS, await_doc},
    {"hide", core_hide, METH_O,
     "Have it look as if the running loop, given, did not run."},
    {"show", core_show, METH_NOARGS, "Undo that."},
    {"in_portal", core_in_portal, METH_NOARGS,
     "Whether a synchronous call made here would wait in a portal."},
    {"drivable", core_drivable, METH_O,
     "Whether synchronous calls can wait in a loop without a portal."},
    {"stepper", core_stepper, METH_O,
     "The greenlet in which the steps run of a loop that we drive; or None."},
    {"thread_loop", core_thread_loop, METH_NOARGS,
     "The loop that a synchronous call would run where none is running."},
    {"prime", core_prime, METH_O,
     "Have the next run of a loop begin with our marker."},
    {"refit", core_refit, METH_VARARGS,
     "Give a tworoutine the function of another one."},
    {"run_in", core_run_in, METH_VARARGS,
     "Run a loop until a coroutine is done."},
    {"adapters", core_adapters, METH_O,
     "Give the module of what the core leaves to Python."},
    {"end_thread", core_end_thread, METH_NOARGS,
     "Close this thread's own loop and end its greenlets."},
    {"unregistered", core_unregistered, METH_NOARGS,
     "Tell that atexit has let go of end_thread."},
    {"after_fork", core_after_fork, METH_NOARGS,
     "Drop what the parent process had; return its loop, or None."},
    {NULL, NULL, 0, NULL},
};

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

static int
add_types(PyObject *module, TwrState *state)
{
    struct {
        PyTypeObject **field;
        PyType_Spec *spec;
    } const types[] = {
        {&state->tworoutine_type, &twr_tworoutine_spec},
        {&state->call_type, &twr_call_spec},
        {&state->loan_type, &twr_loan_spec},
        {&state->marker_type, &twr_marker_spec},
        {&state->thread_type, &twr_thread_spec},
        {&state->generator_type, &twr_generator_spec},
        {&state->manager_type, &twr_manager_spec},
        {&state->hush_type, &twr_hush_spec},
        {&state->doc_type, &twr_doc_spec},
        {&state->portal_type, &twr_portal_spec},
        {&state->awaiting_type, &twr_awaiting_spec},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        *types[i].field = (PyTypeObject *)PyType_FromModuleAndSpec(
            module, types[i].spec, NULL);
        if (*types[i].field == NULL) {
            return -1;
        }
    }
    if (twr_tworoutine_set_doc(state) < 0 ||
        PyModule_AddType(module, state->portal_type) < 0 ||
        PyModule_AddType(module, state->awaiting_type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->tworoutine_type);
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
    state->neutral = PyContext_New();
    state->kw_context = Py_BuildValue("(s)", "context");
    state->kw_msg = Py_BuildValue("(s)", "msg");
    state->kw_task = Py_BuildValue("(ss)", "loop", "context");
    state->kw_hooks = Py_BuildValue("(ss)", "firstiter", "finalizer");
    state->interrupted = PyCFunction_New(&twr_sigint_def, module);
    state->end_orphans = PyCFunction_New(&twr_orphans_def, module);
    state->greenback = PyUnicode_InternFromString("greenback._impl");
    state->asyncio_dot = PyUnicode_InternFromString("asyncio.");
    state->sqlalchemy_asyncio =
        PyUnicode_InternFromString("sqlalchemy.ext.asyncio");
    if (state->asyncio_dot == NULL || state->sqlalchemy_asyncio == NULL ||
        state->neutral == NULL || state->kw_context == NULL ||
        state->kw_msg == NULL || state->kw_task == NULL ||
        state->kw_hooks == NULL || state->interrupted == NULL ||
        state->end_orphans == NULL || state->greenback == NULL ||
        state->CannotSuspend == NULL) {
        return -1;
    }
    if (PyModule_AddObjectRef(module, "end_orphans", state->end_orphans) < 0) {
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
    if (import_names(state) < 0 || twr_stack_init(state) < 0 ||
        import_others(state) < 0 || twr_floor_init(state) < 0 ||
        add_types(module, state) < 0 || twr_iter_init(state) < 0 ||
        add_constants(module, state) < 0 || twr_loop_init(state) < 0 ||
        twr_task_init(state) < 0 || twr_context_init(state) < 0 ||
        twr_handoff_init(state) < 0) {
        return -1;
    }
    return add_diagnostics(module, state);
}

/* Do to every object of the state what a visitor does. */
static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    TwrState *state = twr_state(module);
    Py_VISIT(state->tworoutine_type);
    Py_VISIT(state->call_type);
    Py_VISIT(state->loan_type);
    Py_VISIT(state->marker_type);
    Py_VISIT(state->thread_type);
    Py_VISIT(state->generator_type);
    Py_VISIT(state->manager_type);
    Py_VISIT(state->hush_type);
    Py_VISIT(state->doc_type);
    Py_VISIT(state->portal_type);
    Py_VISIT(state->awaiting_type);
    Py_VISIT(state->CannotSuspend);
    Py_VISIT(state->neutral);
    Py_VISIT(state->floor_code);
    Py_VISIT(state->greenback);
    Py_VISIT(state->gb_portals);
    Py_VISIT(state->interrupted);
    Py_VISIT(state->end_orphans);
    Py_VISIT(state->child_error);
    Py_VISIT(state->adapters);
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
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = module_traverse,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
