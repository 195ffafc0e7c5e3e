/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <string.h>

#include "base/check.h"

#define ARENA_ALIGNMENT ((size_t)16)
#define ARENA_BYTES_ALIGNMENT ((size_t)8) /* bytes are packed closer than structs */

/* Lies at the beginning of its own block. */
struct arena_block {
    struct arena_block *next;
    size_t size; /* bytes of the block, this header included */
};

_Static_assert(sizeof(struct arena_block) == 16, "the first allocation is aligned to 16");

void arena_init(struct arena *arena, struct pages *pages, size_t size_max)
{
    *arena = (struct arena){.pages = pages, .size_max = size_max};
}

static struct arena_block *arena_block_acquire(struct arena *arena, size_t size)
{
    if (size > arena->size_max - arena->size) {
        return NULL;
    }
    struct arena_block *block;
    if (size == PAGE_SIZE) {
        block = (void *)pages_acquire_page(arena->pages, PAGES_REQUEST);
    } else {
        block = (void *)pages_acquire_run(arena->pages, size, PAGES_REQUEST);
    }
    if (block != NULL) {
        block->size = size;
        arena->size += size;
    }
    return block;
}

/* Room for `size` bytes in a new block. */
static uint8_t *arena_grow(struct arena *arena, size_t size)
{
    size_t needed;
    if (__builtin_add_overflow(size, sizeof(struct arena_block) + CHUNK_SIZE - 1, &needed)) {
        return NULL;
    }
    needed = size + sizeof(struct arena_block);
    size_t block_size = CHUNK_SIZE;
    if (needed > CHUNK_SIZE) {
        block_size = (needed + CHUNK_SIZE - 1) & ~(CHUNK_SIZE - 1);
    } else if (needed <= PAGE_SIZE && arena->block == NULL) {
        block_size = PAGE_SIZE;
    }
    struct arena_block *block = arena_block_acquire(arena, block_size);
    if (block == NULL) {
        return NULL;
    }
    uint8_t *start = (uint8_t *)(block + 1);
    size_t rest = block_size - needed;
    if (arena->block != NULL && (size_t)(arena->limit - arena->cursor) > rest) {
        /* The older block has more room left: go on filling that one. */
        block->next = arena->block->next;
        arena->block->next = block;
        return start;
    }
    block->next = arena->block;
    arena->block = block;
    arena->cursor = start + size;
    arena->limit = (uint8_t *)block + block_size;
    return start;
}

static uint8_t *arena_take(struct arena *arena, size_t size, size_t alignment)
{
    if (arena->failed) {
        return NULL;
    }
    if (arena->block != NULL) {
        size_t pad = (size_t) - (uintptr_t)arena->cursor & (alignment - 1);
        size_t room = (size_t)(arena->limit - arena->cursor);
        if (pad <= room && size <= room - pad) {
            uint8_t *start = arena->cursor + pad;
            arena->cursor = start + size;
            return start;
        }
    }
    uint8_t *start = arena_grow(arena, size);
    arena->failed = start == NULL;
    return start;
}

void *arena_acquire(struct arena *arena, size_t size)
{
    uint8_t *start = arena_take(arena, size, ARENA_ALIGNMENT);
    if (start != NULL) {
        memset(start, 0, size);
    }
    return start;
}

void *arena_acquire_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        arena->failed = true;
        return NULL;
    }
    return arena_acquire(arena, total);
}

uint8_t *arena_acquire_bytes(struct arena *arena, size_t size)
{
    return arena_take(arena, size, ARENA_BYTES_ALIGNMENT);
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->block;
    while (block != NULL) {
        struct arena_block *next = block->next;
        check(arena->size >= block->size);
        arena->size -= block->size;
        if (block->size == PAGE_SIZE) {
            pages_release_page(arena->pages, (uint8_t *)block, PAGES_REQUEST);
        } else {
            pages_release_run(arena->pages, (uint8_t *)block, block->size, PAGES_REQUEST);
        }
        block = next;
    }
    check(arena->size == 0);
    arena_init(arena, arena->pages, arena->size_max);
}
