/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the common CSV (../README.md lists the columns) and the table on the screen.
 *
 *   struct report report;
 *   report_open(&report, options.csv, options.data);
 *   struct row row = {.suite = "000_slab", .name = "write16k", .params = "capacity=1MiB slabs=2",
 *                     .threads = 1, .record_size = 16384, .sync = "dsync", .payload = "ramp"};
 *   struct row anchor = {...};
 *   for each run { row_begin(&anchor); work; row_end(&anchor, count, bytes);
 *                  row_begin(&row);    work; row_end(&row, count, bytes); }
 *   report_row(&report, &anchor, NULL);
 *   report_row(&report, &row, &anchor);       the ratio is that of the medians
 *   report_close(&report);
 *
 * suite, name, layer, params, threads, record_size, sync, payload, codec name a row: two rows of
 * one file that agree in all of them are the same row to benchmarks/compare.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "benchmarks/lib/allocations.h"
#include "benchmarks/lib/machine.h"
#include "benchmarks/lib/measure.h"

#define ROW_RUNS_MAX 32

/* What a row is judged by: more is better of the first two, less of the others. */
enum figure { FIGURE_OPS, FIGURE_MB, FIGURE_P50, FIGURE_P99, FIGURE_NS };

struct row_run {
    double seconds;
    uint64_t count;
    uint64_t size; /* bytes */
    struct allocations allocations;
    double p50_us;
    double p99_us;
    int64_t peak_rss_kib;
};

struct row {
    /* the name of the row */
    const char *suite;
    const char *name;
    const char *layer; /* NULL: "storage" */
    char params[192];  /* "key=value key=value" */
    int threads;
    uint64_t record_size; /* bytes */
    const char *sync;     /* none, end, each, group, dsync, ...: never left out */
    const char *payload;  /* ramp (byte i % 256), zeros, random, ... */
    const char *codec;    /* NULL: "none" */
    /* what it is compared with */
    enum figure figure;
    double seed_figure;    /* in the figure's unit; 0: the seed gives none */
    const char *seed_note; /* row and unit, "000 N1 rec/s"; NULL: none */
    /* filled by the runs */
    struct latency *latency; /* caller's memory for row_latency(); NULL: no percentiles */
    struct row_run runs[ROW_RUNS_MAX];
    int run_count;
    char extra[256]; /* "flushes=12 stall_share=0.10": what else is worth a word */
    struct allocations allocations_before;
    uint64_t started_ns;
};

struct report {
    FILE *csv; /* NULL: none */
    struct machine machine;
};

/* Adds to the file, with a header when it is new. False with a line on stderr: it cannot. */
bool report_open(struct report *report, const char *csv, const char *data_dir);
void report_close(struct report *report);

void row_begin(struct row *row);
/* Closes the clock of row_begin(); `count` operations moved `size` bytes of payload. */
void row_end(struct row *row, uint64_t count, uint64_t size);
/* The same with a time measured elsewhere. */
void row_end_in(struct row *row, uint64_t count, uint64_t size, double seconds);
/* One operation took so long. */
void row_latency(struct row *row, uint64_t ns);

/* Of the median run by seconds per operation. */
double row_figure(const struct row *row);
/* How many times better than the anchor, whichever way round; 0 without one. */
double row_ratio(const struct row *row, const struct row *anchor);

/* One line in the CSV and on stdout; nothing when the row has no run. */
void report_row(struct report *report, const struct row *row, const struct row *anchor);
