/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/walk.h"

#include <string.h>

#include "base/check.h"
#include "storage/segment.h"
#include "wire/crc32c.h"

#define BATCH_CRC_FROM 21 /* the CRC covers attributes to the end */

static void walk_deliver(struct walk *walk)
{
    if (walk->has_pending) {
        walk->has_pending = false;
        walk->batch(walk, &walk->pending);
    }
}

static void walk_open_damage(struct walk *walk, const char *what, int64_t position, int64_t offset)
{
    walk_deliver(walk);
    if (walk->open.what == NULL) {
        walk->open =
            (struct walk_damage){.what = what, .position_from = position, .offset_from = offset};
    }
}

static void walk_close_damage(struct walk *walk, int64_t position, int64_t offset)
{
    if (walk->open.what != NULL) {
        struct walk_damage damage = walk->open;
        damage.position_until = position;
        damage.offset_until = offset;
        walk->open.what = NULL;
        walk->damage(walk, &damage);
    }
}

/* W3: the batch before this one left a gap that this one contradicts. */
static void walk_reconsider(struct walk *walk, const struct batch_header *header)
{
    const struct walk_batch *pending = &walk->pending;
    if (walk->has_pending && pending->header.base_offset > pending->offset_before &&
        header->base_offset < walk->offset && header->base_offset >= pending->offset_before) {
        walk->has_pending = false;
        walk->offset = pending->offset_before;
        walk_open_damage(walk, "base offset contradicts the next batch", pending->position,
                         pending->offset_before);
    }
}

/* W3: what ends the log does so by a gap, which the next batch may contradict. */
static bool walk_is_doubtful(const struct walk *walk)
{
    return walk->has_pending && walk->pending.header.base_offset > walk->pending.offset_before;
}

static const char *walk_judge_header(struct walk *walk)
{
    struct walk_batch *current = &walk->current;
    batch_header_decode(&current->header, current->head);
    current->size = batch_size_of(current->head);
    if (!segment_header_is_sane(&current->header)) {
        return "no batch header";
    }
    if (current->position + current->size > walk->size) {
        return "batch ends behind the log";
    }
    return NULL;
}

static void walk_header_done(struct walk *walk)
{
    struct walk_batch *current = &walk->current;
    const char *what = walk_judge_header(walk);
    if (what != NULL && walk->offset >= walk->offset_until) {
        walk->state = WALK_DONE; /* nothing contradicts */
        return;
    }
    if (what != NULL) {
        walk_open_damage(walk, what, current->position, walk->offset);
        walk->end = walk->open.position_from;
        walk->state = WALK_LOST;
        return;
    }
    walk->crc = crc32c(0, current->head + BATCH_CRC_FROM, BATCH_HEADER_SIZE - BATCH_CRC_FROM);
    walk->left = current->size - BATCH_HEADER_SIZE;
    walk->state = WALK_BODY;
}

static void walk_batch_done(struct walk *walk)
{
    struct walk_batch *current = &walk->current;
    const struct batch_header *header = &current->header;
    walk->state = WALK_HEADER;
    walk->head_size = 0;
    walk->end = current->position + current->size;
    bool whole = walk->crc == header->crc;
    if (whole) {
        walk_reconsider(walk, header);
    }
    if (!whole) {
        walk_open_damage(walk, "batch fails its CRC", current->position, walk->offset);
        return;
    }
    if (header->base_offset < walk->offset || batch_last_offset(header) >= walk->offset_until) {
        walk_open_damage(walk, "offsets do not follow", current->position, walk->offset);
        return;
    }
    walk_deliver(walk);
    walk_close_damage(walk, current->position, header->base_offset);
    current->offset_before = walk->offset;
    walk->pending = *current;
    walk->has_pending = true;
    walk->offset = batch_last_offset(header) + 1;
}

static size_t walk_take_header(struct walk *walk, const uint8_t *data, size_t size)
{
    if (walk->head_size == 0) {
        if (walk->offset >= walk->offset_until && !walk_is_doubtful(walk)) {
            walk->state = WALK_DONE; /* space taken ahead may follow */
            return 0;
        }
        walk->current.position = walk->position;
    }
    size_t part = BATCH_HEADER_SIZE - walk->head_size;
    part = part < size ? part : size;
    memcpy(walk->current.head + walk->head_size, data, part);
    walk->head_size += part;
    if (walk->head_size == BATCH_HEADER_SIZE) {
        walk_header_done(walk);
    }
    return part;
}

static size_t walk_take_body(struct walk *walk, const uint8_t *data, size_t size)
{
    size_t part = (int64_t)size < walk->left ? size : (size_t)walk->left;
    size_t kept = WALK_HEAD_SIZE - walk->head_size;
    kept = kept < part ? kept : part;
    memcpy(walk->current.head + walk->head_size, data, kept);
    walk->head_size += kept;
    walk->crc = crc32c(walk->crc, data, part);
    walk->left -= (int64_t)part;
    return part;
}

void walk_feed(struct walk *walk, const uint8_t *data, size_t size)
{
    if (walk->position + (int64_t)size > walk->size) {
        size = walk->size > walk->position ? (size_t)(walk->size - walk->position) : 0;
    }
    while (size > 0 && walk->state != WALK_DONE) {
        size_t part = size;
        if (walk->state == WALK_HEADER) {
            part = walk_take_header(walk, data, size);
        } else if (walk->state == WALK_BODY) {
            part = walk_take_body(walk, data, size);
        }
        data += part;
        size -= part;
        walk->position += (int64_t)part;
        if (walk->state == WALK_DONE && part > 0) {
            walk->position = walk->current.position; /* that was no batch */
        }
        if (walk->state == WALK_BODY && walk->left == 0) {
            walk_batch_done(walk);
        }
    }
}

void walk_end(struct walk *walk)
{
    bool inside = walk->head_size > 0 && walk->offset < walk->offset_until;
    if (walk->state != WALK_LOST && walk->state != WALK_DONE && inside) {
        walk_open_damage(walk, "log ends inside a batch", walk->current.position, walk->offset);
    } else if (walk->state == WALK_HEADER && walk->position < walk->size) {
        walk_open_damage(walk, "log is shorter than it was", walk->position, walk->offset);
    }
    walk_deliver(walk);
    if (walk->open.what != NULL) {
        int64_t until = walk->offset_until == INT64_MAX ? walk->offset : walk->offset_until;
        walk->end = walk->open.position_from;
        walk_close_damage(walk, walk->size, until);
    }
}
