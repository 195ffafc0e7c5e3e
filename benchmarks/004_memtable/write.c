/* SPDX-License-Identifier: Apache-2.0 */
/* Writes: threads (R37), a given rate (R38), the number of shards (R42). */
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"
#include "storage/memtable_metrics.h"

#define FORMS_MAX 8

struct write_form {
    const struct table_kind *kind;
    struct form form;
};

/* One fill with its clock, and what the table says of its locks. */
static void write_run(struct suite *suite, const struct write_form *write, struct row *row)
{
    struct form form = write->form;
    form.key_count = suite->key_count;
    form.seed = SUITE_SEED;
    void *table = write->kind->open(&form);
    row_begin(row);
    double seconds = suite_fill(write->kind, table, suite->key_count, row->threads, row->latency);
    row_end_in(row, suite->key_count, suite->key_count * KEY_SIZE, seconds);
    if (write->kind == &table_memtable) {
        struct memtable_metrics *metrics = calloc(1, sizeof(*metrics));
        memtable_metrics_read(metrics, table_of(table));
        check(metrics->sum.count == suite->key_count);
        double waited = (double)metrics->latencies.wait.sum / 1e9 / row->threads / seconds;
        snprintf(row->extra, sizeof(row->extra),
                 "contended=%.4f wait_share=%.3f imbalance=%.2f cores=%d",
                 (double)metrics->sum.contention / (double)metrics->sum.write_ops, waited,
                 metrics->imbalance, suite->report.machine.cores);
        free(metrics);
    }
    write->kind->close(table);
}

/* The forms of one thread count run by turns; the first one is the anchor of the others. */
static void write_group(struct suite *suite, const char *name, const struct write_form *forms,
                        int form_count, int threads)
{
    struct row *rows = calloc((size_t)form_count, sizeof(*rows));
    for (int i = 0; i < form_count; i++) {
        struct latency *latency = calloc(1, sizeof(*latency));
        rows[i] = suite_row(i == 0 ? forms[0].kind->name : name, threads, FIGURE_OPS, latency);
        snprintf(rows[i].params, sizeof(rows[i].params),
                 "op=put table=%s shards=%u locks=%s keys=%llu", forms[i].kind->name,
                 forms[i].form.shards, suite_locks_name(forms[i].form.locks),
                 (unsigned long long)suite->key_count);
        if (forms[i].kind == &table_memtable && forms[i].form.shards == 32 && threads == 64) {
            rows[i].seed_figure = 450000;
            rows[i].seed_note = "004 N1 writes/s at 64 threads of 64 cores; projected";
        }
    }
    for (int run = 0; run < suite->runs; run++) {
        for (int i = 0; i < form_count; i++) {
            /* Once is enough of a table that takes ten times as long. */
            bool again = run > 0 && forms[i].kind == table_rocksdb();
            if (!again && suite_wants(suite, name, &rows[i])) {
                write_run(suite, &forms[i], &rows[i]);
            }
        }
    }
    for (int i = 0; i < form_count; i++) {
        report_row(&suite->report, &rows[i], i == 0 ? NULL : &rows[0]);
        free(rows[i].latency);
    }
    free(rows);
}

static void rows_threads(struct suite *suite)
{
    static const int all[] = {1, 2, 4, 8, 16, 32, 64};
    static const int few[] = {1, 8, 64};
    const int *threads = suite->options.full ? all : few;
    size_t count = suite->options.full ? ARRAY_COUNT(all) : ARRAY_COUNT(few);
    struct write_form forms[FORMS_MAX] = {
        {&table_plain, {.shards = 1, .locks = MEMTABLE_LOCKS_ONE}},
        {&table_memtable, {.shards = 1, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 32, .locks = MEMTABLE_LOCKS_ONE}},
        {&table_memtable, {.shards = 32, .locks = MEMTABLE_LOCKS_SHARDS}},
    };
    int form_count = 4;
    if (table_rocksdb() != NULL) {
        forms[form_count++] = (struct write_form){table_rocksdb(), {.shards = 1}};
    } else {
        printf("rocksdb: skipped, librocksdb was not there when this program was built\n");
    }
    struct write_form alone[] = {
        {&table_plain, {.shards = 1, .locks = MEMTABLE_LOCKS_ONE}},
        {&table_memtable, {.shards = 1, .locks = MEMTABLE_LOCKS_NONE}},
        {&table_memtable, {.shards = 32, .locks = MEMTABLE_LOCKS_NONE}},
    };
    write_group(suite, "core", alone, ARRAY_COUNT(alone), 1);
    for (size_t i = 0; i < count; i++) {
        write_group(suite, "write", forms, form_count, threads[i]);
    }
}

/* As many threads as cores, each waiting for its moment with the clock in hand: with more of them a
 * latency would be that of the scheduler. */
static void rows_paced(struct suite *suite)
{
    static const double rates[] = {100000, 400000};
    for (size_t i = 0; i < 2 * ARRAY_COUNT(rates); i++) {
        uint32_t shards = i % 2 == 0 ? 1 : 32;
        struct latency *latency = calloc(1, sizeof(*latency));
        struct latency *service = calloc(1, sizeof(*service));
        struct row row = suite_row("paced", suite->report.machine.cores, FIGURE_P99, latency);
        snprintf(row.params, sizeof(row.params), "op=put rate=%.0f shards=%u keys=%llu",
                 rates[i / 2], shards, (unsigned long long)suite->key_count);
        row.seed_figure = shards == 32 ? 0.32 : 2100;
        row.seed_note = "004 N2 p99 us; projected";
        for (int run = 0; run < suite->runs; run++) {
            if (!suite_wants(suite, "paced", &row)) {
                continue;
            }
            struct form form = {.shards = shards,
                                .locks = MEMTABLE_LOCKS_SHARDS,
                                .key_count = suite->key_count,
                                .seed = SUITE_SEED};
            void *table = suite_filled(&table_memtable, &form);
            struct drive drive = {
                .kind = &table_memtable,
                .table = table,
                .op = DRIVE_OVERWRITE,
                .threads = row.threads,
                .key_count = suite->key_count,
                .op_count = (uint64_t)(rates[i / 2] * (suite->options.full ? 3.0 : 1.0)),
                .rate = rates[i / 2],
                .latency = latency,
                .service = service,
            };
            row_begin(&row);
            drive_run(&drive);
            row_end_in(&row, drive.op_count, drive.op_count * KEY_SIZE, drive.seconds);
            table_memtable.close(table);
        }
        snprintf(row.extra, sizeof(row.extra),
                 "service_ns p50=%.0f p95=%.0f p99=%.0f p999=%.0f cores=%d",
                 latency_us(service, 0.5) * 1000, latency_us(service, 0.95) * 1000,
                 latency_us(service, 0.99) * 1000, latency_us(service, 0.999) * 1000,
                 suite->report.machine.cores);
        report_row(&suite->report, &row, NULL);
        free(latency);
        free(service);
    }
}

static void rows_sweep(struct suite *suite)
{
    static const int threads[] = {8, 64};
    struct write_form forms[] = {
        {&table_memtable, {.shards = 32, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 1, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 8, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 16, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 64, .locks = MEMTABLE_LOCKS_SHARDS}},
        {&table_memtable, {.shards = 128, .locks = MEMTABLE_LOCKS_SHARDS}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        write_group(suite, "sweep", forms, ARRAY_COUNT(forms), threads[i]);
    }
}

void rows_write(struct suite *suite)
{
    rows_threads(suite);
    rows_paced(suite);
    rows_sweep(suite);
}
