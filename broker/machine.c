/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

#define MEMORY_SIZE_MIN (64 * MIB)
#define PIN_CORES_MIN 4
#define CONFIG_SIZE_MAX (1 << 20)

uint64_t machine_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* First line of a small file; false when it is not there. */
static bool line_read(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool found = fgets(line, size, file) != NULL;
    fclose(file);
    return found;
}

/* Whole CPUs of the cgroup's quota, rounded up; 0: no quota. */
static int32_t quota_cores(void)
{
    char line[128];
    long long quota = -1;
    long long period = 0;
    if (line_read("/sys/fs/cgroup/cpu.max", line, sizeof(line))) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) {
            return 0; /* "max" */
        }
    } else if (line_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof(line))) {
        quota = atoll(line);
        if (line_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", line, sizeof(line))) {
            period = atoll(line);
        }
    }
    return quota > 0 && period > 0 ? (int32_t)((quota + period - 1) / period) : 0;
}

int32_t machine_cores(void)
{
    cpu_set_t set;
    int32_t count = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        count = CPU_COUNT(&set);
    }
    int32_t quota = quota_cores();
    count = quota > 0 && quota < count ? quota : count;
    return count < 1 ? 1 : count;
}

size_t machine_memory(int64_t wanted)
{
    uint64_t memory = (uint64_t)wanted;
    if (wanted == 0) {
        memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        char line[64];
        bool limited = line_read("/sys/fs/cgroup/memory.max", line, sizeof(line)) ||
                       line_read("/sys/fs/cgroup/memory/memory.limit_in_bytes", line, sizeof(line));
        uint64_t limit = limited ? strtoull(line, NULL, 10) : 0; /* "max" reads as 0 */
        memory = limit > 0 && limit < memory ? limit : memory;
        memory /= 4;
    }
    return memory < MEMORY_SIZE_MIN ? MEMORY_SIZE_MIN : memory;
}

uint32_t machine_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = before;
    }
    return limit.rlim_cur > 1000000 ? 1000000 : (uint32_t)limit.rlim_cur;
}

void machine_pin(pthread_t thread, int32_t core, enum broker_pin pin, int32_t core_count)
{
    if (pin == BROKER_PIN_OFF || (pin == BROKER_PIN_AUTO && core_count < PIN_CORES_MIN)) {
        return;
    }
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        return;
    }
    int32_t seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) {
            continue;
        }
        if (seen == core) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(thread, sizeof(one), &one);
            return;
        }
        seen++;
    }
}

/* The whole file with a final NUL; NULL with one sentence. */
static char *text_read(const char *path, char *message, size_t message_size)
{
    FILE *file = fopen(path, "re");
    char *text = file == NULL ? NULL : malloc(CONFIG_SIZE_MAX + 1);
    if (text == NULL) {
        snprintf(message, message_size, "cannot read %s: %m; check the path after --config", path);
        if (file != NULL) {
            fclose(file);
        }
        return NULL;
    }
    size_t size = fread(text, 1, CONFIG_SIZE_MAX, file);
    text[size] = '\0';
    fclose(file);
    return text;
}

int machine_config_load(struct broker_config *config, struct heap *heap, const char *path,
                        const char *const *overrides, int32_t override_count, char *message,
                        size_t message_size)
{
    char *text = NULL;
    if (path != NULL) {
        text = text_read(path, message, message_size);
        if (text == NULL) {
            return 2;
        }
    }
    int code = broker_config_load(config, heap, text == NULL ? "" : text, overrides, override_count,
                                  message, message_size);
    free(text);
    return code;
}
