/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) One log: the door of this layer. Owner core only; every call is asynchronous unless it says
 * "blocking". Offsets count records, positions count bytes of one file, and one position decides:
 *
 *   log start <= last stable <= high watermark == durable <= end
 *
 * P1  The high watermark moves batch by batch, when a DSYNC write that covers it has completed.
 * P2  Offsets are dense: the next batch begins where the last one ended.
 * P3  Nobody is told of a record before the high watermark has passed it: no answer, no read, no
 *     watch.
 * P4  Answers of one partition are given in offset order.
 * P5  A failed write is never retried on its file; waiters get KAFKA_STORAGE_ERROR (recovery.h).
 *
 * States: OPEN serves all; FULL (no space, or no descriptor for a file) refuses appends and tries
 * again each second; FAILED is read-only until restart. Reads go on in all three.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/uuid.h"
#include "storage/config.h"
#include "storage/store.h"
#include "wire/batch.h"
#include "wire/status.h"

struct partition;

enum partition_state { PARTITION_OPEN, PARTITION_FULL, PARTITION_FAILED };

struct partition_options {
    const char *topic; /* a checked name: 1-249 of [a-zA-Z0-9._-] */
    int32_t index;
    struct uuid topic_id;
    int32_t leader_epoch;
    bool fresh; /* just created: nothing of it is on disk, look at nothing */
    struct partition_config config;
};

/*
 * Blocking: loads the folder `<data>/<topic>-<index>` if it is there (recovery.h). A partition has
 * no folder before its first append; one that stands there by then and is not its own is renamed to
 * `<topic>-<index>.<32 hex>-stray` and kept. Not `fresh`, and partition.metadata names another
 * topic id: STATUS_INCONSISTENT_TOPIC_ID, nothing is touched. Other failures:
 * STATUS_KAFKA_STORAGE_ERROR (disk), STATUS_NO_MEMORY.
 */
enum status partition_open(struct partition **out, struct store *store,
                           const struct partition_options *options);
/* Blocking: waits for what is in flight, writes tail and snapshot as of the end, trims the file.
 * `clean` false leaves everything as it is (tests, crash). */
void partition_close(struct partition *partition, bool clean);

/* ---- append ---- */

/*
 * One validated batch. The memory is borrowed until done() runs; base offset and leader epoch are
 * stamped in it. done() may run before partition_append() returns.
 *
 * STATUS_OK: durable at base_offset, or a duplicate of a batch that is.
 * STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER, STATUS_INVALID_PRODUCER_EPOCH, ...: see producers.h.
 * STATUS_RECORD_LIST_TOO_LARGE: larger than a segment. STATUS_KAFKA_STORAGE_ERROR: FULL or
 * FAILED.
 */
struct partition_append {
    /* in */
    uint8_t *batch;
    size_t size;
    struct batch_header header; /* as decoded by batch_validate() */
    int64_t now_ms;             /* wall clock; the timestamp where log_append_time */
    bool from_zero; /* a producer without state begins at sequence 0 (KIP-890), not anywhere */
    bool once;      /* a marker that may be there already: then OK, and nothing is appended */
    /* out */
    enum status status;
    int64_t base_offset;    /* -1 on error */
    int64_t append_time_ms; /* -1 unless log_append_time */
    int64_t log_start_offset;
    void (*done)(struct partition_append *append);
    void *owner;
    /* the partition's own until done */
    struct list_node node;
    int64_t wait_offset; /* answered when the high watermark passes it */
};

void partition_append(struct partition *partition, struct partition_append *append);

/* ---- read ---- */

enum partition_isolation { READ_UNCOMMITTED = 0, READ_COMMITTED = 1 };

#define READ_SLICES_INLINE 18 /* 1 MiB of blocks with both ends cut; more come from pages */

struct aborted_transaction {
    int64_t producer_id;
    int64_t first_offset;
};

/* Where a batch lies in the log: at byte `position` of the segment that begins at `base_offset`. */
struct partition_place {
    bool known;
    int64_t base_offset;
    int64_t position;
};

/*
 * Bytes from the batch that contains `offset` on, whole from its first byte; the end may be cut
 * anywhere except inside the first batch. Slices stay valid (pinned) until
 * partition_read_release(). At the high watermark (or last stable offset): STATUS_OK with size 0.
 * STATUS_OFFSET_OUT_OF_RANGE, STATUS_CORRUPT_MESSAGE (a block whose sum is wrong; one line says
 * which), STATUS_KAFKA_STORAGE_ERROR (read error), STATUS_NO_MEMORY (cache share spent: ask again
 * later). done() may run before partition_read() returns.
 */
struct partition_read {
    /* in */
    int64_t offset;
    uint32_t size_max; /* bytes; the first batch comes whole even when larger, if first_whole */
    bool first_whole;
    enum partition_isolation isolation;
    /* out */
    enum status status;
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start_offset;
    const struct bytes *slices; /* inline_slices or pages */
    int32_t slice_count;
    size_t size;
    struct partition_place place; /* of the first byte; not known when there is none */
    struct aborted_transaction
        *aborted; /* read_committed: sorted by first offset; heap of the store */
    int32_t aborted_count;
    void (*done)(struct partition_read *read);
    void *owner;
    /* the partition's own until release */
    struct list_node node;
    struct bytes inline_slices[READ_SLICES_INLINE];
    void *state;
};

void partition_read(struct partition *partition, struct partition_read *read);
/* Owner core. Unpins; after done() only. Must also be called after an error or an empty read. */
void partition_read_release(struct partition *partition, struct partition_read *read);

/*
 * Fires once, when at least size_wanted bytes are readable from `offset` (up to the high watermark,
 * or the last stable offset), or the partition fails, is deleted or closed. Firing detaches it. It
 * may fire inside partition_watch_add() when the condition holds already.
 *
 * Never too late. Too early by less than a block where `place` is not known and the offset is not
 * the high watermark either, or while a transaction is open.
 */
struct partition_watch {
    int64_t offset;
    struct partition_place place; /* of the batch that holds the offset, as its last read told */
    uint32_t size_wanted;
    enum partition_isolation isolation;
    void (*fire)(struct partition_watch *watch);
    void *owner;
    struct list_node node;
};

void partition_watch_add(struct partition *partition, struct partition_watch *watch);
void partition_watch_remove(struct partition_watch *watch); /* idle ones are left alone */

/* ---- look up ---- */

#define LOOKUP_EARLIEST INT64_C(-2)
#define LOOKUP_LATEST INT64_C(-1)
#define LOOKUP_MAX_TIMESTAMP INT64_C(-3)

/*
 * LOOKUP_EARLIEST, LOOKUP_LATEST, LOOKUP_MAX_TIMESTAMP, or the first record with timestamp >= T,
 * record-exact, also inside compressed batches, below the high watermark or last stable offset.
 * Nothing found: STATUS_OK with offset -1 and timestamp -1. Earliest and latest answer timestamp
 * -1.
 */
struct partition_lookup {
    int64_t timestamp;
    enum partition_isolation isolation;
    enum status status;
    int64_t offset;
    int64_t timestamp_found;
    int32_t leader_epoch; /* epoch of the found record; -1 when nothing was found */
    void (*done)(struct partition_lookup *lookup);
    void *owner;
    void *state;
};

void partition_lookup(struct partition *partition, struct partition_lookup *lookup);

/* KIP-320. Requested == newest epoch: (it, high watermark). Older: (floor epoch, start of the
 * next). Below the oldest: (requested, start of the first). Higher: (-1, -1). */
struct partition_epoch_end {
    int32_t epoch;
    int64_t end_offset;
};
struct partition_epoch_end partition_epoch_end(const struct partition *partition, int32_t epoch);

/*
 * The newest record of a key that is decided and visible: below the high watermark, of no
 * transaction that is open or was aborted. Of a topic with a key index; sealed segments answer from
 * their hints alone, opened at first use, and one without a key table gets it first, from its log.
 * done() may run before partition_key_find() returns.
 *
 * STATUS_OK, offset -1: there is no such record; one whose value is null is one all the same.
 * STATUS_NOT_FOUND: the topic has no key index. STATUS_PENDING: the active segment has none yet, or
 * had no memory for it: ask again. STATUS_NO_MEMORY, STATUS_KAFKA_STORAGE_ERROR.
 *
 * Of keys above 1 KiB see key_form.h. The record may lie in a range that is quarantined since: then
 * a read says so.
 */
struct partition_key_find {
    /* in */
    struct bytes key; /* lent until done */
    /* out */
    enum status status;
    int64_t offset;
    int64_t timestamp;
    int64_t base_offset; /* of the record's segment */
    uint32_t position;   /* of its batch, in the segment */
    uint32_t size;       /* of the batch */
    bool tombstone;      /* its value is null */
    bool from_hint;      /* not from memory */
    void (*done)(struct partition_key_find *find);
    void *owner;
};

void partition_key_find(struct partition *partition, struct partition_key_find *find);

struct key_entry;
/* The newest decided record of the key in the active segment, of a topic with a key index. Sealed
 * segments are asked by partition_key_find(). False: there is none, or no index of that segment. */
bool partition_key_get(struct partition *partition, struct bytes key, struct key_entry *entry);

/* ---- facts ---- */

struct partition_facts {
    enum partition_state state;
    int64_t log_start_offset;
    int64_t last_stable_offset;
    int64_t high_watermark;
    int64_t end_offset;
    int64_t size; /* bytes of log, without space taken ahead */
    int32_t segment_count;
    int32_t leader_epoch;
    uint64_t cut_size;   /* bytes recovery kept aside at this start */
    bool epoch_bump_due; /* recovery lost bytes that may have been visible */
};
struct partition_facts partition_facts(const struct partition *partition);
const char *partition_name(const struct partition *partition); /* "orders-3" */

void partition_configure(struct partition *partition, const struct partition_config *config);
/* A new leader epoch begins at the end offset. */
void partition_set_epoch(struct partition *partition, int32_t leader_epoch);

/* Renames the folder to `<topic>-<index>.<32 hex>-delete`, syncs the data folder, answers; the
 * files go in the background. Fails pending appends and reads with UNKNOWN_TOPIC_OR_PARTITION. The
 * partition is freed when done() is called; that waits for memory where there is none.
 *
 * One opened as `fresh` may stand for a partition that could not be opened: a folder that names its
 * topic id goes like any other, one that names another id is moved aside and kept.
 *
 * STATUS_KAFKA_STORAGE_ERROR: the new name is not there or not durable, which is told in one line;
 * the next start removes the folder. */
void partition_remove(struct partition *partition, void (*done)(void *owner, enum status status),
                      void *owner);

/* Producers known to the log: for DescribeProducers and tests. */
const struct producers *partition_producers(const struct partition *partition);
