/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `<20-digit base offset>.txnindex`, in Kafka's own format: the aborted transactions whose marker
 * lies in the segment, 34 bytes each, big-endian: version int16 0, producer id, first offset, last
 * offset, last stable offset (int64 each). A producer snapshot does not name them, so they are
 * written before any snapshot or sealed tail that lets recovery skip the markers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "storage/job.h"
#include "storage/producers.h"

#define TRANSACTION_INDEX_ENTRY_SIZE 34

/* Writes the entries whose marker lies below `offset_until`. NULL: no memory. */
[[nodiscard]] struct job *transaction_index_job(struct segment *segment, int64_t offset_until);
/* Entry `index` of the file's bytes; false when it is damaged. Pure. */
bool transaction_index_decode(struct bytes data, size_t index, struct producers_aborted *entry);
/* What the tail file remembers of the file's bytes, since they carry no sum of their own. */
uint64_t transaction_index_sum(const struct segment *segment, struct bytes data);
