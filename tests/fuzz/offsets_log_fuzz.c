/* SPDX-License-Identifier: Apache-2.0 */
/* __consumer_offsets with anything in it (tests/fuzz/shard_replay.h): two loads make one state, and
 * groups of every kind can be listed, described, committed to, joined, deleted and left alone. */
#include <stdlib.h>

#include "base/check.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/group.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/shard_replay.h"
#include "wire/delete_groups.h"
#include "wire/describe_groups.h"
#include "wire/join_group.h"
#include "wire/list_groups.h"
#include "wire/offset_commit.h"
#include "wire/offset_fetch.h"

#define GROUPS_MAX 4 /* that are asked for one by one */
#define SESSIONS_SECONDS 70

/* ---- the state ---- */

static void print_names(FILE *out, const struct names *names)
{
    for (int32_t i = 0; i < names->count; i++) {
        shard_replay_print_bytes(out, names->items[i]);
    }
}

static void print_parts(FILE *out, const char *what, const struct parts_set *parts)
{
    fprintf(out, " %s", what);
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->items[i];
        shard_replay_print_bytes(out, bytes_of(part->topic_id.bytes, sizeof(part->topic_id)));
        fprintf(out, "-%d@%d", part->index, part->epoch);
    }
}

static void print_consumer(FILE *out, const struct consumer *group)
{
    fprintf(out, " epoch %d hash %lld target %d written %d%d%d\n", group->epoch,
            (long long)group->hash, group->target_epoch, group->epoch_written,
            group->target_written, group->topics_written);
    LIST_EACH (&group->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        fprintf(out, "  member");
        shard_replay_print_bytes(out, member->id);
        shard_replay_print_bytes(out, member->instance_id);
        shard_replay_print_bytes(out, member->rack_id);
        shard_replay_print_bytes(out, member->client_id);
        shard_replay_print_bytes(out, member->client_host);
        shard_replay_print_bytes(out, member->assignor);
        shard_replay_print_bytes(out, member->pattern);
        print_names(out, &member->names);
        fprintf(out, " %d epoch %d after %d state %d %d", member->rebalance_ms, member->epoch,
                member->previous_epoch, member->state, member->recorded);
        print_parts(out, "has", &member->assigned);
        print_parts(out, "revokes", &member->revoking);
        print_parts(out, "target", &member->target);
        fputc('\n', out);
    }
    LIST_EACH (&group->patterns, node) {
        const struct consumer_pattern *pattern = LIST_ENTRY(node, struct consumer_pattern, node);
        fprintf(out, "  pattern of %d", pattern->member_count);
        shard_replay_print_bytes(out, pattern->text);
        print_names(out, &pattern->topics);
        fputc('\n', out);
    }
}

static void print_classic(FILE *out, const struct classic *group)
{
    struct classic_view view = classic_view(group);
    fprintf(out, " state %d generation %d since %lld", view.state, view.generation,
            (long long)view.state_wall_ms);
    shard_replay_print_bytes(out, view.protocol_type);
    shard_replay_print_bytes(out, view.protocol);
    shard_replay_print_bytes(out, view.leader);
    fputc('\n', out);
    const struct classic_member *next = NULL;
    while ((next = classic_member_next(group, next)) != NULL) {
        struct classic_member_view member = classic_member_view(group, next);
        fprintf(out, "  member %d %d", member.session_ms, member.rebalance_ms);
        shard_replay_print_bytes(out, member.member_id);
        shard_replay_print_bytes(out, member.instance_id);
        shard_replay_print_bytes(out, member.client_id);
        shard_replay_print_bytes(out, member.client_host);
        shard_replay_print_bytes(out, member.metadata);
        shard_replay_print_bytes(out, member.assignment);
        fputc('\n', out);
    }
}

static void print_place(FILE *out, const struct offset_place *place)
{
    fprintf(out, "  offset");
    shard_replay_print_bytes(out, place->topic->name);
    fprintf(out, "-%d %d by %lld waiting %d change %d", place->partition, place->committed,
            (long long)place->log_offset, place->waiting_count, place->change_count);
    if (place->committed) {
        const struct offset_value *value = &place->value;
        fprintf(out, ": %lld %d %lld %lld", (long long)value->offset, value->leader_epoch,
                (long long)value->commit_ms, (long long)value->expire_ms);
        shard_replay_print_bytes(out, value->metadata);
    }
    fputc('\n', out);
}

static void print_offsets(FILE *out, const struct group_offsets *offsets)
{
    fprintf(out, "  %d offsets in %d places\n", offsets->count, offsets->place_count);
    LIST_EACH (&offsets->topics, topic_node) {
        const struct offset_topic *topic = LIST_ENTRY(topic_node, struct offset_topic, node);
        LIST_EACH (&topic->places, node) {
            print_place(out, LIST_ENTRY(node, struct offset_place, node));
        }
    }
}

static void print(FILE *out, const struct shard *shard)
{
    const struct groups *groups = groups_of(shard);
    fprintf(out, "%d groups\n", groups->count);
    LIST_EACH (&groups->list, node) {
        const struct group *group = LIST_ENTRY(node, struct group, node);
        fprintf(out, "group");
        shard_replay_print_bytes(out, group->name);
        if (group->classic != NULL) {
            fprintf(out, " classic");
            print_classic(out, group->classic);
        }
        if (group->consumer != NULL) {
            fprintf(out, " consumer");
            print_consumer(out, group->consumer->machine);
        }
        print_offsets(out, &group->offsets);
    }
}

/* ---- requests ---- */

struct names_kept {
    struct bytes names[GROUPS_MAX];
    int32_t count;
};

static void names_free(struct names_kept *kept)
{
    for (int32_t i = 0; i < kept->count; i++) {
        free((void *)(uintptr_t)kept->names[i].data);
    }
}

static void list(struct shard_replay *replay, struct names_kept *kept)
{
    struct list_groups_request request;
    list_groups_request_init(&request);
    struct list_groups_response response;
    SHARD_REPLAY_CALL(replay, LIST_GROUPS, list_groups, 5, &request, &response);
    *kept = (struct names_kept){0};
    check(response.error_code == 0);
    for (int32_t i = 0; i < response.groups_count && kept->count < GROUPS_MAX; i++) {
        struct bytes name = response.groups[i].group_id;
        uint8_t *copy = malloc(name.size + 1);
        check(copy != NULL);
        memcpy(copy, name.data, name.size);
        kept->names[kept->count++] = bytes_of(copy, name.size);
    }
}

static void describe(struct shard_replay *replay, struct bytes name)
{
    struct describe_groups_request classic = {.groups = &name, .groups_count = 1};
    struct describe_groups_response classic_answer;
    SHARD_REPLAY_CALL(replay, DESCRIBE_GROUPS, describe_groups, 6, &classic, &classic_answer);
    struct consumer_group_describe_request consumer = {.group_ids = &name, .group_ids_count = 1};
    struct consumer_group_describe_response consumer_answer;
    SHARD_REPLAY_CALL(replay, CONSUMER_GROUP_DESCRIBE, consumer_group_describe, 1, &consumer,
                      &consumer_answer);
    int16_t code = consumer_answer.groups[0].error_code;
    check(code == 0 || code == status_code(STATUS_GROUP_ID_NOT_FOUND));
}

static void offsets_fetch(struct shard_replay *replay, struct bytes name)
{
    struct offset_fetch_request_group group;
    offset_fetch_request_group_init(&group);
    group.group_id = name;
    group.topics_count = -1;
    struct offset_fetch_request request;
    offset_fetch_request_init(&request);
    request.groups = &group;
    request.groups_count = 1;
    struct offset_fetch_response response;
    SHARD_REPLAY_CALL(replay, OFFSET_FETCH, offset_fetch, 8, &request, &response);
    check(response.groups[0].error_code == 0 || name.size == 0);
}

static int16_t commit(struct shard_replay *replay, struct bytes name)
{
    struct offset_commit_request_partition place;
    offset_commit_request_partition_init(&place);
    place.committed_offset = 7;
    struct offset_commit_request_topic topic = {
        .name = BYTES_LITERAL("t"), .partitions = &place, .partitions_count = 1};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = name;
    request.topics = &topic;
    request.topics_count = 1;
    struct offset_commit_response response;
    SHARD_REPLAY_CALL(replay, OFFSET_COMMIT, offset_commit, 8, &request, &response);
    return response.topics[0].partitions[0].error_code;
}

static void consumer_join(struct shard_replay *replay, struct bytes name)
{
    struct bytes topic = BYTES_LITERAL("t");
    struct consumer_group_heartbeat_request request;
    consumer_group_heartbeat_request_init(&request);
    request.group_id = name;
    request.member_id = BYTES_LITERAL("newcomer");
    request.rebalance_timeout_ms = 60000;
    request.subscribed_topic_names = &topic;
    request.subscribed_topic_names_count = 1;
    request.topic_partitions_count = 0;
    struct consumer_group_heartbeat_response response;
    SHARD_REPLAY_CALL(replay, CONSUMER_GROUP_HEARTBEAT, consumer_group_heartbeat, 1, &request,
                      &response);
}

/* It may have to wait for members that will not come back; nobody waits for its answer. */
static void classic_join(struct shard_replay *replay, struct bytes name)
{
    struct sim_client client;
    struct join_group_request_protocol protocol = {BYTES_LITERAL("range"), BYTES_LITERAL("")};
    struct join_group_request request;
    join_group_request_init(&request);
    request.group_id = name;
    request.session_timeout_ms = 10000;
    request.rebalance_timeout_ms = 10000;
    request.protocol_type = BYTES_LITERAL("consumer");
    request.protocols = &protocol;
    request.protocols_count = 1;
    struct writer writer;
    sim_client_open(&client, &replay->broker);
    join_group_request_encode(sim_client_request(&client, &writer, JOIN_GROUP_KEY, 3, false), 3,
                              &request);
    sim_client_send(&client, &writer);
    sim_client_close(&client);
}

static void group_delete_call(struct shard_replay *replay, struct bytes name)
{
    struct delete_groups_request request = {.groups_names = &name, .groups_names_count = 1};
    struct delete_groups_response response;
    SHARD_REPLAY_CALL(replay, DELETE_GROUPS, delete_groups, 2, &request, &response);
}

static void serve(struct shard_replay *replay, bool good)
{
    struct names_kept kept;
    list(replay, &kept);
    int16_t code = commit(replay, BYTES_LITERAL("nobody has this name"));
    check(code == (good ? 0 : status_code(STATUS_COORDINATOR_NOT_AVAILABLE)));
    for (int32_t i = 0; i < kept.count; i++) {
        describe(replay, kept.names[i]);
        offsets_fetch(replay, kept.names[i]);
        (void)commit(replay, kept.names[i]);
        if (i % 2 == 0) {
            consumer_join(replay, kept.names[i]);
            classic_join(replay, kept.names[i]);
        } else {
            classic_join(replay, kept.names[i]);
            consumer_join(replay, kept.names[i]);
        }
        describe(replay, kept.names[i]);
    }
    if (good) {
        shard_replay_pass(replay, SESSIONS_SECONDS);
    }
    for (int32_t i = 0; i < kept.count; i++) {
        group_delete_call(replay, kept.names[i]);
    }
    names_free(&kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shard_replay_kind kind = {COORDINATOR_GROUP, print, serve};
    shard_replay_run(&kind, bytes_of(data, size));
    return 0;
}
