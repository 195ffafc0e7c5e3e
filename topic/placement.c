/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/placement.h"

#include "base/check.h"

int32_t placement_pick(const uint32_t *counts, int32_t core_count)
{
    check(core_count > 0);
    int32_t best = 0;
    for (int32_t core = 1; core < core_count; core++) {
        if (counts[core] < counts[best]) {
            best = core;
        }
    }
    return best;
}

uint32_t placement_imbalance(const uint64_t *loads, int32_t core_count)
{
    check(core_count > 0);
    uint64_t most = 0;
    unsigned __int128 sum = 0;
    for (int32_t core = 0; core < core_count; core++) {
        sum += loads[core];
        most = loads[core] > most ? loads[core] : most;
    }
    if (sum == 0) {
        return 0;
    }
    /* most / (sum / cores) - 1; at most cores - 1 */
    unsigned __int128 scaled = (unsigned __int128)most * (uint64_t)core_count * 1000 / sum;
    return (uint32_t)(scaled - 1000);
}

/* By how much the busier of two cores becomes less busy when `load` goes over a gap between them.
 */
static uint64_t gain_of(uint64_t load, uint64_t gap)
{
    if (load >= gap) {
        return 0;
    }
    return load < gap - load ? load : gap - load;
}

struct placement_move placement_propose(const struct placement_partition *partitions, int32_t count,
                                        const uint64_t *loads, int32_t core_count)
{
    check(core_count > 0);
    int32_t source = 0;
    int32_t target = 0;
    for (int32_t core = 1; core < core_count; core++) {
        source = loads[core] > loads[source] ? core : source;
        target = loads[core] < loads[target] ? core : target;
    }
    uint64_t gap = loads[source] - loads[target];
    uint64_t gain_max = 0;
    for (int32_t i = 0; i < count; i++) {
        if (partitions[i].core == source) {
            uint64_t gain = gain_of(partitions[i].load, gap);
            gain_max = gain > gain_max ? gain : gain_max;
        }
    }
    struct placement_move move = {.index = -1, .target = target};
    uint64_t gain_taken = 0;
    for (int32_t i = 0; i < count; i++) {
        uint64_t gain = gain_of(partitions[i].load, gap);
        if (partitions[i].core != source || gain == 0 || gain < gain_max - gain_max / 2) {
            continue;
        }
        uint64_t cost = partitions[i].cost;
        if (move.index < 0 || cost < partitions[move.index].cost ||
            (cost == partitions[move.index].cost && gain > gain_taken)) {
            move.index = i;
            gain_taken = gain;
        }
    }
    return move;
}
