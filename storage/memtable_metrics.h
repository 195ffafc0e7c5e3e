/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a memtable tells about itself, and when that is alarming: functions over its counters. The
 * same numbers feed a scrape, an inspection by hand and the benchmark.
 */
#pragma once

#include <stddef.h>

#include "storage/memtable.h"

struct memtable_metrics {
    struct memtable_shard_counters sum;
    uint32_t shard_count;
    uint64_t shard_sizes[MEMTABLE_SHARDS_MAX]; /* bytes */
    uint64_t shard_counts[MEMTABLE_SHARDS_MAX];
    uint64_t shard_contention[MEMTABLE_SHARDS_MAX];
    double imbalance; /* largest shard over the mean, by size; 1 while empty */
    double overhead;  /* bytes held beyond records and nodes, over those: filters and what no key
                         has taken yet. 0.05 is 5% */
    struct memtable_latencies latencies;
};

/* Takes the shards' locks one after the other for the latencies, the rest without. */
void memtable_metrics_read(struct memtable_metrics *metrics, struct memtable *memtable);

/* Prometheus' text format; `labels` is "" or like "topic=\"orders\"". The size it needs; what does
 * not fit in size_max is not written, the text always ends in a NUL. */
size_t memtable_metrics_encode(const struct memtable_metrics *metrics, const char *labels,
                               char *text, size_t size_max);

/* ---- alerts ---- */

enum memtable_alert_level { MEMTABLE_CALM, MEMTABLE_WARNING, MEMTABLE_CRITICAL };

#define MEMTABLE_IMBALANCE_WARNING 2.0
#define MEMTABLE_IMBALANCE_CRITICAL 4.0 /* an attack on the hash, or its seed is known */
#define MEMTABLE_WAIT_NS_WARNING UINT64_C(1000000)
#define MEMTABLE_WAIT_NS_CRITICAL UINT64_C(10000000)
#define MEMTABLE_WRITES_CRITICAL 300000.0 /* a second, of a table whose writers never pause */
#define MEMTABLE_OVERHEAD_WARNING 0.5     /* the filters are too large */
/* When to go back to one shard: */
#define MEMTABLE_ERROR_RATE_REVERT 0.001
#define MEMTABLE_WRITE_NS_REVERT UINT64_C(5000000)

/* Imbalance means nothing among a handful of keys: at least so many a shard. */
#define MEMTABLE_IMBALANCE_COUNT_MIN 64

enum memtable_alert_level memtable_alert_imbalance(const struct memtable_metrics *metrics);
/* By the 99th percentile of the times that a lock was not free. */
enum memtable_alert_level memtable_alert_contention(const struct memtable_metrics *metrics);
enum memtable_alert_level memtable_alert_overhead(const struct memtable_metrics *metrics);
/* `writes_s` was measured with writers that always have more to write. */
enum memtable_alert_level memtable_alert_writes(double writes_s);
/* Whether the sharded table should give way to a plain one: errors above 0.1%, writes below
 * 300,000/s, or a 99th percentile of writes above 5 ms. */
bool memtable_should_revert(const struct memtable_metrics *metrics, double writes_s,
                            double error_rate);
