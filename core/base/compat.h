/* base/compat.h - what differs between CPython 3.11 and today.
 *
 * The only file that tests the Python version.  What newer versions have is
 * here under its own name, for those that lack it; what is called in another
 * way in each, or is in no public interface, is a twr_ function. */
#ifndef TWR_COMPAT_H
#define TWR_COMPAT_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_READONLY READONLY

/* Take the pending exception away, as one object. */
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL) {
        PyException_SetTraceback(value, tb);
    }
    Py_DECREF(type);
    Py_XDECREF(tb);
    return value;
}

/* Put back what PyErr_GetRaisedException() has returned; steals exc. */
static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    PyObject *type = Py_NewRef((PyObject *)Py_TYPE(exc));
    PyErr_Restore(type, exc, PyException_GetTraceback(exc));
}

static inline PyCodeObject *
PyGen_GetCode(PyGenObject *gen)
{
    return (PyCodeObject *)Py_NewRef((PyObject *)gen->gi_code);
}
#endif

#if PY_VERSION_HEX < 0x030D0000
/* 1: found, 0: no such attribute and no exception, -1: error. */
static inline int
PyObject_GetOptionalAttr(PyObject *obj, PyObject *name, PyObject **result)
{
    *result = PyObject_GetAttr(obj, name);
    if (*result != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}
#endif

/* The innermost frame of this thread; NULL without exception: there is none.
 * PyThreadState_GetFrame() returns NULL, without exception, where there is no
 * memory for the frame object, too. */
static inline PyFrameObject *
twr_thread_frame(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    PyFrameObject *frame = PyThreadState_GetFrame(tstate);
#if PY_VERSION_HEX < 0x030D0000
    bool any = tstate->cframe->current_frame != NULL;
#elif PY_VERSION_HEX < 0x030F0000
    bool any = tstate->current_frame != NULL;
#else
    /* The outermost frame is nobody's. */
    bool any = tstate->current_frame != NULL &&
               tstate->current_frame != tstate->base_frame;
#endif
    if (frame == NULL && any) {
        PyErr_NoMemory();
    }
    return frame;
}

/* The co_flags of the code that the innermost frame of this thread runs; 0: no
 * code does, or that cannot be told without a frame object. */
static inline int
twr_thread_code_flags(void)
{
    int flags = 0;
#if PY_VERSION_HEX >= 0x030C0000
    PyThreadState *tstate = PyThreadState_Get();
#if PY_VERSION_HEX < 0x030D0000
    struct _PyInterpreterFrame *frame = tstate->cframe->current_frame;
#else
    struct _PyInterpreterFrame *frame = tstate->current_frame;
#endif
    PyObject *code =
        frame == NULL ? NULL : PyUnstable_InterpreterFrame_GetCode(frame);
    if (code != NULL && PyCode_Check(code)) {
        flags = ((PyCodeObject *)code)->co_flags;
    }
    Py_XDECREF(code); /* the frame has it */
#endif
    return flags;
}

/* What identifies the greenlet that runs in this thread, as long as that
 * lives: the first chunk of its data stack; NULL: it has none, or frames lie
 * in a later one by now. */
static inline const void *
twr_thread_data_stack(void)
{
    const _PyStackChunk *chunk = PyThreadState_Get()->datastack_chunk;
    return chunk == NULL || chunk->previous != NULL ? NULL : chunk;
}

/* A local variable of a running Python function. */
static inline PyObject *
twr_frame_local(PyFrameObject *frame, const char *name)
{
#if PY_VERSION_HEX < 0x030C0000
    PyObject *locals = PyObject_GetAttrString((PyObject *)frame, "f_locals");
    if (locals == NULL) {
        return NULL;
    }
    PyObject *value = PyMapping_GetItemString(locals, name);
    Py_DECREF(locals);
    return value;
#else
    return PyFrame_GetVarString(frame, (char *)name);
#endif
}

/* Let the running greenlet, which has inherited the recursion depth of its
 * maker, start as shallow as a thread: Python frames are not on the C stack.
 */
static inline void
twr_reset_python_depth(void)
{
    PyThreadState *tstate = PyThreadState_Get();
#if PY_VERSION_HEX < 0x030C0000
    tstate->recursion_remaining = tstate->recursion_limit;
#else
    tstate->py_recursion_remaining = tstate->py_recursion_limit;
#endif
}

/* How many Python calls deep the running greenlet may still go. */
static inline int
twr_python_depth_left(void)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyThreadState_Get()->recursion_remaining;
#else
    return PyThreadState_Get()->py_recursion_remaining;
#endif
}

/* Let the running greenlet go so many Python calls deep. */
static inline void
twr_set_python_depth_left(int left)
{
#if PY_VERSION_HEX < 0x030C0000
    PyThreadState_Get()->recursion_remaining = left;
#else
    PyThreadState_Get()->py_recursion_remaining = left;
#endif
}

/* Let C code call so many levels deeper, or fewer again if negative: at the
 * end of the stack there is no room even for what cleans up. */
static inline void
twr_give_room(int levels)
{
#if PY_VERSION_HEX < 0x030C0000
    PyThreadState_Get()->recursion_remaining += levels;
#elif PY_VERSION_HEX < 0x030E0000
    PyThreadState_Get()->c_recursion_remaining += levels;
#else
    (void)levels; /* the C stack itself is measured */
#endif
}

/* Take away the objects of this thread whose deallocation has been put off;
 * NULL: there are none, or they are no greenlet's own. */
static inline PyObject *
twr_trash_take(void)
{
#if PY_VERSION_HEX < 0x030D0000
    return NULL;
#else
    PyThreadState *tstate = PyThreadState_Get();
    PyObject *trash = tstate->delete_later;
    tstate->delete_later = NULL;
    return trash;
#endif
}

/* Put back what twr_trash_take() has returned. */
static inline void
twr_trash_put(PyObject *trash)
{
#if PY_VERSION_HEX < 0x030D0000
    (void)trash;
#else
    if (trash != NULL) {
        PyThreadState_Get()->delete_later = trash;
    }
#endif
}

/* Whether the interpreter is on its way out. */
static inline int
twr_is_finalizing(void)
{
#if PY_VERSION_HEX < 0x030D0000
    return _Py_IsFinalizing();
#else
    return Py_IsFinalizing();
#endif
}

/* The version tag of a type, which changes with each change to the type or to
 * what it derives from; 0: it has none. */
static inline unsigned
twr_type_version(PyTypeObject *type)
{
    if (type->tp_version_tag == 0) {
        /* A look-up gives it one. */
        PyObject *found = PyObject_GetAttrString((PyObject *)type, "__doc__");
        Py_XDECREF(found);
        PyErr_Clear();
    }
    return type->tp_version_tag;
}

/* Whether a trace or profile function looks on. */
static inline bool
twr_is_traced(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    return tstate->c_tracefunc != NULL || tstate->c_profilefunc != NULL;
}

/* Where sys.get_asyncgen_hooks() finds the hooks of this thread; NULL there is
 * none.  To write them is to raise the audit event first. */
static inline PyObject **
twr_hook_firstiter(void)
{
    return &PyThreadState_Get()->async_gen_firstiter;
}
static inline PyObject **
twr_hook_finalizer(void)
{
    return &PyThreadState_Get()->async_gen_finalizer;
}

/* What `async with` asks the type for first. */
#if PY_VERSION_HEX < 0x030E0000
#define TWR_ASYNC_WITH_ASKS "__aenter__"
#else
#define TWR_ASYNC_WITH_ASKS "__aexit__"
#endif

/* Steps of tasks are refused where another loop than theirs runs. */
#define TWR_STEPS_NEED_THEIR_LOOP (PY_VERSION_HEX >= 0x030E0000)

/* Tasks may begin on the stack of whoever creates them. */
#define TWR_EAGER_TASKS (PY_VERSION_HEX >= 0x030C0000)

/* The current task of each loop is in a dictionary. */
#define TWR_CURRENT_TASKS_DICT (PY_VERSION_HEX < 0x030E0000)

/* Tasks written in Python are entered apart from those in C, and are current
 * in a dictionary that only they know. */
#define TWR_PYTHON_TASKS_APART (PY_VERSION_HEX >= 0x030E0000)

/* A number that is another one after each change to a dictionary; on 3.11 once
 * the value that was there before has gone; not on 3.13 if an instance keeps
 * its attributes apart; 0: this Python has none.  Quiet. */
static inline uint64_t
twr_dict_tag(PyObject *dict)
{
#if PY_VERSION_HEX >= 0x030E0000
    (void)dict;
    return 0;
#else
#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
    return ((PyDictObject *)dict)->ma_version_tag;
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif
#endif
}

/* Dictionaries can have watchers, which are told of each change. */
#define TWR_DICT_WATCHERS (PY_VERSION_HEX >= 0x030C0000)

#endif
