/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sharded memtable against a single map under one lock, rows R37 to R46: writes, latencies,
 * reads, scans, snapshots under writers, hashing, memory, alerts, YCSB's mixes.
 *
 * Threads are more than cores on purpose: what a lock costs shows when its holder is put aside.
 * Every row says how many cores there were.
 */
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"

struct row suite_row(const char *name, int threads, enum figure figure, struct latency *latency)
{
    return (struct row){
        .suite = "004_memtable",
        .name = name,
        .threads = threads,
        .record_size = KEY_SIZE,
        .sync = "none",
        .payload = "keys",
        .figure = figure,
        .latency = latency,
    };
}

bool suite_wants(const struct suite *suite, const char *name, const struct row *row)
{
    int threads = suite->options.threads;
    return options_want(&suite->options, name, row->params) &&
           (threads == 0 || threads == row->threads);
}

const char *suite_locks_name(enum memtable_locks locks)
{
    static const char *const names[] = {"none", "one", "shards"};
    return names[locks];
}

double suite_fill(const struct table_kind *kind, void *table, uint64_t key_count, int threads,
                  struct latency *latency)
{
    struct drive drive = {
        .kind = kind,
        .table = table,
        .op = DRIVE_PUT,
        .threads = threads,
        .key_count = key_count,
        .op_count = key_count,
        .time_one_in = 8,
        .latency = latency,
    };
    drive_run(&drive);
    return drive.seconds;
}

void *suite_filled(const struct table_kind *kind, const struct form *form)
{
    struct latency *latency = calloc(1, sizeof(*latency));
    void *table = kind->open(form);
    suite_fill(kind, table, form->key_count, 1, latency);
    free(latency);
    return table;
}

int main(int argc, char **argv)
{
    struct suite suite = {
        .options = options_parse(argc, argv,
                                 "The key index: writes, reads, scans, snapshots, hash, memory"),
    };
    suite.runs = suite.options.run_count > 0 ? suite.options.run_count : suite.options.full ? 3 : 1;
    suite.key_count = suite.options.full ? 1000000 : 200000;
    if (!report_open(&suite.report, suite.options.csv, suite.options.data)) {
        return 1;
    }
    drive_init_clock();
    rows_write(&suite);
    rows_read(&suite);
    rows_snapshot(&suite);
    rows_hash(&suite);
    rows_alert(&suite);
    rows_ycsb(&suite);
    report_close(&suite.report);
    return 0;
}
