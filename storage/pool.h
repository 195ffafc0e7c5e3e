/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A free list of equal objects, so that the data path takes and gives them without asking the heap
 * once it is warm. Objects stay with the pool until pool_deinit(); their number is bounded by
 * whatever bounds their use (blocks by pages, jobs by partitions, reads by requests).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"

struct pool_item {
    struct pool_item *next;
};

struct pool {
    struct heap *heap; /* borrowed */
    size_t size;       /* bytes of one object */
    struct pool_item *free;
    uint32_t taken;
};

static inline void pool_init(struct pool *pool, struct heap *heap, size_t size)
{
    check(size >= sizeof(struct pool_item));
    *pool = (struct pool){.heap = heap, .size = size};
}

/* Zeroed; NULL when the heap refuses. */
[[nodiscard]] static inline void *pool_take(struct pool *pool)
{
    struct pool_item *item = pool->free;
    if (item != NULL) {
        pool->free = item->next;
        memset(item, 0, pool->size);
    } else {
        item = heap_acquire(pool->heap, pool->size);
        if (item == NULL) {
            return NULL;
        }
    }
    pool->taken += 1;
    return item;
}

static inline void pool_give(struct pool *pool, void *object)
{
    struct pool_item *item = object;
    check(pool->taken > 0);
    pool->taken -= 1;
    item->next = pool->free;
    pool->free = item;
}

static inline void pool_deinit(struct pool *pool)
{
    check(pool->taken == 0);
    while (pool->free != NULL) {
        struct pool_item *item = pool->free;
        pool->free = item->next;
        heap_release(pool->heap, item, pool->size);
    }
}
