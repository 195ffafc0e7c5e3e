/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One partition of an internal topic with the state that it keeps, on the core that owns it: memory
 * is a projection of the log. Owner core only.
 *
 *   (partition appears) -> LOADING --whole log replayed--> READY --shard_reload()--> LOADING
 *                             |                              |
 *                             +--unreadable, no memory----> FAILED (tried again every 10 s)
 *   any -> GONE  the partition was deleted or the broker stops
 *
 * S1  Durable before seen: shard_append()'s done() runs when the high watermark has passed the
 *     batch, in the order of the appends. A machine answers, and changes what others may see, there
 *     and not before. So a failed append leaves nothing to take back. Rejected: Kafka's way,
 *     applying at once and keeping snapshots to roll back to; a reader would then have to wait for
 *     the watermark anyway, because a power cut may take back what it was shown.
 * S2  What done() has to store is reserved before the append, so that it cannot fail then.
 * S3  A machine that has to apply early (the next step needs the last one's result) holds its
 *     answers back until done(), and calls shard_reload() when an append failed: memory is thrown
 *     away and the log, which is the truth, is read again.
 * S4  Replay applies each record exactly as done() would have. Newest value of a key wins; a null
 *     value removes.
 * S5  Loading reads SHARD_LOAD_SIZE at a time and lets the core turn in between.
 * S6  State comes before caches: recovery, which is first, may have made key indexes of half of the
 *     core's memory, and a load takes it back from them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/timer.h"
#include "base/uuid.h"
#include "storage/partition.h"
#include "wire/status.h"

struct core;
struct coordinator;
struct image_topic;
struct shard;

enum coordinator_kind { COORDINATOR_GROUP, COORDINATOR_TRANSACTION, COORDINATOR_KINDS };

/* ---- records ---- */

struct shard_record {
    struct bytes key;
    struct bytes value; /* data NULL: a tombstone */
};

/* What replay knows of a record, beside key and value. */
struct shard_origin {
    int64_t offset;
    int64_t timestamp;
    int64_t producer_id; /* -1 none */
    int16_t producer_epoch;
    bool transactional; /* pending until the marker of producer_id */
};

/* The end of a producer's transaction. */
struct shard_marker {
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    int32_t coordinator_epoch;
};

/* ---- machines ---- */

/* What runs on shards of one kind; constant. Callbacks may not fail unless they answer a status. */
struct coordinator_machine {
    const char *topic;
    /* Once per core, before any shard; NULL: nothing to do. Sets coordinator->state. */
    enum status (*start)(struct coordinator *coordinator);
    void (*end)(struct coordinator *coordinator);
    /* Makes shard->state, empty. */
    enum status (*open)(struct shard *shard);
    /* One record of the log, in order. A record that makes no sense is skipped by the machine with
     * a line; STATUS_NO_MEMORY fails the load. */
    enum status (*replay)(struct shard *shard, const struct shard_record *record,
                          const struct shard_origin *origin);
    /* One marker of the log; NULL: markers mean nothing here. */
    enum status (*replay_marker)(struct shard *shard, const struct shard_marker *marker);
    /* The log was replayed: arm timers. Calls follow. */
    void (*loaded)(struct shard *shard);
    /* NULL: does not care. Only between loaded() and stop(); loaded() looks by itself at what was
     * removed before. */
    void (*topic_removed)(struct shard *shard, struct bytes topic);
    /* Answers every parked call with `status`, disarms every timer. Appends may still be in flight;
     * their done() runs later, before close. */
    void (*stop)(struct shard *shard, enum status status);
    /* Frees shard->state; nothing is in flight, stop() was called if loaded() was. */
    void (*close)(struct shard *shard);
};

extern const struct coordinator_machine groups_machine;       /* broker/groups/groups.c */
extern const struct coordinator_machine transactions_machine; /* broker/transactions/ */

/* ---- shards ---- */

enum shard_state { SHARD_LOADING, SHARD_READY, SHARD_FAILED, SHARD_GONE };

#define SHARD_MAGIC 0x73686172u
#define SHARD_LOAD_SIZE (UINT64_C(256) << 10)
#define SHARD_APPEND_SIZE_MAX 1048588 /* bytes of one batch; Kafka's max.message.bytes */

struct shard {
    uint32_t magic;
    enum shard_state state;
    struct list_node node; /* coordinator->shards */
    struct coordinator *coordinator;
    struct core *core;
    int32_t index;
    struct uuid topic_id;
    struct partition *partition; /* NULL once it is gone */
    void *machine;               /* state of the machine; NULL while none is open */
    struct list appends;         /* in flight, barriers among them */
    int32_t holds;               /* what else of the machine is under way */
    bool serving;                /* machine->loaded has run, machine->stop has not */
    bool reload_due;
    struct mail turn_mail; /* changes of state happen in a turn of their own, never inside a done */
    bool turn_due;
    struct timer retry;
    /* loading */
    struct partition_read read;
    enum shard_read { SHARD_READ_NONE, SHARD_READ_UNDER_WAY, SHARD_READ_DONE } read_state;
    int64_t load_offset;
    int64_t load_until;
    uint64_t loaded_ns; /* when it became READY last; 0 never */
};

/*
 * Appends one batch. Lies in the machine's memory, or in a call, until done(), which may run before
 * shard_append() returns. The records are copied: borrowed for the call of shard_append() only.
 *
 * No records and no marker: a barrier. done() runs when everything appended before has been
 * decided.
 *
 * STATUS_OK: durable. STATUS_NO_MEMORY: no room for the batch now. STATUS_MESSAGE_TOO_LARGE: beyond
 * SHARD_APPEND_SIZE_MAX. STATUS_KAFKA_STORAGE_ERROR: see partition_append(). For a marker also
 * INVALID_PRODUCER_EPOCH and TRANSACTION_COORDINATOR_FENCED. STATUS_NOT_COORDINATOR: the shard is
 * gone.
 */
struct shard_append {
    /* in */
    const struct shard_record *records;
    int32_t record_count;
    bool transactional; /* by producer_id and producer_epoch */
    int64_t producer_id;
    int16_t producer_epoch;
    const struct shard_marker *marker; /* instead of records; borrowed likewise */
    void (*done)(struct shard_append *append);
    void *owner;
    /* out */
    enum status status;
    int64_t base_offset;
    /* the shard's own */
    struct shard *shard;
    struct list_node node;
    struct partition_append append;
    uint8_t *memory;
    size_t memory_size; /* 0: a page */
};

void shard_append(struct shard *shard, struct shard_append *append);
/* Keeps the machine open, and the shard busy, while something of it is under way on other cores. */
void shard_hold(struct shard *shard);
void shard_unhold(struct shard *shard);
/* S3. machine->stop(COORDINATOR_LOAD_IN_PROGRESS) runs at once; the machine is closed, opened and
 * fed anew when nothing is in flight any more. */
void shard_reload(struct shard *shard);
/* What an append's status means to a client: COORDINATOR_NOT_AVAILABLE for most. */
enum status shard_client_status(enum status status);

/* ---- for broker/coordinator.c ---- */

/* STATUS_NO_MEMORY: the partition is served without a coordinator until the next start. */
enum status shard_open(struct coordinator *coordinator, const struct image_topic *topic,
                       int32_t index);
/* The partition goes: `status` for what is parked. Freed when nothing is in flight any more. */
void shard_leave(struct shard *shard, enum status status);
/* Something is in flight. */
bool shard_is_busy(const struct shard *shard);
/* Not busy; the broker has stopped. */
void shard_close(struct shard *shard);
