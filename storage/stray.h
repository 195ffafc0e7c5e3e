/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder that stands where a partition has, or wants, its own. Whose it is says its
 * partition.metadata; without one it is ours if it holds nothing but what comes before: a crash
 * came between the first step of making it and the second.
 *
 *   ours      stays; the caller goes on in it or removes it
 *   another's renamed to `<name>.<32 hex>-stray` (Kafka's form), data folder synced, told in one
 *             line; never deleted and never looked at again
 */
#pragma once

struct job;
struct partition;

/* What stands there at the job's end; else -errno. */
enum stray_result { STRAY_NOTHING, STRAY_OURS };

/* Looks at the folder of that name and makes place. NULL: no memory. */
[[nodiscard]] struct job *stray_job(struct partition *partition);
