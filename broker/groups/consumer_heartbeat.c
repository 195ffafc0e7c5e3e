/* SPDX-License-Identifier: Apache-2.0 */
/* ConsumerGroupHeartbeat: members of the newer protocol join, go on, and leave. */
#include <stdio.h>

#include "broker/groups/assignor.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/pattern.h"

#define MESSAGE_SIZE 240
#define NAME_SHOWN_MAX 100
#define OWNED_COUNT_MAX (1 << 18)

/* ---- what is wrong with a heartbeat by itself ---- */

static bool assignor_served(const struct consumer_config *config, struct bytes name)
{
    const struct assignor *row;
    for (int32_t i = 0; (row = assignor_row(i)) != NULL; i++) {
        if (bytes_equal(name, bytes_of_text(row->name))) {
            return (config->assignors >> i & 1) != 0;
        }
    }
    return false;
}

static const char *check_join(const struct consumer_group_heartbeat_request *request)
{
    if (request->rebalance_timeout_ms == -1) {
        return "RebalanceTimeoutMs must be provided in first request.";
    }
    if (request->topic_partitions_count != 0) { /* -1: null */
        return "TopicPartitions must be empty when (re-)joining.";
    }
    if (request->subscribed_topic_names_count < 0 && request->subscribed_topic_regex.data == NULL) {
        return "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when "
               "(re-)joining.";
    }
    return NULL;
}

/* Everything that is kept of a member, and what it says it has. */
static const char *check_size(const struct consumer_group_heartbeat_request *request)
{
    size_t text = request->member_id.size + request->instance_id.size + request->rack_id.size +
                  request->subscribed_topic_regex.size;
    int64_t owned = 0;
    for (int32_t i = 0; i < request->subscribed_topic_names_count; i++) {
        text += request->subscribed_topic_names[i].size + sizeof(struct bytes);
    }
    for (int32_t i = 0; i < request->topic_partitions_count; i++) {
        owned += request->topic_partitions[i].partitions_count;
    }
    if (text > MEMBER_TEXT_SIZE_MAX) {
        return "The subscription is too large.";
    }
    return owned > OWNED_COUNT_MAX ? "TopicPartitions has too many partitions." : NULL;
}

static const char *check_shape(const struct consumer_heartbeat *heartbeat)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    if (request->group_id.size == 0) {
        return "GroupId can't be empty.";
    }
    if (request->member_id.size == 0 &&
        (heartbeat->version >= 1 || request->member_epoch != CONSUMER_EPOCH_JOIN)) {
        return "MemberId can't be empty.";
    }
    if (request->instance_id.data != NULL && request->instance_id.size == 0) {
        return "InstanceId can't be empty.";
    }
    if (request->rack_id.data != NULL && request->rack_id.size == 0) {
        return "RackId can't be empty.";
    }
    if (request->member_epoch < CONSUMER_EPOCH_LEAVE_STATIC) {
        return "MemberEpoch is invalid.";
    }
    if (request->member_epoch == CONSUMER_EPOCH_LEAVE_STATIC && request->instance_id.data == NULL) {
        return "InstanceId can't be null.";
    }
    return request->member_epoch == CONSUMER_EPOCH_JOIN ? check_join(request) : NULL;
}

/* Names are cut: a client's own text comes back in the answer and in its log. */
static const char *assignor_message(struct arena *arena, struct bytes name)
{
    char *message = arena_acquire(arena, MESSAGE_SIZE);
    if (message != NULL) {
        int size = name.size > NAME_SHOWN_MAX ? NAME_SHOWN_MAX : (int)name.size;
        snprintf(message, MESSAGE_SIZE, "ServerAssignor %.*s is not supported.", size,
                 (const char *)name.data);
    }
    return message;
}

static bool regex_check(struct bytes text, struct arena *arena, const char **message)
{
    char *room = arena_acquire(arena, PATTERN_MESSAGE_SIZE);
    if (text.size == 0 || room == NULL) {
        return true;
    }
    struct pattern *pattern = pattern_open(text.data, text.size, room);
    if (pattern == NULL) {
        *message = room;
        return false;
    }
    pattern_close(pattern);
    return true;
}

enum status consumer_check(const struct consumer_config *config,
                           const struct consumer_heartbeat *heartbeat, struct arena *arena,
                           const char **message)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    *message = check_shape(heartbeat);
    if (*message == NULL) {
        *message = check_size(request);
    }
    if (*message != NULL) {
        return STATUS_INVALID_REQUEST;
    }
    if (request->server_assignor.data != NULL &&
        !assignor_served(config, request->server_assignor)) {
        *message = assignor_message(arena, request->server_assignor);
        return STATUS_UNSUPPORTED_ASSIGNOR;
    }
    if (request->member_epoch >= CONSUMER_EPOCH_JOIN &&
        !regex_check(request->subscribed_topic_regex, arena, message)) {
        return STATUS_INVALID_REGULAR_EXPRESSION;
    }
    return STATUS_OK;
}

/* ---- leaving ---- */

/* A static member that will be back keeps what it has, until its session ends. */
static bool member_rest(struct step *step, struct consumer_member *member)
{
    member->epoch = CONSUMER_EPOCH_LEAVE_STATIC;
    member->previous_epoch = CONSUMER_EPOCH_LEAVE_STATIC;
    return member_let_go(step, member) && write_assignment(step, member);
}

static enum status leave(struct step *step, const struct consumer_heartbeat *heartbeat)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    struct consumer_member *member = request->instance_id.data == NULL
                                         ? member_find(step->group, request->member_id)
                                         : member_find_instance(step->group, request->instance_id);
    if (member == NULL) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    if (!bytes_equal(member->id, request->member_id)) {
        return STATUS_FENCED_INSTANCE_ID;
    }
    step->touched = true;
    bool done = request->member_epoch == CONSUMER_EPOCH_LEAVE_STATIC
                    ? member_rest(step, member)
                    : member_remove(step, member) && members_left(step, "a member left");
    if (done) {
        step->out->answer.member_id = request->member_id;
        step->out->answer.member_epoch = request->member_epoch;
    }
    return STATUS_OK;
}

/* ---- changes ---- */

static bool names_take(struct step *step, struct consumer_member *member,
                       const struct consumer_group_heartbeat_request *request, bool *changed)
{
    if (request->subscribed_topic_names_count < 0) {
        return true;
    }
    size_t count = (size_t)request->subscribed_topic_names_count;
    struct bytes *items = arena_new_array(step->arena, struct bytes, count);
    if (items == NULL) {
        return step_break(step);
    }
    if (count > 0) {
        memcpy(items, request->subscribed_topic_names, count * sizeof(*items));
    }
    return names_update(step, member, items, (int32_t)count, changed);
}

static bool member_update(struct step *step, struct consumer_member *member,
                          const struct consumer_heartbeat *heartbeat, struct member_change *change)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    bool *written = &change->written;
    if (request->rebalance_timeout_ms != -1 &&
        request->rebalance_timeout_ms != member->rebalance_ms) {
        *written = true;
        member->rebalance_ms = request->rebalance_timeout_ms;
    }
    if (member->classic) { /* its client was changed, and kept the id or the instance */
        *written = true;
        member_clear_classic(step->group, member);
    }
    return instance_update(step, member, request->instance_id, written) &&
           text_update(step, &member->rack_id, request->rack_id, written) &&
           text_update(step, &member->client_id, heartbeat->client_id, written) &&
           text_update(step, &member->client_host, heartbeat->client_host, written) &&
           text_update(step, &member->assignor, request->server_assignor, written) &&
           names_take(step, member, request, &change->subscription) &&
           pattern_update(step, member, request->subscribed_topic_regex, &change->subscription);
}

/* ---- joining and going on ---- */

/* What the request says the member has, in the arena. */
static bool owned_read(struct step *step, const struct consumer_group_heartbeat_request *request,
                       struct owned *owned)
{
    size_t room = 0;
    for (int32_t i = 0; i < request->topic_partitions_count; i++) {
        room += (size_t)request->topic_partitions[i].partitions_count;
    }
    struct part *items = arena_new_array(step->arena, struct part, room);
    if (items == NULL) {
        return step_break(step);
    }
    int32_t count = 0;
    for (int32_t i = 0; i < request->topic_partitions_count; i++) {
        const struct consumer_group_heartbeat_request_topic_partition *topic =
            &request->topic_partitions[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            items[count++] =
                (struct part){.topic_id = topic->topic_id, .index = topic->partitions[k]};
        }
    }
    owned->told = request->topic_partitions_count >= 0;
    owned->parts = (struct parts){items, parts_sort(items, count)};
    return true;
}

static enum status epoch_check(const struct consumer_member *member, int32_t epoch,
                               const struct owned *owned)
{
    if (epoch == member->epoch) {
        return STATUS_OK;
    }
    /* The answer that told it of the new epoch may be lost. */
    bool behind = epoch < member->epoch && epoch == member->previous_epoch && owned->told &&
                  parts_are_within(owned->parts, parts_of(&member->assigned));
    return behind ? STATUS_OK : STATUS_FENCED_MEMBER_EPOCH;
}

/* Who heartbeats. *member NULL: a new one, or a static one that comes back under a new id as
 * *former. A classic one, whose client never says that it will be back, gives way at once. */
static enum status member_meet(const struct consumer *group,
                               const struct consumer_group_heartbeat_request *request,
                               const struct owned *owned, struct consumer_member **member,
                               struct consumer_member **former)
{
    bool joins = request->member_epoch == CONSUMER_EPOCH_JOIN;
    *former = request->instance_id.data == NULL ? NULL
                                                : member_find_instance(group, request->instance_id);
    *member = member_find(group, request->member_id);
    if (*former != NULL && *former != *member) {
        if (!joins) {
            return STATUS_FENCED_INSTANCE_ID;
        }
        bool released = (*former)->epoch == CONSUMER_EPOCH_LEAVE_STATIC || (*former)->classic;
        if (!released || *member != NULL) {
            return STATUS_UNRELEASED_INSTANCE_ID;
        }
        return STATUS_OK;
    }
    *former = NULL;
    if (*member == NULL && !joins) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    if (*member == NULL && group->member_count >= group->config->member_count_max) {
        return STATUS_GROUP_MAX_SIZE_REACHED;
    }
    return joins ? STATUS_OK : epoch_check(*member, request->member_epoch, owned);
}

/* ---- the answer ---- */

static bool answer_assignment(struct step *step, const struct consumer_member *member)
{
    struct consumer_group_heartbeat_response_assignment *out = &step->out->answer.assignment;
    struct parts parts = parts_of(&member->assigned);
    out->topic_partitions =
        arena_new_array(step->arena, struct consumer_group_heartbeat_response_topic_partitions,
                        (size_t)parts_topic_count(parts));
    if (out->topic_partitions == NULL) {
        return step_break(step);
    }
    for (int32_t i = 0; i < parts.count; i = parts_run(parts, i)) {
        int32_t end = parts_run(parts, i);
        out->topic_partitions[out->topic_partitions_count++] =
            (struct consumer_group_heartbeat_response_topic_partitions){
                .topic_id = parts.items[i].topic_id,
                .partitions = parts_indexes(step->arena, parts, i, end),
                .partitions_count = end - i,
            };
    }
    step->out->answer.has_assignment = true;
    return !step->arena->failed || step_break(step);
}

static bool answer_make(struct step *step, const struct consumer_member *member, bool assignment)
{
    struct consumer_group_heartbeat_response *answer = &step->out->answer;
    uint8_t *id = arena_acquire_bytes(step->arena, member->id.size);
    if (id == NULL) {
        return step_break(step);
    }
    memcpy(id, member->id.data, member->id.size);
    answer->member_id = bytes_of(id, member->id.size);
    answer->member_epoch = member->epoch;
    answer->heartbeat_interval_ms = step->group->config->heartbeat_ms;
    return !assignment || answer_assignment(step, member);
}

/* The whole state of the client, as it is sent in the first heartbeat and after errors. */
static bool is_full(const struct consumer_group_heartbeat_request *request)
{
    return request->rebalance_timeout_ms != -1 && request->topic_partitions_count >= 0 &&
           (request->subscribed_topic_names_count >= 0 ||
            request->subscribed_topic_regex.data != NULL);
}

/* A member that joins again has nothing. */
static bool member_restart(struct step *step, struct consumer_member *member)
{
    struct parts nothing = {NULL, 0};
    member->epoch = 0;
    member->previous_epoch = 0;
    member->state = MEMBER_STABLE;
    return member_hold(step->group, member, nothing, nothing) || step_break(step);
}

static bool heartbeat_run(struct step *step, struct consumer_member *member,
                          const struct consumer_heartbeat *heartbeat, const struct owned *owned,
                          bool joined)
{
    struct member_change change = {.joined = joined, .fresh = joined && member_is_bare(member)};
    bool moved;
    return member_update(step, member, heartbeat, &change) &&
           member_commit(step, member, &change) &&
           member_proceed(step, member, owned, joined, &moved) &&
           answer_make(step, member, joined || moved || is_full(heartbeat->request));
}

static enum status heartbeat_go_on(struct step *step, const struct consumer_heartbeat *heartbeat)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    struct consumer *group = step->group;
    struct consumer_member *member;
    struct consumer_member *former;
    struct owned owned;
    char text[UUID_TEXT_SIZE];
    struct bytes id = request->member_id;
    if (!owned_read(step, request, &owned)) {
        return STATUS_OK;
    }
    enum status status = member_meet(group, request, &owned, &member, &former);
    if (status != STATUS_OK) {
        return status;
    }
    bool joins = request->member_epoch == CONSUMER_EPOCH_JOIN;
    if (joins && group->heap->size_max - group->heap->size < HEAP_SPARE_SIZE) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    step->touched = true;
    if (id.size == 0) {
        uuid_format(&heartbeat->uuid, text);
        id = bytes_of_text(text);
    }
    if (joins && member != NULL && !member_restart(step, member)) {
        return STATUS_OK;
    }
    member = member_enter(step, member, former, id);
    if (member != NULL && heartbeat_run(step, member, heartbeat, &owned, joins)) {
        member->session_deadline_ms = step->now_ms + group->config->session_ms;
    }
    return STATUS_OK;
}

static const char *error_message(enum status status)
{
    switch (status) {
    case STATUS_FENCED_MEMBER_EPOCH:
        return "The member epoch is not the one that the coordinator knows. The member must "
               "abandon all its partitions and rejoin.";
    case STATUS_UNRELEASED_INSTANCE_ID:
        return "The instance id is in use by another member.";
    default:
        return status_sentence(status);
    }
}

void consumer_heartbeat_step(struct step *step, const struct consumer_heartbeat *heartbeat)
{
    struct consumer_group_heartbeat_response *answer = &step->out->answer;
    enum status status = heartbeat->request->member_epoch < CONSUMER_EPOCH_JOIN
                             ? leave(step, heartbeat)
                             : heartbeat_go_on(step, heartbeat);
    status = step_status(step, status);
    if (status != STATUS_OK) {
        consumer_group_heartbeat_response_init(answer);
        answer->error_code = status_code(status);
        answer->error_message = bytes_of_text(error_message(status));
    }
}
