/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a log needs besides its bytes, done by one background job per partition, in this order:
 *
 *   seal      the file of a segment that is full and durable is trimmed, then its hint is written
 *   ranges    weir.quarantine, where it changed
 *   snapshot  producer state captured earlier, once the high watermark has reached it
 *   epochs    leader-epoch-checkpoint after a new epoch
 *   tail      rows and D of the active segment
 *
 * A step that fails is told once and tried again when TAIL_INTERVAL_MS has passed; nothing of it is
 * promised to anybody, recovery only gets slower.
 */
#pragma once

#include <stdint.h>

#include "storage/job.h"

struct partition;
struct segment;
struct store;

/* The high watermark has moved: is a tail or a snapshot due? */
void tend_note_visible(struct partition *partition);
/* Starts the job unless it runs or nothing is due. */
void tend_start(struct partition *partition);
/* Tails whose time has come. */
void tend_uncovered(struct store *store, uint64_t now_ns);
/* Producer state as of the end offset, to be written when the high watermark is there. */
void tend_capture(struct partition *partition);
void tend_discard_capture(struct partition *partition);
/* Blocking, at the end of a load: the log ends before D of its tail file. D is taken back on the
 * disk before appends grow over it: the next start would take what they wrote for rot. 0 or -errno.
 */
int64_t tend_renew_tail(struct partition *partition);
/* Blocking, after the last append is durable: clean tail, snapshot, trimmed file. */
void tend_stop(struct partition *partition);
