/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/003_suite/log.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/random.h"
#include "wire/batch.h"
#include "wire/record.h"

static void slot_done(struct partition_append *append)
{
    struct log_slot *slot = append->owner;
    struct bench_log *log = slot->log;
    check(append->status == STATUS_OK);
    if (log->row != NULL) {
        row_latency(log->row, clock_ns() - slot->started_ns);
    }
    log->answered += 1;
    list_push_tail(&log->free, &slot->node);
}

static void slots_make(struct bench_log *log)
{
    const struct log_shape *shape = &log->shape;
    size_t size_max = (shape->record_size + 64) * (size_t)shape->batch_records + 4096;
    uint8_t *value = calloc(1, shape->record_size);
    struct random random;
    random_init(&random, 7);
    log->slots = calloc((size_t)shape->window, sizeof(*log->slots));
    check(log->slots != NULL && value != NULL);
    list_init(&log->free);
    for (int i = 0; i < shape->window; i++) {
        struct log_slot *slot = &log->slots[i];
        slot->memory = malloc(size_max);
        check(slot->memory != NULL);
        struct batch_builder builder;
        batch_builder_init(&builder, slot->memory, size_max);
        for (int32_t k = 0; k < shape->batch_records; k++) {
            for (size_t at = 0; shape->random && at + 8 <= shape->record_size; at += 8) {
                uint64_t word = random_u64(&random);
                memcpy(value + at, &word, 8);
            }
            batch_builder_add(&builder, 1000, BYTES_NULL, bytes_of(value, shape->record_size), NULL,
                              0);
        }
        struct bytes out;
        check(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &out) ==
              STATUS_OK);
        check(out.data == slot->memory);
        log->batch_size = out.size;
        slot->log = log;
        list_push_tail(&log->free, &slot->node);
    }
    free(value);
}

static void slots_free(struct bench_log *log)
{
    for (int i = 0; i < log->shape.window; i++) {
        free(log->slots[i].memory);
    }
    free(log->slots);
}

static void log_open_partition(struct bench_log *log, bool fresh)
{
    struct partition_options options = {
        .topic = "bench", .fresh = fresh, .config = log_config_default()};
    memset(options.topic_id.bytes, 0x55, 16);
    check(partition_open(&log->partition, log->world.store, &options) == STATUS_OK);
}

static void timer_nothing(struct timer *timer)
{
    (void)timer; /* it only ends a wait */
}

void bench_log_open(struct bench_log *log, const struct log_place *place,
                    const struct log_shape *shape)
{
    *log = (struct bench_log){.shape = *shape, .due = {.fire = timer_nothing}};
    snprintf(log->folder, sizeof(log->folder), "%s/bench_003.%d", place->data, (int)getpid());
    check(mkdir(log->folder, 0700) == 0);
    machine_settle(place->data);
    struct log_world_options options = {
        .data_dir = log->folder,
        .kind = RING_AUTO,
        .writer = place->writer,
        .slab_size = 64 * MIB,
        .cache_size = place->cache_size == 0 ? 256 * MIB : place->cache_size,
        .files_max = 64,
    };
    log_world_open(&log->world, &options);
    log->world.options.writer = store_probe(log->world.ring, log->folder, place->writer);
    if (log->world.options.writer != place->writer) {
        printf("003_suite: O_DIRECT is refused in %s\n", place->data);
        log_world_restart(&log->world);
    }
    log_open_partition(log, true);
    log->buffer_size = 16 * MIB;
    log->buffer = malloc(log->buffer_size);
    check(log->buffer != NULL);
    slots_make(log);
    bench_log_append(log, 1);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

void bench_log_close(struct bench_log *log)
{
    partition_close(log->partition, true);
    timer_disarm(&log->world.timers, &log->due);
    log_world_close(&log->world);
    slots_free(log);
    free(log->buffer);
    nftw(log->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void bench_log_reopen(struct bench_log *log)
{
    partition_close(log->partition, true);
    timer_disarm(&log->world.timers, &log->due);
    log_world_restart(&log->world);
    log_open_partition(log, false);
}

void bench_log_reshape(struct bench_log *log, const struct log_shape *shape)
{
    slots_free(log);
    log->shape = *shape;
    slots_make(log);
}

static void slot_send(struct bench_log *log, struct log_slot *slot)
{
    slot->append = (struct partition_append){.batch = slot->memory,
                                             .size = log->batch_size,
                                             .now_ms = 1000,
                                             .done = slot_done,
                                             .owner = slot};
    check(batch_check(bytes_of(slot->memory, log->batch_size), &slot->append.header) == STATUS_OK);
    partition_append(log->partition, &slot->append);
}

void bench_log_append(struct bench_log *log, uint64_t count)
{
    log->answered = 0;
    uint64_t sent = 0;
    while (log->answered < count) {
        struct list_node *node;
        while (sent < count && (node = list_pop_head(&log->free)) != NULL) {
            struct log_slot *slot = LIST_ENTRY(node, struct log_slot, node);
            slot->started_ns = log->row == NULL ? 0 : clock_ns();
            sent += 1;
            slot_send(log, slot);
        }
        if (log->answered < count) {
            check(log_world_tick(&log->world));
            /* As in a broker, what gathered leaves before the answered clients send more. */
            store_commit(log->world.store);
            ring_step(log->world.ring, 0);
        }
    }
}

void bench_log_warm(struct bench_log *log)
{
    uint64_t size = log->world.options.cache_size + log->world.options.slab_size;
    uint64_t batches = size / log->batch_size + 1;
    while (store_counters(log->world.store)->append_size < size) {
        bench_log_append(log, batches / 8 + 1);
    }
}

void bench_log_wait_until(struct bench_log *log, uint64_t until_ns)
{
    while (clock_ns() < until_ns) {
        timer_arm(&log->world.timers, &log->due, until_ns);
        log_world_tick(&log->world);
    }
}

void bench_log_append_paced(struct bench_log *log, uint64_t count, uint64_t interval_ns)
{
    log->answered = 0;
    uint64_t begin_ns = clock_ns();
    for (uint64_t sent = 0; sent < count; sent++) {
        uint64_t due_ns = begin_ns + sent * interval_ns;
        bench_log_wait_until(log, due_ns);
        while (list_is_empty(&log->free)) {
            check(log_world_tick(&log->world));
        }
        struct log_slot *slot = LIST_ENTRY(list_pop_head(&log->free), struct log_slot, node);
        slot->started_ns = due_ns;
        slot_send(log, slot);
    }
    while (log->answered < count) {
        check(log_world_tick(&log->world));
    }
}

static void read_done(struct partition_read *read)
{
    *(bool *)read->owner = true;
}

void bench_log_take(struct bench_log *log, int64_t offset, size_t size, struct partition_read *read)
{
    bool done = false;
    *read = (struct partition_read){.offset = offset,
                                    .size_max = (uint32_t)size,
                                    .first_whole = true,
                                    .done = read_done,
                                    .owner = &done};
    partition_read(log->partition, read);
    while (!done) {
        check(log_world_tick(&log->world));
    }
    check(read->status == STATUS_OK && read->size <= log->buffer_size);
}

size_t bench_log_copy(struct bench_log *log, const struct partition_read *read)
{
    size_t used = 0;
    for (int32_t i = 0; i < read->slice_count; i++) {
        memcpy(log->buffer + used, read->slices[i].data, read->slices[i].size);
        used += read->slices[i].size;
    }
    return used;
}

uint64_t bench_log_read(struct bench_log *log, int64_t offset, size_t size)
{
    struct partition_read read;
    bench_log_take(log, offset, size, &read);
    size_t used = bench_log_copy(log, &read);
    partition_read_release(log->partition, &read);
    uint64_t records = 0;
    struct batch_header header;
    for (size_t at = 0; at + BATCH_HEADER_SIZE <= used; records += (uint64_t)header.count) {
        size_t whole = (size_t)batch_size_of(log->buffer + at);
        if (at + whole > used) {
            break; /* cut at the end */
        }
        check(batch_check(bytes_of(log->buffer + at, whole), &header) == STATUS_OK);
        check(header.base_offset == offset + (int64_t)records);
        at += whole;
    }
    return records;
}
