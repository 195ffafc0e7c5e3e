/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_table.h"

#include <errno.h>

#include "base/check.h"
#include "storage/config.h"
#include "storage/store_state.h"

static struct key_table *table_of(struct job *job)
{
    return job->owner;
}

static uint8_t *page_at(const struct key_table *table, uint32_t index)
{
    return table->memory + (size_t)index * HINT_PAGE_SIZE;
}

/* The page that is being filled is done. */
static void table_seal(struct key_table *table, enum hint_kind kind)
{
    hint_key_page_seal(&table->filling, table->page + table->filled, kind, table->seed);
    table->fills = false;
    table->filled += 1;
}

/* ---- pages of keys ---- */

/* Fills pages until all are full (STATUS_OK), a run has to be read (STATUS_PENDING), or the rows
 * are at their end (STATUS_NOT_FOUND). */
static enum status table_fill(struct key_table *table)
{
    while (table->filled < KEY_TABLE_PAGES) {
        if (table->row == NULL) {
            enum status status = key_source_next(table->source, &table->row);
            if (status == STATUS_NOT_FOUND && table->fills) {
                table_seal(table, HINT_KEYS);
            }
            if (status != STATUS_OK) {
                return status;
            }
        }
        if (!table->fills) {
            hint_key_page_begin(&table->filling, page_at(table, table->filled));
            table->fills = true;
        }
        if (hint_key_put(&table->filling, table->header, table->row)) {
            table->row = NULL;
            table->count += 1;
        } else {
            table_seal(table, HINT_KEYS);
        }
    }
    return STATUS_OK;
}

static void pages_run(struct job *job)
{
    struct key_table *table = table_of(job);
    JOB_BEGIN(job);
    while ((table->status = key_source_prepare(table->source, table->header, table->seed)) ==
           STATUS_PENDING) {
        JOB_AWAIT(job, .kind = OP_NOP);
    }
    while (table->status != STATUS_NOT_FOUND) {
        if (table->status == STATUS_OK || table->status == STATUS_PENDING) {
            table->status = table_fill(table);
        }
        if (table->status == STATUS_PENDING) {
            struct key_need need = key_source_need(table->source);
            job->slice = (struct iovec){need.memory, (size_t)need.page_count * HINT_PAGE_SIZE};
            JOB_AWAIT(job, .kind = OP_READ, .file = table->runs_file, .vector = &job->slice,
                      .vector_count = 1, .position = (uint64_t)need.page * HINT_PAGE_SIZE);
            if (job->op.result >= 0 && (size_t)job->op.result != job->slice.iov_len) {
                job->op.result = -EBADMSG;
            }
            if (job->op.result < 0) {
                return job_end(job, job->op.result);
            }
            key_source_give(table->source);
            continue;
        }
        if (table->status != STATUS_OK && table->status != STATUS_NOT_FOUND) {
            return job_end(job, table->status == STATUS_NO_MEMORY ? -ENOMEM : -EBADMSG);
        }
        if (table->filled == 0) {
            continue; /* the end */
        }
        job->slice = (struct iovec){table->memory, (size_t)table->filled * HINT_PAGE_SIZE};
        JOB_AWAIT(job, .kind = OP_WRITE, .flags = table->direct_sync ? OP_DSYNC : 0,
                  .file = table->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)table->page * HINT_PAGE_SIZE);
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
        table->page += table->filled;
        table->filled = 0;
        if (table->page >= HINT_PAGES_MAX) {
            return job_end(job, -EFBIG);
        }
    }
    JOB_END(job, 0);
}

struct job *key_pages_job(struct job *parent, struct key_table *table)
{
    struct job *job = job_take(parent->store, parent->partition, pages_run);
    if (job != NULL) {
        job->owner = table;
    }
    return job;
}

/* ---- first keys and filter ---- */

/* Pages read back lie behind those that are filled. */
static uint8_t *page_back(const struct key_table *table, uint32_t index)
{
    return page_at(table, KEY_TABLE_PAGES + index);
}

static void index_put(struct key_table *table, struct bytes key)
{
    struct bytes before = bytes_of(table->last, table->last_size);
    bool continued = table->next > hint_layout_of(table->header).keys && bytes_equal(before, key);
    struct bytes first = hint_separator(before, key);
    if (table->fills && !hint_index_put(&table->filling, first, continued)) {
        table_seal(table, HINT_INDEX);
    } else if (table->fills) {
        return;
    }
    hint_key_page_begin(&table->filling, page_at(table, table->filled));
    table->fills = true;
    check(hint_index_put(&table->filling, first, continued));
}

/* A page of keys that came back. False: it is not what was written. */
static bool index_take(struct key_table *table, const uint8_t *page)
{
    if (!hint_check_key_page(page, table->header, table->next, table->seed)) {
        return false;
    }
    struct hint_key_cursor *cursor = &table->cursor;
    hint_keys_begin(cursor, page);
    bool first = true;
    enum status status;
    while ((status = hint_keys_next(cursor, table->header)) == STATUS_OK) {
        if (first) {
            index_put(table, cursor->key.key);
        }
        first = false;
        bloom_add(&table->bloom, bloom_hash(&table->bloom, cursor->key.key));
    }
    memcpy(table->last, cursor->memory, cursor->key_size);
    table->last_size = cursor->key_size;
    table->next += 1;
    return status == STATUS_NOT_FOUND;
}

static bool index_take_run(struct key_table *table, int64_t size)
{
    uint32_t count = size < 0 ? 0 : (uint32_t)((size_t)size / HINT_PAGE_SIZE);
    for (uint32_t i = 0; i < count; i++) {
        if (!index_take(table, page_back(table, i))) {
            return false;
        }
    }
    return count > 0;
}

/* What is full has been written; the page that is being filled goes to the front. */
static void index_written(struct key_table *table)
{
    table->page += table->filled;
    if (table->fills && table->filled > 0) {
        memcpy(table->memory, table->filling.page, HINT_PAGE_SIZE);
        table->filling.page = table->memory;
    }
    table->filled = 0;
}

static bool index_begin(struct job *job, struct key_table *table)
{
    struct hint_header *header = table->header;
    header->key_page_count = table->page - hint_layout_of(header).keys;
    header->key_count = table->count;
    uint64_t size = bloom_size(table->count, KEY_FILTER_RATE);
    size = size < KEY_FILTER_SIZE_MAX ? size : KEY_FILTER_SIZE_MAX;
    uint8_t *memory = heap_acquire(job->store->heap, size);
    if (memory == NULL) {
        return false;
    }
    table->bloom_room = header->bloom_size = size;
    bloom_init(&table->bloom, memory, size, table->bloom_seed);
    table->next = hint_layout_of(header).keys;
    table->filling = (struct hint_key_page){0};
    table->filled = table->last_size = 0;
    table->fills = false;
    return true;
}

static struct iovec bloom_encode(struct key_table *table, uint32_t end)
{
    uint32_t count = 0;
    while (count < 2 * KEY_TABLE_PAGES && table->page + count < end) {
        hint_encode_bloom(page_at(table, count), table->header, table->page + count,
                          table->bloom.memory, table->seed);
        count += 1;
    }
    return (struct iovec){table->memory, (size_t)count * HINT_PAGE_SIZE};
}

static void filter_run(struct job *job)
{
    struct key_table *table = table_of(job);
    struct hint_header *header = table->header;
    JOB_BEGIN(job);
    header->index_page_count = table->page - hint_layout_of(header).index;
    header->bloom_page_count =
        (uint32_t)((header->bloom_size + HINT_BLOOM_PAYLOAD - 1) / HINT_BLOOM_PAYLOAD);
    while (table->page < hint_layout_of(header).end) {
        job->slice = bloom_encode(table, hint_layout_of(header).end);
        JOB_AWAIT(job, .kind = OP_WRITE, .flags = table->direct_sync ? OP_DSYNC : 0,
                  .file = table->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)table->page * HINT_PAGE_SIZE);
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
        table->page += (uint32_t)(job->slice.iov_len / HINT_PAGE_SIZE);
    }
    JOB_END(job, 0);
}

static struct job *table_job(struct job *parent, void (*run)(struct job *job))
{
    struct job *job = job_take(parent->store, parent->partition, run);
    if (job != NULL) {
        job->owner = parent->owner;
    }
    return job;
}

static void first_keys_run(struct job *job)
{
    struct key_table *table = table_of(job);
    JOB_BEGIN(job);
    while (table->next < hint_layout_of(table->header).index) {
        uint32_t left = hint_layout_of(table->header).index - table->next;
        left = left < KEY_TABLE_PAGES ? left : KEY_TABLE_PAGES;
        job->slice = (struct iovec){page_back(table, 0), (size_t)left * HINT_PAGE_SIZE};
        JOB_AWAIT(job, .kind = OP_READ, .file = table->file, .vector = &job->slice,
                  .vector_count = 1, .position = (uint64_t)table->next * HINT_PAGE_SIZE);
        if (job->op.result < 0 || !index_take_run(table, job->op.result)) {
            return job_end(job, job->op.result < 0 ? job->op.result : -EBADMSG);
        }
        if (table->next == hint_layout_of(table->header).index && table->fills) {
            table_seal(table, HINT_INDEX);
        }
        if (table->filled == 0) {
            continue;
        }
        job->slice = (struct iovec){table->memory, (size_t)table->filled * HINT_PAGE_SIZE};
        JOB_AWAIT(job, .kind = OP_WRITE, .flags = table->direct_sync ? OP_DSYNC : 0,
                  .file = table->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)table->page * HINT_PAGE_SIZE);
        if (job->op.result < 0) {
            return job_end(job, job->op.result);
        }
        index_written(table);
    }
    JOB_END(job, 0);
}

static void index_run(struct job *job)
{
    struct key_table *table = table_of(job);
    JOB_BEGIN(job);
    if (table->count == 0) {
        return job_end(job, 0);
    }
    if (!index_begin(job, table)) {
        return job_end(job, -ENOMEM);
    }
    JOB_CALL(job, job_call(job, table_job(job, first_keys_run)));
    if (job->op.result >= 0) {
        JOB_CALL(job, job_call(job, table_job(job, filter_run)));
    }
    heap_release(job->store->heap, table->bloom.memory, table->bloom_room);
    JOB_END(job, job->op.result);
}

struct job *key_index_job(struct job *parent, struct key_table *table)
{
    struct job *job = job_take(parent->store, parent->partition, index_run);
    if (job != NULL) {
        job->owner = table;
    }
    return job;
}
