/* SPDX-License-Identifier: Apache-2.0 */
/* CreateTopics: each topic is judged alone; the good ones are created in one durable batch, and
 * answered when every core knows them. */
#include "wire/create_topics.h"
#include "broker/handlers/config_rows.h"
#include "broker/handlers/handler.h"
#include "topic/name.h"

struct create_state {
    struct create_topics_request in;
    struct change change;
    struct change_topic *topics;
    struct topic_config *configs; /* what each would be, for validate_only */
};

static void repeated_mark(struct change_topic *topic)
{
    topic->status = STATUS_INVALID_REQUEST;
    topic->message = "the request names the topic twice";
}

/* Topics that are named more than once are refused, each of them. False: no memory. */
static bool repeated_refuse(struct request *request, struct create_state *state)
{
    struct byte_set seen;
    size_t count = (size_t)state->in.topics_count;
    if (!byte_set_init(&seen, &request->arena, count, handler_seed(request))) {
        return false;
    }
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        int32_t first = byte_set_add(&seen, state->in.topics[i].name, i);
        if (first != BYTE_SET_ABSENT) {
            repeated_mark(&state->topics[first]);
            repeated_mark(&state->topics[i]);
        }
    }
    return true;
}

/* Placement by hand can only say what is the case anyway: partitions 0..n-1, each on this broker.
 */
static enum status assignments_take(struct request *request,
                                    const struct create_topics_request_topic *in,
                                    struct change_topic *topic)
{
    if (in->num_partitions != -1 || in->replication_factor != -1) {
        topic->message = "partition count and replication factor must be -1 beside assignments";
        return STATUS_INVALID_REQUEST;
    }
    if (in->assignments_count > METADATA_PARTITIONS_MAX) {
        topic->message = "a topic has at most 100000 partitions";
        return STATUS_INVALID_PARTITIONS;
    }
    bool *seen = arena_new_array(&request->arena, bool, (size_t)in->assignments_count);
    if (seen == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (int32_t i = 0; i < in->assignments_count; i++) {
        const struct create_topics_request_assignment *assignment = &in->assignments[i];
        int32_t index = assignment->partition_index;
        if (index < 0 || index >= in->assignments_count || seen[index] ||
            assignment->broker_ids_count != 1 ||
            assignment->broker_ids[0] != request->core->server->node_id) {
            topic->message = "assignments must name partitions 0..n-1 once, each on this broker";
            return STATUS_INVALID_REPLICA_ASSIGNMENT;
        }
        seen[index] = true;
    }
    topic->partition_count = in->assignments_count;
    return STATUS_OK;
}

static enum status counts_take(struct request *request,
                               const struct create_topics_request_topic *in,
                               struct change_topic *topic)
{
    if (in->assignments_count > 0) {
        return assignments_take(request, in, topic);
    }
    topic->partition_count = in->num_partitions == -1
                                 ? request->core->server->config->partition_count
                                 : in->num_partitions;
    if (topic->partition_count <= 0 || topic->partition_count > METADATA_PARTITIONS_MAX) {
        topic->message = "the number of partitions must be 1 to 100000, or -1 for the default";
        return STATUS_INVALID_PARTITIONS;
    }
    if (in->replication_factor != -1 && in->replication_factor != 1) {
        topic->message = "the replication factor must be 1 (one broker), or -1 for the default";
        return STATUS_INVALID_REPLICATION_FACTOR;
    }
    return STATUS_OK;
}

/* Kept and shown in the one form a value has: " TRUE" is "true". */
static enum status value_tidy(struct request *request, struct create_topics_request_config *setting)
{
    uint8_t *text = arena_acquire_bytes(&request->arena, setting->value.size);
    if (text == NULL) {
        return STATUS_NO_MEMORY;
    }
    setting->value = bytes_of(
        text, setting_canonical(topic_config_find(setting->name), setting->value, (char *)text));
    return STATUS_OK;
}

static enum status settings_take(struct request *request, struct create_topics_request_topic *in,
                                 struct change_topic *topic, struct topic_config *config)
{
    *config = request->core->server->topic_defaults;
    struct change_setting *settings =
        arena_new_array(&request->arena, struct change_setting, (size_t)in->configs_count);
    char *message = arena_acquire(&request->arena, TOPIC_CONFIG_MESSAGE_SIZE);
    if (settings == NULL || message == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (int32_t i = 0; i < in->configs_count; i++) {
        struct create_topics_request_config *setting = &in->configs[i];
        if (setting->value.data == NULL) {
            topic->message = "a config value is null";
            return STATUS_INVALID_CONFIG;
        }
        if (topic_config_set(config, setting->name, setting->value, message) != STATUS_OK) {
            topic->message = message;
            return STATUS_INVALID_CONFIG;
        }
        if (value_tidy(request, setting) != STATUS_OK) {
            return STATUS_NO_MEMORY;
        }
        settings[i] = (struct change_setting){.name = setting->name, .value = setting->value};
    }
    if (topic_config_check(config, message) != STATUS_OK) {
        topic->message = message;
        return STATUS_INVALID_CONFIG;
    }
    topic->settings = settings;
    topic->setting_count = in->configs_count;
    return STATUS_OK;
}

static enum status topic_take(struct request *request, struct create_state *state, int32_t index)
{
    struct create_topics_request_topic *in = &state->in.topics[index];
    struct change_topic *topic = &state->topics[index];
    topic->name = in->name;
    if (topic->status != STATUS_OK) {
        return topic->status;
    }
    enum status status = topic_name_check(in->name);
    if (status != STATUS_OK) {
        topic->message = topic_name_fault(in->name);
        return status;
    }
    status = counts_take(request, in, topic);
    return status != STATUS_OK ? status : settings_take(request, in, topic, &state->configs[index]);
}

static void topic_answer(struct request *request, struct create_state *state, int32_t index,
                         struct create_topics_response_topic *out)
{
    const struct change_topic *topic = &state->topics[index];
    create_topics_response_topic_init(out);
    out->name = topic->name;
    out->num_partitions = -1;
    out->replication_factor = -1;
    out->configs_count = -1;
    enum status status = topic->status == STATUS_OK ? state->change.status : topic->status;
    out->error_code = status_code(status);
    if (status != STATUS_OK) {
        const char *message = topic->message != NULL ? topic->message : status_sentence(status);
        out->error_message = bytes_of_text(message);
        return;
    }
    out->topic_id = state->in.validate_only ? (struct uuid){0} : topic->id;
    out->num_partitions = topic->partition_count;
    out->replication_factor = 1;
    config_rows_for_create(request, &state->in.topics[index], out);
}

static void create_answer(struct request *request)
{
    struct create_state *state = request->handler_state;
    struct create_topics_response out;
    create_topics_response_init(&out);
    int32_t count = state->change.topic_count;
    out.topics =
        arena_new_array(&request->arena, struct create_topics_response_topic, (size_t)count);
    if (out.topics != NULL) {
        out.topics_count = count;
    }
    for (int32_t i = 0; i < out.topics_count; i++) {
        topic_answer(request, state, i, &out.topics[i]);
    }
    create_topics_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void created(struct change *change)
{
    request_wake(change->owner, create_answer);
}

void handle_create_topics(struct request *request)
{
    struct create_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, create_topics_request_decode, &state->in)) {
        return;
    }
    size_t count = (size_t)state->in.topics_count;
    state->topics = arena_new_array(&request->arena, struct change_topic, count);
    state->configs = arena_new_array(&request->arena, struct topic_config, count);
    if (state->topics == NULL || state->configs == NULL || !repeated_refuse(request, state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        state->topics[i].status = topic_take(request, state, i);
    }
    state->change.kind = CHANGE_CREATE_TOPICS;
    state->change.topics = state->topics;
    state->change.topic_count = state->in.topics_count;
    state->change.validate_only = state->in.validate_only;
    state->change.done = created;
    state->change.owner = request;
    metadata_submit(request->core->server->metadata, &request->core->server->peers,
                    request->core->index, &state->change);
}
