/* SPDX-License-Identifier: Apache-2.0 */
/* `weir group offsets`: what a group committed, and how far behind the end that is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/cli/coordinator.h"
#include "broker/cli/groups.h"
#include "broker/cli/json.h"
#include "wire/offset_fetch.h"

const struct command GROUP_OFFSETS = {
    .name = "weir group offsets",
    .operands = "GROUP",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Shows what a group committed for each partition, the end, and the lag.",
};

const struct metadata_response_topic *group_topic(const struct cluster *cluster, struct bytes name)
{
    for (int32_t i = 0; i < cluster->metadata.topics_count; i++) {
        if (bytes_equal(cluster->metadata.topics[i].name, name)) {
            return &cluster->metadata.topics[i];
        }
    }
    return NULL;
}

/* From version 10 on answers carry ids and no names. */
static struct bytes topic_name_of(const struct cluster *cluster, struct bytes name,
                                  const struct uuid *id)
{
    for (int32_t i = 0; name.size == 0 && i < cluster->metadata.topics_count; i++) {
        if (uuid_equal(&cluster->metadata.topics[i].topic_id, id)) {
            return cluster->metadata.topics[i].name;
        }
    }
    return name;
}

static int16_t fetch_error(const void *response)
{
    const struct offset_fetch_response *answer = response;
    return answer->groups_count > 0 ? answer->groups[0].error_code : answer->error_code;
}

static int offset_order(const void *a, const void *b)
{
    const struct group_offset *first = a;
    const struct group_offset *second = b;
    int order = bytes_compare(first->topic, second->topic);
    return order != 0
               ? order
               : (first->partition > second->partition) - (first->partition < second->partition);
}

/* Both shapes of the answer: one group by itself (1-7), a list of groups (8+). */
static void offsets_take(const struct cluster *cluster, const struct offset_fetch_response *from,
                         struct group_offsets *out)
{
    for (int32_t i = 0; i < from->topics_count; i++) {
        for (int32_t k = 0; k < from->topics[i].partitions_count; k++) {
            const struct offset_fetch_response_partition *partition =
                &from->topics[i].partitions[k];
            out->items[out->count++] = (struct group_offset){
                from->topics[i].name, partition->partition_index, partition->committed_offset,
                partition->metadata, partition->error_code};
        }
    }
    for (int32_t i = 0; from->groups_count > 0 && i < from->groups[0].topics_count; i++) {
        const struct offset_fetch_response_group_topic *topic = &from->groups[0].topics[i];
        struct bytes name = topic_name_of(cluster, topic->name, &topic->topic_id);
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            const struct offset_fetch_response_group_topic_partition *partition =
                &topic->partitions[k];
            out->items[out->count++] =
                (struct group_offset){name, partition->partition_index, partition->committed_offset,
                                      partition->metadata, partition->error_code};
        }
    }
    qsort(out->items, (size_t)out->count, sizeof(out->items[0]), offset_order);
}

static size_t offsets_size(const struct offset_fetch_response *from)
{
    size_t count = 1;
    for (int32_t i = 0; i < from->topics_count; i++) {
        count += (size_t)from->topics[i].partitions_count;
    }
    for (int32_t i = 0; from->groups_count > 0 && i < from->groups[0].topics_count; i++) {
        count += (size_t)from->groups[0].topics[i].partitions_count;
    }
    return count;
}

bool group_offsets_ask(struct cluster *cluster, struct arena *arena, struct bytes group,
                       struct group_offsets *out)
{
    struct offset_fetch_request request;
    struct offset_fetch_response response;
    struct offset_fetch_request_group item;
    offset_fetch_request_init(&request);
    offset_fetch_request_group_init(&item);
    item.group_id = group;
    item.topics_count = -1; /* all */
    request.group_id = group;
    request.topics_count = -1;
    request.groups = &item;
    request.groups_count = 1;
    const struct coordinator_call call = {.key = group,
                                          .kind = COORDINATOR_GROUP,
                                          .api = OFFSET_FETCH_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = fetch_error};
    if (!coordinator_ask(cluster, arena, &call)) {
        return false;
    }
    int16_t error = fetch_error(&response);
    if (error != 0) {
        char what[GROUP_WHAT_SIZE];
        snprintf(what, sizeof(what), "group \"%.*s\"", (int)group.size, group.data);
        return client_refused(cluster->client, what, error, BYTES_NULL);
    }
    *out = (struct group_offsets){
        .items = arena_new_array(arena, struct group_offset, offsets_size(&response))};
    if (out->items == NULL) {
        return client_fail(cluster->client, CLI_USAGE, "the answer does not fit in memory");
    }
    offsets_take(cluster, &response, out);
    return true;
}

/* The end of one partition; -1 where the topic is gone or does not answer. */
static bool end_ask(struct cluster *cluster, struct arena *arena,
                    const struct group_offsets *offsets, int32_t index, int64_t *ends)
{
    struct bytes name = offsets->items[index].topic;
    const struct metadata_response_topic *topic = group_topic(cluster, name);
    for (int32_t i = index; i < offsets->count && bytes_equal(offsets->items[i].topic, name); i++) {
        ends[i] = -1;
    }
    if (topic == NULL || topic->error_code != 0) {
        return true;
    }
    size_t count = (size_t)topic->partitions_count;
    int64_t *timestamps = arena_new_array(arena, int64_t, count);
    struct cluster_offset *results = arena_new_array(arena, struct cluster_offset, count);
    if (arena->failed) {
        return client_fail(cluster->client, CLI_USAGE, "%zu partitions do not fit in memory",
                           count);
    }
    for (size_t i = 0; i < count; i++) {
        timestamps[i] = OFFSET_AT_END;
    }
    if (!cluster_offsets(cluster, topic, timestamps, 0, results)) {
        return false;
    }
    for (int32_t i = index; i < offsets->count && bytes_equal(offsets->items[i].topic, name); i++) {
        for (size_t k = 0; k < count; k++) {
            if (topic->partitions[k].partition_index == offsets->items[i].partition &&
                results[k].error_code == 0) {
                ends[i] = results[k].offset;
            }
        }
    }
    return true;
}

static void offset_print(const struct group_offset *offset, int64_t end)
{
    printf("%.*s  %d  committed %" PRId64, (int)offset->topic.size, offset->topic.data,
           offset->partition, offset->offset);
    if (end >= 0) {
        printf("  end %" PRId64 "  lag %" PRId64, end, end - offset->offset);
    }
    if (offset->metadata.size > 0) {
        printf("  metadata %.*s", (int)offset->metadata.size, offset->metadata.data);
    }
    printf("\n");
}

static json_t *offset_json(const struct group_offset *offset, int64_t end)
{
    json_t *object = json_object();
    json_object_set_new(object, "topic", json_of_text(offset->topic));
    json_object_set_new(object, "partition", json_integer(offset->partition));
    json_object_set_new(object, "committed", json_integer(offset->offset));
    json_object_set_new(object, "end", end < 0 ? json_null() : json_integer(end));
    json_object_set_new(object, "lag", end < 0 ? json_null() : json_integer(end - offset->offset));
    json_object_set_new(object, "metadata", json_of_text(offset->metadata));
    return object;
}

static bool offsets_show(struct cluster *cluster, struct arena *arena,
                         const struct cli_options *options)
{
    struct group_offsets offsets;
    if (!group_offsets_ask(cluster, arena, bytes_of_text(options->operands[0]), &offsets)) {
        return false;
    }
    int64_t *ends = arena_new_array(arena, int64_t, (size_t)offsets.count + 1);
    for (int32_t i = 0; ends != NULL && i < offsets.count; i++) {
        bool new_topic = i == 0 || !bytes_equal(offsets.items[i].topic, offsets.items[i - 1].topic);
        if (new_topic && !end_ask(cluster, arena, &offsets, i, ends)) {
            return false;
        }
    }
    json_t *array = options->json ? json_array() : NULL;
    for (int32_t i = 0; ends != NULL && i < offsets.count; i++) {
        if (array != NULL) {
            json_array_append_new(array, offset_json(&offsets.items[i], ends[i]));
        } else {
            offset_print(&offsets.items[i], ends[i]);
        }
    }
    if (array != NULL) {
        json_print(array, stdout, false);
    }
    return true;
}

int group_offsets_run(int count, char **arguments)
{
    struct cli_options options = CLI_OPTIONS_DEFAULT;
    int code;
    if (!options_parse(&GROUP_OFFSETS, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    struct arena arena;
    bool good = cluster_open(&cluster, &client, &options);
    client_arena_init(&client, &arena);
    good = good && cluster_refresh(&cluster, NULL, -1, CLUSTER_ONLY_LOOK) &&
           offsets_show(&cluster, &arena, &options);
    arena_reset(&arena);
    return cluster_end(&cluster, &client, good);
}
