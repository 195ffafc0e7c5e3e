/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a hint: as they are, and once more with their sums put right, so that the fields behind
 * the sum are reached too. What is believed must be sane. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "storage/hint_keys.h"
#include "tests/fuzz/fuzz.h"

#define SUMMED_SIZE (HINT_PAGE_SIZE - 8)

/* Every row of a page of keys or first keys. */
static void walk(const uint8_t *page, const struct hint_header *header, bool index)
{
    struct hint_key_cursor cursor;
    hint_keys_begin(&cursor, page);
    for (;;) {
        enum status status = index ? hint_index_next(&cursor) : hint_keys_next(&cursor, header);
        if (status != STATUS_OK) {
            return;
        }
        check(cursor.key.key.size <= KEY_FORM_MAX);
        check(index ||
              (cursor.key.entry.offset >= header->base_offset &&
               cursor.key.entry.offset < header->end_offset &&
               cursor.key.entry.position + (int64_t)cursor.key.entry.size <= header->log_size));
    }
}

/* Reads what a search wants, as long as it is there. */
static void search(const uint8_t *data, size_t pages, const struct hint_identity *identity,
                   struct bytes key)
{
    struct hint_search search;
    struct hint_header header;
    hint_search_begin(&search, key);
    enum hint_search_verdict verdict = HINT_SEARCH_NEEDS;
    const uint8_t *page = NULL;
    while (verdict == HINT_SEARCH_NEEDS || verdict == HINT_SEARCH_ENTRY) {
        if (verdict == HINT_SEARCH_NEEDS) {
            page = data + (size_t)search.number * HINT_PAGE_SIZE;
            if (search.number >= pages ||
                !(search.number == 0
                      ? hint_decode_header(page, identity, &header)
                      : hint_check_key_page(page, &header, search.number, identity->seed))) {
                return;
            }
        } else {
            check(bytes_equal(search.cursor.key.key, key));
        }
        verdict = hint_search_step(&search, page);
    }
}

static void run_keys(const uint8_t *data, size_t pages, const struct hint_identity *identity,
                     const struct hint_header *header)
{
    static const char *const keys[] = {"", "a", "apple", "apricot", "b"};
    struct hint_layout layout = hint_layout_of(header);
    for (uint32_t i = layout.keys; i < layout.end && i < pages; i++) {
        const uint8_t *page = data + (size_t)i * HINT_PAGE_SIZE;
        if (i < layout.bloom && hint_check_key_page(page, header, i, identity->seed)) {
            walk(page, header, i >= layout.index);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        search(data, pages, identity, bytes_of_text(keys[i]));
    }
}

static void run(const uint8_t *data, size_t pages, const struct hint_identity *identity)
{
    struct hint_header header;
    if (pages == 0 || !hint_decode_header(data, identity, &header)) {
        return;
    }
    struct hint_layout layout = hint_layout_of(&header);
    check(layout.rows <= layout.aborted && layout.aborted <= layout.keys &&
          layout.keys <= layout.index && layout.index <= layout.bloom &&
          layout.bloom <= layout.end);
    struct block_row *rows = calloc((size_t)header.row_count + 1, sizeof(*rows));
    check(rows != NULL);
    for (uint32_t i = 1; i < layout.keys && i < pages; i++) {
        const uint8_t *page = data + (size_t)i * HINT_PAGE_SIZE;
        struct producers_aborted aborted[HINT_PAGE_ROWS];
        if (i < layout.aborted) {
            (void)hint_decode_rows(page, &header, i, rows, identity->seed);
        } else {
            check(hint_decode_aborted(page, &header, i, aborted, identity->seed) <= HINT_PAGE_ROWS);
        }
    }
    free(rows);
    run_keys(data, pages, identity, &header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uuid topic_id;
    for (uint8_t i = 0; i < 16; i++) {
        topic_id.bytes[i] = i;
    }
    struct hint_identity identity = hint_identity_of(&topic_id, 3, 100);
    size_t pages = size / HINT_PAGE_SIZE;
    run(data, pages, &identity);
    if (pages == 0) {
        return 0;
    }
    uint8_t *right = malloc(pages * HINT_PAGE_SIZE);
    check(right != NULL);
    memcpy(right, data, pages * HINT_PAGE_SIZE);
    for (size_t i = 0; i < pages; i++) {
        uint8_t *page = right + i * HINT_PAGE_SIZE;
        uint64_t sum = hash_bytes(bytes_of(page, SUMMED_SIZE), identity.seed);
        memcpy(page + SUMMED_SIZE, &sum, sizeof(sum));
    }
    run(right, pages, &identity);
    free(right);
    return 0;
}
