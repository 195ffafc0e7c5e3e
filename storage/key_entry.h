/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the newest record of one key: where it lies in its segment. The value type of
 * the memtable and of every sorted run that is made from one.
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

/* The record's value is null: the key was deleted by its producer. */
#define KEY_TOMBSTONE 1U
/* No record at all: what older runs hold of this key is void up to `offset`. */
#define KEY_REMOVED 2U
/* In tables alone: its transaction was open when the table was made (hint_keys.h). */
#define KEY_UNDECIDED 4U

struct key_entry {
    int64_t offset;    /* of the record */
    int64_t timestamp; /* of the record, ms */
    uint32_t position; /* of its batch, in the segment's file */
    uint32_t size;     /* of its batch, bytes */
    uint32_t flags;    /* KEY_* */
};

/* A key with its entry. Who hands one out says how long the key's bytes live. */
struct key_item {
    struct bytes key;
    struct key_entry entry;
};
