/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

static const char *const fault_names[SIM_FAULTS] = {
    [SIM_READ_ERROR] = "read errors", [SIM_WRITE_ERROR] = "write errors",
    [SIM_SYNC_ERROR] = "sync errors", [SIM_NAME_ERROR] = "errors of names",
    [SIM_NO_SPACE] = "no space",      [SIM_SHORT] = "short transfers",
    [SIM_STALL] = "stalls",           [SIM_LOST_WRITE] = "lost writes",
    [SIM_MISDIRECT] = "misdirected",  [SIM_ROT] = "rot",
    [SIM_GARBAGE] = "noise blocks",   [SIM_NO_FILE] = "no descriptors",
};

void sim_run_init(struct sim_run *run, const char *program,
                  void (*history)(struct sim_run *run, uint64_t seed))
{
    *run = (struct sim_run){.program = program, .history = history, .case_seconds = 60};
    run->marks =
        mmap(NULL, sizeof(*run->marks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(run->marks != MAP_FAILED);
}

void sim_run_note_faults(struct sim_run *run, struct sim_world *world)
{
    for (enum sim_fault fault = 0; fault < SIM_FAULTS; fault++) {
        run->marks->faults[fault] += sim_world_fault_count(world, fault);
    }
}

bool sim_run_seed(struct sim_run *run, uint64_t seed, bool quiet)
{
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        if (quiet) {
            int null = open("/dev/null", O_WRONLY);
            (void)dup2(null, STDERR_FILENO);
        }
        alarm(run->case_seconds);
        run->history(run, seed);
        _exit(0);
    }
    int result = 0;
    check(waitpid(child, &result, 0) == child);
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* 1 when it failed. */
static uint64_t run_one(struct sim_run *run, uint64_t seed)
{
    if (sim_run_seed(run, seed, false)) {
        return 0;
    }
    fprintf(stderr, "FAILED seed %llu; again with: %s %llu\n", (unsigned long long)seed,
            run->program, (unsigned long long)seed);
    return 1;
}

uint64_t sim_run_list(struct sim_run *run, const uint64_t *seeds, size_t count)
{
    uint64_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        failed += run_one(run, seeds[i]);
    }
    printf("%zu kept seeds, %llu failed\n", count, (unsigned long long)failed);
    return failed;
}

uint64_t sim_run_seeds(struct sim_run *run, uint64_t first, uint64_t count, uint32_t seconds)
{
    double started = seconds_now();
    uint64_t failed = 0;
    uint64_t ran = 0;
    while (ran < count && (seconds == 0 || seconds_now() - started < seconds)) {
        failed += run_one(run, first + ran);
        ran += 1;
    }
    printf("%llu of %llu seeds in %.0f s, %llu failed\n", (unsigned long long)ran,
           (unsigned long long)count, seconds_now() - started, (unsigned long long)failed);
    return failed;
}

bool sim_run_report(const struct sim_run *run, const char *const *names, uint32_t count)
{
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        printf("%10llu %s\n", (unsigned long long)run->marks->events[i], names[i]);
        all = all && run->marks->events[i] > 0;
    }
    for (enum sim_fault fault = 0; fault < SIM_FAULTS; fault++) {
        printf("%10llu %s\n", (unsigned long long)run->marks->faults[fault], fault_names[fault]);
        all = all && run->marks->faults[fault] > 0;
    }
    return all;
}
