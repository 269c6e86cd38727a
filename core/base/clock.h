/* base/clock.h - since when a call waits: a clock that costs next to nothing.
 */
#ifndef TWR_CLOCK_H
#define TWR_CLOCK_H

#include "twr.h"

#include <stdint.h>

/* Milliseconds that go on, and begin anew after 49 days; never 0.  The time of
 * the last tick where the system knows that, of which there are 100 to 1000 a
 * second: to read that takes 4 ns, the other clock 16.  Quiet. */
uint32_t twr_clock_ms(void);

/* Seconds since what twr_clock_ms() has returned.  Quiet. */
double twr_clock_age(uint32_t since);

#endif
