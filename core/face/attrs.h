/* face/attrs.h - what a tworoutine shows of its function. */
#ifndef TWR_FACE_ATTRS_H
#define TWR_FACE_ATTRS_H

#include "base/state.h"

/* op.name: of the tworoutine itself, of what it was bound from, or of fn. */
PyObject *twr_tworoutine_getattro(PyObject *op, PyObject *name);

/* op.name = value, or del op.name if value is NULL. */
int twr_tworoutine_setattro(PyObject *op, PyObject *name, PyObject *value);

/* One of the names that functions have: assigned, or of fn. */
PyObject *twr_tworoutine_metadata(PyObject *op, PyObject *name);

#endif
