/* face/special.h - the special methods of duals.
 *
 * A class of duals has one under each name that its C has, so that `with`,
 * len(), + and all else does what it does with the object.  Python finds it
 * in the type, and calls it with the dual. */
#ifndef TWR_FACE_SPECIAL_H
#define TWR_FACE_SPECIAL_H

#include "base/state.h"

extern PyType_Spec twr_special_spec;

#endif
