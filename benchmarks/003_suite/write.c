/* SPDX-License-Identifier: Apache-2.0 */
/* Appends: one record a batch, many records a batch, latencies, a stream of 64 KiB batches. */
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/003_suite/suite.h"

#define WINDOW_SIZE_MAX (32 * MIB) /* half of the slab memory: the other half is being written */
#define CACHE_SIZE (32 * MIB)
#define STREAM_BATCH_RECORDS 64
#define STREAM_RECORD_SIZE 1008 /* 64 of them make a batch of 65,207 bytes, headers included */

static const size_t sizes[] = {100, 1024, 10240};

struct write_case {
    size_t record_size;
    int32_t batch_records;
    uint64_t count; /* records of a round */
    enum sync_policy sync;
};

/* Fills the memory with large batches, whatever the row's own are: it takes a moment. */
static void warm(struct bench_log *log, const struct log_shape *shape)
{
    struct log_shape large = {.batch_records = 64, .record_size = 1024, .window = 64};
    bench_log_reshape(log, &large);
    bench_log_warm(log);
    bench_log_reshape(log, shape);
    bench_log_append(log, (uint64_t)shape->window * 2);
}

static struct log_shape write_shape(const struct write_case *write)
{
    uint64_t batch_size = write->record_size * (uint64_t)write->batch_records;
    uint64_t window = write->count / (uint64_t)write->batch_records;
    window = window > LOG_WINDOW_MAX ? LOG_WINDOW_MAX : window;
    window = window * batch_size > WINDOW_SIZE_MAX ? WINDOW_SIZE_MAX / batch_size : window;
    if (write->sync == SYNC_EACH || window == 0) {
        window = 1;
    }
    return (struct log_shape){.batch_records = write->batch_records,
                              .record_size = write->record_size,
                              .window = (int)window};
}

static void run_write(struct suite *suite, const struct write_case *write, struct row *row)
{
    struct bench_log *log = malloc(sizeof(*log));
    check(log != NULL);
    struct log_place place = suite_place(suite, write->sync);
    place.cache_size = CACHE_SIZE;
    struct log_shape shape = write_shape(write);
    bench_log_open(log, &place, &shape);
    warm(log, &shape);
    uint64_t batches = write->count / (uint64_t)write->batch_records;
    batches = batches == 0 ? 1 : batches;
    struct store_counters before = *store_counters(log->world.store);
    uint64_t calls = log->world.heap.calls;
    uint64_t records = 0;
    log->row = row;
    row_begin(row);
    uint64_t until_ns = clock_ns() + (uint64_t)(suite->run_seconds * 1e9);
    do {
        bench_log_append(log, batches);
        records += batches * (uint64_t)write->batch_records;
    } while (clock_ns() < until_ns);
    row_end(row, records, records * write->record_size);
    struct store_counters after = *store_counters(log->world.store);
    uint64_t writes = after.writes - before.writes;
    snprintf(row->extra, sizeof(row->extra), "window=%d heap_calls=%llu writes=%llu write_kib=%.1f",
             shape.window, (unsigned long long)(log->world.heap.calls - calls),
             (unsigned long long)writes,
             (double)(after.write_size - before.write_size) / 1024 /
                 (double)(writes == 0 ? 1 : writes));
    log->row = NULL;
    bench_log_close(log);
    free(log);
}

static void run_plain_write(struct suite *suite, const struct write_case *write, struct row *row)
{
    struct plain_log log;
    plain_open(&log, suite_data(suite, write->sync));
    uint8_t *record = calloc(1, write->record_size);
    check(record != NULL);
    uint64_t records = 0;
    row_begin(row);
    uint64_t until_ns = clock_ns() + (uint64_t)(suite->run_seconds * 1e9);
    do {
        for (uint64_t i = 0; i < write->count; i++) {
            uint64_t begin_ns = clock_ns();
            plain_append(&log, record, (uint32_t)write->record_size);
            if (write->sync == SYNC_EACH) {
                plain_sync(&log);
            }
            row_latency(row, clock_ns() - begin_ns);
            records += 1;
            if (write->sync == SYNC_EACH && clock_ns() > until_ns) {
                break;
            }
        }
        if (write->sync == SYNC_GROUP) {
            plain_sync(&log);
        }
    } while (clock_ns() < until_ns);
    row_end(row, records, records * write->record_size);
    free(record);
    plain_close(&log);
}

/* Single records by round size and batches by batch size, beside the plain log. */
static void group_write(struct suite *suite, size_t record_size, enum sync_policy sync)
{
    static const struct {
        const char *name;
        uint64_t count;
        int32_t batch_records;
    } cases[] = {{"plain", 1000, 1},    {"write", 1000, 1},   {"write", 100, 1},
                 {"write", 10000, 1},   {"batch", 10000, 10}, {"batch", 10000, 100},
                 {"batch", 10000, 1000}};
    static struct row rows[ARRAY_COUNT(cases)];
    static struct latency latencies[ARRAY_COUNT(cases)];
    size_t count = suite->options.full ? ARRAY_COUNT(cases) : 2;
    bool wanted = false;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        latencies[i] = (struct latency){0};
        rows[i] = suite_row(cases[i].name, sync, record_size, &latencies[i]);
        rows[i].figure = FIGURE_MB;
        snprintf(rows[i].params, sizeof(rows[i].params), "count=%llu batch=%d",
                 (unsigned long long)cases[i].count, (int)cases[i].batch_records);
        if (record_size == 1024 && cases[i].batch_records == 1) {
            rows[i].seed_figure = 500;
            rows[i].seed_note = "003 N1 MB/s, at least";
        }
        wanted = wanted || options_want(&suite->options, cases[i].name, rows[i].params);
    }
    for (int run = 0; wanted && run < suite->runs; run++) {
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
            if (i >= count && i != 5) {
                continue; /* the quick set has batches of 100 */
            }
            struct write_case write = {record_size, cases[i].batch_records, cases[i].count, sync};
            (i == 0 ? run_plain_write : run_write)(suite, &write, &rows[i]);
        }
    }
    for (size_t i = 0; wanted && i < ARRAY_COUNT(cases); i++) {
        /* Batches are held against single records, single records against the plain log. */
        report_row(&suite->report, &rows[i], i == 0 ? NULL : i < 4 ? &rows[0] : &rows[1]);
    }
}

void rows_write(struct suite *suite)
{
    for (int sync = SYNC_NONE; sync <= SYNC_EACH; sync++) {
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            if (suite->options.full || sizes[i] == 1024) {
                group_write(suite, sizes[i], (enum sync_policy)sync);
            }
        }
    }
}

/* ---- latencies ---- */

#define PACED_INTERVAL_NS 500000 /* 2,000 records a second */
#define LATENCY_COUNT 2000

static void run_paced(struct suite *suite, size_t record_size, struct row *row)
{
    struct bench_log *log = malloc(sizeof(*log));
    check(log != NULL);
    struct log_place place = suite_place(suite, SYNC_EACH);
    place.cache_size = CACHE_SIZE;
    struct log_shape shape = {.batch_records = 1, .record_size = record_size, .window = 64};
    bench_log_open(log, &place, &shape);
    warm(log, &shape);
    log->row = row;
    row_begin(row);
    bench_log_append_paced(log, LATENCY_COUNT, PACED_INTERVAL_NS);
    row_end(row, LATENCY_COUNT, LATENCY_COUNT * record_size);
    log->row = NULL;
    bench_log_close(log);
    free(log);
}

static void group_latency(struct suite *suite, size_t record_size)
{
    static struct row rows[3];
    static struct latency latencies[3];
    static const char *const names[] = {"plain_latency", "produce_latency", "produce_paced"};
    struct write_case write = {record_size, 1, LATENCY_COUNT, SYNC_EACH};
    bool wanted = false;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        latencies[i] = (struct latency){0};
        rows[i] = suite_row(names[i], SYNC_EACH, record_size, &latencies[i]);
        rows[i].figure = FIGURE_P99;
        snprintf(rows[i].params, sizeof(rows[i].params), "rate=%s",
                 i == 2 ? "2000/s" : "closed-loop");
        if (record_size == 1024) {
            rows[i].seed_figure = 2000;
            rows[i].seed_note = "003 N1 p99 us, below";
        }
        wanted = wanted || options_want(&suite->options, names[i], rows[i].params);
    }
    for (int run = 0; wanted && run < suite->runs; run++) {
        run_plain_write(suite, &write, &rows[0]);
        run_write(suite, &write, &rows[1]);
        run_paced(suite, record_size, &rows[2]);
    }
    for (size_t i = 0; wanted && i < ARRAY_COUNT(rows); i++) {
        report_row(&suite->report, &rows[i], i == 1 ? &rows[0] : NULL);
    }
}

void rows_latency(struct suite *suite)
{
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        if (suite->options.full || sizes[i] == 1024) {
            group_latency(suite, sizes[i]);
        }
    }
}

/* ---- the stream ---- */

static void run_stream(struct suite *suite, int window, uint64_t total, struct row *row)
{
    struct bench_log *log = malloc(sizeof(*log));
    check(log != NULL);
    struct log_place place = suite_place(suite, SYNC_GROUP);
    place.cache_size = CACHE_SIZE;
    struct log_shape shape = {.batch_records = STREAM_BATCH_RECORDS,
                              .record_size = STREAM_RECORD_SIZE,
                              .window = window,
                              .random = true};
    bench_log_open(log, &place, &shape);
    warm(log, &shape);
    uint64_t batches = total / log->batch_size;
    struct store_counters before = *store_counters(log->world.store);
    log->row = row;
    row_begin(row);
    bench_log_append(log, batches);
    row_end(row, batches, batches * log->batch_size);
    struct store_counters after = *store_counters(log->world.store);
    snprintf(row->extra, sizeof(row->extra), "batch_bytes=%llu writes=%llu write_kib=%.1f",
             (unsigned long long)log->batch_size,
             (unsigned long long)(after.writes - before.writes),
             (double)(after.write_size - before.write_size) / 1024 /
                 (double)(after.writes - before.writes));
    log->row = NULL;
    bench_log_close(log);
    free(log);
}

/* The log against bare loops of writes of about the sizes it makes: at least 0.7 of them. */
void rows_stream(struct suite *suite)
{
    static const struct {
        const char *name;
        uint64_t size; /* of a bare write */
        int window;    /* batches of the log on their way */
        int anchor;
    } cases[] = {{"bare_stream", 64 * KIB, 1, -1}, {"stream64k", 0, 1, 0},
                 {"stream64k", 0, 2, 0},           {"bare_stream", 256 * KIB, 1, -1},
                 {"stream64k", 0, 8, 3},           {"bare_stream", 1024 * KIB, 1, -1},
                 {"stream64k", 0, 32, 5}};
    static struct row rows[ARRAY_COUNT(cases)];
    static struct latency latencies[ARRAY_COUNT(cases)];
    uint64_t total = suite->options.full ? 512 * MIB : 64 * MIB;
    bool wanted = false;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        bool bare = cases[i].size > 0;
        latencies[i] = (struct latency){0};
        rows[i] = suite_row(cases[i].name, bare || cases[i].window == 1 ? SYNC_EACH : SYNC_GROUP,
                            bare ? cases[i].size : 65536, bare ? NULL : &latencies[i]);
        rows[i].figure = FIGURE_MB;
        rows[i].payload = "random";
        snprintf(rows[i].params, sizeof(rows[i].params), "total=%lluMiB window=%d",
                 (unsigned long long)(total / MIB), cases[i].window);
        wanted = wanted || options_want(&suite->options, rows[i].name, rows[i].params);
    }
    for (int run = 0; wanted && run < (suite->options.full ? 5 : 1); run++) {
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
            if (cases[i].size == 0) {
                run_stream(suite, cases[i].window, total, &rows[i]);
                continue;
            }
            row_begin(&rows[i]);
            double seconds = bare_stream(suite->options.data, total, cases[i].size);
            row_end_in(&rows[i], total / cases[i].size, total, seconds);
        }
    }
    for (size_t i = 0; wanted && i < ARRAY_COUNT(cases); i++) {
        report_row(&suite->report, &rows[i], cases[i].anchor < 0 ? NULL : &rows[cases[i].anchor]);
    }
}
