/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) One core's storage: what all its partitions share. Owner core only.
 *
 * Borrows ring, pages, heap, timers and diag, which outlive it. Holds the block cache, the list of
 * dirty partitions (storage/commit) and the upkeep round.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/pages.h"
#include "base/ring.h"
#include "base/timer.h"
#include "storage/config.h"
#include "wire/status.h"

struct store_options {
    struct ring *ring;
    struct pages *pages;
    struct heap *heap;
    struct timers *timers;
    struct diag *diag;
    const char *data_dir; /* absolute or relative to the working folder; must exist */
    enum writer_kind writer;
    uint64_t hash_seed;          /* of in-memory tables only, never of files */
    uint32_t files_max;          /* descriptors this core may hold for logs */
    uint32_t producer_count_max; /* per partition: producers.max */
    uint32_t memtable_shards;    /* of a segment's keys: memtable.shards */
    uint64_t retention_check_ns; /* log.retention.check.interval.ms */
};

struct store_counters {
    uint64_t appends;     /* batches */
    uint64_t append_size; /* bytes */
    uint64_t writes;      /* log writes submitted */
    uint64_t write_size;  /* bytes, with padding */
    uint64_t reads;       /* block reads from disk */
    uint64_t read_size;
    uint64_t cache_hits; /* blocks found in slab or cache */
    uint64_t duplicates; /* batches answered from producer state */
    uint64_t failures;   /* failed writes or syncs */
};

struct store;

[[nodiscard]] struct store *store_open(const struct store_options *options);
/* All partitions must be closed. */
void store_close(struct store *store);
/* Step 7 of the tick: one write for every dirty partition that has none in flight. */
void store_commit(struct store *store);
/* Step 5: a bounded slice (about `budget_ns`) of retention, idle release, tails, snapshots. */
void store_upkeep(struct store *store, uint64_t budget_ns);
/* State grew that is not this layer's: key indexes go, as many as it takes, when more than half of
 * the heap is taken. They are caches (X3 of keyed.h), and logs that are not written to would keep
 * theirs. Upkeep does the same. */
void store_yield_keys(struct store *store);
/* Whether since the last call something was refused because all of the cache is pinned: by answers
 * that are not sent, for the most part. */
bool store_take_shortage(struct store *store);
const struct store_counters *store_counters(const struct store *store);
/* What `wanted` can be in the data folder: itself, or WRITER_BUFFERED where it needs O_DIRECT and
 * the file system refuses that. Blocking; start-up. Leaves no file behind. */
enum writer_kind store_probe(struct ring *ring, const char *data_dir, enum writer_kind wanted);
/* "aligned", "direct" or "buffered": the words of log.writer. */
const char *store_writer_name(enum writer_kind kind);
