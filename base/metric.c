/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metric.h"

#include "base/check.h"

#define HISTOGRAM_SHIFT 4

_Static_assert(HISTOGRAM_STEPS == 1 << HISTOGRAM_SHIFT, "steps are a power of two");

/* Values below HISTOGRAM_STEPS have a bucket each; above, the 4 bits behind the leading one. */
static uint32_t histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) {
        return (uint32_t)value;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SHIFT;
    return (shift + 1) * HISTOGRAM_STEPS + (uint32_t)((value >> shift) & (HISTOGRAM_STEPS - 1));
}

static uint64_t histogram_bucket_last(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    uint32_t shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t first = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

static uint32_t add_saturated(uint32_t a, uint32_t b)
{
    uint32_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT32_MAX : sum;
}

void histogram_init(struct histogram *histogram)
{
    *histogram = (struct histogram){0};
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count += 1;
    histogram->sum += value;
    if (value > histogram->max) {
        histogram->max = value;
    }
    uint32_t *bucket = &histogram->buckets[histogram_bucket(value)];
    *bucket = add_saturated(*bucket, 1);
}

void histogram_merge(struct histogram *target, const struct histogram *source)
{
    target->count += source->count;
    target->sum += source->sum;
    if (source->max > target->max) {
        target->max = source->max;
    }
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        target->buckets[i] = add_saturated(target->buckets[i], source->buckets[i]);
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    check(share > 0 && share <= 1);
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t last = histogram_bucket_last(i);
            return last < histogram->max ? last : histogram->max;
        }
    }
    return histogram->max;
}
