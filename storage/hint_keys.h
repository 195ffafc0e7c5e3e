/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of a hint that know its keys (FORMAT.md): the key table, in the order of the keys'
 * bytes; for each of its pages the first key, or as much of it as tells it from the one before; a
 * filter (bloom.h). Pure.
 *
 * B1  Of a key the table has the newest record whose transaction is decided, and before it, newest
 *     first, those of transactions that were not decided when the table was made, each with its
 *     producer. Who reads asks what became of them.
 * B2  Keys stand in the form of key_form.h and share their beginnings within a page: a page is read
 *     from its front, and never needs another one.
 * B3  A search reads one page of the filter, those of first keys that a binary search meets, and
 *     one page of keys; two where a key's records are cut by a page's end.
 */
#pragma once

#include "storage/bloom.h"
#include "storage/hint.h"
#include "storage/key_entry.h"
#include "storage/key_form.h"
#include "wire/reader.h"

/* A row of the table. producer_id is that of KEY_UNDECIDED, else -1. */
struct hint_key {
    struct bytes key;
    struct key_entry entry;
    int64_t producer_id;
};

/* ---- writing ---- */

/* A page that is being filled, with keys or with first keys. */
struct hint_key_page {
    uint8_t *page;
    uint32_t size; /* bytes of its payload that are taken */
    uint32_t count;
    uint64_t first; /* number of its first item */
    uint8_t last[KEY_FORM_MAX];
    uint32_t last_size;
};

/* `page`: 4 KiB. The items go on behind those of the page before. */
void hint_key_page_begin(struct hint_key_page *filling, uint8_t *page);
/* False: no room, the page is full. An empty page has room for any row. */
bool hint_key_put(struct hint_key_page *filling, const struct hint_header *header,
                  const struct hint_key *key);
bool hint_index_put(struct hint_key_page *filling, struct bytes key, bool continued);
void hint_key_page_seal(struct hint_key_page *filling, uint32_t number, enum hint_kind kind,
                        uint64_t seed);
/* What tells `key` from the one before it: a beginning of it. */
struct bytes hint_separator(struct bytes before, struct bytes key);
/* Page `number` of the filter's section, out of the filter as it lies in memory. */
void hint_encode_bloom(uint8_t *page, const struct hint_header *header, uint32_t number,
                       const uint8_t *filter, uint64_t seed);

/* ---- reading ---- */

/* Goes over a page whose sum was found right. What is handed out lies in page and cursor. */
struct hint_key_cursor {
    struct reader reader;
    uint32_t left;
    uint32_t key_size;
    uint64_t number; /* of the item that comes next */
    uint8_t memory[KEY_FORM_MAX];
    struct hint_key key;
    bool continued; /* of a first key: the page before ends with the same key */
};

void hint_keys_begin(struct hint_key_cursor *cursor, const uint8_t *page);
/* STATUS_NOT_FOUND: the end of the page. STATUS_MALFORMED: a row that cannot be. */
enum status hint_keys_next(struct hint_key_cursor *cursor, const struct hint_header *header);
enum status hint_index_next(struct hint_key_cursor *cursor);
/* Trailer and sum of a page of any of the three sections, and that it fits the header. */
bool hint_check_key_page(const uint8_t *page, const struct hint_header *header, uint32_t number,
                         uint64_t seed);

/* ---- searching ---- */

enum hint_search_verdict {
    HINT_SEARCH_NEEDS,   /* page `number`; go on with it */
    HINT_SEARCH_ENTRY,   /* `cursor.key` is a row of the key; go on with the same page for more */
    HINT_SEARCH_ABSENT,  /* the key is not in this segment, or that was its last row */
    HINT_SEARCH_KEYLESS, /* the hint has no key table */
    HINT_SEARCH_DAMAGED,
};

struct hint_search {
    struct bytes key; /* in its form, lent */
    uint32_t number;
    enum {
        SEARCH_HEADER,
        SEARCH_FILTER,
        SEARCH_BLOCK,
        SEARCH_INDEX,
        SEARCH_FIRST,
        SEARCH_KEYS,
        SEARCH_WITHIN
    } state;
    struct hint_header header;
    struct hint_layout layout;
    uint32_t low; /* pages of first keys */
    uint32_t high;
    struct bloom_probe probe;
    struct hint_key_cursor cursor;
};

/* Begins with the need of page 0. */
void hint_search_begin(struct hint_search *search, struct bytes key);
/* `page` is page `number`, and its sum was right: of page 0 hint_decode_header() said so, of others
 * hint_check_key_page(). */
enum hint_search_verdict hint_search_step(struct hint_search *search, const uint8_t *page);
