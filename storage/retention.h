/* SPDX-License-Identifier: Apache-2.0 */
/* Which sealed segments may go, oldest first; pure. Rules of Kafka's log cleaner thread for
 * cleanup.policy=delete: wholly below log start; then while total - retention.bytes >= segment
 * size; then while now - largest record timestamp > retention.ms. Nothing at or above the high
 * watermark. A segment without a known timestamp stays, and so do those behind it: the caller may
 * pass the file's own time instead. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct retention_segment {
    int64_t base_offset;
    int64_t end_offset;    /* exclusive */
    int64_t size;          /* bytes of log */
    int64_t timestamp_max; /* -1: none known */
};

struct retention_rules {
    bool delete_old;
    int64_t retention_ms;   /* -1 no limit */
    int64_t retention_size; /* -1 no limit */
    int64_t now_ms;
    int64_t log_start_offset;
    int64_t high_watermark;
    int64_t size_behind; /* bytes of further segments that are not passed */
};

/* How many from the front may go. The last entry is the active segment and never counts; when it is
 * due as well (by time, or by size with retention.bytes=0) *roll_active says so and the caller
 * rolls it first and asks again. Of a log whose newest segments are not passed that means nothing,
 * and the last entry has its turn another time. */
int32_t retention_pick(const struct retention_segment *segments, int32_t count,
                       const struct retention_rules *rules, bool *roll_active);
