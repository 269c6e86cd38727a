/* stack/data_stack.h - where the frames of Python's functions lie.
 *
 * Each greenlet has a data stack of its own, a list of chunks of 16 KiB.
 * CPython maps one as the first Python function is called, and greenlet unmaps
 * it as the greenlet ends; both, and the fault at the first touch of a page,
 * cost more than all else about a greenlet.  So the chunks of our greenlets
 * that have ended are kept for those that begin. */
#ifndef TWR_DATA_STACK_H
#define TWR_DATA_STACK_H

#include "base/state.h"

enum {
    TWR_CHUNKS_MAX = 16384, /* kept, per thread, of those that ended greenlets
                               have left */
    TWR_CHUNKS_FEW = 1024   /* of which so many are always kept */
};

/* Chunks kept for later: part of the stacks of a thread. */
typedef struct {
    _PyStackChunk *first; /* each has the next one as its previous one */
    int n;
    int lowest; /* of n since a trim of spare ones began to be counted */
    int asked;  /* how often a trim was asked for since then */
    int spare;  /* how many are to be freed, one at a time */
} TwrChunks;

/* Give the running greenlet, which has none, a chunk that was kept. */
void twr_data_stack_begin(TwrChunks *kept);

/* Keep the chunk of the running greenlet, which has no Python frame. */
void twr_data_stack_end(TwrChunks *kept);

/* A call waits: free a chunk if there are many, and there is one that none of
 * the last calls has needed. */
void twr_data_stack_trim(TwrChunks *kept);

/* Free those that are kept. */
void twr_data_stack_drop(TwrChunks *kept);

#endif
