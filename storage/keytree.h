/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ordered map from key bytes to entries that only grows: one shard of the memtable. No locks of
 * its own: one caller at a time, or any number of readers.
 *
 *   slots        hashes | handles                       the short way to one key (key_slots.h)
 *   inner node   heads | separators | children          binary search over heads
 *   leaf         order | heads | handles                ordered by `order`
 *   record       entry, key bytes                       never moves
 *
 * K1  Between its two fences (the separators around it on the way down) a node's keys share `skip`
 *     bytes, so the head, eight bytes behind them, tells nearly all of them apart.
 * K2  A look-up does not go through the tree: it touches one line of the slots and one record. The
 *     tree is for new keys and for cursors alone.
 * K3  `order` names the slots by ascending key; a put moves bytes of it, not pointers.
 * K4  Nothing is taken out: a removed key keeps its record with KEY_REMOVED. So memory is bounded
 *     by the distinct keys, separators may point into records, and a cursor is never left hanging.
 * K5  Full inner nodes are split on the way down, so a split never climbs, and one that gets no
 *     memory leaves a whole tree behind.
 * K6  A handle is the number of a record's block and the record's place in it, in units of 8 bytes.
 *     It halves what slots and leaves take of each key.
 *
 * Chosen by measurement (benchmarks/004_memtable): a step down costs one cache miss, and there are
 * three steps, not the twenty of a red-black tree; through the slots a find costs two. With a
 * million keys of 16 bytes and 170 ns of memory latency it takes 0.39 us, 0.62 through the tree.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/key_entry.h"
#include "storage/key_slots.h"
#include "storage/supply.h"
#include "wire/status.h"

#define KEYTREE_WIDTH 64
#define KEYTREE_BLOCK_SIZE_MIN UINT32_C(2048)
#define KEYTREE_BLOCK_SIZE_MAX UINT32_C(65536)

struct keytree_block;

/* Room for records at the lower end of a block's free part, for nodes at the upper one. */
struct keytree_room {
    uint8_t *record_cursor;
    uint8_t *node_cursor;
    uint32_t block; /* its number */
};

struct keytree {
    struct key_slots slots;
    struct keytree_block **blocks; /* by number */
    uint32_t block_count;
    uint32_t block_room; /* entries of `blocks` */
    void *root;          /* a leaf at height 0; NULL: empty */
    uint32_t height;
    struct supply *supply; /* borrowed */
    struct keytree_room newest;
    struct keytree_room spare; /* room for records that an older block had left for no node */
    uint64_t count;            /* records, removed ones too */
    uint64_t size;             /* bytes of records, nodes and slots */
    uint64_t payload;          /* bytes of records alone */
    uint64_t held;             /* bytes of blocks and slots */
};

/* 32 bytes and the key. */
struct keytree_record {
    int64_t offset;
    int64_t timestamp;
    uint32_t position;
    uint32_t size;
    uint32_t flags;
    uint32_t key_size;
    uint8_t key[];
};

static inline struct bytes keytree_key(const struct keytree_record *record)
{
    return (struct bytes){record->key, record->key_size};
}

static inline struct key_entry keytree_entry(const struct keytree_record *record)
{
    return (struct key_entry){.offset = record->offset,
                              .timestamp = record->timestamp,
                              .position = record->position,
                              .size = record->size,
                              .flags = record->flags};
}

static inline void keytree_set(struct keytree_record *record, const struct key_entry *entry)
{
    record->offset = entry->offset;
    record->timestamp = entry->timestamp;
    record->position = entry->position;
    record->size = entry->size;
    record->flags = entry->flags;
}

void keytree_init(struct keytree *tree, struct supply *supply);
/* Gives every block back. */
void keytree_deinit(struct keytree *tree);

/* `hash` is any good hash of the key, the same at every call. NULL: not there. */
struct keytree_record *keytree_find(const struct keytree *tree, struct bytes key, uint64_t hash);
/* The record of the key, made when there is none: `made`, its entry is zero. NULL: no memory; the
 * tree is as before. */
[[nodiscard]] struct keytree_record *keytree_put(struct keytree *tree, struct bytes key,
                                                 uint64_t hash, bool *made);

/* Goes over records in order. Records made meanwhile ask for a new seek. */
struct keytree_cursor {
    const struct keytree *tree;
    const void *leaf;
    uint32_t position;
    uint32_t wanted; /* records that the memory is still to be asked for ahead */
};
/* The first record at `key`, or behind it. The caller wants about `wanted` of them. */
struct keytree_record *keytree_seek(const struct keytree *tree, struct bytes key, uint32_t wanted,
                                    struct keytree_cursor *cursor);
/* The same in two steps, for who seeks in several trees: each step asks the memory for what the
 * next one needs, so that it answers for all of them side by side. */
void keytree_approach(const struct keytree *tree, struct bytes key, struct keytree_cursor *cursor);
struct keytree_record *keytree_arrive(struct bytes key, uint32_t wanted,
                                      struct keytree_cursor *cursor);
/* The next one; NULL at the end. */
struct keytree_record *keytree_step(struct keytree_cursor *cursor);
/* Every rule of the tree, for tests. */
void keytree_check(const struct keytree *tree);
