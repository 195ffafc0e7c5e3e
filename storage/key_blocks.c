/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_blocks.h"

#include "base/check.h"

_Static_assert(KEY_BLOCK_SIZE_MAX == KEY_PLACE_UNIT << KEY_PLACE_BITS, "places fill a block");
_Static_assert(sizeof(struct key_block) == KEY_PLACE_UNIT, "the first record is at place 1");

#define ROOM_UNITS UINT64_C(0xffff)
#define ROOM_USED_SHIFT 16
#define ROOM_NUMBER_SHIFT 32

static uint64_t part_size(uint32_t part)
{
    return ((uint64_t)1 << (part + KEY_PART_BITS_FIRST)) * sizeof(struct key_block *);
}

void key_blocks_init(struct key_blocks *blocks, struct supply *supply)
{
    *blocks = (struct key_blocks){.supply = supply};
    check(pthread_mutex_init(&blocks->lock, NULL) == 0);
}

void key_blocks_clear(struct key_blocks *blocks)
{
    for (uint32_t i = 0; i < blocks->count; i++) {
        struct key_block *block = key_blocks_at(blocks, i);
        supply_release(blocks->supply, block, block->size);
    }
    for (uint32_t part = 0; part < KEY_PART_COUNT; part++) {
        supply_release(blocks->supply, atomic_load(&blocks->parts[part]), part_size(part));
        atomic_store(&blocks->parts[part], NULL);
    }
    atomic_store(&blocks->room, 0);
    blocks->count = 0;
    blocks->held = 0;
}

void key_blocks_deinit(struct key_blocks *blocks)
{
    key_blocks_clear(blocks);
    check(pthread_mutex_destroy(&blocks->lock) == 0);
}

/* The number of a new block of `size` bytes; false: none. The lock is held. */
static bool blocks_add(struct key_blocks *blocks, uint64_t size, uint32_t *number)
{
    if (blocks->count == KEY_BLOCK_COUNT_MAX) {
        return false;
    }
    uint32_t part = key_blocks_part(blocks->count);
    struct key_block **entries = atomic_load_explicit(&blocks->parts[part], memory_order_relaxed);
    if (entries == NULL) {
        entries = supply_acquire(blocks->supply, part_size(part));
        if (entries == NULL) {
            return false;
        }
        atomic_store_explicit(&blocks->parts[part], entries, memory_order_release);
        blocks->held += part_size(part);
    }
    struct key_block *block = supply_acquire(blocks->supply, size);
    if (block == NULL) {
        return false;
    }
    block->size = size;
    blocks->held += size;
    *number = blocks->count;
    entries[*number - key_blocks_first_of(part)] = block;
    blocks->count += 1;
    return true;
}

/* A new block for the stream, a 16th of what is there: a table with a few keys is small, and one
 * with many wastes little. The lock is held. */
static bool stream_extend(struct key_blocks *blocks, uint64_t record_size)
{
    uint64_t size = blocks->held / 16 & ~(uint64_t)15;
    size = size < KEY_BLOCK_SIZE_MIN ? KEY_BLOCK_SIZE_MIN : size;
    size = size > KEY_BLOCK_SIZE_MAX ? KEY_BLOCK_SIZE_MAX : size;
    uint64_t least = sizeof(struct key_block) + record_size;
    size = size < least ? least : size;
    uint32_t number;
    if (!blocks_add(blocks, size, &number)) {
        return false;
    }
    uint64_t room = (uint64_t)number << ROOM_NUMBER_SHIFT | UINT64_C(1) << ROOM_USED_SHIFT |
                    size / KEY_PLACE_UNIT;
    atomic_store_explicit(&blocks->room, room, memory_order_release);
    return true;
}

static void blocks_lock(struct key_blocks *blocks)
{
    check(!blocks->supply->shared || pthread_mutex_lock(&blocks->lock) == 0);
}

static void blocks_unlock(struct key_blocks *blocks)
{
    check(!blocks->supply->shared || pthread_mutex_unlock(&blocks->lock) == 0);
}

static uint32_t handle_of(uint64_t number, uint64_t place)
{
    check(place >> KEY_PLACE_BITS == 0);
    return (uint32_t)(number << KEY_PLACE_BITS | place);
}

/* There was no room in `full`. False: and there is none. */
static bool stream_make_room(struct key_blocks *blocks, uint64_t full, uint64_t record_size)
{
    blocks_lock(blocks);
    bool changed = atomic_load_explicit(&blocks->room, memory_order_relaxed) != full;
    bool made = changed || stream_extend(blocks, record_size);
    blocks_unlock(blocks);
    return made;
}

static uint32_t stream_take(struct key_blocks *blocks, uint64_t size)
{
    uint64_t units = size / KEY_PLACE_UNIT;
    for (;;) {
        uint64_t room = atomic_load_explicit(&blocks->room, memory_order_acquire);
        uint64_t used = room >> ROOM_USED_SHIFT & ROOM_UNITS;
        if (used + units > (room & ROOM_UNITS)) {
            if (!stream_make_room(blocks, room, size)) {
                return 0;
            }
            continue;
        }
        uint64_t taken = room + (units << ROOM_USED_SHIFT);
        if (atomic_compare_exchange_weak_explicit(&blocks->room, &room, taken, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return handle_of(room >> ROOM_NUMBER_SHIFT, used);
        }
    }
}

static uint32_t block_take(struct key_blocks *blocks, uint64_t size)
{
    uint32_t number;
    blocks_lock(blocks);
    bool added = blocks_add(blocks, sizeof(struct key_block) + size, &number);
    blocks_unlock(blocks);
    return added ? handle_of(number, 1) : 0;
}

uint32_t key_blocks_make(struct key_blocks *blocks, struct bytes key)
{
    uint64_t size = key_record_size(key);
    uint32_t handle = key.size > UINT32_MAX           ? 0
                      : size > KEY_RECORD_SIZE_STREAM ? block_take(blocks, size)
                                                      : stream_take(blocks, size);
    if (handle != 0) {
        struct key_record *record = key_blocks_record(blocks, handle);
        record->key_size = (uint32_t)key.size;
        if (key.size > 0) {
            memcpy(record->key, key.data, key.size);
        }
    }
    return handle;
}
