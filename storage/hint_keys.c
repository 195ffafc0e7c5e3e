/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hint_keys.h"

#include "base/check.h"
#include "storage/key_order.h"
#include "wire/writer.h"

#define INDEX_CONTINUED 1U
#define ROW_FLAGS (KEY_TOMBSTONE | KEY_UNDECIDED)
/* Two sizes, flags, offset, timestamp, position, size, producer. */
#define ROW_SIZE_MAX (KEY_FORM_MAX + 2 * 5 + 1 + 10 + 10 + 5 + 5 + 10)

_Static_assert(ROW_SIZE_MAX < HINT_PAGE_PAYLOAD, "an empty page has room for any row");
_Static_assert(HINT_BLOOM_PAYLOAD % BLOOM_BLOCK_SIZE == 0,
               "a block of the filter lies in one page");
_Static_assert(BLOOM_HEADER_SIZE % BLOOM_BLOCK_SIZE == 0, "blocks stay aligned behind the header");

/* ---- writing ---- */

void hint_key_page_begin(struct hint_key_page *filling, uint8_t *page)
{
    memset(page, 0, HINT_PAGE_SIZE);
    filling->page = page;
    filling->first += filling->count;
    filling->size = filling->count = filling->last_size = 0;
}

static uint8_t *put_varint(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put_signed(uint8_t *to, int64_t value)
{
    return put_varint(to, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

/* Differences wrap, so that no value is out of reach. */
static int64_t difference(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* The key behind what it shares with the last one; answers where the row goes on. */
static uint8_t *put_key(const struct hint_key_page *filling, uint8_t *to, struct bytes key)
{
    check(key.size <= KEY_FORM_MAX);
    size_t shared = key_common(bytes_of(filling->last, filling->last_size), key);
    to = put_varint(to, shared);
    to = put_varint(to, key.size - shared);
    if (key.size > shared) {
        memcpy(to, key.data + shared, key.size - shared);
    }
    return to + (key.size - shared);
}

static bool page_take(struct hint_key_page *filling, const uint8_t *row, size_t size,
                      struct bytes key)
{
    if (size > HINT_PAGE_PAYLOAD - filling->size) {
        return false;
    }
    memcpy(filling->page + filling->size, row, size);
    filling->size += (uint32_t)size;
    filling->count += 1;
    if (key.size > 0) {
        memcpy(filling->last, key.data, key.size);
    }
    filling->last_size = (uint32_t)key.size;
    return true;
}

bool hint_key_put(struct hint_key_page *filling, const struct hint_header *header,
                  const struct hint_key *key)
{
    uint8_t row[ROW_SIZE_MAX];
    const struct key_entry *entry = &key->entry;
    check((entry->flags & ~ROW_FLAGS) == 0);
    uint8_t *to = put_key(filling, row, key->key);
    *to++ = (uint8_t)entry->flags;
    to = put_varint(to, (uint64_t)difference(entry->offset, header->base_offset));
    to = put_signed(to, difference(entry->timestamp, header->timestamp_first));
    to = put_varint(to, entry->position);
    to = put_varint(to, entry->size);
    if ((entry->flags & KEY_UNDECIDED) != 0) {
        to = put_varint(to, (uint64_t)key->producer_id);
    }
    return page_take(filling, row, (size_t)(to - row), key->key);
}

bool hint_index_put(struct hint_key_page *filling, struct bytes key, bool continued)
{
    uint8_t row[ROW_SIZE_MAX];
    uint8_t *to = put_key(filling, row, key);
    *to++ = continued ? INDEX_CONTINUED : 0;
    return page_take(filling, row, (size_t)(to - row), key);
}

void hint_key_page_seal(struct hint_key_page *filling, uint32_t number, enum hint_kind kind,
                        uint64_t seed)
{
    check(filling->count > 0);
    hint_page_seal(filling->page,
                   &(struct hint_trailer){.page = number,
                                          .kind = (uint16_t)kind,
                                          .count = (uint16_t)filling->count,
                                          .first = filling->first},
                   seed);
}

struct bytes hint_separator(struct bytes before, struct bytes key)
{
    size_t common = key_common(before, key);
    return bytes_of(key.data, common < key.size ? common + 1 : common);
}

void hint_encode_bloom(uint8_t *page, const struct hint_header *header, uint32_t number,
                       const uint8_t *filter, uint64_t seed)
{
    uint64_t first = (uint64_t)(number - hint_layout_of(header).bloom) * HINT_BLOOM_PAYLOAD;
    check(first < header->bloom_size);
    uint64_t left = header->bloom_size - first;
    size_t size = left < HINT_BLOOM_PAYLOAD ? (size_t)left : HINT_BLOOM_PAYLOAD;
    memset(page, 0, HINT_PAGE_SIZE);
    memcpy(page, filter + first, size);
    hint_page_seal(page,
                   &(struct hint_trailer){
                       .page = number, .kind = HINT_BLOOM, .count = (uint16_t)size, .first = first},
                   seed);
}

/* ---- reading ---- */

void hint_keys_begin(struct hint_key_cursor *cursor, const uint8_t *page)
{
    struct hint_trailer trailer;
    memcpy(&trailer, page + HINT_PAGE_PAYLOAD, sizeof(trailer));
    reader_init(&cursor->reader, bytes_of(page, HINT_PAGE_PAYLOAD));
    cursor->left = trailer.count;
    cursor->number = trailer.first;
    cursor->key_size = 0;
}

/* The next row's key into the cursor; `order` tells how it follows the one before. */
static enum status cursor_key(struct hint_key_cursor *cursor, int *order)
{
    if (cursor->left == 0) {
        return STATUS_NOT_FOUND;
    }
    struct reader *reader = &cursor->reader;
    size_t shared = reader_uvarint(reader);
    size_t rest = reader_uvarint(reader);
    const uint8_t *data = rest > KEY_FORM_MAX ? NULL : reader_take(reader, rest);
    if (data == NULL || reader->status != STATUS_OK || shared > cursor->key_size ||
        shared + rest > KEY_FORM_MAX) {
        return STATUS_MALFORMED;
    }
    struct bytes tail = {data, rest};
    *order = bytes_compare(tail, bytes_of(cursor->memory + shared, cursor->key_size - shared));
    if (rest > 0) {
        memcpy(cursor->memory + shared, data, rest);
    }
    cursor->key_size = (uint32_t)(shared + rest);
    cursor->key.key = bytes_of(cursor->memory, cursor->key_size);
    return STATUS_OK;
}

static bool row_is_sane(const struct hint_key *key, const struct hint_header *header)
{
    const struct key_entry *entry = &key->entry;
    return (entry->flags & ~ROW_FLAGS) == 0 && entry->offset >= header->base_offset &&
           entry->offset < header->end_offset && key->producer_id >= -1 &&
           (int64_t)entry->position + (int64_t)entry->size <= header->log_size;
}

enum status hint_keys_next(struct hint_key_cursor *cursor, const struct hint_header *header)
{
    int order;
    bool begins = cursor->reader.cursor == cursor->reader.limit - HINT_PAGE_PAYLOAD;
    enum status status = cursor_key(cursor, &order);
    if (status != STATUS_OK) {
        return status;
    }
    struct reader *reader = &cursor->reader;
    struct hint_key *key = &cursor->key;
    int64_t offset = begins ? INT64_MAX : key->entry.offset;
    key->entry.flags = (uint8_t)reader_i8(reader);
    key->entry.offset = (int64_t)((uint64_t)header->base_offset + reader_uvarlong(reader));
    key->entry.timestamp =
        (int64_t)((uint64_t)header->timestamp_first + (uint64_t)reader_varlong(reader));
    key->entry.position = reader_uvarint(reader);
    key->entry.size = reader_uvarint(reader);
    key->producer_id = -1;
    if ((key->entry.flags & KEY_UNDECIDED) != 0) {
        key->producer_id = (int64_t)reader_uvarlong(reader);
    }
    cursor->left -= 1;
    cursor->number += 1;
    bool follows = begins || order > 0 || (order == 0 && key->entry.offset < offset);
    return reader->status == STATUS_OK && follows && row_is_sane(key, header) ? STATUS_OK
                                                                              : STATUS_MALFORMED;
}

enum status hint_index_next(struct hint_key_cursor *cursor)
{
    int order;
    bool begins = cursor->reader.cursor == cursor->reader.limit - HINT_PAGE_PAYLOAD;
    enum status status = cursor_key(cursor, &order);
    if (status != STATUS_OK) {
        return status;
    }
    uint8_t flags = (uint8_t)reader_i8(&cursor->reader);
    cursor->left -= 1;
    cursor->number += 1;
    cursor->continued = flags == INDEX_CONTINUED;
    bool follows = begins || order > 0 || (order == 0 && cursor->continued);
    return cursor->reader.status == STATUS_OK && follows && flags <= INDEX_CONTINUED
               ? STATUS_OK
               : STATUS_MALFORMED;
}

bool hint_check_key_page(const uint8_t *page, const struct hint_header *header, uint32_t number,
                         uint64_t seed)
{
    struct hint_layout layout = hint_layout_of(header);
    check(number >= layout.keys && number < layout.end);
    struct hint_trailer trailer;
    if (number < layout.index) {
        return hint_page_open(page, number, HINT_KEYS, seed, &trailer) && trailer.count > 0 &&
               trailer.first < header->key_count &&
               trailer.count <= header->key_count - trailer.first;
    }
    if (number < layout.bloom) {
        return hint_page_open(page, number, HINT_INDEX, seed, &trailer) && trailer.count > 0 &&
               trailer.first < header->key_page_count &&
               trailer.count <= header->key_page_count - trailer.first;
    }
    uint64_t first = (uint64_t)(number - layout.bloom) * HINT_BLOOM_PAYLOAD;
    uint64_t left = header->bloom_size - first;
    return hint_page_open(page, number, HINT_BLOOM, seed, &trailer) && trailer.first == first &&
           trailer.count == (left < HINT_BLOOM_PAYLOAD ? left : HINT_BLOOM_PAYLOAD);
}

/* ---- searching ---- */

void hint_search_begin(struct hint_search *search, struct bytes key)
{
    search->key = key;
    search->number = 0;
    search->state = SEARCH_HEADER;
}

static enum hint_search_verdict search_needs(struct hint_search *search, uint32_t number)
{
    search->number = number;
    return HINT_SEARCH_NEEDS;
}

static enum hint_search_verdict search_header(struct hint_search *search, const uint8_t *page)
{
    memcpy(&search->header, page, sizeof(search->header));
    search->layout = hint_layout_of(&search->header);
    if ((search->header.flags & HINT_KEYED) == 0) {
        return HINT_SEARCH_KEYLESS;
    }
    if (search->header.key_count == 0) {
        return HINT_SEARCH_ABSENT;
    }
    search->state = SEARCH_FILTER;
    return search_needs(search, search->layout.bloom);
}

static enum hint_search_verdict search_filter(struct hint_search *search, const uint8_t *page)
{
    if (bloom_probe_open(&search->probe, page, search->header.bloom_size, search->key) !=
        STATUS_OK) {
        return HINT_SEARCH_DAMAGED;
    }
    search->state = SEARCH_BLOCK;
    return search_needs(search, search->layout.bloom +
                                    (uint32_t)(search->probe.position / HINT_BLOOM_PAYLOAD));
}

/* The page of first keys in the middle of those that are left; the last one below them when none
 * is. */
static enum hint_search_verdict search_middle(struct hint_search *search)
{
    if (search->low < search->high) {
        search->state = SEARCH_INDEX;
        return search_needs(search,
                            search->layout.index + search->low + (search->high - search->low) / 2);
    }
    if (search->low == 0) {
        return HINT_SEARCH_ABSENT; /* before the first key of all */
    }
    search->state = SEARCH_FIRST;
    return search_needs(search, search->layout.index + search->low - 1);
}

static enum hint_search_verdict search_block(struct hint_search *search, const uint8_t *page)
{
    if (!bloom_probe_has(&search->probe, page + search->probe.position % HINT_BLOOM_PAYLOAD)) {
        return HINT_SEARCH_ABSENT;
    }
    search->low = 0;
    search->high = search->header.index_page_count;
    return search_middle(search);
}

/* Whether the key's first row lies in the page of this first key, or behind it. */
static bool search_is_behind(const struct hint_search *search)
{
    int order = bytes_compare(search->cursor.key.key, search->key);
    return order < 0 || (order == 0 && !search->cursor.continued);
}

static enum hint_search_verdict search_index(struct hint_search *search, const uint8_t *page)
{
    uint32_t middle = search->number - search->layout.index;
    hint_keys_begin(&search->cursor, page);
    if (hint_index_next(&search->cursor) != STATUS_OK) {
        return HINT_SEARCH_DAMAGED;
    }
    if (search_is_behind(search)) {
        search->low = middle + 1;
    } else {
        search->high = middle;
    }
    return search_middle(search);
}

static enum hint_search_verdict search_first(struct hint_search *search, const uint8_t *page)
{
    struct hint_key_cursor *cursor = &search->cursor;
    hint_keys_begin(cursor, page);
    uint64_t number = cursor->number;
    enum status status;
    while ((status = hint_index_next(cursor)) == STATUS_OK && search_is_behind(search)) {
        number = cursor->number;
    }
    if ((status != STATUS_OK && status != STATUS_NOT_FOUND) || number == 0 ||
        number > search->header.key_page_count) {
        return HINT_SEARCH_DAMAGED;
    }
    search->state = SEARCH_KEYS;
    return search_needs(search, search->layout.keys + (uint32_t)number - 1);
}

static enum hint_search_verdict search_keys(struct hint_search *search)
{
    struct hint_key_cursor *cursor = &search->cursor;
    search->state = SEARCH_WITHIN;
    int order = -1;
    enum status status;
    while ((status = hint_keys_next(cursor, &search->header)) == STATUS_OK) {
        order = bytes_compare(cursor->key.key, search->key);
        if (order == 0) {
            return HINT_SEARCH_ENTRY;
        }
        if (order > 0) {
            return HINT_SEARCH_ABSENT;
        }
    }
    if (status != STATUS_NOT_FOUND) {
        return HINT_SEARCH_DAMAGED;
    }
    bool ends_with_it = bytes_equal(cursor->key.key, search->key);
    if (!ends_with_it || search->number + 1 == search->layout.index) {
        return HINT_SEARCH_ABSENT;
    }
    search->state = SEARCH_KEYS;
    return search_needs(search, search->number + 1);
}

enum hint_search_verdict hint_search_step(struct hint_search *search, const uint8_t *page)
{
    switch (search->state) {
    case SEARCH_HEADER:
        return search_header(search, page);
    case SEARCH_FILTER:
        return search_filter(search, page);
    case SEARCH_BLOCK:
        return search_block(search, page);
    case SEARCH_INDEX:
        return search_index(search, page);
    case SEARCH_FIRST:
        return search_first(search, page);
    case SEARCH_KEYS:
        hint_keys_begin(&search->cursor, page);
        return search_keys(search);
    case SEARCH_WITHIN:
        return search_keys(search);
    }
    unreachable();
}
