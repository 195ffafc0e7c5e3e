/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which core a partition lives on. Pure, and a function of the counts alone: cores that apply the
 * same records place alike (M1 of topic/image.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The core with the fewest partitions; of several the one after the latest filled, round robin:
 * with equal counts core 0, 1, 2, ... in turn. core_count > 0. */
int32_t placement_pick(const uint32_t *counts, int32_t core_count);

/* How far the busiest core lies above the mean, in thousandths of the mean: 0 balanced, 1000 twice
 * the mean. The load is anything that adds up: partitions, bytes a second. */
uint32_t placement_imbalance(const uint64_t *loads, int32_t core_count);

/* Warning and critical level of the figure above, as the metric's alerts use them: 2 and 4 times
 * the mean. */
#define PLACEMENT_WARNING 1000
#define PLACEMENT_CRITICAL 3000

struct placement_partition {
    int32_t core;
    uint64_t load;
    uint64_t cost; /* of moving it: bytes in memory that go along */
};

struct placement_move {
    int32_t index; /* in the partitions given; -1: nothing is worth a move */
    int32_t target;
};

/*
 * One move from the busiest to the idlest core. Only moves that lower the busier of the two count;
 * of those that win at least half of what the best one wins, the cheapest is taken, then the one
 * that wins most, then the first. Moves follow each other until the answer is -1; each lowers the
 * sum of squares of the loads, so they end.
 */
struct placement_move placement_propose(const struct placement_partition *partitions, int32_t count,
                                        const uint64_t *loads, int32_t core_count);
