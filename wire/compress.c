/* SPDX-License-Identifier: Apache-2.0 */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_customMem */
#define LZ4F_STATIC_LINKING_ONLY /* LZ4F_CustomMem */

#include "wire/compress.h"

#include <assert.h>
#include <limits.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"

#define GZIP_WINDOW_BITS (15 + 16) /* the largest window, in gzip's wrapping and no other */
#define GZIP_MEMORY_LEVEL 8
#define SNAPPY_BLOCK_SIZE (32 * 1024) /* of Java's SnappyOutputStream */
#define XERIAL_HEADER_SIZE 16
#define LZ4_MAGIC 0x184d2204u
#define LZ4_FLAG_DICTIONARY 0x01
#define ZSTD_WINDOW_LOG_MIN 10 /* of the format; what a header's exponent counts from */
#define ZSTD_WINDOW_LOG_MAX 27
#define ZSTD_SINGLE_SEGMENT 0x20 /* flag of a frame's header, behind the magic number */
/* What a frame with a large window gets at first. */
#define ZSTD_GRANT_SIZE_MIN (1024 * 1024)

/* Magic, then version and lowest compatible version, both 1. */
static const uint8_t xerial_header[XERIAL_HEADER_SIZE] = {
    0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
};
#define XERIAL_MAGIC_SIZE 8

/*
 * The frame being unpacked. A window above COMPRESS_WINDOW_SIZE_TRUSTED is granted piece by piece:
 * the library reads a header that was rewritten to declare less, which is the same as long as no
 * more than that has come out, because no match reaches behind the frame's begin. Then the frame
 * is begun again with twice the window, and what was given out already is skipped: half of the
 * window has really come out of the frame, and the work at most doubles.
 */
struct zstd_frame {
    uint64_t window_size; /* declared; 0: trusted, the library reads the frame as it is */
    uint64_t granted;
    uint64_t produced;    /* bytes since the frame was begun (again) */
    uint64_t skip;        /* of those to come, given out before */
    struct bytes content; /* behind the header, to the end of all input */
    uint8_t header[ZSTD_FRAMEHEADERSIZE_MAX];
    struct bytes header_rest; /* not read yet */
};

struct unpack {
    struct codec_memory memory;
    enum codec codec;
    enum status status; /* sticky */
    struct bytes rest;  /* packed bytes not read yet */
    uint64_t size_left; /* plain bytes that may still come out */
    bool started;       /* a first slice was asked for */
    bool between;       /* the bytes read so far end a gzip member or a frame */
    uint8_t *slice;     /* COMPRESS_SLICE_SIZE bytes, or the block of snappy */
    size_t slice_size;
    union {
        z_stream gzip;
        LZ4F_dctx *lz4;
        struct {
            ZSTD_DCtx *zstd;
            struct zstd_frame frame;
        };
        bool xerial;
    };
};

static uint32_t get_le32(const uint8_t *from)
{
    return __builtin_bswap32(get_be32(from));
}

static void rest_skip(struct unpack *unpack, size_t size)
{
    check(size <= unpack->rest.size);
    unpack->rest.data += size;
    unpack->rest.size -= size;
}

/* Codecs report a refused allocation in many ways; our memory knows it for certain. */
static enum status status_of_failure(const struct unpack *unpack)
{
    return unpack->memory.failed ? STATUS_NO_MEMORY : STATUS_CORRUPT_MESSAGE;
}

static void *memory_acquire(void *memory, size_t size)
{
    return codec_memory_acquire(memory, size);
}

static void memory_release(void *memory, void *block)
{
    codec_memory_release(memory, block);
}

/* none */

static enum status none_open(struct unpack *unpack)
{
    (void)unpack;
    return STATUS_OK;
}

static enum status none_next(struct unpack *unpack, struct bytes *slice)
{
    *slice = unpack->rest;
    rest_skip(unpack, unpack->rest.size);
    return STATUS_OK;
}

static enum status none_pack(int level, struct bytes plain, struct codec_memory *memory,
                             struct pack_output *output)
{
    (void)level;
    (void)memory;
    if (plain.size > output->size_max) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    if (plain.size > 0) {
        memcpy(output->data, plain.data, plain.size);
    }
    output->size = plain.size;
    return STATUS_OK;
}

/* gzip */

static void *gzip_acquire(void *memory, unsigned count, unsigned size)
{
    return codec_memory_acquire(memory, (size_t)count * size);
}

static enum status gzip_open(struct unpack *unpack)
{
    if (unpack->rest.size > UINT_MAX) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    unpack->gzip = (z_stream){
        .zalloc = gzip_acquire,
        .zfree = memory_release,
        .opaque = &unpack->memory,
        .next_in = (uint8_t *)(uintptr_t)unpack->rest.data, /* only read */
        .avail_in = (unsigned)unpack->rest.size,
    };
    return inflateInit2(&unpack->gzip, GZIP_WINDOW_BITS) == Z_OK ? STATUS_OK : STATUS_NO_MEMORY;
}

/* A stream is one or more members, as GZIPInputStream reads it. */
static enum status gzip_next(struct unpack *unpack, struct bytes *slice)
{
    z_stream *gzip = &unpack->gzip;
    gzip->next_out = unpack->slice;
    gzip->avail_out = COMPRESS_SLICE_SIZE;
    while (gzip->avail_out > 0) {
        if (unpack->between) {
            if (gzip->avail_in == 0) {
                break;
            }
            if (inflateReset(gzip) != Z_OK) {
                return STATUS_CORRUPT_MESSAGE;
            }
            unpack->between = false;
        }
        int result = inflate(gzip, Z_NO_FLUSH);
        if (result == Z_STREAM_END) {
            unpack->between = true;
        } else if (result != Z_OK) { /* Z_BUF_ERROR: cut short */
            return status_of_failure(unpack);
        }
    }
    *slice = bytes_of(unpack->slice, COMPRESS_SLICE_SIZE - gzip->avail_out);
    return STATUS_OK;
}

static enum status gzip_pack(int level, struct bytes plain, struct codec_memory *memory,
                             struct pack_output *output)
{
    if (plain.size > UINT_MAX) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    z_stream gzip = {
        .zalloc = gzip_acquire,
        .zfree = memory_release,
        .opaque = memory,
        .next_in = (uint8_t *)(uintptr_t)plain.data, /* only read */
        .avail_in = (unsigned)plain.size,
        .next_out = output->data,
        .avail_out = output->size_max < UINT_MAX ? (unsigned)output->size_max : UINT_MAX,
    };
    int result = deflateInit2(&gzip, level > 0 ? level : Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                              GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
    if (result != Z_OK) {
        return result == Z_MEM_ERROR ? STATUS_NO_MEMORY : STATUS_INVALID_CONFIG;
    }
    result = deflate(&gzip, Z_FINISH);
    output->size = gzip.total_out;
    deflateEnd(&gzip);
    return result == Z_STREAM_END ? STATUS_OK : STATUS_MESSAGE_TOO_LARGE;
}

/* snappy */

static enum status snappy_open(struct unpack *unpack)
{
    unpack->xerial = unpack->rest.size >= XERIAL_HEADER_SIZE &&
                     memcmp(unpack->rest.data, xerial_header, XERIAL_MAGIC_SIZE) == 0;
    if (unpack->xerial) { /* readers of Java look at neither version */
        rest_skip(unpack, XERIAL_HEADER_SIZE);
    }
    return STATUS_OK;
}

/* Snappy has no streaming form: back references reach anywhere into the block, so all of it is
 * kept. Its first bytes say how large it will be. */
static enum status snappy_block(struct unpack *unpack, struct bytes packed, struct bytes *slice)
{
    const char *data = (const char *)packed.data;
    size_t size;
    if (snappy_uncompressed_length(data, packed.size, &size) != SNAPPY_OK) {
        return STATUS_CORRUPT_MESSAGE;
    }
    /* A copy of 3 bytes yields 64 at most: more than 32 times the packed size is a lie. */
    if (size / 32 > packed.size) {
        return STATUS_CORRUPT_MESSAGE;
    }
    if (size > unpack->size_left) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    if (size > unpack->slice_size) {
        codec_memory_release(&unpack->memory, unpack->slice);
        unpack->slice_size = 0;
        unpack->slice = codec_memory_acquire(&unpack->memory, size);
        if (unpack->slice == NULL) {
            return STATUS_NO_MEMORY;
        }
        unpack->slice_size = size;
    }
    if (snappy_uncompress(data, packed.size, (char *)unpack->slice, &size) != SNAPPY_OK) {
        return STATUS_CORRUPT_MESSAGE;
    }
    *slice = bytes_of(unpack->slice, size);
    return STATUS_OK;
}

static enum status snappy_next(struct unpack *unpack, struct bytes *slice)
{
    *slice = bytes_of(unpack->slice, 0);
    if (!unpack->xerial) {
        if (unpack->started) {
            return STATUS_OK;
        }
        struct bytes block = unpack->rest;
        rest_skip(unpack, block.size);
        return snappy_block(unpack, block, slice);
    }
    while (slice->size == 0 && unpack->rest.size > 0) {
        if (unpack->rest.size < 4) {
            return STATUS_CORRUPT_MESSAGE;
        }
        size_t size = get_be32(unpack->rest.data);
        rest_skip(unpack, 4);
        if (size > unpack->rest.size) {
            return STATUS_CORRUPT_MESSAGE;
        }
        struct bytes block = bytes_of(unpack->rest.data, size);
        rest_skip(unpack, size);
        enum status status = snappy_block(unpack, block, slice);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* libsnappy allocates its hash table itself; there is no way to hand it one. */
static enum status snappy_pack(int level, struct bytes plain, struct codec_memory *memory,
                               struct pack_output *output)
{
    (void)level;
    size_t block_size_max = snappy_max_compressed_length(SNAPPY_BLOCK_SIZE);
    char *block = codec_memory_acquire(memory, block_size_max);
    if (block == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (output->size_max < XERIAL_HEADER_SIZE) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    memcpy(output->data, xerial_header, XERIAL_HEADER_SIZE);
    size_t used = XERIAL_HEADER_SIZE;
    while (plain.size > 0) {
        size_t taken = plain.size < SNAPPY_BLOCK_SIZE ? plain.size : SNAPPY_BLOCK_SIZE;
        size_t size = block_size_max;
        check(snappy_compress((const char *)plain.data, taken, block, &size) == SNAPPY_OK);
        if (size + 4 > output->size_max - used) {
            return STATUS_MESSAGE_TOO_LARGE;
        }
        put_be32(output->data + used, (uint32_t)size);
        memcpy(output->data + used + 4, block, size);
        used += size + 4;
        plain = bytes_of(plain.data + taken, plain.size - taken);
    }
    output->size = used;
    return STATUS_OK;
}

/* lz4 */

static void *lz4_acquire_zeroed(void *memory, size_t size)
{
    void *block = codec_memory_acquire(memory, size);
    return block == NULL ? NULL : memset(block, 0, size);
}

static LZ4F_CustomMem lz4_memory(struct codec_memory *memory)
{
    return (LZ4F_CustomMem){
        .customAlloc = memory_acquire,
        .customCalloc = lz4_acquire_zeroed,
        .customFree = memory_release,
        .opaqueState = memory,
    };
}

/* One frame, as Java reads it: no skippable frames, no dictionaries. */
static enum status lz4_open(struct unpack *unpack)
{
    if (unpack->rest.size < 5 || get_le32(unpack->rest.data) != LZ4_MAGIC ||
        (unpack->rest.data[4] & LZ4_FLAG_DICTIONARY) != 0) {
        return STATUS_CORRUPT_MESSAGE;
    }
    unpack->lz4 =
        LZ4F_createDecompressionContext_advanced(lz4_memory(&unpack->memory), LZ4F_VERSION);
    return unpack->lz4 != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status lz4_next(struct unpack *unpack, struct bytes *slice)
{
    size_t size = 0;
    while (size < COMPRESS_SLICE_SIZE && !unpack->between) {
        size_t written = COMPRESS_SLICE_SIZE - size;
        size_t read = unpack->rest.size;
        size_t hint = LZ4F_decompress(unpack->lz4, unpack->slice + size, &written,
                                      unpack->rest.data, &read, NULL);
        if (LZ4F_isError(hint)) {
            return status_of_failure(unpack);
        }
        rest_skip(unpack, read);
        size += written;
        unpack->between = hint == 0;
        if (unpack->between ? unpack->rest.size > 0 : read == 0 && written == 0) {
            return STATUS_CORRUPT_MESSAGE;
        }
    }
    *slice = bytes_of(unpack->slice, size);
    return STATUS_OK;
}

static enum status lz4_pack(int level, struct bytes plain, struct codec_memory *memory,
                            struct pack_output *output)
{
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
    preferences.frameInfo.blockSizeID = LZ4F_max64KB;
    preferences.frameInfo.blockMode = LZ4F_blockIndependent;
    preferences.compressionLevel = level > 0 ? level : 0;
    size_t bound = LZ4F_compressFrameBound(plain.size, &preferences);
    bool direct = bound <= output->size_max;
    uint8_t *target = direct ? output->data : codec_memory_acquire(memory, bound);
    LZ4F_cctx *lz4 = LZ4F_createCompressionContext_advanced(lz4_memory(memory), LZ4F_VERSION);
    if (target == NULL || lz4 == NULL) {
        return STATUS_NO_MEMORY;
    }
    size_t size = LZ4F_compressFrame_usingCDict(lz4, target, bound, plain.data, plain.size, NULL,
                                                &preferences);
    if (LZ4F_isError(size)) {
        check(memory->failed); /* the target has the size asked for */
        return STATUS_NO_MEMORY;
    }
    if (size > output->size_max) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    if (!direct) {
        memcpy(output->data, target, size);
    }
    output->size = size;
    return STATUS_OK;
}

/* zstd */

static ZSTD_customMem zstd_memory(struct codec_memory *memory)
{
    return (ZSTD_customMem){
        .customAlloc = memory_acquire, .customFree = memory_release, .opaque = memory};
}

static enum status zstd_open(struct unpack *unpack)
{
    unpack->zstd = ZSTD_createDCtx_advanced(zstd_memory(&unpack->memory));
    if (unpack->zstd == NULL) {
        return STATUS_NO_MEMORY;
    }
    static_assert(1 << ZSTD_WINDOW_LOG_MAX == COMPRESS_WINDOW_SIZE_MAX, "one bound, two spellings");
    size_t result = ZSTD_DCtx_setParameter(unpack->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    check(!ZSTD_isError(result));
    return STATUS_OK;
}

/* The library may also read formats from before 1.0, with allocations of their own: not from us. */
static bool zstd_frame_starts(struct bytes data)
{
    if (data.size < 4) {
        return false;
    }
    uint32_t magic = get_le32(data.data);
    return magic == ZSTD_MAGICNUMBER ||
           (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

/* Declares `size`, a power of two of at least 1 KiB, in place of the frame's own window. A frame of
 * one segment has none, its content size stands for it, which is of 4 bytes or 8 here. */
static void zstd_frame_grant(struct zstd_frame *frame, const uint8_t *header, size_t header_size,
                             uint64_t size)
{
    size_t kept = (header[4] & ZSTD_SINGLE_SEGMENT) != 0 ? 5 : 6; /* with the magic number */
    memcpy(frame->header, header, 4);
    frame->header[4] = header[4] & (uint8_t)~ZSTD_SINGLE_SEGMENT;
    frame->header[5] = (uint8_t)((63 - __builtin_clzll(size) - ZSTD_WINDOW_LOG_MIN) << 3);
    memcpy(frame->header + 6, header + kept, header_size - kept);
    frame->header_rest = bytes_of(frame->header, 6 + header_size - kept);
    frame->granted = size;
    frame->produced = 0;
}

/* A header that is cut short or malformed is left to the library, which says so. */
static enum status zstd_frame_begin(struct unpack *unpack)
{
    struct zstd_frame *frame = &unpack->frame;
    *frame = (struct zstd_frame){0};
    if (!zstd_frame_starts(unpack->rest)) {
        return STATUS_CORRUPT_MESSAGE;
    }
    ZSTD_frameHeader header;
    size_t result = ZSTD_getFrameHeader(&header, unpack->rest.data, unpack->rest.size);
    if (result != 0 || header.frameType == ZSTD_skippableFrame ||
        header.windowSize <= COMPRESS_WINDOW_SIZE_TRUSTED) {
        return STATUS_OK;
    }
    if (header.windowSize > COMPRESS_WINDOW_SIZE_MAX) {
        return STATUS_UNSUPPORTED_COMPRESSION_TYPE;
    }
    frame->window_size = header.windowSize;
    zstd_frame_grant(frame, unpack->rest.data, header.headerSize, ZSTD_GRANT_SIZE_MIN);
    rest_skip(unpack, header.headerSize);
    frame->content = unpack->rest;
    return STATUS_OK;
}

/* The last grant may be more than was declared, where that is not a power of two. */
static void zstd_frame_widen(struct unpack *unpack)
{
    struct zstd_frame *frame = &unpack->frame;
    uint8_t header[ZSTD_FRAMEHEADERSIZE_MAX];
    size_t header_size =
        (size_t)(frame->header_rest.data - frame->header) + frame->header_rest.size;
    memcpy(header, frame->header, header_size);
    check(frame->skip == 0);
    frame->skip = frame->produced;
    zstd_frame_grant(frame, header, header_size, frame->granted * 2);
    unpack->rest = frame->content;
    check(!ZSTD_isError(ZSTD_DCtx_reset(unpack->zstd, ZSTD_reset_session_only)));
}

/* How much may come out next. */
static size_t zstd_frame_room(struct unpack *unpack, size_t room)
{
    struct zstd_frame *frame = &unpack->frame;
    if (frame->granted < frame->window_size) {
        if (frame->produced == frame->granted) {
            zstd_frame_widen(unpack);
        }
        uint64_t left = frame->granted - frame->produced;
        room = room < left ? room : (size_t)left;
    }
    return frame->skip == 0 || room < frame->skip ? room : (size_t)frame->skip;
}

static size_t zstd_frame_read(struct unpack *unpack, ZSTD_outBuffer *out)
{
    struct bytes *from =
        unpack->frame.header_rest.size > 0 ? &unpack->frame.header_rest : &unpack->rest;
    ZSTD_inBuffer in = {.src = from->data, .size = from->size};
    size_t result = ZSTD_decompressStream(unpack->zstd, out, &in);
    *from = bytes_of(from->data + in.pos, from->size - in.pos);
    return result;
}

/* One or more frames, with or without content size. */
static enum status zstd_next(struct unpack *unpack, struct bytes *slice)
{
    struct zstd_frame *frame = &unpack->frame;
    size_t size = 0;
    while (size < COMPRESS_SLICE_SIZE && !(unpack->between && unpack->rest.size == 0)) {
        if (unpack->between || !unpack->started) {
            enum status status = zstd_frame_begin(unpack);
            if (status != STATUS_OK) {
                return status;
            }
            unpack->started = true;
        }
        ZSTD_outBuffer out = {.dst = unpack->slice + size};
        out.size = zstd_frame_room(unpack, COMPRESS_SLICE_SIZE - size);
        size_t result = zstd_frame_read(unpack, &out);
        if (ZSTD_isError(result)) {
            return status_of_failure(unpack);
        }
        frame->produced += out.pos;
        if (frame->skip > 0) {
            frame->skip -= out.pos;
        } else {
            size += out.pos;
        }
        unpack->between = result == 0;
        if (!unpack->between && unpack->rest.size == 0 && out.pos < out.size) {
            return STATUS_CORRUPT_MESSAGE; /* cut short */
        }
    }
    *slice = bytes_of(unpack->slice, size);
    return STATUS_OK;
}

static enum status zstd_pack(int level, struct bytes plain, struct codec_memory *memory,
                             struct pack_output *output)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx_advanced(zstd_memory(memory));
    if (zstd == NULL) {
        return STATUS_NO_MEMORY;
    }
    size_t result = ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel,
                                           level != 0 ? level : ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(result)) {
        return STATUS_INVALID_CONFIG;
    }
    result = ZSTD_compress2(zstd, output->data, output->size_max, plain.data, plain.size);
    if (ZSTD_isError(result)) {
        return memory->failed ? STATUS_NO_MEMORY : STATUS_MESSAGE_TOO_LARGE;
    }
    output->size = result;
    return STATUS_OK;
}

/* The table */

struct codec_row {
    const char *name;
    size_t slice_size;
    enum status (*open)(struct unpack *unpack);
    enum status (*next)(struct unpack *unpack, struct bytes *slice);
    enum status (*pack)(int level, struct bytes plain, struct codec_memory *memory,
                        struct pack_output *output);
};

static const struct codec_row codecs[CODEC_COUNT] = {
    [CODEC_NONE] = {"none", 0, none_open, none_next, none_pack},
    [CODEC_GZIP] = {"gzip", COMPRESS_SLICE_SIZE, gzip_open, gzip_next, gzip_pack},
    [CODEC_SNAPPY] = {"snappy", SNAPPY_BLOCK_SIZE, snappy_open, snappy_next, snappy_pack},
    [CODEC_LZ4] = {"lz4", COMPRESS_SLICE_SIZE, lz4_open, lz4_next, lz4_pack},
    [CODEC_ZSTD] = {"zstd", COMPRESS_SLICE_SIZE, zstd_open, zstd_next, zstd_pack},
};

const char *codec_name(enum codec codec)
{
    check((unsigned)codec < CODEC_COUNT);
    return codecs[codec].name;
}

bool codec_from_name(const char *name, enum codec *out)
{
    for (unsigned index = 0; index < CODEC_COUNT; index++) {
        if (strcmp(name, codecs[index].name) == 0) {
            *out = (enum codec)index;
            return true;
        }
    }
    return false;
}

enum status unpack_open(struct unpack **out, enum codec codec, struct bytes packed,
                        uint64_t size_max, struct batch_scratch scratch)
{
    check((unsigned)codec < CODEC_COUNT);
    struct codec_memory memory;
    codec_memory_init(&memory, scratch);
    struct unpack *unpack = codec_memory_acquire(&memory, sizeof(*unpack));
    if (unpack == NULL) {
        return STATUS_NO_MEMORY;
    }
    *unpack = (struct unpack){.codec = codec, .rest = packed, .size_left = size_max};
    unpack->memory = memory;
    unpack->slice_size = codecs[codec].slice_size;
    unpack->slice = codec_memory_acquire(&unpack->memory, unpack->slice_size);
    enum status status = unpack->memory.failed ? STATUS_NO_MEMORY : codecs[codec].open(unpack);
    if (status != STATUS_OK) {
        unpack_close(unpack);
        return status;
    }
    *out = unpack;
    return STATUS_OK;
}

enum status unpack_next(struct unpack *unpack, struct bytes *slice)
{
    if (unpack->status == STATUS_OK) {
        unpack->status = codecs[unpack->codec].next(unpack, slice);
        unpack->started = true;
    }
    if (unpack->status == STATUS_OK) {
        if (slice->size > unpack->size_left) {
            unpack->status = STATUS_MESSAGE_TOO_LARGE;
        } else {
            unpack->size_left -= slice->size;
        }
    }
    return unpack->status;
}

/* The codecs' own ends only free, which the memory does for all of them. */
void unpack_close(struct unpack *unpack)
{
    if (unpack != NULL) {
        struct codec_memory memory = unpack->memory; /* the object may lie in one of its blocks */
        codec_memory_deinit(&memory);
    }
}

enum status compress_unpack(enum codec codec, struct bytes packed, uint64_t size_max,
                            struct batch_scratch scratch, struct unpack_sink sink)
{
    struct unpack *unpack;
    enum status status = unpack_open(&unpack, codec, packed, size_max, scratch);
    if (status != STATUS_OK) {
        return status;
    }
    for (;;) {
        struct bytes slice;
        status = unpack_next(unpack, &slice);
        if (status != STATUS_OK || slice.size == 0) {
            break;
        }
        status = sink.take(sink.context, slice);
        if (status != STATUS_OK) {
            break;
        }
    }
    unpack_close(unpack);
    return status;
}

enum status compress_pack(enum codec codec, int level, struct bytes plain,
                          struct batch_scratch scratch, struct pack_output *output)
{
    check((unsigned)codec < CODEC_COUNT);
    struct codec_memory memory;
    codec_memory_init(&memory, scratch);
    output->size = 0;
    enum status status = codecs[codec].pack(level, plain, &memory, output);
    codec_memory_deinit(&memory);
    return status;
}
