/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/supply.h"

#include "base/check.h"

void supply_init(struct supply *supply, struct heap *heap, uint64_t size_max, bool shared)
{
    *supply = (struct supply){.heap = heap, .size_max = size_max, .shared = shared};
    check(pthread_mutex_init(&supply->lock, NULL) == 0);
}

void supply_deinit(struct supply *supply)
{
    check(atomic_load(&supply->size) == 0);
    check(pthread_mutex_destroy(&supply->lock) == 0);
}

static void supply_lock(struct supply *supply)
{
    if (supply->shared) {
        check(pthread_mutex_lock(&supply->lock) == 0);
    }
}

static void supply_unlock(struct supply *supply)
{
    if (supply->shared) {
        check(pthread_mutex_unlock(&supply->lock) == 0);
    }
}

static void *acquire(struct supply *supply, uint64_t size, bool charged)
{
    void *block = NULL;
    supply_lock(supply);
    uint64_t held = atomic_load_explicit(&supply->size, memory_order_relaxed);
    if (!charged || (held <= supply->size_max && size <= supply->size_max - held)) {
        block = heap_acquire(supply->heap, size);
    }
    if (block != NULL) {
        atomic_store_explicit(&supply->size, held + (charged ? size : 0), memory_order_relaxed);
        atomic_fetch_add_explicit(&supply->calls, 1, memory_order_relaxed);
    }
    supply_unlock(supply);
    return block;
}

static void release(struct supply *supply, void *block, uint64_t size, bool charged)
{
    if (block == NULL) {
        return;
    }
    supply_lock(supply);
    if (charged) {
        check(atomic_load_explicit(&supply->size, memory_order_relaxed) >= size);
        atomic_fetch_sub_explicit(&supply->size, size, memory_order_relaxed);
    }
    heap_release(supply->heap, block, size);
    supply_unlock(supply);
}

void *supply_acquire(struct supply *supply, uint64_t size)
{
    return acquire(supply, size, true);
}

void supply_release(struct supply *supply, void *block, uint64_t size)
{
    release(supply, block, size, true);
}

void *supply_acquire_beside(struct supply *supply, uint64_t size)
{
    return acquire(supply, size, false);
}

void supply_release_beside(struct supply *supply, void *block, uint64_t size)
{
    release(supply, block, size, false);
}
