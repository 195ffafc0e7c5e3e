/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer state of a recovered log: the newest snapshot at or below the end that can be read, or
 * the newest tail file that says "none", and from there on the headers of all batches. Aborted
 * transactions before that point come from .txnindex files; when one is missing or the log was
 * written by Kafka, everything is replayed instead.
 */
#pragma once

#include "wire/status.h"

struct folder;
struct partition;

enum status recovery_load_producers(struct partition *partition, const struct folder *folder);
