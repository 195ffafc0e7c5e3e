/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/consumer.h"

#include <stdio.h>

#include "broker/groups/assignor.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/pattern.h"

/* How often a change of topics is looked at: each look compares all patterns with all names. */
#define REFRESH_MS 1000
#define MESSAGE_SIZE 240
#define NAME_SHOWN_MAX 100
/* What a member may say at most: its record has to fit into a batch, and a request that is made to
 * spend the memory of the core is refused before anything of the group is touched. */
#define TEXT_SIZE_MAX (256 << 10)
#define OWNED_COUNT_MAX (1 << 18)
/* Heap that joins leave to those who are there: a step that breaks in the middle costs a replay. */
#define HEAP_SPARE_SIZE ((size_t)64 << 10)

/* ---- life ---- */

struct consumer *consumer_open(struct heap *heap, uint64_t seed,
                               const struct consumer_config *config, struct bytes name)
{
    struct consumer *group = heap_acquire(heap, sizeof(*group));
    if (group == NULL) {
        return NULL;
    }
    group->magic = CONSUMER_MAGIC;
    group->heap = heap;
    group->config = config;
    group->seed = seed;
    list_init(&group->members);
    list_init(&group->patterns);
    if (!text_assign(heap, &group->name, name)) {
        goto release_group;
    }
    if (!table_init(&group->ids, heap, seed)) {
        goto release_name;
    }
    if (!table_init(&group->instances, heap, seed)) {
        goto close_ids;
    }
    if (!table_init(&group->held, heap, seed)) {
        goto close_instances;
    }
    return group;

close_instances:
    table_deinit(&group->instances);
close_ids:
    table_deinit(&group->ids);
release_name:
    text_release(heap, &group->name);
release_group:
    heap_release(heap, group, sizeof(*group));
    return NULL;
}

/* Also of a group that broke in the middle of a step: what is held is not compared with the sets.
 */
void consumer_close(struct consumer *group)
{
    if (group == NULL) {
        return;
    }
    check_magic(group, CONSUMER_MAGIC);
    held_clear(group);
    LIST_EACH (&group->members, node) {
        member_close(group, LIST_ENTRY(node, struct consumer_member, node));
    }
    LIST_EACH (&group->patterns, node) {
        pattern_free(group, LIST_ENTRY(node, struct consumer_pattern, node));
    }
    table_deinit(&group->held);
    table_deinit(&group->instances);
    table_deinit(&group->ids);
    text_release(group->heap, &group->name);
    group->magic = 0;
    heap_release(group->heap, group, sizeof(*group));
}

bool step_break(struct step *step)
{
    step->out->broken = step->touched;
    step->refused = true;
    return false;
}

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
    if (text > TEXT_SIZE_MAX) {
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

/* ---- epochs ---- */

static bool epoch_grow(struct step *step, const char *reason)
{
    step->group->epoch++;
    step->out->reason = reason;
    return write_epoch(step);
}

/* What members subscribe to is looked up again: after a change of theirs at once, after one of the
 * topics now and then. *changed: other topics than before. */
static bool topics_refresh(struct step *step, bool forced, bool *changed)
{
    struct consumer *group = step->group;
    bool topics_moved = group->catalog_version != step->catalog->version;
    *changed = false;
    if (!forced && (!topics_moved || step->now_ms < group->refresh_due_ms)) {
        return true;
    }
    if (topics_moved) {
        LIST_EACH (&group->patterns, node) {
            if (!pattern_resolve(step, LIST_ENTRY(node, struct consumer_pattern, node))) {
                return false;
            }
        }
        group->catalog_version = step->catalog->version;
        group->refresh_due_ms = step->now_ms + REFRESH_MS;
    }
    int64_t hash;
    if (!subscription_hash(step, &hash)) {
        return false;
    }
    *changed = hash != group->hash;
    group->hash = hash;
    return true;
}

/* ---- leaving ---- */

/* The member is out; its epoch is the caller's to grow, once for all that go. */
static bool member_remove(struct step *step, struct consumer_member *member)
{
    bool written = write_member_gone(step, member) && pattern_leave(step, member->pattern);
    if (written) {
        member_close(step->group, member);
    }
    return written;
}

static bool members_left(struct step *step, const char *reason)
{
    bool changed;
    return topics_refresh(step, true, &changed) && epoch_grow(step, reason);
}

/* A static member that will be back keeps what it has, until its session ends. */
static bool member_rest(struct step *step, struct consumer_member *member)
{
    member->epoch = CONSUMER_EPOCH_LEAVE_STATIC;
    member->previous_epoch = CONSUMER_EPOCH_LEAVE_STATIC;
    member->state = MEMBER_STABLE;
    member->rebalance_deadline_ms = INT64_MAX;
    struct parts kept;
    struct part *copy = arena_new_array(step->arena, struct part, (size_t)member->assigned.count);
    if (copy == NULL) {
        return step_break(step);
    }
    kept = (struct parts){
        copy, parts_filter(parts_of(&member->assigned), parts_of(&member->assigned), true, copy)};
    if (!member_hold(step->group, member, kept, (struct parts){NULL, 0})) {
        return step_break(step);
    }
    return write_assignment(step, member);
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
 * *former. */
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
        if ((*former)->epoch != CONSUMER_EPOCH_LEAVE_STATIC || *member != NULL) {
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

/* A new member, the former one under its new id, or one that joins again and so has nothing. */
static struct consumer_member *member_join(struct step *step, struct consumer_member *member,
                                           struct consumer_member *former, struct bytes id)
{
    struct consumer *group = step->group;
    if (former != NULL) {
        if (!write_member_gone(step, former)) {
            return NULL;
        }
        if (!member_rename(group, former, id)) {
            step_break(step);
            return NULL;
        }
        member = former;
        if (!write_target(step, member)) {
            return NULL;
        }
    } else if (member == NULL) {
        member = member_open(group, id);
        if (member == NULL) {
            step_break(step);
            return NULL;
        }
    } else if (!member_hold(group, member, (struct parts){NULL, 0}, (struct parts){NULL, 0})) {
        step_break(step);
        return NULL;
    }
    member->epoch = 0;
    member->previous_epoch = 0;
    member->state = MEMBER_STABLE;
    return member;
}

static bool text_differs(struct bytes own, struct bytes asked)
{
    return own.data == NULL || !bytes_equal(own, asked);
}

/* A text that the request gives and that is another than before. */
static bool text_update(struct step *step, struct bytes *own, struct bytes asked, bool *changed)
{
    if (asked.data == NULL || !text_differs(*own, asked)) {
        return true;
    }
    *changed = true;
    return text_assign(step->group->heap, own, asked) || step_break(step);
}

static bool pattern_update(struct step *step, struct consumer_member *member, struct bytes asked,
                           bool *changed)
{
    if (asked.data == NULL || bytes_equal(member->pattern, asked)) {
        return true;
    }
    *changed = true;
    bool joined = asked.size == 0;
    if (!joined) {
        bool fresh = pattern_find(step->group, asked) == NULL;
        struct consumer_pattern *pattern = pattern_join(step->group, asked);
        joined = pattern != NULL && (!fresh || pattern_resolve(step, pattern));
    }
    return (joined || step_break(step)) && pattern_leave(step, member->pattern) &&
           (text_assign(step->group->heap, &member->pattern, asked) || step_break(step));
}

static bool names_update(struct step *step, struct consumer_member *member,
                         const struct consumer_group_heartbeat_request *request, bool *changed)
{
    if (request->subscribed_topic_names_count < 0) {
        return true;
    }
    struct names names = {0};
    size_t count = (size_t)request->subscribed_topic_names_count;
    struct bytes *items = arena_new_array(step->arena, struct bytes, count);
    if (items == NULL) {
        return step_break(step);
    }
    if (count > 0) {
        memcpy(items, request->subscribed_topic_names, count * sizeof(*items));
    }
    if (!names_assign(step->group->heap, &names, items, (int32_t)count)) {
        return step_break(step);
    }
    *changed = *changed || !names_equal(&names, &member->names);
    names_release(step->group->heap, &member->names);
    member->names = names;
    return true;
}

/* *subscription: it reads other topics than before. */
static bool member_update(struct step *step, struct consumer_member *member,
                          const struct consumer_heartbeat *heartbeat, bool *changed,
                          bool *subscription)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    if (request->instance_id.data != NULL &&
        text_differs(member->instance_id, request->instance_id)) {
        *changed = true;
        if (!member_set_instance(step->group, member, request->instance_id)) {
            return step_break(step);
        }
    }
    if (request->rebalance_timeout_ms != -1 &&
        request->rebalance_timeout_ms != member->rebalance_ms) {
        *changed = true;
        member->rebalance_ms = request->rebalance_timeout_ms;
    }
    bool done = text_update(step, &member->rack_id, request->rack_id, changed) &&
                text_update(step, &member->client_id, heartbeat->client_id, changed) &&
                text_update(step, &member->client_host, heartbeat->client_host, changed) &&
                text_update(step, &member->assignor, request->server_assignor, changed) &&
                names_update(step, member, request, subscription) &&
                pattern_update(step, member, request->subscribed_topic_regex, subscription);
    *changed = *changed || *subscription;
    return done && (!*changed || write_member(step, member));
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

static bool heartbeat_run(struct step *step, struct consumer_member *member,
                          const struct consumer_heartbeat *heartbeat, const struct owned *owned,
                          bool joined)
{
    struct consumer *group = step->group;
    bool fresh = joined && member->target.count == 0 && member->names.count == 0 &&
                 member->pattern.size == 0;
    bool changed = joined;
    bool subscription = false;
    bool topics_changed;
    bool moved;
    struct parts_set before = {0};
    if (!member_update(step, member, heartbeat, &changed, &subscription) ||
        !topics_refresh(step, subscription || fresh, &topics_changed)) {
        return false;
    }
    if ((subscription || fresh || topics_changed) &&
        !epoch_grow(step, fresh          ? "a member joined"
                          : subscription ? "a subscription changed"
                                         : "topics changed")) {
        return false;
    }
    if (group->epoch > group->target_epoch && !target_make(step)) {
        return false;
    }
    if (!parts_set_assign(&before, group->heap, parts_of(&member->assigned))) {
        return step_break(step);
    }
    bool done = member_reconcile(step, member, owned, &moved);
    bool other = done && !parts_equal(parts_of(&before), parts_of(&member->assigned));
    parts_set_release(&before, group->heap);
    return done && (!(moved || joined) || write_assignment(step, member)) &&
           answer_make(step, member, joined || other || is_full(heartbeat->request));
}

static enum status heartbeat_step(struct step *step, const struct consumer_heartbeat *heartbeat)
{
    const struct consumer_group_heartbeat_request *request = heartbeat->request;
    struct consumer *group = step->group;
    struct consumer_member *member;
    struct consumer_member *former;
    struct owned owned;
    char text[UUID_TEXT_SIZE];
    struct bytes id = request->member_id;
    if (request->member_epoch < CONSUMER_EPOCH_JOIN) {
        return leave(step, heartbeat);
    }
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
    if (joins) {
        member = member_join(step, member, former, id);
    }
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

/* ---- deadlines ---- */

static int64_t member_deadline_ms(const struct consumer_member *member)
{
    bool revokes = member->state == MEMBER_UNREVOKED;
    return revokes && member->rebalance_deadline_ms < member->session_deadline_ms
               ? member->rebalance_deadline_ms
               : member->session_deadline_ms;
}

int64_t consumer_deadline_ms(const struct consumer *group)
{
    int64_t first = INT64_MAX;
    LIST_EACH (&group->members, node) {
        int64_t deadline = member_deadline_ms(LIST_ENTRY(node, struct consumer_member, node));
        first = deadline < first ? deadline : first;
    }
    return first;
}

static bool tick(struct step *step)
{
    int32_t count = step->group->member_count;
    LIST_EACH (&step->group->members, node) {
        struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        if (member_deadline_ms(member) <= step->now_ms && !member_remove(step, member)) {
            return false;
        }
    }
    return step->group->member_count == count || members_left(step, "a member went silent");
}

void consumer_step(struct consumer *group, const struct consumer_event *event, struct arena *arena,
                   struct consumer_output *output)
{
    check_magic(group, CONSUMER_MAGIC);
    *output = (struct consumer_output){0};
    consumer_group_heartbeat_response_init(&output->answer);
    struct step step = {
        .group = group,
        .now_ms = event->now_ms,
        .wall_ms = event->wall_ms,
        .catalog = event->catalog,
        .arena = arena,
        .out = output,
        .touched = event->kind == CONSUMER_TICK || event->first != NULL,
    };
    if (event->first != NULL && !write_record(&step, event->first)) {
        return;
    }
    if (event->kind == CONSUMER_TICK) {
        (void)tick(&step); /* output->broken says */
        return;
    }
    enum status status = heartbeat_step(&step, event->heartbeat);
    if (step.refused) {
        status = STATUS_COORDINATOR_NOT_AVAILABLE;
        consumer_group_heartbeat_response_init(&output->answer);
    }
    if (status != STATUS_OK) {
        output->answer.error_code = status_code(status);
        output->answer.error_message = bytes_of_text(error_message(status));
    }
}

/* ---- the log ---- */

/* What a log of ours never says, and one that lost its end in the middle of a batch may: epochs in
 * the wrong order, a state that does not go with what is to be given up. */
static void member_mend(struct consumer *group, struct consumer_member *member)
{
    if (member->revoking.count > 0) {
        member->state = MEMBER_UNREVOKED;
    } else if (member->state == MEMBER_UNREVOKED) {
        member->state = MEMBER_UNRELEASED;
    }
    if (member->epoch > group->epoch) {
        group->epoch = member->epoch; /* above the target's: the next heartbeat makes a new one */
    }
}

static bool member_loaded(struct consumer *group, struct consumer_member *member, int64_t now_ms)
{
    if (!member->recorded) { /* assignments of a member that has gone */
        member_close(group, member);
        return true;
    }
    int64_t wait_ms = member->rebalance_ms < 0 ? 0 : member->rebalance_ms;
    member->session_deadline_ms = now_ms + group->config->session_ms;
    member->rebalance_deadline_ms = now_ms + wait_ms;
    return member->pattern.size == 0 || pattern_join(group, member->pattern) != NULL;
}

bool consumer_loaded(struct consumer *group, int64_t now_ms)
{
    LIST_EACH (&group->patterns, node) {
        LIST_ENTRY(node, struct consumer_pattern, node)->member_count = 0;
    }
    LIST_EACH (&group->members, node) {
        if (!member_loaded(group, LIST_ENTRY(node, struct consumer_member, node), now_ms)) {
            return false;
        }
    }
    LIST_EACH (&group->patterns, node) {
        struct consumer_pattern *pattern = LIST_ENTRY(node, struct consumer_pattern, node);
        if (pattern->member_count == 0) {
            pattern_free(group, pattern);
        }
    }
    if (!held_build(group)) {
        return false;
    }
    group->epoch = group->target_epoch > group->epoch ? group->target_epoch : group->epoch;
    LIST_EACH (&group->members, node) {
        member_mend(group, LIST_ENTRY(node, struct consumer_member, node));
    }
    group->catalog_version = 0;
    return true;
}

bool consumer_is_blank(const struct consumer *group)
{
    return group->member_count == 0 && list_is_empty(&group->patterns) && !group->epoch_written &&
           !group->target_written && !group->topics_written;
}

void consumer_erase(struct consumer *group, struct arena *arena, struct consumer_output *output)
{
    check(group->member_count == 0);
    *output = (struct consumer_output){0};
    struct step step = {.group = group, .arena = arena, .out = output, .touched = true};
    LIST_EACH (&group->patterns, node) {
        struct bytes text = LIST_ENTRY(node, struct consumer_pattern, node)->text;
        if (!write_pattern_gone(&step, text)) {
            return;
        }
    }
    (void)write_group_gone(&step); /* output->broken says */
}
