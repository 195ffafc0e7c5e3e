/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/cache.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/segment.h"
#include "storage/store_state.h"

static uint64_t block_hash(const struct store *store, uint64_t instance, uint32_t number)
{
    return hash_u64(instance << 20 ^ number, store->hash_seed);
}

bool cache_init(struct store *store)
{
    struct cache *cache = &store->cache;
    list_init(&cache->idle);
    cache->loading = 0;
    pool_init(&cache->blocks, store->heap, sizeof(struct block));
    return table_init(&cache->table, store->heap, store->hash_seed);
}

static void block_free(struct block *block)
{
    check(block->pins == 0);
    check(list_is_empty(&block->waiters));
    struct store *store = block->store;
    if (list_is_linked(&block->node)) {
        list_remove(&block->node);
    }
    if (!block->detached) {
        table_remove(&store->cache.table, &block->slot);
    }
    if (block->memory != NULL) {
        pages_release_run(store->pages, block->memory, BLOCK_SIZE, block->share);
    }
    pool_give(&store->cache.blocks, block);
}

static bool cache_evict_one(struct store *store)
{
    struct list_node *node = list_first(&store->cache.idle);
    if (node == NULL) {
        return false;
    }
    block_free(LIST_ENTRY(node, struct block, node));
    return true;
}

void cache_deinit(struct store *store)
{
    check(store->cache.loading == 0);
    while (cache_evict_one(store)) {
    }
    check(store->cache.table.count == 0);
    table_deinit(&store->cache.table);
    pool_deinit(&store->cache.blocks);
}

struct block *cache_find(struct store *store, const struct segment *segment, uint32_t number)
{
    struct cache *cache = &store->cache;
    uint64_t hash = block_hash(store, segment->instance, number);
    for (struct table_node *node = table_find(&cache->table, hash); node != NULL;
         node = table_find_next(node)) {
        struct block *block = CONTAINER_OF(node, struct block, slot);
        if (block->instance == segment->instance && block->number == number) {
            return block;
        }
    }
    return NULL;
}

uint8_t *cache_acquire_run(struct store *store, size_t size)
{
    for (;;) {
        uint8_t *run = pages_acquire_run(store->pages, size, PAGES_CACHE);
        if (run != NULL) {
            return run;
        }
        if (!cache_evict_one(store)) {
            store->shortage = true;
            return NULL;
        }
    }
}

void cache_release_run(struct store *store, uint8_t *run, size_t size)
{
    pages_release_run(store->pages, run, size, PAGES_CACHE);
}

static struct block *cache_add(struct store *store, struct segment *segment, uint32_t number)
{
    struct block *block = pool_take(&store->cache.blocks);
    if (block == NULL) {
        return NULL;
    }
    block->store = store;
    block->instance = segment->instance;
    block->number = number;
    list_init(&block->waiters);
    block->slot.hash = block_hash(store, segment->instance, number);
    table_insert(&store->cache.table, &block->slot);
    return block;
}

/* Once, where an append waits for the tail block and tries each second. */
static void block_tell(const struct block *block, int64_t size, int64_t error)
{
    const struct segment *segment = block->segment;
    const struct partition *partition = segment->partition;
    if (partition != NULL && partition->fileless && job_is_short(error)) {
        return;
    }
    diag_line(block->store->diag, DIAG_ERROR, "storage/cache", "block cannot be read",
              "partition=%s file=%020lld.log position=%lld size=%lld error=\"%s\" "
              "remedy=\"its readers are answered KAFKA_STORAGE_ERROR, and the next one tries "
              "again; see to the disk if it stays\"",
              partition == NULL ? "?" : partition->name, (long long)segment->base_offset,
              (long long)block->number * (long long)BLOCK_SIZE, (long long)size,
              strerrordesc_np((int)-error));
}

static void block_loaded(struct block *block, int64_t result)
{
    struct store *store = block->store;
    struct segment *segment = block->segment;
    int64_t start = (int64_t)block->number * BLOCK_SIZE;
    int64_t size = segment->durable - start;
    size = size > BLOCK_SIZE ? BLOCK_SIZE : size;
    check(size > 0);
    enum status fault = STATUS_OK;
    if (result < 0) {
        fault = STATUS_KAFKA_STORAGE_ERROR;
        store->counters.failures += 1;
        block_tell(block, size, result);
    } else {
        const struct block_row *row =
            block->number < segment->row_count ? &segment->rows[block->number] : NULL;
        bool whole = result >= size;
        if (!whole ||
            (row != NULL && (row->flags & ROW_SUMMED) != 0 && !PLANTED(BLOCK_UNCHECKED) &&
             segment_sum(segment, block->number, block->memory, (size_t)size) != row->sum)) {
            fault = STATUS_CORRUPT_MESSAGE;
            partition_note_rot(segment, block->number);
        }
    }
    block->size = (uint32_t)size;
    block->fault = fault;
    block->error = result < 0 ? result : 0;
    block->segment = NULL;
    store->cache.loading -= 1;
    if (fault == STATUS_OK) {
        block->state = BLOCK_CACHED;
    } else {
        block->state = BLOCK_FAILED;
        if (!block->detached) {
            block->detached = true;
            table_remove(&store->cache.table, &block->slot);
        }
    }
    /* Pinned by us, so that it outlives the waiters. */
    block->pins += 1;
    for (;;) {
        struct list_node *node = list_pop_head(&block->waiters);
        if (node == NULL) {
            break;
        }
        struct block_waiter *waiter = LIST_ENTRY(node, struct block_waiter, node);
        waiter->ready(waiter);
    }
    block_unpin(block);
    segment_drop(segment);
}

static void block_read_done(struct op *op)
{
    struct block *block = op->owner;
    file_unuse(block->store, block->segment);
    block_loaded(block, op->result);
}

static void block_read(struct block *block, int32_t descriptor)
{
    struct store *store = block->store;
    block->slice = (struct iovec){block->memory, BLOCK_SIZE};
    block->op = (struct op){.kind = OP_READ,
                            .file = descriptor,
                            .vector = &block->slice,
                            .vector_count = 1,
                            .position = (uint64_t)block->number * (uint64_t)BLOCK_SIZE,
                            .done = block_read_done,
                            .owner = block};
    store->counters.reads += 1;
    store->counters.read_size += (uint64_t)BLOCK_SIZE;
    ring_submit(store->ring, &block->op);
}

static void block_file_ready(struct file_user *user, int32_t result)
{
    struct block *block = CONTAINER_OF(user, struct block, user);
    if (result < 0) {
        block_loaded(block, result);
    } else {
        block_read(block, result);
    }
}

struct block *cache_load(struct store *store, struct segment *segment, uint32_t number)
{
    check((int64_t)number * BLOCK_SIZE < segment->durable);
    uint8_t *memory = cache_acquire_run(store, BLOCK_SIZE);
    if (memory == NULL) {
        return NULL;
    }
    struct block *block = cache_add(store, segment, number);
    if (block == NULL) {
        cache_release_run(store, memory, BLOCK_SIZE);
        return NULL;
    }
    block->state = BLOCK_LOADING;
    block->share = PAGES_CACHE;
    block->memory = memory;
    block->segment = segment;
    segment_hold(segment);
    store->cache.loading += 1;
    block->user.ready = block_file_ready;
    /* The caller has not pinned it yet: one that fails at once would be gone before it returns. */
    block_pin(block);
    int32_t descriptor = file_use(store, segment, &block->user);
    if (descriptor >= 0) {
        block_read(block, descriptor);
    } else if (descriptor != -EAGAIN) {
        block_loaded(block, descriptor);
    }
    bool failed = block->state == BLOCK_FAILED;
    block_unpin(block);
    return failed ? NULL : block;
}

void block_wait(struct block *block, struct block_waiter *waiter)
{
    check(block->state == BLOCK_LOADING && block->pins > 0);
    list_push_tail(&block->waiters, &waiter->node);
}

void block_pin(struct block *block)
{
    if (block->pins == 0 && block->state == BLOCK_CACHED && list_is_linked(&block->node)) {
        list_remove(&block->node);
    }
    block->pins += 1;
}

/* What becomes of a block that nobody uses: kept when it is charged to the cache. */
static void block_settle(struct block *block)
{
    if (block->state == BLOCK_SLAB || block->state == BLOCK_LOADING) {
        if (block->detached && block->state == BLOCK_SLAB) {
            block_free(block);
        }
        return;
    }
    struct store *store = block->store;
    if (block->state == BLOCK_FAILED || block->detached) {
        block_free(block);
        return;
    }
    while (block->share == PAGES_SLAB) {
        if (pages_move_run(store->pages, BLOCK_SIZE, PAGES_SLAB, PAGES_CACHE)) {
            block->share = PAGES_CACHE;
        } else if (!cache_evict_one(store)) {
            block_free(block);
            return;
        }
    }
    list_push_tail(&store->cache.idle, &block->node);
}

void block_unpin(struct block *block)
{
    check(block->pins > 0);
    block->pins -= 1;
    if (block->pins == 0) {
        block_settle(block);
    }
}

struct block *cache_add_slab(struct store *store, struct segment *segment, uint32_t number)
{
    uint8_t *memory = pages_acquire_run(store->pages, BLOCK_SIZE, PAGES_SLAB);
    if (memory == NULL) {
        return NULL;
    }
    struct block *block = cache_add(store, segment, number);
    if (block == NULL) {
        pages_release_run(store->pages, memory, BLOCK_SIZE, PAGES_SLAB);
        return NULL;
    }
    block->state = BLOCK_SLAB;
    block->share = PAGES_SLAB;
    block->memory = memory;
    return block;
}

bool block_take_back(struct block *block)
{
    check(block->state == BLOCK_CACHED && !block->detached);
    if (block->share != PAGES_SLAB) {
        if (!pages_move_run(block->store->pages, BLOCK_SIZE, PAGES_CACHE, PAGES_SLAB)) {
            return false;
        }
        block->share = PAGES_SLAB;
    }
    if (list_is_linked(&block->node)) {
        list_remove(&block->node);
    }
    block->state = BLOCK_SLAB;
    return true;
}

void block_graduate(struct block *block)
{
    check(block->state == BLOCK_SLAB && !list_is_linked(&block->node));
    block->state = BLOCK_CACHED;
    if (block->pins == 0) {
        block_settle(block);
    }
}

void cache_forget(struct store *store, const struct segment *segment)
{
    int64_t until = segment->size > segment->durable ? segment->size : segment->durable;
    for (int64_t start = 0; start < until; start += BLOCK_SIZE) {
        struct block *block = cache_find(store, segment, (uint32_t)(start / BLOCK_SIZE));
        if (block == NULL) {
            continue;
        }
        table_remove(&store->cache.table, &block->slot);
        block->detached = true;
        if (block->pins == 0 && block->state != BLOCK_LOADING) {
            block_free(block);
        } else if (list_is_linked(&block->node)) {
            list_remove(&block->node);
        }
    }
}
