/* engine/sigint.c - our handler of SIGINT, while calls wait or run a loop. */
#include "engine/sigint.h"

#include <signal.h>

/* function(signal.SIGINT), or with handler, unless NULL. */
static PyObject *
call_with_sigint(PyObject *function, PyObject *handler)
{
    PyObject *args[] = {PyLong_FromLong(SIGINT), handler};
    PyObject *result =
        args[0] == NULL ? NULL
                        : PyObject_Vectorcall(function, args,
                                              handler == NULL ? 1 : 2, NULL);
    Py_XDECREF(args[0]);
    return result;
}

/* The handler in place for SIGINT; borrowed, and only to be compared. */
static PyObject *
find_handler(TwrState *state)
{
    PyObject *now = call_with_sigint(state->getsignal, NULL);
    Py_XDECREF(now);
    return now;
}

static int
put_handler(TwrState *state, PyObject *handler)
{
    return twr_done(call_with_sigint(state->signal, handler));
}

int
twr_sigint_set(Thread *th)
{
    if (!th->is_main) {
        return 0;
    }
    /* Others may have put theirs in place, or ours back, at any time. */
    PyObject *now = find_handler(th->state);
    th->sigint.ours = now == th->state->interrupted;
    if (now != th->state->default_int_handler) {
        return now == NULL ? -1 : 0;
    }
    th->sigint.ours = true;
    return put_handler(th->state, th->state->interrupted);
}

/* twr_sigint_restore() where ours may be in place, and nothing is pending. */
static int
restore_default(Thread *th)
{
    TwrState *state = th->state;
    PyObject *now = find_handler(state);
    if (now != state->interrupted) {
        return now == NULL ? -1 : 0;
    }
    return put_handler(state, state->default_int_handler);
}

int
twr_sigint_restore(Thread *th)
{
    if (!th->sigint.ours) {
        return 0;
    }
    th->sigint.ours = false;
    PyObject *pending = twr_error_take();
    int result = restore_default(th);
    if (result < 0) {
        /* signal() looks for signals first, and the handler of one has raised.
         */
        PyObject *raised = twr_error_take();
        if (restore_default(th) < 0) {
            PyErr_WriteUnraisable(th->state->interrupted);
            th->sigint.ours = true; /* to be tried again */
        }
        twr_error_put(raised);
    }
    twr_error_put(pending);
    return result;
}
