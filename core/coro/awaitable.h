/* coro/awaitable.h - what can be waited for: coroutines, futures and others.
 *
 * Whether it can be waited for here, what `await` iterates over, and how that
 * is closed.  The coroutine of a tworoutine over a plain `async def` has just
 * been made, and is taken as it is; all else is looked at, so that an error
 * names the user's function. */
#ifndef TWR_AWAITABLE_H
#define TWR_AWAITABLE_H

#include "base/state.h"

/* How the objects of Portal and Awaiting begin. */
typedef struct {
    PyObject_HEAD
    bool begun; /* has been stepped, or closed */
} TwrSteppable;

/* What is asked of a callee, by those who know only that it is an object. */
typedef struct {
    /* What the function of callee returns for these arguments. */
    PyObject *(*make)(PyObject *callee, PyObject *args, PyObject *kwargs);
    /* What callee(...) returns where its function has returned made.
     * Switches. */
    PyObject *(*serve)(PyObject *callee, PyObject *made);
    /* Whether its function makes a new coroutine in each call, for certain. */
    bool (*makes_anew)(TwrState *state, PyObject *callee);
} TwrCalleeJobs;
extern const TwrCalleeJobs twr_callee_jobs; /* in hooks.c */

/* Whether await_() would take op: it has __await__, or is a coroutine. */
bool twr_is_awaitable(PyObject *op);

/* Whether op is a coroutine that nobody has begun. */
bool twr_is_new_coroutine(PyObject *op);

/* 0 if awaitable may be waited for in loop: it is not of another one, and if
 * it is a coroutine, nobody has begun it. */
int twr_check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                        PyObject *callee);

/* 0 if nobody has begun coro.  `await` checks that, too, but names nobody. */
int twr_check_fresh(PyObject *coro, PyObject *callee);

/* What `await op` iterates over. */
PyObject *twr_await_iterator(TwrState *state, PyObject *op);

/* iterator.close(), keeping a pending exception. */
void twr_close_iterator(TwrState *state, PyObject *iterator);

/* Close a coroutine that will not run, keeping a pending exception.  One that
 * somebody has begun, and other awaitables, are left alone. */
void twr_close_awaitable(TwrState *state, PyObject *awaitable);

#endif
