/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/bloom.h"

#include "base/check.h"
#include "base/hash.h"

#define BLOOM_MAGIC UINT64_C(0x77656972626c6d31)
#define BLOCK_WORDS 8
#define BLOCK_BITS (BLOOM_BLOCK_SIZE * 8)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are stored as they are");

#define BITS_PER_KEY_MIN 5

/*
 * False positive rate at 5, 6, ... bits a key: the sum over i of Poisson(i; 512 / bits) times
 * (1 - (63/64)^i)^8, because the number of keys in a block varies. A filter without blocks needs
 * 9.6 bits for 1% where this one needs 11, and touches seven cache lines for one.
 */
static const double rates[] = {
    0.172,    0.0929,   0.0514,   0.0293,   0.0173,   0.0105,   0.00657,
    0.00422,  0.00278,  0.00188,  0.00129,  0.000909, 0.000649, 0.000472,
    0.000348, 0.00026,  0.000196, 0.00015,  0.000116, 9.09e-05, 7.17e-05,
    5.7e-05,  4.57e-05, 3.7e-05,  3.01e-05, 2.47e-05, 2.04e-05, 1.69e-05,
};

uint64_t bloom_size(uint64_t count, double rate)
{
    size_t step = 0;
    while (step + 1 < ARRAY_COUNT(rates) && rates[step] > rate) {
        step += 1;
    }
    uint64_t blocks = (count * (BITS_PER_KEY_MIN + step) + BLOCK_BITS - 1) / BLOCK_BITS;
    return BLOOM_HEADER_SIZE + (blocks == 0 ? 1 : blocks) * BLOOM_BLOCK_SIZE;
}

void bloom_init(struct bloom *bloom, uint8_t *memory, uint64_t size, uint64_t seed)
{
    check(size >= BLOOM_HEADER_SIZE + BLOOM_BLOCK_SIZE);
    check(size % BLOOM_BLOCK_SIZE == 0);
    check((uintptr_t)memory % 8 == 0);
    memset(memory, 0, size);
    bloom->memory = memory;
    bloom->block_count = (size - BLOOM_HEADER_SIZE) / BLOOM_BLOCK_SIZE;
    bloom->seed = seed;
    put_be64(memory, BLOOM_MAGIC);
    put_be64(memory + 8, seed);
    put_be64(memory + 16, bloom->block_count);
}

static bool header_is_sane(const uint8_t *header, uint64_t size)
{
    return size >= BLOOM_HEADER_SIZE + BLOOM_BLOCK_SIZE && size % BLOOM_BLOCK_SIZE == 0 &&
           get_be64(header) == BLOOM_MAGIC &&
           get_be64(header + 16) == (size - BLOOM_HEADER_SIZE) / BLOOM_BLOCK_SIZE;
}

enum status bloom_decode(struct bloom *bloom, uint8_t *memory, uint64_t size)
{
    check((uintptr_t)memory % 8 == 0);
    if (!header_is_sane(memory, size)) {
        return STATUS_MALFORMED;
    }
    bloom->memory = memory;
    bloom->seed = get_be64(memory + 8);
    bloom->block_count = get_be64(memory + 16);
    return STATUS_OK;
}

uint64_t bloom_hash(const struct bloom *bloom, struct bytes key)
{
    return hash_bytes(key, bloom->seed);
}

/* Mixed again: a caller that splits its keys by bits of the hash leaves those bits constant. */
static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t block_position(uint64_t mixed, uint64_t block_count)
{
    uint64_t block = (uint64_t)(((unsigned __int128)mixed * block_count) >> 64);
    return BLOOM_HEADER_SIZE + block * BLOOM_BLOCK_SIZE;
}

static uint64_t *block_of(const struct bloom *bloom, uint64_t mixed)
{
    return (uint64_t *)(void *)(bloom->memory + block_position(mixed, bloom->block_count));
}

/* Six bits for each word's position; the block was chosen by the upper bits of `mixed`. */
static uint64_t bits_of(uint64_t mixed)
{
    return mixed * UINT64_C(0xd6e8feb86659fd93) >> 16;
}

void bloom_add(struct bloom *bloom, uint64_t hash)
{
    uint64_t mixed = mix(hash);
    uint64_t *words = block_of(bloom, mixed);
    uint64_t bits = bits_of(mixed);
    for (int i = 0; i < BLOCK_WORDS; i++) {
        words[i] |= UINT64_C(1) << (bits >> (6 * i) & 63);
    }
    put_be64(bloom->memory + 24, get_be64(bloom->memory + 24) + 1);
}

static bool block_has(const uint64_t *words, uint64_t mixed)
{
    uint64_t bits = bits_of(mixed);
    uint64_t missing = 0;
    for (int i = 0; i < BLOCK_WORDS; i++) {
        missing |= ~words[i] & UINT64_C(1) << (bits >> (6 * i) & 63);
    }
    return missing == 0;
}

bool bloom_has(const struct bloom *bloom, uint64_t hash)
{
    uint64_t mixed = mix(hash);
    return block_has(block_of(bloom, mixed), mixed);
}

enum status bloom_probe_open(struct bloom_probe *probe, const uint8_t *header, uint64_t size,
                             struct bytes key)
{
    if (!header_is_sane(header, size)) {
        return STATUS_MALFORMED;
    }
    probe->mixed = mix(hash_bytes(key, get_be64(header + 8)));
    probe->position = block_position(probe->mixed, get_be64(header + 16));
    return STATUS_OK;
}

bool bloom_probe_has(const struct bloom_probe *probe, const uint8_t *block)
{
    uint64_t words[BLOCK_WORDS];
    memcpy(words, block, sizeof(words));
    return block_has(words, probe->mixed);
}

uint64_t bloom_count(const struct bloom *bloom)
{
    return get_be64(bloom->memory + 24);
}
