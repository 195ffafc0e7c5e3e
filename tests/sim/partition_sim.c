/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   partition_sim FIRST COUNT [SECONDS]   histories of seeds FIRST.. ; each in a process of its own
 *   partition_sim SEED                    one seed here, for a debugger
 *
 * WEIR_TEST_TRACE=1 shows every op and what the oracle knew, WEIR_TEST_DIAG=1 what the store says.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/partition_history.h"

/* Seeds that failed once. Histories change with the simulator, so they may not show the same again;
 * what each was about has a test of its own or a line in the commit that mended it. */
static const uint64_t kept_seeds[] = {
    134,  2617, 7,    17,    20,    30,   53,     94,     109,    115,    145,   253,
    408,  445,  580,  598,   714,   1050, 1225,   1333,   1430,   1439,   1820,  1912,
    1070, 5144, 9094, 15152, 34079, 265,  123580, 144376, 144496, 147179, 148159};

int main(int argc, char **argv)
{
    struct sim_run run;
    sim_run_init(&run, argv[0], partition_history);
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    if (argc == 2) {
        partition_history(&run, first);
        return 0;
    }
    uint64_t failed = sim_run_list(&run, kept_seeds, sizeof(kept_seeds) / sizeof(kept_seeds[0]));
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    uint32_t seconds = argc > 3 ? (uint32_t)strtoull(argv[3], NULL, 10) : 0;
    failed += sim_run_seeds(&run, first, count, seconds);
    bool all = sim_run_report(&run, partition_event_names, EVENTS);
    if (!all && count >= 200 && seconds == 0) {
        printf("something above was never seen\n");
        failed += 1;
    }
    return failed == 0 ? 0 : 1;
}
