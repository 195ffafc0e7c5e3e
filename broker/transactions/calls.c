/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to one transactional id: calls arrive, values become durable, markers go out. */
#include "broker/core.h"
#include "broker/planted.h"
#include "broker/transactions/records.h"
#include "broker/transactions/transactions.h"

#define PARK_NS UINT64_C(1000000000) /* X3 */
#define MARK_RETRY_NS UINT64_C(250000000)
#define ARENA_SIZE_MAX (64 * MIB)

static struct core *core_of(const struct transactional_id *entry)
{
    return entry->transactions->shard->core;
}

static bool is_settled(const struct transactional_id *entry)
{
    return !entry->transaction.pending && !transaction_is_prepared(&entry->transaction);
}

/* ---- answers, and waiting for what is ending (X3) ---- */

static void call_unpark(struct transaction_call *call)
{
    timer_disarm(&core_of(call->parked_at)->timers, &call->timer);
    list_remove(&call->node);
    call->parked_at = NULL;
    call->call.cancel = NULL;
}

static void call_give_up(struct transaction_call *call)
{
    call_unpark(call);
    coordinator_answer(&call->call, STATUS_CONCURRENT_TRANSACTIONS);
}

static void park_timeout(struct timer *timer)
{
    call_give_up(CONTAINER_OF(timer, struct transaction_call, timer));
}

static void park_cancel(struct coordinator_call *call)
{
    call_give_up(CONTAINER_OF(call, struct transaction_call, call));
}

static void call_park(struct transactional_id *entry, struct transaction_call *call)
{
    struct core *core = core_of(entry);
    if (call->park_until_ns == 0) {
        call->park_until_ns = ring_now_ns(core->ring) + PARK_NS;
    }
    call->parked_at = entry;
    list_push_tail(&entry->parked, &call->node);
    call->timer.fire = park_timeout;
    timer_arm(&core->timers, &call->timer, call->park_until_ns);
    call->call.cancel = park_cancel;
}

static bool call_may_park(const struct transactional_id *entry, const struct transaction_call *call)
{
    uint64_t now_ns = ring_now_ns(core_of(entry)->ring);
    return !entry->transactions->stopping &&
           (call->park_until_ns == 0 || now_ns < call->park_until_ns);
}

static void call_answer(struct transactional_id *entry, struct transaction_call *call,
                        const struct transaction_output *output)
{
    if (output->status == STATUS_CONCURRENT_TRANSACTIONS && !is_settled(entry) &&
        call_may_park(entry, call)) {
        call_park(entry, call);
        return;
    }
    if (output->status == STATUS_OK && call->admit) {
        entry->admitted++;
        call->serial = entry->serial;
    }
    call->producer_id = output->producer_id;
    call->epoch = output->epoch;
    coordinator_answer(&call->call, output->status);
}

/* ---- steps ---- */

static void call_step(struct transactional_id *entry, struct transaction_call *call);

static bool spot_is_known(const struct transactional_id *entry, const struct transaction_spot *spot)
{
    return partition_set_has(&entry->partitions, spot->topic, spot->index);
}

static bool spots_are_known(const struct transactional_id *entry,
                            const struct transaction_call *call)
{
    for (int32_t i = 0; i < call->spot_count; i++) {
        if (!spot_is_known(entry, &call->spots[i])) {
            return false;
        }
    }
    return true;
}

/* Those that waited go on in their order (X4); the first that proposes a change makes the others
 * wait again. */
static void entry_resume(struct transactional_id *entry)
{
    struct list waiting;
    list_init(&waiting);
    if (!is_settled(entry) || entry->id_asker != NULL) {
        return;
    }
    list_splice_tail(&waiting, &entry->parked);
    struct list_node *node;
    while ((node = list_first(&waiting)) != NULL) {
        struct transaction_call *call = LIST_ENTRY(node, struct transaction_call, node);
        call_unpark(call);
        call_step(entry, call);
    }
}

static void entry_take_partitions(struct transactional_id *entry)
{
    struct heap *heap = entry->transactions->heap;
    if (entry->change == TRANSACTION_UNITE) {
        partition_set_clear(&entry->partitions, heap);
        entry->partitions = entry->next_partitions;
        entry->next_partitions = (struct partition_set){0};
    } else if (entry->change == TRANSACTION_CLEAR) {
        partition_set_clear(&entry->partitions, heap);
    }
}

static void retry_fire(struct timer *timer)
{
    transactional_id_mark(CONTAINER_OF(timer, struct transactional_id, retry));
}

static void entry_retry(struct transactional_id *entry)
{
    struct core *core = core_of(entry);
    entry->mark_due = true;
    entry->again = true;
    entry->retry.fire = retry_fire;
    timer_arm(&core->timers, &entry->retry, ring_now_ns(core->ring) + MARK_RETRY_NS);
}

static void appended(struct shard_append *append)
{
    struct transactional_id *entry = append->owner;
    struct transaction_call *call = entry->asker;
    bool ok = append->status == STATUS_OK;
    const struct transaction_event event = {
        .kind = ok ? TRANSACTION_PERSISTED : TRANSACTION_REFUSED,
        .status = shard_client_status(append->status),
    };
    struct transaction_output output;
    transaction_step(&entry->transaction, &event, &output);
    entry->asker = NULL;
    if (ok) {
        entry_take_partitions(entry);
    }
    partition_set_clear(&entry->next_partitions, entry->transactions->heap);
    if (output.dead) {
        check(entry->admitted == 0);
        transaction_init(&entry->transaction); /* the sweep frees it, unless it is used again */
    }
    if (output.mark && !ok) {
        entry_retry(entry);
    } else if (output.mark) {
        entry->mark_due = true;
        entry->again = false;
    }
    if (call != NULL) {
        call_answer(entry, call, &output);
    }
    transactional_id_mark(entry);
    entry_resume(entry);
}

static enum status next_prepare(struct transactional_id *entry, const struct transaction_call *call)
{
    struct heap *heap = entry->transactions->heap;
    enum status status = partition_set_copy(&entry->next_partitions, &entry->partitions, heap);
    for (int32_t i = 0; i < call->spot_count && status == STATUS_OK; i++) {
        status = partition_set_add(&entry->next_partitions, heap, call->spots[i].topic,
                                   call->spots[i].index);
    }
    return status;
}

/* Writes `next`; appended() follows, possibly before this returns. */
static void entry_persist(struct transactional_id *entry, enum transaction_partitions change,
                          struct transaction_call *call)
{
    struct transactions *transactions = entry->transactions;
    const struct partition_set none = {0};
    entry->asker = call;
    entry->change = change;
    enum status status = change == TRANSACTION_UNITE ? next_prepare(entry, call) : STATUS_OK;
    const struct partition_set *set = change == TRANSACTION_UNITE  ? &entry->next_partitions
                                      : change == TRANSACTION_KEEP ? &entry->partitions
                                                                   : &none;
    struct arena arena;
    arena_init(&arena, core_of(entry)->pages, ARENA_SIZE_MAX);
    struct shard_record record;
    if (status == STATUS_OK) {
        status =
            transaction_record_encode(&arena, entry->id, &entry->transaction.next, set, &record);
    }
    entry->append = (struct shard_append){
        .records = &record,
        .record_count = 1,
        .done = appended,
        .owner = entry,
        .status = status,
    };
    if (status == STATUS_OK) {
        shard_append(transactions->shard, &entry->append);
    } else {
        appended(&entry->append);
    }
    arena_reset(&arena);
}

void transactional_id_step(struct transactional_id *entry, const struct transaction_event *event)
{
    struct transaction_output output;
    transaction_step(&entry->transaction, event, &output);
    if (output.persist) {
        entry_persist(entry, output.partitions, NULL);
    }
}

/* Each partition is judged alone: a batch for one that is in the transaction may go on. */
static void verify_step(struct transactional_id *entry, struct transaction_call *call,
                        struct transaction_event *event)
{
    struct transaction_output verdict = {.status = STATUS_TRANSACTION_ABORTABLE};
    for (int32_t i = 0; i < call->spot_count; i++) {
        struct transaction_output output;
        event->known = spot_is_known(entry, &call->spots[i]);
        transaction_step(&entry->transaction, event, &output);
        call->spots[i].status = output.status;
        if (output.status != STATUS_TRANSACTION_ABORTABLE) {
            verdict = output; /* OK for some of them, or the same refusal for all */
        }
    }
    call_answer(entry, call, &verdict);
}

static void id_ready(struct producer_ids_waiter *waiter)
{
    struct transactional_id *entry = CONTAINER_OF(waiter, struct transactional_id, id_waiter);
    struct shard *shard = entry->transactions->shard;
    struct transaction_call *call = entry->id_asker;
    entry->id_asker = NULL;
    enum status status = producer_ids_status(&shard->core->producer_ids);
    if (status != STATUS_OK || entry->transactions->stopping) {
        coordinator_answer(&call->call, STATUS_COORDINATOR_NOT_AVAILABLE);
    } else {
        call_step(entry, call);
    }
    entry_resume(entry);
    shard_unhold(shard);
}

static void id_fetch(struct transactional_id *entry, struct transaction_call *call)
{
    entry->id_asker = call;
    entry->id_waiter.ready = id_ready;
    shard_hold(entry->transactions->shard);
    producer_ids_wait(core_of(entry), &entry->id_waiter);
}

static void call_step(struct transactional_id *entry, struct transaction_call *call)
{
    struct core *core = core_of(entry);
    struct transaction_event event = call->event;
    struct transaction_output output;
    event.now_ms = ring_wall_ms(core->ring);
    event.fresh_id = -1;
    if (entry->id_asker != NULL) {
        call_park(entry, call);
        return;
    }
    if (event.kind == TRANSACTION_VERIFY) {
        verify_step(entry, call, &event);
        return;
    }
    event.known = event.kind == TRANSACTION_ADD && spots_are_known(entry, call);
    transaction_step(&entry->transaction, &event, &output);
    if (output.id_needed) {
        if (!producer_ids_take(&core->producer_ids, &event.fresh_id)) {
            id_fetch(entry, call);
            return;
        }
        transaction_step(&entry->transaction, &event, &output);
    }
    if (output.persist) {
        entry_persist(entry, output.partitions, call);
        return;
    }
    call_answer(entry, call, &output);
}

/* ---- markers ---- */

/* A partition that is gone needs no marker, and one that has seen a later epoch of the producer
 * was decided by whoever gave that epoch. */
static bool marker_is_settled(const struct marker_item *item)
{
    return item->status == STATUS_OK || item->status == STATUS_UNKNOWN_TOPIC_OR_PARTITION ||
           item->status == STATUS_INVALID_PRODUCER_EPOCH;
}

static bool markers_are_settled(const struct transactional_id *entry)
{
    const struct markers *markers = &entry->markers;
    for (int32_t i = 0; i < markers->count; i++) {
        const struct marker_item *item = &markers->items[i];
        if (marker_is_settled(item)) {
            continue;
        }
        char id[128];
        diag_line(&core_of(entry)->diag, DIAG_WARN, "broker/transactions", "marker not written",
                  "id=\"%s\" partition=%.*s-%d status=%s remedy=\"tried again until it is\"",
                  diag_escape(id, sizeof(id), entry->id.data, entry->id.size),
                  (int)item->topic.size, (const char *)item->topic.data, (int)item->index,
                  status_name(item->status));
        return false;
    }
    return true;
}

static void entry_marked(struct transactional_id *entry)
{
    entry->mark_due = false;
    const struct transaction_event event = {
        .kind = TRANSACTION_MARKED, .now_ms = ring_wall_ms(core_of(entry)->ring), .fresh_id = -1};
    transactional_id_step(entry, &event);
}

static void markers_done(struct markers *markers)
{
    struct transactional_id *entry = markers->owner;
    struct shard *shard = entry->transactions->shard;
    bool settled = markers_are_settled(entry);
    arena_reset(&entry->arena);
    entry->marking = false;
    if (entry->transactions->stopping) {
        entry->mark_due = false;
    } else if (settled) {
        entry_marked(entry);
    } else {
        entry_retry(entry);
    }
    shard_unhold(shard);
}

static void markers_fill(struct transactional_id *entry)
{
    const struct transaction_value *value = &entry->transaction.value;
    const struct shard_marker marker = {
        .producer_id = value->producer_id,
        .producer_epoch = value->epoch,
        .commit = value->state == TRANSACTION_PREPARE_COMMIT,
        .coordinator_epoch = partition_facts(entry->transactions->shard->partition).leader_epoch,
    };
    for (int32_t i = 0; i < entry->partitions.topic_count; i++) {
        const struct partition_set_topic *topic = &entry->partitions.topics[i];
        for (int32_t k = 0; k < topic->count; k++) {
            markers_add(&entry->markers, topic->name, topic->indexes[k], &marker, entry->again);
        }
    }
}

void transactional_id_mark(struct transactional_id *entry)
{
    struct core *core = core_of(entry);
    bool waits = entry->admitted > 0 && !PLANTED(MARKERS_EARLY); /* X2 */
    if (!entry->mark_due || entry->marking || waits || entry->retry.armed ||
        entry->transaction.pending || entry->transactions->stopping) {
        return;
    }
    if (entry->partitions.count == 0) {
        entry_marked(entry);
        return;
    }
    arena_init(&entry->arena, core->pages, ARENA_SIZE_MAX);
    if (markers_init(&entry->markers, core, &entry->arena, entry->partitions.count) != STATUS_OK) {
        arena_reset(&entry->arena);
        entry_retry(entry);
        return;
    }
    entry->marking = true;
    shard_hold(entry->transactions->shard);
    entry->markers.owner = entry;
    markers_fill(entry);
    markers_send(&entry->markers, markers_done);
}

/* ---- the door ---- */

void transactional_id_stop(struct transactional_id *entry, enum status status)
{
    timer_disarm(&core_of(entry)->timers, &entry->retry);
    struct list_node *node;
    while ((node = list_first(&entry->parked)) != NULL) {
        struct transaction_call *call = LIST_ENTRY(node, struct transaction_call, node);
        call_unpark(call);
        coordinator_answer(&call->call, status);
    }
}

static void call_run(struct coordinator_call *base)
{
    struct transaction_call *call = CONTAINER_OF(base, struct transaction_call, call);
    struct transactions *transactions = transactions_of(base->shard);
    struct transactional_id *entry = call->event.kind == TRANSACTION_INIT
                                         ? transactions_make(transactions, call->id)
                                         : transactions_find(transactions, call->id);
    if (entry != NULL) {
        call_step(entry, call);
        return;
    }
    enum status status = call->event.kind == TRANSACTION_INIT ? STATUS_COORDINATOR_NOT_AVAILABLE
                                                              : STATUS_INVALID_PRODUCER_ID_MAPPING;
    coordinator_answer(base, status);
}

void transaction_call_add(struct coordinator_fan *fan, struct transaction_call *call)
{
    call->producer_id = -1;
    call->epoch = -1;
    call->call.run = call_run;
    coordinator_fan_add(fan, &call->call, COORDINATOR_TRANSACTION, call->id);
}

static void release_run(struct coordinator_call *base)
{
    struct transaction_release *release = CONTAINER_OF(base, struct transaction_release, call);
    struct transactional_id *entry = transactions_find(transactions_of(base->shard), release->id);
    if (entry != NULL && entry->serial == release->serial) {
        check(entry->admitted > 0);
        entry->admitted--;
        transactional_id_mark(entry);
    }
    coordinator_answer(base, STATUS_OK);
}

void transaction_release_add(struct coordinator_fan *fan, struct transaction_release *release)
{
    release->call.run = release_run;
    coordinator_fan_add(fan, &release->call, COORDINATOR_TRANSACTION, release->id);
}
