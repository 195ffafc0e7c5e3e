/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/producers.h"

#include <stdlib.h>

#include "tests/lib/test.h"
#include "tests/unit/storage/producers_case.h"

#define SEQUENCE_MAX INT32_MAX

struct fixture {
    struct heap heap;
    struct producers *producers;
};

static int setup(void **state)
{
    static struct fixture fixture;
    heap_init(&fixture.heap, 16 * MIB);
    fixture.producers = producers_open(&fixture.heap, SEED, 4);
    assert_non_null(fixture.producers);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    producers_close(fixture->producers);
    heap_deinit(&fixture->heap);
    return 0;
}

static void add(struct producers *producers, struct batch_header header)
{
    assert_int_equal(producers_add(producers, &header, no_marker, NOW), STATUS_OK);
}

static void end(struct producers *producers, struct batch_header header, bool is_commit)
{
    struct producers_marker marker = marker_of(is_commit, 0);
    assert_int_equal(producers_add(producers, &header, marker, NOW), STATUS_OK);
}

static void expect(const struct producers *producers, struct batch_header header,
                   enum status status)
{
    struct producers_verdict verdict = producers_check(producers, &header);
    assert_int_equal(verdict.status, status);
    assert_false(verdict.duplicate);
}

static void expect_duplicate(const struct producers *producers, struct batch_header header,
                             int64_t offset)
{
    struct producers_verdict verdict = producers_check(producers, &header);
    assert_int_equal(verdict.status, STATUS_OK);
    assert_true(verdict.duplicate);
    assert_int_equal(verdict.base_offset, offset);
    assert_int_equal(verdict.last_offset, offset + header.last_offset_delta);
    assert_int_equal(verdict.timestamp, NOW);
}

static void batches_without_a_producer_pass(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    expect(producers, data_of(-1, -1, -1, 10), STATUS_OK);
    add(producers, data_of(-1, -1, -1, 10));
    assert_int_equal(producers_count(producers), 0);
}

static void five_batches_are_remembered(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    for (int32_t i = 0; i < 6; i++) {
        expect(producers, data_of(1, 0, i * 10, 10), STATUS_OK);
        add(producers, at(data_of(1, 0, i * 10, 10), 100 + i * 10));
    }
    for (int32_t i = 1; i < 6; i++) {
        expect_duplicate(producers, data_of(1, 0, i * 10, 10), 100 + i * 10);
    }
    expect(producers, data_of(1, 0, 0, 10), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER); /* the sixth */
    expect(producers, data_of(1, 0, 50, 9), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER); /* other end */
    expect(producers, data_of(1, 0, 61, 1), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER); /* a gap */
    expect(producers, data_of(1, 0, 60, 1), STATUS_OK);
}

static void an_unknown_producer_may_start_anywhere(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    expect(producers, data_of(1, 5, 777, 1), STATUS_OK);
    add(producers, data_of(1, 5, 777, 1));
    expect(producers, data_of(1, 5, 778, 1), STATUS_OK);
}

static void sequences_wrap(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, at(data_of(1, 0, SEQUENCE_MAX - 9, 10), 50));
    expect(producers, data_of(1, 0, 0, 1), STATUS_OK);
    expect(producers, data_of(1, 0, 1, 1), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER);
    add(producers, at(data_of(1, 0, 0, 3), 60));
    expect_duplicate(producers, data_of(1, 0, SEQUENCE_MAX - 9, 10), 50);

    add(producers, at(data_of(2, 0, SEQUENCE_MAX - 3, 10), 63)); /* across: last is 5 */
    struct producer_view views[4];
    assert_int_equal(producers_list(producers, views, 4), 2);
    assert_int_equal(views[1].last_sequence, 5);
    expect_duplicate(producers, data_of(2, 0, SEQUENCE_MAX - 3, 10), 63);
    expect(producers, data_of(2, 0, 6, 1), STATUS_OK);
}

static void epochs_fence(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, data_of(1, 3, 0, 10));
    expect(producers, data_of(1, 2, 10, 1), STATUS_INVALID_PRODUCER_EPOCH);
    expect(producers, data_of(1, 2, 0, 10), STATUS_INVALID_PRODUCER_EPOCH); /* no duplicate */
    expect(producers, control_of(1, 2), STATUS_INVALID_PRODUCER_EPOCH);
    expect(producers, data_of(1, 4, 10, 1), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(producers, data_of(1, 4, 0, 1), STATUS_OK);
    add(producers, at(data_of(1, 4, 0, 1), 10));
    expect(producers, data_of(1, 3, 10, 1), STATUS_INVALID_PRODUCER_EPOCH);
    expect(producers, data_of(1, 4, 0, 10), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER);
}

static void transactions_hold_the_stable_offset(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    assert_int_equal(producers_first_open(producers), INT64_MAX);
    add(producers, transactional(at(data_of(1, 0, 0, 5), 10)));
    add(producers, transactional(at(data_of(2, 0, 0, 5), 15)));
    add(producers, transactional(at(data_of(1, 0, 5, 5), 20)));
    assert_int_equal(producers_first_open(producers), 10);
    expect(producers, data_of(1, 0, 10, 1), STATUS_INVALID_TXN_STATE);
    end(producers, at(control_of(1, 0), 25), false);
    assert_int_equal(producers_first_open(producers), 15);
    end(producers, at(control_of(2, 0), 26), true);
    assert_int_equal(producers_first_open(producers), INT64_MAX);
    expect(producers, data_of(1, 0, 10, 1), STATUS_OK);

    struct producers_aborted aborted[2];
    assert_int_equal(producers_aborted_list(producers, 0, 100, aborted, 2), 1);
    assert_int_equal(aborted[0].producer_id, 1);
    assert_int_equal(aborted[0].first_offset, 10);
    assert_int_equal(aborted[0].last_offset, 25);
    assert_int_equal(aborted[0].last_stable_offset, 15);
    assert_int_equal(producers_aborted_list(producers, 26, 100, aborted, 2), 0);
    assert_int_equal(producers_aborted_list(producers, 0, 10, aborted, 2), 0);
    assert_int_equal(producers_aborted_list(producers, 25, 26, aborted, 2), 1);
    producers_forget_below(producers, 25);
    assert_int_equal(producers_aborted_list(producers, 0, 100, aborted, 2), 1);
    producers_forget_below(producers, 26);
    assert_int_equal(producers_aborted_list(producers, 0, 100, aborted, 2), 0);
}

static void a_marker_above_the_high_watermark_settles_nothing(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, transactional(at(data_of(1, 0, 0, 5), 10)));
    end(producers, at(control_of(1, 0), 15), true);
    assert_int_equal(producers_first_open(producers), INT64_MAX);
    assert_int_equal(producers_first_unstable(producers, 10), 10);
    assert_int_equal(producers_first_unstable(producers, 15), 10);
    assert_int_equal(producers_first_unstable(producers, 16), INT64_MAX);
}

static void markers_are_fenced_by_both_epochs(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    struct batch_header header = at(control_of(1, 5), 1);
    struct producers_marker marker = marker_of(true, 7);
    assert_int_equal(producers_check_marker(producers, &header, marker), STATUS_OK);
    assert_int_equal(producers_add(producers, &header, marker, NOW), STATUS_OK);
    marker.coordinator_epoch = 6;
    assert_int_equal(producers_check_marker(producers, &header, marker),
                     STATUS_TRANSACTION_COORDINATOR_FENCED);
    header.producer_epoch = 4;
    assert_int_equal(producers_check_marker(producers, &header, marker),
                     STATUS_INVALID_PRODUCER_EPOCH);
    /* A marker alone makes the producer known: its next batch starts at 0. */
    expect(producers, data_of(1, 5, 3, 1), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(producers, data_of(1, 5, 0, 1), STATUS_OK);
}

static void a_marker_with_a_higher_epoch_starts_sequences_again(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, transactional(at(data_of(1, 0, 0, 5), 0)));
    end(producers, at(control_of(1, 1), 5), true); /* KIP-890: each end bumps the epoch */
    expect(producers, data_of(1, 0, 5, 1), STATUS_INVALID_PRODUCER_EPOCH);
    expect(producers, data_of(1, 1, 5, 1), STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER);
    expect(producers, data_of(1, 1, 0, 1), STATUS_OK);
    end(producers, at(control_of(1, 1), 6), true); /* nothing open: nothing ends */
    assert_int_equal(producers_first_unstable(producers, 6), INT64_MAX);
}

static void emptied_batches_keep_fencing_and_open_nothing(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    struct batch_header data = transactional(at(data_of(1, 2, 10, 5), 0));
    data.count = 0;
    add(producers, data);
    assert_int_equal(producers_first_open(producers), INT64_MAX);
    expect(producers, transactional(data_of(1, 2, 15, 1)), STATUS_OK);
    struct batch_header control = at(control_of(2, 9), 5);
    control.count = 0;
    add(producers, control);
    expect(producers, data_of(2, 8, 0, 1), STATUS_INVALID_PRODUCER_EPOCH);
}

static void the_oldest_idle_producer_goes(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, transactional(at(data_of(1, 0, 0, 1), 0)));
    add(producers, at(data_of(2, 0, 0, 1), 1));
    add(producers, at(data_of(3, 0, 0, 1), 2));
    add(producers, at(data_of(4, 0, 0, 1), 3));
    add(producers, at(data_of(2, 0, 1, 1), 4));
    add(producers, at(data_of(5, 0, 0, 1), 5)); /* 3 was idle longest; 1 has a transaction */
    struct producer_view views[4];
    assert_int_equal(producers_list(producers, views, 4), 4);
    assert_int_equal(views[0].producer_id, 1);
    assert_int_equal(views[1].producer_id, 2);
    assert_int_equal(views[2].producer_id, 4);
    assert_int_equal(views[3].producer_id, 5);
    assert_int_equal(producers_list(producers, views, 2), 4);
    for (int64_t id = 2; id <= 5; id++) {
        if (id != 3) {
            add(producers, transactional(at(data_of(id, 0, 2, 1), 10 + id)));
        }
    }
    expect(producers, data_of(6, 0, 0, 1), STATUS_NO_MEMORY); /* none is idle */
    struct batch_header header = data_of(6, 0, 0, 1);
    assert_int_equal(producers_add(producers, &header, no_marker, NOW), STATUS_NO_MEMORY);
    expect(producers, data_of(1, 0, 1, 1), STATUS_INVALID_TXN_STATE);
}

static void age_removes_idle_producers_only(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, transactional(at(data_of(1, 0, 0, 1), 0)));
    add(producers, at(data_of(2, 0, 0, 1), 1));
    assert_int_equal(producers_expire(producers, NOW + 999, 1000), 0);
    assert_int_equal(producers_expire(producers, NOW + 1000, 1000), 1);
    assert_int_equal(producers_count(producers), 1);
    expect(producers, data_of(2, 0, 99, 1), STATUS_OK);
}

static void a_spent_heap_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct producers *producers = fixture->producers;
    add(producers, transactional(at(data_of(1, 0, 0, 1), 0)));
    fixture->heap.size_max = fixture->heap.size;
    struct batch_header header = at(control_of(1, 0), 1);
    assert_int_equal(producers_add(producers, &header, marker_of(false, 3), NOW), STATUS_NO_MEMORY);
    assert_int_equal(producers_first_open(producers), 0);
    header = data_of(2, 0, 0, 1);
    assert_int_equal(producers_add(producers, &header, no_marker, NOW), STATUS_NO_MEMORY);
    assert_int_equal(producers_count(producers), 1);
}

/* As Apache Kafka lays it out: two producers, the second inside a transaction. */
static const uint8_t kafka_snapshot[] = {
    0x00, 0x01, 0xf1, 0xfc, 0xd0, 0xb1, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x03, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x6d, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x03, 0xe9, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x6e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x05,
    0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6e,
};

static void the_snapshot_is_kafkas(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    struct batch_header first = at(data_of(1000, 0, 0, 10), 100);
    add(producers, first);
    struct batch_header end_before = at(control_of(1001, 3), 90);
    assert_int_equal(producers_add(producers, &end_before, marker_of(true, 7), NOW), STATUS_OK);
    struct batch_header second = transactional(at(data_of(1001, 3, 0, 1), 110));
    second.max_timestamp = NOW + 5;
    add(producers, second);
    uint8_t data[sizeof(kafka_snapshot)];
    assert_int_equal(producers_encode(producers, data, sizeof(data)), sizeof(data));
    assert_memory_equal(data, kafka_snapshot, sizeof(data));
    memset(data, 0xee, sizeof(data));
    assert_int_equal(producers_encode(producers, data, sizeof(data) - 1), sizeof(data));
    assert_int_equal(data[0], 0xee);
}

static void a_snapshot_brings_the_last_batch_back(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, data_of(5, 0, 0, 1)); /* replaced */
    struct bytes snapshot = bytes_of(kafka_snapshot, sizeof(kafka_snapshot));
    assert_int_equal(producers_decode(producers, snapshot, NOW), STATUS_OK);
    assert_int_equal(producers_count(producers), 2);
    expect_duplicate(producers, data_of(1000, 0, 0, 10), 100);
    expect(producers, data_of(1000, 0, 10, 1), STATUS_OK);
    assert_int_equal(producers_first_open(producers), 110);
    expect(producers, data_of(1001, 3, 1, 1), STATUS_INVALID_TXN_STATE);
    struct batch_header header = control_of(1001, 3);
    assert_int_equal(producers_check_marker(producers, &header, marker_of(true, 6)),
                     STATUS_TRANSACTION_COORDINATOR_FENCED);
}

static void damaged_snapshots_are_refused_whole(void **state)
{
    struct producers *producers = ((struct fixture *)*state)->producers;
    add(producers, data_of(5, 0, 0, 1));
    uint8_t *copy = malloc(sizeof(kafka_snapshot));
    for (size_t bit = 0; bit < sizeof(kafka_snapshot) * 8; bit++) {
        memcpy(copy, kafka_snapshot, sizeof(kafka_snapshot));
        copy[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_int_equal(producers_decode(producers, bytes_of(copy, sizeof(kafka_snapshot)), NOW),
                         STATUS_CORRUPT_MESSAGE);
    }
    free(copy);
    for (size_t size = 0; size < sizeof(kafka_snapshot); size++) {
        uint8_t *cut = malloc(size + 1);
        memcpy(cut + 1, kafka_snapshot, size);
        assert_int_equal(producers_decode(producers, bytes_of(cut + 1, size), NOW),
                         STATUS_CORRUPT_MESSAGE);
        free(cut);
    }
    expect_duplicate(producers, data_of(5, 0, 0, 1), 0);
    assert_int_equal(producers_count(producers), 1);
}

int main(void)
{
#define FRESH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        FRESH(batches_without_a_producer_pass),
        FRESH(five_batches_are_remembered),
        FRESH(an_unknown_producer_may_start_anywhere),
        FRESH(sequences_wrap),
        FRESH(epochs_fence),
        FRESH(transactions_hold_the_stable_offset),
        FRESH(a_marker_above_the_high_watermark_settles_nothing),
        FRESH(markers_are_fenced_by_both_epochs),
        FRESH(a_marker_with_a_higher_epoch_starts_sequences_again),
        FRESH(emptied_batches_keep_fencing_and_open_nothing),
        FRESH(the_oldest_idle_producer_goes),
        FRESH(age_removes_idle_producers_only),
        FRESH(a_spent_heap_changes_nothing),
        FRESH(the_snapshot_is_kafkas),
        FRESH(a_snapshot_brings_the_last_batch_back),
        FRESH(damaged_snapshots_are_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
