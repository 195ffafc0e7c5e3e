/* SPDX-License-Identifier: Apache-2.0 */
/* A small seeded generator (xoshiro256**): same seed, same numbers. Not for secrets. */
#pragma once

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Fills a UUID version 4 (16 bytes); never all zero. */
void random_uuid(struct random *random, uint8_t uuid[16]);
/* A seed from the kernel; the one place where real entropy enters. */
uint64_t random_seed_from_kernel(void);
