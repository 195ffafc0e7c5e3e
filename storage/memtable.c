/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/memtable.h"

#include "base/check.h"
#include "base/hash.h"
#include "storage/memtable_state.h"

/* ---- locks ---- */

void memtable_lock(struct memtable *memtable)
{
    if (memtable->options.locks != MEMTABLE_LOCKS_NONE) {
        check(pthread_mutex_lock(&memtable->lock) == 0);
    }
}

void memtable_unlock(struct memtable *memtable)
{
    if (memtable->options.locks != MEMTABLE_LOCKS_NONE) {
        check(pthread_mutex_unlock(&memtable->lock) == 0);
    }
}

static uint64_t now_ns(const struct memtable *memtable)
{
    return memtable->options.now_ns(memtable->options.clock);
}

static bool shard_trylock(const struct memtable_shard *shard)
{
    return shard->guard == NULL || pthread_mutex_trylock(shard->guard) == 0;
}

void shard_lock(struct memtable *memtable, struct memtable_shard *shard)
{
    if (shard_trylock(shard)) {
        return;
    }
    uint64_t begin_ns = shard->latencies == NULL ? 0 : now_ns(memtable);
    check(pthread_mutex_lock(shard->guard) == 0);
    counter_add(&shard->contention, 1);
    if (shard->latencies != NULL) {
        histogram_add(&shard->latencies->wait, now_ns(memtable) - begin_ns);
    }
}

void shard_unlock(struct memtable_shard *shard)
{
    if (shard->guard != NULL) {
        check(pthread_mutex_unlock(shard->guard) == 0);
    }
}

/* ---- open, close ---- */

static bool half_open(struct memtable *memtable, struct memtable_half *half)
{
    const struct memtable_options *options = &memtable->options;
    check(half->map.slots.count == 0);
    check(half->bloom_block == NULL);
    half->live = 0;
    if (options->bloom_rate <= 0) {
        return true;
    }
    uint64_t count = options->bloom_count / memtable->shard_count + 1;
    uint64_t size = bloom_size(count, options->bloom_rate);
    half->bloom_block = supply_acquire(&memtable->supply, size + CACHE_LINE);
    if (half->bloom_block == NULL) {
        return false;
    }
    uintptr_t aligned = ((uintptr_t)half->bloom_block + CACHE_LINE - 1) & ~(uintptr_t)63;
    bloom_init(&half->bloom, (uint8_t *)aligned, size, options->hash_seed);
    return true;
}

static uint64_t half_bloom_size(const struct memtable_half *half)
{
    return half->bloom_block == NULL
               ? 0
               : BLOOM_HEADER_SIZE + half->bloom.block_count * BLOOM_BLOCK_SIZE + CACHE_LINE;
}

static void half_close(struct memtable *memtable, struct memtable_half *half)
{
    key_map_deinit(&half->map);
    supply_release(&memtable->supply, half->bloom_block, half_bloom_size(half));
    half->bloom_block = NULL;
    half->live = 0;
}

static void shard_count_up(struct memtable_shard *shard)
{
    const struct memtable_half *first = &shard->halves[0];
    const struct memtable_half *second = &shard->halves[1];
    uint64_t filters = half_bloom_size(first) + half_bloom_size(second);
    counter_set(&shard->count, first->live + second->live);
    counter_set(&shard->size, first->map.size + second->map.size + filters);
    counter_set(&shard->filters, filters);
}

/* 16 KiB of histograms: one set where one lock, or none, guards all shards. */
static bool shard_owns_latencies(const struct memtable *memtable,
                                 const struct memtable_shard *shard)
{
    return memtable->options.locks == MEMTABLE_LOCKS_SHARDS || shard == memtable->shards;
}

static bool shard_open(struct memtable *memtable, struct memtable_shard *shard)
{
    const struct memtable_options *options = &memtable->options;
    check(pthread_mutex_init(&shard->lock, NULL) == 0);
    shard->guard = options->locks == MEMTABLE_LOCKS_NONE  ? NULL
                   : options->locks == MEMTABLE_LOCKS_ONE ? &memtable->shards[0].lock
                                                          : &shard->lock;
    key_map_init(&shard->halves[0].map, &memtable->generations[0].blocks);
    key_map_init(&shard->halves[1].map, &memtable->generations[1].blocks);
    bool opened = half_open(memtable, &shard->halves[0]);
    shard_count_up(shard);
    if (options->now_ns == NULL) {
        return opened;
    }
    shard->latencies = shard_owns_latencies(memtable, shard)
                           ? supply_acquire_beside(&memtable->supply, sizeof(*shard->latencies))
                           : memtable->shards[0].latencies;
    return opened && shard->latencies != NULL;
}

static void generation_open(struct memtable *memtable, struct memtable_generation *generation)
{
    key_blocks_init(&generation->blocks, &memtable->supply);
    keytree_init(&generation->tree, &generation->blocks);
}

static void generation_clear(struct memtable_generation *generation)
{
    keytree_clear(&generation->tree);
    key_blocks_clear(&generation->blocks);
}

static void generation_close(struct memtable_generation *generation)
{
    keytree_deinit(&generation->tree);
    key_blocks_deinit(&generation->blocks);
}

struct memtable *memtable_open(const struct memtable_options *options)
{
    check(options->shard_count > 0);
    check(options->shard_count <= MEMTABLE_SHARDS_MAX);
    size_t size = sizeof(struct memtable) + options->shard_count * sizeof(struct memtable_shard);
    void *block = heap_acquire(options->heap, size + CACHE_LINE);
    if (block == NULL) {
        return NULL;
    }
    uintptr_t aligned = ((uintptr_t)block + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1);
    struct memtable *memtable = (struct memtable *)aligned;
    memtable->magic = MEMTABLE_MAGIC;
    memtable->block = block;
    memtable->block_size = size + CACHE_LINE;
    memtable->options = *options;
    memtable->shard_count = options->shard_count;
    check(pthread_mutex_init(&memtable->lock, NULL) == 0);
    supply_init(&memtable->supply, options->heap, options->size_max,
                options->locks != MEMTABLE_LOCKS_NONE);
    generation_open(memtable, &memtable->generations[0]);
    generation_open(memtable, &memtable->generations[1]);
    bool opened = true;
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        opened = shard_open(memtable, &memtable->shards[i]) && opened;
    }
    if (!opened) {
        memtable_close(memtable);
        return NULL;
    }
    return memtable;
}

void memtable_close(struct memtable *memtable)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    check(memtable->scan_counts[0] + memtable->scan_counts[1] == 0);
    struct heap *heap = memtable->options.heap;
    memtable_scan_dispose(memtable);
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        half_close(memtable, &shard->halves[0]);
        half_close(memtable, &shard->halves[1]);
        if (shard_owns_latencies(memtable, shard)) {
            supply_release_beside(&memtable->supply, shard->latencies, sizeof(*shard->latencies));
        }
        check(pthread_mutex_destroy(&shard->lock) == 0);
    }
    generation_close(&memtable->generations[0]);
    generation_close(&memtable->generations[1]);
    supply_deinit(&memtable->supply);
    check(pthread_mutex_destroy(&memtable->lock) == 0);
    memtable->magic = 0;
    heap_release(heap, memtable->block, memtable->block_size);
}

/* ---- one key ---- */

/* By the upper bits, any number of shards; the slots take the lowest. */
static uint32_t shard_index(const struct memtable *memtable, uint64_t hash)
{
    return (uint32_t)(((unsigned __int128)hash * memtable->shard_count) >> 64);
}

static struct memtable_shard *shard_of(struct memtable *memtable, uint64_t hash)
{
    return &memtable->shards[shard_index(memtable, hash)];
}

/* When timed: the time an operation began, before its lock. */
static uint64_t sample_begin(const struct memtable *memtable, const struct memtable_shard *shard,
                             const _Atomic uint64_t *ops)
{
    uint32_t one_in = memtable->options.sample_one_in;
    if (shard->latencies == NULL || one_in == 0 || counter_get(ops) % one_in != 0) {
        return 0;
    }
    return now_ns(memtable);
}

/* T2: the shard takes up the generation of the last snapshot. Its lock is held. */
static void shard_turn(struct memtable_shard *shard, uint64_t generation)
{
    if (shard->generation != generation) {
        check(shard->generation + 1 == generation);
        check(!shard->frozen);
        check(shard_other(shard)->map.slots.count == 0);
        shard->generation = generation;
        shard->frozen = true;
    }
}

static const struct key_entry no_entry = {.offset = INT64_MIN, .flags = KEY_REMOVED};

/* The record of a key that the shard's half does not have. NULL: no memory. Scans see it from the
 * moment it is in the tree, removed until it is written. */
static struct key_record *shard_make(struct memtable *memtable, struct memtable_shard *shard,
                                     struct bytes key, uint64_t hash)
{
    struct memtable_half *half = shard_active(shard);
    struct memtable_generation *generation = &memtable->generations[shard->generation & 1];
    struct keytree_place place;
    (void)keytree_approach(&generation->tree, key, &place);
    uint32_t handle = key_map_make(&half->map, key);
    if (handle == 0) {
        return NULL;
    }
    struct key_record *record = key_blocks_record(&generation->blocks, handle);
    key_record_write(record, &no_entry);
    if (keytree_insert(&generation->tree, handle, &place) != STATUS_OK) {
        return NULL;
    }
    key_map_add(&half->map, hash, handle);
    if (half->bloom_block != NULL) {
        bloom_add(&half->bloom, hash);
    }
    return record;
}

static enum status shard_put(struct memtable *memtable, struct memtable_shard *shard,
                             const struct key_item *item, uint64_t hash)
{
    shard_turn(shard, atomic_load(&memtable->generation));
    struct memtable_half *half = shard_active(shard);
    struct key_record *record = key_map_find(&half->map, item->key, hash);
    bool counts = record == NULL;
    if (record == NULL) {
        record = shard_make(memtable, shard, item->key, hash);
    }
    if (record != NULL && item->entry.offset >= key_record_offset(record)) { /* T1 */
        uint64_t before = (key_record_flags(record) & KEY_REMOVED) == 0;
        uint64_t after = (item->entry.flags & KEY_REMOVED) == 0;
        key_record_write(record, &item->entry);
        half->live += after - before;
        counts = counts || after != before;
    }
    if (counts) {
        shard_count_up(shard);
    }
    return record == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

enum status memtable_put(struct memtable *memtable, const struct key_item *items, uint32_t count,
                         uint32_t *taken)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    for (*taken = 0; *taken < count; *taken += 1) {
        const struct key_item *item = &items[*taken];
        uint64_t hash = hash_bytes(item->key, memtable->options.hash_seed);
        struct memtable_shard *shard = shard_of(memtable, hash);
        uint64_t begin_ns = sample_begin(memtable, shard, &shard->write_ops);
        shard_lock(memtable, shard);
        enum status status = shard_put(memtable, shard, item, hash);
        counter_add(&shard->write_ops, 1);
        if (begin_ns != 0) {
            histogram_add(&shard->latencies->write, now_ns(memtable) - begin_ns);
        }
        shard_unlock(shard);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static struct key_record *half_find(const struct memtable_half *half, struct bytes key,
                                    uint64_t hash)
{
    if (half->bloom_block != NULL && !bloom_has(&half->bloom, hash)) {
        return NULL;
    }
    return key_map_find(&half->map, key, hash);
}

/* The newest of both halves; NULL: there is none, or it is removed. */
static struct key_record *shard_find(struct memtable_shard *shard, struct bytes key, uint64_t hash)
{
    struct key_record *record = half_find(shard_active(shard), key, hash);
    if (shard->frozen) {
        struct key_record *older = half_find(shard_other(shard), key, hash);
        if (record == NULL ||
            (older != NULL && key_record_offset(older) > key_record_offset(record))) {
            record = older;
        }
    }
    return record != NULL && (key_record_flags(record) & KEY_REMOVED) != 0 ? NULL : record;
}

bool memtable_get(struct memtable *memtable, struct bytes key, struct key_entry *entry)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
    struct memtable_shard *shard = shard_of(memtable, hash);
    uint64_t begin_ns = sample_begin(memtable, shard, &shard->read_ops);
    shard_lock(memtable, shard);
    const struct key_record *record = shard_find(shard, key, hash);
    if (record != NULL) {
        check(key_record_read(record, entry)); /* R1: the lock is held */
    }
    counter_add(&shard->read_ops, 1);
    if (begin_ns != 0) {
        histogram_add(&shard->latencies->read, now_ns(memtable) - begin_ns);
    }
    shard_unlock(shard);
    return record != NULL;
}

struct key_entry memtable_entry(struct memtable *memtable, const struct key_record *record)
{
    struct key_entry entry;
    if (!key_record_read(record, &entry)) {
        struct bytes key = key_record_key(record);
        uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
        struct memtable_shard *shard = shard_of(memtable, hash);
        shard_lock(memtable, shard);
        check(key_record_read(record, &entry));
        shard_unlock(shard);
    }
    return entry;
}

enum status memtable_remove(struct memtable *memtable, struct bytes key, int64_t offset)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
    struct memtable_shard *shard = shard_of(memtable, hash);
    uint64_t begin_ns = sample_begin(memtable, shard, &shard->write_ops);
    shard_lock(memtable, shard);
    enum status status = STATUS_OK;
    const struct key_record *record = shard_find(shard, key, hash);
    if (record != NULL && key_record_offset(record) <= offset) {
        struct key_item mark = {key, {.offset = offset, .flags = KEY_REMOVED}};
        status = shard_put(memtable, shard, &mark, hash);
    }
    counter_add(&shard->write_ops, 1);
    if (begin_ns != 0) {
        histogram_add(&shard->latencies->write, now_ns(memtable) - begin_ns);
    }
    shard_unlock(shard);
    return status;
}

/* ---- snapshot ---- */

static struct key_blocks *shard_other_blocks(struct memtable *memtable,
                                             const struct memtable_shard *shard)
{
    return &memtable->generations[~shard->generation & 1].blocks;
}

/* Empties the half that takes no puts. What it held goes after the lock. */
static void shard_clear_other(struct memtable *memtable, struct memtable_shard *shard)
{
    shard_lock(memtable, shard);
    struct memtable_half *half = shard_other(shard);
    struct memtable_half old = *half;
    *half = (struct memtable_half){0};
    key_map_init(&half->map, shard_other_blocks(memtable, shard));
    shard_count_up(shard);
    shard_unlock(shard);
    half_close(memtable, &old);
}

/* Filters for the halves that the next turn begins with. False: no memory, and nothing changed. */
static bool memtable_make_filters(struct memtable *memtable)
{
    bool made = true;
    for (uint32_t i = 0; made && i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        struct memtable_half fresh = {0};
        key_map_init(&fresh.map, shard_other_blocks(memtable, shard));
        made = half_open(memtable, &fresh);
        shard_lock(memtable, shard);
        *shard_other(shard) = fresh;
        shard_unlock(shard);
    }
    for (uint32_t i = 0; !made && i < memtable->shard_count; i++) {
        shard_clear_other(memtable, &memtable->shards[i]);
    }
    return made;
}

enum status memtable_snapshot(struct memtable *memtable)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    memtable_lock(memtable);
    if (memtable->state != MEMTABLE_IDLE) {
        memtable_unlock(memtable);
        return STATUS_PENDING;
    }
    if (memtable->options.bloom_rate > 0 && !memtable_make_filters(memtable)) {
        memtable_unlock(memtable);
        return STATUS_NO_MEMORY;
    }
    uint64_t generation = atomic_fetch_add(&memtable->generation, 1) + 1; /* T2: the cut */
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        shard_lock(memtable, shard);
        shard_turn(shard, generation);
        shard_count_up(shard);
        shard_unlock(shard);
    }
    memtable->state = MEMTABLE_FROZEN;
    memtable->flushing = false;
    memtable_unlock(memtable);
    return STATUS_OK;
}

static void memtable_detach(struct memtable *memtable)
{
    memtable->detach_count += 1;
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        shard_lock(memtable, shard);
        shard->frozen = false;
        shard_unlock(shard);
    }
    memtable->state = MEMTABLE_DETACHED;
}

enum status memtable_release(struct memtable *memtable)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    enum status status = STATUS_OK;
    memtable_lock(memtable);
    if (memtable->state == MEMTABLE_FROZEN) {
        memtable_detach(memtable);
    }
    if (memtable->state == MEMTABLE_DETACHED) {
        if (memtable->scan_counts[(memtable->detach_count - 1) & 1] > 0) {
            status = STATUS_PENDING;
        } else {
            for (uint32_t i = 0; i < memtable->shard_count; i++) {
                shard_clear_other(memtable, &memtable->shards[i]);
            }
            generation_clear(&memtable->generations[~atomic_load(&memtable->generation) & 1]);
            memtable->state = MEMTABLE_IDLE;
        }
    }
    memtable_unlock(memtable);
    return status;
}

/* ---- counters ---- */

uint32_t memtable_shard_count(const struct memtable *memtable)
{
    return memtable->shard_count;
}

uint32_t memtable_shard_of(const struct memtable *memtable, struct bytes key)
{
    uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
    return shard_index(memtable, hash);
}

struct memtable_shard_counters memtable_shard_counters(const struct memtable *memtable,
                                                       uint32_t shard)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    check(shard < memtable->shard_count);
    const struct memtable_shard *from = &memtable->shards[shard];
    return (struct memtable_shard_counters){
        .count = counter_get(&from->count),
        .size = counter_get(&from->size),
        .filters = counter_get(&from->filters),
        .write_ops = counter_get(&from->write_ops),
        .read_ops = counter_get(&from->read_ops),
        .contention = counter_get(&from->contention),
    };
}

struct memtable_shard_counters memtable_counters(const struct memtable *memtable)
{
    struct memtable_shard_counters sum = {0};
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_shard_counters one = memtable_shard_counters(memtable, i);
        sum.count += one.count;
        sum.size += one.size;
        sum.filters += one.filters;
        sum.write_ops += one.write_ops;
        sum.read_ops += one.read_ops;
        sum.contention += one.contention;
    }
    for (int i = 0; i < 2; i++) {
        sum.size += counter_get(&memtable->generations[i].tree.size);
    }
    return sum;
}

uint64_t memtable_size(const struct memtable *memtable)
{
    return counter_get(&memtable->supply.size);
}

uint64_t memtable_allocations(const struct memtable *memtable)
{
    return counter_get(&memtable->supply.calls);
}

void memtable_latencies(struct memtable *memtable, struct memtable_latencies *latencies)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        if (shard->latencies == NULL || !shard_owns_latencies(memtable, shard)) {
            continue;
        }
        shard_lock(memtable, shard);
        histogram_merge(&latencies->write, &shard->latencies->write);
        histogram_merge(&latencies->read, &shard->latencies->read);
        histogram_merge(&latencies->scan, &shard->latencies->scan);
        histogram_merge(&latencies->wait, &shard->latencies->wait);
        shard_unlock(shard);
    }
}
