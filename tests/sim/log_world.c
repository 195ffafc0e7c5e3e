/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/log_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
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
    };
    world->store = store_open(&store_options);
    check(world->store != NULL);
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
    ring_close(world->ring);
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

size_t log_batch_make(uint8_t *memory, size_t size_max, uint64_t tag, int32_t count, size_t size,
                      int64_t timestamp)
{
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
        batch_builder_add(&builder, timestamp + i, BYTES_NULL, bytes_of(value, value_size), NULL,
                          0);
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
void log_world_crash(struct log_world *world)
{
    check(world->world != NULL);
    sim_world_crash(world->world);
    ring_close(world->ring);
    world->ring = sim_ring_open(world->world);
    world_open_store(world);
}
