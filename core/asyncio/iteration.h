/* asyncio/iteration.h - a loop, and where its turn stands.
 *
 * What the files below the engine need of a loop that we drive: its queue, and
 * how far the turn has come (asyncio/run_once.h). */
#ifndef TWR_ITERATION_H
#define TWR_ITERATION_H

#include "base/state.h"

/* What asyncio/quick.c has seen of the loop. */
typedef struct {
    PyObject *dict;     /* loop.__dict__; NULL: the quick way is not for it */
    PyObject *selector; /* loop._selector then; borrowed */
    PyObject *epoll;    /* the epoll object of that */
    unsigned type_version; /* of type(loop) then */
    TwrWatch watch;        /* over dict; while it is unchanged: */
    PyObject *timers;      /* loop._scheduled, a list; borrowed, or NULL */
    int stopping;          /* loop._stopping; -1: not a bool */
} TwrQuick;

/* Part of Driven (engine/drives.h). */
typedef struct {
    TwrState *state;
    PyObject *loop;
    PyObject *ready; /* loop._ready, a deque, as last seen */
    PyObject *until; /* weakref: the future that ends the run; NULL: none */
    Py_ssize_t left; /* handles left in this turn */
    size_t parks;    /* how many times a call was parked, in any turn */
    TwrQuick quick;
    bool polling;    /* inside the part of a turn that runs no handle */
    bool stop_later; /* the loop is to stop as soon as that is possible */
} TwrIteration;

#endif
