/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/memtable_metrics.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

void memtable_metrics_read(struct memtable_metrics *metrics, struct memtable *memtable)
{
    *metrics = (struct memtable_metrics){.shard_count = memtable_shard_count(memtable)};
    uint64_t largest = 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < metrics->shard_count; i++) {
        struct memtable_shard_counters one = memtable_shard_counters(memtable, i);
        metrics->shard_sizes[i] = one.size;
        metrics->shard_counts[i] = one.count;
        metrics->shard_contention[i] = one.contention;
        largest = one.size > largest ? one.size : largest;
        total += one.size;
    }
    metrics->sum = memtable_counters(memtable);
    double mean = (double)total / metrics->shard_count;
    metrics->imbalance = total == 0 ? 1.0 : (double)largest / mean;
    double used = (double)(metrics->sum.size - metrics->sum.filters);
    metrics->overhead = used == 0 ? 0.0 : (double)memtable_size(memtable) / used - 1.0;
    memtable_latencies(memtable, &metrics->latencies);
}

/* ---- text ---- */

enum kind { COUNTER, GAUGE, SUMMARY, SHARDS };

static const struct {
    const char *name;
    enum kind kind;
    const char *sentence;
} rows[] = {
#define MEMTABLE_METRIC(name, kind, sentence) {"weir_memtable_" #name, kind, sentence},
#include "storage/memtable_metrics.def"
#undef MEMTABLE_METRIC
};

enum {
#define MEMTABLE_METRIC(name, kind, sentence) ROW_##name,
#include "storage/memtable_metrics.def"
#undef MEMTABLE_METRIC
};

struct text {
    char *at;
    size_t size;
    size_t size_max;
    const char *labels;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *text, const char *format,
                                                           ...)
{
    size_t left = text->size < text->size_max ? text->size_max - text->size : 0;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(left == 0 ? NULL : text->at + text->size, left, format, arguments);
    va_end(arguments);
    check(size >= 0);
    text->size += (size_t)size;
}

static void text_head(struct text *text, size_t row)
{
    static const char *const types[] = {"counter", "gauge", "summary", "gauge"};
    text_add(text, "# HELP %s %s\n# TYPE %s %s\n", rows[row].name, rows[row].sentence,
             rows[row].name, types[rows[row].kind]);
}

static void text_value(struct text *text, size_t row, double value)
{
    bool bare = text->labels[0] == '\0';
    text_head(text, row);
    text_add(text, "%s%s%s%s %.9g\n", rows[row].name, bare ? "" : "{", text->labels,
             bare ? "" : "}", value);
}

static void text_summary(struct text *text, size_t row, const struct histogram *histogram)
{
    static const double shares[] = {0.5, 0.95, 0.99, 0.999};
    bool bare = text->labels[0] == '\0';
    text_head(text, row);
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++) {
        text_add(text, "%s{%s%squantile=\"%g\"} %.9g\n", rows[row].name, text->labels,
                 bare ? "" : ",", shares[i],
                 (double)histogram_quantile(histogram, shares[i]) / 1e9);
    }
    text_add(text, "%s_sum%s%s%s %.9g\n", rows[row].name, bare ? "" : "{", text->labels,
             bare ? "" : "}", (double)histogram->sum / 1e9);
    text_add(text, "%s_count%s%s%s %llu\n", rows[row].name, bare ? "" : "{", text->labels,
             bare ? "" : "}", (unsigned long long)histogram->count);
}

static void text_shards(struct text *text, size_t row, const struct memtable_metrics *metrics)
{
    text_head(text, row);
    for (uint32_t i = 0; i < metrics->shard_count; i++) {
        text_add(text, "%s{%s%sshard=\"%u\"} %llu\n", rows[row].name, text->labels,
                 text->labels[0] == '\0' ? "" : ",", i,
                 (unsigned long long)metrics->shard_sizes[i]);
    }
}

size_t memtable_metrics_encode(const struct memtable_metrics *metrics, const char *labels,
                               char *text, size_t size_max)
{
    struct text to = {.at = text, .size_max = size_max, .labels = labels};
    if (size_max > 0) {
        text[0] = '\0';
    }
    text_value(&to, ROW_write_ops_total, (double)metrics->sum.write_ops);
    text_summary(&to, ROW_write_latency_seconds, &metrics->latencies.write);
    text_summary(&to, ROW_read_latency_seconds, &metrics->latencies.read);
    text_summary(&to, ROW_scan_latency_seconds, &metrics->latencies.scan);
    text_value(&to, ROW_size_bytes, (double)metrics->sum.size);
    text_value(&to, ROW_shard_imbalance_ratio, metrics->imbalance);
    text_value(&to, ROW_lock_contention_count, (double)metrics->sum.contention);
    text_shards(&to, ROW_shard_size_bytes, metrics);
    return to.size;
}

/* ---- alerts ---- */

static enum memtable_alert_level level_above(double value, double warning, double critical)
{
    return value > critical  ? MEMTABLE_CRITICAL
           : value > warning ? MEMTABLE_WARNING
                             : MEMTABLE_CALM;
}

enum memtable_alert_level memtable_alert_imbalance(const struct memtable_metrics *metrics)
{
    if (metrics->sum.count < (uint64_t)metrics->shard_count * MEMTABLE_IMBALANCE_COUNT_MIN) {
        return MEMTABLE_CALM;
    }
    return level_above(metrics->imbalance, MEMTABLE_IMBALANCE_WARNING, MEMTABLE_IMBALANCE_CRITICAL);
}

enum memtable_alert_level memtable_alert_contention(const struct memtable_metrics *metrics)
{
    uint64_t wait_ns = histogram_quantile(&metrics->latencies.wait, 0.99);
    return level_above((double)wait_ns, (double)MEMTABLE_WAIT_NS_WARNING,
                       (double)MEMTABLE_WAIT_NS_CRITICAL);
}

enum memtable_alert_level memtable_alert_overhead(const struct memtable_metrics *metrics)
{
    return metrics->overhead > MEMTABLE_OVERHEAD_WARNING ? MEMTABLE_WARNING : MEMTABLE_CALM;
}

enum memtable_alert_level memtable_alert_writes(double writes_s)
{
    return writes_s < MEMTABLE_WRITES_CRITICAL ? MEMTABLE_CRITICAL : MEMTABLE_CALM;
}

bool memtable_should_revert(const struct memtable_metrics *metrics, double writes_s,
                            double error_rate)
{
    return error_rate > MEMTABLE_ERROR_RATE_REVERT || writes_s < MEMTABLE_WRITES_CRITICAL ||
           histogram_quantile(&metrics->latencies.write, 0.99) > MEMTABLE_WRITE_NS_REVERT;
}
