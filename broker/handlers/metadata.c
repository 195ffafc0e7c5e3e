/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata: this broker, its topics, and creation of the ones that are missing.
 *
 * Creation is answered when every core has the topic, so what this answer says exists can be used
 * by the very next request on any connection.
 */
#include "wire/metadata.h"
#include "broker/handlers/handler.h"
#include "topic/name.h"

struct metadata_state {
    struct metadata_request in;
    struct change change;
    struct change_topic *wanted;
    struct byte_set wanted_names; /* -> index in wanted */
};

static void partitions_fill(struct request *request, const struct image_topic *topic,
                            struct metadata_response_topic *out)
{
    const struct server *server = request->core->server;
    size_t count = (size_t)topic->partition_count;
    out->partitions = arena_new_array(&request->arena, struct metadata_response_partition, count);
    int32_t *node = arena_new(&request->arena, int32_t);
    if (out->partitions == NULL || node == NULL) {
        return;
    }
    *node = server->node_id;
    out->partitions_count = topic->partition_count;
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct metadata_response_partition *partition = &out->partitions[i];
        metadata_response_partition_init(partition);
        partition->partition_index = i;
        partition->leader_id = server->node_id;
        partition->leader_epoch = topic->partitions[i].leader_epoch;
        partition->replica_nodes = node;
        partition->replica_nodes_count = 1;
        partition->isr_nodes = node;
        partition->isr_nodes_count = 1;
    }
}

static void topic_fill(struct request *request, const struct image_topic *topic, bool operations,
                       struct metadata_response_topic *out)
{
    out->name = bytes_of_text(topic->name);
    out->topic_id = topic->id;
    out->is_internal = topic_name_is_internal(out->name);
    if (operations) {
        out->topic_authorized_operations = TOPIC_OPERATIONS;
    }
    partitions_fill(request, topic, out);
}

static void topics_fill_all(struct request *request, bool operations, struct metadata_response *out)
{
    const struct image *image = &request->core->image;
    out->topics = arena_new_array(&request->arena, struct metadata_response_topic,
                                  (size_t)image->topic_count);
    if (out->topics == NULL) {
        return;
    }
    LIST_EACH (&image->topics, node) {
        struct metadata_response_topic *topic = &out->topics[out->topics_count++];
        metadata_response_topic_init(topic);
        topic_fill(request, LIST_ENTRY(node, struct image_topic, node), operations, topic);
    }
}

/* Why a named topic is not there; what creation said comes first. */
static enum status missing_status(const struct metadata_state *state, struct bytes name)
{
    if (topic_name_check(name) != STATUS_OK) {
        return STATUS_INVALID_TOPIC_EXCEPTION;
    }
    int32_t index =
        state->change.topic_count > 0 ? byte_set_find(&state->wanted_names, name) : BYTE_SET_ABSENT;
    if (index == BYTE_SET_ABSENT) {
        return STATUS_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (state->change.status != STATUS_OK) {
        return STATUS_LEADER_NOT_AVAILABLE; /* could not be written now: retriable */
    }
    enum status status = state->wanted[index].status;
    /* Made, or there already, and deleted before this answer: gone like any other. */
    return status == STATUS_OK || status == STATUS_TOPIC_ALREADY_EXISTS
               ? STATUS_UNKNOWN_TOPIC_OR_PARTITION
               : status;
}

/* Versions 10 and 11 have ids and names that may be null in their format, and neither in use: Kafka
 * refuses the whole request. */
static bool is_ahead(const struct request *request, const struct metadata_request *in)
{
    for (int32_t i = 0; request->version < 12 && i < in->topics_count; i++) {
        if (in->topics[i].name.data == NULL || !uuid_is_zero(&in->topics[i].topic_id)) {
            return true;
        }
    }
    return false;
}

static void topics_fill_named(struct request *request, struct metadata_state *state,
                              struct metadata_response *out)
{
    out->topics = arena_new_array(&request->arena, struct metadata_response_topic,
                                  (size_t)state->in.topics_count);
    if (out->topics == NULL) {
        return;
    }
    out->topics_count = state->in.topics_count;
    bool ahead = is_ahead(request, &state->in);
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        const struct metadata_request_topic *asked = &state->in.topics[i];
        struct metadata_response_topic *topic = &out->topics[i];
        metadata_response_topic_init(topic);
        if (ahead) {
            topic->name = asked->name;
            topic->topic_id = asked->topic_id;
            topic->error_code = status_code(STATUS_INVALID_REQUEST);
            continue;
        }
        /* The Java client asks by id with a name that is empty, not absent. */
        bool by_id = asked->name.data == NULL || !uuid_is_zero(&asked->topic_id);
        const struct image_topic *found =
            handler_topic(request, by_id, asked->name, &asked->topic_id);
        if (found != NULL) {
            topic_fill(request, found, state->in.include_topic_authorized_operations, topic);
            continue;
        }
        topic->name = by_id ? BYTES_NULL : asked->name;
        topic->topic_id = asked->topic_id;
        topic->error_code =
            status_code(by_id ? STATUS_UNKNOWN_TOPIC_ID : missing_status(state, asked->name));
    }
}

static void metadata_answer(struct request *request)
{
    struct metadata_state *state = request->handler_state;
    const struct server *server = request->core->server;
    const struct listener *listener = server_listener(server, request->connection->listener);
    struct metadata_response_broker broker;
    metadata_response_broker_init(&broker);
    broker.node_id = server->node_id;
    broker.host = bytes_of_text(listener->advertised_host);
    broker.port = listener->advertised_port;
    broker.rack = server_rack(server);
    struct metadata_response out;
    metadata_response_init(&out);
    out.brokers = &broker;
    out.brokers_count = 1;
    out.cluster_id = bytes_of_text(server->cluster_id);
    out.controller_id = server->node_id;
    if (state->in.include_cluster_authorized_operations) {
        out.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    bool all = state->in.topics_count < 0 || (request->version == 0 && state->in.topics_count == 0);
    if (all) {
        topics_fill_all(request, state->in.include_topic_authorized_operations, &out);
    } else {
        topics_fill_named(request, state, &out);
    }
    metadata_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void created(struct change *change)
{
    request_wake(change->owner, metadata_answer);
}

/* A topic as it is made when somebody only asks for it; a coordinator's has its own shape, whoever
 * asks first: as an ordinary one it would lose offsets to retention. False: no memory. */
static bool wanted_fill(struct request *request, struct bytes name, struct change_topic *wanted)
{
    struct core *core = request->core;
    for (int kind = 0; kind < COORDINATOR_KINDS; kind++) {
        if (bytes_equal(name, bytes_of_text(coordinator_topic_name((enum coordinator_kind)kind)))) {
            struct coordinator_create *create =
                arena_new(&request->arena, struct coordinator_create);
            if (create == NULL) {
                return false;
            }
            coordinator_topic_fill(core, (enum coordinator_kind)kind, create);
            *wanted = create->topic;
            return true;
        }
    }
    *wanted = (struct change_topic){
        .name = name,
        .partition_count = core->server->config->partition_count,
    };
    return true;
}

/* Not before the first that is missing: most requests name what is there. False: no memory. */
static bool wanted_open(struct request *request, struct metadata_state *state)
{
    size_t count = (size_t)state->in.topics_count;
    state->wanted = arena_new_array(&request->arena, struct change_topic, count);
    return state->wanted != NULL &&
           byte_set_init(&state->wanted_names, &request->arena, count, handler_seed(request));
}

/* The topics that were named, may be created and are not there. An id makes no topic. */
static void missing_collect(struct request *request, struct metadata_state *state)
{
    const struct broker_config *config = request->core->server->config;
    bool allowed = request->version < 4 || state->in.allow_auto_topic_creation;
    if (!allowed || !config->topics_auto_create || is_ahead(request, &state->in)) {
        return;
    }
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        struct bytes name = state->in.topics[i].name;
        if (name.data == NULL || !uuid_is_zero(&state->in.topics[i].topic_id) ||
            topic_name_check(name) != STATUS_OK ||
            image_find_name(&request->core->image, name) != NULL) {
            continue;
        }
        if (state->wanted == NULL && !wanted_open(request, state)) {
            return;
        }
        int32_t index = state->change.topic_count;
        if (byte_set_find(&state->wanted_names, name) == BYTE_SET_ABSENT &&
            wanted_fill(request, name, &state->wanted[index])) {
            (void)byte_set_add(&state->wanted_names, name, index);
            state->change.topic_count += 1;
        }
    }
}

void handle_metadata(struct request *request)
{
    struct metadata_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, metadata_request_decode, &state->in)) {
        return;
    }
    missing_collect(request, state);
    if (state->change.topic_count == 0) {
        metadata_answer(request);
        return;
    }
    state->change.kind = CHANGE_CREATE_TOPICS;
    state->change.topics = state->wanted;
    state->change.done = created;
    state->change.owner = request;
    metadata_submit(request->core->server->metadata, &request->core->server->peers,
                    request->core->index, &state->change);
}
