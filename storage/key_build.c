/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_build.h"

#include <errno.h>

#include "base/check.h"
#include "storage/hint_reader.h"
#include "storage/hint_writer.h"
#include "storage/key_table.h"
#include "storage/keyed.h"
#include "storage/partition_state.h"
#include "storage/tend.h"

_Static_assert(KEY_BUILDS_MAX <= 2, "F1 of storage/files counts on it");

/* Read at a time; some 0.7 ms of small records. A larger batch gets a window of its own. */
#define BUILD_WINDOW_SIZE (INT64_C(2) * BLOCK_SIZE)

#define BUILD_INDEX_SIZE_MIN (UINT64_C(192) << 10)

struct key_build {
    struct segment *segment;
    int64_t position; /* of the next batch */
    int64_t start;    /* of what the window holds, in the log; a block's begin */
    int64_t size;
    int64_t window_size;
    uint8_t *window; /* a run */
    struct keyed *keyed;
    uint64_t index_size; /* bytes that it may take */
    struct key_spill spill;
    struct hint_header header;
    uint64_t seed;
    struct key_table table;
};

/* Behind the state in one run, aligned: what key tables are written from. */
#define STATE_SIZE ((sizeof(struct key_build) + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE)
#define BUILD_RUN_SIZE (STATE_SIZE + KEY_TABLE_RUN_SIZE)

static struct key_build *build_of(struct job *job)
{
    return (void *)job->memory;
}

static bool build_is_over(const struct job *job)
{
    const struct partition *partition = job->partition;
    return partition->stopping || partition->removing || partition->broken ||
           !segment_is_listed(job->segment);
}

/* ---- the log ---- */

/* The whole batch at build->position, if the window has it. */
static bool build_has(const struct key_build *build, int64_t size)
{
    return build->position >= build->start && build->position + size <= build->start + build->size;
}

static const uint8_t *build_at(const struct key_build *build)
{
    return build->window + (build->position - build->start);
}

static const struct quarantine_range *build_range(const struct key_build *build, int64_t position)
{
    const struct segment *segment = build->segment;
    const struct quarantine *quarantine = &segment->partition->quarantine;
    return quarantine_at_position(quarantine, segment->base_offset, position);
}

/* Every block of the window is what was written, or known not to be. */
static bool build_check(const struct key_build *build)
{
    struct segment *segment = build->segment;
    for (int64_t at = 0; at < build->size; at += BLOCK_SIZE) {
        uint32_t number = (uint32_t)((build->start + at) / BLOCK_SIZE);
        int64_t size = build->size - at < BLOCK_SIZE ? build->size - at : BLOCK_SIZE;
        const struct quarantine_range *range = build_range(build, build->start + at);
        bool known = range != NULL && range->position_from < build->start + at + size;
        if (!known && (segment->rows[number].flags & ROW_SUMMED) != 0 &&
            segment_sum(segment, number, build->window + at, (size_t)size) !=
                segment->rows[number].sum) {
            partition_note_rot(segment, number);
            return false;
        }
    }
    return true;
}

/* At half of its size, so that any one batch fits: what no index takes would leave no table. */
static bool build_is_full(const struct key_build *build)
{
    return keyed_size(build->keyed) > build->index_size / 2;
}

/* Bytes of the batch at build->position, whose header the window has; 0: there cannot be one. */
static int64_t build_batch_size(const struct key_build *build)
{
    struct batch_header header;
    batch_header_decode(&header, build_at(build));
    int64_t size = batch_size_of(build_at(build));
    return segment_header_is_sane(&header) && size >= BATCH_HEADER_SIZE &&
                   size <= build->segment->size - build->position
               ? size
               : 0;
}

/* Takes batches of the window into the index until that is full. 0: goes on behind the window;
 * the size of a batch that is larger than it; or -errno. */
static int64_t build_take(struct key_build *build)
{
    struct segment *segment = build->segment;
    while (build->position < segment->size && !build_is_full(build)) {
        const struct quarantine_range *range = build_range(build, build->position);
        if (range != NULL && range->position_from <= build->position) {
            build->position = range->position_until;
            continue;
        }
        if (!build_has(build, BATCH_HEADER_SIZE)) {
            return segment->size - build->position < BATCH_HEADER_SIZE ? -EBADMSG : 0;
        }
        int64_t size = build_batch_size(build);
        if (size == 0) {
            return -EBADMSG;
        }
        if (!build_has(build, size)) {
            return build->position % BLOCK_SIZE + size > build->window_size ? size : 0;
        }
        partition_keys_feed(segment->store, build->keyed, bytes_of(build_at(build), (size_t)size),
                            build->position);
        if (!keyed_is_whole(build->keyed)) {
            return -E2BIG; /* one batch with more keys than half an index */
        }
        build->position += size;
    }
    return 0;
}

static bool build_resize(struct key_build *build, int64_t size)
{
    struct store *store = build->segment->store;
    if (build->window != NULL) {
        cache_release_run(store, build->window, (size_t)build->window_size);
    }
    build->window_size = (size + 2 * BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    build->window = cache_acquire_run(store, (size_t)build->window_size);
    build->size = 0;
    return build->window != NULL;
}

/* Half of what indexes may still take of the heap (partition_keys.c): the other half is for those
 * that are written to, and whoever needs memory more. */
static uint64_t build_room(const struct store *store)
{
    uint64_t left = store->heap->size_max / 2;
    left = left > store->heap->size ? (left - store->heap->size) / 2 : 0;
    return left < store->key_index_size_max ? left : store->key_index_size_max;
}

static bool build_open_index(struct key_build *build)
{
    struct store *store = build->segment->store;
    build->index_size = build_room(store);
    if (build->index_size < BUILD_INDEX_SIZE_MIN) {
        return false;
    }
    build->keyed =
        keyed_open(store->heap, store->hash_seed, build->index_size, store->memtable_shards);
    return build->keyed != NULL;
}

/* ---- runs ---- */

static void table_begin(struct job *job, struct key_build *build)
{
    build->table = (struct key_table){
        .memory = job->memory + STATE_SIZE,
        .header = &build->header,
        .seed = build->seed,
        .file = build->spill.file,
        .runs_file = build->spill.file,
        .page = build->spill.page,
    };
}

/* Writes one more run: of the index, which begins anew, or, when there are too many, of all runs.
 */
static void run_write_run(struct job *job)
{
    struct key_build *build = build_of(job);
    struct key_spill *spill = &build->spill;
    bool merge = job->flag;
    JOB_BEGIN(job);
    table_begin(job, build);
    build->table.source = key_source_open(job->store->heap, merge ? NULL : build->keyed,
                                          spill->runs, merge ? spill->run_count : 0, spill->memory);
    if (build->table.source == NULL) {
        return job_end(job, -ENOMEM);
    }
    JOB_CALL(job, job_call(job, key_pages_job(job, &build->table)));
    key_source_close(build->table.source);
    if (job->op.result < 0) {
        return job_end(job, job->op.result);
    }
    spill->run_count = job->flag ? 0 : spill->run_count;
    if (build->table.page > spill->page) {
        spill->runs[spill->run_count] =
            (struct key_run){spill->page, build->table.page - spill->page};
        spill->run_count += 1;
    }
    spill->page = build->table.page;
    JOB_END(job, 0);
}

static struct job *build_part_job(struct job *parent, void (*run)(struct job *job), bool flag)
{
    struct job *job = job_take(parent->store, parent->partition, run);
    if (job != NULL) {
        job->memory = parent->memory;
        job->segment = parent->segment;
        job->flag = flag;
    }
    return job;
}

static void spill_run(struct job *job)
{
    struct key_build *build = build_of(job);
    JOB_BEGIN(job);
    if (build->spill.file < 0) {
        store_path_offset(job->store, job->path, job->partition->name, job->segment->base_offset,
                          ".keys.tmp");
        JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
                  .flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE |
                           store_direct(job->store));
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
        build->spill.file = (int32_t)job->op.result;
        build->spill.memory = cache_acquire_run(job->store, KEY_RUNS_SIZE);
        if (build->spill.memory == NULL) {
            return job_end(job, -ENOMEM);
        }
    }
    JOB_CALL(job, job_call(job, build_part_job(job, run_write_run, false)));
    if (job->op.result >= 0 && build->spill.run_count == KEY_RUNS_MAX) {
        JOB_CALL(job, job_call(job, build_part_job(job, run_write_run, true)));
    }
    if (job->op.result >= 0) {
        keyed_close(build->keyed);
        build->keyed = NULL;
        job->op.result = build_open_index(build) ? 0 : -ENOMEM;
    }
    JOB_END(job, job->op.result);
}

/* ---- the build ---- */

static void scan_run(struct job *job)
{
    struct key_build *build = build_of(job);
    JOB_BEGIN(job);
    JOB_CALL(job, job_use_file(job, job->segment));
    if (job->op.result < 0) {
        return job_end(job, job->op.result);
    }
    job->file = (int32_t)job->op.result;
    while (build->position < job->segment->size) {
        build->start = build->position / BLOCK_SIZE * BLOCK_SIZE;
        build->size = job->segment->size - build->start;
        build->size = build->size < build->window_size ? build->size : build->window_size;
        job->slice = (struct iovec){build->window, (size_t)build->window_size};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)build->start);
        if (build_is_over(job)) {
            job->op.result = -ECANCELED;
        } else if (job->op.result >= 0) {
            job->op.result = job->op.result >= build->size && build_check(build) ? 0 : -EBADMSG;
        }
        while (job->op.result >= 0) {
            job->op.result = build_take(build);
            if (job->op.result < 0 || !build_is_full(build)) {
                break;
            }
            JOB_CALL(job, job_call(job, build_part_job(job, spill_run, false)));
        }
        if (job->op.result > 0) {
            job->op.result = build_resize(build, job->op.result) ? 0 : -ENOMEM;
        }
        if (job->op.result < 0) {
            break;
        }
    }
    job->position = job->op.result;
    file_unuse(job->store, job->segment);
    JOB_END(job, job->position);
}

/* What the index had and the runs become the segment's hint. */
static void build_hint_run(struct job *job)
{
    struct key_build *build = build_of(job);
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    check(segment->keyed == NULL && segment->finished);
    segment->keyed = build->keyed;
    build->keyed = NULL;
    job->store->key_indexes += 1;
    segment->finished = false; /* nobody takes its files away meanwhile */
    JOB_CALL(job, job_call(job, hint_write_job(segment, &build->spill)));
    segment->finished = true;
    segment_close_keys(segment);
    if (job->op.result >= 0 && segment->keys != SEGMENT_KEYS_THERE) {
        job->op.result = -ENOMEM;
    }
    if (job->op.result >= 0) {
        diag_line(job->store->diag, DIAG_INFO, "storage/keys",
                  "key table of a sealed segment was missing or damaged; made from the log",
                  "partition=%s base_offset=%lld size=%lld", job->partition->name,
                  (long long)segment->base_offset, (long long)segment->size);
    }
    JOB_END(job, job->op.result);
}

/* Facts and rows first; who finds that there is a table after all is done. */
static void build_run(struct job *job)
{
    struct key_build *build = build_of(job);
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    if (segment->keys == SEGMENT_KEYS_UNKNOWN && segment->hinted) {
        JOB_CALL(job, job_call(job, hint_read_job(segment, HINT_FACTS)));
    }
    if (segment->keys == SEGMENT_KEYS_THERE) {
        job->op.result = 0;
        goto end;
    }
    JOB_CALL(job, job_wait_rows(job, segment));
    if (job->op.result < 0 || segment->keys == SEGMENT_KEYS_THERE) {
        goto end;
    }
    JOB_CALL(job, job_wait_aborted(job, segment)); /* the hint that is written names them */
    if (job->op.result < 0) {
        goto end;
    }
    if (!segment->finished || build_is_over(job)) {
        job->op.result = -EAGAIN; /* its hint is about to be written, and the table is next */
        goto end;
    }
    build->header = hint_header_of(segment);
    build->seed = segment_seed(segment, HINT_SEED_NUMBER);
    if (!build_open_index(build) || !build_resize(build, BUILD_WINDOW_SIZE - BLOCK_SIZE)) {
        job->op.result = -ENOMEM;
        goto end;
    }
    JOB_CALL(job, job_call(job, build_part_job(job, scan_run, false)));
    if (job->op.result >= 0 && !build_is_over(job) && segment->finished) {
        JOB_CALL(job, job_call(job, build_part_job(job, build_hint_run, false)));
    }
end:
    job->position = job->op.result;
    if (build->keyed != NULL) {
        keyed_close(build->keyed);
    }
    if (build->window != NULL) {
        cache_release_run(job->store, build->window, (size_t)build->window_size);
    }
    if (build->spill.memory != NULL) {
        cache_release_run(job->store, build->spill.memory, KEY_RUNS_SIZE);
    }
    if (build->spill.file >= 0) {
        JOB_AWAIT(job, .kind = OP_CLOSE, .file = build->spill.file);
        store_path_offset(job->store, job->path, job->partition->name, segment->base_offset,
                          ".keys.tmp");
        JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    }
    cache_release_run(job->store, job->memory, job->memory_size);
    JOB_END(job, job->position);
}

static void build_ended(struct job *job, int64_t result)
{
    struct segment *segment = job->segment;
    struct store *store = job->store;
    struct partition *partition = job->partition;
    partition->keying = false;
    segment->keying = false;
    store->key_builds -= 1;
    bool over = partition->stopping || partition->removing || partition->broken ||
                !segment_is_listed(segment);
    if (result < 0 && result != -EAGAIN && result != -ENOMEM && !over) {
        segment->keys_refused = true;
        diag_line(store->diag, DIAG_WARN, "storage/keys",
                  "no key table could be made; it is tried again when a key is looked up",
                  "partition=%s base_offset=%lld error=\"%s\"", partition->name,
                  (long long)segment->base_offset, strerrordesc_np((int)-result));
    }
    if (result != -EAGAIN || over) {
        segment_wake_keys(segment, result < 0 ? result : -ECANCELED);
    }
    segment_drop(segment);
    tend_start(partition);
    key_build_start(partition, false);
    struct list_node *node = list_pop_head(&store->key_wanted);
    if (node != NULL) {
        key_build_start(LIST_ENTRY(node, struct partition, key_node), false);
    }
}

/* Sealed, on disk, and nobody works on it. */
static bool build_may_take(const struct partition *partition, int32_t index)
{
    const struct segment *segment = partition->segments[index];
    return index + 1 < partition->segment_count && segment->finished && segment->hinted &&
           segment->keyed == NULL && segment->keys != SEGMENT_KEYS_THERE;
}

static struct segment *build_choose(const struct partition *partition, bool idle)
{
    struct segment *chosen = NULL;
    for (int32_t i = partition->segment_count; i-- > 0;) {
        struct segment *segment = partition->segments[i];
        if (!build_may_take(partition, i)) {
            continue;
        }
        if (!list_is_empty(&segment->keys_waiters)) {
            return segment;
        }
        if (idle && chosen == NULL && !segment->keys_refused && segment->known) {
            chosen = segment;
        }
    }
    return chosen;
}

void key_build_start(struct partition *partition, bool idle)
{
    struct store *store = partition->store;
    if (partition->keying || partition->loading || partition->broken || partition->stopping ||
        partition->removing) {
        return;
    }
    struct segment *segment = build_choose(partition, idle);
    if (segment == NULL) {
        return;
    }
    if (idle && build_room(store) < BUILD_INDEX_SIZE_MIN) {
        return;
    }
    if (store->key_builds == KEY_BUILDS_MAX) {
        if (!idle && !list_is_linked(&partition->key_node)) {
            list_push_tail(&store->key_wanted, &partition->key_node);
        }
        return;
    }
    uint8_t *memory = cache_acquire_run(store, BUILD_RUN_SIZE);
    struct job *job = memory == NULL ? NULL : job_take(store, partition, build_run);
    if (job == NULL) {
        if (memory != NULL) {
            cache_release_run(store, memory, BUILD_RUN_SIZE);
        }
        segment_wake_keys(segment, -ENOMEM);
        return;
    }
    job->memory = memory;
    job->memory_size = BUILD_RUN_SIZE;
    *build_of(job) = (struct key_build){.segment = segment, .spill.file = -1};
    job->segment = segment;
    job->ended = build_ended;
    segment_hold(segment);
    partition->keying = segment->keying = true;
    store->key_builds += 1;
    job->run(job);
}
