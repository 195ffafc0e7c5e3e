/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct memtable: for the memtable's files alone. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "storage/bloom.h"
#include "storage/key_map.h"
#include "storage/keytree.h"
#include "storage/memtable.h"
#include "storage/supply.h"

#define MEMTABLE_MAGIC UINT64_C(0x776569726d656d74)
#define CACHE_LINE 64

/* What a shard holds of one generation. */
struct memtable_half {
    struct key_map map;
    struct bloom bloom;
    uint8_t *bloom_block; /* NULL: no filter */
    uint64_t live;        /* records that are not removed */
};

struct memtable_shard {
    /* Shards never share a cache line: a put to one does not slow down its neighbours. */
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    pthread_mutex_t *guard; /* the lock in use: this one, the first shard's, NULL */
    uint64_t generation;    /* halves[generation & 1] takes puts */
    bool frozen;            /* the other half is a snapshot that gets see */
    struct memtable_half halves[2];
    /* Written under the guard, read by anybody. */
    _Atomic uint64_t count;
    _Atomic uint64_t size;
    _Atomic uint64_t filters;
    _Atomic uint64_t write_ops;
    _Atomic uint64_t read_ops;
    _Atomic uint64_t contention;
    struct memtable_latencies *latencies; /* under the guard; NULL: nothing is timed. Shared by all
                                             shards unless each has a lock */
};

enum memtable_state { MEMTABLE_IDLE, MEMTABLE_FROZEN, MEMTABLE_DETACHED };

/* What all shards hold of one generation: their records, and the order of them. */
struct memtable_generation {
    struct key_blocks blocks;
    struct keytree tree;
};

/* What every call reads, and nearly nobody writes, keeps away from what changes all the time. */
struct memtable {
    _Alignas(CACHE_LINE) uint64_t magic;
    void *block; /* the memory this lies in, from the heap */
    size_t block_size;
    struct memtable_options options;
    uint32_t shard_count;
    _Atomic uint64_t generation;               /* T2 */
    struct memtable_generation generations[2]; /* as the halves of shards */

    _Alignas(CACHE_LINE) struct supply supply;

    /* of whoever flushes */
    struct keytree_cursor flush_cursor;
    bool flushing;

    _Alignas(CACHE_LINE) pthread_mutex_t lock; /* of what follows; before any shard's lock */
    enum memtable_state state;
    uint64_t detach_count;   /* snapshots that gets and scans see no more */
    uint64_t scan_counts[2]; /* open scans, by the detach_count & 1 they began with */
    struct memtable_scan *scans_free;

    struct memtable_shard shards[];
};

void memtable_lock(struct memtable *memtable);
void memtable_unlock(struct memtable *memtable);
void shard_lock(struct memtable *memtable, struct memtable_shard *shard);
void shard_unlock(struct memtable_shard *shard);
/* The entry, whole, of a record whose shard's lock is not held. */
struct key_entry memtable_entry(struct memtable *memtable, const struct key_record *record);
/* Frees the scans that are kept. */
void memtable_scan_dispose(struct memtable *memtable);

static inline struct memtable_half *shard_active(struct memtable_shard *shard)
{
    return &shard->halves[shard->generation & 1];
}

static inline struct memtable_half *shard_other(struct memtable_shard *shard)
{
    return &shard->halves[~shard->generation & 1];
}

/* Counters with one writer at a time need no locked instruction. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static inline void counter_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}
