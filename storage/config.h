/* SPDX-License-Identifier: Apache-2.0 */
/* (api) What the layers above may choose for a log, and the fixed numbers of this layer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Effective values of one topic; a change applies to the next append, roll or upkeep. */
struct partition_config {
    int64_t segment_size_max;       /* segment.bytes */
    int64_t segment_age_ms_max;     /* segment.ms */
    int64_t retention_ms;           /* -1: no limit */
    int64_t retention_size;         /* retention.bytes; -1: no limit */
    int64_t producer_expiration_ms; /* producer.id.expiration.ms */
    int64_t file_delete_delay_ms;   /* file.delete.delay.ms */
    bool delete_old;                /* cleanup.policy contains delete */
    bool compact;                   /* cleanup.policy contains compact */
    bool log_append_time;           /* message.timestamp.type */
    bool key_index;                 /* compact, or weir.key.index */
};

enum writer_kind {
    WRITER_ALIGNED,  /* O_DIRECT, grouped, RWF_DSYNC; the default */
    WRITER_DIRECT,   /* O_DIRECT, a write for each batch: nothing is gathered */
    WRITER_BUFFERED, /* page cache, then fdatasync; where O_DIRECT is refused */
};

/* A block is the unit of caching, checking and indexing: 64 KiB of log. */
#define BLOCK_SIZE INT64_C(65536)
/* Space: 1 MiB first, then doubling to 64 MiB. */
#define SPACE_STEP_MIN (INT64_C(1) << 20)
#define SPACE_STEP_MAX (INT64_C(64) << 20)
/* The tail file is renewed after so much log, or so long after the first uncovered append. */
#define TAIL_INTERVAL_SIZE (INT64_C(4) << 20)
#define TAIL_INTERVAL_MS 1000
/* A producer snapshot after so much log, at roll and at a clean stop. */
#define SNAPSHOT_INTERVAL_SIZE (INT64_C(64) << 20)
/* Memory of one segment's keys; a segment whose keys fill it ends early. */
#define KEY_INDEX_SIZE_MAX (UINT64_C(16) << 20)
/* Look-ups of keys that a segment does not have and that read its key table all the same; and the
 * memory of a filter while it is written, where more keys than fit cost more of them. */
#define KEY_FILTER_RATE 0.01
#define KEY_FILTER_SIZE_MAX (UINT64_C(4) << 20)
/* Files start over before positions leave int32 (Kafka's limit for one file). */
#define SEGMENT_SIZE_LIMIT INT64_C(2147483647)
