/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of one log on the simulated ring, with a reader beside the writer, against an
 * oracle (log_oracle.h): appends, reads, look-ups, duplicates, retention, new epochs; power cuts
 * and kills, also within recovery; clean stops; failing, short, stalling ops drawn from the seed;
 * at the end a damaged folder or a lying disk.
 *
 * Beside what the oracle asks for:
 *   O11  a partition with a similar name, at rest, stays as it was
 *   O12  every batch gets one answer; nothing stays open behind a closed store
 *   O13  recovery run twice finds and leaves what it left once
 */
#pragma once

#include "tests/sim/sim_run.h"

enum partition_event {
    EVENT_CUT,
    EVENT_KILL,
    EVENT_STOP,
    EVENT_CUT_IN_RECOVERY,
    EVENT_OPEN_REFUSED,
    EVENT_BYTES_CUT,
    EVENT_APPEND_FAILED,
    EVENT_FULL,
    EVENT_FAILED,
    EVENT_RELOADED,
    EVENT_RETENTION,
    EVENT_KEYS,
    EVENT_KEYS_FOUND,
    EVENT_ROT,
    EVENT_ROT_BELOW_D,
    EVENT_TAILS_LOST,
    EVENT_LIES,
    EVENT_CORRUPT_READ,
    EVENTS,
};

extern const char *const partition_event_names[EVENTS];

/* Aborts when anything is not as the oracle says. */
void partition_history(struct sim_run *run, uint64_t seed);
