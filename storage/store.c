/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/commit.h"
#include "storage/partition_state.h"
#include "storage/recovery.h"
#include "storage/removal.h"
#include "storage/slab.h"
#include "storage/space.h"
#include "storage/tend.h"
#include "storage/upkeep.h"

void store_path(const struct store *store, char path[STORE_PATH_SIZE], const char *name,
                const char *file, const char *suffix)
{
    int length =
        snprintf(path, STORE_PATH_SIZE, "%s%s%s%s%s%s", store->data_dir, name == NULL ? "" : "/",
                 name == NULL ? "" : name, file == NULL ? "" : "/", file == NULL ? "" : file,
                 suffix == NULL ? "" : suffix);
    check(length > 0 && length < STORE_PATH_SIZE);
}

void store_path_offset(const struct store *store, char path[STORE_PATH_SIZE], const char *name,
                       int64_t offset, const char *suffix)
{
    char file[21];
    snprintf(file, sizeof(file), "%020lld", (long long)offset);
    store_path(store, path, name, file, suffix);
}

/* Only wakes the core: the tick calls store_upkeep() after its timers. */
static void store_timer(struct timer *timer)
{
    (void)timer;
}

void store_arm(struct store *store, uint64_t due_ns)
{
    if (!store->timer.armed || store->timer.deadline_ns > due_ns) {
        timer_arm(store->timers, &store->timer, due_ns);
    }
}

static void store_init_lists(struct store *store)
{
    list_init(&store->partitions);
    list_init(&store->dirty);
    list_init(&store->quiet);
    list_init(&store->starved);
    list_init(&store->resting);
    list_init(&store->uncovered);
    list_init(&store->refused);
    list_init(&store->broken);
    list_init(&store->asking);
    list_init(&store->key_wanted);
    list_init(&store->removing);
    list_init(&store->deleting);
}

struct store *store_open(const struct store_options *options)
{
    size_t size = strlen(options->data_dir) + 1;
    if (size > STORE_DATA_DIR_MAX) {
        return NULL;
    }
    struct store *store = heap_acquire(options->heap, sizeof(*store));
    if (store == NULL) {
        return NULL;
    }
    store->magic = STORE_MAGIC;
    store->ring = options->ring;
    store->pages = options->pages;
    store->heap = options->heap;
    store->timers = options->timers;
    store->diag = options->diag;
    store->writer = options->writer;
    store->hash_seed = options->hash_seed;
    store->producer_count_max = options->producer_count_max;
    store->memtable_shards = options->memtable_shards;
    store->retention_check_ns = options->retention_check_ns;
    store->key_index_size_max = KEY_INDEX_SIZE_MAX;
    store->timer.fire = store_timer;
    store_init_lists(store);
    files_init(&store->files, options->files_max);
    pool_init(&store->jobs, store->heap, sizeof(struct job));
    pool_init(&store->writes, store->heap, sizeof(struct write));
    pool_init(&store->reads, store->heap, partition_read_state_size());
    pool_init(&store->lookups, store->heap, partition_lookup_state_size());
    store->data_dir = heap_acquire(store->heap, size);
    if (store->data_dir == NULL || !cache_init(store)) {
        heap_release(store->heap, store->data_dir, size);
        heap_release(store->heap, store, sizeof(*store));
        return NULL;
    }
    if (!hint_pages_init(store)) {
        cache_deinit(store);
        heap_release(store->heap, store->data_dir, size);
        heap_release(store->heap, store, sizeof(*store));
        return NULL;
    }
    store->data_dir_size = size;
    memcpy(store->data_dir, options->data_dir, size);
    return store;
}

void store_close(struct store *store)
{
    check_magic(store, STORE_MAGIC);
    removal_give_up(store);
    check(list_is_empty(&store->partitions));
    removal_due(store, UINT64_MAX);
    while (store->jobs.taken > 0 && ring_in_flight(store->ring) > 0) {
        ring_wait(store->ring); /* closes and sweeps */
    }
    timer_disarm(store->timers, &store->timer);
    if (store->zeros != NULL) {
        pages_release_run(store->pages, store->zeros, STORE_ZEROS_SIZE, PAGES_CACHE);
    }
    hint_pages_deinit(store);
    cache_deinit(store);
    pool_deinit(&store->jobs);
    pool_deinit(&store->writes);
    pool_deinit(&store->reads);
    pool_deinit(&store->lookups);
    heap_release(store->heap, store->data_dir, store->data_dir_size);
    store->magic = 0;
    heap_release(store->heap, store, sizeof(*store));
}

bool store_take_shortage(struct store *store)
{
    bool shortage = store->shortage;
    store->shortage = false;
    return shortage;
}

const struct store_counters *store_counters(const struct store *store)
{
    return &store->counters;
}

enum writer_kind store_probe(struct ring *ring, const char *data_dir, enum writer_kind wanted)
{
    if (wanted == WRITER_BUFFERED) {
        return wanted;
    }
    char path[STORE_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/weir.probe", data_dir);
    struct op op = {
        .kind = OP_OPEN, .path = path, .flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_DIRECT};
    int64_t file = ring_call(ring, &op);
    int64_t result = file;
    if (file >= 0) {
        _Alignas(4096) uint8_t page[4096] = {0};
        struct iovec slice = {page, sizeof(page)};
        op = (struct op){.kind = OP_WRITE,
                         .flags = OP_DSYNC,
                         .file = (int32_t)file,
                         .vector = &slice,
                         .vector_count = 1};
        result = ring_call(ring, &op);
        op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
        (void)ring_call(ring, &op);
    }
    op = (struct op){.kind = OP_UNLINK, .path = path};
    (void)ring_call(ring, &op);
    return result < 0 ? WRITER_BUFFERED : wanted;
}

const char *store_writer_name(enum writer_kind kind)
{
    static const char *const names[] = {
        [WRITER_ALIGNED] = "aligned",
        [WRITER_DIRECT] = "direct",
        [WRITER_BUFFERED] = "buffered",
    };
    check((size_t)kind < ARRAY_COUNT(names));
    return names[kind];
}
