/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row per API key that this broker answers; api.def is the table. ApiVersions advertises
 * exactly these rows, so a key without a whole handler is not in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct request;

struct api {
    int16_t key;
    const char *name;
    int16_t version_advertised; /* lowest in ApiVersions: Produce says 0, see api.def */
    int16_t version_min;        /* lowest that is served */
    int16_t version_max;
    int16_t flexible_first;
    /* Runs on the connection's core; answers through request_reply() and request_finish(), now or
     * later. The request's memory is its own until then. */
    void (*handle)(struct request *request);
};

/* NULL: not served. */
const struct api *api_find(int16_t key);
/* Rows in order of key. */
const struct api *api_rows(int32_t *count);
/* Start-up: rows sorted, versions inside what the codecs know. */
[[nodiscard]] bool api_check(void);

void handle_produce(struct request *request);
void handle_fetch(struct request *request);
void handle_list_offsets(struct request *request);
void handle_metadata(struct request *request);
void handle_offset_commit(struct request *request);
void handle_offset_fetch(struct request *request);
void handle_find_coordinator(struct request *request);
void handle_join_group(struct request *request);
void handle_heartbeat(struct request *request);
void handle_leave_group(struct request *request);
void handle_sync_group(struct request *request);
void handle_describe_groups(struct request *request);
void handle_list_groups(struct request *request);
void handle_api_versions(struct request *request);
void handle_create_topics(struct request *request);
void handle_delete_topics(struct request *request);
void handle_init_producer_id(struct request *request);
void handle_add_partitions_to_txn(struct request *request);
void handle_add_offsets_to_txn(struct request *request);
void handle_end_txn(struct request *request);
void handle_write_txn_markers(struct request *request);
void handle_txn_offset_commit(struct request *request);
void handle_describe_producers(struct request *request);
void handle_describe_transactions(struct request *request);
void handle_list_transactions(struct request *request);
void handle_offset_for_leader_epoch(struct request *request);
void handle_describe_configs(struct request *request);
void handle_delete_groups(struct request *request);
void handle_offset_delete(struct request *request);
void handle_describe_cluster(struct request *request);
void handle_consumer_group_heartbeat(struct request *request);
void handle_consumer_group_describe(struct request *request);
