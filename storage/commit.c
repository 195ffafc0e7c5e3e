/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/commit.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/slab.h"
#include "storage/space.h"
#include "storage/tend.h"

/* Zeros go ahead of the tail only after so many small writes, so far, in such pieces. */
#define ZEROS_AFTER_WRITES 8
#define ZEROS_WRITE_SMALL INT64_C(32768) /* of 64 KiB the zeros cost more than they save */
#define ZEROS_AHEAD_MAX INT64_C(1048576)
#define ZEROS_PIECE_FIRST INT64_C(65536)

void commit_mark_dirty(struct partition *partition)
{
    struct store *store = partition->store;
    if (list_is_linked(&partition->rest_node)) {
        list_remove(&partition->rest_node);
    }
    if (!list_is_linked(&partition->dirty_node)) {
        list_push_tail(&store->dirty, &partition->dirty_node);
    }
}

void commit_starve(struct partition *partition)
{
    if (!list_is_linked(&partition->starved_node)) {
        list_push_tail(&partition->store->starved, &partition->starved_node);
    }
}

void commit_rest(struct store *store, uint64_t now_ns)
{
    for (;;) {
        struct list_node *node = list_first(&store->resting);
        if (node == NULL) {
            return;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, rest_node);
        if (now_ns != UINT64_MAX && now_ns - partition->idle_since_ns < STORE_REST_NS) {
            store_arm(store, partition->idle_since_ns + STORE_REST_NS);
            return;
        }
        list_remove(node);
        struct segment *segment = partition_active(partition);
        if (partition->write == NULL && segment != NULL && segment->durable == segment->size) {
            slab_graduate(segment, true);
            if (now_ns != UINT64_MAX && segment->file.users == 0) {
                file_condemn(store, segment);
            }
        }
        if (now_ns == UINT64_MAX) {
            return; /* one at a time under pressure, the longest idle */
        }
    }
}

void commit_feed(struct store *store)
{
    if (list_is_empty(&store->starved)) {
        return;
    }
    commit_rest(store, UINT64_MAX);
    struct list starved;
    list_init(&starved);
    list_splice_tail(&starved, &store->starved);
    for (;;) {
        struct list_node *node = list_pop_head(&starved);
        if (node == NULL) {
            return;
        }
        partition_pump(LIST_ENTRY(node, struct partition, starved_node));
    }
}

static void commit_note_answer(struct list *answers, struct partition_append *append,
                               enum status status, int64_t log_start_offset)
{
    append->status = status;
    append->log_start_offset = log_start_offset;
    list_push_tail(answers, &append->node);
}

/* Whether the oldest pending append is wholly durable; moves `visible` over it. */
static bool commit_pass(struct partition *partition, const struct partition_append *append)
{
    int32_t index = partition_segment_of(partition, append->base_offset);
    check(index >= 0);
    struct segment *segment = partition->segments[index];
    int64_t end = segment->visible + (int64_t)append->size;
    if (end > segment->durable && !PLANTED(EARLY_HIGH_WATERMARK)) {
        return false;
    }
    segment->hint_offset = append->base_offset;
    segment->hint_position = segment->visible;
    if (segment->key_index) {
        partition_keys_note(segment, bytes_of(append->batch, append->size));
    }
    segment->visible = end;
    if (append->header.max_timestamp > segment->timestamp_visible) {
        segment->timestamp_visible = append->header.max_timestamp;
    }
    return true;
}

void commit_advance(struct partition *partition)
{
    struct list answers;
    list_init(&answers);
    int64_t before = partition->high_watermark;
    for (;;) {
        struct list_node *node = list_first(&partition->pending);
        struct partition_append *append =
            node == NULL ? NULL : LIST_ENTRY(node, struct partition_append, node);
        if (append != NULL && commit_pass(partition, append)) {
            list_remove(node);
            partition->high_watermark = append->base_offset + append->header.last_offset_delta + 1;
            commit_note_answer(&answers, append, STATUS_OK, partition->log_start_offset);
        } else {
            append = NULL;
        }
        struct list_node *twin = list_first(&partition->duplicates);
        while (twin != NULL && LIST_ENTRY(twin, struct partition_append, node)->wait_offset <=
                                   partition->high_watermark) {
            list_remove(twin);
            commit_note_answer(&answers, LIST_ENTRY(twin, struct partition_append, node), STATUS_OK,
                               partition->log_start_offset);
            twin = list_first(&partition->duplicates);
        }
        if (append == NULL) {
            break;
        }
    }
    check(partition->high_watermark >= before);
    for (;;) {
        struct list_node *node = list_pop_head(&answers);
        if (node == NULL) {
            break;
        }
        struct partition_append *append = LIST_ENTRY(node, struct partition_append, node);
        append->done(append);
    }
    if (partition->high_watermark != before) {
        tend_note_visible(partition);
        partition_fire_watches(partition, false);
    }
}

static void write_give_back(struct write *write)
{
    struct partition *partition = write->partition;
    struct store *store = partition->store;
    if (write->bounce != NULL) {
        pages_release_page(store->pages, write->bounce, PAGES_SLAB);
    }
    check(partition->write == write);
    partition->write = NULL;
    partition->frozen = false;
    segment_drop(write->segment);
    pool_give(&store->writes, write);
}

/* The position after a durable write: the next segment, rest, or more of the same. */
static void commit_settle(struct partition *partition)
{
    struct segment *segment = partition->writing;
    while (segment->sealed && segment->durable == segment->size) {
        slab_graduate(segment, true);
        int32_t index = partition_segment_of(partition, segment->base_offset);
        check(partition->segments[index] == segment && index + 1 < partition->segment_count);
        segment = partition->segments[index + 1];
        partition->writing = segment;
        tend_start(partition);
    }
    struct store *store = partition->store;
    if (segment->durable < segment->size) {
        commit_mark_dirty(partition);
        return;
    }
    if (list_is_linked(&partition->dirty_node)) {
        list_remove(&partition->dirty_node);
    }
    if (list_is_empty(&partition->waiting)) {
        partition->idle_since_ns = ring_now_ns(store->ring);
        if (!list_is_linked(&partition->rest_node)) {
            list_push_tail(&store->resting, &partition->rest_node);
            store_arm(store, partition->idle_since_ns + STORE_REST_NS);
        }
    }
    if (partition->small_writes >= ZEROS_AFTER_WRITES && !list_is_linked(&partition->quiet_node)) {
        list_push_tail(&store->quiet, &partition->quiet_node);
    }
}

static void commit_end(struct write *write, int64_t result)
{
    struct partition *partition = write->partition;
    struct store *store = partition->store;
    struct segment *segment = write->segment;
    if ((result < 0 && !PLANTED(WRITE_ERROR_IGNORED)) || partition->broken) {
        write_give_back(write);
        if (!partition->broken) {
            partition_break(partition, result, "log write failed");
        }
        return;
    }
    if (write->written_until > segment->written_until) {
        segment->written_until = write->written_until;
    }
    if (!write->zeros) {
        check(write->until > segment->durable && write->until <= segment->size);
        if (write->until - segment->durable < ZEROS_WRITE_SMALL) {
            partition->small_writes += 1;
        }
        segment->durable = write->until;
    }
    segment_hold(segment);
    write_give_back(write);
    slab_graduate(segment, false);
    commit_settle(partition);
    segment_drop(segment);
    commit_advance(partition);
    if (!partition->broken) {
        partition_pump(partition);
    }
    commit_feed(store);
}

static void write_done(struct op *op)
{
    struct write *write = op->owner;
    file_unuse(write->partition->store, write->segment);
    commit_end(write, op->result);
}

static void write_submit(struct write *write, int32_t descriptor)
{
    struct store *store = write->partition->store;
    write->op = (struct op){.kind = OP_WRITE,
                            .flags = PLANTED(WRITE_NOT_DURABLE) ? 0 : OP_DSYNC,
                            .file = descriptor,
                            .vector = write->vector,
                            .vector_count = write->vector_count,
                            .position = (uint64_t)write->from,
                            .done = write_done,
                            .owner = write};
    store->counters.writes += 1;
    store->counters.write_size += (uint64_t)(write->written_until - write->from);
    ring_submit(store->ring, &write->op);
    space_note_file(write->partition);
}

/* Nothing was written. Zeros may be left out; the rest is tried again by space_retry(). */
static void write_refused(struct write *write, int64_t error)
{
    struct partition *partition = write->partition;
    bool zeros = write->zeros;
    if (!job_is_short(error) || partition->broken || partition->removing) {
        commit_end(write, error);
        return;
    }
    write_give_back(write);
    if (zeros) {
        commit_settle(partition);
    } else {
        space_wait_file(partition, error, "open");
    }
}

static void write_file_ready(struct file_user *user, int32_t result)
{
    struct write *write = CONTAINER_OF(user, struct write, user);
    if (result < 0) {
        write_refused(write, result);
    } else {
        write_submit(write, result);
    }
}

static void commit_start(struct write *write)
{
    struct partition *partition = write->partition;
    check(partition->write == NULL || PLANTED(OVERLAPPING_WRITES)); /* S1 */
    partition->write = write;
    partition->frozen = write->frozen;
    segment_hold(write->segment);
    write->user.ready = write_file_ready;
    int32_t descriptor = file_use(partition->store, write->segment, &write->user);
    if (descriptor >= 0) {
        write_submit(write, descriptor);
    } else if (descriptor != -EAGAIN) {
        write_refused(write, descriptor);
    }
}

static void commit_write(struct partition *partition)
{
    struct store *store = partition->store;
    struct segment *segment = partition->writing;
    struct write *write = pool_take(&store->writes);
    if (write == NULL) {
        commit_mark_dirty(partition);
        return;
    }
    write->partition = partition;
    write->segment = segment;
    writer_build(store, write);
    commit_start(write);
}

/* The memory of the zeros is shared: nobody ever writes to it (S2). */
static bool commit_zeros_memory(struct store *store)
{
    if (store->zeros == NULL) {
        store->zeros = cache_acquire_run(store, STORE_ZEROS_SIZE);
        if (store->zeros != NULL) {
            memset(store->zeros, 0, STORE_ZEROS_SIZE);
        }
    }
    return store->zeros != NULL;
}

static void commit_write_zeros(struct partition *partition)
{
    struct store *store = partition->store;
    struct segment *segment = partition->writing;
    int64_t unit = (int64_t)PAGE_SIZE;
    int64_t from = (segment->durable + unit - 1) / unit * unit;
    int64_t piece = ZEROS_PIECE_FIRST;
    if (segment->written_until > from) {
        from = segment->written_until;
        piece = (int64_t)STORE_ZEROS_SIZE;
    }
    int64_t until = segment->durable + ZEROS_AHEAD_MAX;
    until = until < segment->allocated ? until : segment->allocated;
    if (until - from < piece || !commit_zeros_memory(store)) {
        return;
    }
    struct write *write = pool_take(&store->writes);
    if (write == NULL) {
        return;
    }
    partition->small_writes = 0;
    write->partition = partition;
    write->segment = segment;
    write->zeros = true;
    write->from = from;
    write->until = segment->durable;
    write->written_until = from + piece;
    write->vector_count = 1;
    write->vector[0] = (struct iovec){store->zeros, (size_t)piece};
    commit_start(write);
}

void store_commit(struct store *store)
{
    check_magic(store, STORE_MAGIC);
    commit_feed(store);
    struct list dirty;
    list_init(&dirty);
    list_splice_tail(&dirty, &store->dirty);
    for (;;) {
        struct list_node *node = list_pop_head(&dirty);
        if (node == NULL) {
            break;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, dirty_node);
        struct segment *segment = partition->writing;
        bool writes = partition->write != NULL && !PLANTED(OVERLAPPING_WRITES);
        if (writes || partition->broken || !segment->named || segment->durable == segment->size) {
            continue; /* marked again by the completion, or when the name is there */
        }
        commit_write(partition);
    }
    for (;;) {
        struct list_node *node = list_pop_head(&store->quiet);
        if (node == NULL) {
            break;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, quiet_node);
        struct segment *segment = partition->writing;
        bool quiet = partition->write == NULL && !partition->broken && !partition->closing &&
                     segment->named && segment->durable == segment->size && !segment->sealed;
        if (quiet && store->writer != WRITER_BUFFERED) {
            commit_write_zeros(partition);
        }
    }
}
