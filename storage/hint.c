/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hint.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hint files are little-endian");
_Static_assert(HINT_PAGE_PAYLOAD + sizeof(struct hint_trailer) == HINT_PAGE_SIZE, "a page is full");
_Static_assert(HINT_PAGE_ROWS * sizeof(struct block_row) == HINT_PAGE_PAYLOAD, "rows fill a page");
_Static_assert(sizeof(struct producers_aborted) == sizeof(struct block_row), "as many as rows");

#define HINT_SUMMED_SIZE (HINT_PAGE_SIZE - 8)

struct hint_identity hint_identity_of(const struct uuid *topic_id, int32_t index,
                                      int64_t base_offset)
{
    return (struct hint_identity){
        .topic_id = *topic_id,
        .index = index,
        .base_offset = base_offset,
        .seed = segment_seed_of(topic_id, index, base_offset, HINT_SEED_NUMBER),
    };
}

static uint32_t pages_for(uint32_t count)
{
    return (count + HINT_PAGE_ROWS - 1) / HINT_PAGE_ROWS;
}

struct hint_layout hint_layout_of(const struct hint_header *header)
{
    struct hint_layout layout = {.rows = 1};
    layout.aborted = layout.rows + pages_for(header->row_count);
    layout.keys = layout.aborted + pages_for(header->aborted_count);
    layout.index = layout.keys + header->key_page_count;
    layout.bloom = layout.index + header->index_page_count;
    layout.end = layout.bloom + header->bloom_page_count;
    return layout;
}

void hint_page_seal(uint8_t *page, const struct hint_trailer *trailer, uint64_t seed)
{
    struct hint_trailer sealed = *trailer;
    sealed.magic = HINT_MAGIC;
    memcpy(page + HINT_PAGE_PAYLOAD, &sealed, sizeof(sealed));
    sealed.checksum = hash_bytes(bytes_of(page, HINT_SUMMED_SIZE), seed);
    memcpy(page + HINT_PAGE_PAYLOAD, &sealed, sizeof(sealed));
}

bool hint_page_open(const uint8_t *page, uint32_t number, enum hint_kind kind, uint64_t seed,
                    struct hint_trailer *trailer)
{
    memcpy(trailer, page + HINT_PAGE_PAYLOAD, sizeof(*trailer));
    return trailer->magic == HINT_MAGIC && trailer->page == number && trailer->kind == kind &&
           trailer->checksum == hash_bytes(bytes_of(page, HINT_SUMMED_SIZE), seed);
}

void hint_encode_header(uint8_t *page, const struct hint_header *header, uint64_t seed)
{
    memset(page, 0, HINT_PAGE_SIZE);
    memcpy(page, header, sizeof(*header));
    hint_page_seal(page, &(struct hint_trailer){.kind = HINT_HEADER}, seed);
}

/* No key table, one without keys, or all three sections of one. */
static bool header_keys_are_sane(const struct hint_header *header)
{
    if ((header->flags & HINT_KEYED) == 0 || header->key_count == 0) {
        return header->key_count == 0 && header->key_page_count == 0 &&
               header->index_page_count == 0 && header->bloom_page_count == 0 &&
               header->bloom_size == 0;
    }
    return header->key_page_count > 0 && header->key_page_count < HINT_PAGES_MAX &&
           header->key_count >= header->key_page_count && header->index_page_count > 0 &&
           header->index_page_count <= header->key_page_count && header->bloom_size > 0 &&
           header->bloom_page_count < HINT_PAGES_MAX &&
           header->bloom_page_count ==
               (header->bloom_size + HINT_BLOOM_PAYLOAD - 1) / HINT_BLOOM_PAYLOAD;
}

/* What a valid header may say, so that nobody computes with nonsense. */
static bool header_is_sane(const struct hint_header *header)
{
    return header->end_offset >= header->base_offset && header->log_size >= 0 &&
           header->log_size <= SEGMENT_SIZE_LIMIT &&
           header->row_count == (uint64_t)(header->log_size + BLOCK_SIZE - 1) / BLOCK_SIZE &&
           header->stable_offset >= 0 && header->stable_offset <= header->end_offset &&
           (uint64_t)header->aborted_count <=
               (uint64_t)(header->end_offset - header->base_offset) &&
           header->aborted_count < HINT_PAGES_MAX && header_keys_are_sane(header);
}

bool hint_decode_header(const uint8_t *page, const struct hint_identity *identity,
                        struct hint_header *header)
{
    struct hint_trailer trailer;
    memcpy(header, page, sizeof(*header));
    return header->magic == HINT_MAGIC && header->version == HINT_VERSION &&
           hint_page_open(page, 0, HINT_HEADER, identity->seed, &trailer) &&
           uuid_equal(&header->topic_id, &identity->topic_id) && header->index == identity->index &&
           header->base_offset == identity->base_offset && header_is_sane(header);
}

/* First item of a page, and how many there are in it. */
static uint32_t page_items(uint32_t number, uint32_t section, uint32_t count, uint32_t *first)
{
    check(number >= section);
    *first = (number - section) * HINT_PAGE_ROWS;
    check(*first < count);
    return count - *first < HINT_PAGE_ROWS ? count - *first : HINT_PAGE_ROWS;
}

static void encode_items(uint8_t *page, struct hint_trailer trailer, const void *items,
                         uint64_t seed)
{
    memset(page, 0, HINT_PAGE_SIZE);
    memcpy(page, items, trailer.count * sizeof(struct block_row));
    hint_page_seal(page, &trailer, seed);
}

void hint_encode_rows(uint8_t *page, const struct hint_header *header, uint32_t number,
                      const struct block_row *rows, uint64_t seed)
{
    uint32_t first;
    uint32_t count = page_items(number, 1, header->row_count, &first);
    encode_items(page,
                 (struct hint_trailer){
                     .page = number, .kind = HINT_ROWS, .count = (uint16_t)count, .first = first},
                 &rows[first], seed);
}

/* A row may name no batch that does not start in its block and its segment. */
static bool row_is_sane(const struct block_row *row, uint32_t number,
                        const struct hint_header *header)
{
    return row->position == ROW_NONE ||
           (row->position / (uint32_t)BLOCK_SIZE == number && row->position < header->log_size &&
            row->base_offset >= header->base_offset && row->base_offset < header->end_offset);
}

bool hint_decode_rows(const uint8_t *page, const struct hint_header *header, uint32_t number,
                      struct block_row *rows, uint64_t seed)
{
    struct hint_trailer trailer;
    uint32_t first;
    uint32_t count = page_items(number, 1, header->row_count, &first);
    if (!hint_page_open(page, number, HINT_ROWS, seed, &trailer) || trailer.count != count ||
        trailer.first != first) {
        return false;
    }
    memcpy(&rows[first], page, count * sizeof(rows[0]));
    for (uint32_t i = first; i < first + count; i++) {
        if (!row_is_sane(&rows[i], i, header)) {
            return false;
        }
    }
    return true;
}

void hint_encode_aborted(uint8_t *page, const struct hint_header *header, uint32_t number,
                         const struct producers_aborted *aborted, uint64_t seed)
{
    uint32_t first;
    uint32_t count =
        page_items(number, hint_layout_of(header).aborted, header->aborted_count, &first);
    encode_items(
        page,
        (struct hint_trailer){
            .page = number, .kind = HINT_ABORTED, .count = (uint16_t)count, .first = first},
        &aborted[first], seed);
}

int32_t hint_decode_aborted(const uint8_t *page, const struct hint_header *header, uint32_t number,
                            struct producers_aborted *aborted, uint64_t seed)
{
    struct hint_trailer trailer;
    uint32_t first;
    uint32_t count =
        page_items(number, hint_layout_of(header).aborted, header->aborted_count, &first);
    if (!hint_page_open(page, number, HINT_ABORTED, seed, &trailer) || trailer.count != count ||
        trailer.first != first) {
        return -1;
    }
    memcpy(aborted, page, count * sizeof(aborted[0]));
    for (uint32_t i = 0; i < count; i++) {
        if (aborted[i].first_offset < 0 || aborted[i].last_offset < aborted[i].first_offset ||
            aborted[i].last_offset < header->base_offset ||
            aborted[i].last_offset >= header->end_offset) {
            return -1;
        }
    }
    return (int32_t)count;
}
