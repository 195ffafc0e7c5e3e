/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"

/* splitmix64: spreads one word of seed over the whole state, as xoshiro's authors advise. */
static uint64_t random_spread(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void random_init(struct random *random, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_COUNT(random->state); i++) {
        random->state[i] = random_spread(&seed);
    }
}

static uint64_t rotate_left(uint64_t value, unsigned count)
{
    return value << count | value >> (64 - count);
}

uint64_t random_u64(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    check(bound > 0);
    /* Lemire's multiply-and-reject: exact, and a division only in the rare unfair case. */
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)random_u64(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t unfair = -bound % bound;
        while ((uint64_t)product < unfair) {
            product = (wide)random_u64(random) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

void random_uuid(struct random *random, uint8_t uuid[16])
{
    uint64_t words[2] = {random_u64(random), random_u64(random)};
    memcpy(uuid, words, sizeof(words));
    /* Version 4, variant 1: these bits alone keep it from being all zero. */
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

uint64_t random_seed_from_kernel(void)
{
    uint64_t seed = 0;
    ssize_t size;
    do {
        size = getrandom(&seed, sizeof(seed), 0);
    } while (size < 0 && errno == EINTR);
    check(size == sizeof(seed)); /* 8 bytes are never cut short once the kernel has entropy */
    return seed;
}
