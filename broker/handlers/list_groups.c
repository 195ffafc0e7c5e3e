/* SPDX-License-Identifier: Apache-2.0 */
/* ListGroups: every core tells its groups. */
#include "wire/list_groups.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"
#include <strings.h>

struct list_core {
    struct coordinator_call call;
    const struct list_groups_request *in;
    struct list_groups_response_group *groups; /* the owner's, in its memory */
    int32_t count;
};

struct list_state {
    struct list_groups_request in;
    struct coordinator_fan fan;
    struct list_core *cores;
    int32_t core_count;
};

/* ---- owner core ---- */

/* An empty filter lets everything pass; case does not count. */
static bool filter_passes(const struct bytes *names, int32_t count, const char *name)
{
    for (int32_t i = 0; i < count; i++) {
        if (names[i].size == strlen(name) &&
            strncasecmp((const char *)names[i].data, name, names[i].size) == 0) {
            return true;
        }
    }
    return count <= 0;
}

static struct bytes kept(struct arena *arena, struct bytes bytes)
{
    uint8_t *memory = arena_acquire_bytes(arena, bytes.size);
    if (memory == NULL) {
        return BYTES_NULL;
    }
    if (bytes.size > 0) {
        memcpy(memory, bytes.data, bytes.size);
    }
    return bytes_of(memory, bytes.size);
}

static void shard_list(const struct groups *groups, struct list_core *list)
{
    struct arena *arena = &list->call.arena;
    LIST_EACH (&groups->list, node) {
        const struct group *group = LIST_ENTRY(node, struct group, node);
        const char *state = group_state_name(group);
        const char *type = group_type_name(group);
        if (!filter_passes(list->in->states_filter, list->in->states_filter_count, state) ||
            !filter_passes(list->in->types_filter, list->in->types_filter_count, type)) {
            continue;
        }
        struct list_groups_response_group *to = &list->groups[list->count++];
        list_groups_response_group_init(to);
        to->group_id = kept(arena, group->name);
        to->protocol_type = kept(arena, group_protocol_type(group));
        to->group_state = bytes_of_text(state);
        to->group_type = bytes_of_text(type);
    }
}

static void list_run(struct coordinator_call *call)
{
    struct list_core *list = CONTAINER_OF(call, struct list_core, call);
    size_t count = 0;
    LIST_EACH (&call->coordinator->shards, node) {
        const struct shard *shard = LIST_ENTRY(node, struct shard, node);
        if (shard->state == SHARD_LOADING) {
            coordinator_answer(call, STATUS_COORDINATOR_LOAD_IN_PROGRESS);
            return;
        }
        count += shard->state == SHARD_READY ? (size_t)groups_of(shard)->count : 0;
    }
    list->groups = arena_new_array(&call->arena, struct list_groups_response_group, count);
    LIST_EACH (&call->coordinator->shards, node) {
        const struct shard *shard = LIST_ENTRY(node, struct shard, node);
        if (shard->state == SHARD_READY && list->groups != NULL) {
            shard_list(groups_of(shard), list);
        }
    }
    coordinator_answer(call, call->arena.failed ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK);
}

/* ---- home core ---- */

static void list_answer(struct request *request)
{
    const struct list_state *state = request->handler_state;
    struct list_groups_response out;
    list_groups_response_init(&out);
    size_t count = 0;
    enum status status = STATUS_OK;
    for (int32_t i = 0; i < state->core_count; i++) {
        count += (size_t)state->cores[i].count;
        status = status == STATUS_OK ? state->cores[i].call.status : status;
    }
    out.error_code = status_code(status);
    out.groups = arena_new_array(&request->arena, struct list_groups_response_group, count);
    for (int32_t i = 0; i < state->core_count && out.groups != NULL && status == STATUS_OK; i++) {
        for (int32_t k = 0; k < state->cores[i].count; k++) {
            out.groups[out.groups_count++] = state->cores[i].groups[k];
        }
    }
    list_groups_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_list_groups(struct request *request)
{
    struct list_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, list_groups_request_decode, &state->in)) {
        return;
    }
    state->core_count = request->core->server->core_count;
    state->cores = arena_new_array(&request->arena, struct list_core, (size_t)state->core_count);
    if (state->cores == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (int32_t i = 0; i < state->core_count; i++) {
        state->cores[i].in = &state->in;
        state->cores[i].call.run = list_run;
        coordinator_fan_add_core(&state->fan, &state->cores[i].call, COORDINATOR_GROUP, i);
    }
    coordinator_request_send(request, &state->fan, list_answer);
}
