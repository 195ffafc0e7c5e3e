/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/batch.h"

#include "tests/unit/wire/vectors.h"
#include "wire/record.h"

#define MIB (UINT64_C(1) << 20)

/* What every test starts from: a heap, a scratch, and room to build a batch. */
struct bench {
    struct heap heap;
    struct batch_scratch scratch;
    uint8_t *memory;
    size_t memory_size;
    struct batch_rules rules;
    struct batch_header header;
    int64_t max_timestamp;
    struct batch_fault fault;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    heap_init(&bench->heap, 64 * MIB);
    bench->scratch.size = BATCH_SCRATCH_SIZE;
    bench->scratch.memory = malloc(bench->scratch.size);
    bench->scratch.heap = &bench->heap;
    bench->memory_size = 4 * MIB;
    bench->memory = malloc(bench->memory_size);
    bench->rules = (struct batch_rules){
        .walk = true,
        .now_ms = VECTOR_TIME,
        .timestamp_before_ms_max = INT64_MAX,
        .timestamp_after_ms_max = 3600000,
        .decompressed_size_max = 16 * MIB,
        .record_size_max = INT32_MAX,
    };
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    heap_deinit(&bench->heap); /* nothing is held any more */
    free(bench->scratch.memory);
    free(bench->memory);
    free(bench);
    return 0;
}

static enum status validate(struct bench *bench, struct bytes data)
{
    return batch_validate(data, &bench->rules, bench->scratch, &bench->header,
                          &bench->max_timestamp, &bench->fault);
}

#define assert_refused(bench, data, status, fault_index)                                           \
    do {                                                                                           \
        assert_int_equal(validate((bench), (data)), (status));                                     \
        assert_int_equal((bench)->fault.index, (fault_index));                                     \
        assert_non_null((bench)->fault.message);                                                   \
    } while (0)

static void test_java_batches_are_good(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes data = bytes_of_hex(vectors_java[codec]);
        assert_int_equal(batch_check(data, &bench->header), STATUS_OK);
        assert_int_equal(validate(bench, data), STATUS_OK);
        assert_null(bench->fault.message);
        assert_int_equal(bench->max_timestamp, VECTOR_TIME + 1000);
        struct batch_header *header = &bench->header;
        assert_int_equal(header->batch_length + BATCH_PREFIX_SIZE, data.size);
        assert_int_equal(header->leader_epoch, -1);
        assert_int_equal(header->attributes, codec);
        assert_int_equal(header->count, VECTOR_COUNT);
        assert_int_equal(header->last_offset_delta, VECTOR_COUNT - 1);
        assert_int_equal(header->base_timestamp, VECTOR_TIME);
        assert_int_equal(header->max_timestamp, VECTOR_TIME + 1000);
        assert_int_equal(header->producer_id, 1234);
        assert_int_equal(header->producer_epoch, 5);
        assert_int_equal(header->base_sequence, 77);
        assert_int_equal(batch_last_sequence(header), 80);
        uint8_t encoded[BATCH_HEADER_SIZE];
        batch_header_encode(header, encoded);
        assert_memory_equal(encoded, data.data, sizeof(encoded));
        bytes_free(data);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes data = bytes_of_hex(vectors_java[codec]);
        for (size_t size = 0; size < data.size; size++) {
            uint8_t *copy = malloc(size + 1);
            memcpy(copy, data.data, size);
            struct bytes cut = bytes_of(copy, size);
            assert_int_equal(batch_check(cut, &bench->header), STATUS_TRUNCATED);
            assert_int_equal(validate(bench, cut), STATUS_INVALID_RECORD);
            /* The same with a header that admits it: the records themselves are cut. */
            if (size >= BATCH_HEADER_SIZE) {
                put_be32(copy + 8, (uint32_t)(size - BATCH_PREFIX_SIZE));
                batch_seal(copy, size);
                assert_int_equal(batch_check(cut, &bench->header), STATUS_OK);
                assert_int_equal(validate(bench, cut), STATUS_INVALID_RECORD);
            }
            free(copy);
        }
        bytes_free(data);
    }
}

/* Behind the CRC every flip is seen; before it, base offset and leader epoch are not covered. With
 * the CRC made right again no flip may crash, whatever the answer. */
static void test_every_bit_flip(void **state)
{
    struct bench *bench = *state;
    bench->rules.decompressed_size_max = MIB;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes data = bytes_of_hex(vectors_java[codec]);
        uint8_t *copy = (uint8_t *)(uintptr_t)data.data;
        for (size_t bit = 0; bit < data.size * 8; bit++) {
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bool stamped = bit / 8 >= 12 && bit / 8 < 16; /* leader epoch */
            if (!stamped) {
                assert_int_not_equal(validate(bench, data), STATUS_OK);
            }
            if (bit / 8 >= 16) {
                assert_int_equal(batch_check(data, &bench->header), STATUS_CORRUPT_MESSAGE);
                uint32_t crc = get_be32(copy + 17);
                batch_seal(copy, data.size);
                (void)!validate(bench, data);
                put_be32(copy + 17, crc);
            }
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(validate(bench, data), STATUS_OK);
        bytes_free(data);
    }
}

static void test_form(void **state)
{
    struct bench *bench = *state;
    struct bytes data = bytes_of_hex(vectors_java[CODEC_NONE]);
    uint8_t *two = malloc(2 * data.size);
    memcpy(two, data.data, data.size);
    memcpy(two + data.size, data.data, data.size);
    assert_refused(bench, bytes_of(two, 0), STATUS_INVALID_RECORD, -1);
    assert_refused(bench, BYTES_NULL, STATUS_INVALID_RECORD, -1);
    assert_refused(bench, bytes_of(two, 2 * data.size), STATUS_INVALID_RECORD, -1);
    assert_refused(bench, bytes_of(two, data.size + 1), STATUS_INVALID_RECORD, -1);
    assert_int_equal(batch_check(bytes_of(two, data.size + 1), &bench->header),
                     STATUS_CORRUPT_MESSAGE);
    put_be32(two + 8, 48);
    assert_refused(bench, bytes_of(two, data.size), STATUS_CORRUPT_MESSAGE, -1);
    assert_int_equal(batch_check(bytes_of(two, data.size), &bench->header), STATUS_CORRUPT_MESSAGE);
    put_be32(two + 8, UINT32_MAX);
    assert_refused(bench, bytes_of(two, data.size), STATUS_CORRUPT_MESSAGE, -1);
    put_be32(two + 8, INT32_MAX);
    assert_refused(bench, bytes_of(two, data.size), STATUS_INVALID_RECORD, -1);
    memcpy(two, data.data, data.size);
    two[16] = 1; /* magic is judged before the CRC */
    assert_refused(bench, bytes_of(two, data.size), STATUS_INVALID_RECORD, -1);
    free(two);
    bytes_free(data);
}

/* Each rule of the header, broken alone in a batch whose CRC is right. */
static void test_header_rules(void **state)
{
    struct bench *bench = *state;
    static const struct {
        size_t position;
        size_t size;
        uint64_t value;
        enum status expected;
        enum status checked; /* by batch_check */
    } cases[] = {
        {0, 8, 1, STATUS_INVALID_RECORD, STATUS_OK},
        {21, 2, 5, STATUS_UNSUPPORTED_COMPRESSION_TYPE, STATUS_CORRUPT_MESSAGE},
        {21, 2, 7, STATUS_UNSUPPORTED_COMPRESSION_TYPE, STATUS_CORRUPT_MESSAGE},
        {21, 2, 0x08, STATUS_INVALID_TIMESTAMP, STATUS_OK},
        {21, 2, 0x10, STATUS_OK, STATUS_OK},
        {21, 2, 0x20, STATUS_INVALID_RECORD, STATUS_OK},
        {21, 2, 0x30, STATUS_INVALID_RECORD, STATUS_OK},
        {21, 2, 0x40, STATUS_INVALID_RECORD, STATUS_OK},
        {21, 2, 0x80, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
        {21, 2, 0x8000, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
        {23, 4, 2, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
        {23, 4, 4, STATUS_INVALID_RECORD, STATUS_OK},
        {23, 4, UINT32_MAX, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
        {51, 2, UINT16_MAX, STATUS_OK, STATUS_OK}, /* producer state judges epochs: 47 */
        {53, 4, UINT32_MAX, STATUS_INVALID_RECORD, STATUS_OK},
        {57, 4, 0, STATUS_INVALID_RECORD, STATUS_OK},
        {57, 4, 3, STATUS_INVALID_RECORD, STATUS_OK},
        {57, 4, 5, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
        {57, 4, UINT32_MAX, STATUS_INVALID_RECORD, STATUS_CORRUPT_MESSAGE},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct bytes data = bytes_of_hex(vectors_java[CODEC_NONE]);
        uint8_t *at = (uint8_t *)(uintptr_t)data.data;
        for (size_t byte = 0; byte < cases[index].size; byte++) {
            at[cases[index].position + byte] =
                (uint8_t)(cases[index].value >> (8 * (cases[index].size - 1 - byte)));
        }
        batch_seal(at, data.size);
        assert_int_equal(validate(bench, data), cases[index].expected);
        assert_int_equal(bench->fault.index, -1);
        assert_int_equal(batch_check(data, &bench->header), cases[index].checked);
        bytes_free(data);
    }
}

/* A transaction needs a producer; without one, sequence and epoch mean nothing. */
static void test_producer_rules(void **state)
{
    struct bench *bench = *state;
    struct bytes data = bytes_of_hex(vectors_java[CODEC_NONE]);
    uint8_t *at = (uint8_t *)(uintptr_t)data.data;
    put_be64(at + 43, UINT64_MAX);
    put_be16(at + 51, UINT16_MAX);
    put_be32(at + 53, UINT32_MAX);
    batch_seal(at, data.size);
    assert_int_equal(validate(bench, data), STATUS_OK);
    assert_int_equal(batch_last_sequence(&bench->header), -1);
    at[22] = BATCH_TRANSACTIONAL;
    batch_seal(at, data.size);
    assert_refused(bench, data, STATUS_INVALID_RECORD, -1);
    bytes_free(data);
}

/* Header and count lie together, by one more and one less than there is. */
static void test_count_that_lies(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        for (int32_t count = 3; count <= 5; count += 2) {
            struct bytes data = bytes_of_hex(vectors_java[codec]);
            uint8_t *at = (uint8_t *)(uintptr_t)data.data;
            put_be32(at + 23, (uint32_t)(count - 1));
            put_be32(at + 57, (uint32_t)count);
            batch_seal(at, data.size);
            assert_refused(bench, data, STATUS_INVALID_RECORD, count == 3 ? -1 : 4);
            bench->rules.walk = false;
            assert_int_equal(validate(bench, data), STATUS_OK);
            bench->rules.walk = true;
            bytes_free(data);
        }
    }
}

/* A batch of one record written by hand, in the codec asked for. */
static struct bytes batch_of_body(struct bench *bench, enum codec codec, struct bytes records)
{
    struct batch_builder builder;
    struct bytes out;
    batch_builder_init(&builder, bench->memory, bench->memory_size);
    memcpy(bench->memory + BATCH_HEADER_SIZE, records.data, records.size);
    builder.size += records.size;
    builder.header.count = 1;
    builder.header.base_timestamp = VECTOR_TIME;
    assert_int_equal(batch_builder_finish(&builder, codec, 0, bench->scratch, 0, &out), STATUS_OK);
    return out;
}

static void test_record_grammar(void **state)
{
    struct bench *bench = *state;
    static const struct {
        const char *hex;
        bool good;
    } cases[] = {
        {"0c000000010100", true}, /* null key, null value */
        {"1000000002610262"
         "00",
         true},                        /* a=b */
        {"0c000000000000", true},      /* empty key and value */
        {"8c8000000000010100", true},  /* a length padded as clients may */
        {"0c000200010100", true},      /* timestamp delta 1 */
        {"0c000002010100", false},     /* offset delta 1 */
        {"0c000001010100", false},     /* offset delta -1 */
        {"0e00000001010000", false},   /* a byte behind the headers */
        {"0a000000010100", false},     /* length one short */
        {"0e000000010100", false},     /* length one long */
        {"01000000010100", false},     /* length -1 */
        {"00", false},                 /* no room for anything */
        {"0c000000030100", false},     /* key length -2 */
        {"0c000000010300", false},     /* value length -2 */
        {"0c000000040100", false},     /* key length 2 of what is not there */
        {"0c000000010101", false},     /* header count -1 */
        {"0c000000010102", false},     /* header count 1, none there */
        {"100000000101020001", true},  /* header: empty key, null value */
        {"100000000101020101", false}, /* header: null key */
        {"100000000101020003", false}, /* header: value length -2 */
        {"14000000fe"
         "ffffff0f0100",
         false}, /* key length 2147483647 */
        {"14000000010"
         "1feffffff0f",
         false}, /* header count 2147483647 */
        {"16000000010"
         "1ffffffffff0f",
         false}, /* a count of six bytes */
        {"14000000010"
         "180808080"
         "10",
         false}, /* bits beyond 32 in a count */
        {"1e00ffffffffffffffffff01000101"
         "00",
         true}, /* the longest timestamp delta: smallest */
        {"1e00ffffffffffffffffff02000101"
         "00",
         false},                   /* bits beyond 64 */
        {"feffffff0f0000", false}, /* length 2147483647 */
        {"8080808080", false},     /* a length without an end */
    };
    bench->rules.log_append_time = true; /* times are not the point here */
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct bytes records = bytes_of_hex(cases[index].hex);
        for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
            struct bytes data = batch_of_body(bench, (enum codec)codec, records);
            enum status expected = cases[index].good ? STATUS_OK : STATUS_INVALID_RECORD;
            enum status status = validate(bench, data);
            if (status != expected) {
                print_error("case %zu %s codec %u\n", index, cases[index].hex, codec);
            }
            assert_int_equal(status, expected);
        }
        bytes_free(records);
    }
}

static void test_rules_of_the_topic(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes data = bytes_of_hex(vectors_java[codec]);
        bench->rules.key_required = true;
        assert_refused(bench, data, STATUS_INVALID_RECORD, 1);
        bench->rules.key_required = false;

        bench->rules.timestamp_after_ms_max = 999; /* the last record is 1000 ahead */
        assert_refused(bench, data, STATUS_INVALID_TIMESTAMP, 3);
        bench->rules.timestamp_after_ms_max = 1000;
        assert_int_equal(validate(bench, data), STATUS_OK);
        bench->rules.timestamp_before_ms_max = 0; /* the third is 1 behind */
        assert_refused(bench, data, STATUS_INVALID_TIMESTAMP, 2);
        bench->rules.timestamp_before_ms_max = 1;
        assert_int_equal(validate(bench, data), STATUS_OK);

        bench->rules.now_ms = VECTOR_TIME * 2; /* far away, and nobody asks */
        bench->rules.log_append_time = true;
        assert_int_equal(validate(bench, data), STATUS_OK);
        assert_int_equal(bench->max_timestamp, VECTOR_TIME * 2);
        bench->rules.log_append_time = false;
        bench->rules.now_ms = VECTOR_TIME;
        bench->rules.timestamp_before_ms_max = INT64_MAX;
        bench->rules.timestamp_after_ms_max = 3600000;
        bytes_free(data);
    }
}

/* All records that break a rule of the topic are named, up to a bound; a wrong time decides. */
static void test_every_bad_record_is_named(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct batch_builder builder;
        struct bytes out;
        batch_builder_init(&builder, bench->memory, bench->memory_size);
        for (int32_t i = 0; i < 300; i++) {
            int64_t time = i == 4 ? VECTOR_TIME + 7200000 : VECTOR_TIME;
            struct bytes key = i % 2 == 0 ? BYTES_LITERAL("k") : BYTES_NULL;
            batch_builder_add(&builder, time, key, BYTES_LITERAL("v"), NULL, 0);
        }
        assert_int_equal(
            batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 0, &out),
            STATUS_OK);
        assert_refused(bench, out, STATUS_INVALID_TIMESTAMP, 4);
        assert_int_equal(bench->fault.count, 1);
        bench->rules.key_required = true;
        assert_refused(bench, out, STATUS_INVALID_TIMESTAMP, 1);
        assert_int_equal(bench->fault.count, BATCH_FAULTS_MAX);
        static const int32_t first[] = {1, 3, 4, 5, 7};
        assert_memory_equal(bench->fault.indexes, first, sizeof(first));
        bench->rules.log_append_time = true;
        assert_refused(bench, out, STATUS_INVALID_RECORD, 1);
        assert_int_equal(bench->fault.indexes[2], 5);
        bench->rules.key_required = bench->rules.log_append_time = false;
    }
}

/* -1 says "no timestamp" and passes any window. */
static void test_no_timestamp(void **state)
{
    struct bench *bench = *state;
    struct batch_builder builder;
    struct bytes out;
    batch_builder_init(&builder, bench->memory, bench->memory_size);
    batch_builder_add(&builder, -1, BYTES_NULL, BYTES_LITERAL("v"), NULL, 0);
    assert_int_equal(batch_builder_finish(&builder, CODEC_NONE, 0, bench->scratch, 0, &out),
                     STATUS_OK);
    bench->rules.timestamp_before_ms_max = 10;
    assert_int_equal(validate(bench, out), STATUS_OK);
    assert_int_equal(bench->max_timestamp, -1);
}

/* Many records over many slices: every size of record is cut somewhere by a slice's end. */
static void test_slices_cut_records(void **state)
{
    struct bench *bench = *state;
    uint8_t value[3000];
    uint32_t random = 7;
    for (size_t index = 0; index < sizeof(value); index++) {
        random = random * 1664525 + 1013904223;
        value[index] = (uint8_t)('a' + (random >> 28));
    }
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct batch_builder builder;
        struct bytes out;
        batch_builder_init(&builder, bench->memory, bench->memory_size);
        int32_t count = 0;
        while (builder.size < 900000) {
            struct record_header header = {BYTES_LITERAL("header"), bytes_of(value, count % 50)};
            batch_builder_add(&builder, VECTOR_TIME + count % 1000, bytes_of(value, count % 17),
                              bytes_of(value, (size_t)count * 7 % sizeof(value)), &header,
                              count % 2);
            count++;
        }
        assert_int_equal(
            batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 0, &out),
            STATUS_OK);
        assert_int_equal(validate(bench, out), STATUS_OK);
        assert_int_equal(bench->header.count, count);
        assert_int_equal(bench->max_timestamp, VECTOR_TIME + (count > 1000 ? 999 : count - 1));
    }
}

/* Flags, block size and the sum of both, as liblz4 writes them: 0x20 says independent blocks. */
static void test_linked_lz4_is_refused(void **state)
{
    struct bench *bench = *state;
    struct bytes data = bytes_of_hex(vectors_java[CODEC_LZ4]);
    uint8_t *at = (uint8_t *)(uintptr_t)data.data;
    uint8_t *flags = at + BATCH_HEADER_SIZE + 4;
    assert_memory_equal(flags, "\x60\x40\x82", 3);
    memcpy(flags, "\x40\x40\xc0", 3);
    batch_seal(at, data.size);
    assert_refused(bench, data, STATUS_INVALID_RECORD, -1);
    assert_string_equal(bench->fault.message, "the lz4 blocks depend on each other");
    bytes_free(data);
}

static void test_bombs_are_capped(void **state)
{
    struct bench *bench = *state;
    uint8_t *zeros = calloc(1, 3 * MIB);
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct batch_builder builder;
        struct bytes out;
        batch_builder_init(&builder, bench->memory, bench->memory_size);
        batch_builder_add(&builder, VECTOR_TIME, BYTES_NULL, bytes_of(zeros, 3 * MIB), NULL, 0);
        assert_int_equal(
            batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 0, &out),
            STATUS_OK);
        assert_true(out.size < MIB / 4);
        assert_int_equal(validate(bench, out), STATUS_OK);
        bench->rules.decompressed_size_max = 2 * MIB;
        assert_refused(bench, out, STATUS_MESSAGE_TOO_LARGE, -1);
        bench->rules.decompressed_size_max = 16 * MIB;
    }
    free(zeros);
}

/* The limit is for what one record unpacks to, wherever the slices cut it; not for plain records.
 */
static void test_record_size(void **state)
{
    struct bench *bench = *state;
    uint8_t *zeros = calloc(1, MIB);
    for (unsigned codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        for (size_t size = 1000; size <= 1000000; size *= 1000) {
            struct batch_builder builder;
            struct bytes out;
            batch_builder_init(&builder, bench->memory, bench->memory_size);
            batch_builder_add(&builder, VECTOR_TIME, BYTES_NULL, bytes_of(zeros, 10), NULL, 0);
            batch_builder_add(&builder, VECTOR_TIME, BYTES_NULL, bytes_of(zeros, size), NULL, 0);
            assert_int_equal(
                batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 0, &out),
                STATUS_OK);
            bench->rules.record_size_max = (int64_t)size + 100;
            assert_int_equal(validate(bench, out), STATUS_OK);
            bench->rules.record_size_max = (int64_t)size;
            if (codec == CODEC_NONE) {
                assert_int_equal(validate(bench, out), STATUS_OK);
            } else {
                assert_refused(bench, out, STATUS_INVALID_RECORD, 1);
            }
        }
    }
    free(zeros);
}

/* Java's default blocks need no heap; zstd's window does, unless the scratch has room for it. */
static void test_memory(void **state)
{
    struct bench *bench = *state;
    struct batch_scratch scratch = bench->scratch;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes data = bytes_of_hex(vectors_java[codec]);
        scratch.heap = codec == CODEC_ZSTD ? bench->scratch.heap : NULL;
        assert_int_equal(batch_validate(data, &bench->rules, scratch, &bench->header,
                                        &bench->max_timestamp, &bench->fault),
                         STATUS_OK);
        bytes_free(data);
    }
    struct bytes data = bytes_of_hex(vectors_java[CODEC_ZSTD]);
    scratch.heap = NULL;
    assert_int_equal(batch_validate(data, &bench->rules, scratch, &bench->header,
                                    &bench->max_timestamp, &bench->fault),
                     STATUS_NO_MEMORY);
    assert_int_equal(bench->fault.index, -1);
    scratch.size = BATCH_SCRATCH_SIZE_ZSTD;
    scratch.memory = malloc(scratch.size);
    assert_int_equal(batch_validate(data, &bench->rules, scratch, &bench->header,
                                    &bench->max_timestamp, &bench->fault),
                     STATUS_OK);
    /* Any budget ends in an answer. */
    for (size_t size = 0; size < BATCH_SCRATCH_SIZE_ZSTD; size += 4096 + size / 16) {
        for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
            struct bytes packed = bytes_of_hex(vectors_java[codec]);
            scratch.size = size;
            enum status status = batch_validate(packed, &bench->rules, scratch, &bench->header,
                                                &bench->max_timestamp, &bench->fault);
            assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
            bytes_free(packed);
        }
    }
    free(scratch.memory);
    bytes_free(data);
}

static void test_stamps(void **state)
{
    struct bench *bench = *state;
    struct bytes data = bytes_of_hex(vectors_java[CODEC_LZ4]);
    uint8_t *at = (uint8_t *)(uintptr_t)data.data;
    struct batch_header *header = &bench->header;
    batch_stamp(at, INT64_C(1) << 40, 9);
    assert_int_equal(batch_check(data, header), STATUS_OK); /* the CRC leaves both out */
    assert_int_equal(header->base_offset, INT64_C(1) << 40);
    assert_int_equal(batch_last_offset(header), (INT64_C(1) << 40) + 3);
    assert_int_equal(header->leader_epoch, 9);
    assert_int_equal(batch_size_of(at), data.size);
    batch_stamp_time(at, data.size, true, 42);
    assert_int_equal(batch_check(data, header), STATUS_OK);
    assert_int_equal(header->attributes, CODEC_LZ4 | BATCH_LOG_APPEND_TIME);
    assert_int_equal(header->max_timestamp, 42);
    batch_stamp_time(at, data.size, false, 43);
    assert_int_equal(batch_check(data, header), STATUS_OK);
    assert_int_equal(header->attributes, CODEC_LZ4);
    assert_int_equal(header->max_timestamp, 43);
    bytes_free(data);
}

static void test_sequences_wrap(void **state)
{
    (void)state;
    struct batch_header header = {.base_sequence = INT32_MAX, .last_offset_delta = 0};
    assert_int_equal(batch_last_sequence(&header), INT32_MAX);
    header.last_offset_delta = 1;
    assert_int_equal(batch_last_sequence(&header), 0);
    header.last_offset_delta = INT32_MAX;
    assert_int_equal(batch_last_sequence(&header), INT32_MAX - 1);
    header.base_sequence = -1;
    assert_int_equal(batch_last_sequence(&header), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_java_batches_are_good),
        TEST(test_every_truncation_is_refused),
        TEST(test_every_bit_flip),
        TEST(test_form),
        TEST(test_header_rules),
        TEST(test_producer_rules),
        TEST(test_count_that_lies),
        TEST(test_record_grammar),
        TEST(test_rules_of_the_topic),
        TEST(test_every_bad_record_is_named),
        TEST(test_no_timestamp),
        TEST(test_slices_cut_records),
        TEST(test_linked_lz4_is_refused),
        TEST(test_bombs_are_capped),
        TEST(test_record_size),
        TEST(test_memory),
        TEST(test_stamps),
        TEST(test_sequences_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
