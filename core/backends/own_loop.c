/* backends/own_loop.c - which loop runs where none is running. */
#include "backends/own_loop.h"

#include "asyncio/frames.h"
#include "asyncio/running.h"
#include "base/error.h"
#include "base/libraries.h"
#include "engine/drives.h"

/* What a cold function knows of the IPython prompt at which the call was made;
 * NULL without error: nothing, or the call was made elsewhere. */
static PyObject *
ask_prompt(Thread *th, TwrCold which)
{
    TwrState *state = th->state;
    if (!th->is_main || !(twr_libraries(state) & LIBRARY_IPython)) {
        return NULL;
    }
    PyObject *known = twr_cold(state, which, NULL);
    if (known == Py_None) {
        Py_CLEAR(known);
    }
    return known;
}

PyObject *
twr_own_loop_runner(Thread *th)
{
    return ask_prompt(th, COLD_prompt_runner);
}

/* The loop of that prompt, if it can be run; NULL without error: none. */
static PyObject *
find_prompt_loop(Thread *th)
{
    PyObject *loop = ask_prompt(th, COLD_prompt_loop);
    if (loop != NULL && twr_loop_is_usable(th->state, loop) <= 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

/* The loop kept for this thread, made if there is none that can be used. */
static PyObject *
find_kept_loop(Thread *th, PyObject *callee)
{
    PyObject *loop = Py_XNewRef(th->run.own_loop);
    int good = loop == NULL ? 0 : twr_loop_is_usable(th->state, loop);
    if (good > 0) {
        return loop;
    }
    int begun = 0;
    if (good == 0 && loop != NULL) {
        begun = twr_frames_run(th->state, loop);
    }
    Py_CLEAR(loop);
    if (begun > 0) {
        twr_refuse_between(th->state, callee);
    }
    else if (good == 0 && begun == 0) {
        loop = PyObject_CallNoArgs(th->state->new_event_loop);
    }
    if (loop != NULL) {
        if (th->run.own_loop != NULL) {
            twr_driven_forget_loop(th, th->run.own_loop);
        }
        Py_XSETREF(th->run.own_loop, Py_NewRef(loop));
        th->state->has_own_loops = true;
    }
    return loop;
}

/* Our own loop is set, too, if no other is: what libraries make outside of a
 * call, asking asyncio.get_event_loop(), is then of the loop of the calls. */
PyObject *
twr_own_loop(Thread *th, PyObject *callee)
{
    TwrState *state = th->state;
    bool vacant = false;
    PyObject *loop = find_prompt_loop(th);
    if (loop == NULL && !PyErr_Occurred()) {
        loop = twr_loop_set_for_thread(state, th->run.own_loop, &vacant);
    }
    if (loop != NULL || PyErr_Occurred()) {
        return loop;
    }
    loop = find_kept_loop(th, callee);
    if (loop != NULL && vacant &&
        twr_done(PyObject_CallOneArg(state->set_event_loop, loop)) < 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

void
twr_own_loop_drop(Thread *th)
{
    Py_CLEAR(th->run.own_loop);
    Py_CLEAR(th->run.hidden);
}

int
twr_own_loop_hide(Thread *th, PyObject *loop)
{
    if (twr_running_set(th->state, Py_None) < 0) {
        return -1;
    }
    Py_XSETREF(th->run.hidden, Py_NewRef(loop));
    return 0;
}

int
twr_own_loop_show(Thread *th)
{
    PyObject *loop = th->run.hidden;
    th->run.hidden = NULL;
    int shown = loop == NULL ? 0 : twr_running_set(th->state, loop);
    Py_XDECREF(loop);
    return shown;
}
