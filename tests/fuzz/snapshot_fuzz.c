/* SPDX-License-Identifier: Apache-2.0 */
/* A producer snapshot: read as it is, and once more with its checksum put right, so that the fields
 * behind the checksum are reached too. What is read must survive use and writing. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/producers.h"
#include "tests/fuzz/fuzz.h"
#include "wire/crc32c.h"

#define PRODUCERS_MAX 8

static void use(struct producers *producers)
{
    struct producer_view views[PRODUCERS_MAX];
    uint32_t count = producers_list(producers, views, PRODUCERS_MAX);
    check(count <= PRODUCERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        check(i == 0 || views[i - 1].producer_id < views[i].producer_id);
        struct batch_header header = {
            .base_offset = INT32_MAX,
            .producer_id = views[i].producer_id,
            .producer_epoch = views[i].epoch,
            .base_sequence = views[i].last_sequence,
            .count = 1,
        };
        (void)producers_check(producers, &header);
        header.attributes = BATCH_CONTROL | BATCH_TRANSACTIONAL;
        struct producers_marker marker = {.is_marker = true, .is_commit = i % 2 == 0};
        check(producers_add(producers, &header, marker, 0) == STATUS_OK);
    }
    check(producers_first_open(producers) == INT64_MAX);
    check(producers_expire(producers, 1, 1) == count);
}

static void run(const uint8_t *data, size_t size)
{
    struct heap heap;
    heap_init(&heap, (size_t)(16 * MIB));
    struct producers *producers = producers_open(&heap, 1, PRODUCERS_MAX);
    check(producers != NULL);
    if (producers_decode(producers, bytes_of(data, size), 0) == STATUS_OK) {
        uint8_t again[10 + PRODUCERS_MAX * 46];
        size_t written = producers_encode(producers, again, sizeof(again));
        check(written <= sizeof(again));
        check(producers_decode(producers, bytes_of(again, written), 0) == STATUS_OK);
        use(producers);
    }
    producers_close(producers);
    heap_deinit(&heap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run(data, size);
    if (size < 6) {
        return 0;
    }
    uint8_t *right = malloc(size);
    check(right != NULL);
    memcpy(right, data, size);
    put_be32(right + 2, crc32c(0, right + 6, size - 6));
    run(right, size);
    free(right);
    return 0;
}
