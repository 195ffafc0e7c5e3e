/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_upkeep(): lists in order of time first, each looked at only as far as something is due;
 * then a bounded part of the round over all partitions (retention, producer expiry, rows that
 * nobody used since the last round).
 */
#include "storage/upkeep.h"

#include <errno.h>

#include "base/check.h"
#include "storage/commit.h"
#include "storage/hint_reader.h"
#include "storage/key_build.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/recovery.h"
#include "storage/removal.h"
#include "storage/retention.h"
#include "storage/space.h"
#include "storage/tend.h"

/* A look at one partition, measured with a dozen segments. */
#define UPKEEP_PARTITION_NS 1000
/* Segments of a log that may go in one round; sizes are counted of all. */
#define UPKEEP_SEGMENTS_MAX 4096

/* Read-only; what could not even be read back is not served at all until it is loaded again. */
static void upkeep_fail(struct partition *partition, enum status status, int64_t high_watermark,
                        bool again)
{
    partition->state = PARTITION_FAILED;
    partition->broken = status != STATUS_OK;
    partition->failed_watermark = high_watermark;
    if (partition->broken) {
        partition->end_offset = partition->high_watermark = high_watermark;
    }
    diag_line(partition->store->diag, DIAG_ERROR, "storage/partition",
              "log is read-only until weir log reopen, or until the broker starts again",
              "partition=%s status=%s offset=%lld expected=%lld again=%d", partition->name,
              status_name(status), (long long)partition->end_offset, (long long)high_watermark,
              again);
    partition_refuse(partition, STATUS_KAFKA_STORAGE_ERROR, true);
    partition_ask(partition);
}

/* P5: nothing of the volatile state is believed; the file is sealed at the high watermark. */
void upkeep_reload(struct partition *partition)
{
    struct store *store = partition->store;
    partition_cancel_reads(partition); /* what they wait for may be the next upkeep */
    partition_drain(partition);
    if (partition->removing) {
        return;
    }
    uint64_t now_ns = ring_now_ns(store->ring);
    bool again = partition->failed_ns != 0 && now_ns - partition->failed_ns < PARTITION_FAILURE_NS;
    partition->failed_ns = now_ns;
    int64_t high_watermark = partition->state == PARTITION_FAILED ? partition->failed_watermark
                                                                  : partition->high_watermark;
    int64_t log_start_offset = partition->log_start_offset;
    partition_unload(partition);
    partition->placed = partition->frozen = partition->tail_wanted = partition->untended = false;
    partition->copied = 0;
    partition->small_writes = 0;
    partition->snapshot_offset = partition->snapshot_previous = -1;
    partition->end_offset = partition->high_watermark = 0;
    epochs_init(&partition->epochs);
    enum status status = partition_forget_producers(partition);
    if (status == STATUS_OK) {
        status = recovery_load(partition, high_watermark);
    }
    if (partition->log_start_offset < log_start_offset) {
        partition->log_start_offset = log_start_offset;
    }
    bool whole = status == STATUS_OK && partition->end_offset == high_watermark;
    if (!whole || again) {
        upkeep_fail(partition, status, high_watermark, again);
        return;
    }
    partition->broken = false;
    (void)partition_begin_epoch(partition);
    partition->epochs_changed = true;
    struct segment *active = partition_active(partition);
    if (active != NULL && active->size > 0) {
        partition->roll_due = true; /* never again on that file */
    }
    partition->state = PARTITION_OPEN;
    tend_start(partition);
}

void partition_reopen(struct partition *partition)
{
    struct store *store = partition->store;
    diag_line(store->diag, DIAG_WARN, "storage/partition", "log is loaded again as asked for",
              "partition=%s", partition->name);
    partition->failed_ns = 0;
    partition->broken = true;
    if (!list_is_linked(&partition->broken_node)) {
        list_push_tail(&store->broken, &partition->broken_node);
    }
    store_arm(store, ring_now_ns(store->ring));
}

/* Aborted transactions that neither hint nor .txnindex could tell. */
static void upkeep_replay(struct partition *partition)
{
    bool lost = false;
    for (int32_t i = 0; i < partition->segment_count; i++) {
        lost = lost || partition->segments[i]->aborted_lost;
    }
    if (!lost) {
        return;
    }
    enum status status = recovery_replay_aborted(partition);
    for (int32_t i = 0; i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (!segment->aborted_lost) {
            continue;
        }
        segment->aborted_loaded = status == STATUS_OK;
        segment->aborted_lost = status != STATUS_OK; /* tried again with the next use */
        if (status != STATUS_OK) {
            segment->rows_fault = status == STATUS_NO_MEMORY ? -ENOMEM : -EIO;
        }
        segment_wake_rows(segment);
    }
}

static void upkeep_broken(struct store *store)
{
    for (;;) {
        struct list_node *node = list_pop_head(&store->broken);
        if (node == NULL) {
            return;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, broken_node);
        if (partition->removing) {
            continue;
        }
        partition->attended = true; /* a topic may be deleted by what completes meanwhile */
        if (partition->broken) {
            upkeep_reload(partition);
        } else {
            upkeep_replay(partition);
            upkeep_rot(partition);
            tend_start(partition);
        }
        partition->attended = false;
    }
}

static void upkeep_refused(struct store *store, uint64_t now_ns)
{
    if (list_is_empty(&store->refused)) {
        return;
    }
    if (now_ns < store->retry_ns) {
        store_arm(store, store->retry_ns);
        return;
    }
    store->retry_ns = now_ns + STORE_RETRY_NS;
    struct list refused;
    list_init(&refused);
    list_splice_tail(&refused, &store->refused);
    for (;;) {
        struct list_node *node = list_pop_head(&refused);
        if (node == NULL) {
            return;
        }
        space_retry(LIST_ENTRY(node, struct partition, refused_node));
    }
}

/* The first `count` ones; answers the bytes of the others. */
static int64_t upkeep_list_segments(const struct partition *partition,
                                    struct retention_segment *list, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        const struct segment *segment = partition->segments[i];
        list[i] = (struct retention_segment){
            .base_offset = segment->base_offset,
            .end_offset = segment->end_offset,
            .size = segment->size,
            .timestamp_max = segment->timestamp_max,
        };
    }
    int64_t size_behind = 0;
    for (int32_t i = count; i < partition->segment_count; i++) {
        size_behind += partition->segments[i]->size;
    }
    return size_behind;
}

/* Producers are known from the log or from a snapshot of its time: one of before its start does not
 * count, so the log may not begin behind the newest. */
static bool upkeep_may_begin(const struct partition *partition, int64_t base_offset)
{
    return producers_count(partition->producers) == 0 || partition->snapshot_offset >= base_offset;
}

static void upkeep_retention(struct partition *partition)
{
    struct store *store = partition->store;
    if (partition->segment_count == 0 || removal_resume(partition)) {
        return;
    }
    int32_t count = partition->segment_count;
    count = count < UPKEEP_SEGMENTS_MAX ? count : UPKEEP_SEGMENTS_MAX;
    size_t size = (size_t)count * sizeof(struct retention_segment);
    struct retention_segment *list = heap_acquire(store->heap, size);
    if (list == NULL) {
        return;
    }
    struct retention_rules rules = {
        .delete_old = partition->config.delete_old,
        .retention_ms = partition->config.retention_ms,
        .retention_size = partition->config.retention_size,
        .now_ms = ring_wall_ms(store->ring),
        .log_start_offset = partition->log_start_offset,
        .high_watermark = partition->high_watermark,
        .size_behind = upkeep_list_segments(partition, list, count),
    };
    bool roll_active = false;
    int32_t due = retention_pick(list, count, &rules, &roll_active);
    heap_release(store->heap, list, size);
    if (roll_active && count == partition->segment_count &&
        partition->high_watermark == partition->end_offset) {
        partition_roll_idle(partition);
    }
    due = due < partition->segment_count ? due : partition->segment_count - 1;
    due += PLANTED(RETENTION_GREEDY) && due > 0 && due + 1 < partition->segment_count;
    int32_t ready = 0;
    while (ready < due && partition->segments[ready]->finished &&
           upkeep_may_begin(partition, partition->segments[ready + 1]->base_offset)) {
        ready += 1;
    }
    if (ready < due && partition->segments[ready]->finished && partition->capture.memory == NULL) {
        tend_capture(partition); /* for the next round */
        tend_start(partition);
    }
    if (ready > 0) {
        removal_segments(partition, ready);
    }
}

static void upkeep_rows(struct partition *partition)
{
    for (int32_t i = 0; i + 1 < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (!segment->finished || !segment->rows_loaded || segment->holders > 1) {
            continue;
        }
        if (segment->rows_used > 0) {
            segment->rows_used -= 1;
        } else if (segment->hinted ||
                   (!segment->rebuilt && segment->tail_position == segment->size)) {
            segment_unload_rows(segment);
        }
    }
}

/* Partitions whose facts are read at the same time. */
#define UPKEEP_KNOWING_MAX 4

static struct segment *upkeep_unknown(const struct partition *partition)
{
    for (int32_t i = 0; i < partition->segment_count; i++) {
        if (!partition->segments[i]->known) {
            return partition->segments[i];
        }
    }
    return NULL;
}

/* Facts of every sealed segment, one after the other: a start reads none of them. */
static void know_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    while (!partition->stopping && !partition->closing && !partition->removing &&
           !partition->broken && (job->segment = upkeep_unknown(partition)) != NULL) {
        job->op.result = -ENOENT;
        if (job->segment->hinted) {
            JOB_CALL(job, job_call(job, hint_read_job(job->segment, HINT_FACTS)));
        }
        if (job->op.result == -ENOENT || job->op.result == -EBADMSG) {
            JOB_CALL(job, job_wait_rows(job, job->segment));
        }
        if (job->op.result < 0) {
            break; /* the next round tries again */
        }
    }
    partition->knowing = false;
    job->store->knowing -= 1;
    JOB_END(job, 0);
}

/* True: everything is known already. */
static bool upkeep_know(struct partition *partition)
{
    struct store *store = partition->store;
    if (partition->knowing || upkeep_unknown(partition) != NULL) {
        struct job *job = partition->knowing || store->knowing == UPKEEP_KNOWING_MAX
                              ? NULL
                              : job_take(store, partition, know_run);
        if (job != NULL) {
            partition->knowing = true;
            store->knowing += 1;
            job->run(job);
        }
        return false;
    }
    return true;
}

/* Segments sealed by an older version get their hint, one a round. */
static void upkeep_hint(struct partition *partition)
{
    for (int32_t i = 0; i + 1 < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->finished && !segment->hinted && segment->holders == 1) {
            segment->finished = false;
            tend_start(partition);
            return;
        }
    }
}

static void upkeep_partition(struct partition *partition)
{
    if (partition->broken || partition->removing || partition->state == PARTITION_FAILED) {
        return;
    }
    bool known = upkeep_know(partition);
    if (known) {
        upkeep_hint(partition);
    }
    if (known && partition->config.key_index) {
        partition_keys_catch_up(partition);
        key_build_start(partition, true);
    }
    if (known && partition->store->round_deletes) {
        upkeep_retention(partition);
    }
    upkeep_rows(partition);
    (void)producers_expire(partition->producers, ring_wall_ms(partition->store->ring),
                           partition->config.producer_expiration_ms);
}

static void upkeep_round(struct store *store, uint64_t now_ns, uint64_t budget_ns)
{
    if (store->round == NULL) {
        if (now_ns < store->round_ns || list_is_empty(&store->partitions)) {
            if (!list_is_empty(&store->partitions)) {
                store_arm(store, store->round_ns);
            }
            return;
        }
        store->round_ns = now_ns + STORE_ROUND_NS;
        store->round_deletes = now_ns >= store->retention_ns;
        if (store->round_deletes) {
            store->retention_ns = now_ns + store->retention_check_ns;
        }
        store->round = list_first(&store->partitions);
    }
    uint64_t count = budget_ns / UPKEEP_PARTITION_NS + 1;
    while (store->round != NULL && count > 0) {
        struct list_node *node = store->round;
        store->round = node->next == &store->partitions.head ? NULL : node->next;
        upkeep_partition(LIST_ENTRY(node, struct partition, node));
        count -= 1;
    }
    store_arm(store, store->round == NULL ? store->round_ns : now_ns);
}

void store_upkeep(struct store *store, uint64_t budget_ns)
{
    check_magic(store, STORE_MAGIC);
    uint64_t now_ns = ring_now_ns(store->ring);
    upkeep_broken(store);
    tend_uncovered(store, now_ns);
    commit_rest(store, now_ns);
    upkeep_refused(store, now_ns);
    upkeep_requests(store, now_ns);
    removal_retry(store);
    removal_due(store, now_ns);
    store_yield_keys(store);
    upkeep_round(store, now_ns, budget_ns);
}
