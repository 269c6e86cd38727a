/* engine/park.h - to park a call: leave the stack as it is, drive from
 * another.
 *
 * Before it parks, a call leaves its contexts, and pins the native greenlet if
 * the call is made in a step of that; when the call goes on, both are undone.
 */
#ifndef TWR_PARK_H
#define TWR_PARK_H

#include "engine/call.h"

/* What a parked call has left of contexts; before, nothing but NULL. */
typedef struct {
    PyObject *own;   /* in its greenlet */
    PyObject *below; /* in those that wait for that, if any; or NULL */
} TwrLeft;

/* Leave the contexts of me, the running greenlet, in which callee was called,
 * and of those that wait for me down to root, in whose step it was. */
int twr_park_leave(TwrState *state, PyObject *callee, PyObject *me,
                   PyObject *root, TwrLeft *left);

/* Enter again, and drop, what was left: all of that, whatever fails.  Keeps a
 * pending exception; -1: something has failed, and the first error is pending.
 */
int twr_park_enter(TwrLeft *left);

/* Make sure that we drive loop, of which call is about to wait. */
int twr_park_take_over(Thread *th, PyObject *loop, Call *call);

/* Park the calling greenlet until call is resumed.  Switches. */
int twr_park(Thread *th, Call *call);

/* twr_park() in a step of task, which is not current meanwhile; NULL: in none.
 * Switches. */
int twr_park_in_task(Thread *th, PyObject *task, Call *call);

/* Hard build: park call, and go on at once, for the exercise.  Switches. */
int twr_park_bounce(Thread *th, Call *call);

/* call has failed before it waited: unpin the native greenlet, unless another
 * call does.  Keeps a pending exception. */
void twr_park_give_up(Call *call);

#endif
