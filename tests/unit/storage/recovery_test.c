/* SPDX-License-Identifier: Apache-2.0 */
/* What recovery takes for the end of a log, and that nothing goes that it could not keep. */
#include "storage/recovery.h"

#include <errno.h>
#include <stdlib.h>

#include "storage/partition_state.h"
#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "wire/batch.h"

#define BATCH_SIZE 90000
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

static enum status open_log(struct log_world *world, bool fresh, struct partition **partition)
{
    struct partition_options options = {.topic = "orders",
                                        .index = 0,
                                        .leader_epoch = 1,
                                        .fresh = fresh,
                                        .config = log_config_default()};
    memset(options.topic_id.bytes, 0x42, 16);
    options.config.segment_size_max = 100000;
    return partition_open(partition, world->store, &options);
}

static void send_count(struct log_world *world, struct partition *partition, uint64_t count)
{
    struct sent *sent = calloc(1, sizeof(*sent));
    for (uint64_t i = 0; i < count; i++) {
        size_t size = log_batch_make(sent->memory, sizeof(sent->memory), i, 1, BATCH_SIZE, 1000);
        sent->done = false;
        sent->append = (struct partition_append){
            .batch = sent->memory, .size = size, .done = sent_done, .owner = sent};
        batch_header_decode(&sent->append.header, sent->memory);
        partition_append(partition, &sent->append);
        assert_true(log_world_until(world, &sent->done, 100000));
        assert_int_equal(sent->append.status, STATUS_OK);
    }
    free(sent);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hint_vouches),   cmocka_unit_test(test_next_batch_vouches),
        cmocka_unit_test(test_tail_vouches),   cmocka_unit_test(test_nothing_vouches),
        cmocka_unit_test(test_no_copy_no_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
