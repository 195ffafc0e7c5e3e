/* SPDX-License-Identifier: Apache-2.0 */
/* What a durable write costs on the device of a folder. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct flush_figures {
    int32_t write_count;
    uint64_t p50_ns;
    uint64_t p99_ns;
    const char *ring; /* "uring", "posix" */
};

/*
 * Some hundred writes of one page, O_DIRECT and RWF_DSYNC, one after the other into a file of
 * preallocated space in `folder`, which is removed at the end. 0, or -errno with a sentence in
 * `message`.
 */
int flush_measure(const char *folder, struct flush_figures *figures, char *message,
                  size_t message_size);
