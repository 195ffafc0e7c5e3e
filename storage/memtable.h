/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key index: an ordered map from key bytes to where the newest record of the key lies. Keys are
 * spread by a seeded hash over shards (key_map.h); one tree keeps the order of all (keytree.h).
 *
 * Locks are chosen when it is made. A broker's core takes none, and every call below must then come
 * from that core. With one lock, or one for each shard, any thread may call anything but
 * memtable_close(). A shard's lock is held for one key; a put that knows the key, and a get, take
 * no other. New keys and scans meet in the tree, a leaf of it at a time.
 *
 * T1  Newest wins: an entry replaces one of the same key unless its offset is smaller.
 * T2  A snapshot is one consistent cut. The cut is one atomic step of `generation`. A put reads it
 *     under the lock of its shard and goes to the half of that generation, turning the shard first
 *     when it is behind. If put A returned before put B was called, A read no later value than B:
 *     what a snapshot holds of B it holds of A. Nothing stands still: the shards are turned one
 *     after the other, each by whoever comes first, and a turn is a flip of two halves under the
 *     shard's own lock. Locking all shards at once would give the same cut and stall every
 *     writer for as long as the slowest holder of any lock takes.
 * T3  A snapshot is frozen: no put and no remove changes it. A flush takes no lock that a put ever
 *     waits for.
 * T4  Until memtable_release() gets and scans see the snapshot below what came after it.
 * T5  Memory is held in blocks under `size_max`; a put allocates nothing but a block now and then.
 *
 *   state      entered by            left when
 *   IDLE       open, release         memtable_snapshot()
 *   FROZEN     memtable_snapshot()   memtable_release(), the snapshot lies safe in its sink
 *   DETACHED   memtable_release()    the scans that began before have been closed
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/metric.h"
#include "storage/key_entry.h"
#include "wire/status.h"

#define MEMTABLE_SHARDS_MAX 128
#define MEMTABLE_SHARDS_DEFAULT 32

enum memtable_locks {
    MEMTABLE_LOCKS_NONE,   /* one thread */
    MEMTABLE_LOCKS_ONE,    /* one lock for all shards: the anchor of the benchmark */
    MEMTABLE_LOCKS_SHARDS, /* a lock for each */
};

struct memtable_options {
    struct heap *heap;    /* borrowed; with locks nobody else may use it meanwhile */
    uint32_t shard_count; /* 1 to MEMTABLE_SHARDS_MAX, any number */
    enum memtable_locks locks;
    uint64_t hash_seed;         /* unknown to whoever chooses keys */
    uint64_t size_max;          /* bytes of blocks and filters */
    double bloom_rate;          /* false positives of the shards' filters; 0: no filters */
    uint64_t bloom_count;       /* keys that the filters are made for, of all shards */
    uint32_t sample_one_in;     /* operations of a shard for each one that is timed; 0: none */
    uint64_t (*now_ns)(void *); /* NULL: nothing is timed, not even waiting for locks */
    void *clock;                /* now_ns() gets it */
};

struct memtable;

/* NULL: the heap has no room. */
[[nodiscard]] struct memtable *memtable_open(const struct memtable_options *options);
/* No scan may be open. A snapshot that was not released is lost with the rest. */
void memtable_close(struct memtable *memtable);

/*
 * Takes `count` entries in order, keys copied. STATUS_NO_MEMORY: only the first *taken got in, and
 * the table is full; the owner rolls its segment and begins a new table.
 */
enum status memtable_put(struct memtable *memtable, const struct key_item *items, uint32_t count,
                         uint32_t *taken);
/* False: no such key, or removed. */
bool memtable_get(struct memtable *memtable, struct bytes key, struct key_entry *entry);
/* Forgets the key unless its entry is newer than `offset`. STATUS_NO_MEMORY: a mark was needed to
 * hide what the snapshot has of it, and could not be made. */
enum status memtable_remove(struct memtable *memtable, struct bytes key, int64_t offset);

/* ---- scan ---- */

/*
 * Keys from `begin` to `until`, in the order of their bytes over all shards. With writers about it
 * is no snapshot: a key that stays is seen once, with an entry that it had while the scan was open;
 * one that comes or goes meanwhile may be seen or not.
 */
struct memtable_scan_options {
    struct bytes begin;  /* inclusive; size 0: from the first key */
    struct bytes until;  /* exclusive; data NULL: to the end. Lent until the scan is closed */
    uint32_t count_hint; /* keys the caller wants, if it knows: less is copied; 0: many */
};

struct memtable_scan;
/* NULL: no memory. Scans are kept for the next one: a warm table allocates none. */
[[nodiscard]] struct memtable_scan *memtable_scan_open(struct memtable *memtable,
                                                       const struct memtable_scan_options *options);
/* The key's bytes stay until the next call of the same scan. False: the end. */
bool memtable_scan_next(struct memtable_scan *scan, struct key_item *item);
void memtable_scan_close(struct memtable_scan *scan);

/* ---- snapshot ---- */

/*
 * Freezes what is there as one consistent cut (T2). STATUS_PENDING: the last one was not released
 * yet. STATUS_NO_MEMORY: no room for new filters. After either nothing has changed.
 */
enum status memtable_snapshot(struct memtable *memtable);

/*
 * Where a snapshot goes: batches of ascending keys, removed ones marked KEY_REMOVED (drop them when
 * no older run can hold the key). Keys are lent until memtable_release(). STATUS_PENDING: taken,
 * call memtable_flush() again later. Any other status ends the flush with it, and the next
 * memtable_flush() begins anew.
 */
struct key_sink {
    enum status (*take)(struct key_sink *sink, const struct key_item *items, uint32_t count);
};

/* Hands at least `count_max` more keys of the snapshot to the sink, some tens more at most; fewer
 * when the sink says STATUS_PENDING. STATUS_OK: that was all. STATUS_PENDING: there may be more.
 * One caller at a time. */
enum status memtable_flush(struct memtable *memtable, struct key_sink *sink, uint64_t count_max);

/* The snapshot is safe elsewhere: gets and scans see it no more. STATUS_PENDING: scans that began
 * before still read it, call again; until STATUS_OK there is no new snapshot. */
enum status memtable_release(struct memtable *memtable);

/* ---- counters ---- */

/* Read without locks: each number is right, together they may be of different moments. A key that
 * was written again while a snapshot is out counts in both halves; one removed, in the snapshot. */
struct memtable_shard_counters {
    uint64_t count;      /* keys */
    uint64_t size;       /* bytes of records, slots and filters */
    uint64_t filters;    /* bytes of filters alone */
    uint64_t write_ops;  /* puts and removes */
    uint64_t read_ops;   /* gets */
    uint64_t contention; /* times the lock was not free */
};

uint32_t memtable_shard_count(const struct memtable *memtable);
struct memtable_shard_counters memtable_shard_counters(const struct memtable *memtable,
                                                       uint32_t shard);
/* Of all shards, and the tree over them. */
struct memtable_shard_counters memtable_counters(const struct memtable *memtable);
/* Bytes drawn from size_max now, with what is not used yet. */
uint64_t memtable_size(const struct memtable *memtable);
/* Blocks acquired so far: what a put may allocate, and nothing else. */
uint64_t memtable_allocations(const struct memtable *memtable);
/* The shard of a key: for tests, and for showing it. */
uint32_t memtable_shard_of(const struct memtable *memtable, struct bytes key);

/* Nanoseconds, of timed operations. Takes the shards' locks one after the other. */
struct memtable_latencies {
    struct histogram write; /* one key, waiting for the lock included */
    struct histogram read;
    struct histogram scan; /* from open to close */
    struct histogram wait; /* for a lock that was not free; every time */
};
/* Adds to what `latencies` holds. */
void memtable_latencies(struct memtable *memtable, struct memtable_latencies *latencies);
