/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest, not yet wholly durable blocks of an active segment: where appended bytes are copied
 * to, once, and what the writer writes from.
 *
 *   append -> [ full block ]..[ full block ][ partial ]      segment->slab, ascending
 *               |  durable: summed, graduates into the cache (no copy)
 *               the partial one stays while the partition is active; at rest it graduates as well
 *               and the next append takes it back, from the cache or from disk
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct partition;
struct segment;

enum slab_verdict {
    SLAB_COPIED,  /* all of it */
    SLAB_STARVED, /* no memory now; the partition is in store->starved */
    SLAB_WAITS,   /* for the partial block or a frozen page; partition_pump() follows */
    SLAB_SHORT,   /* the partial block could not be read back for want of a descriptor */
    SLAB_BROKEN,  /* the partial block cannot be read back */
};

/* Copies data[*copied..size) behind the end of the active segment, as far as it goes. */
enum slab_verdict slab_append(struct partition *partition, const uint8_t *data, size_t size,
                              size_t *copied);
/* Sums and lets go of blocks that are durable; of the partial last one only when `rest`. */
void slab_graduate(struct segment *segment, bool rest);
/* Nothing may be in flight. Pinned blocks live on without the segment. */
void slab_discard(struct segment *segment);
