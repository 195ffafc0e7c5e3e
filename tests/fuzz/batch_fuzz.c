/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a Produce request brings them. The first byte chooses the rules and whether size and CRC
 * are made right first, without which nothing random would get past them; the rest is the batch.
 *
 * A batch that batch_validate lets in is one that the log and every consumer can read: batch_check
 * agrees, and the stream finds as many records as the header counts, the deltas dense, the largest
 * timestamp the one reported.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/fuzz/fuzz.h"
#include "wire/record.h"

#define UNPACKED_SIZE_MAX MIB

enum choice {
    CHOICE_REPAIR = 1,
    CHOICE_KEY_REQUIRED = 2,
    CHOICE_APPEND_TIME = 4,
    CHOICE_TIMES = 8
};

static void check_consumable(struct bytes batch, struct batch_scratch scratch,
                             const struct batch_rules *rules, int64_t max_timestamp)
{
    struct batch_header header;
    check(batch_check(batch, &header) == STATUS_OK);
    struct record_stream *stream;
    check(record_stream_open(&stream, batch, scratch, UNPACKED_SIZE_MAX) == STATUS_OK);
    struct record record;
    int32_t count = 0;
    int64_t largest = INT64_MIN;
    while (record_stream_next(stream, &record)) {
        check(record.offset_delta == count);
        check(!rules->key_required || record.key.data != NULL);
        largest = record.timestamp > largest ? record.timestamp : largest;
        count++;
    }
    check(record_stream_status(stream) == STATUS_OK);
    record_stream_close(stream);
    check(count == header.count);
    check(max_timestamp == (rules->log_append_time ? rules->now_ms : largest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    uint8_t choice = data[0];
    size_t batch_size = size - 1;
    uint8_t *batch = malloc(batch_size + 1);
    memcpy(batch, data + 1, batch_size);
    if ((choice & CHOICE_REPAIR) != 0 && batch_size >= BATCH_HEADER_SIZE) {
        put_be32(batch + 8, (uint32_t)(batch_size - BATCH_PREFIX_SIZE));
        batch[16] = BATCH_MAGIC;
        batch_seal(batch, batch_size);
    }
    struct heap heap;
    heap_init(&heap, 16 * MIB);
    struct batch_scratch scratch = {malloc(BATCH_SCRATCH_SIZE), BATCH_SCRATCH_SIZE, &heap};
    struct batch_rules rules = {
        .walk = true,
        .key_required = (choice & CHOICE_KEY_REQUIRED) != 0,
        .log_append_time = (choice & CHOICE_APPEND_TIME) != 0,
        .now_ms = 1700000000000,
        .timestamp_before_ms_max = (choice & CHOICE_TIMES) != 0 ? 1000 : INT64_MAX,
        .timestamp_after_ms_max = 3600000,
        .decompressed_size_max = UNPACKED_SIZE_MAX,
        .record_size_max = INT32_MAX,
    };
    struct batch_header header;
    struct batch_fault fault;
    int64_t max_timestamp;
    struct bytes whole = bytes_of(batch, batch_size);
    enum status status = batch_validate(whole, &rules, scratch, &header, &max_timestamp, &fault);
    check((status == STATUS_OK) == (fault.message == NULL));
    check(fault.index >= -1);
    if (status == STATUS_OK) {
        check_consumable(whole, scratch, &rules, max_timestamp);
    }
    heap_deinit(&heap);
    free(scratch.memory);
    free(batch);
    return 0;
}
