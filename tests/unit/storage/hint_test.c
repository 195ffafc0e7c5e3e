/* SPDX-License-Identifier: Apache-2.0 */
/* Hint files: the example of storage/FORMAT.md; no damaged page is ever believed; whatever happens
 * to a hint, the log reads as it was written. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/hint.h"
#include "tests/lib/log_world.h"
#include "tests/unit/storage/format_example.h"

/* ---- pages ---- */

static struct hint_identity example_identity(void)
{
    struct uuid topic_id;
    for (uint8_t i = 0; i < 16; i++) {
        topic_id.bytes[i] = i;
    }
    return hint_identity_of(&topic_id, 3, 100);
}

static void test_example(void **state)
{
    (void)state;
    uint8_t page[HINT_PAGE_SIZE];
    uint8_t again[HINT_PAGE_SIZE];
    struct hint_identity identity = example_identity();
    struct hint_header header;
    read_example("hint-header", page);
    assert_true(hint_decode_header(page, &identity, &header));
    assert_int_equal(header.end_offset, 190);
    assert_int_equal(header.log_size, 70000);
    assert_int_equal(header.stable_offset, 180);
    assert_int_equal(header.flags, HINT_REBUILT);
    assert_int_equal(header.row_count, 2);
    assert_int_equal(header.aborted_count, 1);
    struct hint_layout layout = hint_layout_of(&header);
    assert_int_equal(layout.aborted, 2);
    assert_int_equal(layout.end, 3);
    hint_encode_header(again, &header, identity.seed);
    assert_memory_equal(again, page, HINT_PAGE_SIZE);

    struct block_row rows[2];
    read_example("hint-rows", page);
    assert_true(hint_decode_rows(page, &header, 1, rows, identity.seed));
    assert_int_equal(rows[1].position, 65600);
    assert_int_equal(rows[1].base_offset, 160);
    hint_encode_rows(again, &header, 1, rows, identity.seed);
    assert_memory_equal(again, page, HINT_PAGE_SIZE);

    struct producers_aborted aborted[HINT_PAGE_ROWS];
    read_example("hint-aborted", page);
    assert_int_equal(hint_decode_aborted(page, &header, 2, aborted, identity.seed), 1);
    assert_int_equal(aborted[0].producer_id, 4000);
    assert_int_equal(aborted[0].last_offset, 170);
    hint_encode_aborted(again, &header, 2, aborted, identity.seed);
    assert_memory_equal(again, page, HINT_PAGE_SIZE);
}

static void test_others_are_refused(void **state)
{
    (void)state;
    uint8_t page[HINT_PAGE_SIZE];
    struct hint_header header;
    struct hint_trailer trailer;
    struct hint_identity identity = example_identity();
    read_example("hint-header", page);
    struct uuid other = identity.topic_id;
    other.bytes[15] ^= 1;
    struct hint_identity others[] = {hint_identity_of(&identity.topic_id, 3, 101),
                                     hint_identity_of(&identity.topic_id, 4, 100),
                                     hint_identity_of(&other, 3, 100)};
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        assert_false(hint_decode_header(page, &others[i], &header));
    }
    /* Another place, another kind. */
    read_example("hint-rows", page);
    assert_true(hint_page_open(page, 1, HINT_ROWS, identity.seed, &trailer));
    assert_false(hint_page_open(page, 2, HINT_ROWS, identity.seed, &trailer));
    assert_false(hint_page_open(page, 1, HINT_ABORTED, identity.seed, &trailer));
}

static void test_every_bit(void **state)
{
    (void)state;
    uint8_t pages[3][HINT_PAGE_SIZE];
    struct hint_identity identity = example_identity();
    struct hint_header header;
    struct hint_header damaged;
    struct block_row rows[2];
    struct producers_aborted aborted[HINT_PAGE_ROWS];
    read_example("hint-header", pages[0]);
    read_example("hint-rows", pages[1]);
    read_example("hint-aborted", pages[2]);
    assert_true(hint_decode_header(pages[0], &identity, &header));
    for (size_t bit = 0; bit < (size_t)HINT_PAGE_SIZE * 8; bit++) {
        uint8_t mask = (uint8_t)(1U << bit % 8);
        for (int i = 0; i < 3; i++) {
            pages[i][bit / 8] ^= mask;
        }
        assert_false(hint_decode_header(pages[0], &identity, &damaged));
        assert_false(hint_decode_rows(pages[1], &header, 1, rows, identity.seed));
        assert_int_equal(hint_decode_aborted(pages[2], &header, 2, aborted, identity.seed), -1);
        for (int i = 0; i < 3; i++) {
            pages[i][bit / 8] ^= mask;
        }
    }
}

/* ---- in a folder ---- */

#define BATCHES 24
#define SEGMENT_SIZE 200000

struct fixture {
    size_t batch_size;    /* 0: 50,000 */
    int64_t segment_size; /* 0: SEGMENT_SIZE */
    struct log_world world;
    struct partition *partition;
    uint8_t *batches[BATCHES];
    size_t sizes[BATCHES];
    int64_t ends[BATCHES]; /* offset behind the batch */
};

static void fixture_open(struct fixture *fixture, bool fresh)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .fresh = fresh};
    options.config = log_config_default();
    options.config.segment_size_max = fixture->segment_size;
    memset(options.topic_id.bytes, 0x42, 16);
    assert_int_equal(partition_open(&fixture->partition, fixture->world.store, &options),
                     STATUS_OK);
}

static void fixture_fill(struct fixture *fixture)
{
    for (size_t i = 0; i < BATCHES; i++) {
        size_t room = fixture->batch_size + 10000;
        fixture->batches[i] = malloc(room);
        assert_non_null(fixture->batches[i]);
        fixture->sizes[i] = log_batch_make(fixture->batches[i], room, i, 3, fixture->batch_size,
                                           1000 + (int64_t)i * 10);
        struct partition_append append = log_world_append(&fixture->world, fixture->partition,
                                                          fixture->batches[i], fixture->sizes[i]);
        assert_int_equal(append.status, STATUS_OK);
        fixture->ends[i] = append.base_offset + 3;
    }
    log_world_sleep(&fixture->world, 3000);
}

static void fixture_start(struct fixture *fixture)
{
    fixture->batch_size = fixture->batch_size == 0 ? 50000 : fixture->batch_size;
    fixture->segment_size = fixture->segment_size == 0 ? SEGMENT_SIZE : fixture->segment_size;
    log_world_open(&fixture->world, &(struct log_world_options){.seed = 11});
    fixture_open(fixture, true);
    fixture_fill(fixture);
}

static void fixture_again(struct fixture *fixture)
{
    partition_close(fixture->partition, true);
    log_world_restart(&fixture->world);
    fixture_open(fixture, false);
}

static void fixture_end(struct fixture *fixture)
{
    partition_close(fixture->partition, true);
    log_world_close(&fixture->world);
    for (size_t i = 0; i < BATCHES; i++) {
        free(fixture->batches[i]);
    }
}

static void read_done(struct partition_read *read)
{
    *(bool *)read->owner = true;
}

/* One batch read by an offset inside it; answers the status, and compares where there are bytes. */
static enum status read_batch(struct fixture *fixture, size_t index)
{
    bool done = false;
    struct partition_read read = {.offset = fixture->ends[index] - 2,
                                  .size_max = 1,
                                  .first_whole = true,
                                  .isolation = READ_COMMITTED};
    read.done = read_done;
    read.owner = &done;
    partition_read(fixture->partition, &read);
    assert_true(log_world_until(&fixture->world, &done, 100000));
    if (read.status == STATUS_OK) {
        assert_int_equal(read.size, fixture->sizes[index]);
        size_t at = 0;
        for (int32_t i = 0; i < read.slice_count; i++) {
            assert_memory_equal(read.slices[i].data, fixture->batches[index] + at,
                                read.slices[i].size);
            at += read.slices[i].size;
        }
    }
    enum status status = read.status;
    partition_read_release(fixture->partition, &read);
    return status;
}

static void expect_all(struct fixture *fixture)
{
    for (size_t i = 0; i < BATCHES; i++) {
        assert_int_equal(read_batch(fixture, i), STATUS_OK);
    }
}

static bool has_file(struct fixture *fixture, const char *name, uint64_t *size)
{
    char path[128];
    snprintf(path, sizeof(path), "/data/orders-3/%s", name);
    return sim_world_file(fixture->world.world, path, size) != NULL;
}

#define FIRST_HINT "00000000000000000000.hint"
#define FIRST_HINT_PATH "/data/orders-3/" FIRST_HINT

static void test_sealed_has_hint(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    uint64_t size = 0;
    fixture_start(&fixture);
    assert_int_equal(partition_facts(fixture.partition).segment_count, 6);
    assert_true(has_file(&fixture, FIRST_HINT, &size));
    assert_int_equal(size, 2 * HINT_PAGE_SIZE);
    assert_false(has_file(&fixture, "00000000000000000000.tail", &size));
    expect_all(&fixture);
    fixture_again(&fixture);
    expect_all(&fixture);
    partition_close(fixture.partition, false);
    log_world_restart(&fixture.world);
    fixture_open(&fixture, false);
    int64_t log_size = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        log_size += (int64_t)fixture.sizes[i];
    }
    expect_all(&fixture);
    assert_int_equal(partition_facts(fixture.partition).size, log_size);
    fixture_end(&fixture);
}

static void test_flips_rebuild(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    fixture_start(&fixture);
    for (uint64_t bit = 0; bit < 2 * HINT_PAGE_SIZE * 8; bit += 1021) {
        assert_true(log_world_flip(&fixture.world, FIRST_HINT_PATH, bit / 8, (int)(bit % 8)));
        fixture_again(&fixture);
        assert_int_equal(read_batch(&fixture, 1), STATUS_OK);
        log_world_sleep(&fixture.world, 100);
        uint64_t size = 0;
        const uint8_t *page = sim_world_file(fixture.world.world, FIRST_HINT_PATH, &size);
        struct hint_header header;
        assert_int_equal(size, 2 * HINT_PAGE_SIZE);
        memcpy(&header, page, sizeof(header));
        assert_int_equal(header.flags & HINT_REBUILT, HINT_REBUILT);
    }
    expect_all(&fixture);
    fixture_end(&fixture);
}

static void test_truncations_rebuild(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    fixture_start(&fixture);
    for (uint64_t size = 0; size < 2 * HINT_PAGE_SIZE; size += 257) {
        struct op op = {.kind = OP_OPEN, .path = FIRST_HINT_PATH, .flags = OPEN_WRITE};
        int64_t file = ring_call(fixture.world.ring, &op);
        assert_true(file >= 0);
        op = (struct op){.kind = OP_TRUNCATE, .file = (int32_t)file, .size = size};
        assert_int_equal(ring_call(fixture.world.ring, &op), 0);
        op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
        assert_int_equal(ring_call(fixture.world.ring, &op), 0);
        fixture_again(&fixture);
        assert_int_equal(read_batch(&fixture, 2), STATUS_OK);
        log_world_sleep(&fixture.world, 100);
    }
    expect_all(&fixture);
    fixture_end(&fixture);
}

/* Without any hint and tail, as Kafka leaves a folder; segments too large to be walked at open. */
static void test_missing_rebuild(void **state)
{
    (void)state;
    struct fixture fixture = {.batch_size = 600000, .segment_size = 6000000};
    static const char *const names[] = {FIRST_HINT, "00000000000000000030.hint",
                                        "00000000000000000060.tail"};
    fixture_start(&fixture);
    partition_close(fixture.partition, true);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/data/orders-3/%s", names[i]);
        struct op op = {.kind = OP_UNLINK, .path = path};
        assert_int_equal(ring_call(fixture.world.ring, &op), 0);
    }
    log_world_restart(&fixture.world);
    fixture_open(&fixture, false);
    uint64_t size = 0;
    assert_false(has_file(&fixture, FIRST_HINT, &size));
    assert_int_equal(partition_facts(fixture.partition).high_watermark, fixture.ends[BATCHES - 1]);
    expect_all(&fixture);
    log_world_sleep(&fixture.world, 100);
    assert_true(has_file(&fixture, FIRST_HINT, &size));
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),         cmocka_unit_test(test_others_are_refused),
        cmocka_unit_test(test_every_bit),       cmocka_unit_test(test_sealed_has_hint),
        cmocka_unit_test(test_flips_rebuild),   cmocka_unit_test(test_truncations_rebuild),
        cmocka_unit_test(test_missing_rebuild),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
