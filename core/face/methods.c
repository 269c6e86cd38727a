/* face/methods.c - the attributes and methods of a tworoutine's own. */
#include "face/methods.h"

#include "face/attrs.h"
#include "face/call.h"

const char twr_tworoutine_doc[] =
    PyDoc_STR("tworoutine(fn, /)\n--\n\n"
              "One async function, two ways to call it.\n\n"
              "f(x) waits for the result, wherever it is called: without a "
              "loop, or in the\nmiddle of a running one, which goes on "
              "meanwhile.  (~f)(x), or f.aio(x), is the\ncoroutine itself.  "
              "The rule: f(x) is `await (~f)(x)`.\n\n"
              "fn: an async function, an async generator function, a function "
              "made by\ncontextlib.asynccontextmanager, a classmethod or "
              "staticmethod of one, or any\ncallable that returns an "
              "awaitable.\n\n"
              "Raises TypeError if fn is not callable.  A call raises what fn "
              "raises, TypeError\nif what it returns cannot be awaited, and "
              "CannotSuspend where it cannot wait.");

/* pydoc reads __doc__ past our getattro.  In the type's dictionary it finds
 * this: the type's text for the type, the function's for a tworoutine. */
static PyObject *
doc_descr_get(PyObject *op, PyObject *obj, PyObject *type)
{
    (void)type;
    TwrState *state = twr_state_of(op);
    if (obj != NULL) {
        return twr_tworoutine_metadata(obj, state->names.__doc__);
    }
    const char *text = strstr(twr_tworoutine_doc, "--\n\n");
    return PyUnicode_FromString(text == NULL ? twr_tworoutine_doc : text + 4);
}

static void
doc_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot doc_slots[] = {
    {Py_tp_dealloc, doc_dealloc},
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
    PyTypeObject *type = state->types.tworoutine;
    int set = PyDict_SetItem(type->tp_dict, state->names.__doc__, doc);
    Py_DECREF(doc);
    PyType_Modified(type);
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
    if (!self->named && PyFunction_Check(self->fn)) {
        self->named = true;
        if (name_async_form(op) < 0) {
            return NULL;
        }
    }
    return Py_NewRef(self->fn);
}

static PyObject *
get_aio(PyObject *op, void *closure)
{
    (void)closure;
    return twr_tworoutine_async(op);
}

static PyObject *
get_map(PyObject *op, void *closure)
{
    (void)closure;
    return twr_cold(twr_state_of(op), COLD_fan_out_map, "(O)", op);
}

static PyObject *
get_as_completed(PyObject *op, void *closure)
{
    (void)closure;
    return twr_cold(twr_state_of(op), COLD_fan_out_as_completed, "(O)", op);
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
tworoutine_reduce(PyObject *op, PyObject *unused)
{
    (void)unused;
    return twr_cold(twr_state_of(op), COLD_reduce, "(O)", op);
}

/* What getattro finds: the names of the type, of f, and of fn if passed on. */
static PyObject *
tworoutine_dir(PyObject *op, PyObject *unused)
{
    (void)unused;
    return twr_cold(twr_state_of(op), COLD_names, "(OO)", op,
                    ((Tworoutine *)op)->fn);
}

/* As for functions, a copy is the same object. */
static PyObject *
tworoutine_copy(PyObject *op, PyObject *unused)
{
    (void)unused;
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

PyGetSetDef twr_tworoutine_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"aio", get_aio, NULL, "The asynchronous callable itself; the same as ~f.",
     NULL},
    {"map", get_map, NULL,
     "f.map(items, *more, limit=None, progress=False, "
     "return_exceptions=False)\n\n"
     "Call f on each item at once, and wait for all.  With more iterables f "
     "takes an\nitem of each, until the shortest ends; async iterables are "
     "taken, too.  Returns\nthe list of results in the order of items.  If "
     "some fail, all are still run; then\nan ExceptionGroup is raised, "
     "FailedCalls, each error noting its item, whose\n`results` are those of "
     "the others; or, with return_exceptions, the list holds the\nerrors in "
     "their places.\n\nlimit: how many at a time, or what each enters by "
     "`async with`, as an\nasyncio.Semaphore, which others may use, too; "
     "items are taken as there is room.\nprogress: show a tqdm bar.  Async "
     "form: (~f.map)(items) or f.map.aio(items).",
     NULL},
    {"as_completed", get_as_completed, NULL,
     "f.as_completed(items, *, limit=None, return_exceptions=False)\n\n"
     "Call f on each item at once, `limit` as in f.map; iterate over "
     "(item,\nresult) in the order in which they finish.  An item's error is "
     "raised at its\nturn, or, with return_exceptions, yielded as its result. "
     " Leaving the loop\ncancels the rest and waits for it.  Async form: "
     "async "
     "for over\n(~f.as_completed)(items).",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMethodDef twr_tworoutine_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "tworoutine[[int], str]: for annotations."},
    {"at", tworoutine_at, METH_O,
     "at(loop, /)\n--\n\n"
     "f whose calls run in loop, whoever makes them.\n\n"
     "loop: a loop, a LoopThread, or a function that returns one."},
    {"start", (PyCFunction)(void (*)(void))tworoutine_start,
     METH_VARARGS | METH_KEYWORDS,
     "start($self, /, *args, **kwargs)\n--\n\n"
     "Begin f(...), and do not wait for it.\n\n"
     "Returns an asyncio.Task of the loop in which f(...) would wait here; "
     "await_(task),\nor await task, takes its result.  Without a running "
     "loop it goes on while calls run\nthe thread's own loop.  It is kept "
     "until it is done.  Raises TypeError if f does not\nreturn an "
     "awaitable, and CannotSuspend under trio and curio."},
    {"__dir__", tworoutine_dir, METH_NOARGS, NULL},
    {"__reduce__", tworoutine_reduce, METH_NOARGS, NULL},
    {"__copy__", tworoutine_copy, METH_NOARGS, NULL},
    {"__deepcopy__", tworoutine_deepcopy, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
