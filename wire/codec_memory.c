/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/codec_memory.h"

#include <assert.h>

#include "base/check.h"

#define ALIGNMENT 16

struct codec_block {
    struct codec_block *next;
    struct codec_block *previous;
    size_t size; /* with this header */
    size_t padding;
};

static_assert(sizeof(struct codec_block) % ALIGNMENT == 0, "what follows stays aligned");

void codec_memory_init(struct codec_memory *memory, struct batch_scratch scratch)
{
    size_t skew = (uintptr_t)scratch.memory % ALIGNMENT;
    size_t used = skew == 0 ? 0 : ALIGNMENT - skew;
    *memory = (struct codec_memory){.scratch = scratch};
    memory->used = used < scratch.size ? used : scratch.size;
}

void codec_memory_deinit(struct codec_memory *memory)
{
    while (memory->blocks != NULL) {
        struct codec_block *block = memory->blocks;
        memory->blocks = block->next;
        heap_release(memory->scratch.heap, block, block->size);
    }
}

static void *acquire_block(struct codec_memory *memory, size_t size)
{
    struct codec_block *block = NULL;
    if (memory->scratch.heap != NULL) {
        block = heap_acquire(memory->scratch.heap, size + sizeof(*block));
    }
    if (block == NULL) {
        memory->failed = true;
        return NULL;
    }
    block->size = size + sizeof(*block);
    block->next = memory->blocks;
    block->previous = NULL;
    if (block->next != NULL) {
        block->next->previous = block;
    }
    memory->blocks = block;
    return block + 1;
}

void *codec_memory_acquire(struct codec_memory *memory, size_t size)
{
    if (size > SIZE_MAX / 2) {
        memory->failed = true;
        return NULL;
    }
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size > memory->scratch.size - memory->used) {
        return acquire_block(memory, size);
    }
    void *block = memory->scratch.memory + memory->used;
    memory->used += size;
    return block;
}

static bool is_of_scratch(const struct codec_memory *memory, const void *block)
{
    uintptr_t start = (uintptr_t)memory->scratch.memory;
    uintptr_t at = (uintptr_t)block;
    return at >= start && at < start + memory->scratch.size;
}

void codec_memory_release(struct codec_memory *memory, void *block)
{
    if (block == NULL || is_of_scratch(memory, block)) {
        return;
    }
    struct codec_block *released = (struct codec_block *)block - 1;
    if (released->next != NULL) {
        released->next->previous = released->previous;
    }
    if (released->previous != NULL) {
        released->previous->next = released->next;
    } else {
        check(memory->blocks == released);
        memory->blocks = released->next;
    }
    heap_release(memory->scratch.heap, released, released->size);
}

struct batch_scratch codec_memory_rest(const struct codec_memory *memory)
{
    return (struct batch_scratch){
        .memory = memory->scratch.memory + memory->used,
        .size = memory->scratch.size - memory->used,
        .heap = memory->scratch.heap,
    };
}
