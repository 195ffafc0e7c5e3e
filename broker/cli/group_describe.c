/* SPDX-License-Identifier: Apache-2.0 */
/* `weir group describe`: members and what is assigned to them, for both kinds of group. */
#include <stdio.h>

#include "base/check.h"
#include "broker/cli/coordinator.h"
#include "broker/cli/groups.h"
#include "broker/cli/json.h"
#include "broker/cli/topics.h"
#include "wire/consumer_group_describe.h"
#include "wire/consumer_protocol.h"
#include "wire/describe_groups.h"
#include "wire/reader.h"

const struct command GROUP_DESCRIBE = {
    .name = "weir group describe",
    .operands = "GROUP...",
    .operand_count_min = 1,
    .operand_count_max = GROUP_OPERANDS_MAX,
    .sentence = "Shows the state of groups, their members and what is assigned to them.",
};

/* One shape for both kinds. */
struct described_topic {
    struct bytes name;
    const int32_t *partitions;
    int32_t partitions_count;
};

struct described_member {
    struct bytes id;
    struct bytes instance; /* data NULL: dynamic */
    struct bytes client;
    struct bytes host;
    int32_t epoch; /* -1: of a classic group */
    bool classic;  /* of a consumer group, and speaks the classic protocol */
    struct described_topic *topics;
    int32_t topics_count;
};

struct described_group {
    struct bytes name;
    struct bytes state;
    const char *type;
    struct bytes assignor;
    struct described_member *members;
    int32_t members_count;
};

/* ---- classic ---- */

static int16_t classic_error(const void *response)
{
    const struct describe_groups_response *answer = response;
    return answer->groups_count > 0 ? answer->groups[0].error_code : 0;
}

/* The assignment is bytes of the clients' own; what is not of the consumer protocol stays out. */
static void assignment_take(struct arena *arena, struct bytes bytes, struct described_member *to)
{
    struct reader reader;
    struct consumer_protocol_assignment assignment;
    reader_init(&reader, bytes);
    int16_t version = reader_i16(&reader);
    if (bytes.size < 2 || version < 0 ||
        consumer_protocol_assignment_decode(&reader, version > 3 ? 3 : version, arena,
                                            &assignment) != STATUS_OK) {
        return;
    }
    int32_t count = assignment.assigned_partitions_count;
    to->topics = arena_new_array(arena, struct described_topic, (size_t)count + 1);
    for (int32_t i = 0; to->topics != NULL && i < count; i++) {
        const struct consumer_protocol_assignment_assigned_partition *from =
            &assignment.assigned_partitions[i];
        to->topics[to->topics_count++] =
            (struct described_topic){from->topic, from->partitions, from->partitions_count};
    }
}

static bool classic_ask(struct cluster *cluster, struct arena *arena, struct bytes name,
                        struct described_group *out, int16_t *error)
{
    struct describe_groups_request request;
    struct describe_groups_response response;
    describe_groups_request_init(&request);
    request.groups = &name;
    request.groups_count = 1;
    const struct coordinator_call call = {.key = name,
                                          .kind = COORDINATOR_GROUP,
                                          .api = DESCRIBE_GROUPS_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = classic_error};
    if (!coordinator_ask(cluster, arena, &call)) {
        return false;
    }
    *error = classic_error(&response);
    if (*error != 0 || response.groups_count == 0) {
        return true;
    }
    const struct describe_groups_response_group *group = &response.groups[0];
    *out = (struct described_group){.name = name,
                                    .state = group->group_state,
                                    .type = "classic",
                                    .assignor = group->protocol_data};
    out->members =
        arena_new_array(arena, struct described_member, (size_t)group->members_count + 1);
    for (int32_t i = 0; out->members != NULL && i < group->members_count; i++) {
        const struct describe_groups_response_member *from = &group->members[i];
        struct described_member *to = &out->members[out->members_count++];
        *to = (struct described_member){.id = from->member_id,
                                        .instance = from->group_instance_id,
                                        .client = from->client_id,
                                        .host = from->client_host,
                                        .epoch = -1};
        assignment_take(arena, from->member_assignment, to);
    }
    return true;
}

/* ---- consumer ---- */

static int16_t consumer_error(const void *response)
{
    const struct consumer_group_describe_response *answer = response;
    return answer->groups_count > 0 ? answer->groups[0].error_code : 0;
}

static void consumer_member_take(struct arena *arena,
                                 const struct consumer_group_describe_response_member *from,
                                 struct described_member *to)
{
    *to = (struct described_member){.id = from->member_id,
                                    .instance = from->instance_id,
                                    .client = from->client_id,
                                    .host = from->client_host,
                                    .epoch = from->member_epoch,
                                    .classic = from->member_type == 0};
    int32_t count = from->assignment.topic_partitions_count;
    to->topics = arena_new_array(arena, struct described_topic, (size_t)count + 1);
    for (int32_t i = 0; to->topics != NULL && i < count; i++) {
        const struct consumer_group_describe_response_topic_partitions *topic =
            &from->assignment.topic_partitions[i];
        to->topics[to->topics_count++] =
            (struct described_topic){topic->topic_name, topic->partitions, topic->partitions_count};
    }
}

static bool consumer_ask(struct cluster *cluster, struct arena *arena, struct bytes name,
                         struct described_group *out, int16_t *error)
{
    struct consumer_group_describe_request request;
    struct consumer_group_describe_response response;
    consumer_group_describe_request_init(&request);
    request.group_ids = &name;
    request.group_ids_count = 1;
    const struct coordinator_call call = {.key = name,
                                          .kind = COORDINATOR_GROUP,
                                          .api = CONSUMER_GROUP_DESCRIBE_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = consumer_error};
    if (!coordinator_ask(cluster, arena, &call)) {
        return false;
    }
    *error = consumer_error(&response);
    if (*error != 0 || response.groups_count == 0) {
        return true;
    }
    const struct consumer_group_describe_response_group *group = &response.groups[0];
    *out = (struct described_group){.name = name,
                                    .state = group->group_state,
                                    .type = "consumer",
                                    .assignor = group->assignor_name};
    out->members =
        arena_new_array(arena, struct described_member, (size_t)group->members_count + 1);
    for (int32_t i = 0; out->members != NULL && i < group->members_count; i++) {
        consumer_member_take(arena, &group->members[i], &out->members[out->members_count++]);
    }
    return true;
}

/* ---- printing ---- */

static void member_print(const struct described_member *member)
{
    printf("  member %.*s  client %.*s  host %.*s", (int)member->id.size, member->id.data,
           (int)member->client.size, member->client.data, (int)member->host.size,
           member->host.data);
    if (member->instance.data != NULL) {
        printf("  instance %.*s", (int)member->instance.size, member->instance.data);
    }
    if (member->epoch >= 0) {
        printf("  epoch %d", member->epoch);
    }
    if (member->classic) {
        printf("  protocol classic");
    }
    printf("\n");
    for (int32_t i = 0; i < member->topics_count; i++) {
        const struct described_topic *topic = &member->topics[i];
        topic_partitions_print("    ", topic->name, topic->partitions, topic->partitions_count);
    }
}

static void group_print(const struct described_group *group)
{
    printf("%.*s  state %.*s  type %s  assignor %.*s  members %d\n", (int)group->name.size,
           group->name.data, (int)group->state.size, group->state.data, group->type,
           (int)group->assignor.size, group->assignor.data, group->members_count);
    for (int32_t i = 0; i < group->members_count; i++) {
        member_print(&group->members[i]);
    }
}

static json_t *member_json(const struct described_member *member)
{
    json_t *topics = json_object();
    for (int32_t i = 0; i < member->topics_count; i++) {
        const struct described_topic *topic = &member->topics[i];
        json_set_partitions(topics, topic->name, topic->partitions, topic->partitions_count);
    }
    json_t *object = json_object();
    json_object_set_new(object, "member", json_of_text(member->id));
    json_object_set_new(object, "instance", json_of_text(member->instance));
    json_object_set_new(object, "client", json_of_text(member->client));
    json_object_set_new(object, "host", json_of_text(member->host));
    json_object_set_new(object, "epoch",
                        member->epoch < 0 ? json_null() : json_integer(member->epoch));
    json_object_set_new(object, "protocol",
                        json_string(member->classic || member->epoch < 0 ? "classic" : "consumer"));
    json_object_set_new(object, "assignment", topics);
    return object;
}

static json_t *group_json(const struct described_group *group)
{
    json_t *members = json_array();
    for (int32_t i = 0; i < group->members_count; i++) {
        json_array_append_new(members, member_json(&group->members[i]));
    }
    json_t *object = json_object();
    json_object_set_new(object, "group", json_of_text(group->name));
    json_object_set_new(object, "state", json_of_text(group->state));
    json_object_set_new(object, "type", json_string(group->type));
    json_object_set_new(object, "assignor", json_of_text(group->assignor));
    json_object_set_new(object, "members", members);
    return object;
}

/* The newer API first, where there is one; it says 69 for groups of the classic kind. */
static bool group_describe(struct cluster *cluster, struct arena *arena, struct bytes name,
                           json_t *array)
{
    struct described_group group = {0};
    int16_t error = status_code(STATUS_GROUP_ID_NOT_FOUND);
    if (client_version(cluster->bootstrap, CONSUMER_GROUP_DESCRIBE_KEY) >= 0 &&
        !consumer_ask(cluster, arena, name, &group, &error)) {
        return false;
    }
    if (error != 0 && !classic_ask(cluster, arena, name, &group, &error)) {
        return false;
    }
    /* Before version 6 a group that does not exist is Dead, without an error. */
    if (error == 0 && bytes_equal(group.state, BYTES_LITERAL("Dead"))) {
        error = status_code(STATUS_GROUP_ID_NOT_FOUND);
    }
    if (error != 0) {
        char what[GROUP_WHAT_SIZE];
        snprintf(what, sizeof(what), "group \"%.*s\"", (int)name.size, name.data);
        return client_refused(cluster->client, what, error, BYTES_NULL);
    }
    if (array != NULL) {
        json_array_append_new(array, group_json(&group));
    } else {
        group_print(&group);
    }
    return true;
}

int group_describe_run(int count, char **arguments)
{
    return cluster_each(&GROUP_DESCRIBE, count, arguments, group_describe);
}
