/* SPDX-License-Identifier: Apache-2.0 */
/* Producer ids of one core, from blocks that the metadata log has durably set aside: no id is ever
 * given twice, also not after a crash. */
#pragma once

#include "base/list.h"
#include "topic/metadata.h"

struct core;

/* In the memory of whoever waits, until `ready` runs. */
struct producer_ids_waiter {
    struct list_node node;
    void (*ready)(struct producer_ids_waiter *waiter);
};

struct producer_ids {
    int64_t next;
    int64_t until;
    struct list waiters;
    struct change change;
    bool pending; /* a block is on its way */
};

void producer_ids_init(struct producer_ids *ids);
/* False: the block is used up; wait for the next one. */
[[nodiscard]] bool producer_ids_take(struct producer_ids *ids, int64_t *id);
/* Asks for a block unless one is on its way; waiter->ready runs when it is here or was refused. The
 * block may be used up again by then. */
void producer_ids_wait(struct core *core, struct producer_ids_waiter *waiter);
/* How the last block ended. */
enum status producer_ids_status(const struct producer_ids *ids);
