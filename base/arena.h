/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bump memory of one request: many small allocations, one reset. Blocks come from base/pages.h
 * (first a 4 KiB page, then 64 KiB chunks, larger runs when one allocation asks for it).
 *
 * Sticky: after the first refusal `failed` stays set and every further allocation answers NULL, so
 * a decoder checks once at its end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pages.h"

struct arena_block;

struct arena {
    struct pages *pages;       /* borrowed */
    struct arena_block *block; /* newest first */
    uint8_t *cursor;
    uint8_t *limit;
    size_t size;     /* bytes of blocks held */
    size_t size_max; /* bytes of blocks at most */
    bool failed;
};

/* Touches no memory until the first allocation. */
void arena_init(struct arena *arena, struct pages *pages, size_t size_max);
/* Zeroed, aligned to 16. NULL once the arena failed. size 0 answers a valid pointer. */
[[nodiscard]] void *arena_acquire(struct arena *arena, size_t size);
/* count * size with overflow caught. */
[[nodiscard]] void *arena_acquire_array(struct arena *arena, size_t count, size_t size);
/* Not zeroed; for bytes that are written at once. */
[[nodiscard]] uint8_t *arena_acquire_bytes(struct arena *arena, size_t size);
/* Gives every block back; the arena may be used again. */
void arena_reset(struct arena *arena);

#define arena_new(arena, type) ((type *)arena_acquire((arena), sizeof(type)))
#define arena_new_array(arena, type, count)                                                        \
    ((type *)arena_acquire_array((arena), (count), sizeof(type)))
