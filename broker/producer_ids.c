/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/producer_ids.h"

#include "broker/core.h"
#include "broker/server.h"

void producer_ids_init(struct producer_ids *ids)
{
    *ids = (struct producer_ids){0};
    list_init(&ids->waiters);
}

bool producer_ids_take(struct producer_ids *ids, int64_t *id)
{
    if (ids->next == ids->until) {
        return false;
    }
    *id = ids->next++;
    return true;
}

enum status producer_ids_status(const struct producer_ids *ids)
{
    return ids->change.status;
}

static void block_done(struct change *change)
{
    struct producer_ids *ids = CONTAINER_OF(change, struct producer_ids, change);
    ids->pending = false;
    if (change->status == STATUS_OK) {
        ids->next = change->producer_id_first;
        ids->until = change->producer_id_first + PRODUCER_ID_BLOCK;
    }
    struct list ready; /* those that wait again are for the next block */
    list_init(&ready);
    list_splice_tail(&ready, &ids->waiters);
    struct list_node *node;
    while ((node = list_pop_head(&ready)) != NULL) {
        struct producer_ids_waiter *waiter = LIST_ENTRY(node, struct producer_ids_waiter, node);
        waiter->ready(waiter);
    }
}

void producer_ids_wait(struct core *core, struct producer_ids_waiter *waiter)
{
    struct producer_ids *ids = &core->producer_ids;
    list_push_tail(&ids->waiters, &waiter->node);
    if (ids->pending) {
        return;
    }
    ids->pending = true;
    ids->change = (struct change){.kind = CHANGE_PRODUCER_IDS, .done = block_done};
    metadata_submit(core->server->metadata, &core->server->peers, core->index, &ids->change);
}
