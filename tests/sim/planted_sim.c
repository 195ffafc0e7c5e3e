/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator tested: a build of the storage layer with bugs on purpose (storage/planted.h), one
 * at a time, each of which some seed has to find.
 *
 *   planted_sim             all of them; one line each, with the seed
 *   planted_sim NAME        that one
 *   planted_sim NAME SEED   one history with that bug here, for a debugger
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/planted.h"
#include "tests/sim/partition_history.h"

#define SEEDS_MAX 2000 /* for each bug */
#define SEEDS_CLEAN 10 /* without any */

enum planted_bug planted_bug;

struct bug {
    const char *name;
    const char *text;
};

#define BUG_LINE(name, text) [PLANTED_##name] = {#name, text},
static const struct bug bugs[PLANTED_COUNT] = {PLANTED_BUGS(BUG_LINE)};

/* Its first seed; 0: none. */
static uint64_t find(struct sim_run *run)
{
    for (uint64_t seed = 1; seed <= SEEDS_MAX; seed++) {
        if (!sim_run_seed(run, seed, true)) {
            return seed;
        }
    }
    return 0;
}

static int order_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    struct sim_run run;
    sim_run_init(&run, argv[0], partition_history);
    run.case_seconds = 20;
    if (argc > 1) {
        planted_bug = PLANTED_NONE + 1;
        while (planted_bug < PLANTED_COUNT && strcmp(bugs[planted_bug].name, argv[1]) != 0) {
            planted_bug += 1;
        }
        if (argc > 2) {
            partition_history(&run, strtoull(argv[2], NULL, 10));
            return 0;
        }
        printf("%llu seeds\n", (unsigned long long)find(&run));
        return 0;
    }
    uint64_t failed = sim_run_seeds(&run, 1, SEEDS_CLEAN, 0);
    uint64_t seeds[PLANTED_COUNT] = {0};
    uint32_t found = 0;
    for (planted_bug = PLANTED_NONE + 1; planted_bug < PLANTED_COUNT; planted_bug += 1) {
        uint64_t seed = find(&run);
        printf("%-20s %4llu seeds  %s\n", bugs[planted_bug].name, (unsigned long long)seed,
               bugs[planted_bug].text);
        fflush(stdout);
        if (seed > 0) {
            seeds[found] = seed;
            found += 1;
        }
    }
    qsort(seeds, found, sizeof(seeds[0]), order_numbers);
    printf("%u of %u planted bugs found, median %llu seeds\n", found, PLANTED_COUNT - 1,
           (unsigned long long)seeds[found / 2]);
    return failed == 0 && found == PLANTED_COUNT - 1 ? 0 : 1;
}
