/* SPDX-License-Identifier: Apache-2.0 */
/* Batches as producers and coordinators send them, for the tests of storage/producers.c. */
#pragma once

#include "base/check.h"
#include "storage/producers.h"

#define SEED 42
#define NOW INT64_C(1700000000000)

static const struct producers_marker no_marker = {.is_marker = false};

static inline struct batch_header data_of(int64_t id, int16_t epoch, int32_t sequence,
                                          int32_t count)
{
    return (struct batch_header){
        .magic = BATCH_MAGIC,
        .last_offset_delta = count - 1,
        .max_timestamp = NOW,
        .producer_id = id,
        .producer_epoch = epoch,
        .base_sequence = sequence,
        .count = count,
    };
}

static inline struct batch_header at(struct batch_header header, int64_t offset)
{
    header.base_offset = offset;
    return header;
}

static inline struct batch_header transactional(struct batch_header header)
{
    header.attributes |= BATCH_TRANSACTIONAL;
    return header;
}

static inline struct batch_header control_of(int64_t id, int16_t epoch)
{
    struct batch_header header = data_of(id, epoch, -1, 1);
    header.attributes = BATCH_TRANSACTIONAL | BATCH_CONTROL;
    return header;
}

static inline struct producers_marker marker_of(bool is_commit, int32_t coordinator_epoch)
{
    return (struct producers_marker){true, is_commit, coordinator_epoch};
}
