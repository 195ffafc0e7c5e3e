/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/slab.h"

#include "base/check.h"
#include "storage/commit.h"
#include "storage/partition_state.h"

static void slab_tail_ready(struct block_waiter *waiter)
{
    struct partition *partition = CONTAINER_OF(waiter, struct partition, tail_waiter);
    partition->loading_tail = false;
    partition_pump(partition);
    /* The pump took it, or has no use for it any more. */
    if (!partition->loading_tail && partition->tail_block != NULL) {
        struct block *block = partition->tail_block;
        partition->tail_block = NULL;
        block_unpin(block);
    }
}

static enum slab_verdict slab_verdict_of(const struct block *failed)
{
    return job_is_short(failed->error) ? SLAB_SHORT : SLAB_BROKEN;
}

/* Brings the partial last block of a rested partition back into the slab. */
static enum slab_verdict slab_take_tail(struct partition *partition, struct segment *segment,
                                        uint32_t number)
{
    struct store *store = partition->store;
    if (partition->loading_tail) {
        return SLAB_WAITS;
    }
    struct block *block = partition->tail_block;
    if (block == NULL || block->detached) {
        block = cache_find(store, segment, number);
    }
    if (block == NULL && partition->tail_block != NULL &&
        partition->tail_block->state == BLOCK_FAILED) {
        return slab_verdict_of(partition->tail_block);
    }
    if (block == NULL) {
        block = cache_load(store, segment, number);
        if (block == NULL) {
            commit_starve(partition);
            return SLAB_STARVED;
        }
    }
    if (block->state == BLOCK_FAILED) {
        return slab_verdict_of(block);
    }
    if (block->state == BLOCK_LOADING) {
        partition->loading_tail = true;
        if (partition->tail_block == NULL) {
            block_pin(block);
            partition->tail_block = block;
        }
        partition->tail_waiter.ready = slab_tail_ready;
        block_wait(block, &partition->tail_waiter);
        return SLAB_WAITS;
    }
    if (!block_take_back(block)) {
        commit_starve(partition);
        return SLAB_STARVED;
    }
    block->size = (uint32_t)(segment->size % BLOCK_SIZE);
    list_push_tail(&segment->slab, &block->node);
    return SLAB_COPIED;
}

static void slab_sum(struct segment *segment, const struct block *block)
{
    struct block_row *row = &segment->rows[block->number];
    row->sum = segment_sum(segment, block->number, block->memory, block->size);
    row->flags |= ROW_SUMMED;
}

enum slab_verdict slab_append(struct partition *partition, const uint8_t *data, size_t size,
                              size_t *copied)
{
    struct segment *segment = partition_active(partition);
    while (*copied < size) {
        uint32_t number = (uint32_t)(segment->size / BLOCK_SIZE);
        size_t within = (size_t)(segment->size % BLOCK_SIZE);
        struct list_node *node = list_last(&segment->slab);
        struct block *block = node == NULL ? NULL : LIST_ENTRY(node, struct block, node);
        if (block == NULL || block->number != number) {
            if (within != 0) {
                enum slab_verdict verdict = slab_take_tail(partition, segment, number);
                if (verdict != SLAB_COPIED) {
                    return verdict;
                }
                continue;
            }
            block = cache_add_slab(partition->store, segment, number);
            if (block == NULL) {
                commit_starve(partition);
                return SLAB_STARVED;
            }
            list_push_tail(&segment->slab, &block->node);
        }
        if (partition->frozen && within != 0) {
            return SLAB_WAITS;
        }
        check(block->size == within);
        size_t part = (size_t)BLOCK_SIZE - within;
        part = part > size - *copied ? size - *copied : part;
        memcpy(block->memory + within, data + *copied, part);
        segment->rows[number].flags &= ~ROW_SUMMED;
        block->size += (uint32_t)part;
        segment->size += (int64_t)part;
        *copied += part;
        if (block->size == BLOCK_SIZE) {
            slab_sum(segment, block); /* still in the CPU's cache; a write may be under way */
        }
        commit_mark_dirty(partition);
    }
    return SLAB_COPIED;
}

void slab_graduate(struct segment *segment, bool rest)
{
    for (;;) {
        struct list_node *node = list_first(&segment->slab);
        if (node == NULL) {
            return;
        }
        struct block *block = LIST_ENTRY(node, struct block, node);
        int64_t end = (int64_t)block->number * BLOCK_SIZE + block->size;
        if (end > segment->durable || (block->size < BLOCK_SIZE && !rest)) {
            return;
        }
        if ((segment->rows[block->number].flags & ROW_SUMMED) == 0) {
            slab_sum(segment, block);
        }
        list_remove(node);
        block_graduate(block);
    }
}

void slab_discard(struct segment *segment)
{
    for (;;) {
        struct list_node *node = list_pop_head(&segment->slab);
        if (node == NULL) {
            return;
        }
        struct block *block = LIST_ENTRY(node, struct block, node);
        struct store *store = block->store;
        if (!block->detached) {
            table_remove(&store->cache.table, &block->slot);
            block->detached = true;
        }
        if (block->pins == 0) {
            block_pin(block);
            block_unpin(block);
        }
    }
}
