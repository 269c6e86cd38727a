/* coro/awaitable.h - what can be waited for: coroutines, futures and others.
 *
 *     callee() -> awaitable   may that be waited for, in this loop?
 *                 iterator    what `await` iterates over, and is stepped
 *                 close       of what will not run, or not go on
 *
 * The coroutine of a tworoutine over a plain `async def` has just been made,
 * and nothing is asked of it; all else is looked at, so that an error names
 * the user's function. */
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
    /* Whether callee's function is certain to make a new coroutine in each
     * call. */
    bool (*makes_anew)(TwrState *state, PyObject *callee);
    /* The loop in which its calls run, as the cold module knows; borrowed,
     * NULL without error: where they are made. */
    PyObject *(*home)(TwrState *state, PyObject *callee);
    /* The same of a callee whose function does not go there by itself. */
    PyObject *(*sent)(TwrState *state, PyObject *callee);
    /* Whether callee(...) waits for made; -1: error. */
    int (*waits_for)(PyObject *callee, PyObject *made);
    /* What callee shows of value (stolen; NULL: a failure). */
    PyObject *(*show)(TwrState *state, PyObject *callee, PyObject *value);
} TwrCalleeJobs;
extern const TwrCalleeJobs twr_callee_jobs; /* in hooks.c */

/* Whether await_() would take op, which has __await__, or is a coroutine. */
bool twr_is_awaitable(PyObject *op);

/* Whether op is a coroutine that nobody has begun. */
bool twr_is_new_coroutine(PyObject *op);

/* 0 if awaitable may be waited for in loop: a future must not be of another
 * loop, and nobody must have begun a coroutine. */
int twr_check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                        PyObject *callee);

/* 0 if nobody has begun coro, which callee (may be NULL) has returned. `await`
 * checks that, too, but names nobody. */
int twr_check_new(TwrState *state, PyObject *coro, PyObject *callee);

/* What `await op` iterates over. */
PyObject *twr_await_iterator(TwrState *state, PyObject *op);

/* iterator.close(); an error is only reported.  Keeps a pending exception. */
void twr_close_iterator(TwrState *state, PyObject *iterator);

/* Close a coroutine that will not run.  A coroutine that somebody has begun,
 * and other awaitables, are left alone.  Keeps a pending exception. */
void twr_close_awaitable(TwrState *state, PyObject *awaitable);

#endif
