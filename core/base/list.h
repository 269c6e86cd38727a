/* base/list.h - lists in C, of items that are in one place each.
 *
 * An item has two fields: older, the next one in the list, and link, what
 * points to the item there; NULL: it is in none.  Both are borrowed. */
#ifndef TWR_LIST_H
#define TWR_LIST_H

/* Put item in front of *list. */
#define TWR_LIST_ADD(list, item)                                              \
    do {                                                                      \
        (item)->older = *(list);                                              \
        (item)->link = (list);                                                \
        *(list) = (item);                                                     \
        if ((item)->older != NULL) {                                          \
            (item)->older->link = &(item)->older;                             \
        }                                                                     \
    } while (0)

/* Take item out of its list, if it is in one. */
#define TWR_LIST_REMOVE(item)                                                 \
    do {                                                                      \
        if ((item)->link != NULL) {                                           \
            *(item)->link = (item)->older;                                    \
            if ((item)->older != NULL) {                                      \
                (item)->older->link = (item)->link;                           \
            }                                                                 \
            (item)->older = NULL;                                             \
            (item)->link = NULL;                                              \
        }                                                                     \
    } while (0)

#endif
