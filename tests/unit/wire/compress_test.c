/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/compress.h"

#include <zstd.h>

#include "base/check.h"
#include "tests/unit/wire/compress_vectors.h"
#include "tests/unit/wire/vectors.h"

#define MIB (UINT64_C(1) << 20)
#define SCRATCH_SIZE (3 * MIB)
#define VECTOR_INDEX_MAX (sizeof(compress_vectors) / sizeof(compress_vectors[0]))

/* Collects slices and checks what every slice promises. */
struct collector {
    uint8_t *data;
    size_t size;
    size_t size_max;
    size_t slice_size_max;
    int calls_max; /* then STATUS_CLOSED */
};

static enum status collect(void *context, struct bytes slice)
{
    struct collector *collector = context;
    assert_true(slice.size > 0);
    assert_true(slice.size <= collector->size_max - collector->size);
    memcpy(collector->data + collector->size, slice.data, slice.size);
    collector->size += slice.size;
    if (slice.size > collector->slice_size_max) {
        collector->slice_size_max = slice.size;
    }
    return --collector->calls_max == 0 ? STATUS_CLOSED : STATUS_OK;
}

struct bench {
    struct heap heap;
    struct batch_scratch scratch;
    struct collector collector;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    heap_init(&bench->heap, 64 * MIB);
    bench->scratch = (struct batch_scratch){malloc(SCRATCH_SIZE), SCRATCH_SIZE, &bench->heap};
    bench->collector.size_max = 24 * MIB;
    bench->collector.data = malloc(bench->collector.size_max);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    heap_deinit(&bench->heap);
    free(bench->scratch.memory);
    free(bench->collector.data);
    free(bench);
    return 0;
}

static enum status unpack(struct bench *bench, enum codec codec, struct bytes packed,
                          uint64_t size_max)
{
    bench->collector.size = 0;
    bench->collector.slice_size_max = 0;
    bench->collector.calls_max = 0;
    return compress_unpack(codec, packed, size_max, bench->scratch,
                           (struct unpack_sink){collect, &bench->collector});
}

static bool is_pattern(const struct collector *collector)
{
    for (size_t index = 0; index < collector->size; index++) {
        if (collector->data[index] != index % 251) {
            return false;
        }
    }
    return true;
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        enum codec found;
        assert_true(codec_from_name(codec_name((enum codec)codec), &found));
        assert_int_equal(found, codec);
    }
    enum codec found;
    assert_string_equal(codec_name(CODEC_ZSTD), "zstd");
    assert_false(codec_from_name("brotli", &found));
    assert_false(codec_from_name("", &found));
}

static void test_what_others_packed(void **state)
{
    struct bench *bench = *state;
    for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
        const struct compress_vector *vector = &compress_vectors[index];
        struct bytes packed = bytes_of_hex(vector->hex);
        assert_int_equal(unpack(bench, vector->codec, packed, vector->size), STATUS_OK);
        assert_int_equal(bench->collector.size, vector->size);
        assert_true(is_pattern(&bench->collector));
        assert_true(bench->collector.slice_size_max <= COMPRESS_SLICE_SIZE);
        assert_int_equal(unpack(bench, vector->codec, packed, vector->size - 1),
                         STATUS_MESSAGE_TOO_LARGE);
        bytes_free(packed);
    }
}

/* Cut anywhere, or followed by one byte: never good, and never more than the whole. The exceptions
 * are cuts between two members, frames or blocks, where a shorter stream ends. */
static void test_truncations_and_rests(void **state)
{
    struct bench *bench = *state;
    for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
        const struct compress_vector *vector = &compress_vectors[index];
        struct bytes packed = bytes_of_hex(vector->hex);
        uint8_t *copy = malloc(packed.size + 1);
        for (size_t size = 0; size < packed.size; size++) {
            uint8_t *cut = malloc(size + 1);
            memcpy(cut, packed.data, size);
            enum status status = unpack(bench, vector->codec, bytes_of(cut, size), MIB);
            if (status == STATUS_OK) {
                assert_true(vector->codec != CODEC_LZ4);
                assert_true(bench->collector.size < vector->size || vector->codec == CODEC_GZIP ||
                            vector->codec == CODEC_ZSTD);
                assert_true(is_pattern(&bench->collector));
            } else {
                assert_int_equal(status, STATUS_CORRUPT_MESSAGE);
            }
            free(cut);
        }
        memcpy(copy, packed.data, packed.size);
        copy[packed.size] = 0;
        assert_int_equal(unpack(bench, vector->codec, bytes_of(copy, packed.size + 1), MIB),
                         STATUS_CORRUPT_MESSAGE);
        free(copy);
        bytes_free(packed);
    }
}

static void test_bit_flips_never_crash(void **state)
{
    struct bench *bench = *state;
    for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
        const struct compress_vector *vector = &compress_vectors[index];
        struct bytes packed = bytes_of_hex(vector->hex);
        uint8_t *data = (uint8_t *)(uintptr_t)packed.data;
        size_t bits = packed.size < 400 ? packed.size * 8 : 400 * 8;
        for (size_t bit = 0; bit < bits; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            (void)!unpack(bench, vector->codec, packed, MIB);
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        bytes_free(packed);
    }
}

/* Bytes of no codec, and of another one. */
static void test_strangers(void **state)
{
    struct bench *bench = *state;
    struct bytes text = BYTES_LITERAL("these bytes were never packed by anyone");
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        assert_int_equal(unpack(bench, (enum codec)codec, text, MIB), STATUS_CORRUPT_MESSAGE);
        assert_int_equal(unpack(bench, (enum codec)codec, bytes_of("", 0), MIB),
                         STATUS_CORRUPT_MESSAGE);
        for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
            if (compress_vectors[index].codec != (enum codec)codec) {
                struct bytes packed = bytes_of_hex(compress_vectors[index].hex);
                enum status status = unpack(bench, (enum codec)codec, packed, MIB);
                assert_true(status == STATUS_CORRUPT_MESSAGE || status == STATUS_MESSAGE_TOO_LARGE);
                bytes_free(packed);
            }
        }
    }
}

/* As Java's ZstdOutputStream packs: without a content size, so with the level's whole window
 * however little comes. The tables are small, which changes what is found and not how it is
 * written. */
static struct bytes pack_wide(struct bytes plain, int window_log, bool sized)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t room = ZSTD_compressBound(plain.size);
    uint8_t *packed = malloc(room);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 22);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_strategy, ZSTD_fast);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_hashLog, 17);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_chainLog, 17);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_enableLongDistanceMatching, 1);
    if (sized) {
        ZSTD_CCtx_setPledgedSrcSize(zstd, plain.size);
    }
    ZSTD_inBuffer in = {plain.data, plain.size, 0};
    ZSTD_outBuffer out = {packed, room, 0};
    while (in.pos < in.size) { /* all at once with the end would tell it the size */
        (void)ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_continue);
    }
    assert_int_equal(ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(zstd);
    return bytes_of(packed, out.pos);
}

/* Noise of `period` bytes over and over: every match is so far away. */
static struct bytes noise_make(size_t size, size_t period)
{
    uint8_t *data = malloc(size);
    uint32_t random = 1;
    for (size_t at = 0; at < size; at++) {
        random = random * 1664525 + 1013904223;
        data[at] = at < period ? (uint8_t)(random >> 24) : data[at - period];
    }
    return bytes_of(data, size);
}

/* The heap's peak of unpacking with no scratch to speak of. */
static size_t unpack_peak(struct bench *bench, struct bytes packed, uint64_t size_max,
                          enum status *status)
{
    struct heap heap;
    heap_init(&heap, 64 * MIB);
    bench->collector.size = 0;
    bench->collector.calls_max = 0;
    *status = compress_unpack(CODEC_ZSTD, packed, size_max, (struct batch_scratch){.heap = &heap},
                              (struct unpack_sink){collect, &bench->collector});
    size_t peak = heap.size_peak;
    heap_deinit(&heap);
    return peak;
}

/* What is needed besides the window: the library's object, input of a block, a slice. */
#define ZSTD_BASE_SIZE (576 * 1024)

/* The memory follows what comes out, not what a frame declares. 10 MiB of noise twice: the matches
 * are farther away than the window that is given at first, and than those given next. */
static void test_zstd_wide_windows(void **state)
{
    struct bench *bench = *state;
    static const size_t sizes[] = {0, 1, 300, MIB - 1, MIB, MIB + 1, 4 * MIB, 20 * MIB};
    struct bytes noise = noise_make(20 * MIB, 10 * MIB);
    for (size_t index = 0; index < 2 * ARRAY_COUNT(sizes); index++) {
        struct bytes plain = bytes_of(noise.data, sizes[index / 2]);
        struct bytes packed = pack_wide(plain, 27, index % 2 == 1);
        assert_true(packed.size < 10 * MIB + 10000);
        enum status status;
        size_t peak = unpack_peak(bench, packed, plain.size, &status);
        assert_int_equal(status, STATUS_OK);
        assert_bytes_equal(bytes_of(bench->collector.data, bench->collector.size), plain);
        size_t window = plain.size < MIB / 2 ? MIB : 2 * plain.size;
        assert_true(peak <= window + ZSTD_BASE_SIZE);
        if (plain.size > 0) {
            peak = unpack_peak(bench, packed, plain.size - 1, &status);
            assert_int_equal(status, STATUS_MESSAGE_TOO_LARGE);
            assert_true(peak <= window + ZSTD_BASE_SIZE);
        }
        free((void *)(uintptr_t)packed.data);
    }
    free((void *)(uintptr_t)noise.data);
}

static void test_zstd_window_is_bounded(void **state)
{
    struct bench *bench = *state;
    struct bytes plain = noise_make(100000, 1000);
    struct bytes packed = pack_wide(plain, 27, false);
    uint8_t *window = (uint8_t *)(uintptr_t)packed.data + 5;
    assert_int_equal(*window, (27 - 10) << 3);
    enum status status;
    for (int eighths = 1; eighths < (31 - 27) * 8; eighths++) {
        *window = (uint8_t)(((27 - 10) << 3) + eighths);
        assert_true(unpack_peak(bench, packed, MIB, &status) < MIB);
        assert_int_equal(status, STATUS_UNSUPPORTED_COMPRESSION_TYPE);
    }
    free((void *)(uintptr_t)packed.data);
    free((void *)(uintptr_t)plain.data);
}

/* A frame of one segment that declares nearly 128 MiB of content and has one byte. */
static void test_zstd_content_size_that_lies(void **state)
{
    struct bench *bench = *state;
    struct bytes packed = bytes_of_hex("28b52ffda0ffffff07090000aa");
    enum status status;
    assert_true(unpack_peak(bench, packed, MIB, &status) <= MIB + ZSTD_BASE_SIZE);
    assert_int_equal(status, STATUS_CORRUPT_MESSAGE);
    bytes_free(packed);
}

/* What libzstd makes of the frame with all the memory it asks for; false where it fails. */
static bool reference_unpack(struct bytes packed, uint8_t *plain, size_t size_max, size_t *size)
{
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, 27);
    ZSTD_inBuffer in = {packed.data, packed.size, 0};
    ZSTD_outBuffer out = {plain, size_max, 0};
    size_t result = 1;
    while (result != 0 && !ZSTD_isError(result) && in.pos < in.size && out.pos < out.size) {
        result = ZSTD_decompressStream(zstd, &out, &in);
    }
    ZSTD_freeDCtx(zstd);
    *size = out.pos;
    return result == 0 && in.pos == in.size;
}

/* Frames that are wrong in one bit, across the places where the window grows. */
static void test_zstd_wide_windows_that_are_damaged(void **state)
{
    struct bench *bench = *state;
    struct bytes plain = noise_make(5 * MIB / 4, 3000);
    struct bytes packed = pack_wide(plain, 27, false);
    uint8_t *data = (uint8_t *)(uintptr_t)packed.data;
    size_t room = 2 * MIB;
    uint8_t *expected = malloc(room);
    int good_count = 0;
    for (size_t bit = 32; bit < packed.size * 8; bit += 1 + packed.size * 8 / 60) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        size_t size;
        bool good = reference_unpack(packed, expected, room, &size);
        enum status status;
        (void)unpack_peak(bench, packed, room, &status);
        assert_int_equal(status == STATUS_OK, good);
        if (good) {
            assert_bytes_equal(bytes_of(bench->collector.data, bench->collector.size),
                               bytes_of(expected, size));
        }
        good_count += good;
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(good_count > 0);
    free(expected);
    free(data);
    free((void *)(uintptr_t)plain.data);
}

/* A length of 4 GiB in front of nothing must not be believed. */
static void test_snappy_lengths_that_lie(void **state)
{
    struct bench *bench = *state;
    struct bytes raw = bytes_of_hex("ffffffff0f00");
    assert_int_equal(unpack(bench, CODEC_SNAPPY, raw, UINT64_MAX), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(unpack(bench, CODEC_SNAPPY, raw, MIB), STATUS_CORRUPT_MESSAGE);
    bytes_free(raw);
    struct bytes block = bytes_of_hex("82534e415050590000000001000000017fffffff0000");
    assert_int_equal(unpack(bench, CODEC_SNAPPY, block, MIB), STATUS_CORRUPT_MESSAGE);
    bytes_free(block);
    struct bytes empty = bytes_of_hex("82534e41505059000000000100000001");
    assert_int_equal(unpack(bench, CODEC_SNAPPY, empty, MIB), STATUS_OK);
    assert_int_equal(bench->collector.size, 0);
    bytes_free(empty);
}

static void test_sink_stops(void **state)
{
    struct bench *bench = *state;
    for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
        struct bytes packed = bytes_of_hex(compress_vectors[index].hex);
        bench->collector.size = 0;
        bench->collector.calls_max = 1;
        assert_int_equal(compress_unpack(compress_vectors[index].codec, packed, MIB, bench->scratch,
                                         (struct unpack_sink){collect, &bench->collector}),
                         STATUS_CLOSED);
        bytes_free(packed);
    }
}

/* There and back, for sizes around slices and blocks, for bytes that pack well and that do not, and
 * for levels; a target that is one byte too small is refused. */
static void test_round_trips(void **state)
{
    struct bench *bench = *state;
    static const size_t sizes[] = {0, 1, 32767, 32768, 32769, 65535, 65536, 65537, 300000};
    size_t room = 400000;
    uint8_t *plain = malloc(room);
    struct pack_output output = {.data = malloc(room)};
    for (size_t index = 0; index < 2 * sizeof(sizes) / sizeof(sizes[0]); index++) {
        size_t size = sizes[index / 2];
        uint32_t random = 1;
        for (size_t at = 0; at < size; at++) {
            random = random * 1664525 + 1013904223;
            plain[at] = (uint8_t)(random >> (index % 2 == 0 ? 24 : 30));
        }
        for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
            for (int level = -1; level <= 9; level += 5) {
                output.size_max = room;
                assert_int_equal(compress_pack((enum codec)codec, level, bytes_of(plain, size),
                                               bench->scratch, &output),
                                 STATUS_OK);
                struct bytes packed = bytes_of(output.data, output.size);
                assert_int_equal(unpack(bench, (enum codec)codec, packed, size), STATUS_OK);
                assert_bytes_equal(bytes_of(bench->collector.data, bench->collector.size),
                                   bytes_of(plain, size));
                if (output.size > 0) {
                    output.size_max = output.size - 1;
                    assert_int_equal(compress_pack((enum codec)codec, level, bytes_of(plain, size),
                                                   bench->scratch, &output),
                                     STATUS_MESSAGE_TOO_LARGE);
                }
            }
        }
    }
    free(output.data);
    free(plain);
}

static void test_levels_out_of_range(void **state)
{
    struct bench *bench = *state;
    uint8_t target[1000];
    struct pack_output output = {.data = target, .size_max = sizeof(target)};
    struct bytes plain = BYTES_LITERAL("plain");
    assert_int_equal(compress_pack(CODEC_GZIP, 10, plain, bench->scratch, &output),
                     STATUS_INVALID_CONFIG);
    assert_int_equal(compress_pack(CODEC_GZIP, 9, plain, bench->scratch, &output), STATUS_OK);
    assert_int_equal(compress_pack(CODEC_ZSTD, 22, plain, bench->scratch, &output), STATUS_OK);
}

/* compression.zstd.level goes down to -131072: less effort for each step. */
static void test_levels_below_zero(void **state)
{
    struct bench *bench = *state;
    uint8_t plain[8000];
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * i / 1000);
    }
    uint8_t target[10000];
    size_t sizes[2];
    static const int levels[] = {3, -100000};
    for (size_t i = 0; i < 2; i++) {
        struct pack_output output = {.data = target, .size_max = sizeof(target)};
        assert_int_equal(compress_pack(CODEC_ZSTD, levels[i], bytes_of(plain, sizeof(plain)),
                                       bench->scratch, &output),
                         STATUS_OK);
        struct bytes packed = bytes_of(target, output.size);
        assert_int_equal(unpack(bench, CODEC_ZSTD, packed, sizeof(plain)), STATUS_OK);
        sizes[i] = output.size;
    }
    assert_true(sizes[0] < sizes[1]);
}

/* Every amount of memory ends in an answer, and everything is given back. */
static void test_little_memory(void **state)
{
    struct bench *bench = *state;
    uint8_t target[2000];
    uint8_t plain[300];
    memset(plain, 'p', sizeof(plain));
    for (size_t size = 0; size < 4 * MIB; size += 1000 + size / 8) {
        struct heap heap;
        heap_init(&heap, size);
        struct batch_scratch scratch = {bench->scratch.memory + 3, size < 5000 ? size : 5000,
                                        &heap};
        for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
            struct pack_output output = {.data = target, .size_max = sizeof(target)};
            enum status status = compress_pack((enum codec)codec, 0, bytes_of(plain, sizeof(plain)),
                                               scratch, &output);
            assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        }
        for (size_t index = 0; index < VECTOR_INDEX_MAX; index++) {
            struct bytes packed = bytes_of_hex(compress_vectors[index].hex);
            bench->collector.size = 0;
            enum status status =
                compress_unpack(compress_vectors[index].codec, packed, MIB, scratch,
                                (struct unpack_sink){collect, &bench->collector});
            assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
            bytes_free(packed);
        }
        heap_deinit(&heap);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_what_others_packed),
        TEST(test_truncations_and_rests),
        TEST(test_bit_flips_never_crash),
        TEST(test_strangers),
        TEST(test_zstd_wide_windows),
        TEST(test_zstd_window_is_bounded),
        TEST(test_zstd_content_size_that_lies),
        TEST(test_zstd_wide_windows_that_are_damaged),
        TEST(test_snappy_lengths_that_lie),
        TEST(test_sink_stops),
        TEST(test_round_trips),
        TEST(test_levels_out_of_range),
        TEST(test_levels_below_zero),
        TEST(test_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
