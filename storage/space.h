/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space for a log is taken before it is used: steps of 1 MiB doubling to 64 MiB, the next one asked
 * for when less than half of the last is left, so that a write never changes a file's size and
 * "no space" is known before an offset is given.
 *
 *   next segment: mkdir, partition.metadata, leader-epoch-checkpoint (first time only);
 *                 `weir.next` is created, allocated, synced                  partition->next
 *   roll:         next becomes active and takes appends at once;
 *                 rename to `<base>.log`, `<base>.tail` created, folders synced   segment->named
 *   only then its first write is submitted.
 *
 * Refused: state FULL, answered KAFKA_STORAGE_ERROR, tried again each second. So is an open that
 * finds no descriptor or no memory, of a roll's name, a write or a tail block: nothing is wrong
 * with the disk then, and what has its offset waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct partition;
struct segment;

/*
 * Each may refuse at once, without memory: then every append that waits and has no offset was
 * answered before the call returns (partition->refusals counts that), even where space_check()
 * says that there is room.
 */

/* Makes partition->next unless it is there or under way. */
void space_prepare(struct partition *partition);
/* Whether the active segment has room for `size` more bytes; asks for more when it is short. */
bool space_check(struct partition *partition, int64_t size);
/* Gives a segment that was just rolled in its name. */
void space_name(struct partition *partition, struct segment *segment);
/* An open on the way of an append failed with job_is_short(): what has an offset waits for it, the
 * rest is refused, and each second it is tried again. */
void space_wait_file(struct partition *partition, int64_t error, const char *what);
/* One worked. */
void space_note_file(struct partition *partition);
/* Tries again what was refused. */
void space_retry(struct partition *partition);
