/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) Reading a partition's folder that no broker holds: batches for a dump, and everything that
 * can be checked. Blocking, on a ring of the caller's. V1  Nothing is ever written or renamed.
 *
 * Batches have to pass walk.h; blocks are compared with the sums of hint or tail file below the
 * durable position; hints, tails, checkpoint, snapshots, `.txnindex` and `weir.quarantine` are
 * decoded. Behind the durable position of the last segment a bad batch is where the log ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/ring.h"
#include "wire/batch.h"

enum verify_kind {
    VERIFY_DAMAGE,
    VERIFY_QUARANTINED, /* known to the broker; reads are refused */
    VERIFY_SKIPPED,     /* given up by hand: no damage any more */
};

/* Positions and offsets are -1 where the finding is about the whole file. */
struct verify_finding {
    enum verify_kind kind;
    const char *file; /* name in the folder */
    const char *what;
    int64_t position_from;
    int64_t position_until;
    int64_t offset_from;
    int64_t offset_until;
};

enum verify_marker { VERIFY_NO_MARKER, VERIFY_ABORT, VERIFY_COMMIT };

struct verify_batch {
    const char *file;
    int64_t position;
    int64_t size;
    struct batch_header header;
    enum verify_marker marker;
};

/* A row of a key table. */
struct verify_row {
    const char *file; /* the hint's name */
    int64_t offset;
    int64_t timestamp;
    int64_t position; /* of the record's batch */
    int64_t size;
    bool tombstone;
    int64_t producer_id; /* of a transaction that was open when the table was made; else -1 */
};

struct verify {
    /* in */
    struct ring *ring;
    struct heap *heap;
    const char *folder; /* path; its last part is "<topic>-<index>" */
    bool log_only;      /* a dump: nothing but batches and their damage */
    void (*batch)(struct verify *verify, const struct verify_batch *batch); /* or NULL */
    void (*finding)(struct verify *verify, const struct verify_finding *finding);
    /*
     * data not NULL: the newest record of this key is looked for and nothing else, from the newest
     * segment to the oldest. One with a key table hands out the key's rows, and the search ends
     * with one that was decided; another one's batches are handed out, and the search ends behind
     * it when `found` was set by whoever looked into them.
     */
    struct bytes key;
    void (*row)(struct verify *verify, const struct verify_row *row);
    bool found;
    void *owner;
    /* out */
    uint64_t file_count;
    uint64_t batch_count;
    uint64_t size;         /* bytes of log */
    uint64_t damage_count; /* findings but those of VERIFY_SKIPPED */
};

/* 0; -errno: the folder or one of its logs cannot be read. */
int64_t verify_run(struct verify *verify);
