/* face/methods.c - the attributes and methods of a tworoutine's own. */
#include "face/methods.h"

#include "face/attrs.h"
#include "face/call.h"
#include "face/dual.h"

const char twr_tworoutine_doc[] = PyDoc_STR(
    "tworoutine(fn, /, *, home=...)\n--\n\n"
    "One async function, two ways to call it.\n"
    "\n"
    "f(x) waits for the result, wherever it is called: without a loop, or in\n"
    "the middle of a running one, which goes on meanwhile.  (~f)(x), or\n"
    "f.aio(x), is the coroutine itself.  The rule: f(x) is `await (~f)(x)`.\n"
    "\n"
    "Args:\n"
    "    fn: an async function, an async generator function, a function made\n"
    "        by contextlib.asynccontextmanager, a classmethod or "
    "staticmethod\n"
    "        of one of these, or any callable that returns an awaitable.\n"
    "    home: a loop, a LoopThread, or a function that returns one of "
    "these:\n"
    "        where all calls run, whoever makes them.  Given alone, as in\n"
    "        `@tworoutine(home=db)`, it makes a decorator.\n"
    "\n"
    "Raises:\n"
    "    TypeError: fn is not callable.  A call raises it if what fn returns\n"
    "        cannot be awaited.\n"
    "    CannotSuspend: by a call, where it cannot wait.");

/* pydoc reads __doc__ past our getattro.  In the type's dictionary it finds
 * this: the type's text for the type, the function's for a tworoutine. */
static PyObject *
doc_descr_get(PyObject *op, PyObject *obj, PyObject *Py_UNUSED(type))
{
    TwrState *state = twr_state_of(op);
    if (obj != NULL) {
        return twr_tworoutine_metadata(obj, state->names.__doc__);
    }
    const char *text = strstr(twr_tworoutine_doc, "--\n\n");
    return PyUnicode_FromString(text == NULL ? twr_tworoutine_doc : text + 4);
}

static PyType_Slot doc_slots[] = {
    {Py_tp_descr_get, doc_descr_get},
    {0, NULL},
};

PyType_Spec twr_doc_spec = {
    .name = "tworoutine._core.Doc",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = doc_slots,
};

int
twr_tworoutine_set_doc(TwrState *state)
{
    PyObject *doc = PyObject_New(PyObject, state->types.doc);
    if (doc == NULL) {
        return -1;
    }
    PyTypeObject *const types[] = {state->types.tworoutine,
                                   state->types.tworoutine_object};
    int set = 0;
    for (size_t i = 0; i < sizeof(types) / sizeof(*types) && set == 0; i++) {
        set = PyDict_SetItem(types[i]->tp_dict, state->names.__doc__, doc);
        PyType_Modified(types[i]);
    }
    Py_DECREF(doc);
    return set;
}

/* Let a plain function be found by name, and so be pickled, as <f>.aio, if
 * what its name leads to is this very tworoutine. */
static int
name_async_form(PyObject *op)
{
    return twr_done(twr_cold(twr_state_of(op), COLD_name_async_form, "(OO)",
                             op, ((Tworoutine *)op)->fn));
}

PyObject *
twr_tworoutine_async(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    if (self->dual != NULL && ((Dual *)self->dual)->home != NULL) {
        return twr_cold(twr_state_of(op), COLD_dual_async, "(OO)",
                        ((Dual *)self->dual)->home, self->fn);
    }
    if (!self->named && PyFunction_Check(self->fn)) {
        self->named = true;
        if (name_async_form(op) < 0) {
            return NULL;
        }
    }
    return Py_NewRef(self->fn);
}

static PyObject *
get_aio(PyObject *op, void *Py_UNUSED(closure))
{
    return twr_tworoutine_async(op);
}

/* What the cold function `which` makes of op. */
static PyObject *
get_cold(PyObject *op, void *which)
{
    return twr_cold(twr_state_of(op), (TwrCold)(intptr_t)which, "(O)", op);
}

static PyObject *
tworoutine_start(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return twr_cold(twr_state_of(op), COLD_start, "(OON)", op, args,
                    kwargs == NULL ? PyDict_New() : Py_NewRef(kwargs));
}

static PyObject *
tworoutine_at(PyObject *op, PyObject *loop)
{
    return twr_cold(twr_state_of(op), COLD_at, "(OO)", op, loop);
}

static PyObject *
tworoutine_reduce(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return twr_cold(twr_state_of(op), COLD_reduce, "(O)", op);
}

/* What getattro finds: the names of the type, of f, and of fn if passed on. */
static PyObject *
tworoutine_dir(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return twr_cold(twr_state_of(op), COLD_names, "(OO)", op,
                    ((Tworoutine *)op)->fn);
}

/* As for functions, a copy is the same object. */
static PyObject *
tworoutine_copy(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(op);
}

/* As for methods, a deep copy of a bound one is bound to a deep copy. */
static PyObject *
tworoutine_deepcopy(PyObject *op, PyObject *memo)
{
    Tworoutine *self = (Tworoutine *)op;
    if (!PyMethod_Check(self->fn)) {
        return Py_NewRef(op);
    }
    return twr_cold(twr_state_of(op), COLD_deepcopy_bound, "(OOO)", op,
                    self->origin == NULL ? Py_None : self->origin, memo);
}

PyDoc_STRVAR(
    map_doc,
    "map(items, *more, limit=None, progress=False, return_exceptions=False)\n"
    "\n"
    "Call f on each item at once, and wait for all.\n"
    "\n"
    "Async form: `await (~f.map)(items)`, or `await f.map.aio(items)`.\n"
    "\n"
    "Args:\n"
    "    items: an iterable, or an async one; taken as there is room.\n"
    "    more: more of them; f then takes an item of each, until the\n"
    "        shortest ends.\n"
    "    limit: how many calls may be under way at once; or what each enters\n"
    "        by `async with`, as an asyncio.Semaphore, which others may use,\n"
    "        too; None for all.\n"
    "    progress: show a tqdm bar.\n"
    "    return_exceptions: put the errors in their places of the list.\n"
    "\n"
    "Returns:\n"
    "    The list of results, in the order of items.\n"
    "\n"
    "Raises:\n"
    "    FailedCalls: some calls failed, and return_exceptions is false: an\n"
    "        ExceptionGroup, raised when all have ended; each error notes "
    "its\n"
    "        item, and its results are those of the others.\n"
    "    ValueError: limit is less than 1.\n"
    "    ImportError: progress without tqdm.");

PyDoc_STRVAR(
    as_completed_doc,
    "as_completed(items, *, limit=None, return_exceptions=False)\n"
    "\n"
    "Call f on each item at once, and iterate over them as they end.\n"
    "\n"
    "Leaving the loop cancels the rest and waits for it.  Async form:\n"
    "`async for item, result in (~f.as_completed)(items)`.\n"
    "\n"
    "Args:\n"
    "    items: an iterable, or an async one; taken as there is room.\n"
    "    limit: as in f.map.\n"
    "    return_exceptions: yield an error as the result of its item.\n"
    "\n"
    "Yields:\n"
    "    (item, result), in the order in which the calls end.\n"
    "\n"
    "Raises:\n"
    "    ValueError: limit is less than 1.\n"
    "    Exception: the first error of a call, which notes its item, if\n"
    "        return_exceptions is false.  The rest is cancelled.");

PyDoc_STRVAR(
    start_doc,
    "start($self, /, *args, **kwargs)\n--\n\n"
    "Begin f(...), and do not wait for it.\n"
    "\n"
    "Without a running loop it goes on while calls run the thread's own "
    "loop.\n"
    "The task is kept until it is done.\n"
    "\n"
    "Args:\n"
    "    args: what f takes.\n"
    "    kwargs: what f takes by name.\n"
    "\n"
    "Returns:\n"
    "    An asyncio.Task of the loop in which f(...) would wait here;\n"
    "    await_(task), or await task, takes its result.\n"
    "\n"
    "Raises:\n"
    "    TypeError: f does not return an awaitable.\n"
    "    CannotSuspend: trio or curio runs in this thread.");

PyDoc_STRVAR(at_doc, "at($self, loop, /)\n--\n\n"
                     "f whose calls run in loop, whoever makes them.\n"
                     "\n"
                     "Args:\n"
                     "    loop: a loop, a LoopThread, or a function that "
                     "returns one of these,\n"
                     "        which each call asks.\n"
                     "\n"
                     "Returns:\n"
                     "    A tworoutine.\n"
                     "\n"
                     "Raises:\n"
                     "    TypeError: loop is none of these.");

PyGetSetDef twr_tworoutine_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"aio", get_aio, NULL, "The asynchronous callable itself; the same as ~f.",
     NULL},
    {"map", get_cold, NULL, map_doc, (void *)COLD_fan_out_map},
    {"as_completed", get_cold, NULL, as_completed_doc,
     (void *)COLD_fan_out_as_completed},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMethodDef twr_tworoutine_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "tworoutine[[int], str]: for annotations."},
    {"at", tworoutine_at, METH_O, at_doc},
    {"start", (PyCFunction)(void (*)(void))tworoutine_start,
     METH_VARARGS | METH_KEYWORDS, start_doc},
    {"__dir__", tworoutine_dir, METH_NOARGS, NULL},
    {"__reduce__", tworoutine_reduce, METH_NOARGS, NULL},
    {"__copy__", tworoutine_copy, METH_NOARGS, NULL},
    {"__deepcopy__", tworoutine_deepcopy, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
