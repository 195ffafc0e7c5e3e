/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the hint of a sealed segment in at its first use: facts (sizes, timestamps, flags), then
 * block table and aborted transactions. Nothing that a damaged page says is kept.
 */
#pragma once

#include "storage/job.h"
#include "storage/segment.h"

enum hint_part {
    HINT_FACTS, /* the header alone: one page */
    HINT_TABLE, /* everything but keys */
};

/* 0; -EBADMSG or -ENOENT: to be rebuilt; another -errno. NULL: no memory. */
[[nodiscard]] struct job *hint_read_job(struct segment *segment, enum hint_part part);
