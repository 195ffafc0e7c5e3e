/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of operations on a memtable against a model that is a plain array.
 *
 *   byte 0  shards and lock policy      byte 1  filters
 *   then operations: code, key (size byte, bytes), offset byte
 *
 * Keys are up to 11 bytes of the input itself, some behind a long common beginning.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/heap.h"
#include "storage/memtable.h"
#include "tests/fuzz/fuzz.h"

#define KEYS_MAX 256
#define KEY_SIZE_MAX 48

struct model_key {
    uint8_t data[KEY_SIZE_MAX];
    size_t size;
    bool there;
    bool known; /* the table has heard of it since the last release */
    int64_t offset;
};

struct input {
    const uint8_t *at;
    size_t left;
};

struct state {
    struct memtable *memtable;
    struct model_key keys[KEYS_MAX]; /* in order */
    size_t count;
    /* As of the snapshot that is out. */
    struct model_key frozen[KEYS_MAX];
    size_t frozen_count;
    bool snapshot;
    size_t flushed; /* index in frozen */
};

struct check_sink {
    struct key_sink sink;
    struct state *state;
};

static uint8_t take(struct input *input)
{
    if (input->left == 0) {
        return 0;
    }
    input->left -= 1;
    return *input->at++;
}

static struct bytes take_key(struct input *input, uint8_t memory[KEY_SIZE_MAX])
{
    uint8_t shape = take(input);
    size_t size = 0;
    if ((shape & 0x80) != 0) {
        size = 8 + (shape >> 4 & 7) * 4;
        memset(memory, 'p', size);
    }
    for (int i = shape % 12; i > 0; i--) {
        memory[size++] = take(input);
    }
    return bytes_of(memory, size);
}

/* Its place in order; a new one is made when there is room and `make`. NULL otherwise. */
static struct model_key *model_find(struct state *state, struct bytes key, bool make)
{
    size_t at = 0;
    while (at < state->count &&
           bytes_compare(bytes_of(state->keys[at].data, state->keys[at].size), key) < 0) {
        at += 1;
    }
    struct model_key *found = &state->keys[at];
    if (at < state->count && bytes_equal(bytes_of(found->data, found->size), key)) {
        return found;
    }
    if (!make || state->count == KEYS_MAX) {
        return NULL;
    }
    memmove(found + 1, found, (state->count - at) * sizeof(*found));
    *found = (struct model_key){.size = key.size};
    memcpy(found->data, key.data, key.size);
    state->count += 1;
    return found;
}

static void op_put(struct state *state, struct bytes key, int64_t offset)
{
    struct model_key *model = model_find(state, key, true);
    if (model == NULL) {
        return;
    }
    struct key_item item = {key, {.offset = offset}};
    uint32_t taken;
    check(memtable_put(state->memtable, &item, 1, &taken) == STATUS_OK);
    if (!model->known || offset >= model->offset) {
        model->known = true;
        model->there = true;
        model->offset = offset;
    }
}

static void op_remove(struct state *state, struct bytes key, int64_t offset)
{
    check(memtable_remove(state->memtable, key, offset) == STATUS_OK);
    struct model_key *model = model_find(state, key, false);
    if (model != NULL && model->there && offset >= model->offset) {
        model->there = false;
        model->offset = offset;
    }
}

static void op_get(struct state *state, struct bytes key)
{
    struct key_entry entry;
    const struct model_key *model = model_find(state, key, false);
    bool found = memtable_get(state->memtable, key, &entry);
    check(found == (model != NULL && model->there));
    check(!found || entry.offset == model->offset);
}

static void op_scan(struct state *state, struct bytes begin, uint8_t hint)
{
    struct memtable_scan_options options = {.begin = begin, .count_hint = hint};
    struct memtable_scan *scan = memtable_scan_open(state->memtable, &options);
    check(scan != NULL);
    struct key_item item;
    for (size_t i = 0; i < state->count; i++) {
        struct bytes key = bytes_of(state->keys[i].data, state->keys[i].size);
        if (state->keys[i].there && bytes_compare(key, begin) >= 0) {
            check(memtable_scan_next(scan, &item));
            check(bytes_equal(item.key, key));
            check(item.entry.offset == state->keys[i].offset);
        }
    }
    check(!memtable_scan_next(scan, &item));
    memtable_scan_close(scan);
}

/* What is there comes in order; marks of removed keys may come between. */
static enum status check_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct state *state = CONTAINER_OF(sink, struct check_sink, sink)->state;
    for (uint32_t i = 0; i < count; i++) {
        if ((items[i].entry.flags & KEY_REMOVED) != 0) {
            continue;
        }
        while (state->flushed < state->frozen_count && !state->frozen[state->flushed].there) {
            state->flushed += 1;
        }
        check(state->flushed < state->frozen_count);
        const struct model_key *key = &state->frozen[state->flushed];
        check(bytes_equal(items[i].key, bytes_of(key->data, key->size)));
        check(items[i].entry.offset == key->offset);
        state->flushed += 1;
    }
    return STATUS_OK;
}

static void op_snapshot(struct state *state)
{
    enum status status = memtable_snapshot(state->memtable);
    check(status == (state->snapshot ? STATUS_PENDING : STATUS_OK));
    if (status == STATUS_OK) {
        memcpy(state->frozen, state->keys, sizeof(state->keys));
        state->frozen_count = state->count;
        state->snapshot = true;
    }
}

/* Flushes the snapshot, then all that came since, so that the model may begin anew. */
static void op_flush(struct state *state)
{
    struct check_sink sink = {.sink = {.take = check_take}, .state = state};
    if (!state->snapshot) {
        return;
    }
    state->flushed = 0;
    enum status status;
    do {
        status = memtable_flush(state->memtable, &sink.sink, 3);
    } while (status == STATUS_PENDING);
    check(status == STATUS_OK);
    while (state->flushed < state->frozen_count) {
        check(!state->frozen[state->flushed].there);
        state->flushed += 1;
    }
    check(memtable_release(state->memtable) == STATUS_OK);
    check(memtable_snapshot(state->memtable) == STATUS_OK);
    check(memtable_release(state->memtable) == STATUS_OK);
    state->snapshot = false;
    state->count = 0;
}

static void step(struct state *state, struct input *input)
{
    uint8_t memory[KEY_SIZE_MAX];
    uint8_t code = take(input);
    if (code % 16 == 15) {
        op_snapshot(state);
        return;
    }
    if (code % 16 == 14) {
        op_flush(state);
        return;
    }
    struct bytes key = take_key(input, memory);
    if (code % 16 < 8) {
        op_put(state, key, take(input));
    } else if (code % 16 < 11) {
        op_remove(state, key, take(input));
    } else if (code % 16 < 13) {
        op_get(state, key);
    } else {
        op_scan(state, key, take(input));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size < 4096 ? size : 4096};
    struct heap heap;
    heap_init(&heap, UINT64_C(1) << 26);
    uint8_t form = take(&input);
    struct state *state = calloc(1, sizeof(*state));
    check(state != NULL);
    state->memtable = memtable_open(&(struct memtable_options){
        .heap = &heap,
        .shard_count = 1 + (form & 7),
        .locks = (enum memtable_locks)((form >> 4) % 3),
        .hash_seed = form,
        .size_max = UINT64_C(1) << 26,
        .bloom_rate = take(&input) % 2 == 0 ? 0 : 0.1,
        .bloom_count = 16,
    });
    check(state->memtable != NULL);
    while (input.left > 0) {
        step(state, &input);
    }
    op_scan(state, BYTES_LITERAL(""), 0);
    memtable_close(state->memtable);
    heap_deinit(&heap);
    free(state);
    return 0;
}
