/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of log in memory, all in one table keyed by (segment instance, block number): those of a
 * slab, which are not wholly durable yet, and those of the cache, which could be read again.
 *
 *   SLAB     the newest bytes of an active segment; grows at its end; charged to PAGES_SLAB
 *   LOADING  being read; who needs it pins it and waits
 *   CACHED   durable, immutable; with no pins it is in `idle` and may go at any moment
 *   FAILED   could not be read, or its sum is wrong; out of the table, freed by the last unpin
 *
 * C1  A pinned block keeps its memory and its bytes below `size`, whatever happens to the segment.
 * C2  A block read from disk is compared with its row's sum once, before anybody sees it.
 * C3  A block in the table is current: bytes are changed in SLAB only, and SLAB is in the table.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/pages.h"
#include "base/ring.h"
#include "storage/files.h"
#include "storage/pool.h"
#include "wire/status.h"

struct segment;
struct store;

enum block_state { BLOCK_SLAB, BLOCK_LOADING, BLOCK_CACHED, BLOCK_FAILED };

/* Where a batch starts that a header walk has met: the next walk begins there. A full block of
 * small batches holds hundreds, and 16 marks leave a dozen headers to hop over. */
#define BLOCK_MARKS 16
struct block_mark {
    uint32_t delta;  /* of its base offset to that of the block's row */
    uint16_t within; /* its position in the block; 0: no mark */
};

struct block {
    struct table_node slot;
    struct list_node node; /* segment->slab or cache->idle */
    uint64_t instance;
    uint32_t number;
    uint32_t pins;
    uint32_t size; /* valid bytes */
    enum block_state state;
    enum status fault;                    /* of FAILED */
    int64_t error;                        /* -errno behind it, or 0 */
    bool detached;                        /* no longer in the table */
    enum pages_share share;               /* who is charged for memory */
    uint8_t *memory;                      /* BLOCK_SIZE */
    struct block_mark marks[BLOCK_MARKS]; /* one for each page of the block */
    struct store *store;
    struct segment *segment; /* held while LOADING */
    struct list waiters;     /* of struct block_waiter, while LOADING */
    struct file_user user;
    struct op op;
    struct iovec slice;
};

struct block_waiter {
    struct list_node node;
    void (*ready)(struct block_waiter *waiter);
};

struct cache {
    struct table table;
    struct list idle; /* CACHED, no pins; longest unused first */
    struct pool blocks;
    uint32_t loading;
};

[[nodiscard]] bool cache_init(struct store *store);
void cache_deinit(struct store *store);

/* NULL when absent. A hit makes it the newest. */
struct block *cache_find(struct store *store, const struct segment *segment, uint32_t number);
/* Starts a read of an absent block; NULL when the share is spent by pinned blocks, or when the read
 * could not even begin (no memory). Calls nobody back before it returns. */
struct block *cache_load(struct store *store, struct segment *segment, uint32_t number);
/* Called back once the block is no longer LOADING. The waiter must have pinned it. */
void block_wait(struct block *block, struct block_waiter *waiter);
void block_pin(struct block *block);
void block_unpin(struct block *block);

/* A fresh block of a slab, its bytes undefined. NULL: the share is spent. */
struct block *cache_add_slab(struct store *store, struct segment *segment, uint32_t number);
/* CACHED -> SLAB, to append to it. False: the slab share is spent. */
bool block_take_back(struct block *block);
/* SLAB -> CACHED without a copy; when the cache has no room the memory goes at the last unpin. */
void block_graduate(struct block *block);
/* Forgets all blocks of a segment; pinned ones live until unpinned. */
void cache_forget(struct store *store, const struct segment *segment);
/* A run charged to the cache share, making room if need be; for scans and read lists. */
[[nodiscard]] uint8_t *cache_acquire_run(struct store *store, size_t size);
void cache_release_run(struct store *store, uint8_t *run, size_t size);
