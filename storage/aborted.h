/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aborted transactions of one log, as read_committed fetches want them. Pure.
 *
 * A1  Entries are ordered by the offset of their marker, which is the order they arrive in, so
 * adding one is a push at the end. Fetches want them by first offset: the few that overlap are
 * sorted for each answer. A2  last_stable_offset never falls from one entry to the next: a search
 * ends at the first entry after which everything below the range's end was decided.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "wire/status.h"

struct producers_aborted {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset;        /* of the marker */
    int64_t last_stable_offset; /* after the marker */
};

struct aborted {
    struct heap *heap; /* borrowed */
    struct producers_aborted *entries;
    size_t count;
    size_t room; /* entries that fit */
};

void aborted_init(struct aborted *aborted, struct heap *heap);
void aborted_deinit(struct aborted *aborted);
/* Any order is taken; one whose marker is known already changes nothing. STATUS_NO_MEMORY. */
enum status aborted_add(struct aborted *aborted, const struct producers_aborted *entry);
/* Those that overlap [offset_first, offset_until), by first offset. Returns how many there are;
 * when that is more than count_max, `out` holds some of them and the caller asks again with more
 * room. */
int32_t aborted_list(const struct aborted *aborted, int64_t offset_first, int64_t offset_until,
                     struct producers_aborted *out, int32_t count_max);
/* Whether this producer's record at `offset` is of an aborted transaction. */
bool aborted_covers(const struct aborted *aborted, int64_t producer_id, int64_t offset);
/* Forgets those whose marker lies below the log's start. */
void aborted_cut_start(struct aborted *aborted, int64_t log_start_offset);
