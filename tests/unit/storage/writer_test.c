/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three writers behind one log: what each hands to the device for batches that do not fit
 * pages, what a power cut leaves of them, and that a failed write is the last one of its file.
 */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/ring_backend.h"
#include "tests/lib/log_world.h"

#define BATCH_COUNT 24
#define BATCH_SIZE_MAX 20000

static const size_t sizes[] = {100, 1000, 4097, 20000};

/* Sees every op before the simulated disk does. */
struct spy {
    struct ring_backend backend; /* first: the ring points here */
    const struct ring_backend *original;
    uint32_t writes;
    uint32_t unaligned;
    bool armed; /* the next write fails */
    int32_t file_failed;
    uint32_t writes_behind; /* to that file, before it was closed */
};

static void spy_submitted(struct ring *ring, struct op *op)
{
    struct spy *spy = (void *)(uintptr_t)ring->backend;
    if (op->kind == OP_WRITE) {
        bool aligned = op->position % PAGE_SIZE == 0;
        for (int32_t i = 0; i < op->vector_count; i++) {
            aligned = aligned && (uintptr_t)op->vector[i].iov_base % PAGE_SIZE == 0 &&
                      op->vector[i].iov_len % PAGE_SIZE == 0;
        }
        spy->writes += 1;
        spy->unaligned += aligned ? 0 : 1;
        spy->writes_behind += op->file == spy->file_failed ? 1 : 0;
        if (spy->armed) {
            spy->file_failed = op->file;
            spy->armed = false;
        }
    } else if (op->kind == OP_CLOSE && op->file == spy->file_failed) {
        spy->file_failed = -1; /* the number may name another file from here on */
    }
    ring->backend = spy->original;
    spy->original->submitted(ring, op);
    ring->backend = &spy->backend;
}

static void spy_start(struct spy *spy, struct ring *ring)
{
    *spy = (struct spy){*ring->backend, ring->backend, .file_failed = -1};
    spy->backend.submitted = spy_submitted;
    ring->backend = &spy->backend;
}

struct sent {
    struct partition_append append;
    uint8_t memory[BATCH_SIZE_MAX + 64];
    bool done;
};

static void sent_done(struct partition_append *append)
{
    ((struct sent *)append->owner)->done = true;
}

/* One record in a batch of exactly `size` bytes. */
static void send_one(struct partition *partition, struct sent *sent, uint64_t tag, size_t size)
{
    size_t made = 0;
    for (size_t asked = size - 40; made != size && asked < size + 40; asked++) {
        made = log_batch_make(sent->memory, sizeof(sent->memory), tag, 1, asked, 1000);
    }
    assert_int_equal(made, size);
    sent->done = false;
    sent->append = (struct partition_append){
        .batch = sent->memory, .size = made, .now_ms = 1000, .done = sent_done, .owner = sent};
    batch_header_decode(&sent->append.header, sent->memory);
    partition_append(partition, &sent->append);
}

static struct partition *open_log(struct log_world *world, bool fresh)
{
    struct partition_options options = {
        .topic = "pages", .fresh = fresh, .config = log_config_default()};
    memset(options.topic_id.bytes, 0x17, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    return partition;
}

static void read_done(struct partition_read *read)
{
    *(bool *)read->owner = true;
}

static void expect_batch(struct log_world *world, struct partition *partition,
                         const struct sent *sent)
{
    bool done = false;
    struct partition_read read = {.offset = sent->append.base_offset,
                                  .size_max = 1,
                                  .first_whole = true,
                                  .done = read_done,
                                  .owner = &done};
    partition_read(partition, &read);
    assert_true(log_world_until(world, &done, 100000));
    assert_int_equal(read.status, STATUS_OK);
    assert_int_equal(read.size, sent->append.size);
    size_t at = 0;
    for (int32_t i = 0; i < read.slice_count; i++) {
        assert_memory_equal(read.slices[i].data, sent->memory + at, read.slices[i].size);
        at += read.slices[i].size;
    }
    partition_read_release(partition, &read);
}

/* All batches at once, then a power cut: every answer given is kept. */
static void run_pages(enum writer_kind kind, size_t size)
{
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = size, .writer = kind});
    struct spy spy;
    spy_start(&spy, world.ring);
    struct partition *partition = open_log(&world, true);
    struct sent *sent = calloc(BATCH_COUNT, sizeof(*sent));
    assert_non_null(sent);
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        send_one(partition, &sent[i], i, size);
    }
    assert_true(log_world_until(&world, &sent[BATCH_COUNT - 1].done, 100000));
    uint64_t writes = store_counters(world.store)->writes;
    if (kind == WRITER_BUFFERED) {
        assert_true(spy.unaligned > 0);
    } else {
        assert_int_equal(spy.unaligned, 0);
    }
    if (kind == WRITER_DIRECT) {
        assert_true(writes >= BATCH_COUNT); /* one each; zeros may have gone ahead */
    } else {
        assert_true(writes < BATCH_COUNT); /* gathered while the file was made */
    }
    world.ring->backend = spy.original;
    log_world_crash(&world);
    partition = open_log(&world, false);
    assert_int_equal(partition_facts(partition).high_watermark, BATCH_COUNT);
    assert_int_equal(partition_facts(partition).size, BATCH_COUNT * size);
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        assert_int_equal(sent[i].append.status, STATUS_OK);
        expect_batch(&world, partition, &sent[i]);
    }
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

static void test_pages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        run_pages(WRITER_ALIGNED, sizes[i]);
        run_pages(WRITER_DIRECT, sizes[i]);
        run_pages(WRITER_BUFFERED, sizes[i]);
    }
}

/* What waits is refused, nothing more goes to that file, and the log goes on in the next one. */
static void run_failure(enum writer_kind kind, size_t size)
{
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = size, .writer = kind});
    struct spy spy;
    spy_start(&spy, world.ring);
    struct partition *partition = open_log(&world, true);
    struct sent *sent = calloc(4, sizeof(*sent));
    assert_non_null(sent);
    send_one(partition, &sent[0], 0, size);
    assert_true(log_world_until(&world, &sent[0].done, 100000));
    assert_int_equal(sent[0].append.status, STATUS_OK);
    world.ring->backend = spy.original; /* the fault goes in where the spy stands */
    log_world_fail(&world, 1, 1U << OP_WRITE, EIO);
    world.ring->backend = &spy.backend;
    spy.armed = true;
    send_one(partition, &sent[1], 1, size);
    send_one(partition, &sent[2], 2, size);
    assert_true(log_world_until(&world, &sent[2].done, 100000));
    assert_int_equal(sent[1].append.status, STATUS_KAFKA_STORAGE_ERROR);
    assert_int_equal(sent[2].append.status, STATUS_KAFKA_STORAGE_ERROR);
    log_world_fail(&world, 0, 0, 0);
    log_world_sleep(&world, 5000);
    send_one(partition, &sent[3], 3, size);
    assert_true(log_world_until(&world, &sent[3].done, 100000));
    assert_int_equal(sent[3].append.status, STATUS_OK);
    assert_int_equal(spy.writes_behind, 0);
    assert_true(partition_facts(partition).segment_count >= 2);
    expect_batch(&world, partition, &sent[0]);
    expect_batch(&world, partition, &sent[3]);
    world.ring->backend = spy.original;
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

static void test_failure_is_final(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        run_failure(WRITER_ALIGNED, sizes[i]);
        run_failure(WRITER_DIRECT, sizes[i]);
        run_failure(WRITER_BUFFERED, sizes[i]);
    }
}

/* No page for a copy of the tail: the writer must not touch what was gathered behind the batch. */
static void test_direct_without_pages(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){
                               .seed = 9, .slab_size = 2 * 65536, .writer = WRITER_DIRECT});
    struct partition *partition = open_log(&world, true);
    struct sent *sent = calloc(BATCH_COUNT, sizeof(*sent));
    assert_non_null(sent);
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        send_one(partition, &sent[i], i, BATCH_SIZE_MAX - i);
    }
    assert_true(log_world_until(&world, &sent[BATCH_COUNT - 1].done, 100000));
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        assert_int_equal(sent[i].append.status, STATUS_OK);
        expect_batch(&world, partition, &sent[i]);
    }
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_failure_is_final),
        cmocka_unit_test(test_direct_without_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
