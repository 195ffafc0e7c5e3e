/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_map.h"

#include "base/check.h"
#include "storage/key_order.h"

void key_map_init(struct key_map *map, struct key_blocks *blocks)
{
    *map = (struct key_map){.blocks = blocks};
}

void key_map_deinit(struct key_map *map)
{
    key_slots_free(&map->slots, map->blocks->supply);
    key_map_init(map, map->blocks);
}

struct key_record *key_map_find(const struct key_map *map, struct bytes key, uint64_t hash)
{
    if (map->slots.count == 0) {
        return NULL;
    }
    struct key_slots_cursor cursor = key_slots_begin(&map->slots, (uint32_t)hash);
    for (;;) {
        uint32_t handle = key_slots_next(&map->slots, (uint32_t)hash, &cursor);
        if (handle == 0) {
            return NULL;
        }
        struct key_record *record = key_blocks_record(map->blocks, handle);
        if (record->key_size == key.size && key_compare_from(key_record_key(record), key, 0) == 0) {
            return record;
        }
    }
}

static bool map_reserve_slot(struct key_map *map)
{
    uint64_t before = map->slots.block_size;
    bool reserved = key_slots_reserve(&map->slots, map->blocks->supply);
    map->size += map->slots.block_size - before;
    map->held += map->slots.block_size - before;
    return reserved;
}

static size_t room_size(const struct key_room *room)
{
    return (size_t)(room->end - room->cursor);
}

/* A block is a 16th of what the map has, so that a shard with a few keys is small and one with many
 * wastes little. */
static bool map_add_block(struct key_map *map, size_t record_size)
{
    uint64_t wanted = map->held / 16 & ~(uint64_t)15;
    wanted = wanted < KEY_BLOCK_SIZE_MIN   ? KEY_BLOCK_SIZE_MIN
             : wanted > KEY_BLOCK_SIZE_MAX ? KEY_BLOCK_SIZE_MAX
                                           : wanted;
    uint64_t least = sizeof(struct key_block) + record_size;
    wanted = wanted < least ? least : wanted;
    struct key_room room;
    if (!key_blocks_add(map->blocks, wanted, &room)) {
        return false;
    }
    if (room_size(&map->newest) > room_size(&map->spare)) {
        map->spare = map->newest;
    }
    map->newest = room;
    map->held += wanted;
    return true;
}

uint32_t key_map_make(struct key_map *map, struct bytes key)
{
    size_t size = (sizeof(struct key_record) + key.size + 7) & ~(size_t)7;
    if (key.size > UINT32_MAX || !map_reserve_slot(map)) {
        return 0;
    }
    bool spare = room_size(&map->spare) >= size;
    if (!spare && room_size(&map->newest) < size && !map_add_block(map, size)) {
        return 0;
    }
    struct key_room *room = spare ? &map->spare : &map->newest;
    const struct key_block *block = key_blocks_at(map->blocks, room->block);
    size_t place = (size_t)(room->cursor - (const uint8_t *)block) / KEY_PLACE_UNIT;
    check(place >> KEY_PLACE_BITS == 0);
    struct key_record *record = (struct key_record *)(void *)room->cursor;
    /* No handle could name what comes behind a large record. */
    bool alone = block->size > KEY_BLOCK_SIZE_MAX;
    room->cursor = alone ? room->end : room->cursor + size;
    map->size += size;
    map->payload += size;
    record->key_size = (uint32_t)key.size;
    if (key.size > 0) {
        memcpy(record->key, key.data, key.size);
    }
    return room->block << KEY_PLACE_BITS | (uint32_t)place;
}

void key_map_add(struct key_map *map, uint64_t hash, uint32_t handle)
{
    key_slots_add(&map->slots, (uint32_t)hash, handle);
}

uint64_t key_map_check(const struct key_map *map)
{
    uint64_t sum = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->slots.bucket_count; i++) {
        for (uint32_t j = 0; j < KEY_BUCKET_WIDTH; j++) {
            sum += map->slots.buckets[i].handles[j];
            count += map->slots.buckets[i].handles[j] != 0;
        }
    }
    check(count == map->slots.count);
    check(map->payload <= map->size);
    check(map->size <= map->held);
    return sum;
}
