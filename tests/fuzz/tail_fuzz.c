/* SPDX-License-Identifier: Apache-2.0 */
/* A tail file's two slots and row pages: as they are, and once more with their checksums put right,
 * so that the fields behind the checksum are reached too. What is believed must be sane. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/tail.h"
#include "tests/fuzz/fuzz.h"

#define SUMMED_SIZE (TAIL_PAGE_SIZE - 8)

static void run(const uint8_t *data, size_t pages, const struct tail_identity *identity)
{
    struct tail_header header;
    if (pages >= TAIL_HEADER_PAGES && tail_decode_slots(data, identity, &header)) {
        check(header.position >= 0 && header.position <= header.log_size);
        check(header.row_count == header.position / BLOCK_SIZE);
        check(header.base_offset == identity->base_offset);
        struct epochs epochs;
        if (tail_take_epochs(&header, &epochs) != 0) {
            check(epochs.count > 0 && epochs.count <= EPOCHS_MAX);
            for (int32_t i = 1; i < epochs.count; i++) { /* E1 */
                check(epochs.entries[i - 1].epoch < epochs.entries[i].epoch);
                check(epochs.entries[i - 1].start_offset < epochs.entries[i].start_offset);
            }
        }
    }
    for (size_t i = TAIL_HEADER_PAGES; i < pages; i++) {
        struct block_row rows[TAIL_PAGE_ROWS];
        uint32_t index = (uint32_t)(i - TAIL_HEADER_PAGES);
        check(tail_decode_rows(data + i * TAIL_PAGE_SIZE, index, identity->seed, rows) <=
              TAIL_PAGE_ROWS);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tail_identity identity = {.index = 3, .base_offset = 100};
    for (uint8_t i = 0; i < 16; i++) {
        identity.topic_id.bytes[i] = i;
    }
    identity.seed = segment_seed_of(&identity.topic_id, 3, 100, UINT32_MAX);
    size_t pages = size / TAIL_PAGE_SIZE;
    run(data, pages, &identity);
    if (pages == 0) {
        return 0;
    }
    uint8_t *right = malloc(pages * TAIL_PAGE_SIZE);
    check(right != NULL);
    memcpy(right, data, pages * TAIL_PAGE_SIZE);
    for (size_t i = 0; i < pages; i++) {
        uint8_t *page = right + i * TAIL_PAGE_SIZE;
        uint64_t sum = hash_bytes(bytes_of(page, SUMMED_SIZE), identity.seed);
        memcpy(page + SUMMED_SIZE, &sum, sizeof(sum));
    }
    run(right, pages, &identity);
    free(right);
    return 0;
}
