/* hooks.c - what has to go up: who does what the lower floors ask for.
 *
 * Each of these is declared where it is called, as a table of functions. */
#include "asyncio/likeness.h"
#include "backends/portal.h"
#include "coro/awaitable.h"
#include "engine/call.h"
#include "engine/drive.h"
#include "engine/thread.h"
#include "engine/wake.h"
#include "face/call.h"
#include "face/serve.h"
#include "stack/stacks.h"

/* Switches. */
static PyObject *
drive(TwrStacks *st)
{
    return twr_drive(twr_thread_of(st));
}

/* Switches. */
static PyObject *
work(TwrStacks *st, PyObject *worker)
{
    return twr_portal_work(twr_thread_of(st), worker);
}

static PyObject *
stray(TwrStacks *st, PyObject *greenlet)
{
    return twr_portal_stray(twr_thread_of(st), greenlet);
}

static void
stand(TwrStacks *st)
{
    twr_likeness_of_run(st, twr_thread_of(st)->is_main);
}

const TwrStackJobs twr_stack_jobs = {drive, work, stray, stand};

const TwrCallJobs twr_call_jobs = {twr_wake};

const TwrCalleeJobs twr_callee_jobs = {
    twr_tworoutine_make, twr_tworoutine_serve, twr_tworoutine_makes_anew,
    twr_tworoutine_home, twr_tworoutine_sent,  twr_tworoutine_waits_for,
    twr_tworoutine_show,
};
