/* face/tworoutine.h - the decorator type: make one, bind it, turn it with ~.
 */
#ifndef TWR_FACE_TWOROUTINE_H
#define TWR_FACE_TWOROUTINE_H

#include "base/state.h"

extern PyType_Spec twr_tworoutine_spec;

#endif
