/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hint_reader.h"

#include <errno.h>

#include "base/check.h"
#include "storage/hint.h"
#include "storage/partition_state.h"

#define READER_PAGES 16 /* read at a time; segments of 120 MiB come in one read */

/* Lies behind the pages in the job's run. */
struct hint_reader {
    struct hint_header header;
    struct hint_identity identity;
    uint32_t page_until;
    bool refused; /* the heap, not the file */
};

#define READER_RUN_SIZE ((size_t)(READER_PAGES + 1) * HINT_PAGE_SIZE)
_Static_assert(sizeof(struct hint_reader) <= HINT_PAGE_SIZE, "the state takes one page");

static struct hint_reader *reader_of(struct job *job)
{
    return (void *)(job->memory + (size_t)READER_PAGES * HINT_PAGE_SIZE);
}

static bool reader_take_header(struct job *job, const uint8_t *page)
{
    struct hint_reader *reader = reader_of(job);
    struct segment *segment = job->segment;
    struct hint_header *header = &reader->header;
    if (!hint_decode_header(page, &reader->identity, header) ||
        header->end_offset != segment->end_offset ||
        (segment->known && header->log_size != segment->size)) {
        return false;
    }
    if (job->flag) {
        reader->page_until = hint_layout_of(header).keys;
        reader->refused = !segment_reserve_rows(segment, header->log_size);
    }
    return !reader->refused;
}

static bool reader_take_page(struct job *job, uint32_t number, const uint8_t *page)
{
    struct hint_reader *reader = reader_of(job);
    struct segment *segment = job->segment;
    uint64_t seed = reader->identity.seed;
    if (number == 0) {
        return reader_take_header(job, page);
    }
    if (number < hint_layout_of(&reader->header).aborted) {
        return hint_decode_rows(page, &reader->header, number, segment->rows, seed);
    }
    struct producers_aborted aborted[HINT_PAGE_ROWS];
    int32_t count = hint_decode_aborted(page, &reader->header, number, aborted, seed);
    for (int32_t i = 0; i < count && !segment->aborted_loaded; i++) {
        if (producers_restore_aborted(job->partition->producers, &aborted[i]) != STATUS_OK) {
            reader->refused = true;
            return false;
        }
    }
    return count >= 0;
}

/* Facts of the header into the segment; they stay when the rows go. */
static void reader_take_facts(struct segment *segment, const struct hint_header *header)
{
    if (!segment->known) {
        segment->size = segment->durable = segment->visible = header->log_size;
        segment->allocated = segment->written_until = header->log_size;
        segment->known = true;
    }
    segment->timestamp_first = header->timestamp_first;
    segment->timestamp_max = segment->timestamp_visible = header->timestamp_max;
    segment->created_ms = header->created_ms;
    segment->stable_offset = header->stable_offset;
    segment->rebuilt = (header->flags & HINT_REBUILT) != 0;
    segment->aborted = header->aborted_count > 0;
    segment->aborted_until = segment->end_offset;
    segment_note_keys(segment, (header->flags & HINT_KEYED) != 0);
    if ((header->flags & HINT_NO_PRODUCERS) != 0) {
        segment->producers_none_offset = header->end_offset;
    }
    segment->aborted_loaded = segment->aborted_loaded || header->aborted_count == 0;
}

/* Pages of one read; false: damaged. */
static bool reader_take_run(struct job *job)
{
    struct hint_reader *reader = reader_of(job);
    uint32_t pages = (uint32_t)(job->op.result / HINT_PAGE_SIZE);
    uint32_t first = job->index;
    while (job->index < reader->page_until && job->index - first < pages) {
        const uint8_t *page = job->memory + (size_t)(job->index - first) * HINT_PAGE_SIZE;
        if (!reader_take_page(job, job->index, page)) {
            return false;
        }
        job->index += 1;
    }
    return pages > 0;
}

static void hint_read_run(struct job *job)
{
    struct segment *segment = job->segment;
    struct hint_reader *reader = reader_of(job);
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_READ | store_direct(job->store));
    job->position = job->op.result;
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    job->index = 0;
    while (job->index < reader->page_until) {
        job->slice =
            (struct iovec){job->memory, (size_t)(job->flag ? READER_PAGES : 1) * HINT_PAGE_SIZE};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)job->index * HINT_PAGE_SIZE);
        if (job->op.result < 0 || !reader_take_run(job)) {
            job->position = job->op.result < 0 ? job->op.result
                            : reader->refused  ? -ENOMEM
                                               : -EBADMSG;
            goto close;
        }
    }
    job->position = 0;
    reader_take_facts(segment, &reader->header);
    if (job->flag) {
        segment->row_count = reader->header.row_count;
        segment->rows_loaded = true;
        segment->aborted_loaded = true;
    }
close:
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
end:
    segment_drop(segment);
    cache_release_run(job->store, job->memory, job->memory_size);
    JOB_END(job, job->position);
}

struct job *hint_read_job(struct segment *segment, enum hint_part part)
{
    struct store *store = segment->store;
    struct partition *partition = segment->partition;
    struct job *job = job_take_memory(store, partition, hint_read_run, READER_RUN_SIZE);
    if (job == NULL) {
        return NULL;
    }
    job->flag = part == HINT_TABLE;
    *reader_of(job) = (struct hint_reader){
        .identity = hint_identity_of(&partition->topic_id, partition->index, segment->base_offset),
        .page_until = 1,
    };
    job->segment = segment;
    segment_hold(segment);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".hint");
    return job;
}
