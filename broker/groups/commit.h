/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that change committed offsets: OffsetCommit and TxnOffsetCommit, the markers that end
 * transactions, OffsetDelete.
 *
 *   home: decode, judge each place -> owner: may this member commit, reserve, append, apply -> home
 */
#pragma once

#include "broker/coordinator.h"
#include "broker/groups/offsets.h"

/* One place; in the handler's memory. Only those with status OK are written. */
struct group_commit_item {
    struct bytes topic;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    struct bytes metadata;
    enum status status;
};

/* Sent by key: the group's name. call.status is OK or the answer for every place that was good. */
struct group_commit {
    struct coordinator_call call;
    struct bytes group_name;
    struct bytes member_id;
    struct bytes instance_id; /* data NULL: none */
    int32_t generation;       /* or member epoch; -1 none */
    int16_t version;          /* of OffsetCommit */
    int64_t retention_ms;     /* -1: as the broker keeps them */
    bool transactional;       /* waits for the marker of the producer: TxnOffsetCommit */
    int64_t producer_id;
    int16_t producer_epoch;
    struct group_commit_item *items;
    int32_t item_count;
    /* the owner's */
    struct group *group;
    struct shard_append append;
    struct offset_change *changes;
    int32_t change_count;
};
void group_run_commit(struct coordinator_call *call);

/* The end of a producer's transaction in one partition of __consumer_offsets: appends the marker
 * and shows or drops what waited. Sent by index (coordinator_fan_add_index). Whoever ends
 * transactions sends this instead of appending the marker by itself. */
struct group_marker {
    struct coordinator_call call;
    struct shard_marker marker;
    struct shard_append append;
};
void group_run_marker(struct coordinator_call *call);
