/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of records on their way to the leaders of one topic.
 *
 * A lane is one partition: a batch that fills, or a sealed one that waits for its answer. Records
 * with a key go where Java's clients put them; others stay with one lane until its batch is full.
 * One request at a time and leader, so that order holds without sequence numbers; those
 * (`idempotent`) keep a retry from writing a batch twice.
 */
#pragma once

#include "base/random.h"
#include "broker/cli/cluster.h"
#include "wire/compress.h"
#include "wire/record.h"

struct producer_options {
    enum codec codec;
    int16_t acks; /* -1 all */
    bool idempotent;
    int32_t partition;  /* -1: by key, or any */
    size_t batch_bytes; /* of records before they are packed */
};

struct lane {
    int32_t partition;
    uint8_t *memory;
    size_t memory_size;
    struct batch_builder builder; /* count 0: empty */
    struct bytes sealed;          /* data NULL: none */
    int32_t sealed_count;
    int32_t sequence; /* of the next batch */
    int64_t record_count;
    int64_t first_offset; /* -1: not known */
    int64_t last_offset;
};

struct producer {
    struct client *client;
    struct cluster *cluster;
    struct producer_options options;
    char *topic;
    struct lane *lanes;
    int32_t lane_count;
    int32_t sticky;      /* lane of records without a key */
    size_t pending_size; /* bytes of records in lanes */
    struct random random;
    int64_t producer_id;
    int16_t producer_epoch;
};

/* Finds the topic, making it where the broker does so by itself. */
bool producer_open(struct producer *producer, struct cluster *cluster, char *topic,
                   const struct producer_options *options);
void producer_close(struct producer *producer);

/* Copies the record; sends what has to go first. */
bool producer_add(struct producer *producer, int64_t timestamp, struct bytes key,
                  struct bytes value, const struct record_header *headers, int32_t header_count);
/* Sends everything and waits for the answers. */
bool producer_flush(struct producer *producer);

static inline bool producer_is_empty(const struct producer *producer)
{
    return producer->pending_size == 0;
}
