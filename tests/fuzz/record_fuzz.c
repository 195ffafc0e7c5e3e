/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a batch: byte 0 is their count, byte 1 the size of a snappy block, the rest their
 * bytes. The same bytes are judged plain (each record whole in memory) and in blocks of that size
 * (cut in every possible place): both walks and both streams have to come to one opinion.
 */
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/fuzz/fuzz.h"
#include "wire/record.h"

/* What one form of the batch was found to be. */
struct opinion {
    enum status validated;
    int32_t fault_index;
    int64_t max_timestamp;
    enum status streamed;
    uint64_t digest; /* of what the stream gave */
};

static uint64_t digest_bytes(uint64_t digest, struct bytes bytes)
{
    digest = digest * 31 + (bytes.data == NULL) + bytes.size;
    for (size_t index = 0; index < bytes.size; index++) {
        digest = digest * 31 + bytes.data[index];
    }
    return digest;
}

static uint64_t digest_record(uint64_t digest, const struct record *record)
{
    digest = digest * 31 + (uint64_t)record->offset;
    digest = digest * 31 + (uint64_t)record->timestamp;
    digest = digest_bytes(digest, record->key);
    digest = digest_bytes(digest, record->value);
    struct bytes headers = record->headers;
    struct record_header header;
    int32_t count = 0;
    for (; record_header_next(&headers, &header); count++) {
        digest = digest_bytes(digest, header.key);
        digest = digest_bytes(digest, header.value);
    }
    check(count == record->header_count);
    check(headers.data != NULL);
    return digest;
}

static struct opinion judge(uint8_t *batch, size_t size, int32_t count, enum codec codec)
{
    struct batch_header header = {
        .batch_length = (int32_t)(size - BATCH_PREFIX_SIZE),
        .magic = BATCH_MAGIC,
        .attributes = (uint16_t)codec,
        .last_offset_delta = count - 1,
        .base_timestamp = 1700000000000,
        .producer_id = -1,
        .count = count,
    };
    batch_header_encode(&header, batch);
    batch_seal(batch, size);
    struct heap heap;
    heap_init(&heap, 16 * MIB);
    struct batch_scratch scratch = {malloc(BATCH_SCRATCH_SIZE), BATCH_SCRATCH_SIZE, &heap};
    struct batch_rules rules = {
        .walk = true,
        .now_ms = 1700000000000,
        .timestamp_before_ms_max = INT64_MAX,
        .timestamp_after_ms_max = INT64_MAX,
        .decompressed_size_max = MIB,
        .record_size_max = INT32_MAX,
    };
    struct batch_fault fault;
    struct opinion opinion = {0};
    struct bytes whole = bytes_of(batch, size);
    opinion.validated =
        batch_validate(whole, &rules, scratch, &header, &opinion.max_timestamp, &fault);
    opinion.fault_index = fault.index;
    struct record_stream *stream;
    struct record record;
    check(record_stream_open(&stream, whole, scratch, MIB) == STATUS_OK);
    while (record_stream_next(stream, &record)) {
        opinion.digest = digest_record(opinion.digest, &record);
    }
    opinion.streamed = record_stream_status(stream);
    record_stream_close(stream);
    heap_deinit(&heap);
    free(scratch.memory);
    return opinion;
}

/* In xerial blocks of block_size plain bytes. */
static uint8_t *batch_in_blocks(struct bytes records, size_t block_size, size_t *size_out)
{
    static const uint8_t magic[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                      0,    0,   0,   1,   0,   0,   0,   1};
    size_t blocks = records.size / block_size + 1;
    size_t block_room = 4 + snappy_max_compressed_length(block_size);
    uint8_t *batch = malloc(BATCH_HEADER_SIZE + sizeof(magic) + blocks * block_room);
    size_t size = BATCH_HEADER_SIZE + sizeof(magic);
    memcpy(batch + BATCH_HEADER_SIZE, magic, sizeof(magic));
    while (records.size > 0) {
        size_t plain = records.size < block_size ? records.size : block_size;
        size_t packed = block_room - 4;
        check(snappy_compress((const char *)records.data, plain, (char *)batch + size + 4,
                              &packed) == SNAPPY_OK);
        put_be32(batch + size, (uint32_t)packed);
        size += 4 + packed;
        records = bytes_of(records.data + plain, records.size - plain);
    }
    *size_out = size;
    return batch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536) {
        return 0;
    }
    int32_t count = data[0] + 1;
    size_t block_size = (size_t)data[1] + 1;
    struct bytes records = bytes_of(data + 2, size - 2);
    size_t plain_size = BATCH_HEADER_SIZE + records.size;
    uint8_t *plain = malloc(plain_size);
    memcpy(plain + BATCH_HEADER_SIZE, records.data, records.size);
    struct opinion whole = judge(plain, plain_size, count, CODEC_NONE);
    free(plain);

    size_t packed_size;
    uint8_t *packed = batch_in_blocks(records, block_size, &packed_size);
    struct opinion cut = judge(packed, packed_size, count, CODEC_SNAPPY);
    free(packed);

    check(whole.validated == cut.validated);
    check(whole.fault_index == cut.fault_index);
    check(whole.streamed == cut.streamed);
    check(whole.digest == cut.digest);
    if (whole.validated == STATUS_OK) {
        check(whole.max_timestamp == cut.max_timestamp);
        check(whole.streamed == STATUS_OK);
    }
    return 0;
}
