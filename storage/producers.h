/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotence and transaction state of one log (KIP-98, KIP-890): per producer id the last five
 * batches, the epoch, the open transaction. No I/O, no clock: time is passed in.
 *
 * I1  A batch whose (first, last) sequence equals one of the five last of the same epoch is a
 *     duplicate: the stored offset is the answer and nothing is appended.
 * I2  Otherwise its first sequence is last + 1 (2147483647 wraps to 0), else
 *     OUT_OF_ORDER_SEQUENCE_NUMBER. A higher epoch starts at 0, a lower one is
 *     INVALID_PRODUCER_EPOCH.
 * I3  An unknown producer id may start anywhere: its state may have aged out.
 * I4  State is changed by producers_add() alone, after an offset is given; a failed write throws
 *     the whole object away and recovery makes a new one.
 * I5  The last stable offset is the first offset of the oldest open transaction, or "none". A
 *     transaction counts as open until its marker lies below the high watermark.
 * I6  State expires producer.id.expiration.ms after its last batch, never while a transaction is
 *     open.
 * I7  A producer is in exactly one list: `open` by first offset of its transaction, or `idle` by
 *     the time of its last batch, longest ago first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "storage/aborted.h"
#include "wire/batch.h"
#include "wire/status.h"

#define PRODUCER_BATCHES 5

struct producers;

struct producers_verdict {
    enum status status;
    bool duplicate;
    int64_t base_offset; /* of the original when duplicate */
    int64_t last_offset;
    int64_t timestamp;
    bool known; /* there is state of the producer */
};

struct producer_view {
    int64_t producer_id;
    int16_t epoch;
    int32_t last_sequence;
    int64_t last_offset;
    int64_t last_timestamp;
    int32_t coordinator_epoch;
    int64_t transaction_first_offset; /* -1 none */
};

/* count_max: the oldest idle producer goes when one more arrives. */
[[nodiscard]] struct producers *producers_open(struct heap *heap, uint64_t seed,
                                               uint32_t count_max);
void producers_close(struct producers *producers);

/* Judges a batch that carries a producer id (or none: always OK). Changes nothing.
 * STATUS_NO_MEMORY: a producer more than count_max while every known one has a transaction open. */
struct producers_verdict producers_check(const struct producers *producers,
                                         const struct batch_header *header);
struct producers_marker {
    bool is_marker; /* false for data, and for a control batch that compaction emptied */
    bool is_commit;
    int32_t coordinator_epoch;
};
/* Judges a marker before it is appended: INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED. */
enum status producers_check_marker(const struct producers *producers,
                                   const struct batch_header *header,
                                   struct producers_marker marker);
/* Whether the producer has this very epoch and nothing open: the marker was appended before, or
 * there is nothing here for it to decide. */
bool producers_has_marker(const struct producers *producers, const struct batch_header *header);
/* Takes in an appended batch, data or control, with its offsets stamped. For a control batch the
 * caller passes the decoded marker. STATUS_NO_MEMORY when the heap refuses. */
enum status producers_add(struct producers *producers, const struct batch_header *header,
                          struct producers_marker marker, int64_t now_ms);
/* First offset of the oldest open transaction, or INT64_MAX. */
int64_t producers_first_open(const struct producers *producers);
/* I5: the same, and transactions whose marker is at or above the high watermark count as open.
 * Those below it are forgotten, so the high watermark must not go back. */
int64_t producers_first_unstable(struct producers *producers, int64_t high_watermark);

/* What became of the transaction that a producer's record at `offset` belongs to. Aborted ones have
 * to be known: see producers_restore_aborted(). */
enum producers_outcome { PRODUCERS_OPEN, PRODUCERS_ABORTED, PRODUCERS_COMMITTED };
enum producers_outcome producers_decided(const struct producers *producers, int64_t producer_id,
                                         int64_t offset, int64_t high_watermark);

/* Aborted transactions that overlap [offset_first, offset_until): sorted by first offset. */
/* The answer is in `out` (room for count_max); returns how many there are, which may be more. */
int32_t producers_aborted_list(const struct producers *producers, int64_t offset_first,
                               int64_t offset_until, struct producers_aborted *out,
                               int32_t count_max);
/* Takes back what a hint kept of a sealed segment: snapshots do not hold aborted transactions. */
enum status producers_restore_aborted(struct producers *producers,
                                      const struct producers_aborted *entry);
/* Forgets aborted transactions that ended below the log's start. Producers stay: only age removes
 * them. */
void producers_forget_below(struct producers *producers, int64_t log_start_offset);
uint32_t producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms);
uint32_t producers_count(const struct producers *producers);
/* Every producer, in order of id; for describe. Returns how many there are; when that is more than
 * count_max, `out` holds some of them. */
uint32_t producers_list(const struct producers *producers, struct producer_view *out,
                        uint32_t count_max);

/* Kafka's .snapshot: version int16 1, CRC-32C uint32, entries (schema storage/ProducerSnapshot).
 * encode: bytes needed; writes only when they fit in size_max. */
size_t producers_encode(const struct producers *producers, uint8_t *data, size_t size_max);
/* Replaces every producer. STATUS_CORRUPT_MESSAGE, STATUS_NO_MEMORY: the object is unchanged. Ages
 * count from now_ms: a restart must not shorten them, and the timestamps are the clients'. */
enum status producers_decode(struct producers *producers, struct bytes data, int64_t now_ms);
