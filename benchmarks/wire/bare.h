/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare loops: the least work that a durable Produce or a Fetch can cost on a machine, without a
 * broker around it. They are the measure for Weir's figures, not a product: one process, loopback,
 * any topic name, no recovery.
 */
#pragma once

#include <stdint.h>

#include "benchmarks/wire/protocol.h"

enum {
    NAME_SIZE_MAX = 128,
    SKIPPED = 77, /* exit code where io_uring or O_DIRECT is refused */
};

struct bare {
    uint16_t port;
    int partition_count;
    const char *folder;
    int64_t file_size; /* of each partition; positions wrap around at its end */
    bool unwritten;    /* leave the file's extents unwritten, else zero them before the start */
};

/* Both serve until a signal ends them. */
void bare_produce(const struct bare *bare, int listener);
void bare_fetch(const struct bare *bare, int listener);

/* Prints what the device does: DSYNC writes of 4 KiB and 1 MiB, one in flight. */
void bare_probe(const char *folder);

/* A file of size bytes, O_DIRECT, unlinked at once; zeroed unless unwritten. */
int bare_file(const char *folder, int64_t size, bool unwritten);

/*
 * Answers what surrounds the load (ApiVersions, Metadata, CreateTopics, DeleteTopics, ListOffsets)
 * into out, whole frame. Dies on any other key.
 */
void bare_control(const struct bare *bare, const uint8_t *frame, size_t size, struct out *out);
