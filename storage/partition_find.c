/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest record of a key, from the end of the log backwards: the index of the active segment,
 * then each sealed one's, in memory as long as its hint is not there, then filter and key table of
 * its hint. The first decided record that is met is the newest, because offsets only grow.
 *
 * A row of a transaction that was open when its table was made is judged now: open still, aborted,
 * or committed. Aborted transactions come with the hints of this segment and later ones, as for
 * reads.
 */
#include <errno.h>

#include "base/check.h"
#include "storage/hint_keys.h"
#include "storage/hint_pages.h"
#include "storage/key_build.h"
#include "storage/keyed.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/tend.h"

struct find_state {
    struct partition_key_find *find;
    struct hint_identity identity;
    struct segment *segment; /* held */
    int64_t until;           /* segments from here on have been asked */
    uint64_t instance;       /* of the hint that is searched */
    bool damaged;            /* its table was made again once */
    enum hint_search_verdict verdict;
    const uint8_t *page;
    int64_t unjudged; /* offset of a row that could not be judged, -1 none */
    struct hint_search search;
    uint8_t form[KEY_FORM_MAX];
};

/* One page for reads, then the state. */
#define FIND_RUN_SIZE (PAGE_SIZE + sizeof(struct find_state))

static struct find_state *find_of(struct job *job)
{
    return (void *)(job->memory + PAGE_SIZE);
}

static bool find_is_over(const struct job *job)
{
    const struct partition *partition = job->partition;
    return partition->closing || partition->removing || partition->broken;
}

static void find_take(struct partition_key_find *find, const struct segment *segment,
                      const struct key_entry *entry, bool from_hint)
{
    find->offset = entry->offset;
    find->timestamp = entry->timestamp;
    find->base_offset = segment->base_offset;
    find->position = entry->position;
    find->size = entry->size;
    find->tombstone = (entry->flags & KEY_TOMBSTONE) != 0;
    find->from_hint = from_hint;
}

/* ---- transactions ---- */

/* As read_aborted_missing() of partition_read.c, of one offset. */
static struct segment *find_missing(const struct find_state *state,
                                    const struct partition *partition, int64_t offset)
{
    int32_t index = partition_segment_of(partition, state->segment->base_offset);
    for (; index >= 0 && index < partition->segment_count; index++) {
        struct segment *segment = partition->segments[index];
        if (!segment->aborted_loaded) {
            return segment;
        }
        if (segment->stable_offset > offset) {
            return NULL;
        }
    }
    return NULL;
}

/* Whether the row the search stands on counts; sets `unjudged` where that cannot be told yet. */
static bool find_judge(struct job *job)
{
    struct find_state *state = find_of(job);
    struct partition *partition = job->partition;
    const struct hint_key *row = &state->search.cursor.key;
    if ((row->entry.flags & KEY_UNDECIDED) == 0 || PLANTED(UNDECIDED_COUNTS)) {
        return true;
    }
    if (find_missing(state, partition, row->entry.offset) != NULL) {
        state->unjudged = row->entry.offset;
        return false;
    }
    return producers_decided(partition->producers, row->producer_id, row->entry.offset,
                             partition->high_watermark) == PRODUCERS_COMMITTED;
}

/* ---- one hint ---- */

/* The page in job->memory is what was written. */
static bool find_check(struct job *job)
{
    struct find_state *state = find_of(job);
    struct hint_header header;
    if (state->search.number == 0) {
        return hint_decode_header(job->memory, &state->identity, &header);
    }
    return hint_check_key_page(job->memory, &state->search.header, state->search.number,
                               state->identity.seed);
}

/* Goes on with the page until another one is needed, a row counts, or there is none. */
static void find_step(struct job *job)
{
    struct find_state *state = find_of(job);
    do {
        state->verdict = hint_search_step(&state->search, state->page);
    } while (state->verdict == HINT_SEARCH_ENTRY && !find_judge(job) && state->unjudged < 0);
}

/* 1: found, 0: the segment does not have the key, -EAGAIN: something came in between, begin anew;
 * -EBADMSG: the hint is damaged; another -errno. */
static void search_run(struct job *job)
{
    struct find_state *state = find_of(job);
    struct segment *segment = state->segment;
    JOB_BEGIN(job);
    state->instance = segment->keys_instance;
    state->unjudged = -1;
    hint_search_begin(&state->search, key_form(state->find->key, state->form));
    state->verdict = HINT_SEARCH_NEEDS;
    while (state->verdict == HINT_SEARCH_NEEDS) {
        state->page = hint_pages_find(job->store, state->instance, state->search.number);
        if (state->page != NULL) {
            find_step(job);
            continue;
        }
        if (job->file < 0) {
            store_path_offset(job->store, job->path, job->partition->name, segment->base_offset,
                              ".hint");
            JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
                      .flags = OPEN_READ | store_direct(job->store));
            if (job->op.result < 0) {
                return job_end(job, job->op.result == -ENOENT ? -EBADMSG : job->op.result);
            }
            job->file = (int32_t)job->op.result;
        }
        job->slice = (struct iovec){job->memory, PAGE_SIZE};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)state->search.number * HINT_PAGE_SIZE);
        if (job->op.result < 0) {
            break;
        }
        if (job->op.result != (int64_t)PAGE_SIZE || !find_check(job)) {
            state->verdict = HINT_SEARCH_DAMAGED;
            break;
        }
        hint_pages_add(job->store, state->instance, state->search.number, job->memory);
        state->page = job->memory;
        find_step(job);
    }
    job->position = job->op.result;
    if (job->file >= 0) {
        JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    }
    if (state->instance != segment->keys_instance || state->unjudged >= 0) {
        return job_end(job, -EAGAIN);
    }
    if (state->verdict == HINT_SEARCH_NEEDS) {
        return job_end(job, job->position); /* the read failed */
    }
    JOB_END(job, state->verdict == HINT_SEARCH_ENTRY    ? 1
                 : state->verdict == HINT_SEARCH_ABSENT ? 0
                                                        : -EBADMSG);
}

static struct job *search_job(struct job *parent)
{
    struct job *job = job_take(parent->store, parent->partition, search_run);
    if (job != NULL) {
        job->memory = parent->memory;
    }
    return job;
}

/* ---- the log ---- */

/* The newest segment below state->until that may hold a visible record. NULL: there is none. */
static struct segment *find_next_segment(struct job *job)
{
    struct find_state *state = find_of(job);
    const struct partition *partition = job->partition;
    for (int32_t i = partition->segment_count; i-- > 0;) {
        struct segment *segment = partition->segments[i];
        if (segment->end_offset <= partition->log_start_offset) {
            return NULL;
        }
        if (segment->base_offset < state->until) {
            return segment;
        }
    }
    return NULL;
}

static void find_use(struct find_state *state, struct segment *segment)
{
    if (segment != NULL) {
        segment_hold(segment);
        state->until = segment->base_offset;
    }
    if (state->segment != NULL) {
        segment_drop(state->segment);
    }
    state->segment = segment;
    state->damaged = false;
}

/*
 * The segment's index in memory, where it has one. One of a sealed segment knows nothing of markers
 * in later ones: with undecided keys its table is waited for.
 */
static bool find_in_memory(struct job *job, bool *found)
{
    struct find_state *state = find_of(job);
    struct segment *segment = state->segment;
    struct key_entry entry;
    if (!segment->key_index ||
        (segment->keyed != NULL && segment->sealed && segment->visible == segment->size &&
         keyed_has_undecided(segment->keyed))) {
        return false;
    }
    *found = segment->keyed != NULL && keyed_get(segment->keyed, state->find->key, &entry);
    if (*found) {
        find_take(state->find, segment, &entry, false);
    }
    return true;
}

/* Waits for aborted transactions that the row in question needs. */
static void find_wait_aborted(struct job *job)
{
    struct find_state *state = find_of(job);
    struct segment *missing = find_missing(state, job->partition, state->unjudged);
    job_wait_aborted(job, missing == NULL ? state->segment : missing);
}

/* The table of state->segment: 1 found, 0 not there, or -errno. */
static void table_run(struct job *job)
{
    struct find_state *state = find_of(job);
    struct segment *segment = state->segment;
    JOB_BEGIN(job);
    for (;;) {
        if (find_is_over(job) || !segment_is_listed(segment)) {
            return job_end(job, find_is_over(job) ? -ECANCELED : 0);
        }
        if (segment->keys != SEGMENT_KEYS_THERE) {
            JOB_CALL(job, job_wait_keys(job, segment));
            if (job->op.result < 0) {
                return job_end(job, job->op.result == -ENOENT ? 0 : job->op.result);
            }
            continue;
        }
        JOB_CALL(job, job_call(job, search_job(job)));
        if (job->op.result == -EAGAIN && state->unjudged >= 0 && !find_is_over(job)) {
            JOB_CALL(job, find_wait_aborted(job));
            if (job->op.result < 0) {
                return job_end(job, job->op.result);
            }
            continue;
        }
        if (job->op.result == -EBADMSG && !state->damaged) {
            state->damaged = true; /* H1 */
            segment_lose_keys(segment);
            continue;
        }
        if (job->op.result != -EAGAIN) {
            break;
        }
    }
    if (job->op.result == 1) {
        find_take(state->find, segment, &state->search.cursor.key.entry, true);
    }
    JOB_END(job, job->op.result);
}

static struct job *table_job(struct job *parent)
{
    struct job *job = job_take(parent->store, parent->partition, table_run);
    if (job != NULL) {
        job->memory = parent->memory;
    }
    return job;
}

static void find_run(struct job *job)
{
    struct find_state *state = find_of(job);
    JOB_BEGIN(job);
    job->position = 0;
    while (!find_is_over(job)) {
        bool found = false;
        find_use(state, find_next_segment(job));
        if (state->segment == NULL) {
            break;
        }
        if (state->segment == partition_active(job->partition) && !state->segment->key_index &&
            state->segment->size > 0) {
            job->position = -EAGAIN;
            break;
        }
        if (find_in_memory(job, &found)) {
            if (found) {
                break;
            }
            continue;
        }
        state->identity = hint_identity_of(&job->partition->topic_id, job->partition->index,
                                           state->segment->base_offset);
        JOB_CALL(job, job_call(job, table_job(job)));
        if (job->op.result != 0) {
            job->position = job->op.result < 0 ? job->op.result : 0;
            break;
        }
    }
    if (find_is_over(job)) {
        job->position = -ECANCELED;
    }
    JOB_END(job, job->position);
}

static void find_ended(struct job *job, int64_t result)
{
    struct find_state *state = find_of(job);
    struct partition_key_find *find = state->find;
    find_use(state, NULL);
    cache_release_run(job->store, job->memory, job->memory_size);
    find->status = result == 0                ? STATUS_OK
                   : result == -ENOMEM        ? STATUS_NO_MEMORY
                   : result == -EAGAIN        ? STATUS_PENDING
                   : job->partition->removing ? STATUS_UNKNOWN_TOPIC_OR_PARTITION
                                              : STATUS_KAFKA_STORAGE_ERROR;
    bool below = find->offset < job->partition->log_start_offset;
    if (find->status != STATUS_OK || below) {
        find->offset = find->timestamp = find->base_offset = -1;
    }
    find->done(find);
}

void partition_key_find(struct partition *partition, struct partition_key_find *find)
{
    check_magic(partition, PARTITION_MAGIC);
    struct store *store = partition->store;
    find->offset = find->timestamp = find->base_offset = -1;
    find->position = find->size = 0;
    find->tombstone = find->from_hint = false;
    if (partition->removing || partition->broken || partition->closing) {
        find->status =
            partition->removing ? STATUS_UNKNOWN_TOPIC_OR_PARTITION : STATUS_KAFKA_STORAGE_ERROR;
        find->done(find);
        return;
    }
    if (!partition->config.key_index) {
        find->status = STATUS_NOT_FOUND;
        find->done(find);
        return;
    }
    partition_keys_catch_up(partition);
    uint8_t *memory = cache_acquire_run(store, FIND_RUN_SIZE);
    struct job *job = memory == NULL ? NULL : job_take(store, partition, find_run);
    if (job == NULL) {
        if (memory != NULL) {
            cache_release_run(store, memory, FIND_RUN_SIZE);
        }
        find->status = STATUS_NO_MEMORY;
        find->done(find);
        return;
    }
    job->memory = memory;
    job->memory_size = FIND_RUN_SIZE;
    job->ended = find_ended;
    *find_of(job) = (struct find_state){.find = find, .until = INT64_MAX};
    job->run(job);
}
