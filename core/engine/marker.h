/* engine/marker.h - what stands in the ready queue for us.
 *
 * Two objects that look like a Handle to _run_once: the marker, which, when
 * its turn comes, parks the native greenlet, with nothing of the user's above;
 * and padding, which is cancelled, and so skipped. */
#ifndef TWR_MARKER_H
#define TWR_MARKER_H

#include "engine/driven.h"

extern PyType_Spec twr_marker_spec;

/* Make both: state->marker, state->pad. */
int twr_marker_init(TwrState *state);

/* In a forked child, have the marker raise exc (stolen) when its turn comes,
 * and so run_forever. */
void twr_marker_fail(TwrState *state, PyObject *exc);

#endif
