/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/list_offsets.h"

/* A topic that was created just now has leaders within a few milliseconds; Kafka within a second.
 */
#define AWAIT_TRIES 50
#define AWAIT_PAUSE_MS 100

bool cluster_open(struct cluster *cluster, struct client *client, const struct cli_options *options)
{
    *cluster = (struct cluster){0};
    if (!client_init(client, options)) {
        return false;
    }
    cluster->client = client;
    client_arena_init(client, &cluster->arena);
    cluster->bootstrap = client_open_address(client, options->bootstrap);
    return cluster->bootstrap != NULL;
}

int cluster_end(struct cluster *cluster, struct client *client, bool good)
{
    errno = 0;
    int code = good ? CLI_OK : client_report(client);
    if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE && errno != 0 && code == CLI_OK) {
        fprintf(stderr, "weir: cannot write the output: %s\n", strerror(errno));
        code = CLI_USAGE;
    }
    if (cluster->client != NULL) {
        arena_reset(&cluster->arena);
    }
    client_deinit(client);
    return code;
}

int cluster_each(const struct command *command, int count, char **arguments,
                 bool (*visit)(struct cluster *cluster, struct arena *arena, struct bytes operand,
                               json_t *array))
{
    struct cli_options options = CLI_OPTIONS_DEFAULT;
    int code;
    if (!options_parse(command, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster;
    bool good = cluster_open(&cluster, &client, &options);
    json_t *array = options.json ? json_array() : NULL;
    for (int32_t i = 0; good && i < options.operand_count; i++) {
        struct arena arena;
        client_arena_init(&client, &arena);
        good = visit(&cluster, &arena, bytes_of_text(options.operands[i]), array);
        arena_reset(&arena);
    }
    json_end(array, true);
    return cluster_end(&cluster, &client, good);
}

static int topic_order(const void *a, const void *b)
{
    const struct metadata_response_topic *first = a;
    const struct metadata_response_topic *second = b;
    return bytes_compare(first->name, second->name);
}

static int partition_order(const void *a, const void *b)
{
    const struct metadata_response_partition *first = a;
    const struct metadata_response_partition *second = b;
    return (first->partition_index > second->partition_index) -
           (first->partition_index < second->partition_index);
}

static void metadata_sort(struct metadata_response *metadata)
{
    if (metadata->topics_count > 1) {
        qsort(metadata->topics, (size_t)metadata->topics_count, sizeof(metadata->topics[0]),
              topic_order);
    }
    for (int32_t i = 0; i < metadata->topics_count; i++) {
        struct metadata_response_topic *topic = &metadata->topics[i];
        if (topic->partitions_count > 1) {
            qsort(topic->partitions, (size_t)topic->partitions_count, sizeof(topic->partitions[0]),
                  partition_order);
        }
    }
}

bool cluster_refresh(struct cluster *cluster, char *const *names, int32_t count,
                     enum cluster_creation creation)
{
    struct client *client = cluster->client;
    struct connection *connection = cluster->bootstrap;
    arena_reset(&cluster->arena);
    cluster->metadata = (struct metadata_response){0};
    if (!client_reopen(client, connection)) {
        return false;
    }
    struct metadata_request request;
    metadata_request_init(&request);
    request.allow_auto_topic_creation = creation == CLUSTER_MAY_CREATE;
    /* Version 0 has no null array: none means all. */
    request.topics_count = count < 0 && client_version(connection, METADATA_KEY) < 1 ? 0 : count;
    if (count > 0) {
        request.topics =
            arena_new_array(&cluster->arena, struct metadata_request_topic, (size_t)count);
        if (request.topics == NULL) {
            return client_fail(client, CLI_USAGE, "%d topics are too many", count);
        }
    }
    for (int32_t i = 0; i < count; i++) {
        metadata_request_topic_init(&request.topics[i]);
        request.topics[i].name = bytes_of_text(names[i]);
    }
    if (!client_call(client, connection, METADATA_KEY, &request, &cluster->arena,
                     &cluster->metadata)) {
        cluster->metadata = (struct metadata_response){0};
        return false;
    }
    if (cluster->metadata.error_code != 0) {
        return client_refused(client, "Metadata", cluster->metadata.error_code, BYTES_NULL);
    }
    metadata_sort(&cluster->metadata);
    return true;
}

/* The error that a topic has as a whole: its own, or that it misses a leader. */
static int16_t topic_error(const struct metadata_response_topic *topic)
{
    if (topic->error_code != 0) {
        return topic->error_code;
    }
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        if (topic->partitions[i].leader_id < 0) {
            return status_code(STATUS_LEADER_NOT_AVAILABLE);
        }
    }
    return 0;
}

const struct metadata_response_topic *cluster_await_topic(struct cluster *cluster, char *name,
                                                          enum cluster_creation creation)
{
    int16_t error = 0;
    for (int32_t i = 0; i < AWAIT_TRIES; i++) {
        if (!cluster_refresh(cluster, &name, 1, creation)) {
            return NULL;
        }
        if (cluster->metadata.topics_count != 1) {
            (void)client_fail(cluster->client, CLI_REFUSED, "%s does not answer for topic \"%s\"",
                              cluster->bootstrap->address, name);
            return NULL;
        }
        const struct metadata_response_topic *topic = &cluster->metadata.topics[0];
        error = topic_error(topic);
        if (error == 0) {
            return topic;
        }
        bool unknown = error == status_code(STATUS_UNKNOWN_TOPIC_OR_PARTITION);
        if ((unknown && creation == CLUSTER_ONLY_LOOK) ||
            !status_is_retriable(status_from_code(error)) ||
            !client_pause(cluster->client, AWAIT_PAUSE_MS)) {
            break;
        }
    }
    char what[320];
    snprintf(what, sizeof(what), "topic \"%.250s\"", name);
    (void)client_refused(cluster->client, what, error, BYTES_NULL);
    return NULL;
}

struct connection *cluster_node(struct cluster *cluster, int32_t node)
{
    for (int32_t i = 0; i < cluster->metadata.brokers_count; i++) {
        const struct metadata_response_broker *broker = &cluster->metadata.brokers[i];
        if (broker->node_id == node) {
            char host[256];
            snprintf(host, sizeof(host), "%.*s", (int)broker->host.size, broker->host.data);
            return client_open_node(cluster->client, node, host, broker->port);
        }
    }
    (void)client_fail(cluster->client, CLI_UNREACHABLE,
                      "broker %d leads a partition but is not among the cluster's brokers; see "
                      "weir status",
                      node);
    return NULL;
}

struct connection *cluster_controller(struct cluster *cluster)
{
    if (!cluster_refresh(cluster, NULL, 0, CLUSTER_ONLY_LOOK)) {
        return NULL;
    }
    if (cluster->metadata.controller_id < 0) {
        return cluster->bootstrap;
    }
    return cluster_node(cluster, cluster->metadata.controller_id);
}

/* Offsets */

struct offsets_call {
    struct cluster *cluster;
    const struct metadata_response_topic *topic;
    const int64_t *timestamps;
    int8_t isolation;
    struct cluster_offset *results;
};

static int32_t partition_find(const struct metadata_response_topic *topic, int32_t partition)
{
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        if (topic->partitions[i].partition_index == partition) {
            return i;
        }
    }
    return -1;
}

static void offsets_take(const struct offsets_call *call,
                         const struct list_offsets_response *response)
{
    for (int32_t i = 0; i < response->topics_count; i++) {
        for (int32_t k = 0; k < response->topics[i].partitions_count; k++) {
            const struct list_offsets_response_partition *from = &response->topics[i].partitions[k];
            int32_t index = partition_find(call->topic, from->partition_index);
            if (index >= 0) {
                call->results[index] = (struct cluster_offset){
                    .offset = from->offset,
                    .timestamp = from->timestamp,
                    .error_code = from->error_code,
                };
            }
        }
    }
}

static bool offsets_of_node(const struct offsets_call *call, int32_t node)
{
    struct client *client = call->cluster->client;
    struct arena arena;
    client_arena_init(client, &arena);
    struct list_offsets_request_topic topic;
    list_offsets_request_topic_init(&topic);
    topic.name = call->topic->name;
    topic.partitions = arena_new_array(&arena, struct list_offsets_request_partition,
                                       (size_t)call->topic->partitions_count);
    for (int32_t i = 0; topic.partitions != NULL && i < call->topic->partitions_count; i++) {
        if (call->topic->partitions[i].leader_id == node) {
            struct list_offsets_request_partition *to = &topic.partitions[topic.partitions_count++];
            list_offsets_request_partition_init(to);
            to->partition_index = call->topic->partitions[i].partition_index;
            to->timestamp = call->timestamps[i];
        }
    }
    bool good = true;
    if (topic.partitions_count > 0) {
        struct list_offsets_request request;
        struct list_offsets_response response;
        list_offsets_request_init(&request);
        request.replica_id = -1;
        request.isolation_level = call->isolation;
        request.topics = &topic;
        request.topics_count = 1;
        request.timeout_ms = (int32_t)client->timeout_ms;
        struct connection *connection = cluster_node(call->cluster, node);
        good = connection != NULL &&
               client_call(client, connection, LIST_OFFSETS_KEY, &request, &arena, &response);
        if (good) {
            offsets_take(call, &response);
        }
    }
    arena_reset(&arena);
    return good;
}

bool cluster_offsets(struct cluster *cluster, const struct metadata_response_topic *topic,
                     const int64_t *timestamps, int8_t isolation, struct cluster_offset *results)
{
    struct offsets_call call = {cluster, topic, timestamps, isolation, results};
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        results[i] = (struct cluster_offset){
            .offset = -1, .timestamp = -1, .error_code = status_code(STATUS_LEADER_NOT_AVAILABLE)};
    }
    for (int32_t i = 0; i < cluster->metadata.brokers_count; i++) {
        if (!offsets_of_node(&call, cluster->metadata.brokers[i].node_id)) {
            return false;
        }
    }
    return true;
}
