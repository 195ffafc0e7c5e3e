/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that header hops need, pinned while they are under way: a header may lie in two blocks,
 * and without pins a small cache could lose one while the other is read. */
#pragma once

#include "storage/cache.h"
#include "wire/status.h"

#define READ_HOPS 2

struct read_hops {
    struct block *blocks[READ_HOPS];
    uint32_t next; /* slot that is replaced next */
};

/* STATUS_OK: the waiter is called back; it then looks again. Anything else: it never is. */
enum status hops_bring(struct read_hops *hops, struct segment *segment, uint32_t number,
                       struct block_waiter *waiter);
void hops_release(struct read_hops *hops);
