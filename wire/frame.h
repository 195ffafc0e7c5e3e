/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame is an int32 size, a header and a body (wire/schema/header.wire). Requests have header
 * version 1, from an API's first flexible version on 2; responses 0 and 1 likewise, but the
 * response of ApiVersions stays at 0, because the client does not know yet what the broker speaks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/writer.h"

#define FRAME_PREFIX_SIZE 4       /* the size itself, which it does not count */
#define FRAME_HEAD_SIZE 8         /* what every version of a request's header begins with */
#define FRAME_SIZE_MAX 104857600  /* bytes; default of socket.request.max.bytes */
#define FRAME_API_VERSIONS_KEY 18 /* the one exception */

/* The first bytes behind the size: enough to choose a decoder or to refuse the rest. */
struct frame_head {
    int16_t key;
    int16_t version;
    int32_t correlation_id;
};

/* False when there are fewer than FRAME_HEAD_SIZE bytes. */
static inline bool frame_head_decode(struct frame_head *head, struct bytes frame)
{
    if (frame.size < FRAME_HEAD_SIZE) {
        return false;
    }
    head->key = (int16_t)get_be16(frame.data);
    head->version = (int16_t)get_be16(frame.data + 2);
    head->correlation_id = (int32_t)get_be32(frame.data + 4);
    return true;
}

/* What a peer announces is served: at least a head, at most the limit in bytes. */
static inline bool frame_size_is_valid(int32_t size, int32_t size_max)
{
    return size >= FRAME_HEAD_SIZE && size <= size_max;
}

static inline int16_t frame_request_header_version(bool flexible)
{
    return flexible ? 2 : 1;
}

static inline int16_t frame_response_header_version(int16_t key, bool flexible)
{
    return flexible && key != FRAME_API_VERSIONS_KEY ? 1 : 0;
}

/* Around header and body: leaves room for the size, then fills it in. */
static inline uint8_t *frame_begin(struct writer *writer)
{
    return writer_reserve_i32(writer);
}

static inline void frame_end(struct writer *writer, uint8_t *place)
{
    writer_patch_i32(place, (int32_t)(writer_size(writer) - FRAME_PREFIX_SIZE));
}
