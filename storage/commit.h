/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making dirty slabs durable: one write for each dirty partition that has none in flight, all of
 * them submitted together at the end of a tick. A write takes everything that gathered while the
 * one before it was in flight: that is the group commit.
 *
 *   clean -> dirty (bytes above durable) -> in flight -> durable: high watermark, answers, watches
 *                     ^------- gathered meanwhile -----------|
 *   quiet: clean after some small writes: zeros are written ahead of the tail, because a DSYNC
 *   write into unwritten extents costs 80 us, into written ones 33 us.
 */
#pragma once

#include <stdint.h>

struct partition;
struct store;

/* The partition has bytes above its durable position; submitted by the next store_commit(). */
void commit_mark_dirty(struct partition *partition);
/* The first waiting append needs memory: tried again when some comes free. */
void commit_starve(struct partition *partition);
/* Gives the partial blocks of partitions at rest back; all of them when `now_ns` is UINT64_MAX. */
void commit_rest(struct store *store, uint64_t now_ns);
/* Lets those go on that wait for slab memory. */
void commit_feed(struct store *store);
/* Moves the high watermark to the last whole batch that is durable and answers for it. */
void commit_advance(struct partition *partition);
