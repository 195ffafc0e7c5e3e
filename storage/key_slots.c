/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_slots.h"

#include "base/check.h"

#define LINE ((uintptr_t)64)

/* D2: 6.4 for each bucket. */
static uint64_t slots_count_max(uint64_t bucket_count)
{
    return bucket_count * 32 / 5;
}

bool key_slots_reserve(struct key_slots *slots, struct supply *supply)
{
    if (slots->count < slots_count_max(slots->bucket_count)) {
        return true;
    }
    uint64_t bucket_count = (uint64_t)slots->bucket_count + slots->bucket_count / 4 + 2;
    /* What the heap hands out is aligned to 16. */
    uint64_t size = bucket_count * sizeof(struct key_bucket) + LINE - 16;
    void *block = bucket_count > UINT32_MAX ? NULL : supply_acquire(supply, size);
    if (block == NULL) {
        return false;
    }
    struct key_slots grown = {
        .buckets = (struct key_bucket *)(((uintptr_t)block + LINE - 1) & ~(LINE - 1)),
        .bucket_count = (uint32_t)bucket_count,
        .block = block,
        .block_size = size,
    };
    for (uint32_t i = 0; i < slots->bucket_count; i++) {
        const struct key_bucket *bucket = &slots->buckets[i];
        for (uint32_t j = 0; j < KEY_BUCKET_WIDTH && bucket->handles[j] != 0; j++) {
            key_slots_add(&grown, bucket->hashes[j], bucket->handles[j]);
        }
    }
    check(grown.count == slots->count);
    key_slots_free(slots, supply);
    *slots = grown;
    return true;
}

void key_slots_add(struct key_slots *slots, uint32_t hash, uint32_t handle)
{
    check(handle != 0);
    check(slots->count < slots_count_max(slots->bucket_count));
    struct key_bucket *bucket = key_slots_home(slots, hash);
    while (bucket->handles[KEY_BUCKET_WIDTH - 1] != 0) { /* D1 */
        bucket += 1;
        bucket = bucket == slots->buckets + slots->bucket_count ? slots->buckets : bucket;
    }
    uint32_t place = 0;
    while (bucket->handles[place] != 0) {
        place += 1;
    }
    bucket->hashes[place] = hash;
    bucket->handles[place] = handle;
    slots->count += 1;
}

void key_slots_free(struct key_slots *slots, struct supply *supply)
{
    supply_release(supply, slots->block, slots->block_size);
    *slots = (struct key_slots){0};
}
