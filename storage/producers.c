/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/producers.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/list.h"
#include "storage/planted.h"
#include "storage/sort.h"
#include "wire/crc32c.h"

#define PRODUCERS_MAGIC UINT32_C(0x50524f44)
#define SEQUENCE_MASK UINT32_C(0x7fffffff) /* 2147483647 wraps to 0 */

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_HEADER_SIZE                                                                       \
    ((size_t)10) /* version i16, CRC-32C u32 of what follows, count i32                            \
                  */
#define SNAPSHOT_CRC_START ((size_t)6)
#define SNAPSHOT_ENTRY_SIZE ((size_t)46)

struct producer_batch {
    int64_t last_offset;
    int64_t timestamp;
    int32_t last_sequence;
    int32_t offset_delta; /* last - first, of offsets and of sequences */
};

struct producer {
    struct table_node node;
    struct list_node place; /* I7 */
    int64_t id;
    int64_t first_offset; /* of the open transaction; -1 none */
    int64_t last_timestamp;
    int64_t touched_ms; /* when its last batch was added */
    int32_t coordinator_epoch;
    int16_t epoch;
    uint16_t batch_count;
    struct producer_batch batches[PRODUCER_BATCHES]; /* oldest first */
};

/* A transaction that ended, while its marker may still be above the high watermark. */
struct unsettled {
    int64_t producer_id;
    int64_t first_offset;
    int64_t marker_offset;
};

struct producers {
    uint32_t magic;
    uint32_t count_max;
    struct heap *heap; /* borrowed */
    struct table table;
    struct list idle;
    struct list open;
    struct aborted aborted;
    struct unsettled *unsettled; /* by marker offset */
    size_t unsettled_count;
    size_t unsettled_room;
};

static struct producer *producer_of_place(struct list_node *node)
{
    return LIST_ENTRY(node, struct producer, place);
}

struct producers *producers_open(struct heap *heap, uint64_t seed, uint32_t count_max)
{
    check(count_max > 0);
    struct producers *producers = heap_acquire(heap, sizeof(*producers));
    if (producers == NULL) {
        return NULL;
    }
    producers->magic = PRODUCERS_MAGIC;
    producers->heap = heap;
    producers->count_max = count_max;
    list_init(&producers->idle);
    list_init(&producers->open);
    aborted_init(&producers->aborted, heap);
    if (!table_init(&producers->table, heap, seed)) {
        heap_release(heap, producers, sizeof(*producers));
        return NULL;
    }
    return producers;
}

static void producer_drop(struct producers *producers, struct producer *producer)
{
    list_remove(&producer->place);
    table_remove(&producers->table, &producer->node);
    heap_release(producers->heap, producer, sizeof(*producer));
}

static void producers_clear(struct producers *producers)
{
    LIST_EACH (&producers->idle, node) {
        producer_drop(producers, producer_of_place(node));
    }
    LIST_EACH (&producers->open, node) {
        producer_drop(producers, producer_of_place(node));
    }
    check(producers->table.count == 0);
    heap_release(producers->heap, producers->unsettled,
                 producers->unsettled_room * sizeof(producers->unsettled[0]));
    producers->unsettled = NULL;
    producers->unsettled_count = 0;
    producers->unsettled_room = 0;
}

void producers_close(struct producers *producers)
{
    if (producers == NULL) {
        return;
    }
    check_magic(producers, PRODUCERS_MAGIC);
    producers_clear(producers);
    aborted_deinit(&producers->aborted);
    table_deinit(&producers->table);
    producers->magic = 0;
    heap_release(producers->heap, producers, sizeof(*producers));
}

static struct producer *producers_find(const struct producers *producers, int64_t id)
{
    struct table_node *node =
        table_find(&producers->table, hash_u64((uint64_t)id, producers->table.seed));
    while (node != NULL) {
        struct producer *producer = CONTAINER_OF(node, struct producer, node);
        if (producer->id == id) {
            return producer;
        }
        node = table_find_next(node);
    }
    return NULL;
}

/* ---- judging ---- */

static int32_t sequence_add(int32_t sequence, int32_t delta)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)delta) & SEQUENCE_MASK);
}

static int32_t sequence_of_last(const struct batch_header *header)
{
    return header->base_sequence < 0
               ? -1
               : sequence_add(header->base_sequence, header->last_offset_delta);
}

static int32_t sequence_of_first(const struct producer_batch *batch)
{
    return (int32_t)(((uint32_t)batch->last_sequence - (uint32_t)batch->offset_delta) &
                     SEQUENCE_MASK);
}

/* I1 */
static const struct producer_batch *producer_duplicate(const struct producer *producer,
                                                       const struct batch_header *header)
{
    int32_t last = sequence_of_last(header);
    uint32_t oldest = PLANTED(SHORT_WINDOW) && producer->batch_count == PRODUCER_BATCHES;
    for (uint32_t i = producer->batch_count; i-- > oldest;) {
        const struct producer_batch *batch = &producer->batches[i];
        if (batch->last_sequence == last && sequence_of_first(batch) == header->base_sequence) {
            return batch;
        }
    }
    return NULL;
}

/* I2: the sequence that must come next. After a marker alone (which may have raised the epoch) that
 * is 0. */
static bool producer_expects(const struct producer *producer, const struct batch_header *header)
{
    if (producer->epoch < 0) {
        return true; /* I3: known by an emptied control batch only */
    }
    if (header->producer_epoch != producer->epoch || producer->batch_count == 0) {
        return header->base_sequence == 0;
    }
    int32_t last = producer->batches[producer->batch_count - 1].last_sequence;
    return header->base_sequence == sequence_add(last, 1);
}

static bool producers_have_room(const struct producers *producers)
{
    return producers->table.count < producers->count_max || !list_is_empty(&producers->idle);
}

struct producers_verdict producers_check(const struct producers *producers,
                                         const struct batch_header *header)
{
    check_magic(producers, PRODUCERS_MAGIC);
    struct producers_verdict verdict = {
        .status = STATUS_OK, .base_offset = -1, .last_offset = -1, .timestamp = -1};
    if (header->producer_id < 0) {
        return verdict;
    }
    const struct producer *producer = producers_find(producers, header->producer_id);
    if (producer == NULL) {
        verdict.status = producers_have_room(producers) ? STATUS_OK : STATUS_NO_MEMORY;
        return verdict;
    }
    verdict.known = true;
    if (header->producer_epoch < producer->epoch) {
        verdict.status = STATUS_INVALID_PRODUCER_EPOCH;
        return verdict;
    }
    if ((header->attributes & BATCH_CONTROL) != 0) {
        return verdict; /* markers carry no sequence */
    }
    if (header->base_sequence < 0) {
        return verdict; /* a coordinator's own; clients are refused long before */
    }
    if (header->producer_epoch == producer->epoch) {
        const struct producer_batch *original = producer_duplicate(producer, header);
        if (original != NULL) {
            verdict.duplicate = true;
            verdict.base_offset = original->last_offset - original->offset_delta;
            verdict.last_offset = original->last_offset;
            verdict.timestamp = original->timestamp;
            return verdict;
        }
    }
    if (!producer_expects(producer, header)) {
        verdict.status = STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER;
    } else if (producer->first_offset >= 0 && (header->attributes & BATCH_TRANSACTIONAL) == 0) {
        verdict.status = STATUS_INVALID_TXN_STATE;
    }
    return verdict;
}

enum status producers_check_marker(const struct producers *producers,
                                   const struct batch_header *header,
                                   struct producers_marker marker)
{
    check_magic(producers, PRODUCERS_MAGIC);
    const struct producer *producer = producers_find(producers, header->producer_id);
    if (producer == NULL) {
        return producers_have_room(producers) ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (header->producer_epoch < producer->epoch) {
        return STATUS_INVALID_PRODUCER_EPOCH;
    }
    if (marker.coordinator_epoch < producer->coordinator_epoch) {
        return STATUS_TRANSACTION_COORDINATOR_FENCED;
    }
    return STATUS_OK;
}

bool producers_has_marker(const struct producers *producers, const struct batch_header *header)
{
    check_magic(producers, PRODUCERS_MAGIC);
    const struct producer *producer = producers_find(producers, header->producer_id);
    return producer != NULL && producer->epoch == header->producer_epoch &&
           producer->first_offset < 0;
}

/* ---- taking in ---- */

/* Memory for one more producer: new, or that of the one that was idle longest. */
static struct producer *producers_room(struct producers *producers)
{
    struct producer *producer = NULL;
    if (producers->table.count < producers->count_max) {
        producer = heap_acquire(producers->heap, sizeof(*producer));
    }
    if (producer == NULL && !list_is_empty(&producers->idle)) {
        producer = producer_of_place(list_pop_head(&producers->idle));
        table_remove(&producers->table, &producer->node);
    }
    return producer;
}

/* The new producer is in the table and in no list yet. */
static struct producer *producers_make(struct producers *producers, int64_t id)
{
    struct producer *producer = producers_room(producers);
    if (producer == NULL) {
        return NULL;
    }
    *producer = (struct producer){
        .id = id,
        .first_offset = -1,
        .last_timestamp = -1,
        .coordinator_epoch = -1,
        .epoch = -1,
    };
    producer->node.hash = hash_u64((uint64_t)id, producers->table.seed);
    table_insert(&producers->table, &producer->node);
    return producer;
}

/* I7. Transactions begin in offset order, so the walk from the tail is one step, except for the
 * shuffled entries of a snapshot. */
static void producer_enlist(struct producers *producers, struct producer *producer)
{
    if (producer->first_offset < 0) {
        list_push_tail(&producers->idle, &producer->place);
        return;
    }
    struct list_node *place = &producers->open.head;
    while (place->previous != &producers->open.head &&
           producer_of_place(place->previous)->first_offset > producer->first_offset) {
        place = place->previous;
    }
    list_insert_before(place, &producer->place);
}

static void producer_set_epoch(struct producer *producer, int16_t epoch)
{
    if (producer->epoch != epoch) {
        producer->epoch = epoch;
        producer->batch_count = 0;
    }
}

static void producer_add_data(struct producer *producer, const struct batch_header *header)
{
    producer_set_epoch(producer, header->producer_epoch);
    if (producer->batch_count == PRODUCER_BATCHES) {
        memmove(&producer->batches[0], &producer->batches[1],
                (PRODUCER_BATCHES - 1) * sizeof(producer->batches[0]));
        producer->batch_count -= 1;
    }
    producer->batches[producer->batch_count] = (struct producer_batch){
        .last_offset = batch_last_offset(header),
        .timestamp = header->max_timestamp,
        .last_sequence = sequence_of_last(header),
        .offset_delta = header->last_offset_delta,
    };
    producer->batch_count += 1;
    /* A batch that compaction emptied belongs to a transaction that was decided long ago: its
     * marker may be gone, and an open transaction without a marker would hold the log for ever. */
    if ((header->attributes & BATCH_TRANSACTIONAL) != 0 && header->count > 0 &&
        producer->first_offset < 0) {
        producer->first_offset = header->base_offset;
    }
}

static bool unsettled_reserve(struct producers *producers)
{
    if (producers->unsettled_count < producers->unsettled_room) {
        return true;
    }
    size_t unit = sizeof(producers->unsettled[0]);
    size_t room_old = producers->unsettled_room;
    size_t room = room_old == 0 ? 8 : room_old * 2;
    struct unsettled *block = room_old == 0 ? heap_acquire(producers->heap, room * unit)
                                            : heap_resize(producers->heap, producers->unsettled,
                                                          room_old * unit, room * unit);
    if (block == NULL) {
        return false;
    }
    producers->unsettled = block;
    producers->unsettled_room = room;
    return true;
}

/* The offset below which everything is decided once this producer's transaction has ended. */
static int64_t producers_stable_without(const struct producers *producers,
                                        const struct producer *ended, int64_t marker_offset)
{
    LIST_EACH (&producers->open, node) {
        if (producer_of_place(node) != ended) {
            return producer_of_place(node)->first_offset;
        }
    }
    return marker_offset + 1;
}

/* Changes nothing unless it answers STATUS_OK. The producer is in a list. */
static enum status producers_end_transaction(struct producers *producers, struct producer *producer,
                                             int64_t marker_offset, bool is_commit)
{
    if (producer->first_offset < 0) {
        return STATUS_OK;
    }
    if (!unsettled_reserve(producers)) {
        return STATUS_NO_MEMORY;
    }
    if (!is_commit) {
        struct producers_aborted entry = {
            .producer_id = producer->id,
            .first_offset = producer->first_offset,
            .last_offset = marker_offset,
            .last_stable_offset = producers_stable_without(producers, producer, marker_offset),
        };
        enum status status = aborted_add(&producers->aborted, &entry);
        if (status != STATUS_OK) {
            return status;
        }
    }
    producers->unsettled[producers->unsettled_count++] = (struct unsettled){
        .producer_id = producer->id,
        .first_offset = producer->first_offset,
        .marker_offset = marker_offset,
    };
    producer->first_offset = -1;
    return STATUS_OK;
}

enum status producers_add(struct producers *producers, const struct batch_header *header,
                          struct producers_marker marker, int64_t now_ms)
{
    check_magic(producers, PRODUCERS_MAGIC);
    bool is_control = (header->attributes & BATCH_CONTROL) != 0;
    check(is_control || !marker.is_marker);
    if (header->producer_id < 0) {
        return STATUS_OK;
    }
    struct producer *producer = producers_find(producers, header->producer_id);
    if (producer == NULL) {
        producer = producers_make(producers, header->producer_id);
        if (producer == NULL) {
            return STATUS_NO_MEMORY;
        }
        producer_enlist(producers, producer);
    }
    int64_t open_before = producer->first_offset;
    if (!is_control) {
        producer_add_data(producer, header);
    } else {
        if (marker.is_marker) {
            enum status status = producers_end_transaction(
                producers, producer, batch_last_offset(header), marker.is_commit);
            if (status != STATUS_OK) {
                return status;
            }
            producer->coordinator_epoch = marker.coordinator_epoch;
        }
        producer_set_epoch(producer, header->producer_epoch);
    }
    producer->last_timestamp = header->max_timestamp;
    producer->touched_ms = now_ms;
    if (producer->first_offset < 0 || producer->first_offset != open_before) {
        list_remove(&producer->place);
        producer_enlist(producers, producer);
    }
    check(producers->table.count <= producers->count_max);
    return STATUS_OK;
}

/* ---- asking ---- */

int64_t producers_first_open(const struct producers *producers)
{
    check_magic(producers, PRODUCERS_MAGIC);
    struct list_node *first = list_first(&producers->open);
    return first == NULL ? INT64_MAX : producer_of_place(first)->first_offset;
}

int64_t producers_first_unstable(struct producers *producers, int64_t high_watermark)
{
    int64_t first = producers_first_open(producers);
    size_t settled = 0;
    while (settled < producers->unsettled_count &&
           producers->unsettled[settled].marker_offset < high_watermark) {
        settled += 1;
    }
    if (settled > 0) {
        producers->unsettled_count -= settled;
        memmove(&producers->unsettled[0], &producers->unsettled[settled],
                producers->unsettled_count * sizeof(producers->unsettled[0]));
    }
    for (size_t i = 0; i < producers->unsettled_count; i++) {
        if (producers->unsettled[i].first_offset < first) {
            first = producers->unsettled[i].first_offset;
        }
    }
    return first;
}

enum producers_outcome producers_decided(const struct producers *producers, int64_t producer_id,
                                         int64_t offset, int64_t high_watermark)
{
    check_magic(producers, PRODUCERS_MAGIC);
    const struct producer *producer = producers_find(producers, producer_id);
    if (producer != NULL && producer->first_offset >= 0 && producer->first_offset <= offset) {
        return PRODUCERS_OPEN;
    }
    for (size_t i = 0; i < producers->unsettled_count; i++) {
        const struct unsettled *unsettled = &producers->unsettled[i];
        if (unsettled->producer_id == producer_id && unsettled->first_offset <= offset &&
            unsettled->marker_offset > offset && unsettled->marker_offset >= high_watermark) {
            return PRODUCERS_OPEN; /* I5 */
        }
    }
    return aborted_covers(&producers->aborted, producer_id, offset) ? PRODUCERS_ABORTED
                                                                    : PRODUCERS_COMMITTED;
}

int32_t producers_aborted_list(const struct producers *producers, int64_t offset_first,
                               int64_t offset_until, struct producers_aborted *out,
                               int32_t count_max)
{
    check_magic(producers, PRODUCERS_MAGIC);
    return aborted_list(&producers->aborted, offset_first, offset_until, out, count_max);
}

enum status producers_restore_aborted(struct producers *producers,
                                      const struct producers_aborted *entry)
{
    check_magic(producers, PRODUCERS_MAGIC);
    return aborted_add(&producers->aborted, entry);
}

void producers_forget_below(struct producers *producers, int64_t log_start_offset)
{
    check_magic(producers, PRODUCERS_MAGIC);
    aborted_cut_start(&producers->aborted, log_start_offset);
}

uint32_t producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms)
{
    check_magic(producers, PRODUCERS_MAGIC);
    uint32_t count = 0;
    LIST_EACH (&producers->idle, node) {
        struct producer *producer = producer_of_place(node);
        if (now_ms - producer->touched_ms < expiration_ms) {
            break;
        }
        producer_drop(producers, producer);
        count += 1;
    }
    return count;
}

uint32_t producers_count(const struct producers *producers)
{
    check_magic(producers, PRODUCERS_MAGIC);
    return (uint32_t)producers->table.count;
}

static struct producer_view producer_view_of(const struct producer *producer)
{
    struct producer_view view = {
        .producer_id = producer->id,
        .epoch = producer->epoch,
        .last_sequence = -1,
        .last_offset = -1,
        .last_timestamp = producer->last_timestamp,
        .coordinator_epoch = producer->coordinator_epoch,
        .transaction_first_offset = producer->first_offset,
    };
    if (producer->batch_count > 0) {
        const struct producer_batch *batch = &producer->batches[producer->batch_count - 1];
        view.last_sequence = batch->last_sequence;
        view.last_offset = batch->last_offset;
    }
    return view;
}

uint32_t producers_list(const struct producers *producers, struct producer_view *out,
                        uint32_t count_max)
{
    check_magic(producers, PRODUCERS_MAGIC);
    uint32_t count = 0;
    const struct list *lists[] = {&producers->open, &producers->idle};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        LIST_EACH (lists[i], node) {
            if (count < count_max) {
                out[count++] = producer_view_of(producer_of_place(node));
            }
        }
    }
    sort_by_key(out, count, sizeof(out[0]), offsetof(struct producer_view, producer_id));
    return producers_count(producers);
}

/* ---- the snapshot file ---- */

static void producer_encode(const struct producer *producer, uint8_t *data)
{
    struct producer_view view = producer_view_of(producer);
    int32_t delta =
        producer->batch_count == 0 ? 0 : producer->batches[producer->batch_count - 1].offset_delta;
    put_be64(data, (uint64_t)view.producer_id);
    put_be16(data + 8, (uint16_t)view.epoch);
    put_be32(data + 10, (uint32_t)view.last_sequence);
    put_be64(data + 14, (uint64_t)view.last_offset);
    put_be32(data + 22, (uint32_t)delta);
    put_be64(data + 26, (uint64_t)view.last_timestamp);
    put_be32(data + 34, (uint32_t)view.coordinator_epoch);
    put_be64(data + 38, (uint64_t)view.transaction_first_offset);
}

size_t producers_encode(const struct producers *producers, uint8_t *data, size_t size_max)
{
    check_magic(producers, PRODUCERS_MAGIC);
    size_t size = SNAPSHOT_HEADER_SIZE + producers->table.count * SNAPSHOT_ENTRY_SIZE;
    if (size > size_max) {
        return size;
    }
    uint8_t *at = data + SNAPSHOT_HEADER_SIZE;
    /* Longest idle first, so that decoding finds I7's order again. */
    const struct list *lists[] = {&producers->idle, &producers->open};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        LIST_EACH (lists[i], node) {
            producer_encode(producer_of_place(node), at);
            at += SNAPSHOT_ENTRY_SIZE;
        }
    }
    check(at == data + size);
    put_be16(data, SNAPSHOT_VERSION);
    put_be32(data + SNAPSHOT_CRC_START, (uint32_t)producers->table.count);
    put_be32(data + 2, crc32c(0, data + SNAPSHOT_CRC_START, size - SNAPSHOT_CRC_START));
    return size;
}

static enum status producers_decode_entry(struct producers *producers, const uint8_t *data,
                                          int64_t now_ms)
{
    int64_t id = (int64_t)get_be64(data);
    struct producer_batch batch = {
        .last_sequence = (int32_t)get_be32(data + 10),
        .last_offset = (int64_t)get_be64(data + 14),
        .offset_delta = (int32_t)get_be32(data + 22),
        .timestamp = (int64_t)get_be64(data + 26),
    };
    int64_t first_offset = (int64_t)get_be64(data + 38);
    bool sane = id >= 0 && batch.last_sequence >= -1 && batch.last_offset >= -1 &&
                batch.offset_delta >= 0 && first_offset >= -1 &&
                (batch.last_offset < 0 || batch.offset_delta <= batch.last_offset);
    if (!sane || producers_find(producers, id) != NULL) {
        return STATUS_CORRUPT_MESSAGE;
    }
    struct producer *producer = producers_make(producers, id);
    if (producer == NULL) {
        return STATUS_NO_MEMORY;
    }
    producer->epoch = (int16_t)get_be16(data + 8);
    producer->last_timestamp = batch.timestamp;
    producer->touched_ms = now_ms;
    producer->coordinator_epoch = (int32_t)get_be32(data + 34);
    producer->first_offset = first_offset;
    if (batch.last_offset >= 0) {
        producer->batches[0] = batch;
        producer->batch_count = 1;
    }
    producer_enlist(producers, producer);
    return STATUS_OK;
}

static enum status snapshot_check(struct bytes data)
{
    if (data.size < SNAPSHOT_HEADER_SIZE || get_be16(data.data) != SNAPSHOT_VERSION) {
        return STATUS_CORRUPT_MESSAGE;
    }
    uint32_t count = get_be32(data.data + SNAPSHOT_CRC_START);
    if (data.size - SNAPSHOT_HEADER_SIZE != count * (uint64_t)SNAPSHOT_ENTRY_SIZE) {
        return STATUS_CORRUPT_MESSAGE;
    }
    uint32_t crc = crc32c(0, data.data + SNAPSHOT_CRC_START, data.size - SNAPSHOT_CRC_START);
    bool good = crc == get_be32(data.data + 2) || PLANTED(SNAPSHOT_UNCHECKED);
    return good ? STATUS_OK : STATUS_CORRUPT_MESSAGE;
}

enum status producers_decode(struct producers *producers, struct bytes data, int64_t now_ms)
{
    check_magic(producers, PRODUCERS_MAGIC);
    enum status status = snapshot_check(data);
    if (status != STATUS_OK) {
        return status;
    }
    struct producers *fresh =
        producers_open(producers->heap, producers->table.seed, producers->count_max);
    if (fresh == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t at = SNAPSHOT_HEADER_SIZE; at < data.size && status == STATUS_OK;
         at += SNAPSHOT_ENTRY_SIZE) {
        status = producers_decode_entry(fresh, data.data + at, now_ms);
    }
    if (status == STATUS_OK) {
        producers_clear(producers);
        list_splice_tail(&producers->idle, &fresh->idle);
        list_splice_tail(&producers->open, &fresh->open);
        struct table empty = producers->table;
        producers->table = fresh->table;
        fresh->table = empty;
    }
    producers_close(fresh);
    return status;
}
