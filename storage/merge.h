/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one k-way merge of sorted runs: scans of the memtable, key tables, compaction.
 *
 * A run is a cursor that stands on one item; the merge hands the items of all runs out in the order
 * of their keys' bytes. Equal keys come newest offset first (then by index of the run), or, with
 * MERGE_NEWEST, the newest alone.
 *
 * M1  Within a run keys never fall, and of equal keys the newest comes first, the others `repeats`.
 *     A run that steps back is a damaged file, not a bug: STATUS_MALFORMED. (Seen up to 8 bytes
 *     behind `skip` only.)
 * M2  The merge copies no key and holds 48 bytes a run, in the caller's memory: what a merge costs
 *     is the runs' own buffers. merge_plan() says how many of those fit a budget.
 * M3  A step costs log2(count) comparisons of 8 bytes: those behind what all keys that the runs
 *     stand on begin with, `skip`. Whole keys are compared only where these are equal. A key that
 *     begins otherwise shortens skip, which never grows again: at most 32 times in a merge.
 *
 * A tournament of winners, not of losers: a duplicate is taken out below the winner, in place,
 * while the winner stands still; so its key needs no copy to be compared with.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

struct merge_run {
    /* The item the run stands on: set by advance(), lent until the next call of it. */
    struct bytes key;
    int64_t offset;
    const void *value; /* the run's own affair */
    bool repeats;      /* the key is that of the run's item before this one */
    /*
     * Steps to the next item; the first call to the first one. STATUS_NOT_FOUND: the run is at its
     * end and is not called again. STATUS_PENDING: not yet, call again. Any other status ends the
     * merge with it.
     */
    enum status (*advance)(struct merge_run *run);
};

/* Of one run, and of one inner place of the tournament. */
struct merge_node {
    uint64_t head;    /* of the run's key, behind skip */
    struct bytes key; /* the run's */
    int64_t offset;   /* the run's */
    bool ended;       /* the run is at its end */
    bool tie;         /* at this place two equal keys met */
    uint32_t winner;  /* of the runs below this place, an index */
};

#define MERGE_SKIP_MAX 32

enum merge_equal {
    MERGE_NEWEST, /* of equal keys the newest offset alone */
    MERGE_ALL,
};

#define MERGE_NONE UINT32_MAX

struct merge {
    struct merge_run **runs; /* borrowed */
    struct merge_node *nodes;
    uint32_t count;
    uint32_t started;  /* runs that stand on their first item */
    uint32_t standing; /* run handed out last, not yet stepped; MERGE_NONE */
    uint32_t moving;   /* run that has to step before anything else; MERGE_NONE */
    enum merge_equal equal;
    uint64_t dropped; /* older items of equal keys, MERGE_NEWEST */
    size_t skip;      /* M3 */
    uint8_t beginning[MERGE_SKIP_MAX];
};

/* `runs` and `nodes` are arrays of `count` in the caller's memory, lent until the merge is left. */
void merge_init(struct merge *merge, struct merge_run **runs, struct merge_node *nodes,
                uint32_t count, enum merge_equal equal);

/*
 * The next item: *run stands on it until the next call. STATUS_NOT_FOUND: every run has ended.
 * STATUS_PENDING: a run waits; call again when it may go on. Any other status comes from a run and
 * is final.
 */
enum status merge_next(struct merge *merge, const struct merge_run **run);

/*
 * How `run_count` runs are merged when each open one holds `run_size` bytes and all of them may
 * hold `size_max`: up to `fan_in` at once, in `passes` over the data. fan_in 0: not even two fit.
 */
struct merge_plan {
    uint32_t fan_in;
    uint32_t passes;
};
struct merge_plan merge_plan(uint32_t run_count, uint64_t run_size, uint64_t size_max);
