/* SPDX-License-Identifier: Apache-2.0 */
/* The door of a log: append, read, roll, restart, look up, duplicates, retention; simulated ring.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/epochs.h"
#include "storage/producers.h"
#include "tests/sim/log_world.h"
#include "wire/batch.h"

struct sent {
    struct partition_append append;
    uint8_t *memory;
    bool done;
};

static void sent_done(struct partition_append *append)
{
    struct sent *sent = append->owner;
    check(!sent->done);
    sent->done = true;
}

static struct partition *open_one(struct log_world *world, const struct partition_config *config,
                                  bool fresh)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .fresh = fresh, .config = *config};
    memset(options.topic_id.bytes, 0x42, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    assert_string_equal(partition_name(partition), "orders-3");
    return partition;
}

static void send_memory(struct partition *partition, struct sent *sent, size_t size, int64_t now_ms)
{
    sent->done = false;
    sent->append = (struct partition_append){.batch = sent->memory, .size = size, .now_ms = now_ms};
    batch_header_decode(&sent->append.header, sent->memory);
    sent->append.done = sent_done;
    sent->append.owner = sent;
    partition_append(partition, &sent->append);
}

static void send(struct partition *partition, struct sent *sent, uint64_t tag, int32_t count,
                 size_t size, int64_t timestamp)
{
    sent->memory = malloc(size + 65536);
    assert_non_null(sent->memory);
    size_t made = log_batch_make(sent->memory, size + 65536, tag, count, size, timestamp);
    send_memory(partition, sent, made, timestamp);
}

struct got {
    struct partition_read read;
    bool done;
    uint8_t *bytes;
};

static void got_done(struct partition_read *read)
{
    struct got *got = read->owner;
    got->done = true;
}

static void fetch(struct log_world *world, struct partition *partition, struct got *got,
                  int64_t offset, uint32_t size_max)
{
    *got = (struct got){.read = {.offset = offset, .size_max = size_max, .first_whole = true}};
    got->read.done = got_done;
    got->read.owner = got;
    partition_read(partition, &got->read);
    assert_true(log_world_until(world, &got->done, 100000));
    got->bytes = malloc(got->read.size + 1);
    size_t at = 0;
    for (int32_t i = 0; i < got->read.slice_count; i++) {
        memcpy(got->bytes + at, got->read.slices[i].data, got->read.slices[i].size);
        at += got->read.slices[i].size;
    }
    assert_int_equal(at, got->read.size);
    partition_read_release(partition, &got->read);
}

/* Everything from 0 on equals what was sent. */
static void expect_all(struct log_world *world, struct partition *partition,
                       const struct sent *sent, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (int32_t delta = 0; delta <= sent[i].append.header.last_offset_delta; delta += 7) {
            struct got got;
            fetch(world, partition, &got, sent[i].append.base_offset + delta, 1);
            assert_int_equal(got.read.status, STATUS_OK);
            assert_int_equal(got.read.size, sent[i].append.size);
            assert_memory_equal(got.bytes, sent[i].memory, got.read.size);
            free(got.bytes);
        }
    }
}

static void free_sent(struct sent *sent, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(sent[i].memory);
    }
}

static void test_append_read(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[20] = {0};
    int64_t offset = 0;
    for (size_t i = 0; i < 20; i++) {
        send(partition, &sent[i], i, (int32_t)i + 1, 1000 * (i + 1), 1000 + (int64_t)i);
    }
    assert_true(log_world_until(&world, &sent[19].done, 10000));
    for (size_t i = 0; i < 20; i++) {
        assert_true(sent[i].done);
        assert_int_equal(sent[i].append.status, STATUS_OK);
        assert_int_equal(sent[i].append.base_offset, offset);
        offset += (int64_t)i + 1;
    }
    assert_int_equal(partition_facts(partition).high_watermark, offset);
    expect_all(&world, partition, sent, 20);
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    struct partition_facts facts = partition_facts(partition);
    assert_int_equal(facts.high_watermark, offset);
    assert_int_equal(facts.end_offset, offset);
    expect_all(&world, partition, sent, 20);
    partition_close(partition, true);
    free_sent(sent, 20);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
