/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hint_writer.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/hint.h"
#include "storage/key_table.h"
#include "storage/keyed.h"
#include "storage/partition_state.h"
#include "storage/planted.h"

#define WRITER_PAGES 16 /* written at a time */

/* Lies behind the pages in the job's run. */
struct hint_writer {
    struct hint_header header;
    struct producers_aborted *aborted;
    int32_t aborted_room;
    uint64_t seed;
    struct key_spill spill;
    struct key_table table; /* source NULL: no keys */
};

#define WRITER_RUN_SIZE ((size_t)(WRITER_PAGES + 2) * HINT_PAGE_SIZE)
_Static_assert(sizeof(struct hint_writer) <= (size_t)2 * HINT_PAGE_SIZE,
               "the state takes two pages");
_Static_assert((size_t)WRITER_PAGES *HINT_PAGE_SIZE >= KEY_TABLE_RUN_SIZE,
               "keys use the pages too");

static struct hint_writer *writer_of(struct job *job)
{
    return (void *)(job->memory + (size_t)WRITER_PAGES * HINT_PAGE_SIZE);
}

/* The transactions whose marker lies in the segment. False: no memory. */
static bool writer_list_aborted(struct hint_writer *writer, const struct segment *segment)
{
    const struct producers *producers = segment->partition->producers;
    int64_t first = segment->base_offset;
    int64_t until = segment->end_offset;
    int32_t count = producers_aborted_list(producers, first, until, NULL, 0);
    if (count == 0) {
        return true;
    }
    writer->aborted = heap_acquire(segment->store->heap, (size_t)count * sizeof(*writer->aborted));
    if (writer->aborted == NULL) {
        return false;
    }
    writer->aborted_room = count;
    (void)producers_aborted_list(producers, first, until, writer->aborted, count);
    for (int32_t i = PLANTED(ABORTED_FORGOTTEN) ? 1 : 0; i < count; i++) {
        if (writer->aborted[i].last_offset >= first && writer->aborted[i].last_offset < until) {
            writer->aborted[writer->header.aborted_count] = writer->aborted[i];
            writer->header.aborted_count += 1;
        }
    }
    return true;
}

struct hint_header hint_header_of(const struct segment *segment)
{
    const struct partition *partition = segment->partition;
    bool none = segment->producers_none_offset >= segment->end_offset;
    return (struct hint_header){
        .magic = HINT_MAGIC,
        .version = HINT_VERSION,
        .index = partition->index,
        .topic_id = partition->topic_id,
        .base_offset = segment->base_offset,
        .end_offset = segment->end_offset,
        .log_size = segment->size,
        .stable_offset = segment->stable_offset,
        .timestamp_first = segment->timestamp_first,
        .timestamp_max = segment->timestamp_max,
        .created_ms = segment->created_ms,
        .flags = (segment->rebuilt ? HINT_REBUILT : 0U) | (none ? HINT_NO_PRODUCERS : 0U),
        .row_count = segment->row_count,
    };
}

/* Encodes the next pages from job->index on; answers how many. */
static uint32_t writer_fill(struct job *job)
{
    struct hint_writer *writer = writer_of(job);
    struct hint_layout layout = hint_layout_of(&writer->header);
    uint32_t pages = 0;
    while (pages < WRITER_PAGES && job->index + pages < layout.keys) {
        uint32_t number = job->index + pages;
        uint8_t *page = job->memory + (size_t)pages * HINT_PAGE_SIZE;
        if (number < layout.aborted) {
            hint_encode_rows(page, &writer->header, number, job->segment->rows, writer->seed);
        } else {
            hint_encode_aborted(page, &writer->header, number, writer->aborted, writer->seed);
        }
        pages += 1;
    }
    job->slice = (struct iovec){job->memory, (size_t)pages * HINT_PAGE_SIZE};
    return pages;
}

/* ---- keys ---- */

/* What the segment's keys come from; without memory for it there are none. */
static void writer_open_keys(struct hint_writer *writer, struct segment *segment,
                             const struct key_spill *spill)
{
    const struct keyed *keyed = segment->keyed;
    if (spill == NULL && (!segment->key_index || (keyed != NULL && !keyed_is_whole(keyed)))) {
        return;
    }
    writer->header.flags |= HINT_KEYED;
    if (spill != NULL) {
        writer->spill = *spill;
    }
    if (keyed == NULL && writer->spill.run_count == 0) {
        return; /* nothing has a key */
    }
    struct store *store = segment->store;
    struct key_source *source = key_source_open(store->heap, keyed, writer->spill.runs,
                                                writer->spill.run_count, writer->spill.memory);
    if (source == NULL) {
        writer->header.flags &= ~(uint32_t)HINT_KEYED;
    }
    writer->table.source = source;
    segment->keyed_lent = source != NULL;
}

static void writer_drop_keys(struct hint_writer *writer)
{
    writer->header.flags &= ~(uint32_t)HINT_KEYED;
    writer->header.key_count = writer->header.bloom_size = 0;
    writer->header.key_page_count = 0;
    writer->header.index_page_count = writer->header.bloom_page_count = 0;
}

static void keys_run(struct job *job)
{
    struct hint_writer *writer = writer_of(job);
    struct key_table *table = &writer->table;
    JOB_BEGIN(job);
    table->memory = job->memory;
    table->header = &writer->header;
    table->seed = writer->seed;
    table->bloom_seed = hash_u64(writer->seed, job->store->hash_seed);
    table->file = job->file;
    table->runs_file = writer->spill.file;
    table->direct_sync = true;
    table->page = hint_layout_of(&writer->header).keys;
    JOB_CALL(job, job_call(job, key_pages_job(job, table)));
    if (job->op.result >= 0) {
        JOB_CALL(job, job_call(job, key_index_job(job, table)));
    }
    if (job->op.result == -ENOMEM || job->op.result == -EFBIG) {
        writer_drop_keys(writer);
        job->op.result = 0;
    }
    JOB_END(job, job->op.result);
}

static struct job *part_job(struct job *parent, void (*run)(struct job *job))
{
    struct job *job = job_take(parent->store, parent->partition, run);
    if (job != NULL) {
        job->segment = parent->segment;
        job->memory = parent->memory;
        job->file = parent->file;
    }
    return job;
}

/* ---- the file ---- */

/* The pages into the open file: the header, which vouches for the others, comes last. */
static void pages_run(struct job *job)
{
    struct hint_writer *writer = writer_of(job);
    JOB_BEGIN(job);
    job->index = 1;
    while ((job->size = writer_fill(job)) > 0) {
        JOB_AWAIT(job, .kind = OP_WRITE, .flags = OP_DSYNC, .file = job->file,
                  .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)job->index * HINT_PAGE_SIZE);
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
        job->index += (uint32_t)job->size;
    }
    if (writer->table.source != NULL) {
        JOB_CALL(job, job_call(job, part_job(job, keys_run)));
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
    }
    hint_encode_header(job->memory, &writer->header, writer->seed);
    job->slice = (struct iovec){job->memory, HINT_PAGE_SIZE};
    JOB_AWAIT(job, .kind = OP_WRITE, .flags = OP_DSYNC, .file = job->file, .vector = &job->slice,
              .vector_count = 1);
    if (job->op.result >= 0 && writer->table.page > hint_layout_of(&writer->header).end) {
        JOB_AWAIT(job, .kind = OP_TRUNCATE, .file = job->file,
                  .size = (uint64_t)hint_layout_of(&writer->header).end * HINT_PAGE_SIZE);
    }
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
    }
    JOB_END(job, job->op.result);
}

static void hint_write_run(struct job *job)
{
    struct segment *segment = job->segment;
    struct store *store = job->store;
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE | store_direct(store));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    JOB_CALL(job, job_call(job, part_job(job, pages_run)));
    job->position = job->op.result;
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    job->op.result = job->position;
    if (job->position < 0) {
        goto end;
    }
    store_path_offset(store, job->path_target, job->partition->name, segment->base_offset, ".hint");
    JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
    if (job->op.result < 0) {
        goto end;
    }
    store_path(store, job->path, job->partition->name, NULL, NULL);
    JOB_CALL(job, job_sync_folder(job, job->path));
    if (job->op.result < 0) {
        goto end;
    }
    segment->hinted = true;
    key_source_close(writer_of(job)->table.source);
    writer_of(job)->table.source = NULL;
    segment_keys_written(segment, (writer_of(job)->header.flags & HINT_KEYED) != 0);
    store_path_offset(store, job->path, job->partition->name, segment->base_offset, ".tail");
    JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    job->op.result = 0; /* one that stays is unlinked by the next start */
end:
    key_source_close(writer_of(job)->table.source);
    segment->keyed_lent = false;
    heap_release(store->heap, writer_of(job)->aborted,
                 (size_t)writer_of(job)->aborted_room * sizeof(struct producers_aborted));
    segment_drop(segment);
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, job->op.result < 0 ? job->op.result : 0);
}

struct job *hint_write_job(struct segment *segment, const struct key_spill *spill)
{
    struct store *store = segment->store;
    struct partition *partition = segment->partition;
    check(segment->rows_loaded && segment->known && segment->visible == segment->size);
    struct job *job = job_take_memory(store, partition, hint_write_run, WRITER_RUN_SIZE);
    if (job == NULL) {
        return NULL;
    }
    struct hint_writer *writer = writer_of(job);
    *writer = (struct hint_writer){.header = hint_header_of(segment),
                                   .seed = segment_seed(segment, HINT_SEED_NUMBER)};
    if (!writer_list_aborted(writer, segment)) {
        cache_release_run(store, job->memory, job->memory_size);
        job_end(job, -ENOMEM);
        return NULL;
    }
    writer_open_keys(writer, segment, spill);
    job->segment = segment;
    segment_hold(segment);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".hint.tmp");
    return job;
}
