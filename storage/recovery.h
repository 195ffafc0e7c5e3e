/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a folder to a log, blocking. One position decides, D of the tail file:
 *
 *   R1  Below D nothing is cut, whatever it looks like: a bad block there is rot, seen by its sum.
 *   R2  From D on batches are walked; the first one that is bad, and read again still is, ends the
 *       log, whatever lies behind it. Its bytes up to 4 MiB of zeros are kept aside as
 *       `<base>.cut-<position>`, and one line names them; where they cannot be kept nothing is cut
 *       and the log is not opened.
 *   R3  What the walk accepted is written once more, as far as it may have been in flight, and
 *       synced before the high watermark covers it: a sync after one that failed proves nothing.
 *   R4  Behind the end the file is cut, so that no stale bytes remain; space that was taken ahead
 *       and holds zeros alone may stay, but for a write to that file that failed: the system may
 *       hold other bytes there than the disk.
 *   R5  Run twice it finds the same.
 *   R6  Names are synced before what lies under them is believed to last: a process may have died
 *       between the making of a name and its sync, and a power cut may follow. A name that has to
 *       go and does not keeps the log closed (recovery_names.h).
 *   R7  A log that ends before D lost bytes. What speaks of them goes before the log is opened, or
 *       the next start would believe it of what is appended now: D is taken back in the tail file,
 *       snapshots and quarantined ranges behind the end are forgotten. A leader epoch has to begin,
 *       and the tail file says so until one did.
 *   R8  What was put aside is never written over.
 *
 *   hint, and one behind it  nothing is opened: its name says that it is sealed and durable
 *   sealed tail file         nothing of the log is read (written by older versions)
 *   clean tail file          nothing of the log is read, producers come from the snapshot
 *   tail file                walk from D
 *   none, or damaged         rebuilt at first use when the next segment begins with a good batch;
 *                            the last one: walk from 0, offsets may have gaps (a log of Kafka)
 *
 * A segment whose log stops short of the next one's base: when the next one begins with a good
 * batch, or one behind it does, or their hints or tail files say that something was durable, they
 * were written after all of this one was durable (storage/commit), so the hole is rot: it is
 * quarantined, and where bytes lie in it the segment is rebuilt at first use, which cuts nothing
 * and finds what is good behind what is bad; else the next ones were only made ahead and are empty:
 * they go.
 */
#pragma once

#include <stdint.h>

#include "wire/status.h"

struct partition;
struct segment;

/* A write in flight at a power cut covers 4 MiB at most: so many zeros end the search for rests. */
#define RECOVERY_GAP (INT64_C(4) << 20)

/* Fills an empty partition. Offsets at and behind `offset_until` are cut away (INT64_MAX: none). */
enum status recovery_load(struct partition *partition, int64_t offset_until);
/* Aborted transactions of rebuilt segments whose `.txnindex` does not name them all: all of them,
 * from the log's start. */
enum status recovery_replay_aborted(struct partition *partition);
