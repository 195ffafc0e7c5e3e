/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one memtable: blocks from a heap, under a limit of its own, drawn by one thread or by
 * several. Asked for some 64 KiB at a time, so its lock is never where threads meet.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"

struct supply {
    struct heap *heap;    /* borrowed; when shared, nobody else uses it meanwhile */
    pthread_mutex_t lock; /* taken when shared */
    bool shared;          /* several threads draw from it */
    uint64_t size_max;    /* bytes */
    _Atomic uint64_t size;
    _Atomic uint64_t calls; /* blocks handed out since the start: the only allocations there are */
};

void supply_init(struct supply *supply, struct heap *heap, uint64_t size_max, bool shared);
void supply_deinit(struct supply *supply); /* checks that every block came back */
/* Zeroed, aligned to 16. NULL: the limit or the heap has no room. */
[[nodiscard]] void *supply_acquire(struct supply *supply, uint64_t size);
void supply_release(struct supply *supply, void *block, uint64_t size);
/* The same beside the limit: for what comes and goes and has a bound of its own. */
[[nodiscard]] void *supply_acquire_beside(struct supply *supply, uint64_t size);
void supply_release_beside(struct supply *supply, void *block, uint64_t size);
