/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of a log that are not what was written (rot below the durable position), and those of
 * them that somebody decided to do without. Pure; kept in `weir.quarantine` (FORMAT.md).
 *
 *   QUARANTINED   reads of it are refused with CORRUPT_MESSAGE
 *   SKIPPED       a gap: reads go on behind it. By hand alone (`weir log skip`), never taken back.
 *
 * Q1  A range begins and ends at a batch boundary, lies in one segment, and touches no other one
 *     of the same state; ranges are ordered by position.
 * Q2  Nothing here changes the log: its bytes stay where they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/heap.h"
#include "wire/status.h"

#define QUARANTINE_RANGES_MAX 4096
#define QUARANTINE_LINE_SIZE 128

struct quarantine_range {
    int64_t base_offset; /* of the segment */
    int64_t position_from;
    int64_t position_until;
    int64_t offset_from;
    int64_t offset_until; /* of the first good batch behind it, or the segment's end */
    bool skipped;
};

struct quarantine {
    struct heap *heap; /* borrowed */
    struct quarantine_range *ranges;
    uint32_t count;
    uint32_t room;
};

void quarantine_init(struct quarantine *quarantine, struct heap *heap);
void quarantine_deinit(struct quarantine *quarantine);
/* Merges with what it touches in its segment; what is skipped stays skipped. STATUS_OK, also when
 * nothing was new; STATUS_NO_MEMORY, also beyond QUARANTINE_RANGES_MAX. */
enum status quarantine_add(struct quarantine *quarantine, const struct quarantine_range *range);
/* The range that holds this offset, or NULL. */
const struct quarantine_range *quarantine_at_offset(const struct quarantine *quarantine,
                                                    int64_t offset);
/* The range that holds this position, or the first one behind it, in a segment; NULL: none. */
const struct quarantine_range *quarantine_at_position(const struct quarantine *quarantine,
                                                      int64_t base_offset, int64_t position);
/* `offset`, or the end of the skipped ranges it lies in. */
int64_t quarantine_cross(const struct quarantine *quarantine, int64_t offset);
/* Quarantined ranges that lie wholly in [offset_from, offset_until) become gaps; how many. */
uint32_t quarantine_skip(struct quarantine *quarantine, int64_t offset_from, int64_t offset_until);
/* Whether any range still refuses reads. */
bool quarantine_refuses(const struct quarantine *quarantine);
/* Forgets ranges of segments below this base offset. True: there were some. */
bool quarantine_cut_start(struct quarantine *quarantine, int64_t base_offset);
/* The log ends there, at position `size` of the segment: what was wrong behind that is gone with
 * it, and may not be said of what is appended now. True: something changed. */
bool quarantine_cut_end(struct quarantine *quarantine, int64_t base_offset, int64_t size,
                        int64_t end_offset);

/* The file's text; answers its size, writes only what fits into size_max. */
size_t quarantine_encode(const struct quarantine *quarantine, char *text, size_t size_max);
/* Replaces all ranges. STATUS_CORRUPT_MESSAGE: not such a file, or damaged; STATUS_NO_MEMORY. */
enum status quarantine_decode(struct quarantine *quarantine, struct bytes text);
