/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key table of a sealed segment that has none, from its log: it was sealed before its topic had
 * a key index, or the process ended between seal and hint, or its hint was damaged. The log is read
 * once, in pieces of two blocks with the core's other work between them; what does not fit into one
 * index is put aside as sorted runs in `<base>.keys.tmp` and merged from there. Then the hint is
 * written again (H3 of hint.h).
 *
 * One line says so. Blocks are compared with their sums, and what a quarantined range holds has no
 * keys: the record before it is then the newest that is known.
 */
#pragma once

#include "storage/job.h"
#include "storage/segment.h"

struct partition;

/* Segments of one core that are read at the same time: each takes KEY_INDEX_SIZE_MAX. */
#define KEY_BUILDS_MAX 2

/*
 * Starts on a segment that somebody waits for; with none of these, and `idle`, on the next one that
 * has no table. Nothing happens where that is under way, not wanted, or not possible now.
 */
void key_build_start(struct partition *partition, bool idle);
