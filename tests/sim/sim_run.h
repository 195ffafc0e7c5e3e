/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds one after the other, each in a process of its own, because a power cut drops a store with
 * all its memory. What happened is counted over all of them, in memory that they share: a run that
 * never saw a power cut within a recovery has not tested one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ring_simulated.h"

#define SIM_MARKS_MAX 32

struct sim_marks {
    uint64_t events[SIM_MARKS_MAX]; /* the program's own numbers */
    uint64_t faults[SIM_FAULTS];
};

struct sim_run {
    const char *program;
    void (*history)(struct sim_run *run, uint64_t seed);
    struct sim_marks *marks; /* shared with the children */
    uint32_t case_seconds;   /* a child that takes longer is a failure */
};

void sim_run_init(struct sim_run *run, const char *program,
                  void (*history)(struct sim_run *run, uint64_t seed));
/* What the world of this child drew. */
void sim_run_note_faults(struct sim_run *run, struct sim_world *world);
/* False when it failed; `quiet`: its last words are not shown. */
bool sim_run_seed(struct sim_run *run, uint64_t seed, bool quiet);
/* All of these; answers how many failed. */
uint64_t sim_run_list(struct sim_run *run, const uint64_t *seeds, size_t count);
/* At most `count` seeds from `first` on within `seconds` (0: no limit); answers how many failed and
 * prints how to run them again. */
uint64_t sim_run_seeds(struct sim_run *run, uint64_t first, uint64_t count, uint32_t seconds);
/* Prints marks with their names; false when one of `count` names was never seen. */
bool sim_run_report(const struct sim_run *run, const char *const *names, uint32_t count);
