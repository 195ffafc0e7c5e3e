/* SPDX-License-Identifier: Apache-2.0 */
/* `weir topic describe`: what Metadata, ListOffsets and DescribeConfigs say about topics. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/cluster.h"
#include "broker/cli/json.h"
#include "broker/cli/options.h"
#include "broker/cli/topics.h"
#include "wire/describe_configs.h"

#define RESOURCE_TOPIC 2
#define CONFIG_SOURCE_TOPIC 1 /* set for the topic itself */
#define OPERANDS_MAX 10000

const struct command TOPIC_DESCRIBE = {
    .name = "weir topic describe",
    .operands = "[NAME...]",
    .operand_count_max = OPERANDS_MAX,
    .sentence = "Shows topics with partitions, offsets and the settings that are not defaults.",
};

/* One topic and what was asked about it. */
struct described {
    const struct metadata_response_topic *topic;
    struct cluster_offset *starts;
    struct cluster_offset *ends;
    const struct describe_configs_response_result *configs; /* NULL: not answered */
};

static void nodes_print(const char *title, const int32_t *nodes, int32_t count)
{
    printf("  %s ", title);
    for (int32_t i = 0; i < count; i++) {
        printf("%s%d", i == 0 ? "" : ",", nodes[i]);
    }
}

static json_t *nodes_json(const int32_t *nodes, int32_t count)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < count; i++) {
        json_array_append_new(array, json_integer(nodes[i]));
    }
    return array;
}

static void offset_print(const char *title, const struct cluster_offset *offset)
{
    if (offset->error_code == 0) {
        printf("  %s %" PRId64, title, offset->offset);
    } else {
        printf("  %s %s", title, status_name(status_from_code(offset->error_code)));
    }
}

static json_t *offset_json(const struct cluster_offset *offset)
{
    return offset->error_code == 0 ? json_integer(offset->offset) : json_null();
}

static bool config_is_shown(const struct describe_configs_response_config *config)
{
    return config->config_source == CONFIG_SOURCE_TOPIC;
}

static void described_print(const struct described *described)
{
    const struct metadata_response_topic *topic = described->topic;
    char id[UUID_TEXT_SIZE];
    uuid_format(&topic->topic_id, id);
    printf("%.*s  id %s  partitions %d%s\n", (int)topic->name.size, topic->name.data, id,
           topic->partitions_count, topic->is_internal ? "  internal" : "");
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        const struct metadata_response_partition *partition = &topic->partitions[i];
        printf("  %d  leader %d  epoch %d", partition->partition_index, partition->leader_id,
               partition->leader_epoch);
        nodes_print("replicas", partition->replica_nodes, partition->replica_nodes_count);
        nodes_print("isr", partition->isr_nodes, partition->isr_nodes_count);
        offset_print("start", &described->starts[i]);
        offset_print("end", &described->ends[i]);
        printf("\n");
    }
    const struct describe_configs_response_result *configs = described->configs;
    for (int32_t i = 0; configs != NULL && i < configs->configs_count; i++) {
        const struct describe_configs_response_config *config = &configs->configs[i];
        if (config_is_shown(config)) {
            printf("  %.*s=%.*s\n", (int)config->name.size, config->name.data,
                   (int)config->value.size,
                   config->value.data == NULL ? (const uint8_t *)"" : config->value.data);
        }
    }
}

static json_t *described_json(const struct described *described)
{
    const struct metadata_response_topic *topic = described->topic;
    char id[UUID_TEXT_SIZE];
    uuid_format(&topic->topic_id, id);
    json_t *partitions = json_array();
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        const struct metadata_response_partition *from = &topic->partitions[i];
        json_t *to = json_object();
        json_object_set_new(to, "partition", json_integer(from->partition_index));
        json_object_set_new(to, "leader", json_integer(from->leader_id));
        json_object_set_new(to, "epoch", json_integer(from->leader_epoch));
        json_object_set_new(to, "replicas",
                            nodes_json(from->replica_nodes, from->replica_nodes_count));
        json_object_set_new(to, "isr", nodes_json(from->isr_nodes, from->isr_nodes_count));
        json_object_set_new(to, "start", offset_json(&described->starts[i]));
        json_object_set_new(to, "end", offset_json(&described->ends[i]));
        json_array_append_new(partitions, to);
    }
    json_t *settings = json_object();
    const struct describe_configs_response_result *configs = described->configs;
    for (int32_t i = 0; configs != NULL && i < configs->configs_count; i++) {
        const struct describe_configs_response_config *config = &configs->configs[i];
        if (config_is_shown(config) && bytes_are_utf8(config->name)) {
            json_object_setn_new(settings, (const char *)config->name.data, config->name.size,
                                 json_of_text(config->value));
        }
    }
    json_t *object = json_object();
    json_object_set_new(object, "name", json_of_text(topic->name));
    json_object_set_new(object, "id", json_string(id));
    json_object_set_new(object, "internal", json_boolean(topic->is_internal));
    json_object_set_new(object, "partitions", partitions);
    json_object_set_new(object, "configs", settings);
    return object;
}

/* All topics in one request. A broker that does not serve DescribeConfigs leaves them out. */
static bool configs_ask(struct cluster *cluster, struct arena *arena,
                        struct describe_configs_response *response)
{
    *response = (struct describe_configs_response){0};
    if (client_version(cluster->bootstrap, DESCRIBE_CONFIGS_KEY) < 0) {
        return true;
    }
    struct describe_configs_request request;
    describe_configs_request_init(&request);
    request.resources = arena_new_array(arena, struct describe_configs_request_resource,
                                        (size_t)cluster->metadata.topics_count);
    for (int32_t i = 0; request.resources != NULL && i < cluster->metadata.topics_count; i++) {
        struct describe_configs_request_resource *resource = &request.resources[i];
        describe_configs_request_resource_init(resource);
        resource->resource_type = RESOURCE_TOPIC;
        resource->resource_name = cluster->metadata.topics[i].name;
        resource->configuration_keys_count = -1;
        request.resources_count++;
    }
    return client_call(cluster->client, cluster->bootstrap, DESCRIBE_CONFIGS_KEY, &request, arena,
                       response);
}

static bool offsets_ask(struct cluster *cluster, struct arena *arena, struct described *described)
{
    size_t count = (size_t)described->topic->partitions_count;
    int64_t *timestamps = arena_new_array(arena, int64_t, count);
    described->starts = arena_new_array(arena, struct cluster_offset, count);
    described->ends = arena_new_array(arena, struct cluster_offset, count);
    if (arena->failed) {
        return client_fail(cluster->client, CLI_USAGE, "%zu partitions do not fit in memory",
                           count);
    }
    for (size_t i = 0; i < count; i++) {
        timestamps[i] = OFFSET_AT_BEGINNING;
    }
    if (!cluster_offsets(cluster, described->topic, timestamps, 0, described->starts)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        timestamps[i] = OFFSET_AT_END;
    }
    return cluster_offsets(cluster, described->topic, timestamps, 0, described->ends);
}

static bool describe_topics(struct cluster *cluster, struct arena *arena, json_t *array)
{
    struct describe_configs_response configs;
    if (!configs_ask(cluster, arena, &configs)) {
        return false;
    }
    for (int32_t i = 0; i < cluster->metadata.topics_count; i++) {
        struct described described = {.topic = &cluster->metadata.topics[i]};
        for (int32_t k = 0; k < configs.results_count; k++) {
            if (bytes_equal(configs.results[k].resource_name, described.topic->name)) {
                described.configs = &configs.results[k];
            }
        }
        if (!offsets_ask(cluster, arena, &described)) {
            return false;
        }
        if (array != NULL) {
            json_array_append_new(array, described_json(&described));
        } else {
            described_print(&described);
        }
    }
    return true;
}

static bool describe(struct cluster *cluster, const struct cli_options *options)
{
    int32_t count = options->operand_count == 0 ? -1 : options->operand_count;
    if (!cluster_refresh(cluster, options->operands, count, CLUSTER_ONLY_LOOK)) {
        return false;
    }
    for (int32_t i = 0; i < cluster->metadata.topics_count; i++) {
        const struct metadata_response_topic *topic = &cluster->metadata.topics[i];
        if (topic->error_code != 0) {
            char what[320];
            snprintf(what, sizeof(what), "topic \"%.*s\"", (int)topic->name.size,
                     topic->name.data == NULL ? (const uint8_t *)"" : topic->name.data);
            return client_refused(cluster->client, what, topic->error_code, BYTES_NULL);
        }
    }
    struct arena arena;
    client_arena_init(cluster->client, &arena);
    json_t *array = options->json ? json_array() : NULL;
    bool good = describe_topics(cluster, &arena, array);
    arena_reset(&arena);
    json_end(array, good);
    return good;
}

void topic_partitions_print(const char *indent, struct bytes topic, const int32_t *partitions,
                            int32_t count)
{
    printf("%s%.*s ", indent, (int)topic.size, topic.data);
    for (int32_t i = 0; i < count; i++) {
        printf("%s%d", i == 0 ? "" : ",", partitions[i]);
    }
    printf("\n");
}

int topic_describe_run(int count, char **arguments)
{
    struct cli_options options = CLI_OPTIONS_DEFAULT;
    int code;
    if (!options_parse(&TOPIC_DESCRIBE, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    bool good = cluster_open(&cluster, &client, &options) && describe(&cluster, &options);
    return cluster_end(&cluster, &client, good);
}
