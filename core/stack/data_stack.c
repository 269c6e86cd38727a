/* stack/data_stack.c - where the frames of Python's functions lie. */
#include "stack/data_stack.h"

enum { WINDOW = TWR_CHUNKS_MAX }; /* calls after which a chunk is spare */

/* Take the first one of those kept; there is one. */
static _PyStackChunk *
take_chunk(TwrChunks *kept)
{
    _PyStackChunk *chunk = kept->first;
    kept->first = chunk->previous;
    kept->n--;
    if (kept->n < kept->lowest) {
        kept->lowest = kept->n;
    }
    return chunk;
}

static void
free_chunk(TwrChunks *kept)
{
    _PyStackChunk *chunk = take_chunk(kept);
    PyObjectArenaAllocator arenas; /* where CPython has it from */
    PyObject_GetArenaAllocator(&arenas);
    arenas.free(arenas.ctx, chunk, chunk->size);
}

void
twr_data_stack_begin(TwrChunks *kept)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (kept->first == NULL || tstate->datastack_chunk != NULL) {
        return;
    }
    _PyStackChunk *chunk = take_chunk(kept);
    chunk->previous = NULL;
    chunk->top = 0;
    tstate->datastack_chunk = chunk;
    tstate->datastack_top = &chunk->data[1]; /* as in any first chunk */
    tstate->datastack_limit = (PyObject **)((char *)chunk + chunk->size);
}

void
twr_data_stack_end(TwrChunks *kept)
{
    PyThreadState *tstate = PyThreadState_Get();
    _PyStackChunk *chunk = tstate->datastack_chunk;
    if (chunk == NULL || chunk->previous != NULL ||
        tstate->datastack_top != &chunk->data[1] ||
        kept->n == TWR_CHUNKS_MAX) {
        return; /* greenlet frees them */
    }
    tstate->datastack_chunk = NULL;
    tstate->datastack_top = NULL;
    tstate->datastack_limit = NULL;
    chunk->previous = kept->first;
    kept->first = chunk;
    kept->n++;
}

void
twr_data_stack_trim(TwrChunks *kept)
{
    if (kept->n <= TWR_CHUNKS_FEW) {
        return;
    }
    if (kept->spare > 0) {
        kept->spare--;
        free_chunk(kept);
    }
    else if (kept->asked++ == 0) {
        kept->lowest = kept->n;
    }
    else if (kept->asked > WINDOW) {
        kept->spare = kept->lowest - TWR_CHUNKS_FEW;
        kept->asked = 0;
    }
}

void
twr_data_stack_drop(TwrChunks *kept)
{
    while (kept->first != NULL) {
        free_chunk(kept);
    }
}
