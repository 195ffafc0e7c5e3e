/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five codecs of record batches as one table: none, gzip (zlib), snappy (raw and the xerial
 * block form of Java; libsnappy), lz4 (frame format; liblz4), zstd (libzstd).
 *
 * Unpacking is streaming: output comes in slices of at most COMPRESS_SLICE_SIZE, the total is capped,
 * so a bomb costs one slice of memory. Snappy has no streaming form: its blocks are unpacked whole
 * into the caller's scratch, at most the scratch's size.
 */
#pragma once

#include "base/bytes.h"
#include "wire/status.h"

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

#define COMPRESS_SLICE_SIZE (64 * 1024)

const char *codec_name(enum codec codec);               /* "none", "gzip", ... */
bool codec_from_name(const char *name, enum codec *out);

/* Called for each unpacked slice; a status other than OK stops and is passed on. */
struct unpack_sink {
    enum status (*take)(void *context, struct bytes slice);
    void *context;
};

/* STATUS_CORRUPT_MESSAGE: packed bytes are not of this codec, cut short or with rest behind them.
 * STATUS_MESSAGE_TOO_LARGE: more than size_max would come out. */
enum status compress_unpack(enum codec codec, struct bytes packed, uint64_t size_max,
                            uint8_t *scratch, size_t scratch_size, struct unpack_sink sink);
/* level < 0 or 0: the codec's default. STATUS_MESSAGE_TOO_LARGE when the target is too small. */
enum status compress_pack(enum codec codec, int level, struct bytes plain, uint8_t *target,
                          size_t target_size, size_t *size_out);
