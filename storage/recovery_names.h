/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that recovery takes away. A log file that does not continue the log, and a tail file or
 * hint that says what is not so, would be believed at the next start, which cuts what they
 * contradict: when one cannot be taken away the log is not opened. Blocking.
 */
#pragma once

#include <stdint.h>

#include "wire/status.h"

struct folder;
struct partition;
struct store;

/* 0, or -errno. */
int64_t recovery_sync_folder(struct store *store, const char *path);
/* The same: the names of the partition's folder, and its own, last. */
int64_t recovery_sync_names(struct partition *partition);
/* One file of a segment, or a snapshot; STATUS_OK also where there was none.
 * STATUS_KAFKA_STORAGE_ERROR, told. */
enum status recovery_unlink(struct partition *partition, int64_t base_offset, const char *suffix);
/* The files of bases[first] and all behind it: an empty log goes, any other is put aside, not over
 * what was put aside before. */
enum status recovery_drop_files(struct partition *partition, const struct folder *folder,
                                uint32_t first);
/* P5: a write to that file failed. An empty one takes its place, so that the log goes on behind a
 * segment that needs no look. */
enum status recovery_renew(struct partition *partition, int64_t base_offset);
