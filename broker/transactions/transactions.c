/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/transactions.h"

#include "broker/core.h"
#include "broker/server.h"
#include "broker/transactions/records.h"

#define SCRATCH_SIZE_MAX (64 * MIB)
#define FORGET_COUNT_MAX 256 /* tombstones of one sweep */

/* ---- the table ---- */

struct transactional_id *transactions_find(const struct transactions *transactions, struct bytes id)
{
    struct table_node *node =
        table_find(&transactions->ids, hash_bytes(id, transactions->ids.seed));
    while (node != NULL) {
        struct transactional_id *entry = CONTAINER_OF(node, struct transactional_id, by_id);
        if (bytes_equal(entry->id, id)) {
            return entry;
        }
        node = table_find_next(node);
    }
    return NULL;
}

struct transactional_id *transactions_make(struct transactions *transactions, struct bytes id)
{
    struct transactional_id *entry = transactions_find(transactions, id);
    if (entry != NULL) {
        return entry;
    }
    entry = heap_acquire(transactions->heap, sizeof(*entry));
    uint8_t *copy = heap_acquire(transactions->heap, id.size);
    if (entry == NULL || copy == NULL) {
        heap_release(transactions->heap, entry, sizeof(*entry));
        heap_release(transactions->heap, copy, id.size);
        return NULL;
    }
    memcpy(copy, id.data, id.size);
    entry->magic = TRANSACTIONAL_ID_MAGIC;
    entry->transactions = transactions;
    entry->id = bytes_of(copy, id.size);
    entry->serial = ++transactions->serial_next;
    entry->by_id.hash = hash_bytes(id, transactions->ids.seed);
    transaction_init(&entry->transaction);
    list_init(&entry->parked);
    table_insert(&transactions->ids, &entry->by_id);
    list_push_tail(&transactions->list, &entry->node);
    transactions->count++;
    return entry;
}

static void entry_close(struct transactional_id *entry)
{
    struct transactions *transactions = entry->transactions;
    struct heap *heap = transactions->heap;
    check_magic(entry, TRANSACTIONAL_ID_MAGIC);
    check(list_is_empty(&entry->parked));
    check(!entry->marking);
    check(entry->id_asker == NULL);
    timer_disarm(&transactions->shard->core->timers, &entry->retry);
    table_remove(&transactions->ids, &entry->by_id);
    list_remove(&entry->node);
    transactions->count--;
    partition_set_clear(&entry->partitions, heap);
    partition_set_clear(&entry->next_partitions, heap);
    heap_release(heap, (void *)(uintptr_t)entry->id.data, entry->id.size);
    entry->magic = 0;
    heap_release(heap, entry, sizeof(*entry));
}

/* Made for an init that came to nothing, or forgotten: nobody waits for it. */
static bool entry_is_idle(const struct transactional_id *entry)
{
    return transaction_is_unused(&entry->transaction) && list_is_empty(&entry->parked) &&
           entry->id_asker == NULL;
}

/* ---- the clock ---- */

static void sweep_arm(struct transactions *transactions)
{
    struct core *core = transactions->shard->core;
    uint64_t wait_ms = (uint64_t)core->server->config->transaction_abort_check_ms;
    timer_arm(&core->timers, &transactions->sweep_timer,
              ring_now_ns(core->ring) + wait_ms * 1000000);
}

/* True when it is time to look for ids to forget. */
static bool sweep_forgets(struct transactions *transactions)
{
    struct core *core = transactions->shard->core;
    uint64_t now_ns = ring_now_ns(core->ring);
    if (now_ns < transactions->forget_due_ns) {
        return false;
    }
    uint64_t wait_ms = (uint64_t)core->server->config->transaction_expiration_check_ms;
    transactions->forget_due_ns = now_ns + wait_ms * 1000000;
    return true;
}

static void sweep(struct timer *timer)
{
    struct transactions *transactions = CONTAINER_OF(timer, struct transactions, sweep_timer);
    struct core *core = transactions->shard->core;
    struct transaction_event event = {
        .now_ms = ring_wall_ms(core->ring),
        .fresh_id = -1,
        .timeout_ms = core->server->config->transactional_id_expiration_ms,
    };
    int32_t forget_count = sweep_forgets(transactions) ? FORGET_COUNT_MAX : 0;
    LIST_EACH (&transactions->list, node) {
        struct transactional_id *entry = LIST_ENTRY(node, struct transactional_id, node);
        if (entry_is_idle(entry)) {
            entry_close(entry);
            continue;
        }
        if (transaction_due_ms(&entry->transaction, event.timeout_ms) > event.now_ms) {
            continue;
        }
        bool open = entry->transaction.value.state == TRANSACTION_ONGOING;
        event.kind = open ? TRANSACTION_OVERDUE : TRANSACTION_FORGET;
        if (open || forget_count-- > 0) {
            transactional_id_step(entry, &event);
        }
    }
    sweep_arm(transactions);
}

/* ---- the machine ---- */

static enum status machine_open(struct shard *shard)
{
    struct core *core = shard->core;
    struct transactions *transactions = heap_acquire(&core->heap, sizeof(*transactions));
    if (transactions == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* Whoever was admitted before the topic was deleted and made anew must not be taken for one of
     * the entries that follow. */
    *transactions = (struct transactions){
        .shard = shard, .heap = &core->heap, .serial_next = random_u64(&core->random)};
    if (!table_init(&transactions->ids, &core->heap, random_u64(&core->random))) {
        heap_release(&core->heap, transactions, sizeof(*transactions));
        return STATUS_NO_MEMORY;
    }
    list_init(&transactions->list);
    arena_init(&transactions->scratch, core->pages, SCRATCH_SIZE_MAX);
    transactions->sweep_timer.fire = sweep;
    shard->machine = transactions;
    return STATUS_OK;
}

static void say_damage(const struct shard *shard, const struct shard_origin *origin)
{
    diag_line(&shard->core->diag, DIAG_ERROR, "broker/transactions", "record skipped",
              "partition=%s offset=%lld remedy=\"a transactional id may be missing: its producer "
              "starts anew with the next init\"",
              partition_name(shard->partition), (long long)origin->offset);
}

static enum status replay_value(struct transactions *transactions, struct bytes id,
                                const struct transaction_value *value,
                                struct partition_set *partitions)
{
    struct transaction probe;
    bool mark;
    enum status status = transaction_load(&probe, value, &mark);
    if (status != STATUS_OK) {
        partition_set_clear(partitions, transactions->heap);
        return status;
    }
    struct transactional_id *entry = transactions_make(transactions, id);
    if (entry == NULL) {
        partition_set_clear(partitions, transactions->heap);
        return STATUS_NO_MEMORY;
    }
    partition_set_clear(&entry->partitions, transactions->heap);
    entry->partitions = *partitions;
    entry->transaction = probe;
    entry->mark_due = mark;
    entry->again = mark;
    return STATUS_OK;
}

static enum status machine_replay(struct shard *shard, const struct shard_record *record,
                                  const struct shard_origin *origin)
{
    struct transactions *transactions = transactions_of(shard);
    struct partition_set partitions = {0};
    struct transaction_value value;
    struct bytes id;
    bool tombstone;
    enum status status = transaction_record_decode(
        record, &transactions->scratch, transactions->heap, &id, &value, &partitions, &tombstone);
    if (status == STATUS_OK && !tombstone) {
        status = replay_value(transactions, id, &value, &partitions);
    } else if (status == STATUS_OK) {
        struct transactional_id *entry = transactions_find(transactions, id);
        if (entry != NULL) {
            entry_close(entry);
        }
    }
    arena_reset(&transactions->scratch);
    if (status == STATUS_CORRUPT_MESSAGE) {
        say_damage(shard, origin);
        return STATUS_OK;
    }
    return status;
}

static void machine_loaded(struct shard *shard)
{
    struct transactions *transactions = transactions_of(shard);
    LIST_EACH (&transactions->list, node) {
        transactional_id_mark(LIST_ENTRY(node, struct transactional_id, node));
    }
    sweep_arm(transactions);
}

static void machine_stop(struct shard *shard, enum status status)
{
    struct transactions *transactions = transactions_of(shard);
    transactions->stopping = true;
    timer_disarm(&shard->core->timers, &transactions->sweep_timer);
    LIST_EACH (&transactions->list, node) {
        transactional_id_stop(LIST_ENTRY(node, struct transactional_id, node), status);
    }
}

static void machine_close(struct shard *shard)
{
    struct transactions *transactions = transactions_of(shard);
    LIST_EACH (&transactions->list, node) {
        entry_close(LIST_ENTRY(node, struct transactional_id, node));
    }
    check(transactions->count == 0);
    timer_disarm(&shard->core->timers, &transactions->sweep_timer);
    arena_reset(&transactions->scratch);
    table_deinit(&transactions->ids);
    heap_release(transactions->heap, transactions, sizeof(*transactions));
}

const struct coordinator_machine transactions_machine = {
    .topic = "__transaction_state",
    .open = machine_open,
    .replay = machine_replay,
    .loaded = machine_loaded,
    .stop = machine_stop,
    .close = machine_close,
};
