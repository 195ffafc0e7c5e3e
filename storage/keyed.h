/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of one segment while it is written: a memtable, and the keys of transactions that are
 * still open. No I/O. Owner core only.
 *
 * X1  Batches come in offset order, and only those that the high watermark has passed: an index is
 *     never ahead of what a reader may see.
 * X2  Keys of a transactional batch are held back until the marker of their producer comes: COMMIT
 *     lets them in, ABORT forgets them. By offset, so an older one never wins (memtable T1).
 * X3  An index is a cache of its segment. One that runs out of memory gives up what it has and says
 *     so by keyed_is_whole(); the log goes on, and whoever needs the keys walks it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/heap.h"
#include "storage/key_entry.h"
#include "storage/memtable.h"
#include "storage/producers.h"
#include "wire/batch.h"
#include "wire/codec_memory.h"

struct keyed;

/* size_max: bytes of memtable and held-back keys. The first key takes 3.2 KiB, ten 4.4, a hundred
 * 16. NULL: the heap has no room. */
[[nodiscard]] struct keyed *keyed_open(struct heap *heap, uint64_t hash_seed, uint64_t size_max,
                                       uint32_t shard_count);
void keyed_close(struct keyed *keyed);

/* The next batch, which lies at `position` of the segment; a checked one. Null keys are left out.
 * `marker` is what a control batch says; is_marker false otherwise. */
void keyed_note(struct keyed *keyed, struct bytes batch, uint32_t position,
                struct producers_marker marker, struct batch_scratch scratch);

/* False: X3; nothing else here has a meaning then. */
bool keyed_is_whole(const struct keyed *keyed);
/* Seven eighths of size_max are taken, or X3: the segment should end soon. */
bool keyed_is_full(const struct keyed *keyed);
/* Bytes of memtable and held-back keys. */
uint64_t keyed_size(const struct keyed *keyed);

/* Of decided records the newest of the key. False: there is none. */
bool keyed_get(struct keyed *keyed, struct bytes key, struct key_entry *entry);
/* For a key table; the index takes no more batches from there on. */
struct memtable *keyed_memtable(const struct keyed *keyed);

/* Whether any keys are held back. */
bool keyed_has_undecided(const struct keyed *keyed);

/* Keys held back, in the form of key_form.h, transaction by transaction in no order, each one's in
 * offset order. The key's bytes stay until the next keyed_note(). False: the end. */
struct keyed_cursor {
    struct table_cursor table;
    struct table_node *node;
    size_t at;
    bool begun;
};
bool keyed_next_undecided(const struct keyed *keyed, struct keyed_cursor *cursor,
                          int64_t *producer_id, struct key_item *item);
