/* SPDX-License-Identifier: Apache-2.0 */
/* What the row files of benchmarks/003_suite share. */
#pragma once

#include "benchmarks/003_suite/log.h"
#include "benchmarks/003_suite/plain.h"
#include "benchmarks/lib/options.h"
#include "benchmarks/lib/report.h"

/*
 * none   the files lie in memory (tmpfs): a write returns at once, nothing survives
 * group  on the disk; a window of batches is on its way, a DSYNC write takes what gathered, and
 *        every batch is durable when it is answered. The plain log: one fdatasync for each round
 * each   on the disk; a batch waits for its own DSYNC write. The plain log: fdatasync each
 */
enum sync_policy { SYNC_NONE, SYNC_GROUP, SYNC_EACH };

struct suite {
    struct options options;
    struct report report;
    const char *memory; /* folder for SYNC_NONE */
    int runs;
    double run_seconds; /* a run repeats its rounds for so long */
};

const char *suite_sync_name(enum sync_policy sync);
const char *suite_data(const struct suite *suite, enum sync_policy sync);
struct log_place suite_place(const struct suite *suite, enum sync_policy sync);
/* A row with the common fields; latency is the caller's memory or NULL. */
struct row suite_row(const char *name, enum sync_policy sync, size_t record_size,
                     struct latency *latency);

void rows_write(struct suite *suite);
void rows_latency(struct suite *suite);
void rows_stream(struct suite *suite);
void rows_fetch(struct suite *suite);
void rows_slab_fetch(struct suite *suite);
void rows_clients(struct suite *suite);
