/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in the folder of a partition, read blocking at open. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/epochs.h"
#include "wire/status.h"

struct partition;
struct store;
struct uuid;

struct folder {
    struct store *store;
    int64_t *bases; /* of .log files, sorted */
    uint32_t base_count;
    uint32_t base_room;
    int64_t *hints; /* of .hint files, sorted */
    uint32_t hint_count;
    uint32_t hint_room;
    int64_t *tails; /* of .tail files, sorted */
    uint32_t tail_count;
    uint32_t tail_room;
    bool has_ranges;    /* weir.quarantine */
    bool has_request;   /* weir.request */
    int64_t *snapshots; /* offsets of .snapshot files, sorted */
    uint32_t snapshot_count;
    uint32_t snapshot_room;
    uint8_t *tail_run; /* BLOCK_SIZE: what the last tail file begins with, if it is the last log's
                          and names this partition; NULL none */
    size_t tail_size;
    int64_t epochs_stamp; /* of the checkpoint that said `epochs`, so the last tail file; 0 none */
    struct epochs epochs;
};

/*
 * Lists the folder, makes sure that it is this partition's, and unlinks what was left half done
 * (.deleted, .tmp, weir.next, and what is left beside a log that retention took). The tail file
 * names the topic's id as well: partition.metadata, a page more from the disk, is read where that
 * does not tell. No folder: STATUS_OK and no bases. folder_close() in every case.
 */
enum status folder_open(struct folder *folder, struct partition *partition);
void folder_close(struct folder *folder);
/* The last log file is not what it was when the folder was opened. */
void folder_forget_tail(struct folder *folder);
bool folder_has(const int64_t *sorted, uint32_t count, int64_t offset);
/* The topic id that a partition.metadata names; false when it is damaged. */
bool folder_decode_metadata(const char *text, struct uuid *id);
/*
 * leader-epoch-checkpoint into partition->epochs; not known when it is missing or damaged. Not read
 * where its stamp says that it still is the file whose content the last tail file repeats: a page
 * less from the disk, and whoever else wrote it in between is seen.
 */
enum status folder_load_epochs(struct partition *partition, const struct folder *folder,
                               bool *known);

/* Says which one it was and why, but for memory that is short just now; answers the status. */
enum status folder_refuse(const struct partition *partition, const char *path, int64_t error);
/* The first size_max bytes of a file: 0 or -errno. With OPEN_DIRECT size_max must be whole pages.
 */
int64_t folder_read(struct store *store, const char *path, uint32_t flags, uint8_t *data,
                    size_t size_max, size_t *size);
/* Bytes or -errno. */
int64_t folder_file_size(struct store *store, const char *path);
