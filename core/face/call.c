/* face/call.c - the decorator's objects, and what calling one does. */
#include "face/call.h"

#include "asyncio/facts.h"
#include "asyncio/frames.h"
#include "asyncio/running.h"
#include "await.h"
#include "backends/home.h"
#include "base/error.h"
#include "coro/awaiting.h"
#include "face/dual.h"
#include "face/serve.h"

/* del dict[name], if it is there. */
static int
forget_name(PyObject *dict, const char *name)
{
    if (PyDict_DelItemString(dict, name) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

/* functools.wraps over a tworoutine copies the __dict__: have it hold what
 * that of the function holds, but for what marks a coroutine function. */
static int
adopt_dict(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    if (!PyFunction_Check(self->fn)) {
        return 0;
    }
    PyObject *dict = ((PyFunctionObject *)self->fn)->func_dict;
    if (dict == NULL || PyDict_GET_SIZE(dict) == 0) {
        return 0;
    }
    self->dict = PyDict_Copy(dict);
    if (self->dict == NULL || forget_name(self->dict, "__wrapped__") < 0 ||
        forget_name(self->dict, "__tworoutine__") < 0) {
        return -1;
    }
    const char *const *mark = twr_facts_coroutine_marks;
    for (; *mark != NULL; mark++) {
        if (forget_name(self->dict, *mark) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *call_tworoutine(PyObject *op, PyObject *const *args,
                                 size_t nargsf, PyObject *kwnames);

/* What has a home, calls fn there. */
static void
set_home(Tworoutine *self, PyObject *home)
{
    if (home != NULL) {
        Py_XSETREF(self->home, Py_NewRef(home));
        self->makes = MAKES_ONLY;
    }
}

/* A tworoutine over fn, which says of what type. */
static Tworoutine *
new_over(TwrState *state, PyObject *fn)
{
    PyTypeObject *type = Py_TYPE(fn)->tp_flags & Py_TPFLAGS_METHOD_DESCRIPTOR
                             ? state->types.tworoutine
                             : state->types.tworoutine_object;
    Tworoutine *self = (Tworoutine *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = call_tworoutine;
        self->fn = Py_NewRef(fn);
    }
    return self;
}

PyObject *
twr_tworoutine_new(TwrState *state, PyObject *fn, PyObject *origin)
{
    Tworoutine *self = new_over(state, fn);
    if (self != NULL) {
        self->origin = Py_XNewRef(origin);
        set_home(self, origin == NULL ? NULL : ((Tworoutine *)origin)->home);
        if (origin == NULL && adopt_dict((PyObject *)self) < 0) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

PyObject *
twr_tworoutine_new_at(TwrState *state, PyObject *fn, PyObject *home)
{
    PyObject *self = twr_tworoutine_new(state, fn, NULL);
    if (self != NULL) {
        set_home((Tworoutine *)self, home);
    }
    return self;
}

PyObject *
twr_tworoutine_new_of(PyObject *dual, PyObject *fn, bool unbound)
{
    Tworoutine *self = new_over(((Dual *)dual)->state, fn);
    if (self != NULL) {
        self->dual = Py_NewRef(dual);
        self->unbound = unbound;
    }
    return (PyObject *)self;
}

PyObject *
twr_tworoutine_bind(PyObject *f, PyObject *obj)
{
    PyObject *method = PyMethod_New(((Tworoutine *)f)->fn, obj);
    PyObject *self =
        method == NULL ? NULL : twr_tworoutine_new(twr_state_of(f), method, f);
    Py_XDECREF(method);
    return self;
}

/* What fn, a partial or an object whose class has a function for that, calls
 * when it is called; NULL without error: not known. */
static PyObject *
called_by(TwrState *state, PyObject *fn)
{
    bool is_partial = PyObject_TypeCheck(fn, (PyTypeObject *)state->partial);
    PyObject *of = is_partial ? fn : (PyObject *)Py_TYPE(fn);
    PyObject *inner =
        PyObject_GetAttrString(of, is_partial ? "func" : "__call__");
    PyErr_Clear();
    if (inner != NULL && !is_partial && !PyFunction_Check(inner)) {
        Py_CLEAR(inner);
    }
    return inner;
}

/* 1 if calling fn makes a coroutine or an async generator and does no more, 0
 * if that is not known; -1 without error: fn has no end, as a partial of
 * itself. */
static int
only_makes(TwrState *state, PyObject *fn)
{
    const int kinds = CO_COROUTINE | CO_ASYNC_GENERATOR;
    int makes = -1;
    Py_INCREF(fn);
    for (int depth = 0; makes < 0 && depth < 100; depth++) {
        PyObject *function =
            PyMethod_Check(fn) ? PyMethod_GET_FUNCTION(fn) : fn;
        if (PyFunction_Check(function)) {
            PyObject *code = PyFunction_GET_CODE(function);
            makes = (((PyCodeObject *)code)->co_flags & kinds) != 0;
        }
        else {
            Py_SETREF(fn, called_by(state, function));
            makes = fn == NULL ? 0 : -1;
        }
    }
    Py_XDECREF(fn);
    return makes;
}

int
twr_tworoutine_is_async(TwrState *state, PyObject *op)
{
    if (!PyCallable_Check(op) || PyType_Check(op) || PyCFunction_Check(op) ||
        twr_is_tworoutine(state, op)) {
        return 0;
    }
    int makes = only_makes(state, op);
    return makes != 0 ? makes > 0
                      : twr_truth(twr_cold(state, COLD_is_marked, "(O)", op));
}

/* 1 if fn has to be called where a loop runs, and that does not run here. */
static int
needs_loop(TwrState *state, Tworoutine *self)
{
    if (self->makes == MAKES_UNKNOWN) {
        self->makes =
            only_makes(state, self->fn) > 0 ? MAKES_ONLY : MAKES_MORE;
    }
    if (self->makes == MAKES_ONLY) {
        return 0;
    }
    PyObject *loop = twr_running_loop(state);
    int needs = loop == NULL ? -1
                : loop == Py_None
                    ? 1
                    : twr_home_is_away(state, (PyObject *)self, loop);
    Py_XDECREF(loop);
    return needs;
}

/* fn has failed: if it has refused its arguments by the name that it has as
 * ~f, have the error use its plain name. */
static void
name_plainly(PyObject *op)
{
    PyObject *exc = twr_error_take();
    PyObject *traceback = PyException_GetTraceback(exc);
    if (traceback == NULL &&
        PyErr_GivenExceptionMatches(exc, PyExc_TypeError)) {
        twr_done(twr_cold(twr_state_of(op), COLD_name_plainly, "(OO)",
                          ((Tworoutine *)op)->fn, exc));
    }
    PyErr_Clear();
    Py_XDECREF(traceback);
    twr_error_put(exc);
}

PyObject *
twr_tworoutine_make(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *fn = Py_NewRef(((Tworoutine *)op)->fn); /* as in call_here() */
    PyObject *made = PyObject_Call(fn, args, kwargs);
    Py_DECREF(fn);
    if (made == NULL) {
        name_plainly(op);
    }
    return made;
}

/* Call fn inside a coroutine that the thread's own loop runs.  Switches. */
static PyObject *
call_in_loop(PyObject *op, PyObject *const *args, size_t nargsf,
             PyObject *kwnames)
{
    TwrState *state = twr_state_of(op);
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *result = NULL, *coro = NULL;
    PyObject *positional = PyTuple_New(n);
    PyObject *keywords = PyDict_New();
    if (positional == NULL || keywords == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i),
                           args[n + i]) < 0) {
            goto done;
        }
    }
    coro = twr_awaiting_call(state, op, positional, keywords);
    if (coro != NULL) {
        result = twr_tworoutine_show(state, op, twr_await(state, coro, op));
    }
done:
    Py_XDECREF(coro);
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return result;
}

/* Whether the call is that of a signal handler, f itself, which has
 * interrupted asyncio's own code. */
static int
is_handler_in_asyncio(PyObject *op, PyObject *const *args, size_t nargsf)
{
    return PyVectorcall_NARGS(nargsf) == 2 && PyFrame_Check(args[1])
               ? twr_frames_own(twr_state_of(op), args[1])
               : 0;
}

/* Call fn here, where a loop runs or none is needed.  Switches. */
static PyObject *
call_here(PyObject *op, PyObject *const *args, size_t nargsf,
          PyObject *kwnames)
{
    Tworoutine *self = (Tworoutine *)op;
    PyObject *fn = Py_NewRef(self->fn); /* self may be given another one */
    PyObject *made = PyObject_Vectorcall(fn, args, nargsf, kwnames);
    Py_DECREF(fn);
    if (made == NULL) {
        name_plainly(op);
        return NULL;
    }
    PyObject *result = twr_tworoutine_serve(op, made);
    Py_DECREF(made);
    return result;
}

static PyObject *call_of_dual(PyObject *op, PyObject *const *args,
                              size_t nargsf, PyObject *kwnames);

/* f(...): call fn, and wait for what it returned.  Switches. */
static PyObject *
call_tworoutine(PyObject *op, PyObject *const *args, size_t nargsf,
                PyObject *kwnames)
{
    Tworoutine *self = (Tworoutine *)op;
    int interrupted = is_handler_in_asyncio(op, args, nargsf);
    if (interrupted != 0) {
        if (interrupted > 0) {
            twr_refuse_between(twr_state_of(op), op);
        }
        return NULL;
    }
    if (self->dual != NULL) {
        return call_of_dual(op, args, nargsf, kwnames);
    }
    if (self->makes != MAKES_ONLY) {
        int needs = needs_loop(twr_state_of(op), self);
        if (needs != 0) {
            return needs < 0 ? NULL : call_in_loop(op, args, nargsf, kwnames);
        }
    }
    return call_here(op, args, nargsf, kwnames);
}

/* A method of an object was called on its class: the object comes first. */
static int
check_object(Tworoutine *self, PyObject *const *args, size_t nargsf)
{
    Dual *dual = (Dual *)self->dual;
    if (PyVectorcall_NARGS(nargsf) == 0) {
        twr_done(twr_cold(dual->state, COLD_dual_refuse, "(OO)", dual->raw,
                          self->fn));
        return -1;
    }
    int is = PyObject_IsInstance(args[0], dual->raw);
    if (is == 0) {
        twr_done(twr_cold(dual->state, COLD_dual_refuse, "(OOO)", dual->raw,
                          self->fn, args[0]));
    }
    return is > 0 ? 0 : -1;
}

/* Call fn where a loop runs: the frame of the caller is looked at before.
 * Switches. */
static PyObject *
call_of_dual_in_loop(PyObject *op, const TwrArgs *args)
{
    Tworoutine *self = (Tworoutine *)op;
    int use = twr_dual_look(((Dual *)self->dual)->state);
    PyObject *other =
        use < 0 ? NULL : twr_tworoutine_new_of(self->dual, self->fn, false);
    if (other == NULL) {
        return NULL;
    }
    ((Tworoutine *)other)->use = use;
    PyObject *result =
        call_in_loop(other, args->args, args->nargsf, args->kwnames);
    Py_DECREF(other);
    return result;
}

/* The same of a method of a dual's object.  Switches. */
static PyObject *
call_of_dual(PyObject *op, PyObject *const *args, size_t nargsf,
             PyObject *kwnames)
{
    Tworoutine *self = (Tworoutine *)op;
    TwrArgs all = {args, nargsf, kwnames, NULL, 0};
    if ((self->unbound && check_object(self, args, nargsf) < 0) ||
        twr_dual_take_args((Dual *)self->dual, &all) < 0) {
        return NULL;
    }
    int needs = needs_loop(twr_state_of(op), self);
    PyObject *result = needs < 0 ? NULL
                       : needs
                           ? call_of_dual_in_loop(op, &all)
                           : call_here(op, all.args, all.nargsf, all.kwnames);
    twr_dual_drop_args(&all);
    return result;
}

bool
twr_tworoutine_makes_anew(TwrState *state, PyObject *callee)
{
    return twr_is_tworoutine(state, callee) &&
           ((Tworoutine *)callee)->makes == MAKES_ONLY;
}

PyObject *
twr_tworoutine_home(TwrState *state, PyObject *callee)
{
    return twr_is_tworoutine(state, callee) ? ((Tworoutine *)callee)->home
                                            : NULL;
}

PyObject *
twr_tworoutine_sent(TwrState *state, PyObject *callee)
{
    bool is_made = twr_is_tworoutine(state, callee);
    PyObject *dual = is_made ? ((Tworoutine *)callee)->dual : callee;
    return dual == NULL || twr_dual(state, dual) == NULL
               ? NULL
               : ((Dual *)dual)->home;
}
