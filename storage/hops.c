/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hops.h"

#include "base/check.h"
#include "storage/segment.h"
#include "storage/store_state.h"

enum status hops_bring(struct read_hops *hops, struct segment *segment, uint32_t number,
                       struct block_waiter *waiter)
{
    /* One that was brought before and failed left the table: it must not be read for ever. */
    for (uint32_t i = 0; i < READ_HOPS; i++) {
        struct block *block = hops->blocks[i];
        if (block != NULL && block->state == BLOCK_FAILED && block->number == number) {
            return block->fault;
        }
    }
    struct store *store = segment->store;
    struct block *block = cache_find(store, segment, number);
    if (block == NULL) {
        block = cache_load(store, segment, number);
    }
    if (block == NULL) {
        return STATUS_NO_MEMORY;
    }
    check(block->state == BLOCK_LOADING);
    struct block **slot = &hops->blocks[hops->next];
    hops->next = (hops->next + 1) % READ_HOPS;
    block_pin(block);
    if (*slot != NULL) {
        block_unpin(*slot);
    }
    *slot = block;
    block_wait(block, waiter);
    return STATUS_OK;
}

void hops_release(struct read_hops *hops)
{
    for (uint32_t i = 0; i < READ_HOPS; i++) {
        if (hops->blocks[i] != NULL) {
            block_unpin(hops->blocks[i]);
            hops->blocks[i] = NULL;
        }
    }
}
