/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets by time. The block table's largest-timestamp-so-far finds the block, header hops find the
 * batch, the batch is opened for the record:
 *
 *   LOOKUP_MAX_TIMESTAMP: PEAK finds the largest timestamp below the limit, then as by time
 *   by time: SEARCH segment by segment, batch by batch -> OPEN (an internal read) -> record, or on
 */
#include <errno.h>

#include "base/check.h"
#include "storage/hops.h"
#include "storage/partition_state.h"
#include "storage/upkeep.h"
#include "wire/record.h"

/* What one batch may unpack to here; producers are held to less. */
#define LOOKUP_UNPACKED_MAX (UINT64_C(1) << 30)

struct lookup_state {
    struct block_waiter waiter;
    struct store *store;
    struct partition *partition;
    struct partition_lookup *lookup;
    struct read_hops hops;
    struct segment *segment; /* held */
    int64_t limit_offset;
    int64_t timestamp; /* searched for */
    int64_t position;  /* next batch to look at; -1: start of the segment's search */
    bool peak;         /* the largest timestamp is not known yet */
    bool choosing;     /* nor the segment to look for it in: facts are missing */
    struct segment_cursor cursor;
    struct partition_read read;
};

size_t partition_lookup_state_size(void)
{
    return sizeof(struct lookup_state);
}

static void lookup_step(struct lookup_state *state);

static void lookup_end(struct lookup_state *state, enum status status)
{
    struct partition_lookup *lookup = state->lookup;
    hops_release(&state->hops);
    if (state->segment != NULL) {
        segment_drop(state->segment);
    }
    if (status != STATUS_OK) {
        lookup->offset = lookup->timestamp_found = -1;
        lookup->leader_epoch = -1;
    }
    lookup->status = status;
    lookup->state = NULL;
    pool_give(&state->store->lookups, state);
    lookup->done(lookup);
}

static void lookup_use(struct lookup_state *state, struct segment *segment)
{
    segment_hold(segment);
    if (state->segment != NULL) {
        segment_drop(state->segment);
    }
    state->segment = segment;
    state->position = -1;
}

/* False: that was the last one, the lookup has ended with what it has. */
static bool lookup_next_segment(struct lookup_state *state)
{
    struct partition *partition = state->partition;
    int32_t index = partition_segment_of(partition, state->segment->base_offset) + 1;
    if (index >= partition->segment_count ||
        partition->segments[index]->base_offset >= state->limit_offset) {
        lookup_end(state, STATUS_OK);
        return false;
    }
    lookup_use(state, partition->segments[index]);
    return true;
}

/* The first record of an opened batch at or after the timestamp; false: none below the limit. */
static bool lookup_record(struct lookup_state *state, struct bytes batch, enum status *status)
{
    struct store *store = state->store;
    struct partition_lookup *lookup = state->lookup;
    struct batch_scratch scratch = {
        .memory = cache_acquire_run(store, BATCH_SCRATCH_SIZE),
        .size = BATCH_SCRATCH_SIZE,
        .heap = store->heap,
    };
    struct record_stream *stream = NULL;
    bool found = false;
    if (scratch.memory == NULL) {
        *status = STATUS_NO_MEMORY;
        return false;
    }
    *status = record_stream_open(&stream, batch, scratch, LOOKUP_UNPACKED_MAX);
    struct record record;
    while (*status == STATUS_OK && !found && record_stream_next(stream, &record)) {
        found = record.timestamp >= state->timestamp &&
                record.offset >= state->partition->log_start_offset &&
                record.offset < state->limit_offset;
    }
    if (*status == STATUS_OK && !found) {
        *status = record_stream_status(stream);
    }
    if (found) {
        lookup->offset = record.offset;
        lookup->timestamp_found = record.timestamp;
        lookup->leader_epoch = state->cursor.header.leader_epoch;
    }
    record_stream_close(stream);
    cache_release_run(store, scratch.memory, BATCH_SCRATCH_SIZE);
    return found;
}

/* The batch in one piece: as it lies, or gathered into a run (then *run is set). */
static struct bytes lookup_whole(struct lookup_state *state, uint8_t **run, size_t *run_size)
{
    const struct partition_read *read = &state->read;
    *run = NULL;
    if (read->slice_count == 1) {
        return read->slices[0];
    }
    *run_size = (read->size + (size_t)BLOCK_SIZE - 1) / (size_t)BLOCK_SIZE * (size_t)BLOCK_SIZE;
    *run = cache_acquire_run(state->store, *run_size);
    if (*run == NULL) {
        return BYTES_NULL;
    }
    size_t size = 0;
    for (int32_t i = 0; i < read->slice_count; i++) {
        memcpy(*run + size, read->slices[i].data, read->slices[i].size);
        size += read->slices[i].size;
    }
    return bytes_of(*run, size);
}

static void lookup_opened(struct partition_read *read)
{
    struct lookup_state *state = read->owner;
    enum status status = read->status;
    bool found = false;
    if (status == STATUS_OK && read->size > 0) {
        uint8_t *run;
        size_t run_size;
        struct bytes batch = lookup_whole(state, &run, &run_size);
        if (batch.data == NULL) {
            status = STATUS_NO_MEMORY;
        } else {
            found = lookup_record(state, batch, &status);
        }
        if (run != NULL) {
            cache_release_run(state->store, run, run_size);
        }
    }
    partition_read_release(state->partition, read);
    if (found || status != STATUS_OK) {
        lookup_end(state, found ? STATUS_OK : status);
        return;
    }
    state->position += (int64_t)state->cursor.header.batch_length + BATCH_PREFIX_SIZE;
    lookup_step(state);
}

static void lookup_open(struct lookup_state *state)
{
    hops_release(&state->hops);
    state->read = (struct partition_read){
        .offset = state->cursor.header.base_offset,
        .size_max = 1,
        .first_whole = true,
        .isolation = READ_UNCOMMITTED,
        .done = lookup_opened,
        .owner = state,
    };
    if (state->read.offset < state->partition->log_start_offset) {
        state->read.offset = state->partition->log_start_offset; /* inside the same batch */
    }
    partition_read(state->partition, &state->read);
}

/* First row whose largest timestamp so far reaches the one searched for, -1 none. */
static int64_t lookup_first_position(const struct segment *segment, int64_t timestamp)
{
    uint32_t low = 0;
    uint32_t high = segment->row_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (segment->rows[middle].timestamp_max >= timestamp) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    while (low < segment->row_count && segment->rows[low].position == ROW_NONE) {
        low += 1;
    }
    return low == segment->row_count ? -1 : (int64_t)segment->rows[low].position;
}

/* Where the largest timestamp is not what the table says, because it ends above the limit. */
static int64_t lookup_peak_position(struct lookup_state *state)
{
    const struct segment *segment = state->segment;
    int32_t index = segment_row_of(segment, state->limit_offset - 1);
    if (index < 0) {
        return 0;
    }
    if (index > 0 && segment->rows[index - 1].timestamp_max > state->timestamp) {
        state->timestamp = segment->rows[index - 1].timestamp_max;
    }
    return segment->rows[index].position;
}

/* Waits, ends, or FOUND: the cursor holds the batch at state->position. */
static bool lookup_header(struct lookup_state *state, enum segment_verdict *verdict)
{
    state->cursor.position = state->position;
    *verdict = segment_header_at(state->segment, &state->cursor, state->segment->visible);
    if (*verdict == SEGMENT_NEEDS) {
        enum status status =
            hops_bring(&state->hops, state->segment, state->cursor.number, &state->waiter);
        if (status != STATUS_OK) {
            lookup_end(state, status);
        }
        return false;
    }
    if (*verdict == SEGMENT_CORRUPT) {
        lookup_end(state, STATUS_CORRUPT_MESSAGE);
        return false;
    }
    state->position = state->cursor.position; /* a gap may have been crossed */
    if (*verdict == SEGMENT_FOUND && state->cursor.header.base_offset >= state->limit_offset) {
        *verdict = SEGMENT_END;
    }
    return true;
}

/* True: the peak is known, the search by time may begin. */
static bool lookup_peak(struct lookup_state *state)
{
    if (state->position < 0) {
        state->position = lookup_peak_position(state);
    }
    for (;;) {
        enum segment_verdict verdict;
        if (!lookup_header(state, &verdict)) {
            return false;
        }
        if (verdict == SEGMENT_END) {
            break;
        }
        if (state->cursor.header.max_timestamp > state->timestamp) {
            state->timestamp = state->cursor.header.max_timestamp;
        }
        state->position += (int64_t)state->cursor.header.batch_length + BATCH_PREFIX_SIZE;
    }
    state->peak = false;
    struct partition *partition = state->partition;
    lookup_use(state,
               partition->segments[partition_segment_of(partition, partition->log_start_offset)]);
    return true;
}

static bool lookup_rows(struct lookup_state *state)
{
    struct segment *segment = state->segment;
    if (segment->rows_loaded) {
        segment->rows_used = 2;
        return true;
    }
    if (segment->rows_fault != 0) {
        segment->rows_fault = 0;
        lookup_end(state, STATUS_KAFKA_STORAGE_ERROR);
    } else {
        segment_wait_rows(segment, &state->waiter);
    }
    return false;
}

/*
 * The largest timestamp of segments wholly below the limit; the one that holds the limit needs a
 * look. Stops at a segment whose facts are not there yet: `choosing` stays set.
 */
static void lookup_choose_peak(struct lookup_state *state)
{
    struct partition *partition = state->partition;
    state->timestamp = INT64_MIN;
    state->peak = state->choosing = true;
    for (int32_t i = 0; i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        bool below = segment->end_offset <= state->limit_offset;
        if (!segment->known || !below) {
            state->choosing = !segment->known;
            lookup_use(state, segment);
            return;
        }
        if (segment->size > 0 && segment->timestamp_max > state->timestamp) {
            state->timestamp = segment->timestamp_max;
        }
    }
    state->peak = state->choosing = false;
    lookup_use(state,
               partition->segments[partition_segment_of(partition, partition->log_start_offset)]);
}

static void lookup_step(struct lookup_state *state)
{
    struct partition *partition = state->partition;
    for (;;) {
        if (state->segment->partition == NULL || partition->removing || partition->closing ||
            partition->broken) {
            lookup_end(state, STATUS_KAFKA_STORAGE_ERROR);
            return;
        }
        if (!state->segment->known && !lookup_rows(state)) {
            return;
        }
        if (state->choosing) {
            lookup_choose_peak(state);
            continue;
        }
        if (!state->peak && state->segment->timestamp_max < state->timestamp) {
            if (!lookup_next_segment(state)) {
                return;
            }
            continue;
        }
        if (!lookup_rows(state)) {
            return;
        }
        if (state->peak) {
            if (!lookup_peak(state)) {
                return;
            }
            continue;
        }
        if (state->position < 0) {
            state->position = lookup_first_position(state->segment, state->timestamp);
        }
        enum segment_verdict verdict = SEGMENT_END;
        if (state->position >= 0 && !lookup_header(state, &verdict)) {
            return;
        }
        if (verdict == SEGMENT_END) {
            if (!lookup_next_segment(state)) {
                return;
            }
            continue;
        }
        if (state->cursor.header.max_timestamp >= state->timestamp &&
            batch_last_offset(&state->cursor.header) >= partition->log_start_offset) {
            lookup_open(state);
            return;
        }
        state->position += (int64_t)state->cursor.header.batch_length + BATCH_PREFIX_SIZE;
    }
}

static void lookup_ready(struct block_waiter *waiter)
{
    lookup_step(CONTAINER_OF(waiter, struct lookup_state, waiter));
}

static void lookup_start(struct partition *partition, struct partition_lookup *lookup)
{
    struct store *store = partition->store;
    struct lookup_state *state = pool_take(&store->lookups);
    if (state == NULL) {
        lookup->status = STATUS_NO_MEMORY;
        lookup->done(lookup);
        return;
    }
    lookup->state = state;
    state->store = store;
    state->partition = partition;
    state->lookup = lookup;
    state->waiter.ready = lookup_ready;
    state->limit_offset = partition_limit(partition, lookup->isolation);
    state->timestamp = lookup->timestamp;
    state->position = -1;
    if (lookup->timestamp == LOOKUP_MAX_TIMESTAMP) {
        lookup_choose_peak(state);
    } else {
        lookup_use(
            state,
            partition->segments[partition_segment_of(partition, partition->log_start_offset)]);
    }
    lookup_step(state);
}

void partition_lookup(struct partition *partition, struct partition_lookup *lookup)
{
    check_magic(partition, PARTITION_MAGIC);
    lookup->status = STATUS_OK;
    lookup->offset = lookup->timestamp_found = -1;
    lookup->leader_epoch = -1;
    lookup->state = NULL;
    if (partition->removing || partition->broken || partition->closing) {
        lookup->status =
            partition->removing ? STATUS_UNKNOWN_TOPIC_OR_PARTITION : STATUS_KAFKA_STORAGE_ERROR;
    } else if (lookup->timestamp == LOOKUP_EARLIEST) {
        lookup->offset = partition->log_start_offset;
        lookup->leader_epoch = epochs_of_offset(&partition->epochs, lookup->offset);
    } else if (lookup->timestamp == LOOKUP_LATEST) {
        lookup->offset = partition_limit(partition, lookup->isolation);
        lookup->leader_epoch = partition->leader_epoch;
    } else if (partition_limit(partition, lookup->isolation) > partition->log_start_offset) {
        lookup_start(partition, lookup);
        return;
    }
    lookup->done(lookup);
}
