/* backends/callback.c - a call made in a running loop, but in no task of it.
 */
#include "backends/backend.h"

#include "backends/carry.h"
#include "backends/drivable.h"

static int
find_callback(TwrPlace *place)
{
    /* The task backend, asked before, has found the loop to be drivable. */
    return twr_drivable_check_callback(place->th, place->loop, place->callee) <
                   0
               ? -1
               : 1;
}

/* Switches. */
static PyObject *
wait_in_callback(TwrPlace *place, PyObject *loop, PyObject *coro)
{
    return twr_carry(place->th, loop, NULL, coro, place->callee);
}

const TwrBackend twr_callback_backend = {
    .name = "callback",
    .takes = TAKES_COROUTINE,
    .find = find_callback,
    .wait = wait_in_callback,
    .is_running_loop = true,
};
