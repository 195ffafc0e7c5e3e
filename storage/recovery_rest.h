/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a log that recovery writes again, and those that it puts aside before they are cut. A
 * copy is never written over: `<base>.cut-<position>`, and where one with other bytes stands there
 * `-2`, `-3` and so on behind that. Blocking.
 */
#pragma once

#include <stdint.h>

#include "storage/job.h"

struct partition;
struct scan;

/* Copies of one position; more of them are somebody's job. */
#define RECOVERY_COPIES_MAX 1000

/* The number-th name of a copy, from 1. */
void recovery_copy_name(const struct partition *partition, int64_t base_offset, int64_t position,
                        uint32_t number, char path[STORE_PATH_SIZE]);
/* Writes [position, until) of the log, as a walk found it up to its end, once more where it stands,
 * not synced. 0 or -errno. */
int64_t recovery_write_range(struct scan *scan, int64_t position, int64_t until);
/* Puts [position, until) of the log aside, durably, and says so. An error: nothing may be cut. */
int64_t recovery_keep_rest(struct scan *scan, struct partition *partition, int64_t position,
                           int64_t until);
