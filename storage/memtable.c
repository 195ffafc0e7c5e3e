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

bool shard_trylock(struct memtable_shard *shard)
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
    check(half->tree.count == 0);
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
    keytree_deinit(&half->tree);
    supply_release(&memtable->supply, half->bloom_block, half_bloom_size(half));
    half->bloom_block = NULL;
    half->live = 0;
}

void shard_count_up(struct memtable_shard *shard)
{
    const struct memtable_half *first = &shard->halves[0];
    const struct memtable_half *second = &shard->halves[1];
    uint64_t filters = half_bloom_size(first) + half_bloom_size(second);
    counter_set(&shard->count, first->live + second->live);
    counter_set(&shard->size, first->tree.size + second->tree.size + filters);
    counter_set(&shard->held, first->tree.held + second->tree.held + filters);
    counter_set(&shard->filters, filters);
}

static bool shard_owns_latencies(const struct memtable *memtable,
                                 const struct memtable_shard *shard)
{
    return shard->latencies != NULL &&
           (shard == memtable->shards || shard->latencies != memtable->shards[0].latencies);
}

static bool shard_open(struct memtable *memtable, struct memtable_shard *shard)
{
    const struct memtable_options *options = &memtable->options;
    check(pthread_mutex_init(&shard->lock, NULL) == 0);
    shard->guard = options->locks == MEMTABLE_LOCKS_NONE  ? NULL
                   : options->locks == MEMTABLE_LOCKS_ONE ? &memtable->shards[0].lock
                                                          : &shard->lock;
    keytree_init(&shard->halves[0].tree, &memtable->supply);
    keytree_init(&shard->halves[1].tree, &memtable->supply);
    bool opened = half_open(memtable, &shard->halves[0]);
    shard_count_up(shard);
    if (options->now_ns == NULL) {
        return opened;
    }
    /* 16 KiB of histograms: one set where one lock, or none, guards all shards. */
    bool own = options->locks == MEMTABLE_LOCKS_SHARDS || shard == memtable->shards;
    shard->latencies = own ? supply_acquire_beside(&memtable->supply, sizeof(*shard->latencies))
                           : memtable->shards[0].latencies;
    return opened && shard->latencies != NULL;
}

/* Shards, and what a flush needs, lie in one block that is never resized. */
static size_t memtable_layout(struct memtable *memtable, uint8_t *block)
{
    size_t count = memtable->shard_count;
    size_t sizes[] = {count * sizeof(*memtable->shards), count * sizeof(*memtable->flush_runs),
                      count * sizeof(*memtable->merge_runs),
                      count * sizeof(*memtable->merge_nodes)};
    size_t at[ARRAY_COUNT(sizes) + 1] = {0};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        at[i + 1] = at[i] + ((sizes[i] + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));
    }
    if (block != NULL) {
        memtable->shards = (void *)(block + at[0]);
        memtable->flush_runs = (void *)(block + at[1]);
        memtable->merge_runs = (void *)(block + at[2]);
        memtable->merge_nodes = (void *)(block + at[3]);
    }
    return at[ARRAY_COUNT(sizes)];
}

struct memtable *memtable_open(const struct memtable_options *options)
{
    check(options->shard_count > 0);
    check(options->shard_count <= MEMTABLE_SHARDS_MAX);
    struct memtable *memtable = heap_acquire(options->heap, sizeof(*memtable));
    if (memtable == NULL) {
        return NULL;
    }
    bool shared = options->locks != MEMTABLE_LOCKS_NONE;
    memtable->magic = MEMTABLE_MAGIC;
    memtable->options = *options;
    memtable->shard_count = options->shard_count;
    check(pthread_mutex_init(&memtable->lock, NULL) == 0);
    supply_init(&memtable->supply, options->heap, options->size_max, shared);
    memtable->block_size = memtable_layout(memtable, NULL) + CACHE_LINE;
    memtable->block = heap_acquire(options->heap, memtable->block_size);
    bool opened = memtable->block != NULL;
    if (opened) {
        uintptr_t aligned = ((uintptr_t)memtable->block + CACHE_LINE - 1) & ~(uintptr_t)63;
        memtable_layout(memtable, (uint8_t *)aligned);
        for (uint32_t i = 0; i < memtable->shard_count; i++) {
            opened = shard_open(memtable, &memtable->shards[i]) && opened;
        }
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
    for (uint32_t i = 0; memtable->block != NULL && i < memtable->shard_count; i++) {
        struct memtable_shard *shard = &memtable->shards[i];
        half_close(memtable, &shard->halves[0]);
        half_close(memtable, &shard->halves[1]);
        if (shard_owns_latencies(memtable, shard)) {
            supply_release_beside(&memtable->supply, shard->latencies, sizeof(*shard->latencies));
        }
        check(pthread_mutex_destroy(&shard->lock) == 0);
    }
    supply_deinit(&memtable->supply);
    check(pthread_mutex_destroy(&memtable->lock) == 0);
    heap_release(heap, memtable->block, memtable->block_size);
    memtable->magic = 0;
    heap_release(heap, memtable, sizeof(*memtable));
}

/* ---- one key ---- */

/* By the upper bits, any number of shards; the tags of keytree.h take the lowest. */
static struct memtable_shard *shard_of(const struct memtable *memtable, uint64_t hash)
{
    uint32_t index = (uint32_t)(((unsigned __int128)hash * memtable->shard_count) >> 64);
    return &memtable->shards[index];
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
        check(shard_other(shard)->tree.count == 0);
        shard->generation = generation;
        shard->frozen = true;
    }
}

static enum status shard_put(struct memtable *memtable, struct memtable_shard *shard,
                             const struct key_item *item, uint64_t hash)
{
    shard_turn(shard, atomic_load(&memtable->generation));
    struct memtable_half *half = shard_active(shard);
    bool made;
    uint64_t held = half->tree.held;
    struct keytree_record *record = keytree_put(&half->tree, item->key, hash, &made);
    if (record == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (made) {
        if (half->bloom_block != NULL) {
            bloom_add(&half->bloom, hash);
        }
        record->flags = KEY_REMOVED; /* was not live */
        record->offset = INT64_MIN;
    }
    if (item->entry.offset >= record->offset) { /* T1 */
        uint64_t before = (record->flags & KEY_REMOVED) == 0;
        uint64_t after = (item->entry.flags & KEY_REMOVED) == 0;
        keytree_set(record, &item->entry);
        half->live += after - before;
        made = made || after != before;
    }
    if (made || held != half->tree.held) {
        shard_count_up(shard);
    }
    return STATUS_OK;
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

static struct keytree_record *half_find(const struct memtable_half *half, struct bytes key,
                                        uint64_t hash)
{
    if (half->bloom_block != NULL && !bloom_has(&half->bloom, hash)) {
        return NULL;
    }
    return keytree_find(&half->tree, key, hash);
}

/* The newest of both halves; NULL: there is none, or it is removed. */
static struct keytree_record *shard_find(struct memtable_shard *shard, struct bytes key,
                                         uint64_t hash)
{
    struct keytree_record *record = half_find(shard_active(shard), key, hash);
    if (shard->frozen) {
        struct keytree_record *older = half_find(shard_other(shard), key, hash);
        if (record == NULL || (older != NULL && older->offset > record->offset)) {
            record = older;
        }
    }
    return record != NULL && (record->flags & KEY_REMOVED) != 0 ? NULL : record;
}

bool memtable_get(struct memtable *memtable, struct bytes key, struct key_entry *entry)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
    struct memtable_shard *shard = shard_of(memtable, hash);
    uint64_t begin_ns = sample_begin(memtable, shard, &shard->read_ops);
    shard_lock(memtable, shard);
    const struct keytree_record *record = shard_find(shard, key, hash);
    if (record != NULL) {
        *entry = keytree_entry(record);
    }
    counter_add(&shard->read_ops, 1);
    if (begin_ns != 0) {
        histogram_add(&shard->latencies->read, now_ns(memtable) - begin_ns);
    }
    shard_unlock(shard);
    return record != NULL;
}

enum status memtable_remove(struct memtable *memtable, struct bytes key, int64_t offset)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    uint64_t hash = hash_bytes(key, memtable->options.hash_seed);
    struct memtable_shard *shard = shard_of(memtable, hash);
    uint64_t begin_ns = sample_begin(memtable, shard, &shard->write_ops);
    shard_lock(memtable, shard);
    shard_turn(shard, atomic_load(&memtable->generation));
    enum status status = STATUS_OK;
    const struct keytree_record *record = shard_find(shard, key, hash);
    if (record != NULL && record->offset <= offset) {
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

/* Empties the half that takes no puts. What it held goes after the lock: thousands of blocks. */
static void shard_clear_other(struct memtable *memtable, struct memtable_shard *shard)
{
    shard_lock(memtable, shard);
    struct memtable_half *half = shard_other(shard);
    struct memtable_half old = *half;
    *half = (struct memtable_half){0};
    keytree_init(&half->tree, &memtable->supply);
    shard_count_up(shard);
    shard_unlock(shard);
    half_close(memtable, &old);
}

/* Filters for the halves that the next turn begins with. False: no memory, and nothing changed. */
static bool memtable_make_filters(struct memtable *memtable)
{
    bool made = true;
    for (uint32_t i = 0; made && i < memtable->shard_count; i++) {
        struct memtable_half fresh = {0};
        keytree_init(&fresh.tree, &memtable->supply);
        made = half_open(memtable, &fresh);
        struct memtable_shard *shard = &memtable->shards[i];
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
    /* Before any shard's flag falls: a scan that began earlier tells by it that it still looks. */
    counter_add(&memtable->detach_count, 1);
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
        if (memtable->scan_counts[(counter_get(&memtable->detach_count) - 1) & 1] > 0) {
            status = STATUS_PENDING;
        } else {
            for (uint32_t i = 0; i < memtable->shard_count; i++) {
                shard_clear_other(memtable, &memtable->shards[i]);
            }
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
    return (uint32_t)(shard_of(memtable, hash) - memtable->shards);
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
        .held = counter_get(&from->held),
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
        sum.held += one.held;
        sum.write_ops += one.write_ops;
        sum.read_ops += one.read_ops;
        sum.contention += one.contention;
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
        if (!shard_owns_latencies(memtable, shard)) {
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
