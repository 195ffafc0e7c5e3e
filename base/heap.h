/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for long-lived state (objects, tables, paths): a counted malloc. Blocks of bytes that
 * move to devices or live for one request come from base/pages.h and base/arena.h instead.
 *
 * One heap per core, used by that core alone. `calls` proves in tests that the data path allocates
 * nothing once it is warm. Every byte is charged to the owner's share of the memory budget; an
 * acquire that would pass size_max answers NULL and the caller refuses the work.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct heap {
    uint64_t calls; /* acquires since start; the figure tests watch */
    size_t size;    /* bytes held now */
    size_t size_peak;
    size_t size_max; /* bytes */
};

void heap_init(struct heap *heap, size_t size_max);
void heap_deinit(struct heap *heap); /* checks that nothing is held any more */

/* Zeroed, aligned to 16. NULL when the budget or the machine has no more. */
[[nodiscard]] void *heap_acquire(struct heap *heap, size_t size);
/* `size` is the size it was acquired with; a check holds the two together. NULL does nothing. */
void heap_release(struct heap *heap, void *block, size_t size);
/* Grows or shrinks, keeping the content; new bytes are zero. On NULL the old block stays valid. */
[[nodiscard]] void *heap_resize(struct heap *heap, void *block, size_t size_old, size_t size_new);
