/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transactional id: which producer may write under it, and what became of its transaction
 * (KIP-98, KIP-360, KIP-890). Pure: no I/O, no clock, no memory; the set of partitions is the
 * caller's, who is told what to do with it.
 *
 *   transaction_step(transaction, event, output)
 *
 * A change is proposed first: `next` is what the caller has to make durable, and everything that
 * comes meanwhile is told CONCURRENT_TRANSACTIONS. PERSISTED makes it current and yields the
 * answer, REFUSED takes it back.
 *
 *   state                  event                          next
 *   Empty, Complete*       init                           Empty, epoch up (used up: new id, epoch
 * 0) add                            Ongoing end abort, version 2           PrepareAbort, nothing to
 * mark forget                         Dead, a tombstone Ongoing                add Ongoing end
 * PrepareCommit, PrepareAbort init, overdue                  PrepareAbort, epoch up: a fence
 *   PrepareCommit          marked                         CompleteCommit
 *   PrepareAbort           marked                         CompleteAbort
 *
 * PrepareEpochFence is Kafka's name for the moment before a fence is durable. It is never written,
 * so it is read as damage; a fence here is a PrepareAbort whose epoch nobody was ever given.
 *
 * T1  Nothing is answered OK, and no marker is asked for, before the value that says so is durable.
 * T2  One value is under way at a time.
 * T3  The pair (producer id, epoch) never comes back: under an id the epoch never falls, and an id
 *     that was left is never current again.
 * T4  A decision is final: PrepareCommit is followed by CompleteCommit, PrepareAbort by
 *     CompleteAbort, and by nothing else.
 * T5  A change is taken from the current pair alone, except a retry, which changes nothing but the
 *     time: the same end under the pair before the bump, the same init under the last pair.
 * T6  Version 2: an end raises the epoch before it is answered, and markers carry the raised one.
 *     So a late write or end of the old transaction finds a newer epoch everywhere.
 * T7  A producer is never given epoch 32767: there is always one left to fence with.
 * T8  Partitions are held in Ongoing and Prepare* only, and leave when the Complete is durable.
 * T9  A fence raises the epoch past every epoch that a producer was given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "wire/status.h"

/* Numbers as in the log. */
enum transaction_state {
    TRANSACTION_EMPTY = 0,
    TRANSACTION_ONGOING = 1,
    TRANSACTION_PREPARE_COMMIT = 2,
    TRANSACTION_PREPARE_ABORT = 3,
    TRANSACTION_COMPLETE_COMMIT = 4,
    TRANSACTION_COMPLETE_ABORT = 5,
    TRANSACTION_DEAD = 6,
    TRANSACTION_PREPARE_EPOCH_FENCE = 7,
    TRANSACTION_STATES,
};

#define TRANSACTION_EPOCH_LAST 32766 /* given to producers at most; see T7 */
#define TRANSACTION_VERSION_BUMPS 2  /* KIP-890: from here every end raises the epoch */

/* What the log holds of an id, beside the partitions. */
struct transaction_value {
    int64_t producer_id;          /* -1: no producer was ever initialised */
    int64_t previous_producer_id; /* of the value before this one, -1 none */
    int64_t next_producer_id;     /* becomes current at Complete, with epoch 0; -1 none */
    int64_t start_ms;             /* of the transaction, -1 none */
    int64_t update_ms;
    int32_t timeout_ms;
    int16_t epoch;      /* -1 with producer id -1 */
    int16_t last_epoch; /* before the last bump that a retry may repeat, -1 none; not in the log */
    int16_t client_version; /* the client's transaction version, 0 to 2 */
    enum transaction_state state;
};

struct transaction {
    struct transaction_value value; /* durable */
    struct transaction_value next;  /* under way, when `pending` */
    bool pending;
    enum status pending_status; /* answered once `next` is durable */
};

enum transaction_event_kind {
    TRANSACTION_INIT,      /* timeout_ms, fresh_id, the expected pair */
    TRANSACTION_ADD,       /* the pair, version, known */
    TRANSACTION_VERIFY,    /* the pair; known: every partition asked for is in the set */
    TRANSACTION_END,       /* the pair, version, commit, fresh_id */
    TRANSACTION_OVERDUE,   /* the timeout may have passed */
    TRANSACTION_MARKED,    /* every marker is durable; only in Prepare* */
    TRANSACTION_FORGET,    /* timeout_ms: age without use after which the id goes */
    TRANSACTION_PERSISTED, /* `next` is durable */
    TRANSACTION_REFUSED,   /* `next` could not be written; status */
};

struct transaction_event {
    enum transaction_event_kind kind;
    int64_t now_ms;
    int64_t producer_id; /* init: the pair that the producer had, -1 when it does not say */
    int16_t epoch;
    int16_t version; /* the client's transaction version */
    bool commit;
    bool known;       /* add, verify: every partition named is in the set already */
    int64_t fresh_id; /* a producer id never given to anybody, -1 when none was fetched */
    int64_t timeout_ms;
    enum status status;
};

/* What to do with the set of partitions once `next` is durable. */
enum transaction_partitions {
    TRANSACTION_KEEP,
    TRANSACTION_UNITE, /* with those of the event */
    TRANSACTION_CLEAR,
};

/* Several of these may be set at once. */
struct transaction_output {
    bool answer; /* to who asked, now or when `next` was proposed; overdue and marked ask nobody */
    enum status status;
    int64_t producer_id; /* of the answer, -1 unless OK */
    int16_t epoch;
    bool persist; /* write `next`, or a tombstone when it is Dead; then PERSISTED or REFUSED */
    enum transaction_partitions partitions; /* with `persist` */
    bool id_needed; /* nothing happened: the same event again, with a fresh id */
    bool mark;      /* write a marker to every partition, then MARKED */
    bool dead;      /* the tombstone is durable: let go of it */
};

/* An id that was never seen: Empty, without a producer. */
void transaction_init(struct transaction *transaction);
/*
 * Takes a value from the log; `mark` as in the output. CORRUPT_MESSAGE when no broker can have
 * written it: a state out of range, a negative id, epoch, time or timeout, PrepareEpochFence, Dead.
 */
enum status transaction_load(struct transaction *transaction, const struct transaction_value *value,
                             bool *mark);
/* MARKED outside of Prepare*, PERSISTED and REFUSED without `next` are our mistakes: check(). */
void transaction_step(struct transaction *transaction, const struct transaction_event *event,
                      struct transaction_output *output);

/* True when markers are being written: the outcome is decided. */
bool transaction_is_prepared(const struct transaction *transaction);
/* True for an id that was made for an init which then came to nothing. */
bool transaction_is_unused(const struct transaction *transaction);
/* Wall clock at which OVERDUE or FORGET may have something to do; INT64_MAX: never. */
int64_t transaction_due_ms(const struct transaction *transaction, int64_t expiration_ms);

/* Kafka's names: "Empty", "PrepareCommit". */
const char *transaction_state_name(enum transaction_state state);
/* TRANSACTION_STATES when there is no such name. */
enum transaction_state transaction_state_of_name(const char *name, size_t size);
