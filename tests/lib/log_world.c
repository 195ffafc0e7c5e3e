/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/log_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/ring_backend.h"
#include "storage/memtable.h"
#include "wire/batch.h"
#include "wire/record.h"

#define REQUEST_SHARE (16 * MIB)

static void world_open_store(struct log_world *world)
{
    const struct log_world_options *options = &world->options;
    struct pages_limits limits = {.size_max = {
                                      [PAGES_REQUEST] = REQUEST_SHARE,
                                      [PAGES_SLAB] = options->slab_size,
                                      [PAGES_CACHE] = options->cache_size,
                                  }};
    world->pages = pages_open(&limits);
    check(world->pages != NULL);
    heap_init(&world->heap, 256 * MIB);
    timers_init(&world->timers);
    /* WEIR_TEST_DIAG=1 shows what the store has to say. */
    diag_init(&world->diag, getenv("WEIR_TEST_DIAG") != NULL ? STDERR_FILENO : -1, 0, DIAG_INFO,
              world->diag_buffer, sizeof(world->diag_buffer));
    struct store_options store_options = {
        .ring = world->ring,
        .pages = world->pages,
        .heap = &world->heap,
        .timers = &world->timers,
        .diag = &world->diag,
        .data_dir = options->data_dir,
        .writer = options->writer,
        .hash_seed = 1,
        .files_max = options->files_max,
        .producer_count_max = 65536,
        .memtable_shards = MEMTABLE_SHARDS_DEFAULT,
        .retention_check_ns = UINT64_C(10000000000),
    };
    world->store = store_open(&store_options);
    check(world->store != NULL);
}

/* ---- faults: the back end's hook sees every op before it is started ---- */

struct world_backend {
    struct ring_backend backend; /* first: the ring points here */
    const struct ring_backend *original;
    struct log_world *world;
};

struct world_fault {
    void (*done)(struct op *op);
    void *owner;
    int error;
};

static void world_fault_done(struct op *op)
{
    struct world_fault *fault = op->owner;
    op->owner = fault->owner;
    op->done = fault->done;
    op->result = -fault->error;
    free(fault);
    op->done(op);
}

static const char *const op_names[OP_KINDS] = {
    [OP_NOP] = "nop",           [OP_OPEN] = "open",         [OP_CLOSE] = "close",
    [OP_READ] = "read",         [OP_WRITE] = "write",       [OP_SYNC] = "sync",
    [OP_ALLOCATE] = "allocate", [OP_TRUNCATE] = "truncate", [OP_STAT] = "stat",
    [OP_RENAME] = "rename",     [OP_UNLINK] = "unlink",     [OP_MKDIR] = "mkdir",
    [OP_LIST] = "list",         [OP_DATA] = "data",
};

static void world_trace(const struct log_world *world, const struct op *op)
{
    uint64_t size = op->size;
    for (int32_t i = 0; i < op->vector_count; i++) {
        size += op->vector[i].iov_len;
    }
    fprintf(stderr, "%12llu %-8s file=%d position=%llu size=%llu flags=%u %s%s%s\n",
            (unsigned long long)sim_world_now_ns(world->world),
            op_names[op->kind] == NULL ? "?" : op_names[op->kind], op->file,
            (unsigned long long)op->position, (unsigned long long)size, op->flags,
            op->path == NULL ? "" : op->path, op->path_target == NULL ? "" : " -> ",
            op->path_target == NULL ? "" : op->path_target);
}

static void world_submitted(struct ring *ring, struct op *op)
{
    const struct world_backend *hook = (const void *)ring->backend;
    struct log_world *world = hook->world;
    if (world->trace) {
        world_trace(world, op);
    }
    if (world->cut_after > 0) {
        world->cut_after -= 1;
        if (world->cut_after == 0) {
            sim_world_crash(world->world); /* while the memory of writes under way is still there */
            longjmp(world->cut_point, 1);
        }
    }
    if (world->fail_one_in > 0 && (world->fail_kinds & (1U << op->kind)) != 0 &&
        random_below(&world->fail_random, world->fail_one_in) == 0) {
        struct world_fault *fault = malloc(sizeof(*fault));
        check(fault != NULL);
        *fault = (struct world_fault){op->done, op->owner, world->fail_error};
        op->done = world_fault_done;
        op->owner = fault;
    }
    hook->original->submitted(ring, op);
}

static void world_hook(struct log_world *world)
{
    struct world_backend *hook = malloc(sizeof(*hook));
    check(hook != NULL);
    *hook = (struct world_backend){*world->ring->backend, world->ring->backend, world};
    hook->backend.submitted = world_submitted;
    world->ring->backend = &hook->backend;
}

static void world_close_ring(struct log_world *world)
{
    if (world->world != NULL) {
        struct world_backend *hook = (void *)(uintptr_t)world->ring->backend;
        world->ring->backend = hook->original;
        free(hook);
    }
    ring_close(world->ring);
}

void log_world_fail(struct log_world *world, uint32_t one_in, uint32_t kinds, int error)
{
    world->fail_one_in = one_in;
    world->fail_kinds = kinds;
    world->fail_error = error;
}

bool log_world_flip(struct log_world *world, const char *path, uint64_t position, int bit)
{
    uint8_t byte;
    struct iovec slice = {&byte, 1};
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ | OPEN_WRITE};
    int64_t file = ring_call(world->ring, &op);
    if (file < 0) {
        return false;
    }
    op = (struct op){.kind = OP_READ,
                     .file = (int32_t)file,
                     .vector = &slice,
                     .vector_count = 1,
                     .position = position};
    int64_t size = ring_call(world->ring, &op);
    if (size == 1) {
        byte ^= (uint8_t)(1U << bit);
        op.kind = OP_WRITE;
        op.flags = OP_DSYNC;
        check(ring_call(world->ring, &op) == 1);
    }
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(world->ring, &op);
    return size == 1;
}

static void world_make_data_dir(struct log_world *world)
{
    struct op op = {.kind = OP_MKDIR, .path = world->options.data_dir};
    (void)ring_call(world->ring, &op);
    op = (struct op){.kind = OP_OPEN, .path = "/", .flags = OPEN_READ | OPEN_DIRECTORY};
    int64_t file = ring_call(world->ring, &op);
    check(file >= 0);
    op = (struct op){.kind = OP_SYNC, .file = (int32_t)file};
    check(ring_call(world->ring, &op) == 0);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    check(ring_call(world->ring, &op) == 0);
}

void log_world_open(struct log_world *world, const struct log_world_options *options)
{
    *world = (struct log_world){.options = *options};
    world->trace = getenv("WEIR_TEST_TRACE") != NULL;
    struct log_world_options *own = &world->options;
    own->slab_size = own->slab_size == 0 ? 16 * MIB : own->slab_size;
    own->cache_size = own->cache_size == 0 ? 32 * MIB : own->cache_size;
    own->files_max = own->files_max == 0 ? 64 : own->files_max;
    if (own->data_dir == NULL) {
        own->data_dir = "/data";
        own->disk_delay_ns_max = own->disk_delay_ns_max == 0 ? 100000 : own->disk_delay_ns_max;
        struct sim_options sim = {.seed = own->seed, .disk_delay_ns_max = own->disk_delay_ns_max};
        world->world = sim_world_open(&sim);
        world->ring = sim_ring_open(world->world);
        random_init(&world->fail_random, own->seed + 1);
        world_hook(world);
        world_make_data_dir(world);
    } else {
        struct ring_options ring = {.kind = own->kind};
        check(ring_open(&world->ring, &ring) == 0);
    }
    world_open_store(world);
}

static void world_close_store(struct log_world *world)
{
    store_close(world->store);
    diag_flush(&world->diag);
    pages_close(world->pages);
    heap_deinit(&world->heap);
}

void log_world_close(struct log_world *world)
{
    world_close_store(world);
    world_close_ring(world);
    if (world->world != NULL) {
        sim_world_close(world->world);
    }
}

void log_world_restart(struct log_world *world)
{
    world_close_store(world);
    world_open_store(world);
}

bool log_world_tick(struct log_world *world)
{
    store_upkeep(world->store, 1000000);
    store_commit(world->store);
    uint64_t due_ns = timers_next(&world->timers);
    if (world->world != NULL) {
        /* What was just submitted gets its time first. */
        ring_step(world->ring, 0);
        uint64_t next_ns = sim_world_next_ns(world->world);
        next_ns = next_ns < due_ns ? next_ns : due_ns;
        if (next_ns == UINT64_MAX) {
            return false;
        }
        if (next_ns > sim_world_now_ns(world->world)) {
            sim_world_advance(world->world, next_ns);
        }
        ring_step(world->ring, 0);
    } else {
        if (ring_in_flight(world->ring) == 0 && due_ns == UINT64_MAX) {
            return false;
        }
        ring_step(world->ring, due_ns);
    }
    world->diag.wall_ms = ring_wall_ms(world->ring);
    timers_fire(&world->timers, ring_now_ns(world->ring));
    diag_flush(&world->diag);
    return true;
}

bool log_world_until(struct log_world *world, const bool *flag, uint32_t ticks)
{
    while (!*flag && ticks > 0 && log_world_tick(world)) {
        ticks -= 1;
    }
    return *flag;
}

void log_world_sleep(struct log_world *world, uint64_t ms)
{
    uint64_t until = ring_now_ns(world->ring) + ms * 1000000;
    while (ring_now_ns(world->ring) < until) {
        if (!log_world_tick(world)) {
            if (world->world == NULL) {
                ring_step(world->ring, until);
            } else {
                sim_world_advance(world->world, until);
                ring_step(world->ring, 0);
            }
        }
    }
}

uint8_t log_batch_key(uint64_t tag, int32_t index)
{
    return (uint8_t)('a' + (tag * 7 + (uint64_t)index) % LOG_BATCH_KEYS);
}

size_t log_batch_encode(uint8_t *memory, size_t size_max, const struct log_batch *batch)
{
    uint64_t tag = batch->tag;
    int32_t count = batch->count;
    size_t size = batch->size;
    int64_t timestamp = batch->timestamp;
    struct random random;
    random_init(&random, tag);
    size_t overhead = BATCH_HEADER_SIZE + (size_t)count * 24;
    size_t value_size = size > overhead ? (size - overhead) / (size_t)count : 1;
    uint8_t *value = malloc(value_size + 8);
    check(value != NULL);
    struct batch_builder builder;
    batch_builder_init(&builder, memory, size_max);
    for (int32_t i = 0; i < count; i++) {
        uint64_t word = random_u64(&random);
        for (size_t k = 0; k < value_size; k += 8) {
            memcpy(value + k, &word, 8);
            word = word * UINT64_C(6364136223846793005) + 1;
        }
        uint8_t key = log_batch_key(tag, i);
        batch_builder_add(&builder, timestamp + i, batch->keyed ? bytes_of(&key, 1) : BYTES_NULL,
                          bytes_of(value, value_size), NULL, 0);
    }
    struct bytes out;
    struct batch_scratch scratch = {0};
    enum status status = batch_builder_finish(&builder, CODEC_NONE, 0, scratch, 0, &out);
    check(status == STATUS_OK);
    free(value);
    if (out.data != memory) {
        memmove(memory, out.data, out.size);
    }
    return out.size;
}

size_t log_batch_make(uint8_t *memory, size_t size_max, uint64_t tag, int32_t count, size_t size,
                      int64_t timestamp)
{
    struct log_batch batch = {.tag = tag, .count = count, .size = size, .timestamp = timestamp};
    return log_batch_encode(memory, size_max, &batch);
}

struct partition_config log_config_default(void)
{
    return (struct partition_config){
        .segment_size_max = INT64_C(1) << 30,
        .segment_age_ms_max = INT64_C(7) * 24 * 3600 * 1000,
        .retention_ms = -1,
        .retention_size = -1,
        .producer_expiration_ms = 86400000,
        .file_delete_delay_ms = 1000,
        .delete_old = true,
    };
}

/*
 * A power cut takes the process with it: the store's memory is dropped whole. Its pages stay mapped
 * until the cut, because writes under way reach the disk in part.
 */
static void world_replace_store(struct log_world *world)
{
    world_close_ring(world);
    world->ring = sim_ring_open(world->world);
    world_hook(world);
    world_open_store(world);
}

void log_world_crash(struct log_world *world)
{
    check(world->world != NULL);
    sim_world_crash(world->world);
    world_replace_store(world);
}

void log_world_kill(struct log_world *world)
{
    check(world->world != NULL);
    sim_world_kill(world->world);
    world_replace_store(world);
}

void log_world_cut_after(struct log_world *world, uint64_t ops)
{
    world->cut_after = ops;
}

static void append_answered(struct partition_append *append)
{
    *(bool *)append->owner = true;
}

struct partition_append log_world_append(struct log_world *world, struct partition *partition,
                                         uint8_t *batch, size_t size)
{
    bool answered = false;
    struct partition_append append = {
        .batch = batch, .size = size, .now_ms = 1000, .done = append_answered, .owner = &answered};
    batch_header_decode(&append.header, batch);
    partition_append(partition, &append);
    check(log_world_until(world, &answered, 100000));
    return append;
}
