/* SPDX-License-Identifier: Apache-2.0 */
/* Reads: gets (R39) and scans (R40). */
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"

struct get_case {
    bool miss;
    int threads;
    int writers;
    double bloom_rate;
    uint64_t key_count;
};

/* Tables are filled when the first row that is wanted needs them. 0: the plain one. */
static void *get_table(const struct get_case *get, int index)
{
    return suite_filled(index == 0 ? &table_plain : &table_memtable,
                        &(struct form){.shards = 32,
                                       .locks = MEMTABLE_LOCKS_SHARDS,
                                       .bloom_rate = get->bloom_rate,
                                       .key_count = get->key_count,
                                       .seed = SUITE_SEED});
}

/* The memtable's figure is the time of one get; the plain map is its anchor. */
static void get_group(struct suite *suite, const struct get_case *get, void *tables[2])
{
    const struct table_kind *const kinds[2] = {&table_plain, &table_memtable};
    struct row rows[2];
    for (int i = 0; i < 2; i++) {
        struct latency *latency = calloc(1, sizeof(*latency));
        rows[i] = suite_row(i == 0 ? "plain" : "get", get->threads, FIGURE_P99, latency);
        snprintf(rows[i].params, sizeof(rows[i].params),
                 "op=get find=%s writers=%d bloom=%g keys=%llu", get->miss ? "miss" : "hit",
                 get->writers, i == 0 ? 0 : get->bloom_rate, (unsigned long long)get->key_count);
        rows[i].seed_figure = i == 0 ? 0.45 : 0.145;
        rows[i].seed_note = "004 N1 read p99 us; projected";
    }
    for (int run = 0; run < suite->runs; run++) {
        for (int i = 0; i < 2; i++) {
            if (!suite_wants(suite, "get", &rows[1])) {
                continue;
            }
            tables[i] = tables[i] == NULL ? get_table(get, i) : tables[i];
            struct drive drive = {
                .kind = kinds[i],
                .table = tables[i],
                .op = get->miss ? DRIVE_GET_MISS : DRIVE_GET,
                .threads = get->threads,
                .writers = get->writers,
                .key_count = get->key_count,
                .op_count = suite->options.full ? 1000000 : 200000,
                .time_one_in = 2,
                .latency = rows[i].latency,
            };
            row_begin(&rows[i]);
            drive_run(&drive);
            row_end_in(&rows[i], drive.op_count, drive.op_count * KEY_SIZE, drive.seconds);
            check(drive.missed == (get->miss ? drive.op_count : 0));
        }
    }
    for (int i = 0; i < 2; i++) {
        snprintf(rows[i].extra, sizeof(rows[i].extra), "ns p50=%.0f p95=%.0f p99=%.0f p999=%.0f",
                 latency_us(rows[i].latency, 0.5) * 1000, latency_us(rows[i].latency, 0.95) * 1000,
                 latency_us(rows[i].latency, 0.99) * 1000,
                 latency_us(rows[i].latency, 0.999) * 1000);
        report_row(&suite->report, &rows[i], i == 0 ? NULL : &rows[0]);
        free(rows[i].latency);
    }
}

static void tables_close(void *tables[2])
{
    if (tables[0] != NULL) {
        table_plain.close(tables[0]);
    }
    if (tables[1] != NULL) {
        table_memtable.close(tables[1]);
    }
    tables[0] = tables[1] = NULL;
}

static void rows_get(struct suite *suite)
{
    static const double blooms[] = {0, 0.01};
    static const int threads[] = {1, 8, 64};
    for (size_t b = 0; b < ARRAY_COUNT(blooms); b++) {
        void *tables[2] = {NULL, NULL};
        for (size_t t = 0; t < ARRAY_COUNT(threads); t++) {
            for (int miss = 0; miss < 2; miss++) {
                for (int writers = 0; writers <= 8; writers += 8) {
                    if (suite->options.full || (t == 0 && writers == 0)) {
                        get_group(suite,
                                  &(struct get_case){miss == 1, threads[t], writers, blooms[b],
                                                     suite->key_count},
                                  tables);
                    }
                }
            }
        }
        tables_close(tables);
    }
}

/* The same with fewer keys: what the index takes, and what the memory behind the caches adds. */
static void rows_get_small(struct suite *suite)
{
    static const uint64_t counts[] = {1000, 10000, 100000}; /* the seed reads from 1,000 */
    for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
        void *tables[2] = {NULL, NULL};
        for (int miss = 0; miss < 2; miss++) {
            get_group(suite, &(struct get_case){miss == 1, 1, 0, 0, counts[c]}, tables);
        }
        tables_close(tables);
    }
}

/* What the machine gives: one load from a random line of 64 MiB, by the clock that times gets. No
 * map with a million keys is faster. */
static void row_line(struct suite *suite)
{
    struct row row = suite_row("line", 1, FIGURE_P99, calloc(1, sizeof(struct latency)));
    snprintf(row.params, sizeof(row.params), "op=load bytes=%llu", 64ULL * MIB);
    if (suite_wants(suite, "line", &row)) {
        uint8_t *memory = malloc(64 * MIB);
        check(memory != NULL);
        memset(memory, 1, 64 * MIB);
        struct random random;
        random_init(&random, 1);
        uint64_t sum = 0;
        uint64_t count = 1000000;
        row_begin(&row);
        for (uint64_t i = 0; i < count; i++) {
            const volatile uint8_t *line = memory + 64 * random_below(&random, MIB);
            uint64_t begin = tick_now();
            sum += *line;
            row_latency(&row, tick_span(begin, tick_now()));
        }
        check(sum == count);
        row_end(&row, count, count * 64);
        snprintf(row.extra, sizeof(row.extra), "ns p50=%.0f p95=%.0f p99=%.0f p999=%.0f clock=%.0f",
                 latency_us(row.latency, 0.5) * 1000, latency_us(row.latency, 0.95) * 1000,
                 latency_us(row.latency, 0.99) * 1000, latency_us(row.latency, 0.999) * 1000,
                 tick_cost_ns());
        report_row(&suite->report, &row, NULL);
        free(memory);
    }
    free(row.latency);
}

/* ---- scans ---- */

static void scan_once(struct memtable *memtable, struct random *random, uint64_t key_count,
                      uint64_t count)
{
    uint8_t memory[KEY_SIZE];
    uint64_t first = random_below(random, key_count - count + 1);
    struct memtable_scan *scan = memtable_scan_open(
        memtable, &(struct memtable_scan_options){.begin = key_of(2 * first, memory),
                                                  .count_hint = (uint32_t)count});
    check(scan != NULL);
    for (uint64_t i = 0; i < count; i++) {
        struct key_item item;
        uint8_t expected[KEY_SIZE];
        check(memtable_scan_next(scan, &item));
        check(bytes_equal(item.key, key_of(2 * (first + i), expected)));
    }
    memtable_scan_close(scan);
}

static void scan_run(struct suite *suite, struct memtable *memtable, uint64_t count,
                     struct row *row)
{
    struct random random;
    random_init(&random, 7);
    uint64_t keys = suite->options.full ? 4000000 : 400000; /* of a run */
    uint64_t rounds = keys / count < 3 ? 3 : keys / count;
    rounds = rounds > 20000 ? 20000 : rounds;
    row_begin(row);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t begin_ns = clock_ns();
        scan_once(memtable, &random, suite->key_count, count);
        row_latency(row, clock_ns() - begin_ns);
    }
    row_end(row, rounds, rounds * count * KEY_SIZE);
}

static void rows_scan(struct suite *suite)
{
    static const uint32_t shards[] = {1, 16, 32};
    static const uint64_t counts[] = {10, 100, 1000, 100000};
    void *tables[ARRAY_COUNT(shards)] = {NULL};
    for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
        struct row rows[ARRAY_COUNT(shards)];
        for (size_t s = 0; s < ARRAY_COUNT(shards); s++) {
            rows[s] = suite_row("scan", 1, FIGURE_P50, calloc(1, sizeof(struct latency)));
            snprintf(rows[s].params, sizeof(rows[s].params), "op=scan m=%llu shards=%u keys=%llu",
                     (unsigned long long)counts[c], shards[s],
                     (unsigned long long)suite->key_count);
            rows[s].seed_figure = counts[c] != 1000 ? 0 : shards[s] == 1 ? 50 : 18;
            rows[s].seed_note = "004 N1 scan of 1K us; projected";
        }
        for (int run = 0; run < suite->runs; run++) {
            for (size_t s = 0; s < ARRAY_COUNT(shards); s++) {
                if (suite_wants(suite, "scan", &rows[s])) {
                    if (tables[s] == NULL) {
                        tables[s] = suite_filled(&table_memtable,
                                                 &(struct form){.shards = shards[s],
                                                                .key_count = suite->key_count,
                                                                .locks = MEMTABLE_LOCKS_SHARDS,
                                                                .seed = SUITE_SEED});
                    }
                    scan_run(suite, table_of(tables[s]), counts[c], &rows[s]);
                }
            }
        }
        for (size_t s = 0; s < ARRAY_COUNT(shards); s++) {
            report_row(&suite->report, &rows[s], s == 0 ? NULL : &rows[0]);
            free(rows[s].latency);
        }
    }
    for (size_t s = 0; s < ARRAY_COUNT(shards); s++) {
        if (tables[s] != NULL) {
            table_memtable.close(tables[s]);
        }
    }
}

void rows_read(struct suite *suite)
{
    row_line(suite);
    rows_get(suite);
    rows_get_small(suite);
    rows_scan(suite);
}
