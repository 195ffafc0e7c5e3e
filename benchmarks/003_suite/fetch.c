/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of a log of one-record batches: in order, at random, and their latencies. */
#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "benchmarks/003_suite/suite.h"

#define SEED 42

static const size_t sizes[] = {100, 1024, 10240};

struct fetch_world {
    struct bench_log log;
    struct plain_log plain;
    uint8_t *record;
    size_t record_size;
    uint64_t count;
};

static struct fetch_world *world_open(struct suite *suite, size_t record_size, uint64_t count)
{
    struct fetch_world *world = calloc(1, sizeof(*world));
    check(world != NULL);
    struct log_place place = suite_place(suite, SYNC_GROUP);
    place.cache_size = (record_size + 128) * count * 3 / 2 / MIB * MIB + 64 * MIB;
    struct log_shape shape = {.batch_records = 1, .record_size = record_size, .window = 512};
    bench_log_open(&world->log, &place, &shape);
    bench_log_append(&world->log, count);
    plain_open(&world->plain, suite->options.data);
    world->record = calloc(1, record_size);
    world->record_size = record_size;
    world->count = count;
    for (uint64_t i = 0; i < count; i++) {
        plain_append(&world->plain, world->record, (uint32_t)record_size);
    }
    plain_sync(&world->plain);
    return world;
}

static void world_close(struct fetch_world *world)
{
    bench_log_close(&world->log);
    plain_close(&world->plain);
    free(world->record);
    free(world);
}

/* One pass over the whole log, `fetch` records at a time; answers the records seen. */
static uint64_t pass_log(struct fetch_world *world, uint64_t fetch)
{
    uint64_t seen = 0;
    while (seen < world->count) {
        uint64_t got = bench_log_read(&world->log, (int64_t)seen, fetch * world->log.batch_size);
        check(got > 0);
        seen += got;
    }
    return seen;
}

static uint64_t pass_plain(struct fetch_world *world)
{
    for (uint64_t i = 0; i < world->count; i++) {
        check(plain_read(&world->plain, i, world->record, (uint32_t)world->record_size) > 0);
    }
    return world->count;
}

/* ours: records of a read, or 0 for the plain log. Cold: nothing in memory before each pass. */
static void run_sequential(struct suite *suite, struct fetch_world *world, struct row *row,
                           uint64_t fetch, bool cold)
{
    uint64_t records = 0;
    double seconds = 0;
    row_begin(row);
    do {
        if (cold && fetch > 0) {
            bench_log_reopen(&world->log);
        } else if (cold) {
            plain_drop_cache(&world->plain);
        }
        uint64_t begin_ns = clock_ns();
        records += fetch > 0 ? pass_log(world, fetch) : pass_plain(world);
        seconds += (double)(clock_ns() - begin_ns) / 1e9;
    } while (seconds < suite->run_seconds && !cold);
    row_end_in(row, records, records * world->record_size, seconds);
}

static void group_sequential(struct suite *suite, size_t record_size, uint64_t count)
{
    static const struct {
        const char *name;
        uint64_t fetch;
        bool cold;
    } cases[] = {{"plain_fetch", 0, false}, {"seqfetch", 1, false},   {"seqfetch", 10, false},
                 {"seqfetch", 100, false},  {"plain_fetch", 0, true}, {"seqfetch", 100, true}};
    static struct row rows[ARRAY_COUNT(cases)];
    bool wanted = false;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        rows[i] = suite_row(cases[i].name, SYNC_GROUP, record_size, NULL);
        rows[i].figure = FIGURE_MB;
        snprintf(rows[i].params, sizeof(rows[i].params), "count=%llu fetch=%llu cache=%s",
                 (unsigned long long)count, (unsigned long long)cases[i].fetch,
                 cases[i].cold ? "cold" : "warm");
        if (record_size == 1024 && cases[i].fetch == 100) {
            rows[i].seed_figure = 1000;
            rows[i].seed_note = "003 N1 MB/s, at least";
        }
        wanted = wanted || options_want(&suite->options, cases[i].name, rows[i].params);
    }
    if (!wanted) {
        return;
    }
    struct fetch_world *world = world_open(suite, record_size, count);
    for (int run = 0; run < suite->runs; run++) {
        (void)pass_log(world, 100);
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
            run_sequential(suite, world, &rows[i], cases[i].fetch, cases[i].cold);
        }
    }
    world_close(world);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct row *anchor = i == 0 || i == 4 ? NULL : i < 4 ? &rows[0] : &rows[4];
        report_row(&suite->report, &rows[i], anchor);
    }
}

static void run_random(struct suite *suite, struct fetch_world *world, struct row *row, bool ours)
{
    struct random random;
    random_init(&random, SEED);
    uint64_t records = 0;
    row_begin(row);
    uint64_t until_ns = clock_ns() + (uint64_t)(suite->run_seconds * 1e9);
    uint64_t now_ns = clock_ns();
    while (now_ns < until_ns) {
        uint64_t offset = random_below(&random, world->count);
        if (ours) {
            records += bench_log_read(&world->log, (int64_t)offset, 1);
        } else {
            check(plain_read(&world->plain, offset, world->record, (uint32_t)world->record_size) >
                  0);
            records += 1;
        }
        uint64_t end_ns = clock_ns();
        row_latency(row, end_ns - now_ns);
        now_ns = end_ns;
    }
    row_end(row, records, records * world->record_size);
}

static void run_read_paced(struct fetch_world *world, struct row *row)
{
    struct random random;
    random_init(&random, SEED);
    const uint64_t count = 2000;
    row_begin(row);
    uint64_t begin_ns = clock_ns();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t due_ns = begin_ns + i * 500000;
        bench_log_wait_until(&world->log, due_ns);
        check(bench_log_read(&world->log, (int64_t)random_below(&random, world->count), 1) == 1);
        row_latency(row, clock_ns() - due_ns);
    }
    row_end(row, count, count * world->record_size);
}

static void group_random(struct suite *suite, size_t record_size, uint64_t count)
{
    static const char *const names[] = {"plain_random", "randfetch", "fetch_paced"};
    static struct row rows[3];
    static struct latency latencies[3];
    bool paced = count == 10000;
    bool wanted = false;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        latencies[i] = (struct latency){0};
        rows[i] = suite_row(names[i], SYNC_GROUP, record_size, &latencies[i]);
        rows[i].figure = i == 2 ? FIGURE_P99 : FIGURE_OPS;
        snprintf(rows[i].params, sizeof(rows[i].params), "count=%llu cache=warm rate=%s",
                 (unsigned long long)count, i == 2 ? "2000/s" : "closed-loop");
        if (i == 2 && record_size == 1024) {
            rows[i].seed_figure = 1000;
            rows[i].seed_note = "003 N1 p99 us, below";
        }
        wanted = wanted || options_want(&suite->options, names[i], rows[i].params);
    }
    if (!wanted) {
        return;
    }
    struct fetch_world *world = world_open(suite, record_size, count);
    (void)pass_log(world, 100);
    (void)pass_plain(world);
    for (int run = 0; run < suite->runs; run++) {
        run_random(suite, world, &rows[0], false);
        run_random(suite, world, &rows[1], true);
        if (paced) {
            run_read_paced(world, &rows[2]);
        }
    }
    world_close(world);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        report_row(&suite->report, &rows[i], i == 1 ? &rows[0] : NULL);
    }
}

void rows_fetch(struct suite *suite)
{
    static const uint64_t sequential[] = {100, 1000, 10000};
    static const uint64_t random[] = {1000, 10000, 100000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (size_t k = 0; k < ARRAY_COUNT(sequential); k++) {
            if (suite->options.full || (sizes[i] == 1024 && k == 2)) {
                group_sequential(suite, sizes[i], sequential[k]);
            }
        }
        for (size_t k = 0; k < ARRAY_COUNT(random); k++) {
            if (suite->options.full || (sizes[i] == 1024 && k == 1)) {
                group_random(suite, sizes[i], random[k]);
            }
        }
    }
}
