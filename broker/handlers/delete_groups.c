/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteGroups: empty groups with everything they committed, by tombstones that are durable before
 * the answer. */
#include "wire/delete_groups.h"
#include "broker/groups/expiry.h"
#include "broker/handlers/handler.h"

struct delete_group {
    struct coordinator_call call;
    struct bytes name;
    struct group_deletion deletion; /* the owner's */
};

struct delete_state {
    struct delete_groups_request in;
    struct coordinator_fan fan;
    struct delete_group *groups;
};

/* ---- owner core ---- */

static void delete_done(struct group_deletion *deletion, enum status status)
{
    struct delete_group *self = CONTAINER_OF(deletion, struct delete_group, deletion);
    coordinator_answer(&self->call,
                       status == STATUS_NON_EMPTY_GROUP ? status : shard_client_status(status));
}

static void delete_run(struct coordinator_call *call)
{
    struct delete_group *self = CONTAINER_OF(call, struct delete_group, call);
    struct group *group = group_find(groups_of(call->shard), self->name);
    enum status status = group == NULL ? STATUS_GROUP_ID_NOT_FOUND : group_check_delete(group);
    if (status != STATUS_OK) {
        coordinator_answer(call, status);
        return;
    }
    group_delete(group, &self->deletion, delete_done);
}

/* ---- home core ---- */

static void delete_answer(struct request *request)
{
    const struct delete_state *state = request->handler_state;
    struct delete_groups_response out;
    delete_groups_response_init(&out);
    size_t count = (size_t)state->in.groups_names_count;
    out.results = arena_new_array(&request->arena, struct delete_groups_response_result, count);
    for (size_t i = 0; i < count && out.results != NULL; i++) {
        delete_groups_response_result_init(&out.results[i]);
        out.results[i].group_id = state->groups[i].name;
        out.results[i].error_code = status_code(state->groups[i].call.status);
        out.results_count++;
    }
    delete_groups_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_delete_groups(struct request *request)
{
    struct delete_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, delete_groups_request_decode, &state->in)) {
        return;
    }
    size_t count = (size_t)state->in.groups_names_count;
    state->groups = arena_new_array(&request->arena, struct delete_group, count);
    if (state->groups == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (size_t i = 0; i < count; i++) {
        state->groups[i].name = state->in.groups_names[i];
        state->groups[i].call.run = delete_run;
        coordinator_fan_add(&state->fan, &state->groups[i].call, COORDINATOR_GROUP,
                            state->groups[i].name);
    }
    coordinator_request_send(request, &state->fan, delete_answer);
}
