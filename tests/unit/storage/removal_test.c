/* SPDX-License-Identifier: Apache-2.0 */
/* Files of old segments go however short the delay, and a stop does not wait for rounds. */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>

#include "tests/lib/log_world.h"

#define LIST_SIZE (1024 * KIB)

static struct partition *open_one(struct log_world *world, const struct partition_config *config,
                                  bool fresh)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .fresh = fresh, .config = *config};
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    return partition;
}

/* So many batches of 1,000 bytes, one after the other. */
static void append_many(struct log_world *world, struct partition *partition, int32_t count)
{
    uint8_t memory[8192];
    for (int32_t i = 0; i < count; i++) {
        size_t size = log_batch_make(memory, sizeof(memory), (uint64_t)i, 1, 1000, 1000);
        assert_int_equal(log_world_append(world, partition, memory, size).status, STATUS_OK);
    }
}

/* Files of the partition's folder whose names end so; unlinks them if asked to. */
static int32_t count_files(struct log_world *world, const char *suffix, bool unlinks)
{
    static char names[LIST_SIZE];
    struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    struct op op = {.kind = OP_LIST, .path = "/data/orders-3", .listing = &listing};
    assert_true(ring_call(world->ring, &op) >= 0);
    int32_t count = 0;
    size_t suffix_size = strlen(suffix);
    for (size_t at = 0; at < listing.size; at += strlen(names + at) + 1) {
        size_t size = strlen(names + at);
        if (size < suffix_size || strcmp(names + at + size - suffix_size, suffix) != 0) {
            continue;
        }
        count += 1;
        char path[300];
        snprintf(path, sizeof(path), "/data/orders-3/%.255s", names + at);
        op = (struct op){.kind = OP_UNLINK, .path = path};
        if (unlinks) {
            assert_int_equal(ring_call(world->ring, &op), 0);
        }
    }
    return count;
}

/* The unlink comes behind the rename, however short the delay. */
static void test_no_delay(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition_config config = log_config_default();
    config.segment_size_max = 1500;
    config.file_delete_delay_ms = 0;
    struct partition *partition = open_one(&world, &config, true);
    append_many(&world, partition, 20);
    config.retention_size = 5000;
    partition_configure(partition, &config);
    log_world_sleep(&world, 30000);
    assert_in_range(partition_facts(partition).segment_count, 1, 6);
    assert_int_equal(count_files(&world, ".deleted", false), 0);
    partition_close(partition, true);
    log_world_close(&world);
}

/* A clean stop does not wait until the facts of every old segment are known. */
static void test_stop_soon(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 3});
    struct partition_config config = log_config_default();
    config.segment_size_max = 1500;
    struct partition *partition = open_one(&world, &config, true);
    append_many(&world, partition, COUNT);
    log_world_sleep(&world, 5000);
    partition_close(partition, true);
    assert_in_range(count_files(&world, ".hint", false), COUNT - 2, COUNT);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    struct sim_failure count_only = {.kinds = 1U << OP_OPEN, .first = UINT64_MAX};
    sim_world_set_failure(world.world, &count_only);
    while (sim_world_failure_seen(world.world) < 5) {
        assert_true(log_world_tick(&world)); /* until the first round looks for them */
    }
    partition_close(partition, true);
    assert_in_range(sim_world_failure_seen(world.world), 5, 20);
    log_world_close(&world);
}

/* A crash within retention: what is left of a log that went goes with the next start. */
static void test_left_by_crash(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 6});
    struct partition_config config = log_config_default();
    config.segment_size_max = 1500;
    config.file_delete_delay_ms = 0;
    struct partition *partition = open_one(&world, &config, true);
    append_many(&world, partition, 20);
    log_world_sleep(&world, 5000);
    config.retention_size = 5000;
    partition_configure(partition, &config);
    struct sim_failure failure = {
        .kinds = 1U << OP_RENAME, .first = 3, .lasting = true, .error = EIO};
    sim_world_set_failure(world.world, &failure); /* the log's name goes, its hint's does not */
    log_world_sleep(&world, 30000);
    log_world_kill(&world);
    int32_t logs = count_files(&world, ".log", false);
    assert_true(count_files(&world, ".hint", false) >= logs);
    sim_world_set_failure(world.world, &(struct sim_failure){0});
    partition = open_one(&world, &config, false);
    assert_int_equal(count_files(&world, ".log", false), logs);
    assert_int_equal(count_files(&world, ".hint", false), logs - 1);
    partition_close(partition, true);
    log_world_close(&world);
}

static void removal_done(void *owner, enum status status)
{
    assert_int_equal(status, STATUS_OK);
    *(bool *)owner = true;
}

/* A folder with more names than one listing holds goes whole. */
static void test_many_names(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 4});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    append_many(&world, partition, 1);
    for (int i = 0; i < 3000; i++) {
        char path[300];
        snprintf(path, sizeof(path), "/data/orders-3/%0200d", i);
        struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE};
        int64_t file = ring_call(world.ring, &op);
        assert_true(file >= 0);
        op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
        assert_true(ring_call(world.ring, &op) >= 0);
    }
    bool done = false;
    partition_remove(partition, removal_done, &done);
    assert_true(log_world_until(&world, &done, 100000));
    log_world_sleep(&world, 5000);
    static char names[4096];
    struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    struct op op = {.kind = OP_LIST, .path = "/data", .listing = &listing};
    assert_int_equal(ring_call(world.ring, &op), 0);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_delay),
        cmocka_unit_test(test_stop_soon),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_left_by_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
