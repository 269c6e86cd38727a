/* stack/footing.h - what a driver stands on.
 *
 * Code looks down its stack: for the module at the bottom of it, for who has
 * called n levels below, for the line that a warning is about.  Below a step
 * that a loop runs by itself there is the loop, and below that the program:
 *
 *     <module> > run > run_until_complete > run_forever > _run_once > step
 *
 * A driver begins with nothing below.  So it stands on frames that look like
 * these, by name, file, line and module: each of a little function, made for
 * the purpose, that calls the next function; the last one calls the driver
 * (stack/pool.c):
 *
 *     def <name>(calls): return calls()(calls)  # calls: next of an iterator
 *
 * A footing is a tuple of such functions, outermost first.  What a footing is
 * to look like, asyncio/likeness.c knows. */
#ifndef TWR_FOOTING_H
#define TWR_FOOTING_H

#include "stack/walk.h"

/* Make the code of which the code of all those functions is a copy. */
int twr_footing_init(TwrState *state);

/* A function whose frame looks like that of code at line, in a module with
 * these globals. */
PyObject *twr_footing_imitate(TwrState *state, PyObject *code, int line,
                              PyObject *globals);

/* The frames from here to the end of the walk as a list, innermost first; of
 * many, those in the middle are left out. */
PyObject *twr_footing_frames(TwrWalk *walk);

/* Whether footing looks like frames, with top (an imitation; NULL: none) as
 * the innermost one. */
bool twr_footing_is_like(PyObject *footing, PyObject *frames, PyObject *top);

/* A footing that does; its functions are those of old (may be NULL) where
 * these look so. */
PyObject *twr_footing_imitate_all(TwrState *state, PyObject *frames,
                                  PyObject *top, PyObject *old);

/* Call live(), a driver's life, above the frames of footing. */
PyObject *twr_footing_run(PyObject *footing, PyObject *live);

/* What is left of a traceback without the frames of footing (may be NULL if tb
 * is); borrowed. */
PyTracebackObject *twr_footing_leave(PyObject *footing, PyTracebackObject *tb);

#endif
