/* SPDX-License-Identifier: Apache-2.0 */
/* Records of __consumer_offsets, byte for byte as Kafka 4.1 writes them. */
#include "tests/lib/test.h"

#include "broker/groups/records.h"

struct fixture {
    struct pages *pages;
    struct arena arena;
};

static void fixture_open(struct fixture *fixture)
{
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = MIB}};
    fixture->pages = pages_open(&limits);
    assert_non_null(fixture->pages);
    arena_init(&fixture->arena, fixture->pages, MIB);
}

static void fixture_close(struct fixture *fixture)
{
    arena_reset(&fixture->arena);
    pages_close(fixture->pages);
}

static const struct offset_commit_key KEY = {
    .group = BYTES_LITERAL("grp"), .topic = BYTES_LITERAL("t"), .partition = 7};

static void test_offset_commit(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct offset_commit_value value;
    offset_commit_value_init(&value);
    value.offset = 258;
    value.leader_epoch = 5;
    value.metadata = BYTES_LITERAL("m");
    value.commit_timestamp = 1;
    struct shard_record record;
    assert_int_equal(record_offset_commit(&fixture.arena, &KEY, &value, &record), STATUS_OK);
    assert_bytes_equal(record.key, BYTES_LITERAL("\0\1\0\3grp\0\1t\0\0\0\7"));
    assert_bytes_equal(record.value, BYTES_LITERAL("\0\3\0\0\0\0\0\0\1\2\0\0\0\5\0\1m"
                                                   "\0\0\0\0\0\0\0\1"));
    value.expire_timestamp = 2;
    assert_int_equal(record_offset_commit(&fixture.arena, &KEY, &value, &record), STATUS_OK);
    assert_bytes_equal(record.value, BYTES_LITERAL("\0\1\0\0\0\0\0\0\1\2\0\1m"
                                                   "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2"));
    assert_int_equal(record_offset_commit(&fixture.arena, &KEY, NULL, &record), STATUS_OK);
    assert_null(record.value.data);
    fixture_close(&fixture);
}

static void test_group_metadata(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct group_metadata_value value;
    group_metadata_value_init(&value);
    value.protocol_type = BYTES_LITERAL("consumer");
    value.generation = 3;
    value.current_state_timestamp = 9;
    struct shard_record record;
    assert_int_equal(record_group_metadata(&fixture.arena, BYTES_LITERAL("grp"), &value, &record),
                     STATUS_OK);
    assert_bytes_equal(record.key, BYTES_LITERAL("\0\2\0\3grp"));
    assert_bytes_equal(record.value, BYTES_LITERAL("\0\3\0\10consumer\0\0\0\3\377\377\377\377"
                                                   "\0\0\0\0\0\0\0\11\0\0\0\0"));
    assert_int_equal(record_group_metadata(&fixture.arena, BYTES_LITERAL("grp"), NULL, &record),
                     STATUS_OK);
    assert_null(record.value.data);
    fixture_close(&fixture);
}

static void test_keys(void **state)
{
    (void)state;
    struct record_key key;
    assert_false(record_key_read(BYTES_LITERAL("\0"), &key));
    assert_false(record_key_read(BYTES_NULL, &key));
    assert_true(record_key_read(BYTES_LITERAL("\0\20rest"), &key));
    assert_int_equal(key.number, 16);
    assert_int_equal(reader_size(&key.body), 4);
}

static void test_refusal(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    fixture.arena.failed = true;
    struct shard_record record;
    assert_int_equal(record_offset_commit(&fixture.arena, &KEY, NULL, &record), STATUS_NO_MEMORY);
    assert_int_equal(record_group_metadata(&fixture.arena, BYTES_LITERAL("g"), NULL, &record),
                     STATUS_NO_MEMORY);
    fixture.arena.failed = false;
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset_commit),
        cmocka_unit_test(test_group_metadata),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
