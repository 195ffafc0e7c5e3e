/* SPDX-License-Identifier: Apache-2.0 */
/* The hash and how evenly it spreads (R43), and what a key costs in memory (R44). */
#include "base/hash.h"

#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"
#include "storage/memtable_metrics.h"

#define SHARDS 32

static void row_hash_speed(struct suite *suite, size_t size, double seed_ns)
{
    uint8_t *data = calloc(size, 2);
    struct row row = suite_row("hash", 1, size > 1000 ? FIGURE_MB : FIGURE_NS, NULL);
    snprintf(row.params, sizeof(row.params), "op=xxh3 size=%zu", size);
    row.record_size = size;
    row.seed_figure = seed_ns;
    row.seed_note = size > 1000 ? "004 K2 SeaHash MB/s" : "004 K2 SeaHash ns";
    for (int run = 0; run < suite->runs && suite_wants(suite, "hash", &row); run++) {
        uint64_t count = size > 1000 ? 2000 : 20000000;
        uint64_t sum = 0;
        row_begin(&row);
        for (uint64_t i = 0; i < count; i++) {
            sum += hash_bytes(bytes_of(data + (i & 15), size), SUITE_SEED);
        }
        row_end(&row, count, count * size);
        snprintf(row.extra, sizeof(row.extra), "sum=%llx", (unsigned long long)sum);
    }
    report_row(&suite->report, &row, NULL);
    free(data);
}

/* Keys into the shards of a table with this seed: chi-square over the counts (31 degrees of
 * freedom: 99% of fair draws stay below 52.2), and the largest shard over the mean. */
static void row_balance(struct suite *suite, const char *keys, uint64_t seed, bool colliding)
{
    struct row row = suite_row("balance", 1, FIGURE_OPS, NULL);
    snprintf(row.params, sizeof(row.params), "keys=%s seed=%s n=%llu", keys,
             seed == 0 ? "known" : "secret", (unsigned long long)suite->key_count);
    if (!suite_wants(suite, "balance", &row)) {
        return;
    }
    void *known = table_memtable.open(&(struct form){.shards = SHARDS, .seed = 0});
    void *table = table_memtable.open(&(struct form){.shards = SHARDS, .seed = seed});
    row_begin(&row);
    uint64_t count = 0;
    for (uint64_t number = 0; count < suite->key_count; number++) {
        uint8_t memory[KEY_SIZE];
        struct bytes key = key_of(number, memory);
        /* The attacker's choice: keys that meet in one shard when the seed is the usual 0. */
        if (!colliding || memtable_shard_of(table_of(known), key) == 0) {
            table_memtable.put(table, key, 1);
            count += 1;
        }
    }
    row_end(&row, count, count * KEY_SIZE);
    struct memtable_metrics *metrics = calloc(1, sizeof(*metrics));
    memtable_metrics_read(metrics, table_of(table));
    double mean = (double)count / SHARDS;
    double chi_square = 0;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        double away = (double)metrics->shard_counts[i] - mean;
        chi_square += away * away / mean;
        largest = metrics->shard_counts[i] > largest ? metrics->shard_counts[i] : largest;
    }
    snprintf(row.extra, sizeof(row.extra), "chi_square=%.1f largest_over_mean=%.3f alert=%d",
             chi_square, (double)largest / mean, (int)memtable_alert_imbalance(metrics));
    report_row(&suite->report, &row, NULL);
    free(metrics);
    table_memtable.close(known);
    table_memtable.close(table);
}

/* Bytes a key: what the heap holds after the fill, over the plain form's. */
static void rows_memory(struct suite *suite)
{
    static const struct {
        uint32_t shards;
        double bloom_rate;
        double seed_figure;
    } cases[] = {{1, 0, 0}, {SHARDS, 0, 0.002}, {1, 0.01, 0}, {SHARDS, 0.01, 38}};
    double first = 0;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct row row = suite_row("memory", 1, FIGURE_OPS, NULL);
        snprintf(row.params, sizeof(row.params), "shards=%u bloom=%g keys=%llu", cases[i].shards,
                 cases[i].bloom_rate, (unsigned long long)suite->key_count);
        row.seed_figure = cases[i].seed_figure;
        row.seed_note = "004 N5 overhead %; projected";
        if (!suite_wants(suite, "memory", &row)) {
            continue;
        }
        row_begin(&row);
        void *table =
            suite_filled(&table_memtable, &(struct form){.shards = cases[i].shards,
                                                         .bloom_rate = cases[i].bloom_rate,
                                                         .key_count = suite->key_count,
                                                         .seed = SUITE_SEED});
        row_end(&row, suite->key_count, suite->key_count * KEY_SIZE);
        struct memtable_shard_counters counters = memtable_counters(table_of(table));
        double keys = (double)suite->key_count;
        double bytes = (double)table_heap_size(table) / keys;
        first = i == 0 ? bytes : first;
        snprintf(
            row.extra, sizeof(row.extra), "bytes_key=%.1f overhead_pct=%.2f used=%.1f filters=%.2f",
            bytes, first == 0 ? 0 : (bytes / first - 1) * 100,
            (double)(counters.size - counters.filters) / keys, (double)counters.filters / keys);
        report_row(&suite->report, &row, NULL);
        table_memtable.close(table);
    }
}

void rows_hash(struct suite *suite)
{
    row_hash_speed(suite, KEY_SIZE, 4);
    row_hash_speed(suite, MIB, 7200);
    row_balance(suite, "dense", SUITE_SEED, false);
    row_balance(suite, "colliding", 0, true);
    row_balance(suite, "colliding", SUITE_SEED, true);
    rows_memory(suite);
}
