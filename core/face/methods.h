/* face/methods.h - the attributes and methods of a tworoutine's own. */
#ifndef TWR_FACE_METHODS_H
#define TWR_FACE_METHODS_H

#include "base/state.h"

extern PyGetSetDef twr_tworoutine_getset[];
extern PyMethodDef twr_tworoutine_methods[];
extern PyType_Spec twr_doc_spec;
extern const char twr_tworoutine_doc[];

/* Give the type its __doc__. */
int twr_tworoutine_set_doc(TwrState *state);

/* ~f, which is fn. */
PyObject *twr_tworoutine_async(PyObject *op);

#endif
