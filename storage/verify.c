/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/epochs.h"
#include "storage/hint_keys.h"
#include "storage/partition_state.h"
#include "storage/tail.h"
#include "storage/transaction_index.h"
#include "storage/walk.h"

#define VERIFY_PATH_SIZE 4096
#define VERIFY_PIECE_SIZE (INT64_C(16) * BLOCK_SIZE)
#define VERIFY_FILE_SIZE_MAX (INT64_C(256) << 20) /* of anything but logs */
#define VERIFY_NAMES_SIZE_MAX ((size_t)16 << 20)
#define VERIFY_PRODUCERS_MAX 1000000

/* The folder's inventory. */
struct inventory {
    struct verify *verify;
    char *names;
    size_t names_size;
    uint32_t name_count;
    int64_t *bases; /* of logs, sorted */
    uint32_t base_count;
    struct uuid topic_id;
    bool has_id;
    int32_t index;
    struct quarantine quarantine;
};

/* One log on its way. */
struct log {
    struct inventory *inventory;
    char file[32];
    int64_t base_offset;
    int64_t next_base; /* INT64_MAX: the last one */
    int64_t durable;   /* bytes that must be good */
    struct block_row *rows;
    uint32_t row_count;
    uint32_t row_room;
    struct walk walk;
};

/* ---- files ---- */

static void path_of(const struct verify *verify, char path[VERIFY_PATH_SIZE], const char *name)
{
    int size = snprintf(path, VERIFY_PATH_SIZE, "%s/%s", verify->folder, name);
    check(size > 0);
}

static int64_t file_open(const struct verify *verify, const char *name, int64_t *size)
{
    char path[VERIFY_PATH_SIZE];
    path_of(verify, path, name);
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ};
    int64_t file = ring_call(verify->ring, &op);
    if (file >= 0) {
        op = (struct op){.kind = OP_STAT, .file = (int32_t)file};
        *size = ring_call(verify->ring, &op);
    }
    return file;
}

static void file_close(const struct verify *verify, int64_t file)
{
    struct op op = {.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(verify->ring, &op);
}

static int64_t file_read(const struct verify *verify, int64_t file, int64_t position, uint8_t *data,
                         size_t size)
{
    struct iovec slice = {data, size};
    struct op op = {.kind = OP_READ,
                    .file = (int32_t)file,
                    .vector = &slice,
                    .vector_count = 1,
                    .position = (uint64_t)position};
    return ring_call(verify->ring, &op);
}

/* A whole file in a heap block of *room bytes; NULL: not there, or not readable. */
static uint8_t *file_take(const struct verify *verify, const char *name, size_t *size, size_t *room)
{
    int64_t file_size = 0;
    int64_t file = file_open(verify, name, &file_size);
    if (file < 0) {
        return NULL;
    }
    uint8_t *data = NULL;
    if (file_size >= 0 && file_size <= VERIFY_FILE_SIZE_MAX) {
        *room = (size_t)file_size + 1;
        data = heap_acquire(verify->heap, *room);
    }
    if (data != NULL) {
        int64_t got = file_size == 0 ? 0 : file_read(verify, file, 0, data, (size_t)file_size);
        if (got < 0) {
            heap_release(verify->heap, data, *room);
            data = NULL;
        } else {
            *size = (size_t)got;
        }
    }
    file_close(verify, file);
    return data;
}

/* ---- findings ---- */

static void report(struct verify *verify, const struct verify_finding *finding)
{
    verify->damage_count += finding->kind != VERIFY_SKIPPED;
    verify->finding(verify, finding);
}

static void report_file(struct verify *verify, const char *file, const char *what)
{
    report(verify, &(struct verify_finding){VERIFY_DAMAGE, file, what, -1, -1, -1, -1});
}

/* Damage of a log, unless the broker knows it already. */
static void report_log(struct log *log, const struct verify_finding *finding)
{
    const struct quarantine_range *known = quarantine_at_position(
        &log->inventory->quarantine, log->base_offset, finding->position_from);
    if (known != NULL && known->position_from <= finding->position_from &&
        known->position_until >= finding->position_until) {
        return;
    }
    report(log->inventory->verify, finding);
}

static void report_quarantine(struct inventory *inventory)
{
    for (uint32_t i = 0; i < inventory->quarantine.count; i++) {
        const struct quarantine_range *range = &inventory->quarantine.ranges[i];
        char file[32];
        snprintf(file, sizeof(file), "%020lld.log", (long long)range->base_offset);
        report(inventory->verify,
               &(struct verify_finding){range->skipped ? VERIFY_SKIPPED : VERIFY_QUARANTINED, file,
                                        range->skipped ? "given up by hand"
                                                       : "quarantined by the broker",
                                        range->position_from, range->position_until,
                                        range->offset_from, range->offset_until});
    }
}

/* ---- block tables ---- */

static bool log_reserve(struct log *log, uint32_t count)
{
    log->rows =
        heap_acquire(log->inventory->verify->heap, ((size_t)count + 1) * sizeof(*log->rows));
    log->row_room = count + 1;
    return log->rows != NULL;
}

static void log_name(const struct log *log, char name[32], const char *suffix)
{
    snprintf(name, 32, "%020lld%s", (long long)log->base_offset, suffix);
}

/* Every row of a page of keys or first keys. */
static bool key_rows_are_good(const uint8_t *page, const struct hint_header *header,
                              uint32_t number)
{
    struct hint_layout layout = hint_layout_of(header);
    struct hint_key_cursor cursor;
    enum status status = STATUS_OK;
    hint_keys_begin(&cursor, page);
    while (number < layout.bloom && status == STATUS_OK) {
        status = number < layout.index ? hint_keys_next(&cursor, header) : hint_index_next(&cursor);
    }
    return status == STATUS_OK || status == STATUS_NOT_FOUND;
}

/* Rows of a hint whose header is good; each bad page is told, its blocks stay without sums. */
static void hint_pages(struct log *log, const char *name, const uint8_t *data, size_t size,
                       const struct hint_header *header, uint64_t seed)
{
    struct verify *verify = log->inventory->verify;
    struct hint_layout layout = hint_layout_of(header);
    if (size != (size_t)layout.end * HINT_PAGE_SIZE) {
        report_file(verify, name, "hint has not the size that its header says");
    }
    for (uint32_t i = 1; i < layout.end && (size_t)(i + 1) * HINT_PAGE_SIZE <= size; i++) {
        const uint8_t *page = data + (size_t)i * HINT_PAGE_SIZE;
        struct producers_aborted aborted[HINT_PAGE_ROWS];
        bool good;
        if (i < layout.aborted) {
            good = hint_decode_rows(page, header, i, log->rows, seed);
        } else if (i < layout.keys) {
            good = hint_decode_aborted(page, header, i, aborted, seed) >= 0;
        } else {
            good = hint_check_key_page(page, header, i, seed) && key_rows_are_good(page, header, i);
        }
        if (!good) {
            report(verify,
                   &(struct verify_finding){VERIFY_DAMAGE, name, "page of the hint fails its sum",
                                            (int64_t)i * HINT_PAGE_SIZE,
                                            (int64_t)(i + 1) * HINT_PAGE_SIZE, -1, -1});
        }
    }
}

/* False: there is no hint. */
static bool log_take_hint(struct log *log)
{
    struct inventory *inventory = log->inventory;
    struct verify *verify = inventory->verify;
    char name[32];
    size_t size = 0;
    size_t room = 0;
    log_name(log, name, ".hint");
    uint8_t *data = file_take(verify, name, &size, &room);
    if (data == NULL) {
        return false;
    }
    struct hint_identity identity =
        hint_identity_of(&inventory->topic_id, inventory->index, log->base_offset);
    struct hint_header header;
    if (size < HINT_PAGE_SIZE || !hint_decode_header(data, &identity, &header)) {
        report_file(verify, name, "hint is not one of this segment, or damaged");
    } else if (header.end_offset != log->next_base) {
        report_file(verify, name, "hint ends at another offset than the next segment begins");
    } else if (log_reserve(log, header.row_count)) {
        hint_pages(log, name, data, size, &header, identity.seed);
        log->row_count = header.row_count;
        log->durable = header.log_size;
    }
    heap_release(verify->heap, data, room);
    return true;
}

static void tail_pages(struct log *log, const char *name, const uint8_t *data, size_t size,
                       const struct tail_header *header)
{
    struct inventory *inventory = log->inventory;
    uint64_t seed =
        segment_seed_of(&inventory->topic_id, inventory->index, log->base_offset, UINT32_MAX);
    uint32_t pages = (header->row_count + TAIL_PAGE_ROWS - 1) / TAIL_PAGE_ROWS;
    for (uint32_t i = 0; i < pages; i++) {
        size_t at = (TAIL_HEADER_PAGES + (size_t)i) * TAIL_PAGE_SIZE;
        uint32_t first = i * TAIL_PAGE_ROWS;
        uint32_t wanted = header->row_count - first;
        wanted = wanted < TAIL_PAGE_ROWS ? wanted : TAIL_PAGE_ROWS;
        struct block_row rows[TAIL_PAGE_ROWS];
        if (at + TAIL_PAGE_SIZE > size || tail_decode_rows(data + at, i, seed, rows) < wanted) {
            report(inventory->verify,
                   &(struct verify_finding){VERIFY_DAMAGE, name,
                                            "page of the tail file fails its sum", (int64_t)at,
                                            (int64_t)at + TAIL_PAGE_SIZE, -1, -1});
        } else {
            memcpy(&log->rows[first], rows, wanted * sizeof(rows[0]));
        }
    }
    log->row_count = header->row_count;
    if (header->position % BLOCK_SIZE != 0) {
        log->rows[log->row_count] = header->running;
        log->row_count += 1;
    }
}

static void log_take_tail(struct log *log)
{
    struct inventory *inventory = log->inventory;
    struct verify *verify = inventory->verify;
    char name[32];
    size_t size = 0;
    size_t room = 0;
    log_name(log, name, ".tail");
    uint8_t *data = file_take(verify, name, &size, &room);
    if (data == NULL) {
        return; /* a folder of Kafka */
    }
    struct tail_identity identity = {
        .topic_id = inventory->topic_id,
        .index = inventory->index,
        .base_offset = log->base_offset,
        .seed =
            segment_seed_of(&inventory->topic_id, inventory->index, log->base_offset, UINT32_MAX),
    };
    struct tail_header header;
    if (size >= TAIL_HEADER_PAGES * TAIL_PAGE_SIZE && tail_decode_slots(data, &identity, &header)) {
        if (log_reserve(log, header.row_count + 1)) {
            tail_pages(log, name, data, size, &header);
            log->durable = header.position;
        }
    } else if (size > 0) {
        report_file(verify, name, "tail file has no good header");
    }
    heap_release(verify->heap, data, room);
}

/* ---- the log ---- */

static void walk_batch_seen(struct walk *walk, const struct walk_batch *from)
{
    struct log *log = walk->owner;
    struct verify *verify = log->inventory->verify;
    verify->batch_count += 1;
    verify->size += (uint64_t)from->size;
    if (verify->batch == NULL) {
        return;
    }
    struct verify_batch batch = {
        .file = log->file,
        .position = from->position,
        .size = from->size,
        .header = from->header,
    };
    struct producers_marker marker;
    if ((from->header.attributes & BATCH_CONTROL) != 0 && from->size <= WALK_HEAD_SIZE &&
        partition_decode_marker(from->head, (size_t)from->size, &marker)) {
        batch.marker = marker.is_commit ? VERIFY_COMMIT : VERIFY_ABORT;
    }
    verify->batch(verify, &batch);
}

static void walk_damage_seen(struct walk *walk, const struct walk_damage *damage)
{
    struct log *log = walk->owner;
    if (damage->position_from >= log->durable) {
        return; /* where the log ends */
    }
    int64_t until = damage->position_until < log->durable ? damage->position_until : log->durable;
    report_log(log, &(struct verify_finding){VERIFY_DAMAGE, log->file, damage->what,
                                             damage->position_from, until, damage->offset_from,
                                             damage->offset_until});
}

/* First offset known to start at or before block `number`, or behind it. */
static int64_t row_offset(const struct log *log, uint32_t number, bool behind)
{
    if (behind) {
        for (uint32_t i = number + 1; i < log->row_count; i++) {
            if (log->rows[i].position != ROW_NONE && (log->rows[i].flags & ROW_SUMMED) != 0) {
                return log->rows[i].base_offset;
            }
        }
        return log->next_base == INT64_MAX ? -1 : log->next_base;
    }
    for (uint32_t i = number; i > 0; i--) {
        if (log->rows[i - 1].position != ROW_NONE && (log->rows[i - 1].flags & ROW_SUMMED) != 0) {
            return log->rows[i - 1].base_offset;
        }
    }
    return log->base_offset;
}

static void log_check_blocks(struct log *log, int64_t start, const uint8_t *data, int64_t size)
{
    const struct inventory *inventory = log->inventory;
    for (int64_t at = 0; at < size && start + at < log->durable; at += BLOCK_SIZE) {
        uint32_t number = (uint32_t)((start + at) / BLOCK_SIZE);
        int64_t part = log->durable - start - at;
        part = part < BLOCK_SIZE ? part : BLOCK_SIZE;
        if (number >= log->row_count || (log->rows[number].flags & ROW_SUMMED) == 0 ||
            at + part > size) {
            continue;
        }
        uint64_t seed =
            segment_seed_of(&inventory->topic_id, inventory->index, log->base_offset, number);
        if (hash_bytes(bytes_of(data + at, (size_t)part), seed) != log->rows[number].sum) {
            report_log(log, &(struct verify_finding){
                                VERIFY_DAMAGE, log->file, "block fails its sum", start + at,
                                start + at + part, row_offset(log, number, false),
                                row_offset(log, number, true)});
        }
    }
}

static int64_t log_read(struct log *log, int64_t file, int64_t file_size)
{
    struct verify *verify = log->inventory->verify;
    uint8_t *piece = heap_acquire(verify->heap, (size_t)VERIFY_PIECE_SIZE);
    if (piece == NULL) {
        return -ENOMEM;
    }
    bool sealed = log->next_base != INT64_MAX;
    log->walk = (struct walk){
        .offset = log->base_offset,
        .offset_until = log->next_base,
        .size = sealed && log->row_count > 0 ? log->durable : file_size,
        .batch = walk_batch_seen,
        .damage = walk_damage_seen,
        .owner = log,
    };
    int64_t result = 0;
    for (int64_t at = 0; at < file_size; at += VERIFY_PIECE_SIZE) {
        result = file_read(verify, file, at, piece, (size_t)VERIFY_PIECE_SIZE);
        if (result <= 0) {
            break;
        }
        if (!verify->log_only) {
            log_check_blocks(log, at, piece, result);
        }
        walk_feed(&log->walk, piece, (size_t)result);
        if (log->walk.state == WALK_LOST && log->walk.position >= log->durable) {
            break;
        }
    }
    walk_end(&log->walk);
    heap_release(verify->heap, piece, (size_t)VERIFY_PIECE_SIZE);
    return result < 0 ? result : 0;
}

static int64_t log_verify(struct inventory *inventory, uint32_t index)
{
    struct verify *verify = inventory->verify;
    bool last = index + 1 == inventory->base_count;
    struct log log = {
        .inventory = inventory,
        .base_offset = inventory->bases[index],
        .next_base = last ? INT64_MAX : inventory->bases[index + 1],
    };
    log_name(&log, log.file, ".log");
    int64_t file_size = 0;
    int64_t file = file_open(verify, log.file, &file_size);
    if (file < 0 || file_size < 0) {
        return file < 0 ? file : file_size;
    }
    log.durable = last ? 0 : file_size;
    verify->file_count += 1;
    if (inventory->has_id && !log_take_hint(&log)) {
        log_take_tail(&log);
    }
    if (file_size < log.durable) {
        report_log(&log,
                   &(struct verify_finding){VERIFY_DAMAGE, log.file, "log is shorter than it was",
                                            file_size, log.durable, -1, -1});
    }
    int64_t result = log_read(&log, file, file_size);
    if (!last && result == 0 && log.walk.offset < log.next_base && log.walk.state == WALK_HEADER &&
        file_size == log.durable && log.row_count == 0) {
        report_log(&log,
                   &(struct verify_finding){VERIFY_DAMAGE, log.file,
                                            "log ends before the next segment (or was "
                                            "compacted by another broker)",
                                            file_size, file_size, log.walk.offset, log.next_base});
    }
    heap_release(verify->heap, log.rows, log.row_room * sizeof(*log.rows));
    file_close(verify, file);
    return result;
}

/* ---- one key ---- */

static void row_seen(struct verify *verify, const char *name, const struct hint_key *key)
{
    struct verify_row row = {
        .file = name,
        .offset = key->entry.offset,
        .timestamp = key->entry.timestamp,
        .position = key->entry.position,
        .size = key->entry.size,
        .tombstone = (key->entry.flags & KEY_TOMBSTONE) != 0,
        .producer_id = key->producer_id,
    };
    verify->found = verify->found || row.producer_id < 0;
    verify->row(verify, &row);
}

/* Goes through the pages that the search needs. False: one of them is not what was written. */
static bool table_search(const struct inventory *inventory, const struct log *log, int64_t file,
                         struct hint_search *search)
{
    struct verify *verify = inventory->verify;
    struct hint_identity identity =
        hint_identity_of(&inventory->topic_id, inventory->index, log->base_offset);
    struct hint_header header;
    uint8_t page[HINT_PAGE_SIZE];
    char name[32];
    log_name(log, name, ".hint");
    enum hint_search_verdict verdict = HINT_SEARCH_NEEDS;
    while (!verify->found && (verdict == HINT_SEARCH_NEEDS || verdict == HINT_SEARCH_ENTRY)) {
        if (verdict == HINT_SEARCH_ENTRY) {
            row_seen(verify, name, &search->cursor.key);
        } else if (file_read(verify, file, (int64_t)search->number * HINT_PAGE_SIZE, page,
                             sizeof(page)) != (int64_t)sizeof(page) ||
                   !(search->number == 0
                         ? hint_decode_header(page, &identity, &header)
                         : hint_check_key_page(page, &header, search->number, identity.seed))) {
            return false;
        }
        verdict = hint_search_step(search, page);
    }
    if (verdict == HINT_SEARCH_DAMAGED) {
        report_file(verify, name, "key table of the hint is damaged");
    }
    return verify->found || verdict == HINT_SEARCH_ABSENT;
}

/* False: there is no table that could answer. */
static bool log_find(struct inventory *inventory, uint32_t index)
{
    struct log log = {.inventory = inventory, .base_offset = inventory->bases[index]};
    struct verify *verify = inventory->verify;
    char name[32];
    int64_t size = 0;
    log_name(&log, name, ".hint");
    int64_t file = inventory->has_id ? file_open(verify, name, &size) : -ENOENT;
    if (file < 0) {
        return false;
    }
    uint8_t form[KEY_FORM_MAX];
    struct hint_search search;
    hint_search_begin(&search, key_form(verify->key, form));
    bool answered = table_search(inventory, &log, file, &search);
    file_close(verify, file);
    return answered;
}

/* From the newest segment to the oldest, until the key is found. */
static int64_t find_key(struct inventory *inventory)
{
    int64_t result = 0;
    for (uint32_t i = inventory->base_count; i-- > 0 && result == 0 && !inventory->verify->found;) {
        if (!log_find(inventory, i)) {
            result = log_verify(inventory, i);
        }
    }
    return result;
}

/* ---- small files ---- */

static bool name_ends(const char *name, const char *suffix)
{
    size_t size = strlen(name);
    size_t suffix_size = strlen(suffix);
    return size > suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

static bool snapshot_is_good(struct verify *verify, struct bytes data)
{
    struct producers *producers = producers_open(verify->heap, 0, VERIFY_PRODUCERS_MAX);
    bool good = producers != NULL && producers_decode(producers, data, 0) == STATUS_OK;
    producers_close(producers);
    return good;
}

static bool transactions_are_good(struct bytes data)
{
    struct producers_aborted entry;
    size_t count = data.size / TRANSACTION_INDEX_ENTRY_SIZE;
    for (size_t i = 0; i < count; i++) {
        if (!transaction_index_decode(data, i, &entry)) {
            return false;
        }
    }
    return data.size % TRANSACTION_INDEX_ENTRY_SIZE == 0;
}

static const char *small_file_fault(struct inventory *inventory, const char *name,
                                    struct bytes data)
{
    struct epochs epochs;
    epochs_init(&epochs);
    if (name_ends(name, ".snapshot")) {
        return snapshot_is_good(inventory->verify, data) ? NULL : "producer snapshot is damaged";
    }
    if (name_ends(name, ".txnindex")) {
        return transactions_are_good(data) ? NULL : "index of aborted transactions is damaged";
    }
    if (strcmp(name, "leader-epoch-checkpoint") == 0) {
        return epochs_decode(&epochs, data) == STATUS_OK ? NULL : "epoch checkpoint is damaged";
    }
    if (strcmp(name, "weir.quarantine") == 0) {
        return quarantine_decode(&inventory->quarantine, data) == STATUS_OK
                   ? NULL
                   : "list of quarantined ranges is damaged";
    }
    return NULL;
}

static bool is_small_file(const char *name)
{
    return name_ends(name, ".snapshot") || name_ends(name, ".txnindex") ||
           strcmp(name, "leader-epoch-checkpoint") == 0 || strcmp(name, "weir.quarantine") == 0;
}

static void check_small_files(struct inventory *inventory)
{
    struct verify *verify = inventory->verify;
    const char *name = inventory->names;
    for (uint32_t i = 0; i < inventory->name_count; i++, name += strlen(name) + 1) {
        bool ranges = strcmp(name, "weir.quarantine") == 0;
        if (!is_small_file(name) || (verify->log_only && !ranges)) {
            continue;
        }
        size_t size = 0;
        size_t room = 0;
        uint8_t *data = file_take(verify, name, &size, &room);
        const char *fault = data == NULL ? "cannot be read"
                                         : small_file_fault(inventory, name, bytes_of(data, size));
        if (data != NULL) {
            heap_release(verify->heap, data, room);
        }
        if (fault != NULL) {
            report_file(verify, name, fault);
        }
        verify->file_count += 1;
    }
}

/* ---- the folder ---- */

static void take_identity(struct inventory *inventory)
{
    struct verify *verify = inventory->verify;
    const char *dash = strrchr(verify->folder, '-');
    inventory->index = dash == NULL ? 0 : atoi(dash + 1);
    size_t size = 0;
    size_t room = 0;
    uint8_t *text = file_take(verify, "partition.metadata", &size, &room);
    const char *id = text == NULL ? NULL : strstr((const char *)text, "topic_id: ");
    char id_text[UUID_TEXT_SIZE] = "";
    if (id != NULL) {
        snprintf(id_text, sizeof(id_text), "%.22s", id + strlen("topic_id: "));
    }
    inventory->has_id = uuid_parse(&inventory->topic_id, id_text);
    if (text != NULL) {
        heap_release(verify->heap, text, room);
    }
    if (!inventory->has_id) {
        report_file(verify, "partition.metadata",
                    "names no topic id; hints and tail files cannot be checked without it");
    }
}

static int order_offsets(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int64_t take_names(struct inventory *inventory)
{
    struct verify *verify = inventory->verify;
    int64_t result = -ENOBUFS;
    for (size_t room = 65536; result == -ENOBUFS && room <= VERIFY_NAMES_SIZE_MAX; room *= 4) {
        heap_release(verify->heap, inventory->names, inventory->names_size);
        inventory->names = heap_acquire(verify->heap, room);
        inventory->names_size = room;
        if (inventory->names == NULL) {
            return -ENOMEM;
        }
        struct ring_listing listing = {.names = inventory->names, .size_max = room};
        struct op op = {.kind = OP_LIST, .path = verify->folder, .listing = &listing};
        result = ring_call(verify->ring, &op);
        inventory->name_count = listing.count;
    }
    if (result < 0) {
        return result;
    }
    inventory->bases =
        heap_acquire(verify->heap, ((size_t)inventory->name_count + 1) * sizeof(int64_t));
    if (inventory->bases == NULL) {
        return -ENOMEM;
    }
    const char *name = inventory->names;
    for (uint32_t i = 0; i < inventory->name_count; i++, name += strlen(name) + 1) {
        if (strlen(name) == 24 && strspn(name, "0123456789") == 20 &&
            strcmp(name + 20, ".log") == 0) {
            inventory->bases[inventory->base_count++] = strtoll(name, NULL, 10);
        }
    }
    qsort(inventory->bases, inventory->base_count, sizeof(int64_t), order_offsets);
    return 0;
}

int64_t verify_run(struct verify *verify)
{
    struct inventory inventory = {.verify = verify};
    quarantine_init(&inventory.quarantine, verify->heap);
    int64_t result = take_names(&inventory);
    if (result == 0) {
        take_identity(&inventory);
        check_small_files(&inventory);
        report_quarantine(&inventory);
    }
    if (result == 0 && verify->key.data != NULL) {
        result = find_key(&inventory);
    }
    for (uint32_t i = 0; result == 0 && verify->key.data == NULL && i < inventory.base_count; i++) {
        result = log_verify(&inventory, i);
    }
    quarantine_deinit(&inventory.quarantine);
    heap_release(verify->heap, inventory.names, inventory.names_size);
    heap_release(verify->heap, inventory.bases,
                 ((size_t)inventory.name_count + 1) * sizeof(int64_t));
    return result;
}
