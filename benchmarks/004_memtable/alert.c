/* SPDX-License-Identifier: Apache-2.0 */
/* Troubles planted on purpose: each has to raise its alert (R45), and the way back to one shard has
 * to be short. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"
#include "storage/memtable_metrics.h"

static void row_alert(struct suite *suite, const char *what, int level, double seconds,
                      const char *extra)
{
    struct row row = suite_row("alert", 1, FIGURE_NS, NULL);
    snprintf(row.params, sizeof(row.params), "planted=%s", what);
    row_begin(&row);
    row_end_in(&row, 1, 0, seconds);
    snprintf(row.extra, sizeof(row.extra), "fired=%s %s",
             level == MEMTABLE_CRITICAL  ? "critical"
             : level == MEMTABLE_WARNING ? "warning"
                                         : "no",
             extra);
    check(level != MEMTABLE_CALM);
    report_row(&suite->report, &row, NULL);
}

static struct memtable_metrics *metrics_of(void *table)
{
    struct memtable_metrics *metrics = calloc(1, sizeof(*metrics));
    check(metrics != NULL);
    memtable_metrics_read(metrics, table_of(table));
    return metrics;
}

/* ---- skew ---- */

static void alert_skew(struct suite *suite)
{
    void *table = table_memtable.open(&(struct form){.shards = 32});
    uint64_t begin_ns = clock_ns();
    int level = MEMTABLE_CALM;
    double imbalance = 0;
    uint64_t puts = 0;
    for (uint64_t number = 0; level != MEMTABLE_CRITICAL && puts < 1000000; number++) {
        uint8_t memory[KEY_SIZE];
        struct bytes key = key_of(number, memory);
        if (memtable_shard_of(table_of(table), key) == 7 || number % 64 == 0) {
            table_memtable.put(table, key, 1);
            puts += 1;
            if (puts % 1024 == 0) { /* a scrape */
                struct memtable_metrics *metrics = metrics_of(table);
                level = memtable_alert_imbalance(metrics);
                imbalance = metrics->imbalance;
                free(metrics);
            }
        }
    }
    char extra[96];
    snprintf(extra, sizeof(extra), "imbalance=%.1f puts=%llu", imbalance, (unsigned long long)puts);
    row_alert(suite, "skew", level, (double)(clock_ns() - begin_ns) / 1e9, extra);
    table_memtable.close(table);
}

/* ---- contention ---- */

/* A clock that falls asleep: timed operations read it while they hold their lock. */
static uint64_t sleepy_clock(void *argument)
{
    _Atomic uint32_t *naps = argument;
    if (naps != NULL && atomic_load(naps) > 0) {
        atomic_fetch_sub(naps, 1);
        usleep(15000);
    }
    return clock_ns();
}

static void *contender_run(void *table)
{
    for (uint64_t i = 0; i < 100; i++) {
        uint8_t memory[KEY_SIZE];
        table_memtable.put(table, key_of(i, memory), (int64_t)i);
    }
    return NULL;
}

static void alert_contention(struct suite *suite)
{
    _Atomic uint32_t naps = 40;
    void *table = table_memtable.open(&(struct form){.shards = 4,
                                                     .locks = MEMTABLE_LOCKS_ONE,
                                                     .sample_one_in = 1,
                                                     .now_ns = sleepy_clock,
                                                     .clock = &naps});
    pthread_t threads[4];
    uint64_t begin_ns = clock_ns();
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        check(pthread_create(&threads[i], NULL, contender_run, table) == 0);
    }
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    struct memtable_metrics *metrics = metrics_of(table);
    char extra[96];
    snprintf(extra, sizeof(extra), "wait_p99_ms=%.1f contended=%llu revert=%d",
             (double)histogram_quantile(&metrics->latencies.wait, 0.99) / 1e6,
             (unsigned long long)metrics->sum.contention,
             memtable_should_revert(metrics, MEMTABLE_WRITES_CRITICAL, 0));
    row_alert(suite, "contention", memtable_alert_contention(metrics),
              (double)(clock_ns() - begin_ns) / 1e9, extra);
    free(metrics);
    table_memtable.close(table);
}

/* ---- slow writes, errors, filters ---- */

static void alert_slow(struct suite *suite)
{
    _Atomic uint32_t naps = 20;
    void *table = table_memtable.open(
        &(struct form){.shards = 32, .sample_one_in = 1, .now_ns = sleepy_clock, .clock = &naps});
    uint64_t begin_ns = clock_ns();
    contender_run(table);
    double seconds = (double)(clock_ns() - begin_ns) / 1e9;
    struct memtable_metrics *metrics = metrics_of(table);
    char extra[96];
    snprintf(extra, sizeof(extra), "writes_s=%.0f revert=%d", 100 / seconds,
             memtable_should_revert(metrics, 100 / seconds, 0));
    check(memtable_should_revert(metrics, 100 / seconds, 0));
    row_alert(suite, "slow_writes", memtable_alert_writes(100 / seconds), seconds, extra);
    free(metrics);
    table_memtable.close(table);
}

static void alert_errors(struct suite *suite)
{
    void *table = table_memtable.open(&(struct form){.shards = 32, .size_max = MIB});
    uint64_t begin_ns = clock_ns();
    uint64_t errors = 0;
    uint64_t puts = 0;
    double rate = 0;
    struct memtable_metrics *metrics = metrics_of(table);
    while (!memtable_should_revert(metrics, MEMTABLE_WRITES_CRITICAL, rate)) {
        uint8_t memory[KEY_SIZE];
        struct key_item item = {key_of(puts, memory), {.offset = 1}};
        uint32_t taken;
        errors += memtable_put(table_of(table), &item, 1, &taken) != STATUS_OK;
        puts += 1;
        rate = (double)errors / (double)puts;
    }
    char extra[96];
    snprintf(extra, sizeof(extra), "error_rate=%.5f revert=1", rate);
    row_alert(suite, "errors", MEMTABLE_CRITICAL, (double)(clock_ns() - begin_ns) / 1e9, extra);
    free(metrics);
    table_memtable.close(table);
}

static void alert_overhead(struct suite *suite)
{
    uint64_t begin_ns = clock_ns();
    void *table =
        table_memtable.open(&(struct form){.shards = 32, .bloom_rate = 0.01, .key_count = 1000000});
    struct latency *latency = calloc(1, sizeof(*latency));
    suite_fill(&table_memtable, table, 10000, 1, latency);
    struct memtable_metrics *metrics = metrics_of(table);
    char extra[96];
    snprintf(extra, sizeof(extra), "overhead=%.2f", metrics->overhead);
    row_alert(suite, "filters_too_large", memtable_alert_overhead(metrics),
              (double)(clock_ns() - begin_ns) / 1e9, extra);
    free(metrics);
    free(latency);
    table_memtable.close(table);
}

/* ---- the way back ---- */

struct revert_sink {
    struct key_sink sink;
    void *target;
};

static enum status revert_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct revert_sink *to = CONTAINER_OF(sink, struct revert_sink, sink);
    uint32_t taken;
    return memtable_put(table_of(to->target), items, count, &taken);
}

static void row_revert(struct suite *suite)
{
    struct row row = suite_row("revert", 1, FIGURE_NS, NULL);
    snprintf(row.params, sizeof(row.params), "from=32 to=1 keys=%llu",
             (unsigned long long)suite->key_count);
    void *from = suite_filled(&table_memtable, &(struct form){.shards = 32,
                                                              .locks = MEMTABLE_LOCKS_SHARDS,
                                                              .key_count = suite->key_count,
                                                              .seed = SUITE_SEED});
    row_begin(&row);
    struct revert_sink sink = {
        .sink = {.take = revert_take},
        .target = table_memtable.open(&(struct form){.shards = 1, .locks = MEMTABLE_LOCKS_ONE}),
    };
    check(memtable_snapshot(table_of(from)) == STATUS_OK);
    check(memtable_flush(table_of(from), &sink.sink, UINT64_MAX) == STATUS_OK);
    check(memtable_counters(table_of(sink.target)).count == suite->key_count);
    row_end(&row, 1, suite->key_count * KEY_SIZE);
    check(row.runs[0].seconds < 30);
    row.seed_figure = 3e10;
    row.seed_note = "004 F5 ns to revert at most";
    report_row(&suite->report, &row, NULL);
    table_memtable.close(from);
    table_memtable.close(sink.target);
}

void rows_alert(struct suite *suite)
{
    if (!options_want(&suite->options, "alert", "planted")) {
        return;
    }
    alert_skew(suite);
    alert_contention(suite);
    alert_slow(suite);
    alert_errors(suite);
    alert_overhead(suite);
    row_revert(suite);
}
