/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks that the records of one generation of a memtable lie in, and the names of records in
 * them.
 *
 * N1  A handle is the number of a block and the record's place in it, in units of 8 bytes. It
 *     halves what slots and leaves take of each key.
 * N2  A block never moves, and neither does its place in the table, whose parts double in size. So
 *     a handle is read without a lock by whoever was given it.
 * N3  Blocks go all at once, with key_blocks_clear().
 * N4  The records of all shards lie in one stream, in the order they were made. Keys that come in
 *     their order lie in that order then, which is how a scan reads them: 50 records of 48 bytes
 *     are 38 lines of memory, and about 64 where each of 32 shards fills blocks of its own. And one
 *     block is begun at a time, not one for each shard.
 * N5  Its newest block is one word, `room`: a thread takes its place there by changing the word,
 *     and the lock is for whoever adds a block.
 */
#pragma once

#include "storage/key_record.h"
#include "storage/supply.h"

#define KEY_BLOCK_SIZE_MIN UINT32_C(2048)
#define KEY_BLOCK_SIZE_MAX UINT32_C(65536)
#define KEY_PLACE_BITS 13
#define KEY_PLACE_UNIT 8
#define KEY_BLOCK_COUNT_MAX (UINT32_C(1) << (32 - KEY_PLACE_BITS))
/* Part p of the table has 8 << p entries. */
#define KEY_PART_BITS_FIRST 3
#define KEY_PART_COUNT (32 - KEY_PLACE_BITS - KEY_PART_BITS_FIRST + 1)

struct key_block {
    uint64_t size; /* with this header */
};

/* A larger record has a block of its own: it would leave too much of the one before it unused. */
#define KEY_RECORD_SIZE_STREAM (KEY_BLOCK_SIZE_MAX / 16)

struct key_blocks {
    struct key_block **_Atomic parts[KEY_PART_COUNT];
    struct supply *supply; /* borrowed; it says whether there are several threads */
    /* What every new key changes keeps away from what every look-up reads. */
    _Alignas(64) _Atomic uint64_t room; /* number << 32 | used << 16 | size; both in place units */
    pthread_mutex_t lock;               /* of whoever adds a block */
    uint32_t count;
    uint64_t held; /* bytes of blocks and their table; under the lock */
};

void key_blocks_init(struct key_blocks *blocks, struct supply *supply);
void key_blocks_deinit(struct key_blocks *blocks);
/* Gives every block back, and begins anew. Nobody may hold a handle any more. */
void key_blocks_clear(struct key_blocks *blocks);

/* A record for the key, its entry zero. Its handle; 0: no memory, or no number left. Any thread. */
[[nodiscard]] uint32_t key_blocks_make(struct key_blocks *blocks, struct bytes key);

static inline uint32_t key_blocks_part(uint32_t number)
{
    return 31 - KEY_PART_BITS_FIRST -
           (uint32_t)__builtin_clz(number + (UINT32_C(1) << KEY_PART_BITS_FIRST));
}

static inline uint32_t key_blocks_first_of(uint32_t part)
{
    return (UINT32_C(1) << (part + KEY_PART_BITS_FIRST)) - (UINT32_C(1) << KEY_PART_BITS_FIRST);
}

static inline struct key_block *key_blocks_at(const struct key_blocks *blocks, uint32_t number)
{
    uint32_t part = key_blocks_part(number);
    struct key_block **entries = atomic_load_explicit(&blocks->parts[part], memory_order_acquire);
    return entries[number - key_blocks_first_of(part)];
}

static inline struct key_record *key_blocks_record(const struct key_blocks *blocks, uint32_t handle)
{
    uint8_t *block = (uint8_t *)key_blocks_at(blocks, handle >> KEY_PLACE_BITS);
    size_t place = handle & ((UINT32_C(1) << KEY_PLACE_BITS) - 1);
    return (struct key_record *)(void *)(block + place * KEY_PLACE_UNIT);
}
