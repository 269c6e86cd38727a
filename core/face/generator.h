/* face/generator.h - a synchronous iterator over an async iterator. */
#ifndef TWR_FACE_GENERATOR_H
#define TWR_FACE_GENERATOR_H

#include "face/wrapper.h"

extern PyType_Spec twr_generator_spec;

/* A synchronous iterator over agen; callee is named in errors. */
PyObject *twr_generator_new(TwrState *state, PyObject *agen, PyObject *callee);

#endif
