/* base/watch.h - whether a dictionary has changed since it was looked at.
 *
 *     twr_watch_begin(&watch, dict)             it counts as changed
 *     if (!twr_watch_is_unchanged(&watch)) {
 *         twr_watch_note(&watch);               what counts is from now on
 *         ... look at dict; if that fails, twr_watch_forget(&watch) ...
 *     }
 *     twr_watch_end(&watch)                     before dict is dropped
 *
 * Only who looks often should: 3.12+ tells us of each change.  What is not
 * watched counts as changed for ever. */
#ifndef TWR_WATCH_H
#define TWR_WATCH_H

#include <stdbool.h>

#include "base/compat.h"

typedef struct TwrWatch TwrWatch;
struct TwrWatch {
    PyObject *dict;  /* borrowed; NULL: none is watched */
    uint64_t tag;    /* 3.11: twr_dict_tag() when dict was looked at; or 0 */
    bool unchanged;  /* 3.12+ */
    TwrWatch *older; /* the next one of the process; borrowed */
    TwrWatch **link; /* what points to this one there; NULL: nothing */
};

/* Whether who watches an instance's dictionary is told when an attribute is
 * set: not by 3.13.0, if the instance keeps them apart.  -1: error. */
int twr_watch_sees_attributes(void);

/* Begin to watch dict. */
int twr_watch_begin(TwrWatch *watch, PyObject *dict);

/* Watch no more; nothing is done if nothing is watched. */
void twr_watch_end(TwrWatch *watch);

/* dict is about to be looked at: what counts are changes from now on.  Quiet.
 */
static inline void
twr_watch_note(TwrWatch *watch)
{
    watch->unchanged = watch->dict != NULL;
    watch->tag = watch->unchanged ? twr_dict_tag(watch->dict) : 0;
}

/* dict could not be looked at: it counts as changed.  Quiet. */
static inline void
twr_watch_forget(TwrWatch *watch)
{
    watch->tag = 0;
    watch->unchanged = false;
}

/* Whether dict is as it was at the last twr_watch_note().  Quiet. */
static inline bool
twr_watch_is_unchanged(const TwrWatch *watch)
{
    return watch->unchanged &&
           (TWR_DICT_WATCHERS || watch->tag == twr_dict_tag(watch->dict));
}

#endif
