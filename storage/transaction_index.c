/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/transaction_index.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"

static void transaction_index_encode(uint8_t *data, const struct producers_aborted *entry)
{
    put_be16(data, 0);
    put_be64(data + 2, (uint64_t)entry->producer_id);
    put_be64(data + 10, (uint64_t)entry->first_offset);
    put_be64(data + 18, (uint64_t)entry->last_offset);
    put_be64(data + 26, (uint64_t)entry->last_stable_offset);
}

bool transaction_index_decode(struct bytes data, size_t index, struct producers_aborted *entry)
{
    size_t place = index * TRANSACTION_INDEX_ENTRY_SIZE;
    if (place + TRANSACTION_INDEX_ENTRY_SIZE > data.size) {
        return false;
    }
    const uint8_t *from = data.data + place;
    entry->producer_id = (int64_t)get_be64(from + 2);
    entry->first_offset = (int64_t)get_be64(from + 10);
    entry->last_offset = (int64_t)get_be64(from + 18);
    entry->last_stable_offset = (int64_t)get_be64(from + 26);
    return get_be16(from) == 0 && entry->producer_id >= 0 && entry->first_offset >= 0 &&
           entry->last_offset >= entry->first_offset;
}

uint64_t transaction_index_sum(const struct segment *segment, struct bytes data)
{
    return segment_sum(segment, UINT32_MAX, data.data, data.size);
}

static void transaction_index_run(struct job *job)
{
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    JOB_CALL(job, job_save(job, job->path, job->memory, (size_t)job->size));
    if (job->op.result >= 0) {
        segment->aborted_until = job->position;
        segment->aborted_sum =
            transaction_index_sum(segment, bytes_of(job->memory, (size_t)job->size));
    }
    cache_release_run(job->store, job->memory, job->memory_size);
    segment_drop(segment);
    JOB_END(job, job->op.result);
}

struct job *transaction_index_job(struct segment *segment, int64_t offset_until)
{
    struct partition *partition = segment->partition;
    struct store *store = segment->store;
    int64_t until = offset_until < segment->end_offset ? offset_until : segment->end_offset;
    int32_t count =
        producers_aborted_list(partition->producers, segment->base_offset, until, NULL, 0);
    size_t list_size = (size_t)count * sizeof(struct producers_aborted);
    size_t file_size = (size_t)count * TRANSACTION_INDEX_ENTRY_SIZE + PAGE_SIZE;
    size_t list_at = (file_size + 63) / 64 * 64;
    size_t run_size =
        (list_at + list_size + (size_t)BLOCK_SIZE - 1) / (size_t)BLOCK_SIZE * (size_t)BLOCK_SIZE;
    struct job *job = job_take_memory(store, partition, transaction_index_run, run_size);
    if (job == NULL) {
        return NULL;
    }
    struct producers_aborted *list = (void *)(job->memory + list_at);
    count = producers_aborted_list(partition->producers, segment->base_offset, until, list, count);
    size_t size = 0;
    for (int32_t i = PLANTED(ABORTED_FORGOTTEN) ? 1 : 0; i < count; i++) {
        if (list[i].last_offset >= segment->base_offset && list[i].last_offset < until) {
            transaction_index_encode(job->memory + size, &list[i]);
            size += TRANSACTION_INDEX_ENTRY_SIZE;
        }
    }
    job->size = (int64_t)size;
    job->position = until;
    job->segment = segment;
    segment_hold(segment);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".txnindex");
    return job;
}
