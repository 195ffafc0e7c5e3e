/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block table, facts and aborted transactions of a sealed segment whose hint is missing or damaged,
 * from its log (and `.txnindex`): in pieces of 1 MiB with the core's other work between them, CRCs
 * checked, offsets in order. What fails is quarantined from and to a batch boundary; the log is
 * never changed. The hint written afterwards carries HINT_REBUILT: its sums were taken from what
 * lay on the disk and cannot vouch for the time before.
 */
#pragma once

#include "storage/job.h"
#include "storage/segment.h"

/* NULL: no memory. 0: rows are loaded; -EBADMSG: rows are loaded, but which transactions were
 * aborted has to be found by a replay (recovery_replay_aborted()); another -errno. */
[[nodiscard]] struct job *rebuild_job(struct segment *segment);
