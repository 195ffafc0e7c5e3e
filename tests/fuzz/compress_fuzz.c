/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte 0 chooses codec, level and working memory. The rest is unpacked as it is, within its cap and
 * its memory; then it is packed and has to come back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/fuzz/fuzz.h"
#include "wire/compress.h"

#define UNPACKED_SIZE_MAX (4 * MIB) /* a zstd window is granted in three steps */

struct collector {
    uint8_t *data;
    uint64_t size;
};

static enum status collect(void *context, struct bytes slice)
{
    struct collector *collector = context;
    check(slice.size > 0);
    check(slice.size <= UNPACKED_SIZE_MAX - collector->size);
    memcpy(collector->data + collector->size, slice.data, slice.size);
    collector->size += slice.size;
    return STATUS_OK;
}

static void check_round_trip(enum codec codec, int level, struct bytes plain,
                             struct batch_scratch scratch, struct collector *collector)
{
    struct pack_output output = {.size_max = 2 * plain.size + 1024};
    output.data = malloc(output.size_max);
    enum status status = compress_pack(codec, level, plain, scratch, &output);
    if (status == STATUS_OK) {
        collector->size = 0;
        status = compress_unpack(codec, bytes_of(output.data, output.size), plain.size, scratch,
                                 (struct unpack_sink){collect, collector});
        if (status == STATUS_OK) {
            check(bytes_equal(bytes_of(collector->data, collector->size), plain));
        }
    }
    check(status == STATUS_OK || status == STATUS_NO_MEMORY);
    free(output.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > MIB) {
        return 0;
    }
    enum codec codec = (enum codec)(data[0] % CODEC_COUNT);
    bool poor = data[0] >= 128;
    struct bytes bytes = bytes_of(data + 1, size - 1);
    struct heap heap;
    heap_init(&heap, poor ? 128 * KIB : 24 * MIB);
    size_t scratch_size = poor ? 100000 : 300000;
    struct batch_scratch scratch = {malloc(scratch_size), scratch_size, &heap};
    struct collector collector = {.data = malloc(UNPACKED_SIZE_MAX)};
    enum status status = compress_unpack(codec, bytes, UNPACKED_SIZE_MAX, scratch,
                                         (struct unpack_sink){collect, &collector});
    check(status == STATUS_OK || status == STATUS_CORRUPT_MESSAGE ||
          status == STATUS_MESSAGE_TOO_LARGE || status == STATUS_NO_MEMORY ||
          status == STATUS_UNSUPPORTED_COMPRESSION_TYPE);
    check(heap.size == 0);
    check_round_trip(codec, data[0] / CODEC_COUNT % 4, bytes, scratch, &collector);
    heap_deinit(&heap);
    free(scratch.memory);
    free(collector.data);
    return 0;
}
