/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of one log file, fed in consecutive pieces of any size, for who has nothing but the log:
 * rebuilds of hints and the offline tools. Pure.
 *
 * W1  A batch is good when its header can be one, its CRC is right, it ends within the log, and its
 *     offsets lie behind those before it. Nothing else is believed.
 * W2  Behind a batch whose CRC is wrong the walk goes on where its length says that the next one
 *     begins; only a good batch there ends the damage. The log is never searched for headers: a
 *     record's value may contain a whole batch.
 * W3  A base offset is not covered by the CRC. One that leaves a gap is believed only if the next
 *     batch does not contradict it, so a batch is handed out when the one behind it is known.
 * W4  Damage is named from and to a batch boundary; what cannot be bounded goes to the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/batch.h"

#define WALK_HEAD_SIZE 160 /* a control batch fits: its marker is decoded from here */

struct walk_batch {
    int64_t position;
    int64_t size;
    int64_t offset_before; /* where the log stood: less than base_offset where there is a gap */
    struct batch_header header;
    uint8_t head[WALK_HEAD_SIZE]; /* its first bytes */
};

struct walk_damage {
    const char *what;
    int64_t position_from;
    int64_t position_until;
    int64_t offset_from;
    int64_t offset_until;
};

struct walk {
    /* in */
    int64_t position;     /* of the next byte fed; at first the start of a batch */
    int64_t offset;       /* out as well: behind the last good batch */
    int64_t offset_until; /* all of the log lies below it; INT64_MAX: not known */
    int64_t size;         /* of the log, bytes */
    void (*batch)(struct walk *walk, const struct walk_batch *batch);
    void (*damage)(struct walk *walk, const struct walk_damage *damage);
    void *owner;
    /* out */
    int64_t end; /* behind the last batch, good or bad; the start of what is lost */
    /* the walk's own */
    enum { WALK_HEADER, WALK_BODY, WALK_LOST, WALK_DONE } state;
    struct walk_batch current;
    size_t head_size;
    int64_t left; /* bytes of the current body still to come */
    uint32_t crc;
    struct walk_batch pending; /* good, not handed out yet */
    bool has_pending;
    struct walk_damage open; /* what == NULL: none */
};

/* The caller fills the `in` part; the rest is zero. */
void walk_feed(struct walk *walk, const uint8_t *data, size_t size);
/* Everything there is has been fed. */
void walk_end(struct walk *walk);
