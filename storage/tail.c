/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/tail.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/store_state.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tail files are little-endian");
_Static_assert(TAIL_PAGE_ROWS * sizeof(struct block_row) + sizeof(struct tail_trailer) ==
                   TAIL_PAGE_SIZE,
               "a row page is full");

#define TAIL_SUMMED_SIZE (TAIL_PAGE_SIZE - 8)
/* A job's run: the header page, then row pages, written so many at a time. */
#define TAIL_RUN_PAGES 16
#define TAIL_RUN_ROW_PAGES (TAIL_RUN_PAGES - 1)

struct tail_identity tail_identity_of(const struct segment *segment)
{
    return (struct tail_identity){
        .topic_id = segment->partition->topic_id,
        .index = segment->partition->index,
        .base_offset = segment->base_offset,
        .seed = segment_seed(segment, UINT32_MAX),
    };
}

static uint64_t tail_checksum(const uint8_t *page, uint64_t seed)
{
    return hash_bytes(bytes_of(page, TAIL_SUMMED_SIZE), seed);
}

void tail_encode_header(uint8_t *page, const struct tail_header *header, uint64_t seed)
{
    memset(page, 0, TAIL_PAGE_SIZE);
    memcpy(page, header, sizeof(*header));
    uint64_t checksum = tail_checksum(page, seed);
    memcpy(page + TAIL_SUMMED_SIZE, &checksum, sizeof(checksum));
}

/* What a valid header may say, so that nobody computes with nonsense. */
static bool tail_header_is_sane(const struct tail_header *header)
{
    int64_t partial = header->position % BLOCK_SIZE;
    return header->position >= 0 && header->position <= SEGMENT_SIZE_LIMIT &&
           header->offset >= header->base_offset && header->log_size >= header->position &&
           header->log_size <= SEGMENT_SIZE_LIMIT &&
           header->row_count == header->position / BLOCK_SIZE && header->log_start_offset >= 0 &&
           (header->running.position == ROW_NONE || partial == 0 ||
            header->running.position < header->position);
}

bool tail_decode_header(const uint8_t *page, const struct tail_identity *identity,
                        struct tail_header *header)
{
    memcpy(header, page, sizeof(*header));
    uint64_t checksum;
    memcpy(&checksum, page + TAIL_SUMMED_SIZE, sizeof(checksum));
    return header->magic == TAIL_MAGIC && header->version == TAIL_VERSION &&
           (checksum == tail_checksum(page, identity->seed) || PLANTED(TAIL_UNCHECKED)) &&
           uuid_equal(&header->topic_id, &identity->topic_id) && header->index == identity->index &&
           header->base_offset == identity->base_offset && tail_header_is_sane(header);
}

bool tail_decode_slots(const uint8_t *pages, const struct tail_identity *identity,
                       struct tail_header *header)
{
    struct tail_header other;
    bool first = tail_decode_header(pages, identity, header);
    bool second = tail_decode_header(pages + TAIL_PAGE_SIZE, identity, &other);
    if (second && (!first || other.sequence > header->sequence)) {
        *header = other;
    }
    return first || second;
}

int64_t tail_take_epochs(const struct tail_header *header, struct epochs *epochs)
{
    epochs_init(epochs);
    if (header->epochs_stamp <= 0 || header->epoch_count == 0 || header->epoch_count > EPOCHS_MAX) {
        return 0;
    }
    int64_t start_offset = 0;
    for (uint32_t i = 0; i < header->epoch_count; i++) {
        const struct tail_epoch *entry = &header->epochs[i];
        if (entry->start_offset < start_offset ||
            !epochs_begin(epochs, entry->epoch, entry->start_offset)) {
            return 0;
        }
        start_offset = entry->start_offset;
    }
    return header->epochs_stamp;
}

void tail_encode_rows(uint8_t *page, uint32_t index, uint64_t seed, const struct block_row *rows,
                      uint32_t count)
{
    check(count > 0 && count <= TAIL_PAGE_ROWS);
    memset(page, 0, TAIL_PAGE_SIZE);
    memcpy(page, rows, count * sizeof(rows[0]));
    struct tail_trailer trailer = {.magic = TAIL_MAGIC, .page = index, .count = count};
    size_t place = TAIL_PAGE_SIZE - sizeof(trailer);
    memcpy(page + place, &trailer, sizeof(trailer));
    trailer.checksum = tail_checksum(page, seed);
    memcpy(page + place, &trailer, sizeof(trailer));
}

uint32_t tail_decode_rows(const uint8_t *page, uint32_t index, uint64_t seed,
                          struct block_row *rows)
{
    struct tail_trailer trailer;
    memcpy(&trailer, page + TAIL_PAGE_SIZE - sizeof(trailer), sizeof(trailer));
    if (trailer.magic != TAIL_MAGIC || trailer.page != index || trailer.count > TAIL_PAGE_ROWS ||
        (trailer.checksum != tail_checksum(page, seed) && !PLANTED(ROWS_UNCHECKED))) {
        return 0;
    }
    memcpy(rows, page, trailer.count * sizeof(rows[0]));
    return trailer.count;
}

/* The row of the block that contains D, summed over the bytes below D where they are at hand. */
static struct block_row tail_running_row(struct segment *segment)
{
    int64_t partial = segment->visible % BLOCK_SIZE;
    uint32_t number = (uint32_t)(segment->visible / BLOCK_SIZE);
    if (partial == 0) {
        return (struct block_row){.position = ROW_NONE,
                                  .timestamp_max = segment->timestamp_visible};
    }
    struct block_row row = segment->rows[number];
    row.timestamp_max = segment->timestamp_visible;
    if (row.position != ROW_NONE && row.position >= segment->visible) {
        row.position = ROW_NONE;
    }
    bool whole = segment->visible == segment->size && (row.flags & ROW_SUMMED) != 0;
    if (!whole) {
        struct block *block = cache_find(segment->store, segment, number);
        row.flags &= ~ROW_SUMMED;
        if (block != NULL && block->state != BLOCK_LOADING && block->size >= partial) {
            row.sum = segment_sum(segment, number, block->memory, (size_t)partial);
            row.flags |= ROW_SUMMED;
        }
    }
    return row;
}

/* As they lie on the disk under that stamp; nothing when the file is older, or was not looked at.
 */
static void tail_note_epochs(const struct partition *partition, struct tail_header *header)
{
    const struct epochs *epochs = &partition->epochs;
    if (partition->epochs_changed || partition->epochs_stamp == 0) {
        return;
    }
    header->epochs_stamp = partition->epochs_stamp;
    header->epoch_count = (uint32_t)epochs->count;
    for (int32_t i = 0; i < epochs->count; i++) {
        header->epochs[i] = (struct tail_epoch){
            .start_offset = epochs->entries[i].start_offset,
            .epoch = epochs->entries[i].epoch,
        };
    }
}

static struct tail_header tail_header_now(struct segment *segment, uint32_t flags)
{
    const struct partition *partition = segment->partition;
    bool sealed = segment->sealed && segment->visible == segment->size;
    flags |= sealed ? TAIL_SEALED : 0;
    flags |= segment->rebuilt ? TAIL_REBUILT : 0;
    flags |= segment->aborted ? TAIL_ABORTED : 0;
    flags |= partition->epoch_bump_due ? TAIL_LOST : 0;
    flags |=
        producers_count(partition->producers) == 0 && !segment->aborted ? TAIL_NO_PRODUCERS : 0;
    struct tail_header header = {
        .magic = TAIL_MAGIC,
        .version = TAIL_VERSION,
        .index = partition->index,
        .topic_id = partition->topic_id,
        .base_offset = segment->base_offset,
        .sequence = segment->tail_sequence + 1,
        .position = segment->visible,
        .offset = sealed ? segment->end_offset : partition->high_watermark,
        .log_size = segment->visible,
        .row_count = (uint32_t)(segment->visible / BLOCK_SIZE),
        .flags = flags,
        .timestamp_first = segment->timestamp_first,
        .timestamp_max = segment->timestamp_visible,
        .created_ms = segment->created_ms,
        .log_start_offset = partition->log_start_offset,
        .running = tail_running_row(segment),
        .aborted_sum = segment->aborted_sum,
    };
    tail_note_epochs(partition, &header);
    return header;
}

/* Encodes the next row pages from job->index on into the run; answers how many. */
static uint32_t tail_fill_rows(struct job *job, uint32_t row_count)
{
    struct segment *segment = job->segment;
    uint64_t seed = segment_seed(segment, UINT32_MAX);
    uint32_t pages = 0;
    while (pages < TAIL_RUN_ROW_PAGES && (job->index + pages) * TAIL_PAGE_ROWS < row_count) {
        uint32_t first = (job->index + pages) * TAIL_PAGE_ROWS;
        uint32_t count = row_count - first < TAIL_PAGE_ROWS ? row_count - first : TAIL_PAGE_ROWS;
        tail_encode_rows(job->memory + (1 + pages) * (size_t)TAIL_PAGE_SIZE, job->index + pages,
                         seed, &segment->rows[first], count);
        pages += 1;
    }
    job->slice = (struct iovec){job->memory + TAIL_PAGE_SIZE, pages * (size_t)TAIL_PAGE_SIZE};
    return pages;
}

static void tail_write_run(struct job *job)
{
    struct segment *segment = job->segment;
    struct tail_header header;
    memcpy(&header, job->memory, sizeof(header));
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | store_direct(job->store));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    job->index = segment->tail_rows / TAIL_PAGE_ROWS;
    while ((job->size = tail_fill_rows(job, header.row_count)) > 0) {
        JOB_AWAIT(job, .kind = OP_WRITE, .flags = OP_DSYNC, .file = job->file,
                  .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)(TAIL_HEADER_PAGES + job->index) * TAIL_PAGE_SIZE);
        if (job->op.result < 0) {
            goto close;
        }
        job->index += (uint32_t)job->size;
    }
    job->slice = (struct iovec){job->memory, TAIL_PAGE_SIZE};
    job->position = (int64_t)(header.sequence % TAIL_HEADER_PAGES * TAIL_PAGE_SIZE);
    if (header.sequence == 1) {
        /* The rows are on the disk: their place in the run is free. */
        memcpy(job->memory + TAIL_PAGE_SIZE, job->memory, TAIL_PAGE_SIZE);
        job->slice.iov_len = TAIL_HEADER_PAGES * TAIL_PAGE_SIZE;
        job->position = 0;
    }
    JOB_AWAIT(job, .kind = OP_WRITE, .flags = OP_DSYNC, .file = job->file, .vector = &job->slice,
              .vector_count = 1, .position = (uint64_t)job->position); /* T1 */
close:
    job->position = job->op.result;
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    job->op.result = job->position;
    if (job->position >= 0) {
        segment->tail_sequence = header.sequence;
        segment->tail_position = header.position;
        segment->tail_rows = header.row_count;
    }
end:
    segment_drop(segment);
    cache_release_run(job->store, job->memory, job->memory_size);
    JOB_END(job, job->op.result < 0 ? job->op.result : 0);
}

static struct job *tail_job(struct segment *segment, void (*run)(struct job *job))
{
    struct store *store = segment->store;
    struct partition *partition = segment->partition;
    size_t size = TAIL_RUN_PAGES * (size_t)TAIL_PAGE_SIZE;
    struct job *job = job_take_memory(store, partition, run, size);
    if (job == NULL) {
        return NULL;
    }
    job->segment = segment;
    segment_hold(segment);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".tail");
    return job;
}

struct job *tail_write_job(struct segment *segment, uint32_t flags)
{
    struct job *job = tail_job(segment, tail_write_run);
    if (job != NULL) {
        struct tail_header header = tail_header_now(segment, flags);
        tail_encode_header(job->memory, &header, segment_seed(segment, UINT32_MAX));
    }
    return job;
}

/* Takes the row pages of the run in; false at the first damaged one. */
static bool tail_take_rows(struct job *job, size_t size)
{
    struct segment *segment = job->segment;
    uint64_t seed = segment_seed(segment, UINT32_MAX);
    for (size_t place = 0; place + TAIL_PAGE_SIZE <= size; place += TAIL_PAGE_SIZE) {
        uint32_t first = job->index * TAIL_PAGE_ROWS;
        uint32_t wanted = segment->tail_rows - first;
        wanted = wanted < TAIL_PAGE_ROWS ? wanted : TAIL_PAGE_ROWS;
        struct block_row rows[TAIL_PAGE_ROWS];
        if (tail_decode_rows(job->memory + place, job->index, seed, rows) < wanted) {
            return false;
        }
        memcpy(&segment->rows[first], rows, wanted * sizeof(rows[0]));
        segment->row_count = first + wanted;
        job->index += 1;
        if (segment->row_count == segment->tail_rows) {
            return true;
        }
    }
    return true;
}

bool tail_take_run(struct segment *segment, const struct tail_header *header, const uint8_t *run,
                   size_t size)
{
    uint32_t pages = (header->row_count + TAIL_PAGE_ROWS - 1) / TAIL_PAGE_ROWS;
    if ((TAIL_HEADER_PAGES + (size_t)pages) * TAIL_PAGE_SIZE > size ||
        !segment_reserve_rows(segment, header->position)) {
        return false;
    }
    uint64_t seed = segment_seed(segment, UINT32_MAX);
    for (uint32_t i = 0; i < pages; i++) {
        uint32_t first = i * TAIL_PAGE_ROWS;
        uint32_t wanted = header->row_count - first;
        wanted = wanted < TAIL_PAGE_ROWS ? wanted : TAIL_PAGE_ROWS;
        struct block_row rows[TAIL_PAGE_ROWS];
        const uint8_t *page = run + (TAIL_HEADER_PAGES + (size_t)i) * TAIL_PAGE_SIZE;
        if (tail_decode_rows(page, i, seed, rows) < wanted) {
            return false;
        }
        memcpy(&segment->rows[first], rows, wanted * sizeof(rows[0]));
    }
    if (header->position % BLOCK_SIZE != 0) {
        segment->rows[header->row_count] = header->running;
    }
    segment->tail_rows = header->row_count;
    segment->row_count = (uint32_t)((header->position + BLOCK_SIZE - 1) / BLOCK_SIZE);
    return true;
}

static void tail_read_run(struct job *job)
{
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_READ | store_direct(job->store));
    if (job->op.result < 0) {
        job->position = job->op.result;
        goto end;
    }
    job->file = (int32_t)job->op.result;
    job->slice = (struct iovec){job->memory, job->memory_size};
    JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1);
    struct tail_header header;
    struct tail_identity identity = tail_identity_of(segment);
    if (job->op.result < TAIL_HEADER_PAGES * TAIL_PAGE_SIZE ||
        !tail_decode_slots(job->memory, &identity, &header) || header.position != segment->size) {
        job->position = job->op.result < 0 ? job->op.result : -EBADMSG;
        goto close;
    }
    if (!segment_reserve_rows(segment, segment->size)) {
        job->position = -ENOMEM;
        goto close;
    }
    segment->tail_rows = header.row_count;
    segment->row_count = 0;
    if (header.position % BLOCK_SIZE != 0) {
        segment->rows[header.row_count] = header.running;
    }
    while (segment->row_count < segment->tail_rows) {
        job->slice = (struct iovec){job->memory, job->memory_size};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)(TAIL_HEADER_PAGES + job->index) * TAIL_PAGE_SIZE);
        if (job->op.result < TAIL_PAGE_SIZE || !tail_take_rows(job, (size_t)job->op.result)) {
            job->position = job->op.result < 0 ? job->op.result : -EBADMSG;
            goto close;
        }
    }
    segment->row_count = (uint32_t)((segment->size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    segment->rows_loaded = true;
close:
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
end:
    segment_drop(segment);
    cache_release_run(job->store, job->memory, job->memory_size);
    JOB_END(job, job->position);
}

struct job *tail_read_job(struct segment *segment)
{
    return tail_job(segment, tail_read_run);
}
