/* SPDX-License-Identifier: Apache-2.0 */
/* `weir transaction list|describe|abort`. */
#include "broker/cli/transactions.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "broker/cli/coordinator.h"
#include "broker/cli/json.h"
#include "broker/cli/topics.h"
#include "broker/cli/verbs.h"
#include "wire/describe_transactions.h"
#include "wire/init_producer_id.h"
#include "wire/list_transactions.h"

#define WHAT_SIZE 320
#define OPERANDS_MAX 10000
/* Of the transaction that an abort would open and never does. */
#define ABORT_TIMEOUT_MS 60000

/* ---- list ---- */

struct list_options {
    struct cli_options common;
    struct option_words states;
};

static const struct option_row LIST_ROWS[] = {
    {"state", "STATE", OPTION_WORDS, offsetof(struct list_options, states), 0, 0,
     "only those in this state, Ongoing for example; may be given several times"},
};

const struct command TRANSACTION_LIST = {
    .name = "weir transaction list",
    .operands = "",
    .sentence = "Lists the transactional ids with state and producer id.",
    .rows = LIST_ROWS,
    .row_count = ARRAY_COUNT(LIST_ROWS),
};

static void listed_print(const struct list_transactions_response *response, json_t *array)
{
    for (int32_t i = 0; i < response->transaction_states_count; i++) {
        const struct list_transactions_response_transaction_state *state =
            &response->transaction_states[i];
        if (array == NULL) {
            printf("%.*s  %.*s  producer %" PRId64 "\n", (int)state->transactional_id.size,
                   state->transactional_id.data, (int)state->transaction_state.size,
                   state->transaction_state.data, state->producer_id);
            continue;
        }
        json_t *object = json_object();
        json_object_set_new(object, "transaction", json_of_text(state->transactional_id));
        json_object_set_new(object, "state", json_of_text(state->transaction_state));
        json_object_set_new(object, "producer", json_integer(state->producer_id));
        json_array_append_new(array, object);
    }
}

/* Every broker names the ids that it coordinates. */
static bool transactions_list(struct cluster *cluster, const struct list_options *options,
                              json_t *array)
{
    struct bytes states[OPTION_WORDS_MAX];
    struct list_transactions_request request;
    list_transactions_request_init(&request);
    for (int32_t i = 0; i < options->states.count; i++) {
        states[i] = bytes_of_text(options->states.items[i]);
    }
    request.state_filters = states;
    request.state_filters_count = options->states.count;
    for (int32_t i = 0; i < cluster->metadata.brokers_count; i++) {
        struct connection *connection = cluster_node(cluster, cluster->metadata.brokers[i].node_id);
        struct list_transactions_response response;
        if (connection == NULL || !client_call(cluster->client, connection, LIST_TRANSACTIONS_KEY,
                                               &request, &cluster->arena, &response)) {
            return false;
        }
        if (response.error_code != 0) {
            return client_refused(cluster->client, "transactions", response.error_code, BYTES_NULL);
        }
        if (response.unknown_state_filters_count > 0) {
            struct bytes state = response.unknown_state_filters[0];
            return client_fail(cluster->client, CLI_USAGE,
                               "there is no state \"%.*s\"; say Ongoing for example",
                               (int)state.size, state.data);
        }
        listed_print(&response, array);
    }
    return true;
}

static int list_run(int count, char **arguments)
{
    struct list_options options = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    if (!options_parse(&TRANSACTION_LIST, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    json_t *array = options.common.json ? json_array() : NULL;
    bool good = cluster_open(&cluster, &client, &options.common) &&
                cluster_refresh(&cluster, NULL, 0, CLUSTER_ONLY_LOOK) &&
                transactions_list(&cluster, &options, array);
    json_end(array, good);
    return cluster_end(&cluster, &client, good);
}

/* ---- describe ---- */

const struct command TRANSACTION_DESCRIBE = {
    .name = "weir transaction describe",
    .operands = "ID...",
    .operand_count_min = 1,
    .operand_count_max = OPERANDS_MAX,
    .sentence = "Shows the state, producer and partitions of transactional ids.",
};

static int16_t describe_error(const void *response)
{
    const struct describe_transactions_response *answer = response;
    return answer->transaction_states_count > 0 ? answer->transaction_states[0].error_code : 0;
}

static json_t *state_json(const struct describe_transactions_response_transaction_state *state)
{
    json_t *topics = json_object();
    for (int32_t i = 0; i < state->topics_count; i++) {
        const struct describe_transactions_response_topic *topic = &state->topics[i];
        json_set_partitions(topics, topic->topic, topic->partitions, topic->partitions_count);
    }
    json_t *object = json_object();
    json_object_set_new(object, "transaction", json_of_text(state->transactional_id));
    json_object_set_new(object, "state", json_of_text(state->transaction_state));
    json_object_set_new(object, "producer", json_integer(state->producer_id));
    json_object_set_new(object, "epoch", json_integer(state->producer_epoch));
    json_object_set_new(object, "timeout_ms", json_integer(state->transaction_timeout_ms));
    json_object_set_new(object, "started_ms",
                        state->transaction_start_time_ms < 0
                            ? json_null()
                            : json_integer(state->transaction_start_time_ms));
    json_object_set_new(object, "partitions", topics);
    return object;
}

static void state_print(const struct describe_transactions_response_transaction_state *state)
{
    printf("%.*s  %.*s  producer %" PRId64 "  epoch %d  timeout-ms %d",
           (int)state->transactional_id.size, state->transactional_id.data,
           (int)state->transaction_state.size, state->transaction_state.data, state->producer_id,
           state->producer_epoch, state->transaction_timeout_ms);
    if (state->transaction_start_time_ms >= 0) {
        printf("  started-ms %" PRId64, state->transaction_start_time_ms);
    }
    printf("\n");
    for (int32_t i = 0; i < state->topics_count; i++) {
        const struct describe_transactions_response_topic *topic = &state->topics[i];
        topic_partitions_print("  ", topic->topic, topic->partitions, topic->partitions_count);
    }
}

static bool transaction_describe(struct cluster *cluster, struct arena *arena, struct bytes id,
                                 json_t *array)
{
    struct describe_transactions_request request;
    struct describe_transactions_response response;
    describe_transactions_request_init(&request);
    request.transactional_ids = &id;
    request.transactional_ids_count = 1;
    const struct coordinator_call call = {.key = id,
                                          .kind = COORDINATOR_TRANSACTION,
                                          .api = DESCRIBE_TRANSACTIONS_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = describe_error};
    if (!coordinator_ask(cluster, arena, &call)) {
        return false;
    }
    int16_t error = describe_error(&response);
    if (error != 0) {
        char what[WHAT_SIZE];
        snprintf(what, sizeof(what), "transaction \"%.*s\"", (int)id.size, id.data);
        return client_refused(cluster->client, what, error, BYTES_NULL);
    }
    for (int32_t i = 0; i < response.transaction_states_count; i++) {
        if (array != NULL) {
            json_array_append_new(array, state_json(&response.transaction_states[i]));
        } else {
            state_print(&response.transaction_states[i]);
        }
    }
    return true;
}

/* ---- abort ---- */

const struct command TRANSACTION_ABORT = {
    .name = "weir transaction abort",
    .operands = "ID...",
    .operand_count_min = 1,
    .operand_count_max = OPERANDS_MAX,
    .sentence = "Aborts what transactional ids have open, and fences their producers.",
};

static int16_t init_error(const void *response)
{
    return ((const struct init_producer_id_response *)response)->error_code;
}

/* A producer that begins with the id does just this: the coordinator aborts for it, then answers.
 * An id that is not known would be made by that, so it is looked for first. */
static bool transaction_abort(struct cluster *cluster, struct arena *arena, struct bytes id,
                              json_t *array)
{
    json_t *known = json_array();
    bool good = transaction_describe(cluster, arena, id, known);
    json_decref(known);
    if (!good) {
        return false;
    }
    struct init_producer_id_request request;
    struct init_producer_id_response response;
    init_producer_id_request_init(&request);
    request.transactional_id = id;
    request.transaction_timeout_ms = ABORT_TIMEOUT_MS;
    request.producer_id = -1;
    request.producer_epoch = -1;
    const struct coordinator_call call = {.key = id,
                                          .kind = COORDINATOR_TRANSACTION,
                                          .api = INIT_PRODUCER_ID_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = init_error};
    if (!coordinator_ask(cluster, arena, &call)) {
        return false;
    }
    if (response.error_code != 0) {
        char what[WHAT_SIZE];
        snprintf(what, sizeof(what), "transaction \"%.*s\" was not aborted", (int)id.size, id.data);
        return client_refused(cluster->client, what, response.error_code, BYTES_NULL);
    }
    if (array == NULL) {
        printf("aborted transaction %.*s  producer %" PRId64 "  epoch %d\n", (int)id.size, id.data,
               response.producer_id, response.producer_epoch);
        return true;
    }
    json_t *object = json_object();
    json_object_set_new(object, "transaction", json_of_text(id));
    json_object_set_new(object, "aborted", json_true());
    json_object_set_new(object, "producer", json_integer(response.producer_id));
    json_object_set_new(object, "epoch", json_integer(response.producer_epoch));
    json_array_append_new(array, object);
    return true;
}

/* ---- the verb ---- */

static int describe_run(int count, char **arguments)
{
    return cluster_each(&TRANSACTION_DESCRIBE, count, arguments, transaction_describe);
}

static int abort_run(int count, char **arguments)
{
    return cluster_each(&TRANSACTION_ABORT, count, arguments, transaction_abort);
}

static const struct verb_row TRANSACTION_VERBS[] = {
    {"list", &TRANSACTION_LIST, list_run},
    {"describe", &TRANSACTION_DESCRIBE, describe_run},
    {"abort", &TRANSACTION_ABORT, abort_run},
};

int transaction_run(int count, char **arguments)
{
    return verbs_run("transaction", TRANSACTION_VERBS, ARRAY_COUNT(TRANSACTION_VERBS), count,
                     arguments);
}
