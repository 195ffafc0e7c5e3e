/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/tail.h"

#define LISTING_SIZE_FIRST ((size_t)65536)
#define LISTING_SIZE_MAX ((size_t)16 << 20)
#define NAME_DIGITS 20

int64_t folder_read(struct store *store, const char *path, uint32_t flags, uint8_t *data,
                    size_t size_max, size_t *size)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ | flags};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        return file;
    }
    struct iovec slice = {data, size_max};
    op = (struct op){.kind = OP_READ, .file = (int32_t)file, .vector = &slice, .vector_count = 1};
    int64_t result = ring_call(store->ring, &op);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    if (result < 0) {
        return result;
    }
    *size = (size_t)result;
    return 0;
}

int64_t folder_file_size(struct store *store, const char *path)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        return file;
    }
    op = (struct op){.kind = OP_STAT, .file = (int32_t)file};
    int64_t size = ring_call(store->ring, &op);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    return size;
}

enum status folder_refuse(const struct partition *partition, const char *path, int64_t error)
{
    if (error == -ENOMEM) {
        return STATUS_NO_MEMORY; /* no fault of the file: whoever opens tries again, or tells */
    }
    diag_line(
        partition->store->diag, DIAG_ERROR, "storage/recovery",
        "file or folder cannot be read, or names not be made durable; what needs it stays closed",
        "partition=%s file=%s error=\"%s\" remedy=\"see to the disk, then start again\"",
        partition->name, path, strerrordesc_np((int)-error));
    return STATUS_KAFKA_STORAGE_ERROR;
}

static bool text_ends(const char *name, const char *suffix)
{
    size_t size = strlen(name);
    size_t suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

/* "<20 digits><suffix>" */
static bool name_offset(const char *name, const char *suffix, int64_t *offset)
{
    uint64_t value = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || value > INT64_MAX / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(name[i] - '0');
    }
    *offset = (int64_t)value;
    return value <= INT64_MAX && strcmp(name + NAME_DIGITS, suffix) == 0;
}

static bool folder_push(struct folder *folder, int64_t **items, uint32_t *count, uint32_t *room,
                        int64_t value)
{
    if (*count == *room) {
        uint32_t wanted = *room == 0 ? 64 : *room * 2;
        struct heap *heap = folder->store->heap;
        int64_t *grown = *items == NULL ? heap_acquire(heap, wanted * sizeof(**items))
                                        : heap_resize(heap, *items, *room * sizeof(**items),
                                                      wanted * sizeof(**items));
        if (grown == NULL) {
            return false;
        }
        *items = grown;
        *room = wanted;
    }
    (*items)[*count] = value;
    *count += 1;
    return true;
}

static bool folder_take_name(struct folder *folder, const char *name)
{
    int64_t offset;
    if (strlen(name) > NAME_DIGITS && name_offset(name, ".log", &offset)) {
        return folder_push(folder, &folder->bases, &folder->base_count, &folder->base_room, offset);
    }
    if (strlen(name) > NAME_DIGITS && name_offset(name, ".snapshot", &offset)) {
        return folder_push(folder, &folder->snapshots, &folder->snapshot_count,
                           &folder->snapshot_room, offset);
    }
    if (strlen(name) > NAME_DIGITS && name_offset(name, ".hint", &offset)) {
        return folder_push(folder, &folder->hints, &folder->hint_count, &folder->hint_room, offset);
    }
    if (strlen(name) > NAME_DIGITS && name_offset(name, ".tail", &offset)) {
        return folder_push(folder, &folder->tails, &folder->tail_count, &folder->tail_room, offset);
    }
    folder->has_ranges = folder->has_ranges || strcmp(name, "weir.quarantine") == 0;
    folder->has_request = folder->has_request || strcmp(name, "weir.request") == 0;
    return true;
}

/* Beside a log that retention took: a crash came between its renaming and theirs. */
static bool name_is_orphan(const struct folder *folder, const char *name)
{
    static const char *const suffixes[] = {".hint", ".tail", ".txnindex", ".index", ".timeindex"};
    int64_t offset;
    for (size_t i = 0; strlen(name) > NAME_DIGITS && i < ARRAY_COUNT(suffixes); i++) {
        if (name_offset(name, suffixes[i], &offset)) {
            return folder->base_count > 0 && offset < folder->bases[0];
        }
    }
    return false;
}

static void folder_tidy_name(struct folder *folder, struct partition *partition, const char *name)
{
    if (text_ends(name, ".deleted") || text_ends(name, ".tmp") || strcmp(name, "weir.next") == 0 ||
        name_is_orphan(folder, name)) {
        char path[STORE_PATH_SIZE];
        store_path(folder->store, path, partition->name, name, NULL);
        struct op op = {.kind = OP_UNLINK, .path = path};
        (void)ring_call(folder->store->ring, &op);
    }
}

static int order_offsets(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void folder_sort(int64_t *offsets, uint32_t count)
{
    if (count > 0) {
        qsort(offsets, count, sizeof(offsets[0]), order_offsets);
    }
}

bool folder_has(const int64_t *sorted, uint32_t count, int64_t offset)
{
    return count > 0 && bsearch(&offset, sorted, count, sizeof(offset), order_offsets) != NULL;
}

/* Lists into a heap block that grows until the names fit; the caller releases it. */
static int64_t folder_list(struct store *store, const char *path, struct ring_listing *listing)
{
    *listing = (struct ring_listing){0};
    for (size_t size = LISTING_SIZE_FIRST; size <= LISTING_SIZE_MAX; size *= 4) {
        char *names = heap_acquire(store->heap, size);
        if (names == NULL) {
            return -ENOMEM;
        }
        *listing = (struct ring_listing){.names = names, .size_max = size};
        struct op op = {.kind = OP_LIST, .path = path, .listing = listing};
        int64_t result = ring_call(store->ring, &op);
        if (result != -ENOBUFS) {
            return result;
        }
        heap_release(store->heap, names, size);
        *listing = (struct ring_listing){0};
    }
    return -ENOBUFS;
}

/* "version: 0\ntopic_id: <22 characters>\n" */
bool folder_decode_metadata(const char *text, struct uuid *id)
{
    char id_text[UUID_TEXT_SIZE] = "";
    const char *found = strstr(text, "topic_id: ");
    if (found != NULL) {
        snprintf(id_text, sizeof(id_text), "%.22s", found + strlen("topic_id: "));
    }
    return uuid_parse(id, id_text);
}

static enum status folder_check_metadata(struct partition *partition)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    uint8_t text[256];
    size_t size = 0;
    store_path(store, path, partition->name, "partition.metadata", NULL);
    int64_t result = folder_read(store, path, 0, text, sizeof(text) - 1, &size);
    if (result == -ENOENT) {
        return STATUS_OK; /* a power cut between mkdir and the first append's answer */
    }
    if (result < 0) {
        return folder_refuse(partition, path, result);
    }
    text[size] = 0;
    struct uuid id;
    if (!folder_decode_metadata((const char *)text, &id)) {
        diag_line(store->diag, DIAG_ERROR, "storage/recovery", "partition.metadata is damaged",
                  "partition=%s", partition->name);
        return STATUS_OK; /* block sums vouch for the topic id as well */
    }
    if (uuid_equal(&id, &partition->topic_id)) {
        return STATUS_OK;
    }
    char found[UUID_TEXT_SIZE];
    char wanted[UUID_TEXT_SIZE];
    uuid_format(&id, found);
    uuid_format(&partition->topic_id, wanted);
    diag_line(store->diag, DIAG_ERROR, "storage/recovery",
              "folder belongs to another topic and is left alone",
              "folder=%s/%s topic_id=%s expected=%s remedy=\"move the folder away and start again: "
              "the partition is then empty; or delete the topic: the folder is renamed, not "
              "deleted\"",
              store->data_dir, partition->name, found, wanted);
    return STATUS_INCONSISTENT_TOPIC_ID;
}

/* Keeps the tail file of the last log. False: it does not tell whose this folder is. */
static bool folder_take_tail(struct folder *folder, struct partition *partition)
{
    struct store *store = partition->store;
    int64_t base = folder->base_count == 0 ? -1 : folder->bases[folder->base_count - 1];
    if (!folder_has(folder->tails, folder->tail_count, base)) {
        return false;
    }
    folder->tail_run = cache_acquire_run(store, (size_t)BLOCK_SIZE);
    if (folder->tail_run == NULL) {
        return false;
    }
    char path[STORE_PATH_SIZE];
    struct tail_header header;
    struct tail_identity identity = {
        .topic_id = partition->topic_id,
        .index = partition->index,
        .base_offset = base,
        .seed = segment_seed_of(&partition->topic_id, partition->index, base, UINT32_MAX),
    };
    store_path_offset(store, path, partition->name, base, ".tail");
    int64_t result = folder_read(store, path, store_direct(store), folder->tail_run,
                                 (size_t)BLOCK_SIZE, &folder->tail_size);
    bool good = result == 0 && folder->tail_size >= TAIL_HEADER_PAGES * TAIL_PAGE_SIZE &&
                tail_decode_slots(folder->tail_run, &identity, &header);
    if (good) {
        folder->epochs_stamp = tail_take_epochs(&header, &folder->epochs);
    } else {
        folder_forget_tail(folder);
    }
    return good;
}

void folder_forget_tail(struct folder *folder)
{
    if (folder->tail_run != NULL) {
        cache_release_run(folder->store, folder->tail_run, (size_t)BLOCK_SIZE);
        folder->tail_run = NULL;
    }
}

static void folder_sort_all(struct folder *folder)
{
    folder_sort(folder->bases, folder->base_count);
    folder_sort(folder->hints, folder->hint_count);
    folder_sort(folder->tails, folder->tail_count);
    folder_sort(folder->snapshots, folder->snapshot_count);
}

enum status folder_open(struct folder *folder, struct partition *partition)
{
    struct store *store = partition->store;
    *folder = (struct folder){.store = store};
    char path[STORE_PATH_SIZE];
    store_path(store, path, partition->name, NULL, NULL);
    struct ring_listing listing;
    int64_t result = folder_list(store, path, &listing);
    enum status status = STATUS_OK;
    if (result < 0 && result != -ENOENT) {
        status = folder_refuse(partition, path, result);
    }
    const char *name = listing.names;
    for (int64_t i = 0; status == STATUS_OK && i < result; i++) {
        if (!folder_take_name(folder, name)) {
            status = STATUS_NO_MEMORY;
        }
        name += strlen(name) + 1;
    }
    folder_sort_all(folder);
    if (status == STATUS_OK && result >= 0 && !folder_take_tail(folder, partition)) {
        status = folder_check_metadata(partition);
    }
    name = listing.names;
    for (int64_t i = 0; status == STATUS_OK && i < result; i++) {
        folder_tidy_name(folder, partition, name);
        name += strlen(name) + 1;
    }
    if (listing.names != NULL) {
        heap_release(store->heap, listing.names, listing.size_max);
    }
    return status;
}

void folder_close(struct folder *folder)
{
    struct heap *heap = folder->store->heap;
    folder_forget_tail(folder);
    heap_release(heap, folder->bases, folder->base_room * sizeof(folder->bases[0]));
    heap_release(heap, folder->hints, folder->hint_room * sizeof(folder->hints[0]));
    heap_release(heap, folder->tails, folder->tail_room * sizeof(folder->tails[0]));
    heap_release(heap, folder->snapshots, folder->snapshot_room * sizeof(folder->snapshots[0]));
}

static int64_t folder_stamp(struct store *store, int32_t file)
{
    struct op op = {.kind = OP_STAT, .flags = OP_STAMP, .file = file};
    int64_t stamp = ring_call(store->ring, &op);
    return stamp < 0 ? 0 : stamp; /* it is read, then */
}

enum status folder_load_epochs(struct partition *partition, const struct folder *folder,
                               bool *known)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    uint8_t text[8192];
    store_path(store, path, partition->name, "leader-epoch-checkpoint", NULL);
    partition->epochs_stamp = 0;
    *known = false;
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) { /* written anew it would forget the past */
        return file == -ENOENT ? STATUS_OK : folder_refuse(partition, path, file);
    }
    int64_t stamp = folder_stamp(store, (int32_t)file);
    int64_t result = 0;
    if (stamp != 0 && stamp == folder->epochs_stamp) {
        partition->epochs = folder->epochs;
        *known = true;
    } else {
        struct iovec slice = {text, sizeof(text)};
        op = (struct op){
            .kind = OP_READ, .file = (int32_t)file, .vector = &slice, .vector_count = 1};
        result = ring_call(store->ring, &op);
        *known = result >= 0 &&
                 epochs_decode(&partition->epochs, bytes_of(text, (size_t)result)) == STATUS_OK &&
                 partition->epochs.count > 0;
    }
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    partition->epochs_stamp = *known ? stamp : 0;
    return result < 0 ? folder_refuse(partition, path, result) : STATUS_OK;
}
