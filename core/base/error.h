/* base/error.h - what a call that cannot be served says.
 *
 * A refusal names the user's function, the reason, and what to do instead:
 *
 *     <name> cannot wait here: <reason>; <advice>
 *
 * CannotSuspend is raised before the coroutine has begun, which is then
 * closed. Reasons that need more than a sentence are found where they are
 * known (backends/drivable.c). */
#ifndef TWR_ERROR_H
#define TWR_ERROR_H

#include "base/state.h"

/* What messages call the callee: the tworoutine that was called, by its repr;
 * NULL stands for await_(). */
PyObject *twr_callee_name(PyObject *callee);

/* Raise CannotSuspend with reason (a str, stolen; NULL: an exception is
 * pending, which stays) and advice.  Always -1. */
int twr_refuse(TwrState *state, PyObject *callee, PyObject *reason,
               const char *advice);

/* twr_refuse where code that awaits would be served, as the advice says.
 * Always -1. */
int twr_refuse_here(TwrState *state, PyObject *callee, PyObject *reason);

/* twr_refuse in a greenlet that is not the loop's, and of which nothing is
 * known: to park it could strand whoever waits for it.  Always -1. */
int twr_refuse_greenlet(TwrState *state, PyObject *callee);

/* twr_refuse where somebody calls _run_once in place of run_forever, and would
 * not get control back before the loop stops.  Always -1. */
int twr_refuse_caller(TwrState *state, PyObject *callee);

/* twr_refuse where the loop is between two callbacks.  Always -1. */
int twr_refuse_between(TwrState *state, PyObject *callee);

/* twr_refuse for a call in the cleanup of one that is being ended, since its
 * loop was closed.  Always -1. */
int twr_refuse_closed(TwrState *state, PyObject *callee);

#endif
