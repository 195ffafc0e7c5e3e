/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches from the leaders of one topic's partitions and hands on every record that a reader of
 * the chosen isolation may see, in the order of offsets within a partition.
 */
#pragma once

#include "broker/cli/cluster.h"
#include "wire/record.h"

struct position {
    int32_t partition;
    int64_t next;  /* offset to be read */
    int64_t until; /* INT64_MAX: follows */
    bool done;
};

struct consumer {
    struct client *client;
    struct cluster *cluster;
    char *topic;
    struct position *positions;
    int32_t position_count;
    bool committed;       /* isolation: leave out what was aborted or is undecided */
    uint64_t round_count; /* turns the order in which partitions are asked */
    /* Answers false to end; the record is valid during the call. */
    bool (*take)(void *context, int32_t partition, const struct record *record);
    void *context;
};

enum consumer_result {
    CONSUMER_MORE,
    CONSUMER_DONE,   /* every position is at its end, or take() said so, or the user did */
    CONSUMER_FAILED, /* the client has the sentence */
};

/* One round over the leaders; waits a moment where there is nothing new. */
enum consumer_result consumer_poll(struct consumer *consumer);
