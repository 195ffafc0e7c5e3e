/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer state of a recovered log: the newest snapshot at or below the end that can be read, or
 * the newest tail file that says "none", and from there on the headers of all batches. Aborted
 * transactions before that point come from hints, when somebody asks, and from the .txnindex of
 * segments that have none; when one is missing, everything is replayed instead.
 */
#pragma once

#include <stdint.h>

#include "wire/status.h"

struct folder;
struct partition;
struct segment;

/* From `plain_offset` on recovery has just seen all batches, and none names a producer: they are
 * not read again. INT64_MAX: it has not. */
enum status recovery_load_producers(struct partition *partition, const struct folder *folder,
                                    int64_t plain_offset);
/* Blocking: facts of a sealed segment that recovery put off. */
enum status recovery_know(struct segment *segment);
