/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_source.h"

#include "base/check.h"
#include "storage/sort.h"

/* Sorted in about 0.1 ms. */
#define CHUNK_KEYS 512
#define CHUNKS_ROOM_FIRST 8

/* Undecided keys, sorted. The keys' bytes are the index's. */
struct chunk {
    uint32_t count;
    struct hint_key keys[CHUNK_KEYS];
};

struct source_run {
    struct merge_run run;
    struct key_source *source;
    /* of the memtable */
    struct key_item item;
    struct hint_key key;
    /* of a chunk */
    const struct chunk *chunk;
    uint32_t next;
    /* of the disk */
    struct key_run rest; /* pages not read yet */
    uint8_t *memory;     /* KEY_RUN_SIZE */
    uint32_t page;       /* number of the first page in memory */
    uint32_t page_count; /* in memory; 0: to be read */
    uint32_t at;         /* page the cursor is in */
    bool within;         /* the cursor is in it */
    struct hint_key_cursor cursor;
};

struct key_source {
    struct heap *heap;
    const struct keyed *keyed;
    struct memtable_scan *scan;
    struct keyed_cursor undecided;
    struct chunk **chunks;
    uint32_t chunk_count;
    uint32_t chunk_room;
    struct key_run spilled[KEY_RUNS_MAX];
    uint32_t spilled_count;
    uint8_t *memory; /* of the spilled runs, one behind the other; borrowed */
    const struct hint_header *header;
    uint64_t seed;
    struct source_run *runs;
    struct merge_run **merge_runs;
    struct merge_node *merge_nodes;
    uint32_t run_count;
    struct merge merge;
    struct source_run *needs; /* the run that has to be read */
    /* Of the row handed out last. */
    uint8_t last[KEY_FORM_MAX];
    uint32_t last_size;
    bool begun;
    bool decided; /* its decided record was handed out: the rest of the key is old */
};

struct key_source *key_source_open(struct heap *heap, const struct keyed *keyed,
                                   const struct key_run *runs, uint32_t run_count, uint8_t *memory)
{
    check(run_count <= KEY_RUNS_MAX);
    struct key_source *source = heap_acquire(heap, sizeof(*source));
    if (source == NULL) {
        return NULL;
    }
    source->heap = heap;
    source->keyed = keyed;
    source->spilled_count = run_count;
    source->memory = memory;
    if (run_count > 0) {
        memcpy(source->spilled, runs, run_count * sizeof(runs[0]));
    }
    return source;
}

void key_source_close(struct key_source *source)
{
    if (source == NULL) {
        return;
    }
    struct heap *heap = source->heap;
    if (source->scan != NULL) {
        memtable_scan_close(source->scan);
    }
    for (uint32_t i = 0; i < source->chunk_count; i++) {
        heap_release(heap, source->chunks[i], sizeof(*source->chunks[i]));
    }
    heap_release(heap, source->chunks, source->chunk_room * sizeof(source->chunks[0]));
    heap_release(heap, source->runs, source->run_count * sizeof(source->runs[0]));
    heap_release(heap, source->merge_runs, source->run_count * sizeof(source->merge_runs[0]));
    heap_release(heap, source->merge_nodes, source->run_count * sizeof(source->merge_nodes[0]));
    heap_release(heap, source, sizeof(*source));
}

/* ---- undecided keys ---- */

static bool key_is_before(const void *a, const void *b)
{
    const struct hint_key *left = a;
    const struct hint_key *right = b;
    int order = bytes_compare(left->key, right->key);
    return order != 0 ? order < 0 : left->entry.offset > right->entry.offset;
}

static struct chunk *chunk_add(struct key_source *source)
{
    if (source->chunk_count == source->chunk_room) {
        uint32_t room = source->chunk_room == 0 ? CHUNKS_ROOM_FIRST : source->chunk_room * 2;
        size_t unit = sizeof(source->chunks[0]);
        struct chunk **chunks =
            source->chunks == NULL
                ? heap_acquire(source->heap, room * unit)
                : heap_resize(source->heap, source->chunks, source->chunk_room * unit, room * unit);
        if (chunks == NULL) {
            return NULL;
        }
        source->chunks = chunks;
        source->chunk_room = room;
    }
    struct chunk *chunk = heap_acquire(source->heap, sizeof(*chunk));
    if (chunk != NULL) {
        source->chunks[source->chunk_count] = chunk;
        source->chunk_count += 1;
    }
    return chunk;
}

/* The next chunk. STATUS_OK: there are no more keys. */
static enum status source_collect(struct key_source *source)
{
    struct key_item item;
    int64_t producer_id;
    struct chunk *chunk = NULL;
    while (source->keyed != NULL &&
           keyed_next_undecided(source->keyed, &source->undecided, &producer_id, &item)) {
        chunk = chunk == NULL ? chunk_add(source) : chunk;
        if (chunk == NULL) {
            return STATUS_NO_MEMORY;
        }
        item.entry.flags |= KEY_UNDECIDED;
        chunk->keys[chunk->count] = (struct hint_key){item.key, item.entry, producer_id};
        chunk->count += 1;
        if (chunk->count == CHUNK_KEYS) {
            break;
        }
    }
    if (chunk == NULL) {
        return STATUS_OK;
    }
    sort_items(chunk->keys, chunk->count, sizeof(chunk->keys[0]), key_is_before);
    return STATUS_PENDING;
}

/* ---- runs ---- */

static void run_stand(struct source_run *run, const struct hint_key *key)
{
    run->run.key = key->key;
    run->run.offset = key->entry.offset;
    run->run.value = key;
}

static enum status memtable_advance(struct merge_run *merge_run)
{
    struct source_run *run = CONTAINER_OF(merge_run, struct source_run, run);
    if (!memtable_scan_next(run->source->scan, &run->item)) {
        return STATUS_NOT_FOUND;
    }
    run->key = (struct hint_key){run->item.key, run->item.entry, -1};
    run_stand(run, &run->key);
    return STATUS_OK;
}

static enum status chunk_advance(struct merge_run *merge_run)
{
    struct source_run *run = CONTAINER_OF(merge_run, struct source_run, run);
    if (run->next == run->chunk->count) {
        return STATUS_NOT_FOUND;
    }
    run_stand(run, &run->chunk->keys[run->next]);
    run->next += 1;
    return STATUS_OK;
}

/* Into the next page. STATUS_PENDING: it has to be read first. */
static enum status spilled_turn(struct source_run *run)
{
    struct key_source *source = run->source;
    if (run->at == run->page_count) {
        if (run->rest.page_count == 0) {
            return STATUS_NOT_FOUND;
        }
        run->page_count = run->at = 0;
        source->needs = run;
        return STATUS_PENDING;
    }
    const uint8_t *page = run->memory + (size_t)run->at * HINT_PAGE_SIZE;
    struct hint_trailer trailer;
    if (!hint_page_open(page, run->page + run->at, HINT_KEYS, source->seed, &trailer)) {
        return STATUS_MALFORMED;
    }
    hint_keys_begin(&run->cursor, page);
    run->within = true;
    return STATUS_OK;
}

static enum status spilled_advance(struct merge_run *merge_run)
{
    struct source_run *run = CONTAINER_OF(merge_run, struct source_run, run);
    for (;;) {
        enum status status = run->within ? STATUS_OK : spilled_turn(run);
        if (status != STATUS_OK) {
            return status; /* the end, bytes to be read, damage */
        }
        status = hint_keys_next(&run->cursor, run->source->header);
        if (status == STATUS_OK) {
            run_stand(run, &run->cursor.key);
        }
        if (status != STATUS_NOT_FOUND) {
            return status;
        }
        run->within = false;
        run->at += 1;
    }
}

static bool source_begin(struct key_source *source)
{
    bool keys = source->keyed != NULL;
    if (keys) {
        source->scan = memtable_scan_open(keyed_memtable(source->keyed),
                                          &(struct memtable_scan_options){{0}, {0}, 0});
        if (source->scan == NULL) {
            return false;
        }
    }
    uint32_t count = (keys ? 1 : 0) + source->chunk_count + source->spilled_count;
    check(count > 0);
    source->run_count = count;
    source->runs = heap_acquire(source->heap, count * sizeof(source->runs[0]));
    source->merge_runs = heap_acquire(source->heap, count * sizeof(source->merge_runs[0]));
    source->merge_nodes = heap_acquire(source->heap, count * sizeof(source->merge_nodes[0]));
    if (source->runs == NULL || source->merge_runs == NULL || source->merge_nodes == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct source_run *run = &source->runs[i];
        run->source = source;
        source->merge_runs[i] = &run->run;
        uint32_t index = i - (keys ? 1 : 0);
        if (keys && i == 0) {
            run->run.advance = memtable_advance;
        } else if (index < source->chunk_count) {
            run->run.advance = chunk_advance;
            run->chunk = source->chunks[index];
        } else {
            index -= source->chunk_count;
            run->run.advance = spilled_advance;
            run->rest = source->spilled[index];
            run->memory = source->memory + index * KEY_RUN_SIZE;
        }
    }
    merge_init(&source->merge, source->merge_runs, source->merge_nodes, count, MERGE_ALL);
    return true;
}

enum status key_source_prepare(struct key_source *source, const struct hint_header *header,
                               uint64_t seed)
{
    source->header = header;
    source->seed = seed;
    enum status status = source_collect(source);
    if (status != STATUS_OK) {
        return status;
    }
    return source_begin(source) ? STATUS_OK : STATUS_NO_MEMORY;
}

/* ---- rows ---- */

enum status key_source_next(struct key_source *source, const struct hint_key **key)
{
    for (;;) {
        const struct merge_run *run;
        enum status status = merge_next(&source->merge, &run);
        if (status != STATUS_OK) {
            return status;
        }
        const struct hint_key *found = run->value;
        bool same =
            source->begun && bytes_equal(found->key, bytes_of(source->last, source->last_size));
        if (same && source->decided) {
            continue; /* B1 */
        }
        if (!same) {
            check(found->key.size <= KEY_FORM_MAX);
            if (found->key.size > 0) {
                memcpy(source->last, found->key.data, found->key.size);
            }
            source->last_size = (uint32_t)found->key.size;
            source->begun = true;
        }
        source->decided = (found->entry.flags & KEY_UNDECIDED) == 0;
        *key = found;
        return STATUS_OK;
    }
}

struct key_need key_source_need(const struct key_source *source)
{
    const struct source_run *run = source->needs;
    check(run != NULL && run->rest.page_count > 0);
    uint32_t count = run->rest.page_count < KEY_RUN_PAGES ? run->rest.page_count : KEY_RUN_PAGES;
    return (struct key_need){run->memory, run->rest.page, count};
}

void key_source_give(struct key_source *source)
{
    struct key_need need = key_source_need(source);
    struct source_run *run = source->needs;
    run->page = need.page;
    run->page_count = need.page_count;
    run->at = 0;
    run->rest.page += need.page_count;
    run->rest.page_count -= need.page_count;
    source->needs = NULL;
}
