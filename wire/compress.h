/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five codecs of record batches as one table: none, gzip (zlib), snappy (raw and the xerial
 * block form of Java; libsnappy), lz4 (frame format; liblz4), zstd (libzstd).
 *
 * Unpacking is pulled slice by slice and the total is capped, so a bomb costs one slice and the
 * codec's window. Every library works in the caller's scratch and, past its end, in the caller's
 * heap (wire/codec_memory.h); none allocates behind our back but libsnappy when it packs. Bytes of
 * working memory by codec:
 *
 *   gzip    104 KiB
 *   snappy  one block: 32 KiB from Java, the whole batch when raw
 *   lz4     192 KiB with blocks of 64 KiB; twice the block size more with larger ones
 *   zstd    480 KiB and the frame's window: 2 MiB at the default level, 8 MiB at level 19. A frame
 *           that declares more (levels 20 to 22; Java's producers do so for the smallest batch)
 *           gets 1 MiB, and twice as much whenever so much has come out of it
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/codec_memory.h"
#include "wire/status.h"

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

/* gzip, lz4 and zstd give at most this much at a time; snappy a block, none everything. */
#define COMPRESS_SLICE_SIZE (64 * 1024)
/* A zstd frame with a larger window is refused, as libzstd and so Kafka's consumers do. */
#define COMPRESS_WINDOW_SIZE_MAX (128 * 1024 * 1024)
/* Up to here a window is given as declared; RFC 8878 asks readers for this much. */
#define COMPRESS_WINDOW_SIZE_TRUSTED (8 * 1024 * 1024)

const char *codec_name(enum codec codec); /* "none", "gzip", ... */
bool codec_from_name(const char *name, enum codec *out);

/*
 * One packed stream being unpacked. The object lives in the scratch; `packed` is borrowed until
 * close.
 *
 * unpack_open    fails as unpack_next does; then nothing is open.
 * unpack_next    a slice, valid until the next call; size 0 at the end. Errors are sticky:
 *                CORRUPT_MESSAGE: the bytes are not of this codec, cut short, or with rest behind;
 *                MESSAGE_TOO_LARGE: more than size_max would come out;
 *                UNSUPPORTED_COMPRESSION_TYPE: a zstd window above COMPRESS_WINDOW_SIZE_MAX;
 *                NO_MEMORY: scratch and heap cannot hold a window or block.
 * unpack_close   gives memory back to the heap; NULL is fine.
 */
struct unpack;
enum status unpack_open(struct unpack **out, enum codec codec, struct bytes packed,
                        uint64_t size_max, struct batch_scratch scratch);
enum status unpack_next(struct unpack *unpack, struct bytes *slice);
void unpack_close(struct unpack *unpack);

/* Called for each unpacked slice; a status other than OK stops and is passed on. */
struct unpack_sink {
    enum status (*take)(void *context, struct bytes slice);
    void *context;
};

/* The loop over unpack_next, for those who would rather be called. */
enum status compress_unpack(enum codec codec, struct bytes packed, uint64_t size_max,
                            struct batch_scratch scratch, struct unpack_sink sink);

struct pack_output {
    uint8_t *data;
    size_t size_max;
    size_t size; /* bytes written */
};

/* As Java's clients read it: xerial snappy, lz4 with independent blocks of 64 KiB. level 0, and
 * for all but zstd what is below it: the codec's default. STATUS_MESSAGE_TOO_LARGE when the output
 * is too small. */
enum status compress_pack(enum codec codec, int level, struct bytes plain,
                          struct batch_scratch scratch, struct pack_output *output);
