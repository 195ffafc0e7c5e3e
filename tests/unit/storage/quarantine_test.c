/* SPDX-License-Identifier: Apache-2.0 */
/* Quarantined ranges: the list and its file; then a flipped bit, from a refused read to a gap. */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/quarantine.h"
#include "storage/verify.h"
#include "tests/lib/log_world.h"
#include "wire/batch.h"

static struct quarantine_range range_of(int64_t position_from, int64_t position_until)
{
    return (struct quarantine_range){.base_offset = 100,
                                     .position_from = position_from,
                                     .position_until = position_until,
                                     .offset_from = 100 + position_from / 10,
                                     .offset_until = 100 + position_until / 10};
}

static void test_ranges(void **state)
{
    (void)state;
    struct heap heap;
    struct quarantine quarantine;
    heap_init(&heap, 1 << 20);
    quarantine_init(&quarantine, &heap);
    static const int64_t ends[][2] = {{1000, 2000}, {5000, 6000}, {2000, 3000}, {500, 900}};
    for (size_t i = 0; i < 4; i++) {
        struct quarantine_range range = range_of(ends[i][0], ends[i][1]);
        assert_int_equal(quarantine_add(&quarantine, &range), STATUS_OK);
    }
    assert_int_equal(quarantine.count, 3); /* 1000 to 3000 is one */
    assert_int_equal(quarantine_at_offset(&quarantine, 250)->position_until, 3000);
    assert_null(quarantine_at_offset(&quarantine, 195));
    assert_null(quarantine_at_offset(&quarantine, 400));
    assert_int_equal(quarantine_at_position(&quarantine, 100, 3000)->position_from, 5000);
    assert_null(quarantine_at_position(&quarantine, 100, 6000));
    assert_null(quarantine_at_position(&quarantine, 200, 0));
    assert_int_equal(quarantine_cross(&quarantine, 250), 250);
    assert_int_equal(quarantine_skip(&quarantine, 200, 399), 0); /* whole ranges alone */
    assert_int_equal(quarantine_skip(&quarantine, 200, 400), 1);
    assert_int_equal(quarantine_cross(&quarantine, 250), 400);
    assert_true(quarantine_refuses(&quarantine));
    struct quarantine_range inside = range_of(1500, 1600);
    assert_int_equal(quarantine_add(&quarantine, &inside), STATUS_OK);
    assert_int_equal(quarantine_cross(&quarantine, 250), 400); /* skipped stays skipped */
    assert_true(quarantine_cut_start(&quarantine, 101));
    assert_int_equal(quarantine.count, 0);
    quarantine_deinit(&quarantine);
    heap_deinit(&heap);
}

static void test_cut_end(void **state)
{
    (void)state;
    struct heap heap;
    struct quarantine quarantine;
    heap_init(&heap, 1 << 20);
    quarantine_init(&quarantine, &heap);
    static const int64_t ends[][2] = {{500, 900}, {1000, 2000}, {5000, 6000}};
    for (size_t i = 0; i < 3; i++) {
        struct quarantine_range range = range_of(ends[i][0], ends[i][1]);
        assert_int_equal(quarantine_add(&quarantine, &range), STATUS_OK);
    }
    assert_int_equal(quarantine_skip(&quarantine, 150, 190), 1);
    assert_false(quarantine_cut_end(&quarantine, 100, 6000, 700));
    assert_true(quarantine_cut_end(&quarantine, 100, 1500, 250));
    assert_int_equal(quarantine.count, 2);
    assert_int_equal(quarantine_at_offset(&quarantine, 249)->position_until, 1500);
    assert_null(quarantine_at_offset(&quarantine, 250));
    assert_false(quarantine_cut_end(&quarantine, 100, 1500, 250));
    assert_true(quarantine_cut_end(&quarantine, 300, 0, 200)); /* another segment is the last */
    assert_int_equal(quarantine.count, 1);
    assert_int_equal(quarantine_cross(&quarantine, 150), 190);
    quarantine_deinit(&quarantine);
    heap_deinit(&heap);
}

/* The block "```text quarantine" of FORMAT.md. */
static size_t read_text(char *text, size_t size_max)
{
    FILE *file = fopen(WEIR_FORMAT_MD, "r");
    assert_non_null(file);
    char line[512];
    bool inside = false;
    size_t size = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (inside && line[0] == '`') {
            break;
        }
        if (inside) {
            assert_true(size + strlen(line) < size_max);
            memcpy(text + size, line, strlen(line));
            size += strlen(line);
        }
        inside = inside || strcmp(line, "```text quarantine\n") == 0;
    }
    fclose(file);
    return size;
}

static void test_text(void **state)
{
    (void)state;
    struct heap heap;
    struct quarantine quarantine;
    char text[1024];
    char again[1024];
    heap_init(&heap, 1 << 20);
    quarantine_init(&quarantine, &heap);
    size_t size = read_text(text, sizeof(text));
    assert_int_equal(quarantine_decode(&quarantine, bytes_of((uint8_t *)text, size)), STATUS_OK);
    assert_int_equal(quarantine.count, 2);
    assert_int_equal(quarantine_cross(&quarantine, 4050), 4100);
    assert_int_equal(quarantine_encode(&quarantine, again, sizeof(again)), size);
    assert_memory_equal(again, text, size);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(quarantine_decode(&quarantine, bytes_of((uint8_t *)text, cut)),
                         STATUS_CORRUPT_MESSAGE);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        text[bit / 8] ^= (char)(1U << bit % 8);
        /* The case of a hexadecimal digit of the sum is no damage. */
        if (quarantine_decode(&quarantine, bytes_of((uint8_t *)text, size)) == STATUS_OK) {
            assert_true(bit / 8 >= size - 17 && bit % 8 == 5);
        }
        text[bit / 8] ^= (char)(1U << bit % 8);
    }
    assert_int_equal(quarantine.count, 2);
    quarantine_deinit(&quarantine);
    heap_deinit(&heap);
}

/* ---- from rot to a gap ---- */

#define BATCHES 30
#define BATCH_SIZE 30000

static void mark_read(struct partition_read *read)
{
    *(bool *)read->owner = true;
}

static struct partition *open_log(struct log_world *world, bool fresh)
{
    struct partition *partition = NULL;
    struct partition_options options = {
        .topic = "rot", .index = 0, .leader_epoch = 1, .fresh = fresh};
    options.config = log_config_default();
    options.config.segment_size_max = 400000;
    memset(options.topic_id.bytes, 9, 16);
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    return partition;
}

static void fill(struct log_world *world, struct partition *partition)
{
    static uint8_t memory[BATCH_SIZE + 4096];
    for (uint64_t i = 0; i < BATCHES; i++) {
        size_t size = log_batch_make(memory, sizeof(memory), i, 1, BATCH_SIZE, 1000);
        assert_int_equal(log_world_append(world, partition, memory, size).status, STATUS_OK);
    }
    log_world_sleep(world, 3000);
}

struct answer {
    enum status status;
    size_t size;
    int64_t base_offset; /* of the first batch */
};

static struct answer read_at(struct log_world *world, struct partition *partition, int64_t offset,
                             uint32_t size_max)
{
    bool done = false;
    struct partition_read read = {.offset = offset, .size_max = size_max, .first_whole = true};
    read.done = mark_read;
    read.owner = &done;
    partition_read(partition, &read);
    assert_true(log_world_until(world, &done, 100000));
    struct answer answer = {.status = read.status, .size = read.size, .base_offset = -1};
    if (read.size >= 8 && read.slices[0].size >= 8) {
        answer.base_offset = (int64_t)get_be64(read.slices[0].data);
    }
    partition_read_release(partition, &read);
    return answer;
}

/* Which offsets are refused; every other one is served. */
static void expect_refused(struct log_world *world, struct partition *partition, int64_t from,
                           int64_t until)
{
    for (int64_t offset = 0; offset < BATCHES; offset++) {
        struct answer answer = read_at(world, partition, offset, 1);
        bool refused = offset >= from && offset < until;
        assert_int_equal(answer.status, refused ? STATUS_CORRUPT_MESSAGE : STATUS_OK);
        assert_true(refused || answer.base_offset == offset);
    }
}

static void put_request(struct log_world *world, const char *text)
{
    struct op op = {.kind = OP_OPEN,
                    .path = "/data/rot-0/weir.request",
                    .flags = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE};
    int64_t file = ring_call(world->ring, &op);
    assert_true(file >= 0);
    struct iovec slice = {(void *)(uintptr_t)text, strlen(text)};
    op = (struct op){.kind = OP_WRITE,
                     .file = (int32_t)file,
                     .flags = OP_DSYNC,
                     .vector = &slice,
                     .vector_count = 1};
    assert_int_equal(ring_call(world->ring, &op), strlen(text));
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    assert_int_equal(ring_call(world->ring, &op), 0);
}

#define FIRST_LOG "/data/rot-0/00000000000000000000.log"

struct checked {
    uint64_t kinds[3];
    int64_t offset_from;
    int64_t offset_until;
    uint64_t batches;
};

static void checked_finding(struct verify *verify, const struct verify_finding *finding)
{
    struct checked *checked = verify->owner;
    checked->kinds[finding->kind] += 1;
    checked->offset_from = finding->offset_from;
    checked->offset_until = finding->offset_until;
}

static void checked_batch(struct verify *verify, const struct verify_batch *batch)
{
    struct checked *checked = verify->owner;
    assert_true(batch->header.base_offset < BATCHES);
    checked->batches += 1;
}

/* What `weir log verify` says of the folder. */
static struct checked check_folder(struct log_world *world)
{
    struct checked checked = {0};
    struct verify verify = {.ring = world->ring,
                            .heap = &world->heap,
                            .folder = "/data/rot-0",
                            .batch = checked_batch,
                            .finding = checked_finding,
                            .owner = &checked};
    assert_int_equal(verify_run(&verify), 0);
    assert_int_equal(verify.batch_count, checked.batches);
    assert_int_equal(verify.damage_count, checked.kinds[0] + checked.kinds[1]);
    return checked;
}

static void expect_gap(struct log_world *world, struct partition *partition, int64_t from,
                       int64_t until)
{
    for (int64_t offset = 0; offset < BATCHES; offset++) {
        struct answer answer = read_at(world, partition, offset, 1);
        assert_int_equal(answer.status, STATUS_OK);
        assert_int_equal(answer.base_offset, offset >= from && offset < until ? until : offset);
    }
    /* A long read ends before the gap. */
    struct answer answer = read_at(world, partition, 0, 1 << 20);
    assert_int_equal(answer.status, STATUS_OK);
    assert_in_range(answer.size, from * (BATCH_SIZE - 100), from * (BATCH_SIZE + 100));
}

static void test_rot_to_gap(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 5});
    struct partition *partition = open_log(&world, true);
    fill(&world, partition);
    partition_close(partition, true);
    log_world_restart(&world);
    struct checked checked = check_folder(&world);
    assert_int_equal(checked.kinds[VERIFY_DAMAGE], 0);
    assert_int_equal(checked.batches, BATCHES);
    /* Block 2 holds the bytes from 131072 on: the end of batch 4 to the start of batch 6. */
    assert_true(log_world_flip(&world, FIRST_LOG, 140000, 3));
    checked = check_folder(&world);
    assert_int_equal(checked.kinds[VERIFY_DAMAGE], 2); /* the block, and the batch */
    assert_int_equal(checked.offset_from, 4);
    assert_int_equal(checked.offset_until, 5);
    assert_int_equal(checked.batches, BATCHES - 1);
    partition = open_log(&world, false);
    expect_refused(&world, partition, 4, 7);
    uint64_t size = 0;
    log_world_sleep(&world, 100);
    assert_non_null(sim_world_file(world.world, "/data/rot-0/weir.quarantine", &size));
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_log(&world, false);
    expect_refused(&world, partition, 4, 7);

    put_request(&world, "skip 0 5\n"); /* not the whole range: nothing happens */
    log_world_sleep(&world, 3000);
    assert_null(sim_world_file(world.world, "/data/rot-0/weir.request", &size));
    expect_refused(&world, partition, 4, 7);
    put_request(&world, "skip 4 7\n");
    log_world_sleep(&world, 3000);
    assert_null(sim_world_file(world.world, "/data/rot-0/weir.request", &size));
    expect_gap(&world, partition, 4, 7);
    partition_close(partition, false);
    log_world_restart(&world);
    partition = open_log(&world, false);
    expect_gap(&world, partition, 4, 7);
    partition_close(partition, true);
    checked = check_folder(&world);
    assert_int_equal(checked.kinds[VERIFY_SKIPPED], 1);
    assert_int_equal(checked.kinds[VERIFY_DAMAGE] + checked.kinds[VERIFY_QUARANTINED], 0);
    log_world_close(&world);
}

/* The hint is damaged as well: the batches' own CRCs find the damage, and name one batch. */
static void test_rot_without_hint(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 6});
    struct partition *partition = open_log(&world, true);
    fill(&world, partition);
    partition_close(partition, true);
    log_world_restart(&world);
    assert_true(log_world_flip(&world, FIRST_LOG, 170000, 3)); /* inside batch 5 */
    assert_true(log_world_flip(&world, "/data/rot-0/00000000000000000000.hint", 100, 1));
    partition = open_log(&world, false);
    expect_refused(&world, partition, 5, 6);
    log_world_sleep(&world, 100);
    put_request(&world, "skip 5 6\n");
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_log(&world, false); /* found at open */
    expect_gap(&world, partition, 5, 6);
    partition_close(partition, true);
    log_world_close(&world);
}

/* FAILED after two failed writes within a minute; open again by hand. */
static void test_reopen(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 7});
    struct partition *partition = open_log(&world, true);
    static uint8_t memory[8192];
    int64_t expected = 0;
    for (int round = 0; round < 4; round++) {
        bool fails = round == 1 || round == 2;
        size_t size = log_batch_make(memory, sizeof(memory), 1, 1, 4000, 1000);
        if (fails) {
            log_world_fail(&world, 1, 1U << OP_WRITE, EIO);
        }
        struct partition_append append = log_world_append(&world, partition, memory, size);
        log_world_fail(&world, 0, 0, 0);
        log_world_sleep(&world, 2000);
        assert_int_equal(append.status, fails ? STATUS_KAFKA_STORAGE_ERROR : STATUS_OK);
        expected += fails ? 0 : 1;
        struct partition_facts facts = partition_facts(partition);
        assert_int_equal(facts.high_watermark, expected);
        assert_int_equal(facts.state, round == 2 ? PARTITION_FAILED : PARTITION_OPEN);
        if (round == 2) {
            assert_int_equal(read_at(&world, partition, 0, 1).status, STATUS_OK);
            put_request(&world, "reopen\n");
            log_world_sleep(&world, 3000);
            assert_int_equal(partition_facts(partition).state, PARTITION_OPEN);
        }
    }
    partition_close(partition, true);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_cut_end),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_rot_to_gap),
        cmocka_unit_test(test_rot_without_hint),
        cmocka_unit_test(test_reopen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
