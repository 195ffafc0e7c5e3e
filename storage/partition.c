/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a partition and the way of an append:
 *
 *   partition_append -> waiting -> [judged, given an offset] -> copied into the slab -> pending
 *       waits for: the next segment, space, slab memory, the partial block
 *   commit: durable -> high watermark -> answered, in offset order (P4)
 */
#include "storage/partition.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/commit.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/recovery.h"
#include "storage/removal.h"
#include "storage/slab.h"
#include "storage/space.h"
#include "storage/tend.h"
#include "storage/upkeep.h"

struct producers *partition_new_producers(const struct partition *partition)
{
    return producers_open(partition->store->heap, partition->store->hash_seed,
                          partition->store->producer_count_max);
}

enum status partition_forget_producers(struct partition *partition)
{
    struct producers *producers = partition_new_producers(partition);
    if (producers == NULL) {
        return STATUS_NO_MEMORY;
    }
    producers_close(partition->producers);
    partition->producers = producers;
    return STATUS_OK;
}

int32_t partition_segment_of(const struct partition *partition, int64_t offset)
{
    int32_t low = 0;
    int32_t high = partition->segment_count;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (partition->segments[middle]->base_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

int64_t partition_last_stable(const struct partition *partition)
{
    int64_t open = producers_first_unstable(partition->producers, partition->high_watermark);
    if (open < partition->log_start_offset) {
        open = partition->log_start_offset; /* retention took what the transaction began with */
    }
    if (open >= partition->high_watermark || PLANTED(STABLE_IS_HIGH)) {
        return partition->high_watermark;
    }
    return open;
}

int64_t partition_limit(const struct partition *partition, enum partition_isolation isolation)
{
    return isolation == READ_COMMITTED ? partition_last_stable(partition)
                                       : partition->high_watermark;
}

bool partition_add_segment(struct partition *partition, struct segment *segment)
{
    if (partition->segment_count == partition->segment_room) {
        int32_t room = partition->segment_room == 0 ? 4 : partition->segment_room * 2;
        struct heap *heap = partition->store->heap;
        size_t unit = sizeof(partition->segments[0]);
        struct segment **grown =
            partition->segments == NULL
                ? heap_acquire(heap, (size_t)room * unit)
                : heap_resize(heap, partition->segments, (size_t)partition->segment_room * unit,
                              (size_t)room * unit);
        if (grown == NULL) {
            return false;
        }
        partition->segments = grown;
        partition->segment_room = room;
    }
    partition->segments[partition->segment_count] = segment;
    partition->segment_count += 1;
    return true;
}

/* A record: length, attributes, timestamp and offset deltas as varints, key, value. */
static bool skip_varint(const uint8_t **cursor, const uint8_t *end, int64_t *value)
{
    uint64_t bits = 0;
    for (int shift = 0; shift < 64 && *cursor < end; shift += 7) {
        uint8_t byte = *(*cursor)++;
        bits |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *value = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return true;
        }
    }
    return false;
}

bool partition_decode_marker(const uint8_t *batch, size_t size, struct producers_marker *marker)
{
    *marker = (struct producers_marker){0};
    const uint8_t *cursor = batch + BATCH_HEADER_SIZE;
    const uint8_t *end = batch + size;
    int64_t length;
    int64_t delta;
    if (!skip_varint(&cursor, end, &length) || cursor == end) {
        return false;
    }
    cursor += 1; /* attributes */
    if (!skip_varint(&cursor, end, &delta) || !skip_varint(&cursor, end, &delta) ||
        !skip_varint(&cursor, end, &length) || length < 4 || end - cursor < length) {
        return false;
    }
    /* key: version int16, type int16 (0 abort, 1 commit) */
    uint16_t type = get_be16(cursor + 2);
    cursor += length;
    /* value: version int16, coordinator epoch int32 */
    if (type > 1 || !skip_varint(&cursor, end, &length) || length < 6 || end - cursor < length) {
        return false;
    }
    *marker = (struct producers_marker){
        .is_marker = true,
        .is_commit = type == 1,
        .coordinator_epoch = (int32_t)get_be32(cursor + 2),
    };
    return true;
}

/* ---- append ---- */

static void append_answer(struct partition *partition, struct partition_append *append,
                          enum status status)
{
    append->status = status;
    if (status != STATUS_OK) {
        append->base_offset = -1;
        append->append_time_ms = -1;
    }
    append->log_start_offset = partition->log_start_offset;
    append->done(append);
}

void partition_refuse(struct partition *partition, enum status status, bool pending)
{
    struct list refused;
    list_init(&refused);
    partition->refusals += 1;
    struct list_node *placed = NULL;
    if (pending) {
        list_splice_tail(&refused, &partition->pending);
        list_splice_tail(&refused, &partition->duplicates);
        partition->placed = false;
        partition->copied = 0;
    } else if (partition->placed) {
        placed = list_pop_head(&partition->waiting);
    }
    list_splice_tail(&refused, &partition->waiting);
    if (placed != NULL) {
        list_push_head(&partition->waiting, placed);
    }
    for (;;) {
        struct list_node *node = list_pop_head(&refused);
        if (node == NULL) {
            return;
        }
        append_answer(partition, LIST_ENTRY(node, struct partition_append, node), status);
    }
}

static bool append_needs_roll(const struct partition *partition,
                              const struct partition_append *append)
{
    const struct segment *segment = partition_active(partition);
    if (segment == NULL) {
        return true;
    }
    if (segment->size == 0) {
        return false;
    }
    if (partition->roll_due) {
        return true;
    }
    const struct partition_config *config = &partition->config;
    int64_t size = segment->size + (int64_t)append->size;
    if (size > config->segment_size_max || size > SEGMENT_SIZE_LIMIT) {
        return true;
    }
    int64_t last = partition->end_offset + append->header.last_offset_delta;
    if (last - segment->base_offset > INT32_MAX) {
        return true; /* Kafka's indexes count offsets from the base in int32 */
    }
    int64_t timestamp = config->log_append_time ? append->now_ms : append->header.max_timestamp;
    int64_t age = segment->timestamp_first >= 0 && timestamp >= 0
                      ? timestamp - segment->timestamp_first
                      : append->now_ms - segment->created_ms;
    return age > config->segment_age_ms_max;
}

/* What its hint will say of the moment at which it ended. */
static void partition_seal(struct partition *partition, struct segment *segment)
{
    int64_t open = producers_first_open(partition->producers);
    segment->sealed = true;
    segment->stable_offset = open < segment->end_offset ? open : segment->end_offset;
    if (producers_count(partition->producers) == 0) {
        segment->producers_none_offset = segment->end_offset;
    }
}

/* The next segment becomes active. False: it is not there yet; a pump follows. */
static bool partition_roll(struct partition *partition)
{
    if (partition->next == NULL || partition->naming) {
        space_prepare(partition);
        if (partition->next == NULL || partition->naming) {
            return false;
        }
    }
    struct segment *old = partition_active(partition);
    struct segment *segment = partition->next;
    segment->base_offset = segment->end_offset = partition->end_offset;
    segment->log_position = old == NULL ? 0 : old->log_position + old->size;
    segment->key_index = partition->config.key_index;
    if (!partition_add_segment(partition, segment)) {
        partition_refuse(partition, STATUS_KAFKA_STORAGE_ERROR, false);
        return false;
    }
    partition->next = NULL;
    partition->roll_due = false;
    if (old != NULL) {
        partition_seal(partition, old);
        tend_capture(partition);
    }
    if (partition->writing == NULL || partition->writing->durable == partition->writing->size) {
        if (old != NULL) {
            slab_graduate(old, true);
        }
        partition->writing = segment;
    }
    if (list_is_linked(&partition->rest_node)) {
        list_remove(&partition->rest_node);
    }
    space_name(partition, segment);
    tend_start(partition);
    return !partition->broken;
}

void partition_roll_idle(struct partition *partition)
{
    if (list_is_empty(&partition->waiting) && partition_active(partition)->size > 0 &&
        partition->state == PARTITION_OPEN) {
        (void)partition_roll(partition);
    }
}

/* Judges by producer state; true: answered or parked as a duplicate. */
static bool append_judge(struct partition *partition, struct partition_append *append)
{
    if ((int64_t)append->size > partition->config.segment_size_max ||
        (int64_t)append->size > SEGMENT_SIZE_LIMIT) {
        list_remove(&append->node);
        append_answer(partition, append, STATUS_RECORD_LIST_TOO_LARGE);
        return true;
    }
    if (append->header.producer_id < 0) {
        return false;
    }
    enum status status;
    if ((append->header.attributes & BATCH_CONTROL) != 0) {
        struct producers_marker marker;
        (void)partition_decode_marker(append->batch, append->size, &marker);
        status = producers_check_marker(partition->producers, &append->header, marker);
        if (append->once && producers_has_marker(partition->producers, &append->header)) {
            list_remove(&append->node);
            append_answer(partition, append, status);
            return true;
        }
    } else {
        struct producers_verdict verdict = producers_check(partition->producers, &append->header);
        status = verdict.status;
        if (append->from_zero && !verdict.known && append->header.base_sequence != 0) {
            status = STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER;
        }
        if (status == STATUS_OK && verdict.duplicate) {
            list_remove(&append->node);
            partition->store->counters.duplicates += 1;
            append->base_offset = verdict.base_offset;
            append->append_time_ms = partition->config.log_append_time ? verdict.timestamp : -1;
            append->wait_offset = verdict.last_offset + 1;
            if (append->wait_offset <= partition->high_watermark || PLANTED(EARLY_DUPLICATE)) {
                append_answer(partition, append, STATUS_OK);
                return true;
            }
            struct list_node *place = partition->duplicates.head.next;
            while (place != &partition->duplicates.head &&
                   LIST_ENTRY(place, struct partition_append, node)->wait_offset <=
                       append->wait_offset) {
                place = place->next;
            }
            list_insert_before(place, &append->node);
            return true;
        }
    }
    if (status != STATUS_OK) {
        list_remove(&append->node);
        append_answer(partition, append,
                      status == STATUS_NO_MEMORY ? STATUS_KAFKA_STORAGE_ERROR : status);
        return true;
    }
    return false;
}

/* Gives the batch its offset: from here on it is part of the log. False: refused. */
static bool append_take_offset(struct partition *partition, struct partition_append *append)
{
    struct segment *segment = partition_active(partition);
    int64_t size = (int64_t)append->size;
    append->header.base_offset = partition->end_offset;
    append->header.leader_epoch = partition->leader_epoch;
    if (partition->config.log_append_time) {
        append->header.attributes |= BATCH_LOG_APPEND_TIME;
        append->header.max_timestamp = append->now_ms;
    }
    struct producers_marker marker = {0};
    if ((append->header.attributes & BATCH_CONTROL) != 0) {
        (void)partition_decode_marker(append->batch, append->size, &marker);
    }
    if (!segment_reserve_rows(segment, segment->size + size) ||
        (append->header.producer_id >= 0 && producers_add(partition->producers, &append->header,
                                                          marker, append->now_ms) != STATUS_OK)) {
        list_remove(&append->node);
        append_answer(partition, append, STATUS_KAFKA_STORAGE_ERROR);
        return false;
    }
    if (marker.is_marker && !marker.is_commit) {
        segment->aborted = true;
    }
    append->append_time_ms = -1;
    if (partition->config.log_append_time) {
        append->append_time_ms = append->now_ms;
        batch_stamp_time(append->batch, append->size, true, append->now_ms);
    }
    batch_stamp(append->batch, partition->end_offset, partition->leader_epoch);
    append->base_offset = partition->end_offset;
    segment_note_batch(segment, segment->size, &append->header, size);
    if (PLANTED(KEYS_AHEAD) && segment->key_index) {
        partition_keys_note(segment, bytes_of(append->batch, append->size));
    }
    partition->end_offset = segment->end_offset;
    partition->placed = true;
    partition->copied = 0;
    partition->store->counters.appends += 1;
    partition->store->counters.append_size += (uint64_t)size;
    return true;
}

/* One step for the first waiting append. False: it waits for something that ends in a pump. */
static bool append_place(struct partition *partition, struct partition_append *append)
{
    if (!partition->placed) {
        uint64_t refusals = partition->refusals;
        int64_t size = (int64_t)append->size;
        if (append_judge(partition, append)) {
            return true;
        }
        if (append_needs_roll(partition, append) && !partition_roll(partition)) {
            return false;
        }
        if (!space_check(partition, size)) {
            return false;
        }
        if (partition->refusals != refusals) {
            return true; /* space asked for ahead was refused at once, and this one with it */
        }
        if (!append_take_offset(partition, append)) {
            return true;
        }
    }
    switch (slab_append(partition, append->batch, append->size, &partition->copied)) {
    case SLAB_COPIED:
        list_remove(&append->node);
        partition->placed = false;
        list_push_tail(&partition->pending, &append->node);
        return true;
    case SLAB_SHORT:
        space_wait_file(partition, -EMFILE, "tail");
        return false;
    case SLAB_BROKEN:
        partition_break(partition, -EIO, "tail block cannot be read back");
        return false;
    case SLAB_STARVED:
    case SLAB_WAITS:
        return false;
    }
    unreachable();
}

void partition_pump(struct partition *partition)
{
    check_magic(partition, PARTITION_MAGIC);
    if (partition->pumping) {
        return; /* the loop below goes on */
    }
    partition->pumping = true;
    while (!partition->broken) {
        struct list_node *node = list_first(&partition->waiting);
        if (node == NULL ||
            !append_place(partition, LIST_ENTRY(node, struct partition_append, node))) {
            break;
        }
    }
    partition->pumping = false;
}

void partition_append(struct partition *partition, struct partition_append *append)
{
    check_magic(partition, PARTITION_MAGIC);
    check(append->size >= BATCH_HEADER_SIZE);
    append->base_offset = -1;
    append->append_time_ms = -1;
    list_node_init(&append->node);
    if (partition->removing) {
        append_answer(partition, append, STATUS_UNKNOWN_TOPIC_OR_PARTITION);
        return;
    }
    if (partition->state != PARTITION_OPEN || partition->broken || partition->closing) {
        append_answer(partition, append, STATUS_KAFKA_STORAGE_ERROR);
        return;
    }
    list_push_tail(&partition->waiting, &append->node);
    partition_pump(partition);
}

/* ---- failure ---- */

void partition_break(struct partition *partition, int64_t error, const char *what)
{
    struct store *store = partition->store;
    if (partition->broken) {
        return;
    }
    partition->broken = true;
    store->counters.failures += 1;
    diag_line(store->diag, DIAG_ERROR, "storage/partition",
              "write failed; the log goes on in a new segment from what is durable",
              "partition=%s what=\"%s\" error=\"%s\" offset=%lld remedy=\"producers try again by "
              "themselves; see to the disk: a second failure within a minute makes the log "
              "read-only\"",
              partition->name, what, strerrordesc_np((int)-error),
              (long long)partition->high_watermark);
    if (!list_is_linked(&partition->broken_node)) {
        list_push_tail(&store->broken, &partition->broken_node);
    }
    store_arm(store, ring_now_ns(store->ring));
    partition_refuse(partition, STATUS_KAFKA_STORAGE_ERROR, true);
    partition_fire_watches(partition, true);
}

/* ---- life ---- */

bool partition_is_held(const struct partition *partition)
{
    for (int32_t i = 0; i < partition->segment_count; i++) {
        if (partition->segments[i]->holders > 1) {
            return true;
        }
    }
    return removal_is_held(partition);
}

static bool partition_is_busy(const struct partition *partition)
{
    /* A removal that comes while upkeep drains it waits for upkeep. */
    uint32_t waiting = partition->removing && !list_is_linked(&partition->remove_node) ? 1 : 0;
    return partition->write != NULL || partition->job_count > waiting || partition->loading_tail ||
           partition_is_held(partition);
}

void partition_drain(struct partition *partition)
{
    struct ring *ring = partition->store->ring;
    while (partition_is_busy(partition) && ring_in_flight(ring) > 0) {
        ring_wait(ring);
    }
}

static void partition_unlink(struct list_node *node)
{
    if (list_is_linked(node)) {
        list_remove(node);
    }
}

void partition_detach(struct segment *segment)
{
    struct store *store = segment->store;
    slab_discard(segment);
    cache_forget(store, segment);
    file_condemn(store, segment);
    segment->rows_fault = -EIO;
    segment_wake_rows(segment);
    segment_wake_keys(segment, -EIO);
    segment->partition = NULL;
}

void partition_unload(struct partition *partition)
{
    check(partition->write == NULL);
    partition_unlink(&partition->dirty_node);
    partition_unlink(&partition->quiet_node);
    partition_unlink(&partition->starved_node);
    partition_unlink(&partition->rest_node);
    partition_unlink(&partition->tail_node);
    partition_unlink(&partition->refused_node);
    partition_unlink(&partition->broken_node);
    partition->rot_count = 0;
    tend_discard_capture(partition);
    removal_forget(partition);
    for (int32_t i = 0; i < partition->segment_count; i++) {
        partition_detach(partition->segments[i]);
        segment_drop(partition->segments[i]);
    }
    partition->segment_count = 0;
    if (partition->next != NULL) {
        partition_detach(partition->next);
        segment_drop(partition->next);
        partition->next = NULL;
    }
    partition->writing = NULL;
    partition->naming = partition->name_wanted = partition->fileless = false;
}

static void partition_free(struct partition *partition)
{
    struct heap *heap = partition->store->heap;
    if (partition->store->round == &partition->node) {
        struct list_node *next = partition->node.next;
        partition->store->round = next == &partition->store->partitions.head ? NULL : next;
    }
    partition_unlink(&partition->node);
    partition_unlink(&partition->ask_node);
    partition_unlink(&partition->remove_node);
    partition_unlink(&partition->key_node);
    quarantine_deinit(&partition->quarantine);
    heap_release(heap, partition->segments,
                 (size_t)partition->segment_room * sizeof(partition->segments[0]));
    heap_release(heap, partition->name, partition->name_size);
    partition->magic = 0;
    heap_release(heap, partition, sizeof(*partition));
}

static struct partition *partition_new(struct store *store, const struct partition_options *options)
{
    struct partition *partition = heap_acquire(store->heap, sizeof(*partition));
    if (partition == NULL) {
        return NULL;
    }
    partition->magic = PARTITION_MAGIC;
    partition->store = store;
    partition->index = options->index;
    partition->topic_id = options->topic_id;
    partition->leader_epoch = options->leader_epoch;
    partition->config = options->config;
    partition->snapshot_offset = partition->snapshot_previous = -1;
    epochs_init(&partition->epochs);
    quarantine_init(&partition->quarantine, store->heap);
    list_init(&partition->waiting);
    list_init(&partition->pending);
    list_init(&partition->duplicates);
    list_init(&partition->watches);
    list_init(&partition->reads);
    partition->name_size = strlen(options->topic) + 13;
    partition->name = heap_acquire(store->heap, partition->name_size);
    if (partition->name == NULL) {
        heap_release(store->heap, partition, sizeof(*partition));
        return NULL;
    }
    snprintf(partition->name, partition->name_size, "%s-%d", options->topic, options->index);
    return partition;
}

/* Epochs in a log never fall: a walk takes a batch of an older one for bytes that were left there.
 * So metadata that was restored from a backup, and knows less, is not followed. */
bool partition_begin_epoch(struct partition *partition)
{
    int32_t newest = epochs_of_offset(&partition->epochs, INT64_MAX);
    if (partition->leader_epoch < newest) {
        diag_line(partition->store->diag, DIAG_WARN, "storage/partition",
                  "log has a newer leader epoch than the metadata and goes on in that",
                  "partition=%s epoch=%d metadata_epoch=%d remedy=\"none if the metadata is meant "
                  "to be older than the log; otherwise restore it\"",
                  partition->name, newest, partition->leader_epoch);
        partition->leader_epoch = newest;
    }
    bool begun = epochs_begin(&partition->epochs, partition->leader_epoch, partition->end_offset);
    partition->epochs_changed = partition->epochs_changed || begun;
    return begun;
}

enum status partition_open(struct partition **out, struct store *store,
                           const struct partition_options *options)
{
    check_magic(store, STORE_MAGIC);
    *out = NULL;
    struct partition *partition = partition_new(store, options);
    if (partition == NULL) {
        return STATUS_NO_MEMORY;
    }
    partition->producers = partition_new_producers(partition);
    enum status status = partition->producers == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK && !options->fresh) {
        status = recovery_load(partition, INT64_MAX);
    }
    if (status != STATUS_OK) {
        partition_drain(partition);
        partition_dispose(partition);
        return status;
    }
    list_push_tail(&store->partitions, &partition->node);
    (void)partition_begin_epoch(partition);
    tend_start(partition);
    partition_ask(partition);
    *out = partition;
    return STATUS_OK;
}

void partition_dispose(struct partition *partition)
{
    partition_unload(partition);
    producers_close(partition->producers);
    partition_free(partition);
}

void partition_cancel_reads(struct partition *partition)
{
    for (int32_t i = 0; i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->aborted_lost) {
            segment->rows_fault = -EIO;
            segment_wake_rows(segment);
        }
    }
    partition_keys_cancel(partition, -ECANCELED);
}

/* Whether something that a clean stop waits for can still come. */
static bool partition_is_flushing(const struct partition *partition)
{
    bool flushing = !list_is_empty(&partition->waiting) || !list_is_empty(&partition->pending) ||
                    partition_is_busy(partition);
    return flushing && !partition->broken;
}

void partition_close(struct partition *partition, bool clean)
{
    check_magic(partition, PARTITION_MAGIC);
    struct store *store = partition->store;
    partition->stopping = true;
    /* What waits for a file is refused, and no longer in the log: as after a failed write. */
    partition->broken = partition->broken || partition->fileless;
    partition_cancel_reads(partition);
    while (clean && partition_is_flushing(partition)) {
        store_commit(store);
        if (ring_in_flight(store->ring) == 0) {
            break; /* refused for want of space: nothing more will come */
        }
        ring_wait(store->ring);
    }
    partition->closing = true;
    partition_refuse(partition, STATUS_KAFKA_STORAGE_ERROR, true);
    partition_cancel_reads(partition);
    partition_fire_watches(partition, true);
    partition_drain(partition);
    if (clean && partition->broken) {
        /* What a failed write left must not be taken for good by the next start. */
        upkeep_reload(partition);
        partition_drain(partition);
    }
    if (clean && !partition->broken && partition->state != PARTITION_FAILED) {
        tend_stop(partition);
    }
    partition_dispose(partition);
}

/* ---- facts ---- */

const char *partition_name(const struct partition *partition)
{
    return partition->name;
}

const struct producers *partition_producers(const struct partition *partition)
{
    return partition->producers;
}

struct partition_facts partition_facts(const struct partition *partition)
{
    check_magic(partition, PARTITION_MAGIC);
    int64_t size = 0;
    for (int32_t i = 0; i < partition->segment_count; i++) {
        size += partition->segments[i]->size;
    }
    return (struct partition_facts){
        .state = partition->state,
        .log_start_offset = partition->log_start_offset,
        .last_stable_offset = partition_last_stable(partition),
        .high_watermark = partition->high_watermark,
        .end_offset = partition->end_offset,
        .size = size,
        .segment_count = partition->segment_count,
        .leader_epoch = partition->leader_epoch,
        .cut_size = partition->cut_size,
        .epoch_bump_due = partition->epoch_bump_due,
    };
}

void partition_configure(struct partition *partition, const struct partition_config *config)
{
    partition->config = *config;
    partition_keys_configure(partition);
}

void partition_set_epoch(struct partition *partition, int32_t leader_epoch)
{
    partition->leader_epoch = leader_epoch;
    if (partition->broken) {
        return; /* the reload begins it: it finds the end of the log */
    }
    if (partition_begin_epoch(partition)) {
        partition->epoch_bump_due = false;
    }
    tend_start(partition);
}

struct partition_epoch_end partition_epoch_end(const struct partition *partition, int32_t epoch)
{
    struct epoch_entry entry = epochs_end_of(&partition->epochs, epoch, partition->high_watermark);
    return (struct partition_epoch_end){entry.epoch, entry.start_offset};
}
