/* SPDX-License-Identifier: Apache-2.0 */
/* What is written to __transaction_state is what is read from it. */
#include "broker/transactions/records.h"

#include "base/check.h"
#include "tests/lib/test.h"

struct world {
    struct pages *pages;
    struct arena arena;
    struct heap heap;
};

static int world_open(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    const struct pages_limits limits = {
        .size_max = {[PAGES_REQUEST] = MIB, [PAGES_SLAB] = MIB, [PAGES_CACHE] = MIB}};
    world->pages = pages_open(&limits);
    arena_init(&world->arena, world->pages, MIB);
    heap_init(&world->heap, MIB);
    *state = world;
    return world->pages == NULL;
}

static int world_close(void **state)
{
    struct world *world = *state;
    arena_reset(&world->arena);
    pages_close(world->pages);
    heap_deinit(&world->heap);
    test_free(world);
    return 0;
}

static struct transaction_value value_of(enum transaction_state state)
{
    return (struct transaction_value){
        .producer_id = INT64_C(1) << 40,
        .previous_producer_id = 17,
        .next_producer_id = -1,
        .start_ms = 1700000000000,
        .update_ms = 1700000000500,
        .timeout_ms = 60000,
        .epoch = 12,
        .last_epoch = -1,
        .client_version = 2,
        .state = state,
    };
}

static void assert_value_equal(const struct transaction_value *a, const struct transaction_value *b)
{
    assert_int_equal(a->producer_id, b->producer_id);
    assert_int_equal(a->previous_producer_id, b->previous_producer_id);
    assert_int_equal(a->next_producer_id, b->next_producer_id);
    assert_int_equal(a->start_ms, b->start_ms);
    assert_int_equal(a->update_ms, b->update_ms);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->last_epoch, b->last_epoch);
    assert_int_equal(a->client_version, b->client_version);
    assert_int_equal(a->state, b->state);
}

static void assert_round_trip(struct world *world, enum transaction_state state)
{
    struct transaction_value value = value_of(state);
    struct partition_set set = {0};
    struct partition_set read_set = {0};
    bool holds = state != TRANSACTION_EMPTY && state != TRANSACTION_COMPLETE_COMMIT &&
                 state != TRANSACTION_COMPLETE_ABORT;
    for (int32_t i = 0; holds && i < 5; i++) {
        struct bytes topic = i % 2 == 0 ? BYTES_LITERAL("orders") : BYTES_LITERAL("payments");
        assert_int_equal(partition_set_add(&set, &world->heap, topic, i), STATUS_OK);
    }
    struct shard_record record;
    assert_int_equal(
        transaction_record_encode(&world->arena, BYTES_LITERAL("copier-7"), &value, &set, &record),
        STATUS_OK);
    struct bytes id;
    struct transaction_value read;
    bool tombstone = true;
    assert_int_equal(transaction_record_decode(&record, &world->arena, &world->heap, &id, &read,
                                               &read_set, &tombstone),
                     STATUS_OK);
    assert_false(tombstone);
    assert_bytes_equal(id, BYTES_LITERAL("copier-7"));
    assert_value_equal(&read, &value);
    assert_int_equal(read_set.count, set.count);
    for (int32_t i = 0; holds && i < 5; i++) {
        struct bytes topic = i % 2 == 0 ? BYTES_LITERAL("orders") : BYTES_LITERAL("payments");
        assert_true(partition_set_has(&read_set, topic, i));
    }
    partition_set_clear(&set, &world->heap);
    partition_set_clear(&read_set, &world->heap);
}

static void every_state_round_trips(void **state)
{
    for (enum transaction_state one = 0; one < TRANSACTION_DEAD; one++) {
        assert_round_trip(*state, one);
    }
}

static void a_dead_id_is_a_tombstone(void **state)
{
    struct world *world = *state;
    struct transaction_value value = value_of(TRANSACTION_DEAD);
    struct partition_set set = {0};
    struct shard_record record;
    assert_int_equal(
        transaction_record_encode(&world->arena, BYTES_LITERAL("x"), &value, &set, &record),
        STATUS_OK);
    assert_null(record.value.data);
    struct bytes id;
    bool tombstone = false;
    assert_int_equal(transaction_record_decode(&record, &world->arena, &world->heap, &id, &value,
                                               &set, &tombstone),
                     STATUS_OK);
    assert_true(tombstone);
    assert_bytes_equal(id, BYTES_LITERAL("x"));
}

/* Kafka 4.1's bytes of value version 0 and 1, for an id "t" with partition 3 of topic "a". */
static void kafkas_bytes_are_read(void **state)
{
    struct world *world = *state;
    static const uint8_t key[] = {0, 0, 0, 1, 't'};
    static const uint8_t value_0[] = {
        0, 0, 0, 0, 0, 0, 0,   0, 0, 9, 0, 4, 0, 0, 0xea, 0x60, 1, /* id, epoch, timeout */
        0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 3,             /* partitions */
        0, 0, 0, 0, 0, 0, 0,   2, 0, 0, 0, 0, 0, 0, 0,    1,       /* update, start */
    };
    static const uint8_t value_1[] = {
        0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 4, 0, 0, 0xea, 0x60, 1, 2, 2, 'a', 2,
        0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,    0,    0, 0, 0, 0,   1, /* update, start */
        2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 2, 2, 0, 2, /* previous, client */
    };
    const struct bytes values[] = {bytes_of(value_0, sizeof(value_0)),
                                   bytes_of(value_1, sizeof(value_1))};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        const struct shard_record record = {bytes_of(key, sizeof(key)), values[i]};
        struct transaction_value value;
        struct partition_set set = {0};
        struct bytes id;
        bool tombstone;
        assert_int_equal(transaction_record_decode(&record, &world->arena, &world->heap, &id,
                                                   &value, &set, &tombstone),
                         STATUS_OK);
        assert_int_equal(value.producer_id, 9);
        assert_int_equal(value.epoch, 4);
        assert_int_equal(value.state, TRANSACTION_ONGOING);
        assert_int_equal(value.start_ms, 1);
        assert_int_equal(value.previous_producer_id, i == 0 ? -1 : 9);
        assert_int_equal(value.client_version, i == 0 ? 0 : 2);
        assert_true(partition_set_has(&set, BYTES_LITERAL("a"), 3));
        partition_set_clear(&set, &world->heap);
    }
}

static void damage_is_refused(void **state)
{
    struct world *world = *state;
    struct transaction_value value = value_of(TRANSACTION_ONGOING);
    struct partition_set set = {0};
    assert_int_equal(partition_set_add(&set, &world->heap, BYTES_LITERAL("orders"), 1), STATUS_OK);
    struct shard_record record;
    assert_int_equal(
        transaction_record_encode(&world->arena, BYTES_LITERAL("id"), &value, &set, &record),
        STATUS_OK);
    for (size_t size = 0; size < record.value.size; size++) {
        struct shard_record cut = record;
        cut.value.size = size;
        struct partition_set read_set = {0};
        struct bytes id;
        bool tombstone;
        assert_int_equal(transaction_record_decode(&cut, &world->arena, &world->heap, &id, &value,
                                                   &read_set, &tombstone),
                         STATUS_CORRUPT_MESSAGE);
        assert_int_equal(read_set.count, 0);
    }
    partition_set_clear(&set, &world->heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_state_round_trips, world_open, world_close),
        cmocka_unit_test_setup_teardown(a_dead_id_is_a_tombstone, world_open, world_close),
        cmocka_unit_test_setup_teardown(kafkas_bytes_are_read, world_open, world_close),
        cmocka_unit_test_setup_teardown(damage_is_refused, world_open, world_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
