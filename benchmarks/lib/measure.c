/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/lib/measure.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Below LATENCY_STEPS one bucket a value, then LATENCY_STEPS buckets a power of two. */
static unsigned bucket_index(uint64_t ns)
{
    if (ns < LATENCY_STEPS) {
        return (unsigned)ns;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    unsigned step = (unsigned)(ns >> (power - 6)) & (LATENCY_STEPS - 1);
    return (power - 5) * LATENCY_STEPS + step;
}

static uint64_t bucket_until(unsigned index)
{
    if (index < LATENCY_STEPS) {
        return index;
    }
    unsigned power = index / LATENCY_STEPS + 5;
    return (uint64_t)(LATENCY_STEPS + index % LATENCY_STEPS + 1) << (power - 6);
}

void latency_add(struct latency *latency, uint64_t ns)
{
    latency->count++;
    latency->buckets[bucket_index(ns)]++;
    if (ns > latency->max_ns) {
        latency->max_ns = ns;
    }
}

void latency_merge(struct latency *latency, const struct latency *other)
{
    latency->count += other->count;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        latency->buckets[i] += other->buckets[i];
    }
    if (other->max_ns > latency->max_ns) {
        latency->max_ns = other->max_ns;
    }
}

double latency_us(const struct latency *latency, double share)
{
    double target = share * (double)latency->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS && latency->count > 0; i++) {
        seen += latency->buckets[i];
        if (seen > 0 && (double)seen >= target) {
            uint64_t until = bucket_until(i);
            return (double)(until < latency->max_ns ? until : latency->max_ns) / 1000;
        }
    }
    return 0;
}

static double cpu_read(pid_t pid)
{
    char path[64];
    char line[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    size_t size = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[size] = '\0';
    const char *rest = strrchr(line, ')'); /* the name before it may hold anything */
    unsigned long user = 0;
    unsigned long system = 0;
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                               &user, &system) != 2) {
        return 0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

struct usage usage_read(pid_t pid)
{
    struct usage usage = {.cpu_seconds = cpu_read(pid)};
    char path[64];
    char line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return usage;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        long long kib;
        if (sscanf(line, "VmRSS: %lld", &kib) == 1) {
            usage.rss_kib = kib;
        } else if (sscanf(line, "VmHWM: %lld", &kib) == 1) {
            usage.rss_kib_max = kib;
        }
    }
    fclose(file);
    return usage;
}
