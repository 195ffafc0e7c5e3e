/* SPDX-License-Identifier: Apache-2.0 */
/* What recovery takes for the end of a log, and that nothing goes that it could not keep. */
#include "storage/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/ring_backend.h"
#include "storage/partition_state.h"
#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "wire/batch.h"
#include "wire/record.h"

#define BATCH_SIZE 90000
#define WIDE_SIZE (INT64_C(8) << 20)
#define FOLDER "/data/orders-0/"

struct sent {
    struct partition_append append;
    uint8_t memory[2 * BATCH_SIZE];
    bool done;
};

static void sent_done(struct partition_append *append)
{
    struct sent *sent = append->owner;
    sent->done = true;
}

static enum status open_as(struct log_world *world, bool fresh, int32_t epoch, int64_t segment_size,
                           struct partition **partition)
{
    struct partition_options options = {.topic = "orders",
                                        .index = 0,
                                        .leader_epoch = epoch,
                                        .fresh = fresh,
                                        .config = log_config_default()};
    memset(options.topic_id.bytes, 0x42, 16);
    options.config.segment_size_max = segment_size;
    return partition_open(partition, world->store, &options);
}

/* Segments of one batch. */
static enum status open_log(struct log_world *world, bool fresh, struct partition **partition)
{
    return open_as(world, fresh, 1, 100000, partition);
}

/* One segment. */
static struct partition *open_wide(struct log_world *world, bool fresh)
{
    struct partition *partition;
    assert_int_equal(open_as(world, fresh, 1, WIDE_SIZE, &partition), STATUS_OK);
    return partition;
}

struct batch {
    int32_t count; /* records */
    size_t size;
    int64_t producer_id; /* 0: none */
    int32_t sequence;
    bool transactional;
    bool commits; /* a marker */
};

static size_t make_marker(uint8_t *memory, size_t size_max)
{
    struct batch_builder builder;
    batch_builder_init(&builder, memory, size_max);
    uint8_t key[4] = {0, 0, 0, 1};
    uint8_t value[6] = {0, 0, 0, 0, 0, 1};
    batch_builder_add(&builder, 1000, bytes_of(key, 4), bytes_of(value, 6), NULL, 0);
    struct bytes out;
    struct batch_scratch scratch = {0};
    assert_int_equal(batch_builder_finish(&builder, CODEC_NONE, 0, scratch, 0, &out), STATUS_OK);
    memmove(memory, out.data, out.size);
    return out.size;
}

static void send_batch(struct log_world *world, struct partition *partition,
                       const struct batch *batch)
{
    struct sent *sent = calloc(1, sizeof(*sent));
    int64_t end_offset = partition_facts(partition).end_offset;
    size_t size = batch->commits
                      ? make_marker(sent->memory, sizeof(sent->memory))
                      : log_batch_make(sent->memory, sizeof(sent->memory), (uint64_t)end_offset,
                                       batch->count, batch->size, 1000);
    struct batch_header header;
    batch_header_decode(&header, sent->memory);
    if (batch->producer_id > 0) {
        header.producer_id = batch->producer_id;
        header.producer_epoch = 0;
        header.base_sequence = batch->commits ? -1 : batch->sequence;
        header.attributes |= batch->transactional || batch->commits ? BATCH_TRANSACTIONAL : 0;
        header.attributes |= batch->commits ? BATCH_CONTROL : 0;
        batch_header_encode(&header, sent->memory);
        batch_seal(sent->memory, size);
        batch_header_decode(&header, sent->memory);
    }
    sent->append = (struct partition_append){
        .batch = sent->memory, .size = size, .header = header, .done = sent_done, .owner = sent};
    partition_append(partition, &sent->append);
    assert_true(log_world_until(world, &sent->done, 100000));
    assert_int_equal(sent->append.status, STATUS_OK);
    assert_int_equal(sent->append.base_offset, end_offset);
    free(sent);
}

/* Batches of so many records. */
static void send_many(struct log_world *world, struct partition *partition, uint64_t count,
                      int32_t records)
{
    struct batch batch = {.count = records, .size = BATCH_SIZE};
    for (uint64_t i = 0; i < count; i++) {
        send_batch(world, partition, &batch);
    }
}

static void send_count(struct log_world *world, struct partition *partition, uint64_t count)
{
    send_many(world, partition, count, 1);
}

static void got_done(struct partition_read *read)
{
    *(bool *)read->owner = true;
}

static enum status fetch(struct log_world *world, struct partition *partition, int64_t offset)
{
    bool done = false;
    struct partition_read read = {
        .offset = offset, .size_max = 1, .first_whole = true, .done = got_done, .owner = &done};
    partition_read(partition, &read);
    assert_true(log_world_until(world, &done, 100000));
    partition_read_release(partition, &read);
    return read.status;
}

static void drop(struct log_world *world, const char *path)
{
    struct op op = {.kind = OP_UNLINK, .path = path};
    assert_int_equal(ring_call(world->ring, &op), 0);
}

/* A log of `count` segments of one batch each, stopped cleanly or cut; its last tail file has a D.
 */
static void open_world(struct log_world *world, uint64_t count, bool cut)
{
    struct partition *partition;
    log_world_open(world, &(struct log_world_options){.seed = 1});
    assert_int_equal(open_log(world, true, &partition), STATUS_OK);
    send_count(world, partition, count);
    log_world_sleep(world, 20000);
    if (cut) {
        log_world_crash(world);
    } else {
        partition_close(partition, true);
        log_world_restart(world);
    }
}

/* Of four segments the second begins with a flipped bit, and the first has no hint. */
static void expect_second_refused(struct log_world *world)
{
    struct partition *partition;
    assert_true(log_world_flip(world, FOLDER "00000000000000000001.log", 70, 3));
    assert_int_equal(open_log(world, false, &partition), STATUS_OK);
    struct partition_facts facts = partition_facts(partition);
    assert_int_equal(facts.end_offset, 4);
    assert_int_equal(facts.segment_count, 4);
    assert_int_equal(fetch(world, partition, 0), STATUS_OK);
    assert_int_equal(fetch(world, partition, 1), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(fetch(world, partition, 2), STATUS_OK);
    assert_int_equal(fetch(world, partition, 3), STATUS_OK);
    uint64_t size;
    assert_null(sim_world_file(world->world, FOLDER "00000000000000000001.cut-0", &size));
    log_world_sleep(world, 20000); /* hints of what had none */
    partition_close(partition, true);
    log_world_restart(world);
    assert_int_equal(open_log(world, false, &partition), STATUS_OK);
    assert_int_equal(partition_facts(partition).end_offset, 4);
    assert_int_equal(fetch(world, partition, 1), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(fetch(world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    log_world_close(world);
}

static void test_hint_vouches(void **state)
{
    (void)state;
    struct log_world world;
    open_world(&world, 4, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    expect_second_refused(&world);
}

static void test_next_batch_vouches(void **state)
{
    (void)state;
    struct log_world world;
    open_world(&world, 4, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    drop(&world, FOLDER "00000000000000000001.hint");
    drop(&world, FOLDER "00000000000000000002.hint");
    drop(&world, FOLDER "00000000000000000003.tail");
    expect_second_refused(&world);
}

/* The last one: its tail file says that all of it was durable. */
static void test_tail_vouches(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    open_world(&world, 2, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    assert_true(log_world_flip(&world, FOLDER "00000000000000000001.log", 70, 3));
    assert_int_equal(open_log(&world, false, &partition), STATUS_OK);
    assert_int_equal(partition_facts(partition).end_offset, 2);
    assert_int_equal(fetch(&world, partition, 0), STATUS_OK);
    assert_int_equal(fetch(&world, partition, 1), STATUS_CORRUPT_MESSAGE);
    partition_close(partition, true);
    log_world_close(&world);
}

/* Nothing vouches: it was made ahead, and is put aside as it is. */
static void test_nothing_vouches(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    open_world(&world, 2, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    drop(&world, FOLDER "00000000000000000001.tail");
    assert_true(log_world_flip(&world, FOLDER "00000000000000000001.log", 70, 3));
    assert_int_equal(open_log(&world, false, &partition), STATUS_OK);
    assert_int_equal(partition_facts(partition).end_offset, 1);
    uint64_t size = 0;
    assert_non_null(sim_world_file(world.world, FOLDER "00000000000000000001.cut-0", &size));
    assert_in_range(size, BATCH_SIZE - 1000, BATCH_SIZE + 1000);
    partition_close(partition, true);
    log_world_close(&world);
}

static int64_t file_open(struct log_world *world, const char *path, uint32_t flags)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = flags};
    int64_t file = ring_call(world->ring, &op);
    assert_true(file >= 0);
    return file;
}

static void file_call(struct log_world *world, struct op op)
{
    assert_true(ring_call(world->ring, &op) >= 0);
}

static void file_cut(struct log_world *world, const char *path, uint64_t size)
{
    int64_t file = file_open(world, path, OPEN_WRITE);
    file_call(world, (struct op){.kind = OP_TRUNCATE, .file = (int32_t)file, .size = size});
    file_call(world, (struct op){.kind = OP_SYNC, .file = (int32_t)file});
    file_call(world, (struct op){.kind = OP_CLOSE, .file = (int32_t)file});
}

/* A file of `size` bytes behind so many zeros; it and its name are durable. */
static void file_make(struct log_world *world, const char *path, uint64_t zeros, size_t size)
{
    _Alignas(4096) static uint8_t data[4096];
    memset(data, 0x55, sizeof(data));
    struct iovec slice = {data, size};
    int64_t file = file_open(world, path, OPEN_WRITE | OPEN_CREATE);
    file_call(world, (struct op){.kind = OP_WRITE,
                                 .file = (int32_t)file,
                                 .vector = &slice,
                                 .vector_count = 1,
                                 .position = zeros});
    file_call(world, (struct op){.kind = OP_SYNC, .file = (int32_t)file});
    file_call(world, (struct op){.kind = OP_CLOSE, .file = (int32_t)file});
    file = file_open(world, FOLDER, OPEN_READ | OPEN_DIRECTORY);
    file_call(world, (struct op){.kind = OP_SYNC, .file = (int32_t)file});
    file_call(world, (struct op){.kind = OP_CLOSE, .file = (int32_t)file});
}

/* Size of a file; UINT64_MAX: there is none. */
static uint64_t file_size(struct log_world *world, const char *path)
{
    uint64_t size;
    return sim_world_file(world->world, path, &size) == NULL ? UINT64_MAX : size;
}

/* Zeros in front are not the whole file: it is put aside, and never over what was before. */
static void test_aside(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    open_world(&world, 1, false);
    file_make(&world, FOLDER "00000000000000000001.log", 5 * MIB, 4096);
    file_make(&world, FOLDER "00000000000000000001.cut-0", 0, 100);
    assert_int_equal(open_log(&world, false, &partition), STATUS_OK);
    assert_int_equal(partition_facts(partition).end_offset, 1);
    assert_int_equal(file_size(&world, FOLDER "00000000000000000001.log"), UINT64_MAX);
    assert_int_equal(file_size(&world, FOLDER "00000000000000000001.cut-0"), 100);
    assert_int_equal(file_size(&world, FOLDER "00000000000000000001.cut-0-2"), 5 * MIB + 4096);
    partition_close(partition, true);
    log_world_close(&world);
}

/* The list of what must not be served cannot be had at a start: either it can after all, or the
 * log stays closed. */
static void test_ranges_unread(void **state)
{
    (void)state;
    static const struct sim_failure failures[] = {{.kinds = 1U << OP_OPEN, .error = EMFILE},
                                                  {.kinds = 1U << OP_READ, .error = EIO}};
    struct log_world world;
    struct partition *partition;
    open_world(&world, 4, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    drop(&world, FOLDER "00000000000000000001.hint"); /* is made again over the bad bytes */
    assert_true(log_world_flip(&world, FOLDER "00000000000000000001.log", 70, 3));
    assert_int_equal(open_log(&world, false, &partition), STATUS_OK);
    assert_int_equal(fetch(&world, partition, 1), STATUS_CORRUPT_MESSAGE);
    log_world_sleep(&world, 20000);
    partition_close(partition, true);
    for (uint64_t i = 0; i < 2 * 30; i++) {
        log_world_restart(&world);
        struct sim_failure failure = failures[i % 2];
        failure.first = i / 2 + 1;
        sim_world_set_failure(world.world, &failure);
        enum status status = open_log(&world, false, &partition);
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        if (status == STATUS_OK) {
            assert_int_equal(fetch(&world, partition, 1), STATUS_CORRUPT_MESSAGE);
            partition_close(partition, true);
        }
    }
    assert_int_equal(open_log(&world, false, &partition), STATUS_OK);
    assert_int_equal(fetch(&world, partition, 1), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(fetch(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    log_world_close(&world);
}

/* ---- a log that is shorter than it was ---- */

/* Four batches, stopped cleanly; then all behind the second is gone. */
static void open_shortened(struct log_world *world, uint64_t seed)
{
    log_world_open(world, &(struct log_world_options){.seed = seed});
    struct partition *partition = open_wide(world, true);
    send_count(world, partition, 4);
    partition_close(partition, true);
    log_world_restart(world);
    file_cut(world, FOLDER "00000000000000000000.log", 200000);
}

/* The tail file's D is taken back before appends grow over it: what they answer stays. */
static void test_shorter_grows_again(void **state)
{
    (void)state;
    for (uint64_t count = 0; count < 7; count++) {
        struct log_world world;
        open_shortened(&world, 1);
        struct partition *partition = open_wide(&world, false);
        assert_int_equal(partition_facts(partition).end_offset, 2);
        assert_true(partition_facts(partition).epoch_bump_due);
        send_many(&world, partition, count, 5);
        log_world_crash(&world);
        partition = open_wide(&world, false);
        struct partition_facts facts = partition_facts(partition);
        assert_int_equal(facts.end_offset, 2 + 5 * (int64_t)count);
        assert_true(facts.epoch_bump_due); /* still: no epoch began */
        for (int64_t offset = 0; offset < facts.end_offset; offset++) {
            assert_int_equal(fetch(&world, partition, offset), STATUS_OK);
        }
        partition_set_epoch(partition, 2);
        assert_false(partition_facts(partition).epoch_bump_due);
        partition_close(partition, true);
        log_world_restart(&world);
        partition = open_wide(&world, false);
        assert_false(partition_facts(partition).epoch_bump_due);
        partition_close(partition, true);
        log_world_close(&world);
    }
}

/* What was bad behind the end is not said of what comes in its place. */
static void test_shorter_forgets_ranges(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition *partition = open_wide(&world, true);
    send_count(&world, partition, 4);
    partition_close(partition, true);
    log_world_restart(&world);
    assert_true(log_world_flip(&world, FOLDER "00000000000000000000.log", 340000, 3));
    partition = open_wide(&world, false);
    assert_int_equal(fetch(&world, partition, 3), STATUS_CORRUPT_MESSAGE);
    log_world_sleep(&world, 3000);
    partition_close(partition, true);
    log_world_restart(&world);
    file_cut(&world, FOLDER "00000000000000000000.log", 200000);
    for (int round = 0; round < 2; round++) {
        partition = open_wide(&world, false);
        send_count(&world, partition, 2);
        assert_int_equal(fetch(&world, partition, 2), STATUS_OK);
        assert_int_equal(fetch(&world, partition, 3), STATUS_OK);
        log_world_crash(&world);
    }
    log_world_close(&world);
}

/* Nor a snapshot of then: it goes for good, or the log stays closed. */
static void test_shorter_drops_snapshots(void **state)
{
    (void)state;
    static const char path[] = FOLDER "00000000000000000004.snapshot";
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct log_world world;
        struct partition *partition;
        open_shortened(&world, seed);
        file_make(&world, path, 0, 100);
        struct sim_failure failure = {
            .kinds = 1U << OP_UNLINK, .first = 1, .lasting = true, .error = EIO};
        sim_world_set_failure(world.world, &failure);
        assert_int_equal(open_as(&world, false, 1, WIDE_SIZE, &partition),
                         STATUS_KAFKA_STORAGE_ERROR);
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        partition = open_wide(&world, false);
        assert_int_equal(partition_facts(partition).end_offset, 2);
        log_world_crash(&world);
        assert_int_equal(file_size(&world, path), UINT64_MAX);
        log_world_close(&world);
    }
}

/* Of three batches in a segment that was not sealed yet the second is bad: the third is served, and
 * the seal takes no byte away. */
static void test_hole_is_kept(void **state)
{
    (void)state;
    for (int with_tail = 0; with_tail < 2; with_tail++) {
        static const char path[] = FOLDER "00000000000000000000.log";
        struct log_world world;
        struct partition *partition;
        log_world_open(&world, &(struct log_world_options){.seed = 1});
        assert_int_equal(open_as(&world, true, 1, 300000, &partition), STATUS_OK);
        send_count(&world, partition, 1);
        log_world_sleep(&world, (uint64_t)with_tail * 2000); /* its D lies behind the first batch */
        struct sim_failure failure = {
            .kinds = 1U << OP_TRUNCATE, .first = 1, .lasting = true, .error = EIO};
        sim_world_set_failure(world.world, &failure); /* no seal */
        send_count(&world, partition, 4);
        log_world_crash(&world);
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        uint64_t size = file_size(&world, path);
        assert_int_equal(file_size(&world, FOLDER "00000000000000000000.hint"), UINT64_MAX);
        assert_true(log_world_flip(&world, path, 100000, 3));
        for (int round = 0; round < 2; round++) {
            assert_int_equal(open_as(&world, false, 1, 300000, &partition), STATUS_OK);
            assert_int_equal(partition_facts(partition).end_offset, 5);
            for (int64_t offset = 0; offset < 5; offset++) {
                assert_int_equal(fetch(&world, partition, offset),
                                 offset == 1 ? STATUS_CORRUPT_MESSAGE : STATUS_OK);
            }
            log_world_sleep(&world, 20000); /* for the hint */
            partition_close(partition, true);
            log_world_restart(&world);
            assert_in_range(file_size(&world, path), 260000, size);
        }
        log_world_close(&world);
    }
}

/* A write fails, and the producers' state needs a segment whose hint is gone. */
static void test_reload_rebuilds(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    assert_int_equal(open_as(&world, true, 1, 5 << 20, &partition), STATUS_OK);
    struct batch batch = {.count = 1, .size = BATCH_SIZE, .producer_id = 9};
    for (batch.sequence = 0; partition_facts(partition).segment_count < 3; batch.sequence++) {
        send_batch(&world, partition, &batch);
    }
    log_world_sleep(&world, 20000);
    drop(&world, FOLDER "00000000000000000000.hint");
    for (int i = 0; i < batch.sequence; i++) {
        char path[80];
        snprintf(path, sizeof(path), FOLDER "%020d.snapshot", i);
        struct op op = {.kind = OP_UNLINK, .path = path};
        (void)ring_call(world.ring, &op); /* as many as there are */
    }
    struct sim_failure failure = {.kinds = 1U << OP_WRITE, .first = 1, .error = EIO};
    sim_world_set_failure(world.world, &failure);
    struct sent *sent = calloc(1, sizeof(*sent));
    size_t size = log_batch_make(sent->memory, sizeof(sent->memory), 7, 1, BATCH_SIZE, 1000);
    sent->append = (struct partition_append){
        .batch = sent->memory, .size = size, .done = sent_done, .owner = sent};
    batch_header_decode(&sent->append.header, sent->memory);
    partition_append(partition, &sent->append);
    assert_true(log_world_until(&world, &sent->done, 100000));
    assert_int_equal(sent->append.status, STATUS_KAFKA_STORAGE_ERROR);
    log_world_sleep(&world, 3000);
    assert_int_equal(partition_facts(partition).state, PARTITION_OPEN);
    send_batch(&world, partition, &batch); /* its sequence follows */
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

/* ---- the walk ---- */

/* Metadata from a backup names an older epoch: what is appended then is no less the log's. */
static void test_older_metadata(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    assert_int_equal(open_as(&world, true, 7, WIDE_SIZE, &partition), STATUS_OK);
    send_count(&world, partition, 1);
    log_world_crash(&world);
    for (int64_t end = 1; end < 4; end++) {
        assert_int_equal(open_as(&world, false, 5, WIDE_SIZE, &partition), STATUS_OK);
        assert_int_equal(partition_facts(partition).end_offset, end);
        assert_int_equal(partition_facts(partition).leader_epoch, 7);
        partition_set_epoch(partition, 6);
        send_count(&world, partition, 1);
        log_world_crash(&world);
    }
    log_world_close(&world);
}

/* A bad header below D takes its own batch from the producers' state, not the marker behind it. */
static void test_replay_passes_rot(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition *partition = open_wide(&world, true);
    send_batch(&world, partition,
               &(struct batch){.count = 1, .size = 1000, .producer_id = 9, .transactional = true});
    uint64_t position = (uint64_t)partition_facts(partition).size;
    send_count(&world, partition, 1);
    send_batch(&world, partition, &(struct batch){.producer_id = 9, .commits = true});
    log_world_sleep(&world, 20000); /* for a tail */
    log_world_crash(&world);
    assert_true(log_world_flip(&world, FOLDER "00000000000000000000.log", position + 16, 3));
    partition = open_wide(&world, false);
    struct partition_facts facts = partition_facts(partition);
    assert_int_equal(facts.end_offset, 3);
    assert_int_equal(facts.last_stable_offset, 3);
    partition_close(partition, true);
    log_world_close(&world);
}

/* ---- the cut ---- */

/* One segment without a tail file whose first batch is bad: all of it has to be kept or to stay. */
static void test_no_copy_no_cut(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {1U << OP_WRITE, 1U << OP_SYNC, 1U << OP_READ};
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct log_world world;
        struct partition *partition;
        open_world(&world, 1, false);
        drop(&world, FOLDER "00000000000000000000.tail");
        assert_true(log_world_flip(&world, FOLDER "00000000000000000000.log", 70, 3));
        uint64_t size;
        (void)sim_world_file(world.world, FOLDER "00000000000000000000.log", &size);
        for (uint64_t first = 1; first < 100; first++) {
            struct sim_failure failure = {
                .kinds = kinds[i], .first = first, .lasting = true, .error = ENOSPC};
            sim_world_set_failure(world.world, &failure);
            enum status status = open_log(&world, false, &partition);
            sim_world_set_failure(world.world, &(struct sim_failure){0});
            uint64_t left = 0;
            (void)sim_world_file(world.world, FOLDER "00000000000000000000.log", &left);
            if (status == STATUS_OK) {
                assert_int_equal(left, 0);
                partition_close(partition, true);
                break;
            }
            uint64_t kept = 0;
            (void)sim_world_file(world.world, FOLDER "00000000000000000000.cut-0", &kept);
            assert_int_equal(status, STATUS_KAFKA_STORAGE_ERROR);
            assert_true(left == size || (left == 0 && kept >= size));
        }
        uint64_t kept = 0;
        assert_non_null(sim_world_file(world.world, FOLDER "00000000000000000000.cut-0", &kept));
        assert_int_equal(kept, size);
        log_world_close(&world);
    }
}

/* A second cut at the same place is kept beside the first; the same bytes are kept once. */
static void test_copies_stay(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition *partition = open_wide(&world, true);
    send_count(&world, partition, 1);
    uint64_t position = (uint64_t)partition_facts(partition).size;
    uint64_t sizes[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    char paths[3][80];
    for (int i = 0; i < 3; i++) {
        snprintf(paths[i], sizeof(paths[i]), FOLDER "00000000000000000000.cut-%llu%s",
                 (unsigned long long)position,
                 i == 0   ? ""
                 : i == 1 ? "-2"
                          : "-3");
    }
    for (int i = 0; i < 2; i++) {
        send_many(&world, partition, 1, i + 1); /* other bytes each time */
        sizes[i] = (uint64_t)partition_facts(partition).size - position;
        partition_close(partition, true);
        log_world_restart(&world);
        drop(&world, FOLDER "00000000000000000000.tail");
        assert_true(log_world_flip(&world, FOLDER "00000000000000000000.log", position + 100, 3));
        struct sim_failure failure = {
            .kinds = 1U << OP_TRUNCATE, .first = 1, .lasting = true, .error = EIO};
        sim_world_set_failure(world.world, &failure);
        assert_int_equal(open_as(&world, false, 1, WIDE_SIZE, &partition),
                         STATUS_KAFKA_STORAGE_ERROR);
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        partition = open_wide(&world, false);
        assert_int_equal(partition_facts(partition).end_offset, 1);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(file_size(&world, paths[k]), sizes[k]);
        }
    }
    partition_close(partition, true);
    log_world_close(&world);
}

/* ---- a read that answers other bytes than the disk holds, once ---- */

struct misread {
    struct ring_backend backend; /* first: the ring points here */
    const struct ring_backend *original;
    uint64_t left; /* reads until then */
    bool first;    /* a bit of the first batch's magic, else of the middle */
    void (*done)(struct op *op);
    void *owner;
};

static void misread_done(struct op *op)
{
    struct misread *misread = op->owner;
    op->done = misread->done;
    op->owner = misread->owner;
    if (op->result > 16) {
        ((uint8_t *)op->vector[0].iov_base)[misread->first ? 16 : op->result / 2] ^= 4;
    }
    op->done(op);
}

static void misread_submitted(struct ring *ring, struct op *op)
{
    struct misread *misread = (void *)(uintptr_t)ring->backend;
    if (op->kind == OP_READ && misread->left > 0) {
        misread->left -= 1;
        if (misread->left == 0) {
            misread->done = op->done;
            misread->owner = op->owner;
            op->done = misread_done;
            op->owner = misread;
        }
    }
    ring->backend = misread->original;
    misread->original->submitted(ring, op);
    ring->backend = &misread->backend;
}

/* Whichever read of a start it is: nothing is cut, and the log is not written with it. */
static void test_misread(void **state)
{
    (void)state;
    static const char path[] = FOLDER "00000000000000000000.log";
    static uint8_t before[8 * BATCH_SIZE];
    bool over;
    static const int64_t segment_sizes[] = {WIDE_SIZE, 100000};
    for (uint64_t number = 1, kind = 0; kind < 4; number = over ? 1 : number + 1, kind += over) {
        struct log_world world;
        log_world_open(&world, &(struct log_world_options){.seed = 1});
        struct partition *partition;
        int64_t segment_size = segment_sizes[kind % 2];
        assert_int_equal(open_as(&world, true, 1, segment_size, &partition), STATUS_OK);
        send_count(&world, partition, 2);
        log_world_sleep(&world, 2000); /* for a tail */
        struct sim_failure failure = {
            .kinds = 1U << OP_TRUNCATE, .first = 1, .lasting = true, .error = EIO};
        sim_world_set_failure(world.world, &failure); /* no seal */
        send_count(&world, partition, 5);
        uint64_t end = (uint64_t)partition->segments[0]->size;
        log_world_crash(&world);
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        uint64_t size;
        memcpy(before, sim_world_file(world.world, path, &size), end);
        struct misread misread = {.backend = *world.ring->backend,
                                  .original = world.ring->backend,
                                  .left = number,
                                  .first = kind > 1};
        misread.backend.submitted = misread_submitted;
        world.ring->backend = &misread.backend;
        enum status status = open_as(&world, false, 1, segment_size, &partition);
        over = misread.left > 0;
        misread.left = 0;
        if (status != STATUS_OK) {
            /* Of the topic's id, for example: nothing was touched. */
            assert_int_equal(open_as(&world, false, 1, segment_size, &partition), STATUS_OK);
        }
        assert_int_equal(partition_facts(partition).end_offset, 7);
        assert_memory_equal(sim_world_file(world.world, path, &size), before, end);
        for (int64_t offset = 0; offset < 7; offset++) {
            assert_int_equal(fetch(&world, partition, offset), STATUS_OK);
        }
        partition_close(partition, true);
        world.ring->backend = misread.original;
        log_world_close(&world);
    }
}

/* Whichever op of a start fails: where the log stays closed, a line says which file, and why. */
static void test_refusals_are_told(void **state)
{
    (void)state;
    struct log_world world;
    struct partition *partition;
    open_world(&world, 4, false);
    drop(&world, FOLDER "00000000000000000000.hint");
    drop(&world, FOLDER "leader-epoch-checkpoint");
    FILE *lines = tmpfile();
    assert_non_null(lines);
    bool over = false;
    for (uint64_t number = 1; !over; number++) {
        rewind(lines);
        assert_int_equal(ftruncate(fileno(lines), 0), 0);
        world.diag.file = fileno(lines);
        struct sim_failure failure = {.kinds = UINT32_MAX, .first = number, .error = EIO};
        sim_world_set_failure(world.world, &failure);
        enum status status = open_log(&world, false, &partition);
        over = sim_world_failure_seen(world.world) < number;
        sim_world_set_failure(world.world, &(struct sim_failure){0});
        diag_flush(&world.diag);
        world.diag.file = -1;
        static char text[65536];
        rewind(lines);
        text[fread(text, 1, sizeof(text) - 1, lines)] = '\0';
        if (status == STATUS_OK) {
            partition_close(partition, false);
            log_world_kill(&world);
        } else {
            assert_non_null(strstr(text, "level=error"));
            assert_non_null(strstr(text, "file=/data/orders-0"));
            assert_non_null(strstr(text, "error=\"Input/output error\""));
        }
    }
    fclose(lines);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hint_vouches),
        cmocka_unit_test(test_next_batch_vouches),
        cmocka_unit_test(test_tail_vouches),
        cmocka_unit_test(test_nothing_vouches),
        cmocka_unit_test(test_no_copy_no_cut),
        cmocka_unit_test(test_copies_stay),
        cmocka_unit_test(test_aside),
        cmocka_unit_test(test_ranges_unread),
        cmocka_unit_test(test_shorter_grows_again),
        cmocka_unit_test(test_shorter_forgets_ranges),
        cmocka_unit_test(test_shorter_drops_snapshots),
        cmocka_unit_test(test_hole_is_kept),
        cmocka_unit_test(test_reload_rebuilds),
        cmocka_unit_test(test_older_metadata),
        cmocka_unit_test(test_replay_passes_rot),
        cmocka_unit_test(test_misread),
        cmocka_unit_test(test_refusals_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
