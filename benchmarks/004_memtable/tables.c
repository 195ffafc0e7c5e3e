/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/004_memtable/tables.h"

#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "benchmarks/lib/measure.h"

#ifdef HAVE_ROCKSDB
#include <rocksdb/c.h>
#endif

/* ---- the memtable ---- */

struct own {
    struct heap heap;
    struct memtable *memtable;
};

static uint64_t own_clock(void *clock)
{
    (void)clock;
    return clock_ns();
}

static void *own_open(const struct form *form)
{
    struct own *own = calloc(1, sizeof(*own));
    check(own != NULL);
    heap_init(&own->heap, SIZE_MAX);
    own->memtable = memtable_open(&(struct memtable_options){
        .heap = &own->heap,
        .shard_count = form->shards,
        .locks = form->locks,
        .hash_seed = form->seed,
        .size_max = form->size_max == 0 ? 16 * GIB : form->size_max,
        .bloom_rate = form->bloom_rate,
        .bloom_count = form->key_count,
        .sample_one_in = form->sample_one_in,
        .now_ns = form->now_ns == NULL ? own_clock : form->now_ns,
        .clock = form->clock,
    });
    check(own->memtable != NULL);
    return own;
}

static void own_put(void *table, struct bytes key, int64_t offset)
{
    struct own *own = table;
    struct key_item item = {key, {.offset = offset, .size = 100}};
    uint32_t taken;
    check(memtable_put(own->memtable, &item, 1, &taken) == STATUS_OK);
}

static bool own_get(void *table, struct bytes key, struct key_entry *entry)
{
    struct own *own = table;
    return memtable_get(own->memtable, key, entry);
}

static void own_close(void *table)
{
    struct own *own = table;
    memtable_close(own->memtable);
    heap_deinit(&own->heap);
    free(own);
}

const struct table_kind table_memtable = {"memtable", own_open, own_put, own_get, own_close};

struct memtable *table_of(void *table)
{
    struct own *own = table;
    return own->memtable;
}

uint64_t table_heap_size(void *table)
{
    struct own *own = table;
    return own->heap.size;
}

/* ---- the anchor: one lock, one tree, a malloc for each key ---- */

struct plain {
    pthread_mutex_t lock;
    void *root;
};

struct plain_node {
    struct key_entry entry;
    uint32_t key_size;
    uint8_t key[];
};

static int plain_order(const void *a, const void *b)
{
    const struct plain_node *left = a;
    const struct plain_node *right = b;
    return bytes_compare(bytes_of(left->key, left->key_size),
                         bytes_of(right->key, right->key_size));
}

static void *plain_open(const struct form *form)
{
    (void)form;
    struct plain *plain = calloc(1, sizeof(*plain));
    check(plain != NULL);
    check(pthread_mutex_init(&plain->lock, NULL) == 0);
    return plain;
}

static void plain_put(void *table, struct bytes key, int64_t offset)
{
    struct plain *plain = table;
    struct plain_node *node = malloc(sizeof(*node) + key.size);
    check(node != NULL);
    node->entry = (struct key_entry){.offset = offset, .size = 100};
    node->key_size = (uint32_t)key.size;
    memcpy(node->key, key.data, key.size);
    pthread_mutex_lock(&plain->lock);
    struct plain_node *found = *(struct plain_node **)tsearch(node, &plain->root, plain_order);
    if (found != node && found->entry.offset <= offset) {
        found->entry = node->entry;
    }
    pthread_mutex_unlock(&plain->lock);
    if (found != node) {
        free(node);
    }
}

static bool plain_get(void *table, struct bytes key, struct key_entry *entry)
{
    struct plain *plain = table;
    union {
        struct plain_node node;
        uint8_t space[sizeof(struct plain_node) + KEY_SIZE];
    } wanted;
    check(key.size <= KEY_SIZE);
    wanted.node.key_size = (uint32_t)key.size;
    memcpy(wanted.node.key, key.data, key.size);
    pthread_mutex_lock(&plain->lock);
    struct plain_node **found = tfind(&wanted.node, &plain->root, plain_order);
    if (found != NULL) {
        *entry = (*found)->entry;
    }
    pthread_mutex_unlock(&plain->lock);
    return found != NULL;
}

static void plain_close(void *table)
{
    struct plain *plain = table;
    tdestroy(plain->root, free);
    pthread_mutex_destroy(&plain->lock);
    free(plain);
}

const struct table_kind table_plain = {"plain", plain_open, plain_put, plain_get, plain_close};

/* ---- RocksDB: its memtable alone, nothing is ever written to a file but its start ---- */

#ifdef HAVE_ROCKSDB

struct rocks {
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *read_options;
    rocksdb_t *database;
    char folder[64];
};

static void rocks_check(char *error)
{
    if (error != NULL) {
        fprintf(stderr, "rocksdb: %s\n", error);
        exit(1);
    }
}

static void *rocks_open(const struct form *form)
{
    (void)form;
    struct rocks *rocks = calloc(1, sizeof(*rocks));
    check(rocks != NULL);
    snprintf(rocks->folder, sizeof(rocks->folder), "/dev/shm/bench-004-%d", (int)getpid());
    rocks->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(rocks->options, 1);
    rocksdb_options_set_write_buffer_size(rocks->options, GIB);
    rocksdb_options_set_allow_concurrent_memtable_write(rocks->options, 1);
    rocks->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(rocks->write_options, 1);
    rocks->read_options = rocksdb_readoptions_create();
    char *error = NULL;
    rocks->database = rocksdb_open(rocks->options, rocks->folder, &error);
    rocks_check(error);
    return rocks;
}

static void rocks_put(void *table, struct bytes key, int64_t offset)
{
    struct rocks *rocks = table;
    struct key_entry entry = {.offset = offset, .size = 100};
    char *error = NULL;
    rocksdb_put(rocks->database, rocks->write_options, (const char *)key.data, key.size,
                (const char *)&entry, sizeof(entry), &error);
    rocks_check(error);
}

static bool rocks_get(void *table, struct bytes key, struct key_entry *entry)
{
    struct rocks *rocks = table;
    char *error = NULL;
    size_t size = 0;
    char *value = rocksdb_get(rocks->database, rocks->read_options, (const char *)key.data,
                              key.size, &size, &error);
    rocks_check(error);
    if (value == NULL) {
        return false;
    }
    check(size == sizeof(*entry));
    memcpy(entry, value, size);
    rocksdb_free(value);
    return true;
}

static void rocks_close(void *table)
{
    struct rocks *rocks = table;
    char *error = NULL;
    rocksdb_close(rocks->database);
    rocksdb_destroy_db(rocks->options, rocks->folder, &error);
    rocks_check(error);
    rocksdb_writeoptions_destroy(rocks->write_options);
    rocksdb_readoptions_destroy(rocks->read_options);
    rocksdb_options_destroy(rocks->options);
    free(rocks);
}

static const struct table_kind kind_rocksdb = {"rocksdb", rocks_open, rocks_put, rocks_get,
                                               rocks_close};

const struct table_kind *table_rocksdb(void)
{
    return &kind_rocksdb;
}

#else

const struct table_kind *table_rocksdb(void)
{
    return NULL;
}

#endif
