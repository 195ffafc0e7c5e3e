/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bloom filter over hashes of keys, in the caller's memory, laid out as it is stored: a header of
 * 64 bytes, then blocks of 64 bytes. A look-up touches one block: a key sets one bit in each of its
 * eight words.
 *
 *   0  magic "weirblm1"      8  seed of hash_bytes()      16  blocks      24  keys added
 * 32  zeros
 *
 * Numbers are big-endian in the header and little-endian in the blocks. The seed stands in the
 * header because a filter outlives the process that made it.
 *
 * A filter never says no to a key that was added. It says yes to one that was not with the
 * probability it was sized for, while no more keys than that were added.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

#define BLOOM_HEADER_SIZE 64
#define BLOOM_BLOCK_SIZE 64

struct bloom {
    uint8_t *memory; /* borrowed, aligned to 8; aligned to 64 a block is one cache line */
    uint64_t block_count;
    uint64_t seed;
};

/* Bytes for `count` keys at a false positive rate of `rate` (0.00002 to 0.2, else the nearest). */
uint64_t bloom_size(uint64_t count, double rate);
/* An empty filter of bloom_size() bytes. */
void bloom_init(struct bloom *bloom, uint8_t *memory, uint64_t size, uint64_t seed);
/* A stored one. STATUS_MALFORMED: not a filter of `size` bytes. The blocks carry no sum. */
enum status bloom_decode(struct bloom *bloom, uint8_t *memory, uint64_t size);

/* What bloom_add() and bloom_has() take. A caller whose own hash has the same seed passes that. */
uint64_t bloom_hash(const struct bloom *bloom, struct bytes key);
void bloom_add(struct bloom *bloom, uint64_t hash);
bool bloom_has(const struct bloom *bloom, uint64_t hash);
uint64_t bloom_count(const struct bloom *bloom); /* keys added */

/* A look-up in a filter that is not in memory as a whole: by its first BLOOM_HEADER_SIZE bytes. */
struct bloom_probe {
    uint64_t mixed;
    uint64_t position; /* of the block to look into, bytes from the filter's first one */
};
/* STATUS_MALFORMED: not the beginning of a filter of `size` bytes. */
enum status bloom_probe_open(struct bloom_probe *probe, const uint8_t *header, uint64_t size,
                             struct bytes key);
bool bloom_probe_has(const struct bloom_probe *probe, const uint8_t *block);
