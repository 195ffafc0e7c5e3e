/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Things that go: segments past retention and whole partitions. Names change first (one rename,
 * synced where a name may come back), the bytes go in the background.
 *
 *   segment    out of the list at once; files renamed to `.deleted`; unlinked after
 *              file_delete_delay_ms, or by the next open
 *   partition  folder renamed to `<name>.<32 hex>-delete`, data folder synced, answered; then its
 *              files are unlinked and the folder removed. Of one that was never appended to or
 * never loaded the folder is looked at first: another's is moved aside (stray.h). Without memory it
 * waits in store->removing; any other failure is told and answered, and the next start, which knows
 * the topic's removal, removes the folder
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A file name and its NUL. */
#define FOLDER_NAME_SIZE 256

struct partition;
struct store;

/* Lets the `count` oldest segments go. */
void removal_segments(struct partition *partition, int32_t count);
/* Goes on with what an error stopped; true: some are still to be renamed or in use, so none may
 * follow. */
bool removal_resume(struct partition *partition);
/* Whether one of those that retention took is in use: its partition may not go. */
bool removal_is_held(const struct partition *partition);
/* Lets go of them: the next open finds the files again. */
void removal_forget(struct partition *partition);
/* Unlinks what is due; all of it, without waiting for a time, when now_ns is UINT64_MAX. */
void removal_due(struct store *store, uint64_t now_ns);
/* "<topic>-<index>.<32 hex><suffix>" of a folder that loses its name. */
void removal_name(const struct partition *partition, const uint8_t unique[16], const char *suffix,
                  char name[FOLDER_NAME_SIZE]);
/* Removals of partitions that had no memory begin again. */
void removal_retry(struct store *store);
/* At the store's end: they are left to the next start. */
void removal_give_up(struct store *store);
