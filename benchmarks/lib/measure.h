/* SPDX-License-Identifier: Apache-2.0 */
/* What a run counts: time, latencies, and the CPU and memory of the broker's process. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define LATENCY_STEPS 64 /* per power of two: 1.6% relative error */
#define LATENCY_BUCKETS (LATENCY_STEPS * 60)

struct latency {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[LATENCY_BUCKETS];
};

uint64_t clock_ns(void);
void latency_add(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *latency, const struct latency *other);
/* Upper bound of the bucket that holds the share of all values, at most the maximum seen. */
double latency_us(const struct latency *latency, double share);

struct usage {
    double cpu_seconds; /* user + system of all threads since the process began */
    int64_t rss_kib;
    int64_t rss_kib_max;
};

/* Zeros when there is no such process. */
struct usage usage_read(pid_t pid);
