/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_blocks.h"

#include "base/check.h"

_Static_assert(KEY_BLOCK_SIZE_MAX == KEY_PLACE_UNIT << KEY_PLACE_BITS, "places fill a block");

static uint64_t part_size(uint32_t part)
{
    return ((uint64_t)1 << (part + KEY_PART_BITS_FIRST)) * sizeof(struct key_block *);
}

void key_blocks_init(struct key_blocks *blocks, struct supply *supply)
{
    *blocks = (struct key_blocks){.supply = supply};
    check(pthread_mutex_init(&blocks->lock, NULL) == 0);
}

void key_blocks_deinit(struct key_blocks *blocks)
{
    for (uint32_t i = 0; i < blocks->count; i++) {
        struct key_block *block = key_blocks_at(blocks, i);
        supply_release(blocks->supply, block, block->size);
    }
    for (uint32_t part = 0; part < KEY_PART_COUNT; part++) {
        supply_release(blocks->supply, atomic_load(&blocks->parts[part]), part_size(part));
    }
    check(pthread_mutex_destroy(&blocks->lock) == 0);
    *blocks = (struct key_blocks){.supply = blocks->supply};
}

static bool blocks_add(struct key_blocks *blocks, uint64_t size, struct key_room *room)
{
    uint32_t number = blocks->count;
    if (number == KEY_BLOCK_COUNT_MAX) {
        return false;
    }
    uint32_t part = key_blocks_part(number);
    struct key_block **entries = atomic_load_explicit(&blocks->parts[part], memory_order_relaxed);
    if (entries == NULL) {
        entries = supply_acquire(blocks->supply, part_size(part));
        if (entries == NULL) {
            return false;
        }
        atomic_store_explicit(&blocks->parts[part], entries, memory_order_release);
        atomic_fetch_add_explicit(&blocks->held, part_size(part), memory_order_relaxed);
    }
    struct key_block *block = supply_acquire(blocks->supply, size);
    if (block == NULL) {
        return false;
    }
    block->size = size;
    entries[number - key_blocks_first_of(part)] = block;
    blocks->count = number + 1;
    *room = (struct key_room){(uint8_t *)(block + 1), (uint8_t *)block + size, number};
    return true;
}

bool key_blocks_add(struct key_blocks *blocks, uint64_t size, struct key_room *room)
{
    bool shared = blocks->supply->shared;
    check(!shared || pthread_mutex_lock(&blocks->lock) == 0);
    bool added = blocks_add(blocks, size, room);
    check(!shared || pthread_mutex_unlock(&blocks->lock) == 0);
    return added;
}
