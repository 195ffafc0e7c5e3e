/* SPDX-License-Identifier: Apache-2.0 */
/* What a figure means nothing without: the machine, the file system, the commit, the day. */
#pragma once

#include <stdint.h>

struct machine {
    char cpu[96];    /* model name */
    int cores;       /* this process may use */
    char kernel[96]; /* uname -r */
    char fs[16];     /* of the data folder: ext4, xfs, ... or its magic number */
    char commit[48]; /* $WEIR_COMMIT, which benchmarks/run sets; else "unknown" */
    char date[24];   /* UTC, 2026-01-31T12:00:00Z */
};

void machine_read(struct machine *machine, const char *data_dir);

/* Peak resident memory in KiB since the start, or since the last machine_reset_peak(). */
int64_t machine_peak_rss_kib(void);
void machine_reset_peak(void);

/* Dirty pages of the folder's file system reach the disk: no run pays for the one before. */
void machine_settle(const char *folder);

/* Bytes free for this user in the file system of the folder. */
uint64_t machine_disk_free(const char *folder);
