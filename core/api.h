/* api.h - the functions of the module: await_(), and what tworoutine/_*.py
 * call. */
#ifndef TWR_API_H
#define TWR_API_H

#include "base/state.h"

extern PyMethodDef twr_api_methods[];

#endif
