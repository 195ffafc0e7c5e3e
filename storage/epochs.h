/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader epochs of one log: where each began (KIP-101), kept as Kafka's text file
 * `leader-epoch-checkpoint`: "0\n<count>\n<epoch> <start offset>\n"... Pure.
 *
 * E1  Epochs and start offsets both rise strictly: an epoch without a record is replaced by the
 *     next.
 * E2  At most EPOCHS_MAX entries, the oldest go. The rest keep their starts: a client of a
 *     forgotten epoch is told the start of the oldest kept one, which is at or after the true end,
 *     so it never takes old records for lost ones.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

#define EPOCHS_MAX 64

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

struct epochs {
    struct epoch_entry entries[EPOCHS_MAX]; /* E1, E2 */
    int32_t count;
};

void epochs_init(struct epochs *epochs);
bool epochs_equal(const struct epochs *a, const struct epochs *b);
/* An epoch that is not newer than the last is ignored. True: the file must be written again. */
bool epochs_begin(struct epochs *epochs, int32_t epoch, int64_t start_offset);
/* A batch of the epoch lies at this offset: it began there at the latest. What the file says may be
 * from before a cut, when the same epoch began further on. True: as above. */
bool epochs_learn(struct epochs *epochs, int32_t epoch, int64_t offset);
/* The log ends at end_offset: epochs that began there or later are gone. */
void epochs_cut_end(struct epochs *epochs, int64_t end_offset);
/* The log begins at log_start_offset: the epoch it lies in begins there. */
void epochs_cut_start(struct epochs *epochs, int64_t log_start_offset);
int32_t epochs_of_offset(const struct epochs *epochs, int64_t offset); /* -1 none */
/* As partition_epoch_end() says. */
struct epoch_entry epochs_end_of(const struct epochs *epochs, int32_t epoch, int64_t end_offset);
/* Bytes needed; written only when they fit. */
size_t epochs_encode(const struct epochs *epochs, char *text, size_t size_max);
/* STATUS_CORRUPT_MESSAGE: the object is unchanged. The newest EPOCHS_MAX entries stay. */
enum status epochs_decode(struct epochs *epochs, struct bytes text);
