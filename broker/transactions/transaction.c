/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/transaction.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "broker/planted.h"

static const char *const STATE_NAMES[TRANSACTION_STATES] = {
    [TRANSACTION_EMPTY] = "Empty",
    [TRANSACTION_ONGOING] = "Ongoing",
    [TRANSACTION_PREPARE_COMMIT] = "PrepareCommit",
    [TRANSACTION_PREPARE_ABORT] = "PrepareAbort",
    [TRANSACTION_COMPLETE_COMMIT] = "CompleteCommit",
    [TRANSACTION_COMPLETE_ABORT] = "CompleteAbort",
    [TRANSACTION_DEAD] = "Dead",
    [TRANSACTION_PREPARE_EPOCH_FENCE] = "PrepareEpochFence",
};

const char *transaction_state_name(enum transaction_state state)
{
    check(state < TRANSACTION_STATES);
    return STATE_NAMES[state];
}

enum transaction_state transaction_state_of_name(const char *name, size_t size)
{
    for (enum transaction_state state = 0; state < TRANSACTION_STATES; state++) {
        if (strlen(STATE_NAMES[state]) == size && memcmp(STATE_NAMES[state], name, size) == 0) {
            return state;
        }
    }
    return TRANSACTION_STATES;
}

void transaction_init(struct transaction *transaction)
{
    *transaction = (struct transaction){
        .value = {.producer_id = -1,
                  .previous_producer_id = -1,
                  .next_producer_id = -1,
                  .start_ms = -1,
                  .update_ms = -1,
                  .epoch = -1,
                  .last_epoch = -1,
                  .state = TRANSACTION_EMPTY},
    };
}

bool transaction_is_prepared(const struct transaction *transaction)
{
    return transaction->value.state == TRANSACTION_PREPARE_COMMIT ||
           transaction->value.state == TRANSACTION_PREPARE_ABORT;
}

bool transaction_is_unused(const struct transaction *transaction)
{
    return transaction->value.producer_id < 0 && !transaction->pending;
}

enum status transaction_load(struct transaction *transaction, const struct transaction_value *value,
                             bool *mark)
{
    if (value->state >= TRANSACTION_DEAD || value->producer_id < 0 || value->epoch < 0 ||
        value->start_ms < -1 || value->update_ms < -1 || value->timeout_ms < 0) {
        return STATUS_CORRUPT_MESSAGE;
    }
    *transaction = (struct transaction){.value = *value};
    *mark = transaction_is_prepared(transaction) && !PLANTED(PREPARED_LEFT);
    return STATUS_OK;
}

/* ---- what every event may do ---- */

static bool epoch_is_used_up(int16_t epoch)
{
    return epoch >= TRANSACTION_EPOCH_LAST;
}

static void answer(struct transaction_output *output, enum status status)
{
    output->answer = true;
    output->status = status;
}

static void answer_pair(struct transaction_output *output, const struct transaction_value *value)
{
    answer(output, STATUS_OK);
    bool rotates = value->next_producer_id >= 0;
    output->producer_id = rotates ? value->next_producer_id : value->producer_id;
    output->epoch = rotates ? 0 : value->epoch;
}

/* `next` begins as a copy of what is current. */
static struct transaction_value *propose(struct transaction *transaction,
                                         enum transaction_state state, int64_t now_ms)
{
    check(!transaction->pending);
    transaction->next = transaction->value;
    transaction->next.state = state;
    transaction->next.previous_producer_id = transaction->value.producer_id;
    if (now_ms > transaction->value.update_ms) { /* clocks step back, logs do not */
        transaction->next.update_ms = now_ms;
    }
    return &transaction->next;
}

static void persist(struct transaction *transaction, enum status status,
                    enum transaction_partitions partitions, struct transaction_output *output)
{
    check(transaction->next.state == TRANSACTION_DEAD || transaction->next.producer_id >= 0);
    transaction->pending = true;
    transaction->pending_status = status;
    output->persist = true;
    output->partitions = partitions;
}

/*
 * Ends the open transaction under an epoch that no producer has (T9). Version 2 raises it once for
 * the fence and once for the end, as Kafka does: one step above would look like the end that the
 * fenced producer asked for itself (T5).
 */
static void fence(struct transaction *transaction, int64_t now_ms, enum status status,
                  struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    int32_t epoch = value->epoch + (value->client_version >= TRANSACTION_VERSION_BUMPS ? 2 : 1);
    struct transaction_value *next = propose(transaction, TRANSACTION_PREPARE_ABORT, now_ms);
    next->epoch = (int16_t)(epoch > INT16_MAX ? INT16_MAX : epoch);
    next->last_epoch = -1;
    persist(transaction, status, TRANSACTION_KEEP, output);
}

/* ---- init ---- */

/* Whether the pair that the producer says it had entitles it to the next one (KIP-360). */
static bool init_is_entitled(const struct transaction_value *value,
                             const struct transaction_event *event)
{
    if (event->producer_id < 0 || value->epoch < 0) {
        return true; /* a new instance fences whoever was before; or nobody was */
    }
    if (value->state == TRANSACTION_ONGOING) {
        return event->producer_id == value->producer_id && event->epoch == value->epoch;
    }
    if (event->producer_id == value->producer_id) {
        return event->epoch == value->epoch ||
               (event->epoch >= 0 && event->epoch == value->last_epoch);
    }
    return event->producer_id == value->previous_producer_id && epoch_is_used_up(event->epoch) &&
           event->epoch == value->last_epoch;
}

static void init_next(struct transaction *transaction, const struct transaction_event *event,
                      struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    bool says = event->producer_id >= 0;
    bool first = value->epoch < 0;
    bool again = says && !first && event->epoch == value->last_epoch &&
                 !(event->epoch == value->epoch && event->producer_id == value->producer_id);
    bool rotates = first || (!again && epoch_is_used_up(value->epoch));
    if (rotates && event->fresh_id < 0) {
        output->id_needed = true;
        return;
    }
    struct transaction_value *next = propose(transaction, TRANSACTION_EMPTY, event->now_ms);
    if (rotates) {
        next->producer_id = event->fresh_id;
        next->epoch = 0;
    } else if (!again) {
        next->epoch = (int16_t)(value->epoch + 1);
    }
    if (!again) {
        next->last_epoch = says ? value->epoch : -1;
    }
    next->timeout_ms = (int32_t)event->timeout_ms;
    next->start_ms = -1;
    persist(transaction, STATUS_OK, TRANSACTION_CLEAR, output);
}

static void step_init(struct transaction *transaction, const struct transaction_event *event,
                      struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    if (transaction->pending) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else if (!init_is_entitled(value, event)) {
        answer(output, STATUS_PRODUCER_FENCED);
    } else if (transaction_is_prepared(transaction)) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else if (value->state == TRANSACTION_ONGOING) {
        fence(transaction, event->now_ms, STATUS_CONCURRENT_TRANSACTIONS, output);
    } else {
        init_next(transaction, event, output);
    }
}

/* ---- add, verify ---- */

/* STATUS_OK: the pair is current and nothing stands in the way. */
static enum status admit(const struct transaction *transaction,
                         const struct transaction_event *event)
{
    const struct transaction_value *value = &transaction->value;
    if (value->producer_id < 0 || event->producer_id != value->producer_id) {
        return STATUS_INVALID_PRODUCER_ID_MAPPING;
    }
    if (event->epoch != value->epoch || event->epoch > TRANSACTION_EPOCH_LAST) {
        return STATUS_PRODUCER_FENCED; /* T7: whoever names the last epoch has guessed it */
    }
    if (transaction->pending || transaction_is_prepared(transaction)) {
        return STATUS_CONCURRENT_TRANSACTIONS;
    }
    return STATUS_OK;
}

static void step_add(struct transaction *transaction, const struct transaction_event *event,
                     struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    enum status status = admit(transaction, event);
    bool open = value->state == TRANSACTION_ONGOING;
    if (status != STATUS_OK || (open && event->known)) {
        answer(output, status);
        return;
    }
    struct transaction_value *next = propose(transaction, TRANSACTION_ONGOING, event->now_ms);
    next->client_version = event->version;
    if (!open) {
        next->start_ms = event->now_ms;
    }
    persist(transaction, STATUS_OK, TRANSACTION_UNITE, output);
}

/* TRANSACTION_ABORTABLE: the producer is right, the partitions are not in its transaction. */
static void step_verify(const struct transaction *transaction,
                        const struct transaction_event *event, struct transaction_output *output)
{
    enum status status = admit(transaction, event);
    bool open = transaction->value.state == TRANSACTION_ONGOING;
    if (status == STATUS_OK && !(open && event->known)) {
        status = STATUS_TRANSACTION_ABORTABLE;
    }
    answer(output, status);
}

/* ---- end ---- */

static void end_next(struct transaction *transaction, const struct transaction_event *event,
                     struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    bool bumps = event->version >= TRANSACTION_VERSION_BUMPS;
    bool rotates = bumps && epoch_is_used_up(value->epoch);
    if (rotates && event->fresh_id < 0) {
        output->id_needed = true;
        return;
    }
    bool open = value->state == TRANSACTION_ONGOING;
    enum transaction_state state =
        event->commit ? TRANSACTION_PREPARE_COMMIT : TRANSACTION_PREPARE_ABORT;
    check(open || !event->commit);
    struct transaction_value *next = propose(transaction, state, event->now_ms);
    next->client_version = event->version;
    if (bumps) {
        next->last_epoch = value->epoch;
        next->epoch = (int16_t)(value->epoch + !PLANTED(EPOCH_KEPT));
    }
    if (rotates) {
        next->next_producer_id = event->fresh_id;
    }
    if (!open) {
        next->start_ms = event->now_ms;
    }
    persist(transaction, STATUS_OK, TRANSACTION_KEEP, output);
}

/* The decision as the log has it, against the one asked for. */
static bool end_agrees(const struct transaction_value *value, bool commit)
{
    return commit ? value->state == TRANSACTION_PREPARE_COMMIT ||
                        value->state == TRANSACTION_COMPLETE_COMMIT
                  : value->state == TRANSACTION_PREPARE_ABORT ||
                        value->state == TRANSACTION_COMPLETE_ABORT;
}

/* Version 0 and 1: the pair stays, so the same end again looks like the first one. */
static void step_end_classic(struct transaction *transaction, const struct transaction_event *event,
                             struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    if (value->producer_id < 0 || event->producer_id != value->producer_id) {
        answer(output, STATUS_INVALID_PRODUCER_ID_MAPPING);
    } else if (event->epoch != value->epoch || event->epoch > TRANSACTION_EPOCH_LAST) {
        answer(output, STATUS_PRODUCER_FENCED); /* T7 */
    } else if (transaction->pending) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else if (value->state == TRANSACTION_ONGOING) {
        end_next(transaction, event, output);
    } else if (!end_agrees(value, event->commit)) {
        answer(output, STATUS_INVALID_TXN_STATE);
    } else if (transaction_is_prepared(transaction)) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else {
        answer_pair(output, value);
    }
}

/* Version 2: the pair before the bump means the end that was asked for already (T5). A value that
 * rests at the last epoch is a fence's: nobody asked for that end. */
static bool end_is_again(const struct transaction_value *value,
                         const struct transaction_event *event)
{
    bool given = value->epoch <= TRANSACTION_EPOCH_LAST || value->next_producer_id >= 0;
    bool bumped =
        given && event->producer_id == value->producer_id && event->epoch + 1 == value->epoch;
    bool rotated = event->producer_id == value->previous_producer_id &&
                   event->epoch == TRANSACTION_EPOCH_LAST && value->epoch == 0;
    return bumped || rotated;
}

static void step_end_again(struct transaction *transaction, const struct transaction_event *event,
                           struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    if (transaction->pending) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else if (!end_agrees(value, event->commit)) {
        answer(output, STATUS_INVALID_TXN_STATE);
    } else if (transaction_is_prepared(transaction)) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else {
        answer_pair(output, value);
    }
}

static void step_end(struct transaction *transaction, const struct transaction_event *event,
                     struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    if (event->version < TRANSACTION_VERSION_BUMPS) {
        step_end_classic(transaction, event, output);
        return;
    }
    bool decided = transaction_is_prepared(transaction) ||
                   value->state == TRANSACTION_COMPLETE_COMMIT ||
                   value->state == TRANSACTION_COMPLETE_ABORT;
    if (value->producer_id >= 0 && decided && end_is_again(value, event)) {
        step_end_again(transaction, event, output);
    } else if (value->producer_id < 0 || event->producer_id != value->producer_id) {
        answer(output, STATUS_INVALID_PRODUCER_ID_MAPPING);
    } else if (event->epoch != value->epoch || event->epoch > TRANSACTION_EPOCH_LAST ||
               transaction_is_prepared(transaction)) {
        answer(output, STATUS_PRODUCER_FENCED); /* T7; nor was a Prepare's epoch given yet */
    } else if (transaction->pending) {
        answer(output, STATUS_CONCURRENT_TRANSACTIONS);
    } else if (value->state != TRANSACTION_ONGOING && event->commit) {
        answer(output, STATUS_INVALID_TXN_STATE);
    } else {
        end_next(transaction, event, output);
    }
}

/* ---- the coordinator's own ---- */

static void step_overdue(struct transaction *transaction, const struct transaction_event *event,
                         struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    if (!transaction->pending && value->state == TRANSACTION_ONGOING &&
        event->now_ms - value->start_ms >= value->timeout_ms) {
        fence(transaction, event->now_ms, STATUS_OK, output);
    }
}

/* T4, T8. The start stays: it says when the transaction that was completed had begun. */
static void step_marked(struct transaction *transaction, const struct transaction_event *event,
                        struct transaction_output *output)
{
    const struct transaction_value *value = &transaction->value;
    check(transaction_is_prepared(transaction));
    bool commit = value->state == TRANSACTION_PREPARE_COMMIT;
    struct transaction_value *next =
        propose(transaction, commit ? TRANSACTION_COMPLETE_COMMIT : TRANSACTION_COMPLETE_ABORT,
                event->now_ms);
    if (value->next_producer_id >= 0) {
        next->producer_id = value->next_producer_id;
        next->epoch = 0;
        next->next_producer_id = -1;
    }
    persist(transaction, STATUS_OK, TRANSACTION_CLEAR, output);
}

static bool may_be_forgotten(const struct transaction *transaction)
{
    return !transaction->pending && !transaction_is_prepared(transaction) &&
           transaction->value.state != TRANSACTION_ONGOING;
}

static void step_forget(struct transaction *transaction, const struct transaction_event *event,
                        struct transaction_output *output)
{
    if (may_be_forgotten(transaction) &&
        event->now_ms - transaction->value.update_ms >= event->timeout_ms) {
        (void)propose(transaction, TRANSACTION_DEAD, event->now_ms);
        persist(transaction, STATUS_OK, TRANSACTION_CLEAR, output);
    }
}

static void step_persisted(struct transaction *transaction, struct transaction_output *output)
{
    check(transaction->pending);
    transaction->pending = false;
    transaction->value = transaction->next;
    output->dead = transaction->value.state == TRANSACTION_DEAD;
    output->mark = transaction_is_prepared(transaction);
    if (transaction->pending_status == STATUS_OK) {
        answer_pair(output, &transaction->value);
    } else {
        answer(output, transaction->pending_status);
    }
}

static void step_refused(struct transaction *transaction, const struct transaction_event *event,
                         struct transaction_output *output)
{
    check(transaction->pending);
    check(event->status != STATUS_OK);
    transaction->pending = false;
    output->mark = transaction_is_prepared(transaction); /* the Complete is tried again */
    answer(output, event->status);
}

void transaction_step(struct transaction *transaction, const struct transaction_event *event,
                      struct transaction_output *output)
{
    *output = (struct transaction_output){.producer_id = -1, .epoch = -1};
    check(transaction->value.state != TRANSACTION_DEAD);
    switch (event->kind) {
    case TRANSACTION_INIT:
        step_init(transaction, event, output);
        return;
    case TRANSACTION_ADD:
        step_add(transaction, event, output);
        return;
    case TRANSACTION_VERIFY:
        step_verify(transaction, event, output);
        return;
    case TRANSACTION_END:
        step_end(transaction, event, output);
        return;
    case TRANSACTION_OVERDUE:
        step_overdue(transaction, event, output);
        return;
    case TRANSACTION_MARKED:
        step_marked(transaction, event, output);
        return;
    case TRANSACTION_FORGET:
        step_forget(transaction, event, output);
        return;
    case TRANSACTION_PERSISTED:
        step_persisted(transaction, output);
        return;
    case TRANSACTION_REFUSED:
        step_refused(transaction, event, output);
        return;
    }
    unreachable();
}

static int64_t later_ms(int64_t since_ms, int64_t wait_ms)
{
    return since_ms > INT64_MAX - wait_ms ? INT64_MAX : since_ms + wait_ms;
}

int64_t transaction_due_ms(const struct transaction *transaction, int64_t expiration_ms)
{
    const struct transaction_value *value = &transaction->value;
    if (transaction->pending || value->producer_id < 0) {
        return INT64_MAX;
    }
    if (value->state == TRANSACTION_ONGOING) {
        return later_ms(value->start_ms, value->timeout_ms);
    }
    return may_be_forgotten(transaction) ? later_ms(value->update_ms, expiration_ms) : INT64_MAX;
}
