/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: however many partitions want some at once, there are never more than files_max. */
#include "storage/files.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "wire/batch.h"

#define PARTITIONS 24
#define FILES_MAX 6
#define ROUNDS 4
#define BATCH_SIZE_MAX 4096

struct sender {
    struct partition *partition;
    struct partition_append append;
    uint8_t memory[BATCH_SIZE_MAX];
    bool done;
};

static void sender_done(struct partition_append *append)
{
    struct sender *sender = append->owner;
    sender->done = true;
}

static void open_all(struct log_world *world, struct sender *senders, bool fresh)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        struct partition_options options = {
            .topic = "many", .index = i, .fresh = fresh, .config = log_config_default()};
        options.config.segment_age_ms_max = 1;
        memset(options.topic_id.bytes, 0x17, 16);
        assert_int_equal(partition_open(&senders[i].partition, world->store, &options), STATUS_OK);
    }
}

static void tick(struct log_world *world, size_t *handles_max)
{
    assert_true(log_world_tick(world));
    size_t handles = sim_world_open_handles(world->world);
    *handles_max = handles > *handles_max ? handles : *handles_max;
}

/* One batch to every partition, all at once; each begins a new segment. */
static void send_all(struct log_world *world, struct sender *senders, int64_t now_ms,
                     size_t *handles_max)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        struct sender *sender = &senders[i];
        size_t size = log_batch_make(sender->memory, BATCH_SIZE_MAX, (uint64_t)i, 1, 200, now_ms);
        sender->done = false;
        sender->append = (struct partition_append){.batch = sender->memory,
                                                   .size = size,
                                                   .now_ms = now_ms,
                                                   .done = sender_done,
                                                   .owner = sender};
        batch_header_decode(&sender->append.header, sender->memory);
        partition_append(sender->partition, &sender->append);
    }
    for (int32_t i = 0; i < PARTITIONS; i++) {
        while (!senders[i].done) {
            tick(world, handles_max);
        }
        assert_int_equal(senders[i].append.status, STATUS_OK);
    }
}

static bool exists(const struct log_world *world, int32_t index, int64_t base_offset,
                   const char *suffix)
{
    char path[128];
    uint64_t size;
    snprintf(path, sizeof(path), "/data/many-%d/%020lld%s", index, (long long)base_offset, suffix);
    return sim_world_file(world->world, path, &size) != NULL;
}

static void test_roll_of_all(void **state)
{
    (void)state;
    struct log_world world;
    struct sender *senders = calloc(PARTITIONS, sizeof(*senders));
    size_t handles_max = 0;
    log_world_open(&world, &(struct log_world_options){.seed = 1, .files_max = FILES_MAX});
    open_all(&world, senders, true);
    for (int round = 0; round < ROUNDS; round++) {
        send_all(&world, senders, 1000 + 10 * round, &handles_max);
    }
    uint64_t until_ns = ring_now_ns(world.ring) + UINT64_C(3000000000);
    while (ring_now_ns(world.ring) < until_ns) {
        tick(&world, &handles_max);
    }
    assert_int_equal(handles_max, FILES_MAX); /* all of them were wanted, and no more were had */
    for (int32_t i = 0; i < PARTITIONS; i++) {
        assert_int_equal(partition_facts(senders[i].partition).segment_count, ROUNDS);
        for (int64_t offset = 0; offset + 1 < ROUNDS; offset++) {
            assert_true(exists(&world, i, offset, ".hint"));
        }
        assert_true(exists(&world, i, ROUNDS - 1, ".tail"));
        partition_close(senders[i].partition, true);
    }
    assert_true(sim_world_open_handles(world.world) <= FILES_MAX);
    log_world_restart(&world);
    assert_int_equal(sim_world_open_handles(world.world), 0);
    open_all(&world, senders, false);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        assert_int_equal(partition_facts(senders[i].partition).end_offset, ROUNDS);
        partition_close(senders[i].partition, true);
    }
    log_world_close(&world);
    free(senders);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roll_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
