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
    return reserved;
}

uint32_t key_map_make(struct key_map *map, struct bytes key)
{
    uint32_t handle = map_reserve_slot(map) ? key_blocks_make(map->blocks, key) : 0;
    map->size += handle == 0 ? 0 : key_record_size(key);
    return handle;
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
    check(map->slots.block_size <= map->size);
    return sum;
}
