/* SPDX-License-Identifier: Apache-2.0 */
/* What Metadata says: brokers, topics, leaders; and what is asked of every leader, as one call. */
#pragma once

#include "broker/cli/client.h"
#include "broker/cli/json.h"
#include "wire/metadata.h"

#define OFFSET_AT_END (-1)
#define OFFSET_AT_BEGINNING (-2)

struct cluster {
    struct client *client;
    struct connection *bootstrap;
    struct arena arena; /* of the metadata */
    struct metadata_response metadata;
};

enum cluster_creation { CLUSTER_ONLY_LOOK, CLUSTER_MAY_CREATE };

/* Begins the client and connects; no metadata yet. cluster_end() follows in any case. */
bool cluster_open(struct cluster *cluster, struct client *client,
                  const struct cli_options *options);
/*
 * The end of a verb: prints the failure unless `good`, flushes, gives everything back and answers
 * the exit code. A reader of our output that went away is no failure.
 */
int cluster_end(struct cluster *cluster, struct client *client, bool good);

/*
 * A verb that does the same with each operand, until one fails; `array` takes what --json shows, of
 * those before a failure as well, and is NULL without.
 */
int cluster_each(const struct command *command, int count, char **arguments,
                 bool (*visit)(struct cluster *cluster, struct arena *arena, struct bytes operand,
                               json_t *array));

/*
 * Asks for the named topics; count -1: all of them, 0: none. Topics come sorted by name and their
 * partitions by index. Errors of single topics are left to the caller.
 */
bool cluster_refresh(struct cluster *cluster, char *const *names, int32_t count,
                     enum cluster_creation creation);

/*
 * The one topic of a verb that works on one: refreshes until it has leaders, for the time a new
 * topic needs. Valid until the next refresh.
 */
const struct metadata_response_topic *cluster_await_topic(struct cluster *cluster, char *name,
                                                          enum cluster_creation creation);

/* The connection to a broker that Metadata named. */
struct connection *cluster_node(struct cluster *cluster, int32_t node);
/* Where topics are created and deleted: the controller, or whoever passes it on. */
struct connection *cluster_controller(struct cluster *cluster);

struct cluster_offset {
    int64_t offset; /* -1: none */
    int64_t timestamp;
    int16_t error_code;
};

/*
 * ListOffsets of every partition of the topic; `timestamps` and `results` are indexed like
 * topic->partitions. Errors of single partitions are in the results.
 */
bool cluster_offsets(struct cluster *cluster, const struct metadata_response_topic *topic,
                     const int64_t *timestamps, int8_t isolation, struct cluster_offset *results);
