/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer state of a recovered log: the newest snapshot at or below the end that can be read, or
 * the newest tail file that says "none", and from there on the headers of all batches. Aborted
 * transactions before that point come from hints, when somebody asks, and from the .txnindex of
 * segments that have none; when one is missing, everything is replayed instead.
 */
#pragma once

#include "wire/status.h"

struct folder;
struct partition;
struct segment;

enum status recovery_load_producers(struct partition *partition, const struct folder *folder);
/* Blocking: facts of a sealed segment that recovery put off. */
enum status recovery_know(struct segment *segment);
