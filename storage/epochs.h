/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader epochs of one log: where each began (KIP-101), kept as Kafka's text file
 * `leader-epoch-checkpoint`: "0\n<count>\n<epoch> <start offset>\n"... Pure; at most EPOCHS_MAX entries,
 * the oldest are folded away.
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

#define EPOCHS_MAX 64

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

struct epochs {
    struct epoch_entry entries[EPOCHS_MAX]; /* epochs and offsets strictly rising, except equal starts fold */
    int32_t count;
};

void epochs_init(struct epochs *epochs);
/* An epoch that is not newer than the last is ignored. True: the file must be written again. */
bool epochs_begin(struct epochs *epochs, int32_t epoch, int64_t start_offset);
void epochs_cut_end(struct epochs *epochs, int64_t end_offset);
void epochs_cut_start(struct epochs *epochs, int64_t log_start_offset);
int32_t epochs_of_offset(const struct epochs *epochs, int64_t offset); /* -1 none */
/* As partition_epoch_end() says. */
struct epoch_entry epochs_end_of(const struct epochs *epochs, int32_t epoch, int64_t end_offset);
/* Bytes needed; written only when they fit. */
size_t epochs_encode(const struct epochs *epochs, char *text, size_t size_max);
enum status epochs_decode(struct epochs *epochs, struct bytes text);
