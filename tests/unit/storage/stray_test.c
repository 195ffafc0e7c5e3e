/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that stand where a partition has or wants its own: made place for, never written into. */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/log_world.h"
#include "wire/batch.h"

#define FOLDER "/data/orders-3"
#define LOG_NAME "00000000000000000000.log"
#define OLD_ID 0x41
#define NEW_ID 0x42

static enum status open_as(struct log_world *world, struct partition **out, uint8_t id, bool fresh)
{
    struct partition_options options = {.topic = "orders", .index = 3, .fresh = fresh};
    options.config = log_config_default();
    memset(options.topic_id.bytes, id, 16);
    return partition_open(out, world->store, &options);
}

static struct partition *open_fresh(struct log_world *world, uint8_t id)
{
    struct partition *partition = NULL;
    assert_int_equal(open_as(world, &partition, id, true), STATUS_OK);
    return partition;
}

/* One batch whose content is `tag`; answers the status. */
static enum status append_one(struct log_world *world, struct partition *partition, uint64_t tag)
{
    uint8_t memory[16384];
    size_t size = log_batch_make(memory, sizeof(memory), tag, 1, 5000, 1000);
    return log_world_append(world, partition, memory, size).status;
}

/* The first bytes of a file are the batch that append_one() made of `tag`. */
static void expect_batch(struct log_world *world, const char *path, uint64_t tag)
{
    uint8_t memory[16384];
    uint64_t size;
    size_t made = log_batch_make(memory, sizeof(memory), tag, 1, 5000, 1000);
    const uint8_t *file = sim_world_file(world->world, path, &size);
    assert_non_null(file);
    assert_true(size >= made);
    assert_memory_equal(file + BATCH_HEADER_SIZE, memory + BATCH_HEADER_SIZE,
                        made - BATCH_HEADER_SIZE);
}

/* How many folders end so; `path` is the last one's. */
static int find_folders(struct log_world *world, const char *suffix, char path[300])
{
    static char names[65536];
    struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    struct op op = {.kind = OP_LIST, .path = "/data", .listing = &listing};
    assert_true(ring_call(world->ring, &op) >= 0);
    int count = 0;
    size_t suffix_size = strlen(suffix);
    for (size_t at = 0; at < listing.size; at += strlen(names + at) + 1) {
        size_t size = strlen(names + at);
        if (size >= suffix_size && strcmp(names + at + size - suffix_size, suffix) == 0) {
            snprintf(path, 300, "/data/%.255s", names + at);
            count += 1;
        }
    }
    return count;
}

static void expect_stray(struct log_world *world, uint64_t tag)
{
    char path[300];
    assert_int_equal(find_folders(world, "-stray", path), 1);
    assert_memory_equal(path, FOLDER ".", strlen(FOLDER) + 1);
    assert_int_equal(strlen(path), strlen(FOLDER) + 1 + 32 + strlen("-stray"));
    char log[400];
    snprintf(log, sizeof(log), "%s/" LOG_NAME, path);
    expect_batch(world, log, tag);
}

/* A folder with one batch of `tag`, cleanly closed. */
static void leave_folder(struct log_world *world, uint8_t id, uint64_t tag)
{
    struct partition *partition = open_fresh(world, id);
    assert_int_equal(append_one(world, partition, tag), STATUS_OK);
    partition_close(partition, true);
}

static void file_make(struct log_world *world, const char *path)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE};
    int64_t file = ring_call(world->ring, &op);
    assert_true(file >= 0);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    assert_true(ring_call(world->ring, &op) >= 0);
}

static void file_unlink(struct log_world *world, const char *path)
{
    struct op op = {.kind = OP_UNLINK, .path = path};
    assert_int_equal(ring_call(world->ring, &op), 0);
}

/* The folder of another topic, with a segment that would be taken for a later one of ours. */
static void test_other_topic(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    leave_folder(&world, OLD_ID, 1);
    file_make(&world, FOLDER "/00000000000000005000.log");
    struct partition *partition = open_fresh(&world, NEW_ID);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    expect_stray(&world, 1);
    expect_batch(&world, FOLDER "/" LOG_NAME, 2);

    log_world_restart(&world);
    assert_int_equal(open_as(&world, &partition, NEW_ID, false), STATUS_OK);
    struct partition_facts facts = partition_facts(partition);
    assert_int_equal(facts.segment_count, 1);
    assert_int_equal(facts.end_offset, 1);
    partition_close(partition, true);
    log_world_close(&world);
}

/* Without partition.metadata a folder with a log is nobody's. */
static void test_no_metadata(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 2});
    leave_folder(&world, OLD_ID, 1);
    file_unlink(&world, FOLDER "/partition.metadata");
    struct partition *partition = open_fresh(&world, NEW_ID);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    expect_stray(&world, 1);
    log_world_close(&world);
}

/* A crash, or a full disk, between mkdir and the rest: the folder is gone on with. */
static void test_half_made(void **state)
{
    (void)state;
    struct log_world world;
    char path[300];
    log_world_open(&world, &(struct log_world_options){.seed = 3});
    struct op op = {.kind = OP_MKDIR, .path = FOLDER};
    assert_int_equal(ring_call(world.ring, &op), 0);
    file_make(&world, FOLDER "/partition.metadata.tmp");
    struct partition *partition = open_fresh(&world, NEW_ID);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    assert_int_equal(find_folders(&world, "-stray", path), 0);
    expect_batch(&world, FOLDER "/" LOG_NAME, 2);
    log_world_close(&world);
}

/* The place cannot be made: nothing is written, and the append is refused until it can. */
static void test_place_not_made(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 4});
    leave_folder(&world, OLD_ID, 1);
    struct sim_failure failure = {
        .kinds = 1U << OP_RENAME, .first = 1, .lasting = true, .error = ENOSPC};
    sim_world_set_failure(world.world, &failure);
    struct partition *partition = open_fresh(&world, NEW_ID);
    assert_int_equal(append_one(&world, partition, 2), STATUS_KAFKA_STORAGE_ERROR);
    log_world_sleep(&world, 3000);
    expect_batch(&world, FOLDER "/" LOG_NAME, 1);
    sim_world_set_failure(world.world, &(struct sim_failure){0});
    log_world_sleep(&world, 3000);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    expect_stray(&world, 1);
    log_world_close(&world);
}

struct removed {
    bool done;
    enum status status;
};

static void removal_done(void *owner, enum status status)
{
    *(struct removed *)owner = (struct removed){true, status};
}

/* A partition that could not be opened is removed like any other, if the folder is its own. */
static void test_remove_unloaded(void **state)
{
    (void)state;
    struct log_world world;
    char path[300];
    log_world_open(&world, &(struct log_world_options){.seed = 5});
    leave_folder(&world, NEW_ID, 1);
    struct removed removed = {0};
    partition_remove(open_fresh(&world, NEW_ID), removal_done, &removed);
    assert_true(log_world_until(&world, &removed.done, 10000));
    assert_int_equal(removed.status, STATUS_OK);
    log_world_sleep(&world, 1000);
    assert_int_equal(find_folders(&world, "", path), 0);

    leave_folder(&world, OLD_ID, 1);
    removed.done = false;
    partition_remove(open_fresh(&world, NEW_ID), removal_done, &removed);
    assert_true(log_world_until(&world, &removed.done, 10000));
    assert_int_equal(removed.status, STATUS_OK);
    expect_stray(&world, 1);
    assert_int_equal(find_folders(&world, "", path), 1);
    log_world_close(&world);
}

/* The removal's rename fails: told, answered, and the name's next owner leaves the bytes alone. */
static void test_remove_refused(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 6});
    FILE *lines = tmpfile();
    assert_non_null(lines);
    world.diag.file = fileno(lines);
    struct partition *partition = open_fresh(&world, OLD_ID);
    assert_int_equal(append_one(&world, partition, 1), STATUS_OK);
    struct sim_failure failure = {
        .kinds = 1U << OP_RENAME, .first = 1, .lasting = true, .error = ENOSPC};
    sim_world_set_failure(world.world, &failure);
    struct removed removed = {0};
    partition_remove(partition, removal_done, &removed);
    assert_true(log_world_until(&world, &removed.done, 10000));
    assert_int_equal(removed.status, STATUS_KAFKA_STORAGE_ERROR);
    sim_world_set_failure(world.world, &(struct sim_failure){0});
    diag_flush(&world.diag);
    char text[4096];
    rewind(lines);
    size_t size = fread(text, 1, sizeof(text) - 1, lines);
    text[size] = '\0';
    assert_non_null(strstr(text, "level=error"));
    assert_non_null(
        strstr(text, "folder=/data/orders-3 error=\"No space left on device\" remedy="));
    world.diag.file = -1;
    fclose(lines);

    partition = open_fresh(&world, NEW_ID);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    expect_stray(&world, 1);
    log_world_close(&world);
}

/* Without memory a removal waits; a store that ends meanwhile leaves the folder to the next start.
 */
static void test_remove_no_memory(void **state)
{
    (void)state;
    struct log_world world;
    char path[300];
    log_world_open(&world, &(struct log_world_options){.seed = 7});
    leave_folder(&world, NEW_ID, 1);
    for (int round = 0; round < 2; round++) {
        log_world_restart(&world);
        struct partition *partition = open_fresh(&world, NEW_ID);
        size_t size_max = world.heap.size_max;
        world.heap.size_max = world.heap.size;
        struct removed removed = {0};
        partition_remove(partition, removal_done, &removed);
        log_world_sleep(&world, 3000);
        assert_false(removed.done);
        world.heap.size_max = size_max;
        if (round == 0) {
            continue; /* the store ends */
        }
        assert_true(log_world_until(&world, &removed.done, 10000));
        assert_int_equal(removed.status, STATUS_OK);
        log_world_sleep(&world, 1000);
        assert_int_equal(find_folders(&world, "", path), 0);
    }
    log_world_close(&world);
}

/* A file name has at most 255 bytes. */
static void test_long_name(void **state)
{
    (void)state;
    struct log_world world;
    char topic[250];
    char path[300];
    memset(topic, 'x', 249);
    topic[249] = '\0';
    log_world_open(&world, &(struct log_world_options){.seed = 8});
    struct partition_options options = {
        .topic = topic, .index = 12345, .fresh = true, .config = log_config_default()};
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world.store, &options), STATUS_OK);
    assert_int_equal(append_one(&world, partition, 1), STATUS_OK);
    partition_close(partition, true);
    options.topic_id.bytes[0] = 1;
    assert_int_equal(partition_open(&partition, world.store, &options), STATUS_OK);
    assert_int_equal(append_one(&world, partition, 2), STATUS_OK);
    partition_close(partition, true);
    assert_int_equal(find_folders(&world, "-stray", path), 1);
    assert_int_equal(strlen(path), strlen("/data/") + 255);
    assert_non_null(strstr(path, "x-12345."));
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_topic),      cmocka_unit_test(test_no_metadata),
        cmocka_unit_test(test_half_made),        cmocka_unit_test(test_place_not_made),
        cmocka_unit_test(test_remove_unloaded),  cmocka_unit_test(test_remove_refused),
        cmocka_unit_test(test_remove_no_memory), cmocka_unit_test(test_long_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
