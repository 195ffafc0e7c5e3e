/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a key stands in memtables and key tables: whole up to 1 KiB, so that a page of a table holds
 * three at least; of a longer one its first 1 KiB and 128 bits of hash (XXH3-64 with two seeds,
 * big-endian). A stored key of 1040 bytes is therefore always a long one.
 *
 * Two long keys of one form are one key here. By chance that does not happen; who may not be
 * deceived by a peer that searches for such a pair compares with the record in the log.
 */
#pragma once

#include "base/bytes.h"

#define KEY_WHOLE_MAX 1024
#define KEY_FORM_MAX (KEY_WHOLE_MAX + 16)

/* `memory`, of KEY_FORM_MAX bytes, is used for long keys alone. */
struct bytes key_form(struct bytes key, uint8_t *memory);
