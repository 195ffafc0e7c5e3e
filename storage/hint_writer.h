/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the hint of a sealed segment from what is in memory: block table, aborted transactions.
 * Nothing of the log is read. H2 of hint.h: aside, DSYNC, renamed, folder synced; then the tail
 * file goes, because nothing is left that only it knows.
 */
#pragma once

#include "storage/job.h"
#include "storage/segment.h"

/* The rows must be loaded and the whole segment visible. NULL: no memory. 0 or -errno. */
[[nodiscard]] struct job *hint_write_job(struct segment *segment);
