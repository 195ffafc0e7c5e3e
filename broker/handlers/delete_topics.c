/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteTopics: by name or id; answered when the removal is durable and no core knows them any
 * more. */
#include "wire/delete_topics.h"
#include "broker/handlers/handler.h"

struct delete_state {
    struct delete_topics_request in;
    struct change change;
    struct change_topic *topics;
};

static void delete_answer(struct request *request)
{
    struct delete_state *state = request->handler_state;
    struct delete_topics_response out;
    delete_topics_response_init(&out);
    int32_t count = state->change.topic_count;
    out.responses =
        arena_new_array(&request->arena, struct delete_topics_response_topic, (size_t)count);
    if (out.responses != NULL) {
        out.responses_count = count;
    }
    for (int32_t i = 0; i < out.responses_count; i++) {
        const struct change_topic *topic = &state->topics[i];
        struct delete_topics_response_topic *answer = &out.responses[i];
        delete_topics_response_topic_init(answer);
        enum status status = state->change.status != STATUS_OK && topic->status == STATUS_OK
                                 ? state->change.status
                                 : topic->status;
        answer->name = topic->name;
        answer->topic_id = topic->id;
        answer->error_code = status_code(status);
        if (topic->message != NULL) {
            answer->error_message = bytes_of_text(topic->message);
        }
    }
    delete_topics_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void deleted(struct change *change)
{
    request_wake(change->owner, delete_answer);
}

/* The name belongs into the answer also when the client only knew the id. */
static void name_fill(struct request *request, struct change_topic *topic)
{
    const struct image_topic *found = image_find_id(&request->core->image, &topic->id);
    if (found == NULL) {
        topic->status = STATUS_UNKNOWN_TOPIC_ID;
        return;
    }
    size_t size = strlen(found->name);
    uint8_t *name = arena_acquire_bytes(&request->arena, size);
    if (name != NULL) {
        memcpy(name, found->name, size); /* the topic is gone when the answer is written */
        topic->name = bytes_of(name, size);
    }
}

static void topics_take(struct request *request, struct delete_state *state)
{
    bool by_struct = request->version >= 6;
    int32_t count = by_struct ? state->in.topics_count : state->in.topic_names_count;
    state->topics = arena_new_array(&request->arena, struct change_topic, (size_t)count);
    if (state->topics == NULL) {
        return;
    }
    state->change.topic_count = count;
    for (int32_t i = 0; i < count; i++) {
        struct change_topic *topic = &state->topics[i];
        topic->name = by_struct ? state->in.topics[i].name : state->in.topic_names[i];
        if (!by_struct) {
            continue;
        }
        topic->id = state->in.topics[i].topic_id;
        bool has_id = !uuid_is_zero(&topic->id);
        if (has_id == (topic->name.data != NULL)) {
            topic->status = STATUS_INVALID_REQUEST;
            topic->message = "name the topic either by its name or by its id";
        } else if (has_id) {
            name_fill(request, topic);
        }
    }
}

void handle_delete_topics(struct request *request)
{
    struct delete_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, delete_topics_request_decode, &state->in)) {
        return;
    }
    topics_take(request, state);
    if (!request->core->server->config->topics_delete_enabled) {
        bool known = request->version >= 3; /* the code is younger than the request */
        for (int32_t i = 0; i < state->change.topic_count; i++) {
            state->topics[i].status =
                known ? STATUS_TOPIC_DELETION_DISABLED : STATUS_INVALID_REQUEST;
            state->topics[i].message = "delete.topic.enable is false";
        }
    }
    state->change.kind = CHANGE_DELETE_TOPICS;
    state->change.topics = state->topics;
    state->change.done = deleted;
    state->change.owner = request;
    metadata_submit(request->core->server->metadata, &request->core->server->peers,
                    request->core->index, &state->change);
}
