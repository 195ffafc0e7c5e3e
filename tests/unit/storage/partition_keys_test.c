/* SPDX-License-Identifier: Apache-2.0 */
/* The key index of a log: never ahead of the high watermark, whole again after a restart. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/key_entry.h"
#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "wire/record.h"

#define BATCH_ROOM 4096

struct sent {
    struct partition_append append;
    bool done;
    uint8_t memory[BATCH_ROOM];
};

static void sent_done(struct partition_append *append)
{
    ((struct sent *)append->owner)->done = true;
}

static struct partition *open_one(struct log_world *world, bool key_index, int64_t segment_size)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .config = log_config_default()};
    options.config.key_index = key_index;
    options.config.segment_size_max = segment_size;
    memset(options.topic_id.bytes, 0x42, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    return partition;
}

static void send(struct partition *partition, struct sent *sent, const char *key, size_t size,
                 enum codec codec)
{
    static uint8_t value[BATCH_ROOM];
    struct batch_builder builder;
    batch_builder_init(&builder, sent->memory, sizeof(sent->memory));
    batch_builder_add(&builder, 1000, bytes_of_text(key), bytes_of(value, size), NULL, 0);
    struct bytes batch;
    uint8_t scratch[8192];
    struct heap heap;
    heap_init(&heap, UINT64_C(1) << 24);
    struct batch_scratch memory = {scratch, sizeof(scratch), &heap};
    assert_int_equal(batch_builder_finish(&builder, codec, -1, memory, 0, &batch), STATUS_OK);
    memmove(sent->memory, batch.data, batch.size);
    sent->done = false;
    sent->append = (struct partition_append){.batch = sent->memory,
                                             .size = batch.size,
                                             .now_ms = 1000,
                                             .done = sent_done,
                                             .owner = sent};
    batch_header_decode(&sent->append.header, sent->memory);
    partition_append(partition, &sent->append);
}

static void put(struct log_world *world, struct partition *partition, const char *key, size_t size)
{
    static struct sent sent;
    send(partition, &sent, key, size, CODEC_NONE);
    assert_true(log_world_until(world, &sent.done, 100000));
    assert_int_equal(sent.append.status, STATUS_OK);
}

/* -1: not there. */
static int64_t get(struct partition *partition, const char *key)
{
    struct key_entry entry;
    return partition_key_get(partition, bytes_of_text(key), &entry) ? entry.offset : -1;
}

static void keys_enter_with_the_high_watermark(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition *partition = open_one(&world, true, INT64_C(1) << 30);
    static struct sent sent[3];
    send(partition, &sent[0], "a", 100, CODEC_NONE);
    send(partition, &sent[1], "b", 100, CODEC_LZ4);
    send(partition, &sent[2], "a", 100, CODEC_ZSTD);
    for (int tick = 0; tick < 100000 && !sent[2].done; tick++) {
        int64_t high_watermark = partition_facts(partition).high_watermark;
        assert_int_equal(get(partition, "a"), high_watermark == 0  ? -1
                                              : high_watermark < 3 ? 0
                                                                   : 2);
        assert_int_equal(get(partition, "b"), high_watermark < 2 ? -1 : 1);
        log_world_tick(&world);
    }
    assert_true(sent[2].done);
    assert_int_equal(get(partition, "a"), 2);
    assert_int_equal(get(partition, "b"), 1);
    partition_close(partition, true);
    log_world_close(&world);
}

static void a_restart_and_a_crash_make_the_same_index(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 2});
    struct partition *partition = open_one(&world, true, INT64_C(1) << 30);
    for (int i = 0; i < 2000; i++) { /* more than a block, so that scans cross blocks */
        char key[16];
        snprintf(key, sizeof(key), "k%d", i % 300);
        put(&world, partition, key, 60);
    }
    for (int crash = 0; crash < 2; crash++) {
        partition_close(partition, !crash);
        log_world_restart(&world);
        partition = open_one(&world, true, INT64_C(1) << 30);
        for (int i = 0; i < 300; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(get(partition, key), 1700 + (i + 100) % 300);
        }
        assert_int_equal(get(partition, "other"), -1);
    }
    put(&world, partition, "k0", 10);
    assert_int_equal(get(partition, "k0"), 2000);
    partition_close(partition, true);
    log_world_close(&world);
}

static void an_index_is_that_of_the_active_segment(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 3});
    struct partition *partition = open_one(&world, true, 4096);
    put(&world, partition, "a", 1500);
    put(&world, partition, "b", 1500);
    assert_int_equal(get(partition, "a"), 0);
    put(&world, partition, "c", 1500); /* begins the second segment */
    assert_int_equal(partition_facts(partition).segment_count, 2);
    assert_int_equal(get(partition, "a"), -1);
    assert_int_equal(get(partition, "c"), 2);
    partition_close(partition, true);
    log_world_close(&world);
}

static void an_index_that_is_switched_on_begins_with_a_segment(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 4});
    struct partition *partition = open_one(&world, false, INT64_C(1) << 30);
    put(&world, partition, "a", 10);
    assert_int_equal(get(partition, "a"), -1);
    struct partition_config config = log_config_default();
    config.key_index = true;
    partition_configure(partition, &config);
    put(&world, partition, "b", 10);
    assert_int_equal(partition_facts(partition).segment_count, 2);
    assert_int_equal(get(partition, "b"), 1);
    config.key_index = false;
    partition_configure(partition, &config);
    assert_int_equal(get(partition, "b"), -1);
    put(&world, partition, "c", 10);
    assert_int_equal(partition_facts(partition).segment_count, 2);
    assert_int_equal(get(partition, "c"), -1);
    partition_close(partition, true);
    log_world_close(&world);
}

static void a_log_goes_on_without_memory_for_its_keys(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 5});
    struct partition *partition = open_one(&world, true, 8192);
    put(&world, partition, "a", 10);
    assert_int_equal(get(partition, "a"), 0);
    size_t size_max = world.heap.size_max;
    world.heap.size_max = world.heap.size * 2 - 1;
    put(&world, partition, "b", 10);
    assert_int_equal(get(partition, "a"), -1);
    put(&world, partition, "c", 10);
    assert_int_equal(partition_facts(partition).segment_count, 1);
    assert_int_equal(partition_facts(partition).high_watermark, 3);
    world.heap.size_max = size_max;
    put(&world, partition, "d", 10); /* an index knows its whole segment or nothing of it */
    assert_int_equal(get(partition, "d"), -1);
    put(&world, partition, "e", 3900);
    put(&world, partition, "f", 3900);
    assert_int_equal(partition_facts(partition).segment_count, 2);
    assert_int_equal(get(partition, "f"), 5);
    partition_close(partition, true);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_enter_with_the_high_watermark),
        cmocka_unit_test(a_restart_and_a_crash_make_the_same_index),
        cmocka_unit_test(an_index_is_that_of_the_active_segment),
        cmocka_unit_test(an_index_that_is_switched_on_begins_with_a_segment),
        cmocka_unit_test(a_log_goes_on_without_memory_for_its_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
