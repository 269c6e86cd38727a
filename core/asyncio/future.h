/* asyncio/future.h - futures, as a task's step treats those that it gets.
 *
 * What a coroutine yields, and what the step of a task makes of that:
 *
 *     a future, by its __await__   the task wakes up when that is done
 *     None (asyncio.sleep(0))      the task wakes up in the next turn
 *     anything else                an error, raised in the coroutine
 *
 * For a call that waits in a task, its own callback takes the place of the
 * task's wake-up. */
#ifndef TWR_FUTURE_H
#define TWR_FUTURE_H

#include "base/state.h"

/* Whether op is a future of asyncio's kind; -1: error. */
int twr_future_check(TwrState *state, PyObject *op);

/* The loop of a future. */
PyObject *twr_future_loop(TwrState *state, PyObject *future);

/* future.done(); false if that fails. */
bool twr_future_is_done(TwrState *state, PyObject *future);

/* The result of a future that is done; its exception is raised without a new
 * __context__. */
PyObject *twr_future_result(TwrState *state, PyObject *future);

/* Have callback called when future is done, in the neutral context. */
int twr_future_listen(TwrState *state, PyObject *future, PyObject *callback);

/* Who waits for what a coroutine has yielded. */
typedef struct {
    PyObject *loop;     /* of the task */
    PyObject *task;     /* whose coroutine has yielded it */
    PyObject *callback; /* to be called when the wait is over */
    PyObject *awaited;  /* set to the future waited for; stays NULL if none */
    PyObject *error;    /* set to what the coroutine is to raise; or NULL */
} TwrWaiter;

/* Have the callback of waiter called when the wait for yielded is over, as a
 * task's step does with what its coroutine yields. */
int twr_future_subscribe(TwrState *state, TwrWaiter *waiter,
                         PyObject *yielded);

/* Look for the names that this file relies on. */
int twr_future_init(TwrState *state);

#endif
