/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transactional ids of one shard of __transaction_state. Around the pure machine of
 * broker/transactions/transaction.h: the log, the partitions, the markers, who waits.
 *
 *   call -> step -> persist: shard_append -> PERSISTED -> answer
 *                                         -> Prepare*: markers to every partition -> MARKED
 *                -> CONCURRENT_TRANSACTIONS: parked, tried again when the id has settled
 *
 * X1  What a call is told is durable (S1 of broker/shard.h; T1).
 * X2  No marker is sent while an append that was let in is under way: a call with `admit` that was
 *     answered OK counts in `admitted` until its release. So a write of the transaction is before
 *     the marker in every log, or it is refused. Rejected: Kafka's verification state in each
 *     partition, which has to be cleaned up where no marker follows.
 * X3  Whoever meets a transaction that is just ending waits for it, at most PARK_NS, instead of
 *     being told CONCURRENT_TRANSACTIONS and coming back: markers take a millisecond, clients wait
 *     20 to 100 of them before they ask again.
 * X4  Parked calls go on in the order they came.
 * X5  What was prepared is finished, whatever fails: markers and Complete are tried again until
 *     they are durable, after a restart as well. A partition that is gone needs no marker.
 */
#pragma once

#include "base/hash.h"
#include "broker/coordinator.h"
#include "broker/producer_ids.h"
#include "broker/transactions/markers.h"
#include "broker/transactions/partition_set.h"
#include "broker/transactions/transaction.h"

struct transaction_call;

#define TRANSACTIONAL_ID_MAGIC 0x7478696eu

struct transactional_id {
    uint32_t magic;
    struct table_node by_id;
    struct list_node node; /* transactions->list */
    struct transactions *transactions;
    struct bytes id;
    uint64_t serial; /* never the same twice, nor in a shard that takes the place of another */
    struct transaction transaction;
    struct partition_set partitions;
    struct partition_set next_partitions; /* with `next`, when it adds some */
    enum transaction_partitions change;
    struct shard_append append;
    struct transaction_call *asker; /* of `next`; NULL: the coordinator itself */
    struct list parked;
    struct producer_ids_waiter id_waiter;
    struct transaction_call *id_asker; /* waits for a block of producer ids */
    int32_t admitted;
    bool mark_due;      /* decided: markers, then Complete */
    bool marking;       /* markers are under way */
    bool again;         /* some may have been written before */
    struct arena arena; /* while marking */
    struct markers markers;
    struct timer retry;
};

/* shard->machine */
struct transactions {
    struct shard *shard;
    struct heap *heap;
    struct table ids;
    struct list list; /* oldest first */
    int32_t count;
    uint64_t serial_next;
    struct arena scratch; /* of one record */
    struct timer sweep_timer;
    uint64_t forget_due_ns;
    bool stopping;
};

static inline struct transactions *transactions_of(const struct shard *shard)
{
    return shard->machine;
}

/* NULL: never seen. One that transaction_is_unused() was not seen either, or is forgotten. */
struct transactional_id *transactions_find(const struct transactions *transactions,
                                           struct bytes id);
/* Finds or makes it, unused. NULL: no memory. */
struct transactional_id *transactions_make(struct transactions *transactions, struct bytes id);
/* Coordinator's own events: overdue, forget. */
void transactional_id_step(struct transactional_id *entry, const struct transaction_event *event);
/* Writes markers if they are due and may be written now. */
void transactional_id_mark(struct transactional_id *entry);
/* Answers everything parked. */
void transactional_id_stop(struct transactional_id *entry, enum status status);

/* ---- calls ---- */

struct transaction_spot {
    struct bytes topic;
    int32_t index;
    enum status status; /* out, where the call is OK: verify may refuse single ones */
};

/* INIT, ADD, VERIFY and END. The memory behind the slices is the caller's until the way back. */
struct transaction_call {
    struct coordinator_call call; /* first; its status is the answer */
    struct bytes id;
    struct transaction_event event; /* kind and what it needs; clock and fresh id are added there */
    struct transaction_spot *spots;
    int32_t spot_count;
    bool admit; /* X2; a call that is OK must be followed by transaction_call_release() */
    /* out */
    uint64_t serial; /* of what was admitted */
    int64_t producer_id;
    int16_t epoch;
    /* the owner's */
    struct list_node node;
    struct timer timer;
    uint64_t park_until_ns; /* 0: has not waited yet */
    struct transactional_id *parked_at;
};

/* Adds the call to the fan. An id without bytes is the caller's to refuse. */
void transaction_call_add(struct coordinator_fan *fan, struct transaction_call *call);

/* Ends what `admit` began; id and serial as in that call. */
struct transaction_release {
    struct coordinator_call call;
    struct bytes id;
    uint64_t serial;
};
void transaction_release_add(struct coordinator_fan *fan, struct transaction_release *release);
