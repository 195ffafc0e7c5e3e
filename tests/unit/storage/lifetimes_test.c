/* SPDX-License-Identifier: Apache-2.0 */
/* Who may still point at what: with slow reads of what went, and with no memory for a job. */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/removal.h"
#include "storage/space.h"
#include "tests/lib/log_world.h"
#include "wire/batch.h"

#define SENT_SIZE_MAX 100000
#define JOBS_MAX 4096

struct sent {
    struct partition_append append;
    uint8_t memory[SENT_SIZE_MAX];
    int answers;
};

static void sent_done(struct partition_append *append)
{
    struct sent *sent = append->owner;
    sent->answers += 1;
}

static struct partition *open_one(struct log_world *world, const struct partition_config *config,
                                  bool fresh)
{
    struct partition_options options = {
        .topic = "orders", .index = 0, .leader_epoch = 1, .fresh = fresh, .config = *config};
    memset(options.topic_id.bytes, 0x42, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    return partition;
}

static void send(struct partition *partition, struct sent *sent, uint64_t tag, size_t size)
{
    sent->answers = 0;
    size = log_batch_make(sent->memory, SENT_SIZE_MAX, tag, 1, size, 1000);
    sent->append = (struct partition_append){
        .batch = sent->memory, .size = size, .now_ms = 1000, .done = sent_done, .owner = sent};
    batch_header_decode(&sent->append.header, sent->memory);
    partition_append(partition, &sent->append);
}

static void send_whole(struct log_world *world, struct partition *partition, struct sent *sent,
                       uint64_t tag, size_t size)
{
    send(partition, sent, tag, size);
    for (int i = 0; i < 100000 && sent->answers == 0; i++) {
        (void)log_world_tick(world);
    }
    assert_int_equal(sent->answers, 1);
    assert_int_equal(sent->append.status, STATUS_OK);
}

struct got {
    struct partition_read read;
    bool done;
};

static void got_done(struct partition_read *read)
{
    struct got *got = read->owner;
    check(!got->done);
    got->done = true;
}

static void ask(struct partition *partition, struct got *got, int64_t offset)
{
    *got = (struct got){
        .read = {
            .offset = offset, .size_max = 1, .first_whole = true, .done = got_done, .owner = got}};
    partition_read(partition, &got->read);
}

static enum status fetch(struct log_world *world, struct partition *partition, int64_t offset)
{
    struct got got;
    ask(partition, &got, offset);
    assert_true(log_world_until(world, &got.done, 100000));
    partition_read_release(partition, &got.read);
    return got.read.status;
}

/* Three segments of one batch each; the second block of the first is not in memory and its read,
 * which `got` waits for, takes seconds. Retention takes the segment meanwhile. */
static struct partition *open_with_slow_read(struct log_world *world, struct sent *sent,
                                             struct got *got)
{
    log_world_open(world, &(struct log_world_options){.seed = 1});
    struct partition_config config = log_config_default();
    config.segment_size_max = 100000;
    struct partition *partition = open_one(world, &config, true);
    for (uint64_t i = 0; i < 3; i++) {
        send_whole(world, partition, sent, i, 90000);
    }
    log_world_sleep(world, 3000);
    assert_int_equal(fetch(world, partition, 0), STATUS_OK); /* rows and a descriptor are there */
    struct segment *segment = partition->segments[0];
    cache_forget(world->store, segment);
    uint64_t id = segment->instance;
    sim_world_set_fault(world->world, SIM_STALL, 1000000);
    ask(partition, got, 0);
    ring_step(world->ring, 0);
    sim_world_set_fault(world->world, SIM_STALL, 0);
    assert_false(got->done);
    removal_segments(partition, 1);
    for (int i = 0; i < 1000 && partition->retiring; i++) {
        (void)log_world_tick(world);
    }
    assert_false(partition->retiring);
    assert_true(partition->segments[0]->instance != id);
    assert_false(got->done);
    return partition;
}

struct removed {
    const struct got *got;
    bool done;
};

static void removal_done(void *owner, enum status status)
{
    struct removed *removed = owner;
    assert_int_equal(status, STATUS_OK);
    assert_true(removed->got->done); /* what it reads into, and asks, is the partition's */
    removed->done = true;
}

static void test_remove_waits_for_slow_reads(void **state)
{
    (void)state;
    struct log_world world;
    struct sent *sent = calloc(1, sizeof(*sent));
    struct got got;
    struct partition *partition = open_with_slow_read(&world, sent, &got);
    struct removed removed = {.got = &got};
    partition_remove(partition, removal_done, &removed);
    for (int i = 0; i < 1000000 && !removed.done; i++) {
        (void)log_world_tick(&world);
    }
    assert_true(removed.done);
    assert_int_equal(got.read.status, STATUS_UNKNOWN_TOPIC_OR_PARTITION);
    partition_read_release(NULL, &got.read);
    log_world_close(&world);
    free(sent);
}

static void test_close_waits_for_slow_reads(void **state)
{
    (void)state;
    struct log_world world;
    struct sent *sent = calloc(1, sizeof(*sent));
    struct got got;
    struct partition *partition = open_with_slow_read(&world, sent, &got);
    partition_close(partition, true);
    assert_true(got.done);
    partition_read_release(NULL, &got.read);
    log_world_close(&world);
    free(sent);
}

/* A reader of what retention took is told so; the next round may go on. */
static void test_retired_read_ends(void **state)
{
    (void)state;
    struct log_world world;
    struct sent *sent = calloc(1, sizeof(*sent));
    struct got got;
    struct partition *partition = open_with_slow_read(&world, sent, &got);
    assert_true(removal_is_held(partition));
    assert_true(removal_resume(partition));
    assert_true(log_world_until(&world, &got.done, 1000000));
    assert_int_equal(got.read.status, STATUS_OFFSET_OUT_OF_RANGE);
    assert_int_equal(got.read.log_start_offset, 1);
    partition_read_release(partition, &got.read);
    assert_false(removal_resume(partition));
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

/* ---- no memory ---- */

struct hunger {
    void *jobs[JOBS_MAX];
    uint32_t count;
    size_t size_max;
};

/* From now on no job can be had; what other pools hold is left to them. */
static void hunger_begin(struct hunger *hunger, struct log_world *world)
{
    hunger->size_max = world->heap.size_max;
    world->heap.size_max = world->heap.size;
    for (hunger->count = 0; hunger->count < JOBS_MAX; hunger->count++) {
        hunger->jobs[hunger->count] = pool_take(&world->store->jobs);
        if (hunger->jobs[hunger->count] == NULL) {
            return;
        }
    }
    check(false);
}

static void hunger_end(struct hunger *hunger, struct log_world *world)
{
    while (hunger->count > 0) {
        hunger->count -= 1;
        pool_give(&world->store->jobs, hunger->jobs[hunger->count]);
    }
    world->heap.size_max = hunger->size_max;
}

/* There is room for the append, but none for the job that asks for the next room. */
static void test_refused_ahead_of_need(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 2});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent *sent = calloc(2, sizeof(*sent));
    struct hunger *hunger = calloc(1, sizeof(*hunger));
    uint64_t tag = 0;
    struct segment *segment;
    do {
        send_whole(&world, partition, &sent[0], tag++, 30000);
        segment = partition_active(partition);
    } while (segment->allocated - segment->size > segment->allocate_step / 2 + 30000);
    int64_t end = partition->end_offset;
    hunger_begin(hunger, &world);
    send(partition, &sent[0], tag, 90000);
    assert_int_equal(sent[0].answers, 1);
    assert_int_equal(sent[0].append.status, STATUS_KAFKA_STORAGE_ERROR);
    assert_int_equal(partition->end_offset, end); /* what was answered got no offset */
    assert_true(list_is_empty(&partition->waiting) && list_is_empty(&partition->pending));
    hunger_end(hunger, &world);
    log_world_sleep(&world, 3000);
    send_whole(&world, partition, &sent[1], tag, 90000);
    assert_int_equal(sent[1].append.base_offset, end);
    assert_int_equal(sent[0].answers, 1);
    partition_close(partition, true);
    log_world_close(&world);
    free(hunger);
    free(sent);
}

/* A block whose file cannot even be asked for: the read is refused, and nothing is left of it. */
static void test_load_without_memory(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 3});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent *sent = calloc(1, sizeof(*sent));
    struct hunger *hunger = calloc(1, sizeof(*hunger));
    send_whole(&world, partition, sent, 1, 90000);
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    assert_int_equal(fetch(&world, partition, 0), STATUS_OK); /* objects for the next one */
    struct segment *segment = partition_active(partition);
    cache_forget(world.store, segment);
    file_condemn(world.store, segment);
    log_world_sleep(&world, 100);
    assert_int_equal(segment->file.state, FILE_CLOSED);
    hunger_begin(hunger, &world);
    uint32_t blocks = world.store->cache.blocks.taken;
    assert_null(cache_load(world.store, segment, 0));
    assert_int_equal(fetch(&world, partition, 0), STATUS_NO_MEMORY);
    assert_int_equal(world.store->cache.blocks.taken, blocks);
    assert_int_equal(world.store->cache.loading, 0);
    assert_int_equal(segment->holders, 1);
    hunger_end(hunger, &world);
    assert_int_equal(fetch(&world, partition, 0), STATUS_OK);
    partition_close(partition, true);
    log_world_close(&world);
    free(hunger);
    free(sent);
}

/* ---- a drain that is waited for ---- */

struct woken {
    struct block_waiter waiter;
    bool done;
};

static void woken_ready(struct block_waiter *waiter)
{
    CONTAINER_OF(waiter, struct woken, waiter)->done = true;
}

/* Aborted transactions come from the next upkeep; one that begins with a reload ends who waits. */
static void test_reload_ends_reads(void **state)
{
    (void)state;
    struct log_world world;
    struct sent *sent = calloc(1, sizeof(*sent));
    log_world_open(&world, &(struct log_world_options){.seed = 4});
    struct partition_config config = log_config_default();
    config.segment_size_max = 100000;
    struct partition *partition = open_one(&world, &config, true);
    for (uint64_t i = 0; i < 2; i++) {
        send_whole(&world, partition, sent, i, 90000);
    }
    log_world_sleep(&world, 3000);
    assert_int_equal(fetch(&world, partition, 0), STATUS_OK);
    struct segment *segment = partition->segments[0];
    segment->aborted_loaded = false;
    segment->aborted_lost = true;
    struct got got = {.read = {.offset = 0,
                               .size_max = 1,
                               .first_whole = true,
                               .isolation = READ_COMMITTED,
                               .done = got_done,
                               .owner = &got}};
    partition_read(partition, &got.read);
    assert_false(got.done);
    partition_break(partition, -EIO, "test");
    struct woken woken = {.waiter = {.ready = woken_ready}};
    segment_wait_rows(segment, &woken.waiter); /* as one whose rebuild ends during the drain */
    assert_true(woken.done);
    assert_true(got.done);
    assert_int_equal(got.read.status, STATUS_KAFKA_STORAGE_ERROR);
    assert_int_equal(segment->holders, 1); /* nothing that a drain would wait for */
    partition_read_release(partition, &got.read);
    log_world_sleep(&world, 3000);
    assert_int_equal(fetch(&world, partition, 0), STATUS_OK);
    partition_close(partition, true);
    log_world_close(&world);
    free(sent);
}

/* ---- a topic that is deleted while upkeep reads its log back ---- */

struct remover {
    struct op op;
    struct log_world *world;
    struct partition *partition;
    uint32_t steps; /* ops that complete before it is removed */
    bool done;
};

static void remover_removed(void *owner, enum status status)
{
    struct remover *remover = owner;
    assert_int_equal(status, STATUS_OK);
    remover->done = true;
}

static void remover_step(struct op *op)
{
    struct remover *remover = op->owner;
    if (remover->steps == 0) {
        partition_remove(remover->partition, remover_removed, remover);
        return;
    }
    remover->steps -= 1;
    remover->op = (struct op){.kind = OP_LIST, .path = "/data", .done = remover_step};
    static char names[4096];
    static struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    remover->op.listing = &listing;
    remover->op.owner = remover;
    ring_submit(remover->world->ring, &remover->op);
}

/* On one core the record of a removal becomes durable, and is applied, in the midst of a reload. */
static void test_remove_while_reloaded(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 60; steps++) {
        struct log_world world;
        struct sent *sent = calloc(1, sizeof(*sent));
        log_world_open(&world, &(struct log_world_options){.seed = 5});
        struct partition_config config = log_config_default();
        struct partition *partition = open_one(&world, &config, true);
        for (uint64_t i = 0; i < 3; i++) {
            send_whole(&world, partition, sent, i, 90000);
        }
        struct sim_failure failure = {.kinds = 1U << OP_WRITE, .first = 1, .error = EIO};
        sim_world_set_failure(world.world, &failure);
        send(partition, sent, 3, 90000);
        for (int i = 0; i < 1000 && sent->answers == 0; i++) {
            (void)log_world_tick(&world);
        }
        assert_int_equal(sent->answers, 1);
        assert_int_equal(sent->append.status, STATUS_KAFKA_STORAGE_ERROR);
        assert_true(partition->broken); /* the next tick begins with the reload */
        struct remover remover = {.world = &world, .partition = partition, .steps = steps};
        remover.op.owner = &remover;
        remover.steps += 1;
        remover_step(&remover.op);
        assert_true(log_world_until(&world, &remover.done, 100000));
        log_world_close(&world);
        free(sent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remove_waits_for_slow_reads),
        cmocka_unit_test(test_close_waits_for_slow_reads),
        cmocka_unit_test(test_retired_read_ends),
        cmocka_unit_test(test_refused_ahead_of_need),
        cmocka_unit_test(test_load_without_memory),
        cmocka_unit_test(test_reload_ends_reads),
        cmocka_unit_test(test_remove_while_reloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
