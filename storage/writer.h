/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How bytes get from a slab into its file: one DSYNC write, built by one of three writers.
 *
 * S1  Writes in flight of one file never share a page: a partition has one write in flight.
 * S2  Memory under a write in flight never changes: the last partial page is copied to a page of
 *     its own (or, when there is none, the tail block takes no appends until the write is done).
 * S3  What lies behind the last batch in a submitted page is zero.
 * S4  Asked of the device: a 512-byte block in flight at a power cut is old or new, never a mix.
 *
 * aligned   whole 4 KiB pages, from the page of the durable position to the page of the end, past
 *           the page cache; the page that holds both old and new bytes is written again with the
 *           old bytes unchanged
 * direct    the same pages, but never past the end of the first batch that waits: a write for each
 *           batch, in strict order; what a group commit is measured against
 * buffered  exactly the new bytes, through the page cache; nothing is padded
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"
#include "storage/config.h"
#include "storage/files.h"

struct partition;
struct segment;
struct store;

struct write {
    struct op op;
    struct file_user user;
    struct partition *partition;
    struct segment *segment; /* held */
    bool zeros;              /* ahead of the tail: moves written_until only */
    bool frozen;             /* uses the tail block's memory */
    int64_t from;            /* first byte of the file that is written */
    int64_t until;           /* durable position when it is done */
    int64_t written_until;   /* with padding */
    uint8_t *bounce;         /* page, or NULL */
    int32_t vector_count;
    struct iovec vector[OP_VECTOR_MAX];
};

/* Fills vector, from, until, written_until, bounce, frozen for what segment->slab holds above
 * segment->durable, as far as one write goes (1 MiB, OP_VECTOR_MAX slices where buffered); the rest
 * goes with the next one. */
void writer_aligned_build(struct store *store, struct write *write);
void writer_direct_build(struct store *store, struct write *write);
void writer_buffered_build(struct store *store, struct write *write);
/* The one of these that store->writer names. */
void writer_build(struct store *store, struct write *write);
