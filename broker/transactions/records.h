/* SPDX-License-Identifier: Apache-2.0 */
/* Records of __transaction_state, in Kafka's format: an int16 before each key (which message) and
 * value (its version). */
#pragma once

#include "base/arena.h"
#include "broker/shard.h"
#include "broker/transactions/partition_set.h"
#include "broker/transactions/transaction.h"

/* Key and value in the arena; a tombstone when the state is Dead. STATUS_NO_MEMORY. */
enum status transaction_record_encode(struct arena *arena, struct bytes id,
                                      const struct transaction_value *value,
                                      const struct partition_set *partitions,
                                      struct shard_record *record);

/*
 * The id lies in the record, the set is filled from the heap; `tombstone` says that there is no
 * value. STATUS_CORRUPT_MESSAGE: not a record of this kind, or of a later version.
 * STATUS_NO_MEMORY. In both cases the set stays empty.
 */
enum status transaction_record_decode(const struct shard_record *record, struct arena *arena,
                                      struct heap *heap, struct bytes *id,
                                      struct transaction_value *value,
                                      struct partition_set *partitions, bool *tombstone);
