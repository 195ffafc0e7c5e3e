/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct store: for the files of this folder alone. */
#pragma once

#include "storage/cache.h"
#include "storage/files.h"
#include "storage/hint_pages.h"
#include "storage/job.h"
#include "storage/pool.h"
#include "storage/store.h"

#define STORE_MAGIC UINT64_C(0x7765697273746f72)

/* The zero-ahead writes come from one run of zeros. */
#define STORE_ZEROS_SIZE (UINT64_C(256) << 10)
#define STORE_REST_NS UINT64_C(1000000000)
#define STORE_RETRY_NS UINT64_C(1000000000)
#define STORE_ROUND_NS UINT64_C(10000000000)

struct store {
    uint64_t magic;
    struct ring *ring; /* borrowed, like the next four */
    struct pages *pages;
    struct heap *heap;
    struct timers *timers;
    struct diag *diag;
    char *data_dir; /* own copy */
    size_t data_dir_size;
    enum writer_kind writer;
    uint64_t hash_seed;
    struct store_counters counters;
    struct cache cache;
    struct files files;
    struct pool jobs;
    struct pool writes;
    struct pool reads;
    struct pool lookups;
    struct hint_pages hint_pages;
    struct list partitions;      /* all */
    struct list dirty;           /* have bytes to write; storage/commit.h */
    struct list quiet;           /* may write zeros ahead */
    struct list starved;         /* first waiting append needs slab memory */
    struct list resting;         /* all durable, hold a partial block; longest idle first */
    struct list uncovered;       /* appends above the tail file's D; oldest first */
    struct list refused;         /* space was refused; tried again each second */
    struct list broken;          /* a write failed; reloaded by the next upkeep */
    struct list asking;          /* look for weir.request each second; soonest first */
    struct list key_wanted;      /* somebody waits for a key table, too many are being made */
    uint32_t key_indexes;        /* segments whose keys are in memory */
    uint32_t key_builds;         /* tables being made from logs */
    uint64_t key_index_size_max; /* of one segment's keys in memory */
    struct list removing;        /* no memory to remove them yet; tried again each second */
    struct list deleting;        /* jobs that wait to unlink, storage/removal.h */
    uint64_t instance_next;
    uint64_t retry_ns;     /* when `refused` is tried next */
    uint64_t round_ns;     /* when the next round begins */
    uint64_t retention_ns; /* from when on a round looks for old segments as well */
    uint64_t retention_check_ns;
    bool round_deletes; /* the round under way does */
    uint32_t producer_count_max;
    uint32_t memtable_shards;
    uint32_t knowing;        /* partitions whose sealed segments' facts are being read */
    struct list_node *round; /* next partition of the round, NULL between rounds */
    struct timer timer;      /* lets the core tick when upkeep is due */
    uint8_t *zeros;          /* STORE_ZEROS_SIZE, from the first zero-ahead on */
    bool shortage;           /* the cache had no room, see store_take_shortage() */
    bool names_synced;       /* those in the data folder that were there at the start */
    bool closing;
};

/* "<data>/<name>/<file><suffix>"; name or file may be NULL. */
void store_path(const struct store *store, char path[STORE_PATH_SIZE], const char *name,
                const char *file, const char *suffix);
/* "<data>/<name>/<20-digit offset><suffix>" */
void store_path_offset(const struct store *store, char path[STORE_PATH_SIZE], const char *name,
                       int64_t offset, const char *suffix);
/* The flag for opening log and tail files. */
static inline uint32_t store_direct(const struct store *store)
{
    return store->writer == WRITER_BUFFERED ? 0 : OPEN_DIRECT;
}
/* The core must tick for upkeep at `due_ns` at the latest. */
void store_arm(struct store *store, uint64_t due_ns);
