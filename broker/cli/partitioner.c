/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/partitioner.h"

#define MURMUR_SEED 0x9747b28cu
#define MURMUR_FACTOR 0x5bd1e995u

int32_t murmur2(struct bytes key)
{
    uint32_t hash = MURMUR_SEED ^ (uint32_t)key.size;
    const uint8_t *at = key.data;
    size_t left = key.size;
    for (; left >= 4; at += 4, left -= 4) {
        uint32_t word = __builtin_bswap32(get_be32(at)) * MURMUR_FACTOR;
        word = (word ^ word >> 24) * MURMUR_FACTOR;
        hash = hash * MURMUR_FACTOR ^ word;
    }
    if (left > 0) {
        for (size_t i = left; i-- > 0;) {
            hash ^= (uint32_t)at[i] << (8 * i);
        }
        hash *= MURMUR_FACTOR;
    }
    hash = (hash ^ hash >> 13) * MURMUR_FACTOR;
    return (int32_t)(hash ^ hash >> 15);
}

int32_t partition_of_key(struct bytes key, int32_t count)
{
    return (murmur2(key) & INT32_MAX) % count;
}
