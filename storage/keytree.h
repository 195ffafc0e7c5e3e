/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of keys: one tree over the records of all shards of a memtable, which only grows. Of
 * records it holds handles (key_blocks.h); a look-up of one key does not come here (key_map.h).
 *
 *   inner node   heads | separators | children          binary search over heads
 *   leaf         order | heads | handles                ordered by `order`; leaves are a list
 *
 * K1  All that lies between a node's two fences (the separators around it on the way down) shares
 *     `skip` bytes, so the head, eight bytes behind them, tells nearly all of its keys apart.
 * K2  `order` names the places of a leaf by ascending key; an insert moves bytes of it, no records.
 * K3  Nothing is taken out and no node goes before the tree does: separators may name records, and
 *     nobody is ever left on memory that is gone.
 * K4  Full inner nodes are split on the way down, so a split never climbs, and one that gets no
 *     memory leaves a whole tree behind. Keys only ever move to the right.
 *
 * With several threads (supply->shared) anybody may insert, seek and read at any time:
 *
 * K5  A leaf is read and changed under its own lock, for a few dozen keys at a time.
 * K6  Inner nodes are read without one. A gate counts the changes, odd while one is made under its
 *     lock; who goes down reads the gate, then the node, then the gate again, and begins anew when
 *     it moved. What he reads meanwhile may belong to two moments; it is never a pointer to
 *     nowhere, because every word is stored whole and what it names stays (K3).
 * K7  A node splits under the gate of the node above it. So whoever locks a leaf and finds the gate
 *     above it unmoved has the leaf that his key belongs to.
 * K8  Locks are taken downwards, and of leaves one at a time.
 *
 * One tree for each shard would need no gates. A scan then has to look into every one of them, and
 * a short one of 32 shards took 5 times as long as one of a single shard: 20 us instead of 2.4.
 */
#pragma once

#include "storage/key_blocks.h"
#include "wire/status.h"

#define KEYTREE_WIDTH 64

/* K6. */
struct keytree_gate {
    pthread_mutex_t lock;
    _Atomic uint64_t changes;
};

struct keytree_node;
struct keytree_node_block;

struct keytree {
    /* What everybody reads, and what changes with the root alone. */
    _Alignas(64) struct keytree_gate gate; /* of the root */
    struct keytree_node *_Atomic root;
    const struct key_blocks *blocks; /* borrowed */
    struct supply *supply;           /* borrowed */
    bool shared;

    _Alignas(64) pthread_mutex_t memory_lock; /* of what follows */
    struct keytree_node_block *newest;
    uint8_t *cursor;
    uint8_t *end;
    _Atomic uint64_t size; /* bytes of nodes */
    _Atomic uint64_t held; /* bytes of the blocks they lie in */
};

void keytree_init(struct keytree *tree, const struct key_blocks *blocks);
void keytree_deinit(struct keytree *tree);
/* Empty again, its memory given back. Nobody may be in it, but `size` and `held` may be read. */
void keytree_clear(struct keytree *tree);

/* Where a key belongs, unless the gate has moved since. */
struct keytree_place {
    struct keytree_gate *gate;
    uint64_t changes;
    void *leaf; /* NULL: unknown */
};

/* Goes down to the key's place and asks the memory for its leaf; so there is time for other work
 * before keytree_insert(). False: the tree changed meanwhile, and the place is unknown. */
bool keytree_approach(struct keytree *tree, struct bytes key, struct keytree_place *place);
/* A key that is not in it; its record has all that a reader may see. The place is what
 * keytree_approach() gave for it. STATUS_NO_MEMORY: it is not in the tree. */
enum status keytree_insert(struct keytree *tree, uint32_t handle,
                           const struct keytree_place *place);

/* Goes over records in order. */
struct keytree_cursor {
    struct keytree *tree;
    struct bytes key; /* the next ones are at it, or behind it */
    bool behind;
    void *leaf; /* where that was; NULL: to be looked for */
    uint32_t position;
    uint32_t turn; /* of the leaf: unless that changed, the position still holds */
};

/* The next record will be the first at `key` or behind it. The key is lent until one was read. */
void keytree_seek(struct keytree *tree, struct bytes key, struct keytree_cursor *cursor);
/* Up to `room` more; fewer at the end alone. Records made meanwhile may be seen or not. */
uint32_t keytree_read(struct keytree_cursor *cursor, struct key_record **records, uint32_t room);

/* Every rule of the tree, for tests. The sum of its handles. */
uint64_t keytree_check(const struct keytree *tree);
