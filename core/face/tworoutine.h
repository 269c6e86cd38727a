/* face/tworoutine.h - the decorator type: make one, bind it, turn it with ~.
 */
#ifndef TWR_FACE_TWOROUTINE_H
#define TWR_FACE_TWOROUTINE_H

#include "base/state.h"

/* Make the types of tworoutines. */
int twr_tworoutine_init(PyObject *module, TwrState *state);

#endif
