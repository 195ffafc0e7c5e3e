/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histogram of nanoseconds or sizes with 1/16 relative error: 16 linear steps per power of two.
 * Owned by one core; merged on read. Counters are plain uint64_t fields of their owners.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEPS 16
#define HISTOGRAM_POWERS 60
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * (HISTOGRAM_POWERS + 1))

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *target, const struct histogram *source);
/* Upper bound of the bucket that holds the share (0..1] of all values; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);
