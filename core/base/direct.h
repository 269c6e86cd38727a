/* base/direct.h - C functions of one module that every call asks.
 *
 * To call an object costs more than what these do.  So the code of the C
 * function is looked up once, and called as the interpreter would, if the
 * object is such a function and takes its arguments in the way expected. */
#ifndef TWR_DIRECT_H
#define TWR_DIRECT_H

#include "base/facts.h"

/* Have direct call callable (or nothing: NULL), a function with these METH_
 * flags, perhaps; it has to live as long as direct. */
static inline void
twr_direct_set(TwrDirect *direct, PyObject *callable, int flags)
{
    *direct = (TwrDirect){.callable = callable};
    if (callable != NULL && PyCFunction_CheckExact(callable) &&
        PyCFunction_GET_FLAGS(callable) == flags) {
        direct->code = PyCFunction_GET_FUNCTION(callable);
        direct->self = PyCFunction_GET_SELF(callable);
    }
}

/* callable(): flags were METH_NOARGS. */
static inline PyObject *
twr_direct_call(const TwrDirect *direct)
{
    return direct->code != NULL ? direct->code(direct->self, NULL)
                                : PyObject_CallNoArgs(direct->callable);
}

/* callable(arg): flags were METH_FASTCALL | METH_KEYWORDS. */
static inline PyObject *
twr_direct_call_with(const TwrDirect *direct, PyObject *arg)
{
    typedef PyObject *(*Fast)(PyObject *, PyObject *const *, Py_ssize_t,
                              PyObject *);
    return direct->code != NULL ? ((Fast)(void (*)(void))direct->code)(
                                      direct->self, &arg, 1, NULL)
                                : PyObject_CallOneArg(direct->callable, arg);
}

#endif
