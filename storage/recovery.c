/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/recovery_epochs.h"
#include "storage/recovery_names.h"
#include "storage/recovery_producers.h"
#include "storage/recovery_rest.h"
#include "storage/scan.h"
#include "storage/tail.h"
#include "storage/tend.h"

/* What recovery knows of one segment before it looks at its log. */
struct recovery {
    struct partition *partition;
    struct folder *folder;
    struct segment *segment;
    bool last;
    int64_t next_base;  /* INT64_MAX when last */
    int32_t next_epoch; /* of the first batch there, where it was looked at; -1 */
    int64_t offset_until;
    bool has_tail;
    struct tail_header tail;
    bool has_rows; /* they came with the header's read */
    int64_t file_size;
    int64_t plain_offset; /* of a walk: no batch from there on names a producer */
    bool holed;           /* the walk ended at bytes that are bad, and the log goes on */
};

static enum status recovery_refuse(const struct segment *segment, const char *suffix, int64_t error)
{
    char path[STORE_PATH_SIZE];
    store_path_offset(segment->store, path, segment->partition->name, segment->base_offset, suffix);
    return folder_refuse(segment->partition, path, error);
}

static enum status recovery_read_tail(struct recovery *recovery)
{
    struct partition *partition = recovery->partition;
    struct store *store = partition->store;
    struct folder *folder = recovery->folder;
    size_t run_size = (size_t)BLOCK_SIZE;
    uint8_t *run = recovery->last ? folder->tail_run : NULL;
    size_t size = folder->tail_size;
    int64_t result = 0;
    struct tail_identity identity = tail_identity_of(recovery->segment);
    if (run != NULL) {
        folder->tail_run = NULL;
    } else {
        run = cache_acquire_run(store, run_size);
        if (run == NULL) {
            return STATUS_NO_MEMORY;
        }
        char path[STORE_PATH_SIZE];
        store_path_offset(store, path, partition->name, recovery->segment->base_offset, ".tail");
        size = 0;
        result = folder_read(store, path, store_direct(store), run, run_size, &size);
    }
    bool found = result == 0 && size >= TAIL_HEADER_PAGES * TAIL_PAGE_SIZE &&
                 tail_decode_slots(run, &identity, &recovery->tail);
    /* Of the last segment the rows are needed; those of up to 116 MiB of log lie in this read. */
    recovery->has_rows =
        found && recovery->last && tail_take_run(recovery->segment, &recovery->tail, run, size);
    cache_release_run(store, run, run_size);
    recovery->has_tail = found;
    /* Taken for missing, a tail that cannot be read just now would let rot below D be cut. */
    return result == 0 || result == -ENOENT ? STATUS_OK
                                            : recovery_refuse(recovery->segment, ".tail", result);
}

/* Facts of the header into the segment. */
static void recovery_take_header(struct recovery *recovery)
{
    struct segment *segment = recovery->segment;
    const struct tail_header *tail = &recovery->tail;
    segment->tail_sequence = tail->sequence;
    segment->tail_position = tail->position;
    segment->size = segment->durable = segment->visible = tail->position;
    segment->end_offset = tail->offset;
    segment->timestamp_first = tail->timestamp_first;
    segment->timestamp_max = tail->timestamp_max;
    segment->created_ms = tail->created_ms;
    segment->rebuilt = (tail->flags & TAIL_REBUILT) != 0;
    segment->aborted = (tail->flags & TAIL_ABORTED) != 0;
    segment->aborted_sum = tail->aborted_sum;
    if ((tail->flags & TAIL_LOST) != 0) { /* who found that died before the epoch began */
        recovery->partition->epoch_bump_due = true;
    }
    if ((tail->flags & TAIL_NO_PRODUCERS) != 0) {
        segment->producers_none_offset = tail->offset;
    }
    if (tail->log_start_offset > recovery->partition->log_start_offset) {
        recovery->partition->log_start_offset = tail->log_start_offset;
    }
}

/* Falls back to the last batch start that the rows below `limit` name: T2, or a shorter file. */
static void recovery_fall_back(struct segment *segment, int64_t limit)
{
    int64_t position = 0;
    int64_t offset = segment->base_offset;
    for (uint32_t i = segment->row_count; i > 0; i--) {
        const struct block_row *row = &segment->rows[i - 1];
        if (row->position != ROW_NONE && row->position < limit) {
            position = row->position;
            offset = row->base_offset;
            break;
        }
    }
    segment_cut_rows(segment, position);
    segment->timestamp_max = -1;
    if (position > 0) {
        /* The last whole row below the cut names the largest timestamp before it. */
        uint32_t number = (uint32_t)(position / BLOCK_SIZE);
        segment->timestamp_max = number > 0 ? segment->rows[number - 1].timestamp_max : -1;
    }
    segment->size = segment->durable = segment->visible = position;
    segment->end_offset = offset;
    segment->tail_rows = (uint32_t)(position / BLOCK_SIZE);
}

/* Rows of a segment that has a tail; D may get older. */
static enum status recovery_load_rows(struct recovery *recovery)
{
    struct segment *segment = recovery->segment;
    int64_t result = recovery->has_rows ? 0 : job_wait(tail_read_job(segment));
    if (result == -ENOMEM || !segment_reserve_rows(segment, 1)) {
        return STATUS_NO_MEMORY;
    }
    if (result < 0 && result != -EBADMSG && result != -ENOENT) {
        /* Taken for damage, rot below D would be cut. */
        return recovery_refuse(segment, ".tail", result);
    }
    if (result < 0) {
        recovery_fall_back(segment, segment->size);
        recovery->has_tail = segment->size > 0;
    } else if (recovery->file_size < segment->size) {
        recovery->partition->epoch_bump_due = true;
        diag_line(recovery->partition->store->diag, DIAG_ERROR, "storage/recovery",
                  "log is shorter than it was: records that were durable are gone",
                  "partition=%s base_offset=%lld size=%lld expected=%lld",
                  recovery->partition->name, (long long)segment->base_offset,
                  (long long)recovery->file_size, (long long)segment->size);
        recovery_fall_back(segment, recovery->file_size);
    }
    segment->rows_loaded = true;
    return STATUS_OK;
}

/*
 * R3: what may have been in flight, one write, is written once more. A sync alone proves too
 * little: where an earlier start's sync failed, the system takes the bytes for written, and the
 * next sync has nothing to do.
 */
static int64_t recovery_write_again(struct scan *scan, int64_t walked_from)
{
    int64_t until = scan->segment->size;
    int64_t from = until - RECOVERY_GAP > walked_from ? until - RECOVERY_GAP : walked_from;
    return from < until ? recovery_write_range(scan, from, until) : 0;
}

static int64_t recovery_rest_end(struct scan *scan, int64_t position)
{
    int64_t until = position;
    for (;;) {
        int64_t nonzero = scan_nonzero(scan, until, RECOVERY_GAP);
        if (nonzero < 0) {
            return until;
        }
        until = (nonzero / (int64_t)PAGE_SIZE + 1) * (int64_t)PAGE_SIZE;
        until = until < scan->file_size ? until : scan->file_size;
    }
}

/* Nothing was found behind D, and what follows is known to be zeros: all stays as it is. */
static bool recovery_is_settled(struct scan *scan, int64_t position)
{
    return scan->file_size - position <= RECOVERY_GAP &&
           scan_nonzero(scan, position, RECOVERY_GAP) < 0 && scan->error == 0;
}

/* R2 to R4 for the file that stays open for appends, or was not sealed yet. `failed`: a write to it
 * did, and the system may hold bytes of it that the disk does not: with what is written here they
 * would become the log, so the file ends here in any case. */
static int64_t recovery_settle(struct scan *scan, struct partition *partition, int64_t walked_from,
                               bool cut, bool failed)
{
    struct store *store = partition->store;
    struct segment *segment = scan->segment;
    int64_t position = segment->size;
    int64_t result = recovery_write_again(scan, walked_from);
    if (result < 0) {
        return result;
    }
    if (cut && scan->file_size > position) {
        int64_t until = recovery_rest_end(scan, position);
        if (until > position) {
            result = recovery_keep_rest(scan, partition, position, until);
        }
        if (result >= 0 && scan->error < 0) {
            result = scan->error; /* what lies there is not known */
        }
        if (result < 0) {
            return result;
        }
        if (until > position || failed || !recovery_is_settled(scan, position)) {
            struct op op = {.kind = OP_TRUNCATE, .file = scan->file, .size = (uint64_t)position};
            result = PLANTED(REST_LEFT) ? 0 : ring_call(store->ring, &op);
            scan->file_size = position;
        }
    }
    if (result >= 0 && !PLANTED(WALK_NOT_SYNCED)) {
        struct op op = {.kind = OP_SYNC, .file = scan->file};
        result = ring_call(store->ring, &op);
    }
    return result < 0 ? result : recovery_sync_names(partition);
}

/* The next segment begins with a good batch, so what lacks here was durable once: rot. */
static void recovery_note_hole(struct recovery *recovery, struct scan *scan)
{
    struct segment *segment = recovery->segment;
    recovery->holed = scan_nonzero(scan, segment->size, scan->file_size) >= 0;
    if (!recovery->holed && !recovery->has_tail) {
        return; /* a log of Kafka that was compacted ends where it ends */
    }
    recovery->partition->epoch_bump_due = true;
    if (!recovery->holed) {
        struct quarantine_range range = {
            .base_offset = segment->base_offset,
            .position_from = segment->size,
            .position_until = scan->file_size > segment->size ? scan->file_size : segment->size,
            .offset_from = segment->end_offset,
            .offset_until = recovery->next_base,
        };
        partition_quarantine(recovery->partition, &range, "log ends before the next segment");
    }
}

/* The walk from D (or 0). */
static enum status recovery_walk(struct recovery *recovery)
{
    struct partition *partition = recovery->partition;
    struct segment *segment = recovery->segment;
    struct scan scan;
    int64_t result = scan_open(&scan, segment);
    if (result < 0) {
        return recovery_refuse(segment, ".log", result);
    }
    scan.sum_from = (uint32_t)(segment->size / BLOCK_SIZE);
    if (recovery->has_tail && segment->size == recovery->tail.position) {
        partition_check_tail(&scan, &recovery->tail.running);
    }
    struct scan_walk walk = {
        .position = segment->size,
        .offset = segment->end_offset,
        .offset_until = recovery->offset_until < recovery->next_base ? recovery->offset_until
                                                                     : recovery->next_base,
        .epoch = -1,
        .dense = recovery->has_tail,
        .epochs = &partition->epochs,
    };
    int64_t walked_offset = walk.offset;
    int64_t walked_from = walk.position;
    scan_batches(&scan, &walk);
    if (scan.error == 0) {
        scan_finish(&scan, walk.position);
        segment->end_offset = walk.offset;
        recovery->plain_offset =
            walk.producers_until > walked_offset ? walk.producers_until : walked_offset;
    }
    result = scan.error;
    if (result == 0) {
        bool cut = recovery->last || walk.offset >= recovery->next_base;
        bool idle = recovery->has_tail && walk.position == recovery->tail.position;
        bool failed = recovery->offset_until != INT64_MAX;
        if (!idle || failed || !recovery_is_settled(&scan, walk.position)) {
            result = recovery_settle(&scan, partition, walked_from, cut, failed);
        }
        if (!cut) {
            recovery_note_hole(recovery, &scan);
        }
    }
    segment->allocated = scan.file_size;
    segment->written_until = segment->size; /* what follows may be allocated only */
    scan_close(&scan);
    return result < 0 ? recovery_refuse(segment, ".log", result) : STATUS_OK;
}

static int64_t recovery_file_size(struct segment *segment)
{
    struct store *store = segment->store;
    char path[STORE_PATH_SIZE];
    store_path_offset(store, path, segment->partition->name, segment->base_offset, ".log");
    return folder_file_size(store, path);
}

static enum status recovery_probe(struct recovery *recovery)
{
    struct segment *segment = recovery->segment;
    segment->named = true;
    segment->created_ms = ring_wall_ms(segment->store->ring);
    recovery->file_size = recovery_file_size(segment);
    if (recovery->file_size < 0) {
        return recovery_refuse(segment, ".log", recovery->file_size);
    }
    return recovery_read_tail(recovery);
}

/* A sealed segment may have been the last one at a crash and grown again: then the seal on disk is
 * older than its end, which is where the next one begins. */
static bool recovery_is_sealed(const struct recovery *recovery)
{
    return recovery->has_tail && (recovery->tail.flags & TAIL_SEALED) != 0 &&
           recovery->tail.offset == recovery->next_base &&
           recovery->file_size >= recovery->tail.log_size &&
           recovery->tail.offset <= recovery->offset_until;
}

/* One segment, whatever state it is in. */
static enum status recovery_segment(struct recovery *recovery)
{
    struct segment *segment = recovery->segment;
    if (!recovery->has_tail) {
        segment->rebuilt = recovery->file_size > 0;
        segment->rows_loaded = true;
        return recovery_walk(recovery);
    }
    recovery_take_header(recovery);
    const struct tail_header *tail = &recovery->tail;
    /* What followed was put aside, maybe by one who died before that was durable. Were it to come
     * back, this seal would cut off all that is appended from here on. */
    if (recovery->last && (tail->flags & TAIL_SEALED) != 0 &&
        recovery_sync_names(recovery->partition) < 0) {
        return STATUS_KAFKA_STORAGE_ERROR;
    }
    if (!recovery->last && recovery_is_sealed(recovery)) {
        segment->allocated = recovery->file_size;
        segment->finished = recovery->file_size == tail->log_size;
        return STATUS_OK;
    }
    enum status status = recovery_load_rows(recovery);
    if (status != STATUS_OK) {
        return status;
    }
    bool trimmed = recovery->file_size == tail->log_size || PLANTED(CLEAN_BELIEVED);
    bool clean = (tail->flags & TAIL_CLEAN) != 0 && trimmed && segment->size == tail->log_size &&
                 recovery->offset_until == INT64_MAX;
    if (clean && recovery->last) {
        segment->allocated = segment->written_until = recovery->file_size;
        return STATUS_OK;
    }
    if (tail->offset > recovery->offset_until || PLANTED(CUT_BELOW)) {
        recovery_fall_back(segment, 0); /* a reload never ends below D; be safe and walk all */
    }
    return recovery_walk(recovery);
}

/* Whether a file begins with a good batch at its base. One that cannot be looked at is an
 * error: taken for empty it would be put aside with all that follows. */
static enum status recovery_begins(struct partition *partition, int64_t base_offset, int32_t *epoch,
                                   bool *begins)
{
    struct segment *segment = segment_open(partition->store, partition, base_offset);
    if (segment == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct scan scan;
    int64_t result = scan_open(&scan, segment);
    *begins = false;
    if (result == 0) {
        struct scan_walk walk = {.offset = base_offset, .epoch = -1};
        for (int attempt = 0; attempt < 2 && walk.position == 0; attempt++) {
            const uint8_t *data = scan_bytes(&scan, 0, BATCH_HEADER_SIZE);
            struct batch_header header;
            if (data == NULL) {
                break;
            }
            batch_header_decode(&header, data);
            walk.offset_until =
                segment_header_is_sane(&header) ? batch_last_offset(&header) + 1 : base_offset;
            scan_batches(&scan, &walk);
            scan_forget(&scan); /* it may have been misread */
        }
        *begins = walk.position > 0;
        *epoch = walk.epoch;
        result = scan.error;
        scan_close(&scan);
    }
    enum status status = result < 0 ? recovery_refuse(segment, ".log", result) : STATUS_OK;
    segment_drop(segment);
    return PLANTED(ERROR_IS_EMPTY) ? STATUS_OK : status;
}

/* Whether the files beside a log say that some of it was durable. */
static enum status recovery_is_vouched(struct partition *partition, struct folder *folder,
                                       int64_t base_offset, bool *vouched)
{
    *vouched = folder_has(folder->hints, folder->hint_count, base_offset);
    if (*vouched || !folder_has(folder->tails, folder->tail_count, base_offset)) {
        return STATUS_OK;
    }
    struct segment *segment = segment_open(partition->store, partition, base_offset);
    if (segment == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct recovery look = {.partition = partition, .folder = folder, .segment = segment};
    enum status status = recovery_read_tail(&look);
    *vouched = look.has_tail && look.tail.position > 0;
    segment_drop(segment);
    return status;
}

/*
 * Whether the log goes on in the next file, bases[next]; true for the last one, which has none. A
 * first batch that is bad may be rot: what the files beside it say, and those behind it, which were
 * written after all of it was durable, counts as much.
 */
static enum status recovery_follows(struct recovery *recovery, struct folder *folder, uint32_t next,
                                    bool *follows)
{
    struct partition *partition = recovery->partition;
    *follows = recovery->last || recovery->next_base < recovery->offset_until;
    if (recovery->last || !*follows || recovery_is_sealed(recovery)) {
        return STATUS_OK;
    }
    enum status status =
        recovery_begins(partition, recovery->next_base, &recovery->next_epoch, follows);
    for (uint32_t i = next; status == STATUS_OK && !*follows && i < folder->base_count; i++) {
        int32_t epoch = -1;
        if (folder->bases[i] >= recovery->offset_until) {
            break;
        }
        if (i > next) {
            status = recovery_begins(partition, folder->bases[i], &epoch, follows);
        }
        if (status == STATUS_OK && !*follows) {
            status = recovery_is_vouched(partition, folder, folder->bases[i], follows);
        }
    }
    return status;
}

/* A sealed segment of which nothing is read now: facts and rows come at first use. */
static void recovery_defer(struct segment *segment, int64_t next_base, bool hinted)
{
    segment->sealed = segment->named = segment->finished = true;
    segment->hinted = hinted;
    segment->known = segment->rows_loaded = segment->aborted_loaded = false;
    segment->size = segment->durable = segment->visible = 0;
    segment->end_offset = next_base;
}

/*
 * One segment. Behind bad bytes there may be records that were answered: sealed as the walk leaves
 * it, the file would be cut there. The rebuild at first use finds what is good behind what is bad,
 * and keeps all bytes. It does not go by the tail file, whose D is the end of nothing.
 */
static enum status recovery_take_segment(struct recovery *recovery)
{
    struct segment *segment = recovery->segment;
    enum status status = recovery_segment(recovery);
    if (status == STATUS_OK && recovery->holed) {
        status = recovery_unlink(recovery->partition, segment->base_offset, ".tail");
        segment_unload_rows(segment);
        segment->tail_position = 0;
        segment->tail_rows = 0;
        recovery_defer(segment, recovery->next_base, false);
    }
    return status;
}

/*
 * No tail file, and the log goes on: rebuilt at first use, if it has no epoch to tell of. A small
 * one is walked at once: a crash in its first second leaves no tail either, and may leave bytes
 * behind its end.
 */
static bool recovery_may_wait(const struct recovery *recovery)
{
    return !recovery->has_tail && !recovery->last && recovery->file_size > RECOVERY_GAP &&
           epochs_of_offset(&recovery->partition->epochs, recovery->segment->base_offset) ==
               recovery->next_epoch;
}

/* H2: the name of a hint is enough. */
static enum status recovery_find_hint(struct partition *partition, const struct folder *folder,
                                      uint32_t index, int64_t offset_until, bool *hinted)
{
    int64_t base = folder->bases[index];
    *hinted = folder_has(folder->hints, folder->hint_count, base);
    if (!*hinted) {
        return STATUS_OK;
    }
    if (index + 1 == folder->base_count || folder->bases[index + 1] > offset_until) {
        *hinted = false;
        return recovery_unlink(partition, base, ".hint"); /* it takes appends again */
    }
    return folder_has(folder->tails, folder->tail_count, base)
               ? recovery_unlink(partition, base, ".tail")
               : STATUS_OK;
}

/* *plain_offset: from there on no batch names a producer; INT64_MAX when nothing was walked. */
static enum status recovery_load_segments(struct partition *partition, struct folder *folder,
                                          int64_t offset_until, bool epochs_known,
                                          int64_t *plain_offset)
{
    for (uint32_t i = 0; i < folder->base_count; i++) {
        int64_t base = folder->bases[i];
        struct segment *segment = segment_open(partition->store, partition, base);
        if (segment == NULL) {
            return STATUS_NO_MEMORY;
        }
        struct recovery recovery = {
            .partition = partition,
            .folder = folder,
            .segment = segment,
            .last = i + 1 == folder->base_count,
            .next_epoch = -1,
            .next_base = i + 1 == folder->base_count ? INT64_MAX : folder->bases[i + 1],
            .offset_until = offset_until,
            .plain_offset = INT64_MAX,
        };
        bool follows = true;
        bool hinted = false;
        enum status status = recovery_find_hint(partition, folder, i, offset_until, &hinted);
        if (status == STATUS_OK && !hinted) {
            status = recovery_probe(&recovery);
        }
        if (status == STATUS_OK && !hinted) {
            status = recovery_follows(&recovery, folder, i + 1, &follows);
        }
        if (status == STATUS_OK && hinted && recovery.next_base == offset_until) {
            status = recovery_drop_files(partition, folder, i + 2);
            folder->base_count = i + 2;
            folder_forget_tail(folder); /* it goes with its log */
            if (status == STATUS_OK) {
                status = recovery_renew(partition, recovery.next_base);
            }
        }
        if (status == STATUS_OK && !follows) {
            /* Nothing behind this one was ever durable. */
            status = recovery_drop_files(partition, folder, i + 1);
            if (recovery_sync_names(partition) < 0) { /* or they come back with a power cut */
                status = STATUS_KAFKA_STORAGE_ERROR;
            }
            folder->base_count = i + 1;
            recovery.last = true;
            recovery.next_base = INT64_MAX;
        }
        if (status == STATUS_OK && (hinted || (epochs_known && recovery_may_wait(&recovery)))) {
            recovery_defer(segment, recovery.next_base, hinted);
        } else if (status == STATUS_OK) {
            status = recovery_take_segment(&recovery);
        }
        if (status == STATUS_OK && !partition_add_segment(partition, segment)) {
            status = STATUS_NO_MEMORY;
        }
        if (status != STATUS_OK) {
            segment_drop(segment);
            return status;
        }
        segment->timestamp_visible = segment->timestamp_max;
        *plain_offset = recovery.plain_offset;
        if (!recovery.last) {
            segment->sealed = true;
            segment->end_offset = recovery.next_base;
        }
    }
    return STATUS_OK;
}

static void recovery_place(struct partition *partition)
{
    struct segment *active = partition_active(partition);
    partition->folder = true;
    partition->writing = active;
    partition->end_offset = partition->high_watermark = active->end_offset;
    int64_t base = partition->segments[0]->base_offset;
    if (partition->log_start_offset < base) {
        partition->log_start_offset = base;
    }
    if (partition->log_start_offset > partition->end_offset) {
        partition->log_start_offset = partition->end_offset;
    }
    epochs_cut_end(&partition->epochs, partition->end_offset);
    epochs_cut_start(&partition->epochs, partition->log_start_offset);
    if (active->producers_none_offset > active->end_offset) {
        active->producers_none_offset = -1; /* said of a log that was longer */
    }
    if (quarantine_cut_end(&partition->quarantine, active->base_offset, active->size,
                           active->end_offset)) {
        partition->quarantine_changed = true;
    }
    if (!active->rows_loaded) {
        check(active->size == 0);
        active->rows_loaded = true;
    }
    active->allocate_step = SPACE_STEP_MIN / 2; /* the next step is the first one again */
}

/* A reload finds the folder that its own process made, by an append that failed before the folder's
 * name was durable; nobody would sync it later. */
static enum status recovery_sync_fresh(struct partition *partition, int64_t offset_until)
{
    struct store *store = partition->store;
    bool fresh = offset_until != INT64_MAX && !partition->folder;
    return fresh && recovery_sync_folder(store, store->data_dir) < 0 ? STATUS_KAFKA_STORAGE_ERROR
                                                                     : STATUS_OK;
}

/* The log ends before the position that its tail file vouches for, and somebody may have read what
 * lay there. */
static enum status recovery_renew_tail(struct partition *partition)
{
    const struct segment *active = partition_active(partition);
    if (active->tail_position <= active->size) {
        return STATUS_OK;
    }
    partition->epoch_bump_due = true;
    int64_t result = tend_renew_tail(partition);
    return result < 0 ? recovery_refuse(active, ".tail", result) : STATUS_OK;
}

enum status recovery_load(struct partition *partition, int64_t offset_until)
{
    struct folder folder;
    partition->loading = true;
    enum status status = folder_open(&folder, partition);
    if (status != STATUS_OK || folder.base_count == 0) {
        folder_close(&folder);
        partition->loading = false;
        return status;
    }
    if (partition->quarantine.count == 0) {
        status = partition_load_quarantine(partition, folder.has_ranges, folder.has_request);
    }
    bool known = false;
    if (status == STATUS_OK) {
        status = folder_load_epochs(partition, &folder, &known);
    }
    struct epochs saved = partition->epochs;
    int64_t plain_offset = INT64_MAX;
    if (status == STATUS_OK) {
        status = recovery_load_segments(partition, &folder, offset_until, known, &plain_offset);
    }
    if (status == STATUS_OK && !known) {
        status = recovery_find_epochs(partition);
    }
    if (status == STATUS_OK) {
        status = recovery_sync_fresh(partition, offset_until);
    }
    if (status == STATUS_OK) {
        recovery_place(partition);
        if (!known && partition->epochs.count == 0) {
            (void)epochs_begin(&partition->epochs, partition->leader_epoch,
                               partition->log_start_offset);
        }
        /* What the walk learned must be on disk before D passes it. */
        partition->epochs_changed = !known || !epochs_equal(&partition->epochs, &saved);
        status = recovery_load_producers(partition, &folder, plain_offset);
    }
    if (status == STATUS_OK) {
        status = recovery_renew_tail(partition);
    }
    if (status == STATUS_OK) {
        partition_keys_load(partition);
    }
    folder_close(&folder);
    partition->loading = false;
    return status;
}
