/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a hint: as they are, and once more with their sums put right, so that the fields behind
 * the sum are reached too. What is believed must be sane. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "storage/hint.h"
#include "tests/fuzz/fuzz.h"

#define SUMMED_SIZE (HINT_PAGE_SIZE - 8)

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
