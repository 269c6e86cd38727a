/* face/dual_type.h - the type from which all classes of duals derive. */
#ifndef TWR_FACE_DUAL_TYPE_H
#define TWR_FACE_DUAL_TYPE_H

#include "face/dual.h"

extern PyType_Spec twr_dual_spec;

/* dual_new(cls, raw, options, home, is_deep, is_class): a dual. */
PyObject *twr_dual_new(TwrState *state, PyObject *args);

#endif
