/* SPDX-License-Identifier: Apache-2.0 */
/* Key tables of hints: the example of storage/FORMAT.md, what a seal writes against a sorted array,
 * rows of transactions, keys of any length; no damaged page is believed. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/hint_keys.h"
#include "tests/lib/log_world.h"
#include "tests/unit/storage/format_example.h"
#include "wire/record.h"

/* ---- the example ---- */

static struct hint_identity example_identity(void)
{
    struct uuid topic_id;
    for (uint8_t i = 0; i < 16; i++) {
        topic_id.bytes[i] = i;
    }
    return hint_identity_of(&topic_id, 3, 100);
}

static const char *const example_names[] = {"hint-keyed-header", NULL, "hint-keys", "hint-index",
                                            "hint-bloom"};

static void read_examples(uint8_t pages[5][HINT_PAGE_SIZE])
{
    memset(pages, 0, (size_t)5 * HINT_PAGE_SIZE);
    for (size_t i = 0; i < 5; i++) {
        if (example_names[i] != NULL) {
            read_example(example_names[i], pages[i]);
        }
    }
}

static void test_example(void **state)
{
    (void)state;
    static uint8_t pages[5][HINT_PAGE_SIZE];
    uint8_t again[HINT_PAGE_SIZE];
    read_examples(pages);
    struct hint_identity identity = example_identity();
    struct hint_header header;
    assert_true(hint_decode_header(pages[0], &identity, &header));
    assert_int_equal(header.flags, HINT_KEYED);
    assert_int_equal(header.key_count, 3);
    struct hint_layout layout = hint_layout_of(&header);
    assert_int_equal(layout.keys, 2);
    assert_int_equal(layout.end, 5);
    for (uint32_t i = 2; i < 5; i++) {
        assert_true(hint_check_key_page(pages[i], &header, i, identity.seed));
    }

    struct hint_key_cursor cursor;
    struct hint_key_page filling = {0};
    hint_keys_begin(&cursor, pages[2]);
    hint_key_page_begin(&filling, again);
    static const struct {
        const char *key;
        int64_t offset;
        uint32_t flags;
        int64_t producer_id;
    } rows[] = {{"apple", 170, KEY_UNDECIDED, 4000},
                {"apple", 120, 0, -1},
                {"apricot", 101, KEY_TOMBSTONE, -1}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(hint_keys_next(&cursor, &header), STATUS_OK);
        assert_true(bytes_equal(cursor.key.key, bytes_of_text(rows[i].key)));
        assert_int_equal(cursor.key.entry.offset, rows[i].offset);
        assert_int_equal(cursor.key.entry.flags, rows[i].flags);
        assert_int_equal(cursor.key.producer_id, rows[i].producer_id);
        assert_true(hint_key_put(&filling, &header, &cursor.key));
    }
    assert_int_equal(cursor.key.entry.position, 0);
    assert_int_equal(cursor.key.entry.size, 90);
    assert_int_equal(cursor.key.entry.timestamp, 1767225600000);
    assert_int_equal(hint_keys_next(&cursor, &header), STATUS_NOT_FOUND);
    hint_key_page_seal(&filling, 2, HINT_KEYS, identity.seed);
    assert_memory_equal(again, pages[2], HINT_PAGE_SIZE);

    hint_keys_begin(&cursor, pages[3]);
    assert_int_equal(hint_index_next(&cursor), STATUS_OK);
    assert_true(bytes_equal(cursor.key.key, BYTES_LITERAL("a")));
    assert_int_equal(hint_index_next(&cursor), STATUS_NOT_FOUND);
    struct bloom_probe probe;
    assert_int_equal(
        bloom_probe_open(&probe, pages[4], header.bloom_size, BYTES_LITERAL("apricot")), STATUS_OK);
    assert_true(bloom_probe_has(&probe, pages[4] + probe.position));
}

static void test_every_bit(void **state)
{
    (void)state;
    static uint8_t pages[5][HINT_PAGE_SIZE];
    read_examples(pages);
    struct hint_identity identity = example_identity();
    struct hint_header header;
    struct hint_header damaged;
    assert_true(hint_decode_header(pages[0], &identity, &header));
    for (size_t bit = 0; bit < (size_t)HINT_PAGE_SIZE * 8; bit++) {
        uint8_t mask = (uint8_t)(1U << bit % 8);
        for (uint32_t i = 0; i < 5; i++) {
            pages[i][bit / 8] ^= mask;
            if (i == 0) {
                assert_false(hint_decode_header(pages[0], &identity, &damaged));
            } else if (i >= 2) {
                assert_false(hint_check_key_page(pages[i], &header, i, identity.seed));
            }
            pages[i][bit / 8] ^= mask;
        }
    }
}

/* ---- a table in memory ---- */

/* Every page of a hint, checked as a reader has to. */
struct image {
    const uint8_t *data;
    size_t size;
    struct hint_identity identity;
};

/* Of decided rows, and of those whose producer is in `committed`, the newest. -1: none. */
static int64_t image_find(const struct image *image, struct bytes key, int64_t committed,
                          uint32_t *pages)
{
    static struct hint_search search;
    struct hint_header header;
    uint8_t form[KEY_FORM_MAX];
    hint_search_begin(&search, key_form(key, form));
    enum hint_search_verdict verdict = HINT_SEARCH_NEEDS;
    const uint8_t *page = NULL;
    *pages = 0;
    for (;;) {
        if (verdict == HINT_SEARCH_NEEDS) {
            page = image->data + (size_t)search.number * HINT_PAGE_SIZE;
            assert_true((size_t)(search.number + 1) * HINT_PAGE_SIZE <= image->size);
            assert_true(search.number == 0 ? hint_decode_header(page, &image->identity, &header)
                                           : hint_check_key_page(page, &header, search.number,
                                                                 image->identity.seed));
            *pages += 1;
        } else if (verdict == HINT_SEARCH_ABSENT) {
            return -1;
        } else {
            assert_int_equal(verdict, HINT_SEARCH_ENTRY);
            const struct hint_key *row = &search.cursor.key;
            if ((row->entry.flags & KEY_UNDECIDED) == 0 || row->producer_id == committed) {
                return row->entry.offset;
            }
        }
        verdict = hint_search_step(&search, page);
    }
}

#define TABLE_PAGES 4096

struct table_image {
    uint8_t *memory;
    struct hint_header header;
    struct hint_identity identity;
    struct hint_key_page filling;
    uint32_t page;
};

static uint8_t *table_page(struct table_image *table, uint32_t number)
{
    assert_true(number < TABLE_PAGES);
    return table->memory + (size_t)number * HINT_PAGE_SIZE;
}

static void table_begin(struct table_image *table)
{
    *table = (struct table_image){
        .memory = calloc(TABLE_PAGES, HINT_PAGE_SIZE), .identity = example_identity(), .page = 1};
    table->header = (struct hint_header){.magic = HINT_MAGIC,
                                         .version = HINT_VERSION,
                                         .index = 3,
                                         .topic_id = table->identity.topic_id,
                                         .base_offset = 100,
                                         .end_offset = 10000000,
                                         .log_size = 60000,
                                         .timestamp_first = 5000,
                                         .flags = HINT_KEYED,
                                         .row_count = 1};
    table->page = 2;
    hint_key_page_begin(&table->filling, table_page(table, 2));
}

static void table_put(struct table_image *table, const struct hint_key *key)
{
    if (!hint_key_put(&table->filling, &table->header, key)) {
        hint_key_page_seal(&table->filling, table->page, HINT_KEYS, table->identity.seed);
        table->page += 1;
        hint_key_page_begin(&table->filling, table_page(table, table->page));
        assert_true(hint_key_put(&table->filling, &table->header, key));
    }
    table->header.key_count += 1;
}

/* First keys, filter, header. */
static void table_end(struct table_image *table)
{
    struct hint_header *header = &table->header;
    uint64_t seed = table->identity.seed;
    hint_key_page_seal(&table->filling, table->page, HINT_KEYS, seed);
    header->key_page_count = table->page - 1;
    uint64_t size = bloom_size(header->key_count, 0.01);
    struct bloom bloom;
    uint8_t *filter = calloc(1, size);
    bloom_init(&bloom, filter, size, 9);
    uint8_t last[KEY_FORM_MAX];
    size_t last_size = 0;
    table->filling = (struct hint_key_page){0};
    uint32_t keys_end = table->page + 1;
    table->page = keys_end;
    hint_key_page_begin(&table->filling, table_page(table, table->page));
    for (uint32_t number = 2; number < keys_end; number++) {
        struct hint_key_cursor cursor;
        hint_keys_begin(&cursor, table_page(table, number));
        for (bool first = true; hint_keys_next(&cursor, header) == STATUS_OK; first = false) {
            struct bytes before = bytes_of(last, last_size);
            struct bytes key = cursor.key.key;
            bool continued = number > 2 && bytes_equal(before, key);
            if (first && !hint_index_put(&table->filling, hint_separator(before, key), continued)) {
                hint_key_page_seal(&table->filling, table->page, HINT_INDEX, seed);
                table->page += 1;
                hint_key_page_begin(&table->filling, table_page(table, table->page));
                assert_true(
                    hint_index_put(&table->filling, hint_separator(before, key), continued));
            }
            bloom_add(&bloom, bloom_hash(&bloom, key));
            memcpy(last, cursor.memory, cursor.key_size);
            last_size = cursor.key_size;
        }
    }
    hint_key_page_seal(&table->filling, table->page, HINT_INDEX, seed);
    table->page += 1;
    header->index_page_count = table->page - keys_end;
    header->bloom_size = size;
    header->bloom_page_count = (uint32_t)((size + HINT_BLOOM_PAYLOAD - 1) / HINT_BLOOM_PAYLOAD);
    for (; table->page < hint_layout_of(header).end; table->page++) {
        hint_encode_bloom(table_page(table, table->page), header, table->page, filter, seed);
    }
    hint_encode_header(table->memory, header, seed);
    free(filter);
}

static struct image table_image(const struct table_image *table)
{
    return (struct image){table->memory, (size_t)table->page * HINT_PAGE_SIZE, table->identity};
}

static void test_keys_of_any_length(void **state)
{
    (void)state;
    struct table_image table;
    uint32_t pages;
    for (size_t size = 1; size <= 1500; size = size * 3 / 2 + 1) {
        uint8_t key[1600];
        memset(key, 'k', sizeof(key));
        table_begin(&table);
        for (uint32_t i = 0; i < 300; i++) { /* sharing all but the last bytes */
            uint8_t form[KEY_FORM_MAX];
            put_be32(key + size, i * 2);
            struct bytes stored = size + 4 <= KEY_WHOLE_MAX
                                      ? bytes_of(key, size + 4)
                                      : key_form(bytes_of(key, size + 4), form);
            if (size + 4 > KEY_WHOLE_MAX) {
                put_be64(form + KEY_WHOLE_MAX, i); /* a hash, in order */
            }
            table_put(&table, &(struct hint_key){stored, {.offset = 100 + i, .size = 61}, -1});
        }
        table_end(&table);
        struct image image = table_image(&table);
        for (uint32_t i = 0; i < 300 && size + 4 <= KEY_WHOLE_MAX; i++) {
            put_be32(key + size, i * 2);
            assert_int_equal(image_find(&image, bytes_of(key, size + 4), -1, &pages), 100 + i);
            assert_true(pages <= 12);
            put_be32(key + size, i * 2 + 1);
            assert_int_equal(image_find(&image, bytes_of(key, size + 4), -1, &pages), -1);
        }
        assert_int_equal(image_find(&image, BYTES_LITERAL(""), -1, &pages), -1);
        free(table.memory);
    }
}

/* Undecided rows of one key over many pages: found from the first one, whichever page a search
 * begins in, and the decided one behind them. */
static void test_rows_of_one_key_over_pages(void **state)
{
    (void)state;
    struct table_image table;
    uint32_t pages;
    static const char *const keys[] = {"a", "b", "c"};
    for (int run = 1; run < 3000; run = run * 3 + 1) {
        table_begin(&table);
        for (size_t k = 0; k < 3; k++) {
            int count = k == 1 ? run : 1;
            for (int i = 0; i < count; i++) {
                struct hint_key row = {bytes_of_text(keys[k]), {.size = 61}, 5000 - i};
                row.entry.offset = 9000 - i;
                row.entry.flags = KEY_UNDECIDED;
                table_put(&table, &row);
            }
            table_put(&table, &(struct hint_key){bytes_of_text(keys[k]),
                                                 {.offset = 200 + (int64_t)k, .size = 61},
                                                 -1});
        }
        table_end(&table);
        struct image image = table_image(&table);
        for (size_t k = 0; k < 3; k++) {
            struct bytes key = bytes_of_text(keys[k]);
            assert_int_equal(image_find(&image, key, 5000, &pages), 9000);
            assert_int_equal(image_find(&image, key, 77, &pages), 200 + (int64_t)k);
        }
        assert_int_equal(image_find(&image, bytes_of_text("b"), 5001 - run, &pages), 9001 - run);
        free(table.memory);
    }
}

/* ---- what a seal writes ---- */

#define KEYS_MAX 4000
#define KEY_SIZE_MAX 1200
#define HINT_PATH "/data/orders-3/00000000000000000000.hint"

struct sealed {
    struct log_world world;
    struct partition *partition;
    struct random random;
    uint8_t keys[KEYS_MAX][KEY_SIZE_MAX];
    size_t sizes[KEYS_MAX];
    int64_t offsets[KEYS_MAX]; /* of its newest record, -1 none */
    uint32_t count;
    uint8_t memory[262144];
};

static void sealed_open(struct sealed *sealed, uint64_t seed, uint32_t count)
{
    random_init(&sealed->random, seed);
    log_world_open(&sealed->world, &(struct log_world_options){.seed = seed});
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .config = log_config_default()};
    options.config.key_index = true;
    memset(options.topic_id.bytes, 0x42, 16);
    assert_int_equal(partition_open(&sealed->partition, sealed->world.store, &options), STATUS_OK);
    sealed->count = count;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = 5 + random_below(&sealed->random, 30);
        size = random_below(&sealed->random, 50) == 0 ? 900 + size * 8 : size;
        for (size_t at = 0; at < size; at++) {
            sealed->keys[i][at] = (uint8_t)random_below(&sealed->random, at < 3 ? 3 : 256);
        }
        put_be32(sealed->keys[i] + size - 4, i); /* no two are equal */
        sealed->sizes[i] = size;
        sealed->offsets[i] = -1;
    }
}

static void sealed_send(struct sealed *sealed, uint32_t records, bool keys)
{
    struct batch_builder builder;
    struct bytes batch;
    int64_t end = partition_facts(sealed->partition).end_offset;
    batch_builder_init(&builder, sealed->memory, sizeof(sealed->memory));
    for (uint32_t i = 0; i < records; i++) {
        uint32_t key = (uint32_t)random_below(&sealed->random, sealed->count);
        struct bytes bytes = {sealed->keys[key], sealed->sizes[key]};
        batch_builder_add(&builder, 1000 + i, keys ? bytes : BYTES_NULL, BYTES_LITERAL("v"), NULL,
                          0);
        if (keys) {
            sealed->offsets[key] = end + i;
        }
    }
    assert_int_equal(
        batch_builder_finish(&builder, CODEC_NONE, -1, (struct batch_scratch){0}, 0, &batch),
        STATUS_OK);
    memmove(sealed->memory, batch.data, batch.size);
    struct partition_append append =
        log_world_append(&sealed->world, sealed->partition, sealed->memory, batch.size);
    assert_int_equal(append.status, STATUS_OK);
    assert_int_equal(append.base_offset, end);
}

/* The next segment begins, and the hint of the first one comes. */
static void sealed_roll(struct sealed *sealed)
{
    struct partition_config config = log_config_default();
    config.key_index = true;
    config.segment_size_max = 100;
    partition_configure(sealed->partition, &config);
    sealed_send(sealed, 1, false);
    assert_int_equal(partition_facts(sealed->partition).segment_count, 2);
    log_world_sleep(&sealed->world, 3000);
}

static void test_what_a_seal_writes(void **state)
{
    (void)state;
    struct sealed *sealed = calloc(1, sizeof(*sealed));
    assert_non_null(sealed);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        sealed_open(sealed, seed, 1 + (uint32_t)(seed * seed * seed * 7 % KEYS_MAX));
        for (uint64_t i = 0; i < seed * 2; i++) {
            sealed_send(sealed, 1 + (uint32_t)random_below(&sealed->random, 400), true);
        }
        uint64_t reads = store_counters(sealed->world.store)->read_size;
        sealed_roll(sealed);
        assert_int_equal(store_counters(sealed->world.store)->read_size, reads);
        struct uuid topic_id;
        memset(topic_id.bytes, 0x42, 16);
        uint64_t size = 0;
        struct image image = {.identity = hint_identity_of(&topic_id, 3, 0)};
        image.data = sim_world_file(sealed->world.world, HINT_PATH, &size);
        image.size = size;
        assert_non_null(image.data);
        uint32_t known = 0;
        uint32_t in_vain = 0;
        for (uint32_t i = 0; i < sealed->count; i++) {
            uint32_t pages;
            struct bytes key = bytes_of(sealed->keys[i], sealed->sizes[i]);
            assert_int_equal(image_find(&image, key, -1, &pages), sealed->offsets[i]);
            known += sealed->offsets[i] >= 0;
            sealed->keys[i][sealed->sizes[i] - 5] ^= 0x55;
            assert_int_equal(image_find(&image, key, -1, &pages), -1);
            in_vain += pages > 3;
        }
        assert_true(in_vain <= sealed->count / 20 + 3);
        struct hint_header header;
        assert_true(hint_decode_header(image.data, &image.identity, &header));
        assert_int_equal(header.key_count, known);
        assert_int_equal((uint64_t)hint_layout_of(&header).end * HINT_PAGE_SIZE, size);
        partition_close(sealed->partition, true);
        log_world_close(&sealed->world);
    }
    free(sealed);
}

static void test_a_segment_without_keys(void **state)
{
    (void)state;
    struct sealed *sealed = calloc(1, sizeof(*sealed));
    assert_non_null(sealed);
    sealed_open(sealed, 1, 10);
    sealed_send(sealed, 3, false);
    sealed_roll(sealed);
    struct uuid topic_id;
    memset(topic_id.bytes, 0x42, 16);
    uint64_t size = 0;
    struct image image = {.identity = hint_identity_of(&topic_id, 3, 0)};
    image.data = sim_world_file(sealed->world.world, HINT_PATH, &size);
    image.size = size;
    assert_int_equal(size, 2 * HINT_PAGE_SIZE);
    uint32_t pages;
    assert_int_equal(image_find(&image, BYTES_LITERAL("a"), -1, &pages), -1);
    assert_int_equal(pages, 1);
    partition_close(sealed->partition, true);
    log_world_close(&sealed->world);
    free(sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_keys_of_any_length),
        cmocka_unit_test(test_rows_of_one_key_over_pages),
        cmocka_unit_test(test_what_a_seal_writes),
        cmocka_unit_test(test_a_segment_without_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
