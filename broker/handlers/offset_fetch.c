/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetFetch: what groups have committed. One call for each group; the owner fills that group's
 * part of the answer, in its own memory. Below version 8 there is one group, in fields of its own.
 */
#include "wire/offset_fetch.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct fetch_group {
    struct coordinator_call call;
    const struct offset_fetch_request_group *in;
    bool stable;
    struct offset_fetch_response_group out; /* filled by the owner */
};

struct fetch_state {
    struct offset_fetch_request in;
    struct offset_fetch_request_group single; /* the request of version 1 to 7 as a group */
    struct coordinator_fan fan;
    struct fetch_group *groups;
    int32_t group_count;
};

/* ---- owner core ---- */

static void place_fill(const struct offset_place *place, int32_t partition, bool stable,
                       struct offset_fetch_response_group_topic_partition *out)
{
    offset_fetch_response_group_topic_partition_init(out);
    out->partition_index = partition;
    out->committed_offset = -1;
    out->committed_leader_epoch = -1;
    out->metadata = BYTES_LITERAL("");
    if (place != NULL && stable && place->waiting_count > 0) {
        out->error_code = status_code(STATUS_UNSTABLE_OFFSET_COMMIT);
    } else if (place != NULL && place->committed) {
        out->committed_offset = place->value.offset;
        out->committed_leader_epoch = place->value.leader_epoch;
        out->metadata = place->value.metadata;
    }
}

/* The place may be gone before the answer is encoded. */
static void metadata_keep(struct arena *arena,
                          struct offset_fetch_response_group_topic_partition *out)
{
    uint8_t *memory = arena_acquire_bytes(arena, out->metadata.size);
    if (memory != NULL) {
        memcpy(memory, out->metadata.data, out->metadata.size);
        out->metadata = bytes_of(memory, out->metadata.size);
    }
}

static void named_fill(const struct group *group, struct fetch_group *fetch)
{
    struct arena *arena = &fetch->call.arena;
    size_t count = (size_t)fetch->in->topics_count;
    fetch->out.topics = arena_new_array(arena, struct offset_fetch_response_group_topic, count);
    for (size_t i = 0; i < count && fetch->out.topics != NULL; i++) {
        const struct offset_fetch_request_group_topic *asked = &fetch->in->topics[i];
        struct offset_fetch_response_group_topic *topic =
            &fetch->out.topics[fetch->out.topics_count++];
        offset_fetch_response_group_topic_init(topic);
        topic->name = asked->name;
        size_t partitions = (size_t)asked->partition_indexes_count;
        topic->partitions =
            arena_new_array(arena, struct offset_fetch_response_group_topic_partition, partitions);
        for (size_t k = 0; k < partitions && topic->partitions != NULL; k++) {
            int32_t partition = asked->partition_indexes[k];
            const struct offset_spot spot = {
                .group = (struct group *)(uintptr_t)group,
                .topic = asked->name,
                .partition = partition,
            };
            const struct offset_place *place =
                group == NULL ? NULL : offsets_find(&group->groups->offsets, &spot);
            place_fill(place, partition, fetch->stable, &topic->partitions[k]);
            metadata_keep(arena, &topic->partitions[k]);
            topic->partitions_count++;
        }
    }
}

static void topic_fill_all(const struct offset_topic *from, struct fetch_group *fetch,
                           struct offset_fetch_response_group_topic *topic)
{
    struct arena *arena = &fetch->call.arena;
    size_t count = 0;
    LIST_EACH (&from->places, node) {
        count += LIST_ENTRY(node, struct offset_place, node)->committed ? 1 : 0;
    }
    uint8_t *name = arena_acquire_bytes(arena, from->name.size);
    topic->partitions =
        arena_new_array(arena, struct offset_fetch_response_group_topic_partition, count);
    if (name == NULL || topic->partitions == NULL) {
        return;
    }
    memcpy(name, from->name.data, from->name.size);
    topic->name = bytes_of(name, from->name.size);
    LIST_EACH (&from->places, node) {
        const struct offset_place *place = LIST_ENTRY(node, struct offset_place, node);
        if (place->committed) {
            struct offset_fetch_response_group_topic_partition *partition =
                &topic->partitions[topic->partitions_count++];
            place_fill(place, place->partition, fetch->stable, partition);
            metadata_keep(arena, partition);
        }
    }
}

static bool topic_has_offsets(const struct offset_topic *topic)
{
    LIST_EACH (&topic->places, node) {
        if (LIST_ENTRY(node, struct offset_place, node)->committed) {
            return true;
        }
    }
    return false;
}

static void all_fill(const struct group *group, struct fetch_group *fetch)
{
    size_t count = 0;
    LIST_EACH (&group->offsets.topics, node) {
        count++;
    }
    fetch->out.topics =
        arena_new_array(&fetch->call.arena, struct offset_fetch_response_group_topic, count);
    if (fetch->out.topics == NULL) {
        return;
    }
    LIST_EACH (&group->offsets.topics, node) {
        const struct offset_topic *from = LIST_ENTRY(node, struct offset_topic, node);
        if (topic_has_offsets(from)) {
            struct offset_fetch_response_group_topic *topic =
                &fetch->out.topics[fetch->out.topics_count++];
            offset_fetch_response_group_topic_init(topic);
            topic_fill_all(from, fetch, topic);
        }
    }
}

static void fetch_run(struct coordinator_call *call)
{
    struct fetch_group *fetch = CONTAINER_OF(call, struct fetch_group, call);
    const struct group *group = group_find(groups_of(call->shard), fetch->in->group_id);
    enum status status = group == NULL || group->consumer == NULL
                             ? STATUS_OK
                             : consumer_check_fetch(group->consumer->machine, fetch->in->member_id,
                                                    fetch->in->member_epoch);
    if (status != STATUS_OK) {
        coordinator_answer(call, status);
        return;
    }
    if (fetch->in->topics_count >= 0) {
        named_fill(group, fetch);
    } else if (group != NULL) {
        all_fill(group, fetch);
    }
    coordinator_answer(call, call->arena.failed ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK);
}

/* ---- home core ---- */

/* An error of the whole group, said for each partition where the version has no other place. */
static void group_fail(struct request *request, struct fetch_group *fetch)
{
    size_t count = fetch->in->topics_count < 0 ? 0 : (size_t)fetch->in->topics_count;
    fetch->out.topics_count = 0;
    fetch->out.error_code = status_code(fetch->call.status);
    if (request->version >= 2) {
        return;
    }
    fetch->out.topics =
        arena_new_array(&request->arena, struct offset_fetch_response_group_topic, count);
    for (size_t i = 0; i < count && fetch->out.topics != NULL; i++) {
        const struct offset_fetch_request_group_topic *asked = &fetch->in->topics[i];
        struct offset_fetch_response_group_topic *topic = &fetch->out.topics[i];
        size_t partitions = (size_t)asked->partition_indexes_count;
        topic->name = asked->name;
        topic->partitions = arena_new_array(
            &request->arena, struct offset_fetch_response_group_topic_partition, partitions);
        for (size_t k = 0; k < partitions && topic->partitions != NULL; k++) {
            place_fill(NULL, asked->partition_indexes[k], false, &topic->partitions[k]);
            topic->partitions[k].error_code = status_code(fetch->call.status);
            topic->partitions_count++;
        }
        fetch->out.topics_count++;
    }
}

static void single_fill(struct request *request, const struct offset_fetch_response_group *group,
                        struct offset_fetch_response *out)
{
    out->error_code = group->error_code;
    size_t count = (size_t)group->topics_count;
    out->topics = arena_new_array(&request->arena, struct offset_fetch_response_topic, count);
    for (size_t i = 0; i < count && out->topics != NULL; i++) {
        const struct offset_fetch_response_group_topic *from = &group->topics[i];
        struct offset_fetch_response_topic *topic = &out->topics[out->topics_count++];
        topic->name = from->name;
        size_t partitions = (size_t)from->partitions_count;
        topic->partitions =
            arena_new_array(&request->arena, struct offset_fetch_response_partition, partitions);
        for (size_t k = 0; k < partitions && topic->partitions != NULL; k++) {
            topic->partitions[k] = (struct offset_fetch_response_partition){
                .partition_index = from->partitions[k].partition_index,
                .committed_offset = from->partitions[k].committed_offset,
                .committed_leader_epoch = from->partitions[k].committed_leader_epoch,
                .metadata = from->partitions[k].metadata,
                .error_code = from->partitions[k].error_code,
            };
            topic->partitions_count++;
        }
    }
}

static void fetch_answer(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    struct offset_fetch_response out;
    offset_fetch_response_init(&out);
    for (int32_t i = 0; i < state->group_count; i++) {
        state->groups[i].out.group_id = state->groups[i].in->group_id;
        if (state->groups[i].call.status != STATUS_OK) {
            group_fail(request, &state->groups[i]);
        }
    }
    if (request->version < 8) {
        single_fill(request, &state->groups[0].out, &out);
    } else {
        out.groups = arena_new_array(&request->arena, struct offset_fetch_response_group,
                                     (size_t)state->group_count);
        for (int32_t i = 0; i < state->group_count && out.groups != NULL; i++) {
            out.groups[i] = state->groups[i].out;
            out.groups_count++;
        }
    }
    offset_fetch_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* Versions 1 to 7 have one group, in fields of its own. False: no memory. */
static bool single_take(struct request *request, struct fetch_state *state)
{
    struct offset_fetch_request_group *group = &state->single;
    offset_fetch_request_group_init(group);
    group->group_id = state->in.group_id;
    group->topics_count = state->in.topics_count;
    size_t count = state->in.topics_count < 0 ? 0 : (size_t)state->in.topics_count;
    group->topics =
        arena_new_array(&request->arena, struct offset_fetch_request_group_topic, count);
    for (size_t i = 0; i < count && group->topics != NULL; i++) {
        group->topics[i].name = state->in.topics[i].name;
        group->topics[i].partition_indexes = state->in.topics[i].partition_indexes;
        group->topics[i].partition_indexes_count = state->in.topics[i].partition_indexes_count;
    }
    return group->topics != NULL;
}

void handle_offset_fetch(struct request *request)
{
    struct fetch_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, offset_fetch_request_decode, &state->in)) {
        return;
    }
    bool single = request->version < 8;
    state->group_count = single ? 1 : state->in.groups_count;
    state->groups =
        arena_new_array(&request->arena, struct fetch_group, (size_t)state->group_count);
    if (state->groups == NULL || (single && !single_take(request, state))) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (int32_t i = 0; i < state->group_count; i++) {
        struct fetch_group *fetch = &state->groups[i];
        fetch->in = single ? &state->single : &state->in.groups[i];
        fetch->stable = state->in.require_stable;
        fetch->call.run = fetch_run;
        offset_fetch_response_group_init(&fetch->out);
        coordinator_fan_add(&state->fan, &fetch->call, COORDINATOR_GROUP, fetch->in->group_id);
    }
    coordinator_request_send(request, &state->fan, fetch_answer);
}
