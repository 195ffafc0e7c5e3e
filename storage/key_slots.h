/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the record of a key lies, by hash: the short way to one key of a shard (key_map.h).
 * 32 bits of the hash and a handle of 32 bits for each key, eight of them to a cache line.
 *
 *   bucket   hashes | handles      filled from the front; 0 is no handle
 *
 * D1  A key lies in the bucket that its hash falls into, or where that was full, in the first one
 *     behind it that was not. So a look-up ends at the first bucket with room.
 * D2  At most 6.4 handles a bucket on average. Of keys that are there one in twenty needs the line
 *     of a neighbour, and of keys that are not, one in four.
 * D3  A handle is never taken out (key_map.h), so there are no marks of what once was there.
 * D4  Growing by a quarter moves what is there from the hashes alone and touches no record.
 *     Doubling would leave a third of the memory unused on average; this leaves a tenth.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/supply.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define KEY_BUCKET_WIDTH 8

struct key_bucket {
    _Alignas(64) uint32_t hashes[KEY_BUCKET_WIDTH];
    uint32_t handles[KEY_BUCKET_WIDTH];
};

struct key_slots {
    struct key_bucket *buckets;
    uint32_t bucket_count;
    uint32_t count;      /* handles */
    void *block;         /* the memory that buckets lie in */
    uint64_t block_size; /* bytes */
};

/* Goes over the handles whose 32 bits of hash are those of a key: it, and by chance another. */
struct key_slots_cursor {
    const struct key_bucket *bucket;
    uint32_t matches; /* of this bucket, not yet handed out */
};

static inline struct key_bucket *key_slots_home(const struct key_slots *slots, uint32_t hash)
{
    return slots->buckets + (((uint64_t)hash * slots->bucket_count) >> 32);
}

/* A bit for each place of the bucket that holds these 32 bits, empty ones too when they are 0. */
static inline uint32_t key_bucket_match(const struct key_bucket *bucket, uint32_t hash)
{
#ifdef __SSE2__
    const __m128i *hashes = (const __m128i *)(const void *)bucket->hashes;
    __m128i wanted = _mm_set1_epi32((int)hash);
    __m128i low = _mm_cmpeq_epi32(_mm_load_si128(hashes), wanted);
    __m128i high = _mm_cmpeq_epi32(_mm_load_si128(hashes + 1), wanted);
    __m128i words = _mm_packs_epi32(low, high);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(words, _mm_setzero_si128()));
#else
    uint32_t found = 0;
    for (uint32_t i = 0; i < KEY_BUCKET_WIDTH; i++) {
        found |= (uint32_t)(bucket->hashes[i] == hash) << i;
    }
    return found;
#endif
}

/* There must be buckets. */
static inline struct key_slots_cursor key_slots_begin(const struct key_slots *slots, uint32_t hash)
{
    const struct key_bucket *bucket = key_slots_home(slots, hash);
    return (struct key_slots_cursor){bucket, key_bucket_match(bucket, hash)};
}

/* The next handle; 0: there is no more. */
static inline uint32_t key_slots_next(const struct key_slots *slots, uint32_t hash,
                                      struct key_slots_cursor *cursor)
{
    while (cursor->matches == 0) {
        if (cursor->bucket->handles[KEY_BUCKET_WIDTH - 1] == 0) { /* D1 */
            return 0;
        }
        cursor->bucket += 1;
        if (cursor->bucket == slots->buckets + slots->bucket_count) {
            cursor->bucket = slots->buckets;
        }
        cursor->matches = key_bucket_match(cursor->bucket, hash);
    }
    uint32_t place = (uint32_t)__builtin_ctz(cursor->matches);
    cursor->matches &= cursor->matches - 1;
    return cursor->bucket->handles[place];
}

/* Makes room for one more. False: no memory, nothing has changed. */
bool key_slots_reserve(struct key_slots *slots, struct supply *supply);
/* There is room; the handle is not 0. */
void key_slots_add(struct key_slots *slots, uint32_t hash, uint32_t handle);
void key_slots_free(struct key_slots *slots, struct supply *supply);
