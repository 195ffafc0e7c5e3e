/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs on purpose, one at a time, to prove that the simulator finds them (tests/sim). They exist in
 * a build of its own, with WEIR_PLANTED; everywhere else PLANTED() is false and nothing remains.
 */
#pragma once

#ifdef WEIR_PLANTED

#define PLANTED_BUGS(X)                                                                            \
    X(OVERLAPPING_WRITES, "two writes of the tail page in flight at once")                         \
    X(PAGE_CHANGES, "the tail page is written from where appends go on")                           \
    X(WRITE_NOT_DURABLE, "answered when written, not when durable")                                \
    X(WRITE_ERROR_IGNORED, "a failed write counts as done")                                        \
    X(EARLY_HIGH_WATERMARK, "the high watermark passes the durable position")                      \
    X(READ_ABOVE, "a read goes up to the end of the log")                                          \
    X(EARLY_DUPLICATE, "a duplicate is answered before its original is durable")                   \
    X(SHORT_WINDOW, "four batches of a producer are remembered, not five")                         \
    X(STABLE_IS_HIGH, "the last stable offset is the high watermark")                              \
    X(ABORTED_FORGOTTEN, "the last aborted transaction of a segment is not kept")                  \
    X(NAME_NOT_SYNCED, "a segment is named without a sync of its folder")                          \
    X(NAMES_BELIEVED, "names found at a start are not synced")                                     \
    X(WALK_NOT_SYNCED, "what recovery accepted is not synced")                                     \
    X(CUT_BELOW, "recovery walks from the segment's begin, whatever is durable")                   \
    X(WALK_PAST_BAD, "recovery goes on behind a bad batch")                                        \
    X(TORN_ACCEPTED, "recovery does not check the sums of batches")                                \
    X(REST_LEFT, "bytes behind the end of the log are left there")                                 \
    X(ERROR_IS_EMPTY, "a segment that cannot be opened is taken for empty")                        \
    X(TAIL_UNCHECKED, "tail headers are believed without their checksum")                          \
    X(ROWS_UNCHECKED, "block rows are believed without their checksum")                            \
    X(CLEAN_BELIEVED, "the mark of a clean stop is believed for a longer file")                    \
    X(SNAPSHOT_UNCHECKED, "producer snapshots are believed without their checksum")                \
    X(BLOCK_UNCHECKED, "blocks are served without their sum")                                      \
    X(KEYS_AHEAD, "the key index takes a batch before the high watermark passes it")               \
    X(UNDECIDED_COUNTS, "a key of a transaction that was open at a seal counts as committed")      \
    X(EPOCHS_LATE, "the epoch checkpoint is written at a clean stop alone")                        \
    X(RETENTION_GREEDY, "retention takes one segment more")

#define PLANTED_NUMBER(name, text) PLANTED_##name,
enum planted_bug { PLANTED_NONE, PLANTED_BUGS(PLANTED_NUMBER) PLANTED_COUNT };
#undef PLANTED_NUMBER

/* Which one lives in this process; the simulator's. */
extern enum planted_bug planted_bug;

#define PLANTED(name) (planted_bug == PLANTED_##name)

#else
#define PLANTED(name) false
#endif
