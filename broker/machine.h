/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine allows: processors, memory, descriptors. Start-up only. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/config.h"

/* CPUs of the affinity mask, at most the cgroup's quota rounded up; at least 1. */
int32_t machine_cores(void);
/* `wanted` bytes, or a quarter of RAM (of the cgroup's limit when that is lower) for 0; at least 64
 * MiB. */
size_t machine_memory(int64_t wanted);
/* Raises the soft limit of descriptors to the hard one; answers it. */
uint32_t machine_raise_files(void);
/* pin=auto pins from 4 cores up: below that, the clients need the CPUs as well. */
void machine_pin(pthread_t thread, int32_t core, enum broker_pin pin, int32_t core_count);
uint64_t machine_now_ns(void);
/* Reads FILE and the overrides. 0, or 2 with one sentence. */
int machine_config_load(struct broker_config *config, struct heap *heap, const char *path,
                        const char *const *overrides, int32_t override_count, char *message,
                        size_t message_size);
