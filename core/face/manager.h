/* face/manager.h - a synchronous context manager over an asynchronous one. */
#ifndef TWR_FACE_MANAGER_H
#define TWR_FACE_MANAGER_H

#include "face/wrapper.h"

extern PyType_Spec twr_manager_spec;

/* A synchronous context manager over manager; callee is named in errors. */
PyObject *twr_manager_new(TwrState *state, PyObject *manager,
                          PyObject *callee);

#endif
