/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulations of coordinators tested: a build of the broker with bugs on purpose
 * (broker/planted.h), one at a time, each of which some seed has to find.
 *
 *   coordinator_planted_sim             all of them; one line each, with the seed
 *   coordinator_planted_sim NAME        that one
 *   coordinator_planted_sim NAME SEED   one history with that bug here, for a debugger
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "broker/planted.h"
#include "tests/sim/sim_run.h"
#include "tests/sim/sims.h"

#define SEEDS_MAX 200 /* for each bug */
#define SEEDS_CLEAN 5 /* of each simulation, without any */

enum planted_bug planted_bug;

#define BUG_LINE(name, text) [PLANTED_##name] = {#name, text},
static const struct bug {
    const char *name;
    const char *text;
} bugs[PLANTED_COUNT] = {PLANTED_BUGS(BUG_LINE)};

/* Who has to find what. */
static const struct hunt {
    enum planted_bug bug;
    const char *sim;
    int (*run)(int count, char **arguments);
} hunts[] = {
    {PLANTED_ANSWER_EARLY, "groups_sim", groups_sim},
    {PLANTED_ANSWER_EARLY, "consumer_sim", consumer_sim},
    {PLANTED_ANSWER_EARLY, "transactions_sim", transactions_sim},
    {PLANTED_MARKERS_EARLY, "transactions_sim", transactions_sim},
    {PLANTED_PREPARED_LEFT, "transactions_sim", transactions_sim},
    {PLANTED_EPOCH_KEPT, "transactions_sim", transactions_sim},
    {PLANTED_WAITING_SHOWN, "offsets_sim", offsets_sim},
    {PLANTED_WAITING_FORGOTTEN, "offsets_sim", offsets_sim},
    {PLANTED_ABORT_APPLIED, "offsets_sim", offsets_sim},
    {PLANTED_GENERATION_IGNORED, "offsets_sim", offsets_sim},
    {PLANTED_MEMBER_EPOCH_IGNORED, "offsets_sim", offsets_sim},
};

static const struct hunt clean[] = {
    {PLANTED_NONE, "groups_sim", groups_sim},
    {PLANTED_NONE, "consumer_sim", consumer_sim},
    {PLANTED_NONE, "transactions_sim", transactions_sim},
    {PLANTED_NONE, "offsets_sim", offsets_sim},
};

static const struct hunt *current;

static void history(struct sim_run *run, uint64_t seed)
{
    char program[] = "coordinator_planted_sim";
    char text[24];
    char *arguments[] = {program, text, NULL};
    (void)run;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
    planted_bug = current->bug;
    int null = open("/dev/null", O_WRONLY);
    (void)dup2(null, STDOUT_FILENO);
    int result = current->run(2, arguments);
    if (result != 0) {
        exit(result);
    }
}

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

static bool hunt(struct sim_run *run, const struct hunt *what)
{
    current = what;
    uint64_t seed = find(run);
    printf("%-20s %-16s %3llu seeds  %s\n", bugs[what->bug].name, what->sim,
           (unsigned long long)seed, bugs[what->bug].text);
    fflush(stdout);
    return seed > 0;
}

static bool are_clean(struct sim_run *run)
{
    uint64_t failed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(clean); i++) {
        current = &clean[i];
        failed += sim_run_seeds(run, 1, SEEDS_CLEAN, 0);
    }
    return failed == 0;
}

static bool all_are_hunted(void)
{
    bool hunted[PLANTED_COUNT] = {[PLANTED_NONE] = true};
    bool all = true;
    for (size_t i = 0; i < ARRAY_COUNT(hunts); i++) {
        hunted[hunts[i].bug] = true;
    }
    for (size_t i = 0; i < PLANTED_COUNT; i++) {
        all = all && hunted[i];
    }
    return all;
}

int main(int count, char **arguments)
{
    struct sim_run run;
    sim_run_init(&run, arguments[0], history);
    run.case_seconds = 20;
    bool good = all_are_hunted() && (count > 1 || are_clean(&run));
    size_t wanted = 0;
    size_t found = 0;
    for (size_t i = 0; i < ARRAY_COUNT(hunts); i++) {
        if (count > 1 && strcmp(bugs[hunts[i].bug].name, arguments[1]) != 0) {
            continue;
        }
        if (count > 2) {
            current = &hunts[i];
            history(&run, strtoull(arguments[2], NULL, 10));
            continue;
        }
        wanted++;
        found += hunt(&run, &hunts[i]);
    }
    printf("%zu of %zu planted bugs found\n", found, wanted);
    return good && found == wanted ? 0 : 1;
}
