/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key index of a log's active segment (keyed.h): fed by commit, batch by batch, as the high
 * watermark passes them; made again from the log at recovery. It stays with its segment until that
 * has a hint with a key table. A log without a key index pays one test of a flag for each batch.
 */
#include "base/check.h"
#include "storage/key_entry.h"
#include "storage/keyed.h"
#include "storage/partition_state.h"
#include "storage/scan.h"

/* Scratch of the codecs: a run while it lasts, the heap when there is none. */
void partition_keys_feed(struct store *store, struct keyed *keyed, struct bytes batch,
                         int64_t position)
{
    struct producers_marker marker = {0};
    struct batch_header header;
    batch_header_decode(&header, batch.data);
    if ((header.attributes & BATCH_CONTROL) != 0) {
        (void)partition_decode_marker(batch.data, batch.size, &marker);
    }
    _Alignas(16) uint8_t stream[BATCH_STREAM_SIZE];
    struct batch_scratch scratch = {.memory = stream, .size = sizeof(stream), .heap = store->heap};
    bool packed = (header.attributes & BATCH_CODEC_MASK) != CODEC_NONE;
    uint8_t *run = packed ? cache_acquire_run(store, BATCH_SCRATCH_SIZE) : NULL;
    if (run != NULL) {
        scratch.memory = run;
        scratch.size = BATCH_SCRATCH_SIZE;
    }
    keyed_note(keyed, batch, (uint32_t)position, marker, scratch);
    if (run != NULL) {
        cache_release_run(store, run, BATCH_SCRATCH_SIZE);
    }
}

/* Indexes are let go when a core's state takes half of its memory: the other half is for what
 * cannot be left out. */
static bool keys_have_room(const struct store *store)
{
    return store->heap->size <= store->heap->size_max / 2;
}

static bool keys_open(struct segment *segment)
{
    struct store *store = segment->store;
    if (segment->keyed == NULL && keys_have_room(store)) {
        segment->keyed = keyed_open(store->heap, store->hash_seed, store->key_index_size_max,
                                    store->memtable_shards);
        store->key_indexes += segment->keyed != NULL;
    }
    return segment->keyed != NULL;
}

static void keys_drop(struct segment *segment)
{
    segment_close_keys(segment);
    segment->key_index = false;
}

/* Those of sealed segments go first: their tables can be made from the log. */
static void keys_drop_sealed(struct partition *partition)
{
    for (int32_t i = 0; i + 1 < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->keyed != NULL && !segment->keyed_lent) {
            keys_drop(segment);
        }
    }
}

/* A full index ends its segment, and the next one begins empty. Where there was no memory (X3) that
 * would not help: the segment goes on without an index. */
static void keys_judge(struct segment *segment)
{
    struct partition *partition = segment->partition;
    if (segment->keyed != NULL && keyed_is_whole(segment->keyed)) {
        if (keyed_is_full(segment->keyed) && segment == partition_active(partition)) {
            partition->roll_due = true;
        }
        return;
    }
    diag_line(segment->store->diag, DIAG_WARN, "storage/keys",
              "no memory for the keys of a segment, it has no index; its log is whole",
              "partition=%s base_offset=%lld size_max=%llu", partition->name,
              (long long)segment->base_offset,
              (unsigned long long)segment->store->key_index_size_max);
    keys_drop(segment);
}

static void keys_take(struct segment *segment, struct bytes batch, int64_t position)
{
    if (keys_open(segment)) {
        partition_keys_feed(segment->store, segment->keyed, batch, position);
    }
    if (!keys_have_room(segment->store)) {
        keys_drop_sealed(segment->partition);
    }
    if (!keys_have_room(segment->store)) {
        keys_drop(segment);
    }
    keys_judge(segment);
}

void partition_keys_note(struct segment *segment, struct bytes batch)
{
    check(segment->key_index);
    keys_take(segment, batch, segment->visible);
}

/* ---- from the log ---- */

/* A batch whole in memory: out of the scan's run, or when it is larger than that, put together in
 * `copy`. data NULL: not readable, or no memory. */
static struct bytes keys_batch(struct scan *scan, int64_t position, int64_t size, uint8_t **copy)
{
    int64_t piece = SCAN_RUN_SIZE - BLOCK_SIZE;
    if (size <= piece) {
        return bytes_of(scan_bytes(scan, position, size), (size_t)size);
    }
    *copy = heap_acquire(scan->store->heap, (size_t)size);
    for (int64_t at = 0; *copy != NULL && at < size; at += piece) {
        int64_t part = size - at < piece ? size - at : piece;
        const uint8_t *bytes = scan_bytes(scan, position + at, part);
        if (bytes == NULL) {
            return BYTES_NULL;
        }
        memcpy(*copy + at, bytes, (size_t)part);
    }
    return bytes_of(*copy, (size_t)size);
}

static bool keys_scan(struct scan *scan, struct segment *segment)
{
    for (int64_t position = 0; position < segment->visible && segment->keyed != NULL;) {
        const uint8_t *prefix = scan_bytes(scan, position, BATCH_HEADER_SIZE);
        int64_t size = prefix == NULL ? 0 : batch_size_of(prefix);
        if (size < BATCH_HEADER_SIZE || size > segment->visible - position) {
            return false;
        }
        uint8_t *copy = NULL;
        struct bytes batch = keys_batch(scan, position, size, &copy);
        if (batch.data != NULL) {
            keys_take(segment, batch, position);
        }
        heap_release(scan->store->heap, copy, (size_t)size);
        if (batch.data == NULL) {
            return false;
        }
        position += size;
    }
    return true;
}

void partition_keys_load(struct partition *partition)
{
    struct segment *segment = partition_active(partition);
    if (!partition->config.key_index || segment == NULL || segment->sealed) {
        return;
    }
    check(segment->keyed == NULL);
    segment->key_index = true;
    struct scan scan;
    if (segment->visible == 0) {
        return;
    }
    bool opened = keys_open(segment) && scan_open(&scan, segment) == 0;
    bool read = opened && keys_scan(&scan, segment);
    if (opened) {
        scan_close(&scan);
    }
    if (!read) {
        keys_drop(segment);
        partition->roll_due = true; /* a cache that is not there stops nobody */
    }
}

void partition_keys_configure(struct partition *partition)
{
    struct segment *segment = partition_active(partition);
    if (segment == NULL || segment->key_index == partition->config.key_index) {
        return;
    }
    if (!partition->config.key_index) {
        keys_drop(segment);
    } else if (segment->size == 0) {
        segment->key_index = true;
    } else {
        partition->roll_due = true; /* an index knows its segment from the first batch on */
    }
}

void store_yield_keys(struct store *store)
{
    LIST_EACH (&store->partitions, node) {
        struct partition *partition = LIST_ENTRY(node, struct partition, node);
        for (int32_t i = 0; i < partition->segment_count; i++) {
            struct segment *segment = partition->segments[i];
            if (store->key_indexes == 0 || keys_have_room(store)) {
                return;
            }
            if (segment->keyed != NULL && !segment->keyed_lent) {
                keys_drop(segment);
            }
        }
    }
}

void partition_keys_catch_up(struct partition *partition)
{
    const struct segment *segment = partition_active(partition);
    if (partition->config.key_index && partition->roll_due && segment != NULL &&
        !segment->key_index && partition->high_watermark == partition->end_offset) {
        partition_roll_idle(partition);
    }
}

void partition_keys_cancel(struct partition *partition, int64_t fault)
{
    for (int32_t i = 0; i < partition->segment_count; i++) {
        segment_wake_keys(partition->segments[i], fault);
    }
}

bool partition_key_get(struct partition *partition, struct bytes key, struct key_entry *entry)
{
    check_magic(partition, PARTITION_MAGIC);
    struct segment *segment = partition_active(partition);
    return segment != NULL && segment->keyed != NULL && keyed_get(segment->keyed, key, entry);
}
