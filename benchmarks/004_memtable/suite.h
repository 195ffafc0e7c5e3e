/* SPDX-License-Identifier: Apache-2.0 */
/* What the row files of benchmarks/004_memtable share. */
#pragma once

#include "benchmarks/004_memtable/drive.h"
#include "benchmarks/lib/options.h"
#include "benchmarks/lib/report.h"

#define SUITE_SEED UINT64_C(0x9e3779b97f4a7c15)

struct suite {
    struct options options;
    struct report report;
    int runs;
    uint64_t key_count; /* 1,000,000; the quick set takes 200,000 */
};

/* A row with the common fields; latency is the caller's memory or NULL. */
struct row suite_row(const char *name, int threads, enum figure figure, struct latency *latency);
/* Whether the command line asks for the row, here called "name params". */
bool suite_wants(const struct suite *suite, const char *name, const struct row *row);
const char *suite_locks_name(enum memtable_locks locks);
/* A table of this form that holds its key_count keys. */
void *suite_filled(const struct table_kind *kind, const struct form *form);
/* Puts every key once from `threads` threads; the seconds it took. */
double suite_fill(const struct table_kind *kind, void *table, uint64_t key_count, int threads,
                  struct latency *latency);

void rows_write(struct suite *suite);    /* R37, R38, R42 */
void rows_read(struct suite *suite);     /* R39, R40 */
void rows_snapshot(struct suite *suite); /* R41 */
void rows_hash(struct suite *suite);     /* R43, R44 */
void rows_alert(struct suite *suite);    /* R45 */
void rows_ycsb(struct suite *suite);     /* R46 */
