/* SPDX-License-Identifier: Apache-2.0 */
/* Producer ids of one core, from blocks that the metadata log has durably set aside: no id is ever
 * given twice, also not after a crash. */
#pragma once

#include "base/list.h"
#include "topic/metadata.h"

struct core;
struct request;

struct producer_ids {
    int64_t next;
    int64_t until;
    struct list waiters; /* requests, by run_node */
    struct change change;
    bool pending; /* a block is on its way */
};

void producer_ids_init(struct producer_ids *ids);
/* False: the block is used up; wait for the next one. */
[[nodiscard]] bool producer_ids_take(struct producer_ids *ids, int64_t *id);
/* Asks for a block unless one is on its way; wakes the request when it is here or was refused. */
void producer_ids_wait(struct core *core, struct request *request,
                       void (*resume)(struct request *request));
/* How the last block ended. */
enum status producer_ids_status(const struct producer_ids *ids);
