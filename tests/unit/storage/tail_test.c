/* SPDX-License-Identifier: Apache-2.0 */
/* Tail files: the example of storage/FORMAT.md, and that no damaged page is ever believed. */
#include "tests/lib/test.h"

#include "base/random.h"
#include "storage/tail.h"
#include "tests/unit/storage/format_example.h"

static struct tail_identity example_identity(void)
{
    struct tail_identity identity = {.index = 3, .base_offset = 100};
    for (uint8_t i = 0; i < 16; i++) {
        identity.topic_id.bytes[i] = i;
    }
    identity.seed = segment_seed_of(&identity.topic_id, 3, 100, UINT32_MAX);
    return identity;
}

static void test_example(void **state)
{
    (void)state;
    uint8_t page[TAIL_PAGE_SIZE];
    struct tail_identity identity = example_identity();
    struct tail_header header;
    read_example("tail-header", page);
    assert_true(tail_decode_header(page, &identity, &header));
    assert_int_equal(header.sequence, 7);
    assert_int_equal(header.position, 70000);
    assert_int_equal(header.offset, 164);
    assert_int_equal(header.log_size, 70000);
    assert_int_equal(header.row_count, 1);
    assert_int_equal(header.flags, TAIL_CLEAN | TAIL_NO_PRODUCERS);
    assert_int_equal(header.running.position, 65600);
    assert_int_equal(header.running.base_offset, 160);
    struct epochs epochs;
    assert_true(tail_take_epochs(&header, &epochs) == INT64_C(0x1122334455667788));
    assert_int_equal(epochs.count, 2);
    assert_int_equal(epochs.entries[0].epoch, 5);
    assert_int_equal(epochs.entries[0].start_offset, 0);
    assert_int_equal(epochs.entries[1].epoch, 9);
    assert_int_equal(epochs.entries[1].start_offset, 120);
    uint8_t again[TAIL_PAGE_SIZE];
    tail_encode_header(again, &header, identity.seed);
    assert_memory_equal(again, page, TAIL_PAGE_SIZE);

    struct block_row rows[TAIL_PAGE_ROWS];
    read_example("tail-rows", page);
    assert_int_equal(tail_decode_rows(page, 0, identity.seed, rows), 1);
    assert_int_equal(rows[0].position, 0);
    assert_int_equal(rows[0].base_offset, 100);
    assert_true(rows[0].sum == UINT64_C(0x99aabbccddeeff00));
    tail_encode_rows(again, 0, identity.seed, rows, 1);
    assert_memory_equal(again, page, TAIL_PAGE_SIZE);
}

static void test_others_are_refused(void **state)
{
    (void)state;
    uint8_t page[TAIL_PAGE_SIZE];
    struct tail_header header;
    read_example("tail-header", page);
    struct tail_identity identity = example_identity();
    identity.base_offset = 101;
    assert_false(tail_decode_header(page, &identity, &header));
    identity = example_identity();
    identity.index = 4;
    assert_false(tail_decode_header(page, &identity, &header));
    identity = example_identity();
    identity.topic_id.bytes[15] ^= 1;
    assert_false(tail_decode_header(page, &identity, &header));
    identity = example_identity();
    identity.seed ^= 1;
    assert_false(tail_decode_header(page, &identity, &header));
    struct block_row rows[TAIL_PAGE_ROWS];
    read_example("tail-rows", page);
    assert_int_equal(tail_decode_rows(page, 1, example_identity().seed, rows), 0);
}

/* Every single bit, and every cut at a 512-byte block between an older and a newer page. */
static void test_damage_is_seen(void **state)
{
    (void)state;
    uint8_t page[TAIL_PAGE_SIZE];
    uint8_t rows_page[TAIL_PAGE_SIZE];
    struct tail_identity identity = example_identity();
    struct tail_header header;
    struct block_row rows[TAIL_PAGE_ROWS];
    read_example("tail-header", page);
    read_example("tail-rows", rows_page);
    for (size_t bit = 0; bit < TAIL_PAGE_SIZE * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1U << bit % 8);
        rows_page[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(tail_decode_header(page, &identity, &header));
        assert_int_equal(tail_decode_rows(rows_page, 0, identity.seed, rows), 0);
        page[bit / 8] ^= (uint8_t)(1U << bit % 8);
        rows_page[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(tail_decode_header(page, &identity, &header));
    struct tail_header newer = header;
    newer.sequence = 9;
    uint8_t newer_page[TAIL_PAGE_SIZE];
    tail_encode_header(newer_page, &newer, identity.seed);
    for (size_t cut = 512; cut < TAIL_PAGE_SIZE; cut += 512) {
        uint8_t torn[2 * TAIL_PAGE_SIZE] = {0};
        memcpy(torn, page, TAIL_PAGE_SIZE);
        memcpy(torn + TAIL_PAGE_SIZE, newer_page, cut);
        memcpy(torn + TAIL_PAGE_SIZE + cut, page + cut, TAIL_PAGE_SIZE - cut);
        struct tail_header found;
        assert_true(tail_decode_slots(torn, &identity, &found));
        assert_int_equal(found.sequence, 7);
    }
    uint8_t both[2 * TAIL_PAGE_SIZE];
    memcpy(both, page, TAIL_PAGE_SIZE);
    memcpy(both + TAIL_PAGE_SIZE, newer_page, TAIL_PAGE_SIZE);
    assert_true(tail_decode_slots(both, &identity, &header));
    assert_int_equal(header.sequence, 9);
}

/* Sums right, epochs that cannot be: the checkpoint is read instead. */
static void test_epochs_are_sane(void **state)
{
    (void)state;
    uint8_t page[TAIL_PAGE_SIZE];
    struct tail_identity identity = example_identity();
    struct tail_header good;
    struct epochs epochs;
    read_example("tail-header", page);
    assert_true(tail_decode_header(page, &identity, &good));
    struct tail_header header = good;
    header.epochs_stamp = 0; /* as an older version wrote it */
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header = good;
    header.epoch_count = 0;
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header.epoch_count = EPOCHS_MAX + 1;
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header = good;
    header.epochs[1].epoch = 5;
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header = good;
    header.epochs[0].start_offset = 121;
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header.epochs[0].start_offset = -1;
    assert_int_equal(tail_take_epochs(&header, &epochs), 0);
    header = good;
    for (int32_t i = 0; i < EPOCHS_MAX; i++) {
        header.epochs[i] = (struct tail_epoch){.start_offset = i, .epoch = i};
    }
    header.epoch_count = EPOCHS_MAX;
    assert_true(tail_take_epochs(&header, &epochs) == good.epochs_stamp);
    assert_int_equal(epochs.count, EPOCHS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_others_are_refused),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_epochs_are_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
