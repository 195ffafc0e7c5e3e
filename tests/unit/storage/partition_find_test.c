/* SPDX-License-Identifier: Apache-2.0 */
/* The newest record of a key over the whole log: in memory, in hints, after restarts, where tables
 * have to be made from the log, and across the ends of transactions. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/hint.h"
#include "storage/store_state.h"
#include "storage/verify.h"
#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "wire/record.h"

#define KEYS 500
#define FIRST_HINT "/data/orders-3/00000000000000000000.hint"

struct fixture {
    struct log_world world;
    struct partition *partition;
    struct partition_config config;
    struct random random;
    int64_t offsets[KEYS]; /* of its newest record, -1 none */
    bool tombstones[KEYS];
    int32_t sequences[8];
    uint8_t memory[65536];
};

static void fixture_load(struct fixture *fixture)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .config = fixture->config};
    memset(options.topic_id.bytes, 0x42, 16);
    assert_int_equal(partition_open(&fixture->partition, fixture->world.store, &options),
                     STATUS_OK);
}

static struct fixture *fixture_open(uint64_t seed, bool key_index, int64_t segment_size)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    random_init(&fixture->random, seed);
    log_world_open(&fixture->world, &(struct log_world_options){.seed = seed});
    fixture->config = log_config_default();
    fixture->config.key_index = key_index;
    fixture->config.segment_size_max = segment_size;
    memset(fixture->offsets, 0xff, sizeof(fixture->offsets));
    fixture_load(fixture);
    return fixture;
}

static void fixture_close(struct fixture *fixture)
{
    partition_close(fixture->partition, true);
    log_world_close(&fixture->world);
    free(fixture);
}

static void fixture_again(struct fixture *fixture, bool clean)
{
    partition_close(fixture->partition, clean);
    log_world_restart(&fixture->world);
    fixture_load(fixture);
}

static void fixture_configure(struct fixture *fixture, bool key_index)
{
    fixture->config.key_index = key_index;
    partition_configure(fixture->partition, &fixture->config);
}

static int64_t append(struct fixture *fixture, struct batch_builder *builder)
{
    struct bytes batch;
    assert_int_equal(
        batch_builder_finish(builder, CODEC_NONE, -1, (struct batch_scratch){0}, 0, &batch),
        STATUS_OK);
    memmove(fixture->memory, batch.data, batch.size);
    struct partition_append append =
        log_world_append(&fixture->world, fixture->partition, fixture->memory, batch.size);
    assert_int_equal(append.status, STATUS_OK);
    return append.base_offset;
}

static size_t key_text(uint32_t key, char text[32])
{
    return (size_t)snprintf(text, 32, "%s-%u", key % 3 == 0 ? "order" : "customer", key);
}

/* A batch of random keys. */
static void put_some(struct fixture *fixture, uint32_t count)
{
    static uint8_t value[200];
    struct batch_builder builder;
    batch_builder_init(&builder, fixture->memory, sizeof(fixture->memory));
    int64_t end = partition_facts(fixture->partition).end_offset;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = (uint32_t)random_below(&fixture->random, KEYS);
        char text[32];
        size_t size = key_text(key, text);
        bool tombstone = random_below(&fixture->random, 8) == 0;
        batch_builder_add(
            &builder, 1000 + i, bytes_of(text, size),
            tombstone ? BYTES_NULL : bytes_of(value, random_below(&fixture->random, 200)), NULL, 0);
        fixture->offsets[key] = end + i;
        fixture->tombstones[key] = tombstone;
    }
    assert_int_equal(append(fixture, &builder), end);
}

static int64_t put_as(struct fixture *fixture, int64_t producer_id, const char *key)
{
    struct batch_builder builder;
    batch_builder_init(&builder, fixture->memory, sizeof(fixture->memory));
    batch_builder_add(&builder, 1000, bytes_of_text(key), BYTES_LITERAL("v"), NULL, 0);
    if (producer_id >= 0) {
        builder.header.producer_id = producer_id;
        builder.header.producer_epoch = 0;
        builder.header.base_sequence = fixture->sequences[producer_id]++;
        builder.header.attributes |= BATCH_TRANSACTIONAL;
    }
    return append(fixture, &builder);
}

static void put_marker(struct fixture *fixture, int64_t producer_id, bool is_commit)
{
    struct batch_builder builder;
    batch_builder_init(&builder, fixture->memory, sizeof(fixture->memory));
    batch_builder_add(&builder, 1000,
                      is_commit ? BYTES_LITERAL("\0\0\0\1") : BYTES_LITERAL("\0\0\0\0"),
                      BYTES_LITERAL("\0\0\0\0\0\0"), NULL, 0);
    builder.header.producer_id = producer_id;
    builder.header.producer_epoch = 0;
    builder.header.base_sequence = -1;
    builder.header.attributes |= BATCH_TRANSACTIONAL | BATCH_CONTROL;
    (void)append(fixture, &builder);
}

static void find_done(struct partition_key_find *find)
{
    *(bool *)find->owner = true;
}

static struct partition_key_find find(struct fixture *fixture, struct bytes key)
{
    bool done = false;
    struct partition_key_find find = {.key = key, .done = find_done, .owner = &done};
    partition_key_find(fixture->partition, &find);
    assert_true(log_world_until(&fixture->world, &done, 1000000));
    return find;
}

/* -1: not there. */
static int64_t offset_of(struct fixture *fixture, const char *key)
{
    struct partition_key_find found = find(fixture, bytes_of_text(key));
    assert_int_equal(found.status, STATUS_OK);
    return found.offset;
}

/* Every key; answers how many came from hints. */
static uint32_t expect_all(struct fixture *fixture)
{
    uint32_t from_hint = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[32];
        struct partition_key_find found =
            find(fixture, bytes_of((uint8_t *)text, key_text(key, text)));
        assert_int_equal(found.status, STATUS_OK);
        assert_int_equal(found.offset, fixture->offsets[key]);
        assert_true(found.offset < 0 || found.tombstone == fixture->tombstones[key]);
        assert_true(found.offset < 0 || found.base_offset <= found.offset);
        from_hint += found.from_hint;
    }
    assert_int_equal(offset_of(fixture, "nobody"), -1);
    return from_hint;
}

static uint32_t hint_flags(struct fixture *fixture)
{
    struct hint_header header;
    uint64_t size = 0;
    const uint8_t *page = sim_world_file(fixture->world.world, FIRST_HINT, &size);
    assert_non_null(page);
    assert_true(size >= HINT_PAGE_SIZE);
    memcpy(&header, page, sizeof(header));
    return header.flags;
}

static void newest_first_over_segments(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture *fixture = fixture_open(seed, true, 20000);
        for (int i = 0; i < 60; i++) {
            put_some(fixture, 1 + (uint32_t)random_below(&fixture->random, 40));
            if (i % 20 == 19) {
                (void)expect_all(fixture);
            }
        }
        log_world_sleep(&fixture->world, 3000);
        assert_true(partition_facts(fixture->partition).segment_count > 5);
        assert_true(expect_all(fixture) > 0);
        fixture_again(fixture, true);
        assert_true(expect_all(fixture) > 0);
        partition_close(fixture->partition, false);
        log_world_crash(&fixture->world);
        fixture_load(fixture);
        assert_true(expect_all(fixture) > 0);
        fixture_close(fixture);
    }
}

static void an_index_switched_on_later(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(7, false, 20000);
    for (int i = 0; i < 60; i++) {
        put_some(fixture, 1 + (uint32_t)random_below(&fixture->random, 40));
    }
    log_world_sleep(&fixture->world, 3000);
    assert_int_equal(find(fixture, BYTES_LITERAL("a")).status, STATUS_NOT_FOUND);
    assert_int_equal(hint_flags(fixture) & HINT_KEYED, 0);
    fixture_configure(fixture, true);
    for (int i = 0; i < 100 && find(fixture, BYTES_LITERAL("a")).status == STATUS_PENDING; i++) {
        log_world_sleep(&fixture->world, 100); /* the next segment is made */
    }
    (void)expect_all(fixture);
    assert_int_equal(hint_flags(fixture) & HINT_KEYED, HINT_KEYED);
    fixture_again(fixture, true);
    (void)expect_all(fixture);
    fixture_close(fixture);
}

/* Nobody looks anything up: upkeep makes the tables, one after the other. */
static void upkeep_makes_tables(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(8, false, 20000);
    for (int i = 0; i < 20; i++) {
        put_some(fixture, 40);
    }
    fixture_configure(fixture, true);
    log_world_sleep(&fixture->world, 200000);
    assert_int_equal(hint_flags(fixture) & HINT_KEYED, HINT_KEYED);
    (void)expect_all(fixture);
    fixture_close(fixture);
}

static void a_damaged_table_is_made_again(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(9, true, 100000);
    for (int i = 0; i < 30; i++) {
        put_some(fixture, 40);
    }
    log_world_sleep(&fixture->world, 3000);
    uint64_t size = 0;
    assert_non_null(sim_world_file(fixture->world.world, FIRST_HINT, &size));
    uint64_t pages = size / HINT_PAGE_SIZE;
    assert_true(pages > 5);
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t at = page * HINT_PAGE_SIZE + random_below(&fixture->random, HINT_PAGE_SIZE);
        assert_true(log_world_flip(&fixture->world, FIRST_HINT, at, (int)(page % 8)));
        fixture_again(fixture, page % 2 == 0);
        (void)expect_all(fixture);
        log_world_sleep(&fixture->world, 30000);
        assert_int_equal(hint_flags(fixture) & HINT_KEYED, HINT_KEYED);
    }
    struct op op = {.kind = OP_UNLINK, .path = FIRST_HINT};
    assert_int_equal(ring_call(fixture->world.ring, &op), 0);
    fixture_again(fixture, true);
    (void)expect_all(fixture);
    log_world_sleep(&fixture->world, 30000);
    assert_int_equal(hint_flags(fixture), HINT_KEYED | HINT_REBUILT);
    fixture_close(fixture);
}

/* More keys than an index holds: runs on disk, and runs of runs. */
static void tables_larger_than_memory(void **state)
{
    (void)state;
    static int64_t offsets[60000];
    struct fixture *fixture = fixture_open(10, false, INT64_C(1) << 30);
    memset(offsets, 0xff, sizeof(offsets));
    for (int i = 0; i < 700; i++) {
        struct batch_builder builder;
        batch_builder_init(&builder, fixture->memory, sizeof(fixture->memory));
        int64_t end = partition_facts(fixture->partition).end_offset;
        for (int k = 0; k < 150; k++) {
            uint32_t key = (uint32_t)random_below(&fixture->random, ARRAY_COUNT(offsets));
            char text[32];
            int size = snprintf(text, sizeof(text), "%u", key);
            batch_builder_add(&builder, 1000, bytes_of((uint8_t *)text, (size_t)size),
                              BYTES_LITERAL("v"), NULL, 0);
            offsets[key] = end + k;
        }
        (void)append(fixture, &builder);
    }
    fixture->world.store->key_index_size_max = UINT64_C(256) << 10;
    fixture_configure(fixture, true);
    for (int i = 0; i < 100 && find(fixture, BYTES_LITERAL("a")).status == STATUS_PENDING; i++) {
        log_world_sleep(&fixture->world, 100);
    }
    assert_int_equal(partition_facts(fixture->partition).segment_count, 2);
    for (uint32_t key = 0; key < ARRAY_COUNT(offsets); key += 7) {
        char text[32];
        int size = snprintf(text, sizeof(text), "%u", key);
        struct partition_key_find found = find(fixture, bytes_of((uint8_t *)text, (size_t)size));
        assert_int_equal(found.status, STATUS_OK);
        assert_int_equal(found.offset, offsets[key]);
        assert_true(found.from_hint || found.offset < 0);
    }
    uint64_t size;
    assert_null(sim_world_file(fixture->world.world, "/data/orders-3/00000000000000000000.keys.tmp",
                               &size));
    fixture_close(fixture);
}

/* Whatever a look-up waits for, the end of its partition ends it. */
static void an_end_while_looking(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(13, false, 20000);
    for (int i = 0; i < 60; i++) {
        put_some(fixture, 20);
    }
    log_world_sleep(&fixture->world, 3000);
    fixture_configure(fixture, true);
    for (int i = 0; i < 100 && find(fixture, BYTES_LITERAL("a")).status == STATUS_PENDING; i++) {
        log_world_sleep(&fixture->world, 100);
    }
    for (uint32_t round = 0; round < 60; round++) {
        char path[64];
        uint32_t number = (uint32_t)random_below(&fixture->random, 3);
        struct ring_listing listing = {.names = (char *)fixture->memory,
                                       .size_max = sizeof(fixture->memory)};
        struct op list = {.kind = OP_LIST, .path = "/data/orders-3", .listing = &listing};
        int64_t count = ring_call(fixture->world.ring, &list);
        const char *name = listing.names;
        for (int64_t i = 0; i < count; i++, name += strlen(name) + 1) {
            size_t size = strlen(name);
            if (size > 5 && strcmp(name + size - 5, ".hint") == 0) {
                snprintf(path, sizeof(path), "/data/orders-3/%s", name);
                (void)log_world_flip(&fixture->world, path, 9000 + number, 1);
            }
        }
        bool done = false;
        struct partition_key_find find = {
            .key = BYTES_LITERAL("nobody"), .done = find_done, .owner = &done};
        partition_key_find(fixture->partition, &find);
        for (uint32_t tick = 0; tick < round * 5 && !done; tick++) {
            (void)log_world_tick(&fixture->world);
        }
        fixture_again(fixture, round % 2 == 0);
        assert_true(done);
        assert_true(find.status == STATUS_KAFKA_STORAGE_ERROR || find.status == STATUS_OK);
        assert_int_equal(find.offset, -1);
    }
    (void)expect_all(fixture);
    bool done = false;
    struct partition_key_find find = {
        .key = BYTES_LITERAL("nobody"), .done = find_done, .owner = &done};
    partition_key_find(fixture->partition, &find);
    fixture_close(fixture);
    assert_true(done);
}

/* ---- without a broker ---- */

struct offline {
    int64_t offset; /* of the newest record, -1 none */
    uint32_t damaged;
};

static void offline_row(struct verify *verify, const struct verify_row *row)
{
    struct offline *offline = verify->owner;
    if (row->producer_id < 0) {
        offline->offset = row->offset;
    }
}

static void offline_batch(struct verify *verify, const struct verify_batch *batch)
{
    struct offline *offline = verify->owner;
    struct op open = {.kind = OP_OPEN, .flags = OPEN_READ};
    char path[64];
    snprintf(path, sizeof(path), "/data/orders-3/%s", batch->file);
    open.path = path;
    int64_t file = ring_call(verify->ring, &open);
    uint8_t *memory = malloc((size_t)batch->size);
    struct iovec slice = {memory, (size_t)batch->size};
    struct op read = {.kind = OP_READ,
                      .file = (int32_t)file,
                      .vector = &slice,
                      .vector_count = 1,
                      .position = (uint64_t)batch->position};
    assert_int_equal(ring_call(verify->ring, &read), batch->size);
    struct op close = {.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(verify->ring, &close);
    uint8_t scratch[1024];
    struct record_stream *stream = NULL;
    struct record record;
    assert_int_equal(record_stream_open(&stream, bytes_of(memory, (size_t)batch->size),
                                        (struct batch_scratch){scratch, sizeof(scratch), NULL},
                                        UINT64_C(1) << 20),
                     STATUS_OK);
    while (record_stream_next(stream, &record)) {
        if (bytes_equal(record.key, verify->key)) {
            offline->offset = record.offset;
            verify->found = true;
        }
    }
    record_stream_close(stream);
    free(memory);
}

static void offline_finding(struct verify *verify, const struct verify_finding *finding)
{
    (void)finding;
    ((struct offline *)verify->owner)->damaged += 1;
}

static struct offline offline_find(struct fixture *fixture, struct bytes key)
{
    struct offline offline = {.offset = -1};
    struct verify verify = {.ring = fixture->world.ring,
                            .heap = &fixture->world.heap,
                            .folder = "/data/orders-3",
                            .log_only = true,
                            .batch = offline_batch,
                            .finding = offline_finding,
                            .key = key,
                            .row = offline_row,
                            .owner = &offline};
    assert_int_equal(verify_run(&verify), 0);
    assert_int_equal(verify.found, offline.offset >= 0);
    return offline;
}

static void files_alone_tell_the_newest(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(12, true, 20000);
    for (int i = 0; i < 40; i++) {
        put_some(fixture, 20);
    }
    log_world_sleep(&fixture->world, 3000);
    partition_close(fixture->partition, true);
    log_world_restart(&fixture->world);
    for (int damage = 0; damage < 2; damage++) {
        uint32_t damaged = 0;
        for (uint32_t key = 0; key < KEYS; key += 5) {
            char text[32];
            struct offline offline =
                offline_find(fixture, bytes_of((uint8_t *)text, key_text(key, text)));
            assert_int_equal(offline.offset, fixture->offsets[key]);
            damaged += offline.damaged;
        }
        assert_int_equal(offline_find(fixture, BYTES_LITERAL("nobody")).offset, -1);
        assert_int_equal(damaged > 0, damage);
        assert_true(log_world_flip(&fixture->world, FIRST_HINT, 2 * HINT_PAGE_SIZE + 100, 1));
    }
    fixture_load(fixture);
    fixture_close(fixture);
}

static void fill(struct fixture *fixture)
{
    int32_t count = partition_facts(fixture->partition).segment_count;
    while (partition_facts(fixture->partition).segment_count == count) {
        (void)put_as(fixture, -1, "filler");
    }
}

/* Transactions that are open when their segment ends. */
static void transactions_over_segments(void **state)
{
    (void)state;
    for (int restart = 0; restart < 3; restart++) {
        struct fixture *fixture = fixture_open(11, true, 3000);
        int64_t before = put_as(fixture, -1, "x");
        int64_t aborted_before = put_as(fixture, -1, "y");
        int64_t committed = put_as(fixture, 1, "x");
        (void)put_as(fixture, 2, "y");
        (void)put_as(fixture, 3, "z");
        fill(fixture);
        assert_int_equal(offset_of(fixture, "x"), before);
        log_world_sleep(&fixture->world, 3000);
        assert_int_equal(offset_of(fixture, "x"), before);
        put_marker(fixture, 1, true);
        assert_int_equal(offset_of(fixture, "x"), committed);
        assert_int_equal(offset_of(fixture, "y"), aborted_before);
        fill(fixture);
        put_marker(fixture, 2, false);
        fill(fixture);
        log_world_sleep(&fixture->world, 3000);
        if (restart > 0) {
            fixture_again(fixture, restart == 1);
        }
        assert_int_equal(offset_of(fixture, "y"), aborted_before);
        assert_int_equal(offset_of(fixture, "x"), committed);
        assert_int_equal(offset_of(fixture, "z"), -1); /* open still */
        put_marker(fixture, 3, true);
        assert_true(offset_of(fixture, "z") >= 0);
        fixture_close(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_first_over_segments),
        cmocka_unit_test(an_index_switched_on_later),
        cmocka_unit_test(upkeep_makes_tables),
        cmocka_unit_test(a_damaged_table_is_made_again),
        cmocka_unit_test(tables_larger_than_memory),
        cmocka_unit_test(an_end_while_looking),
        cmocka_unit_test(files_alone_tell_the_newest),
        cmocka_unit_test(transactions_over_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
