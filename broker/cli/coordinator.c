/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/coordinator.h"

#include <stdio.h>

#include "wire/find_coordinator.h"

#define ASK_TRIES 100
#define ASK_PAUSE_MS 100

static bool error_passes(int16_t error)
{
    enum status status = status_from_code(error);
    return status == STATUS_COORDINATOR_LOAD_IN_PROGRESS ||
           status == STATUS_COORDINATOR_NOT_AVAILABLE || status == STATUS_NOT_COORDINATOR ||
           status == STATUS_CONCURRENT_TRANSACTIONS;
}

/* Where FindCoordinator 0-3 and 4+ put the one result. */
static struct find_coordinator_response_coordinator
result_of(const struct find_coordinator_response *response)
{
    if (response->coordinators_count > 0) {
        return response->coordinators[0];
    }
    return (struct find_coordinator_response_coordinator){
        .node_id = response->node_id,
        .host = response->host,
        .port = response->port,
        .error_code = response->error_code,
        .error_message = response->error_message,
    };
}

/* NULL with *error 0: the connection failed. */
static struct connection *coordinator_find(struct cluster *cluster, struct arena *arena,
                                           const struct coordinator_call *call, int16_t *error)
{
    struct find_coordinator_request request;
    struct find_coordinator_response response;
    struct bytes key = call->key;
    find_coordinator_request_init(&request);
    request.key = key;
    request.key_type = (int8_t)call->kind;
    request.coordinator_keys = &key;
    request.coordinator_keys_count = 1;
    *error = 0;
    if (!client_reopen(cluster->client, cluster->bootstrap) ||
        !client_call(cluster->client, cluster->bootstrap, FIND_COORDINATOR_KEY, &request, arena,
                     &response)) {
        return NULL;
    }
    struct find_coordinator_response_coordinator found = result_of(&response);
    *error = found.error_code;
    if (found.error_code != 0) {
        char what[320];
        snprintf(what, sizeof(what), "coordinator of \"%.*s\"", (int)key.size, key.data);
        (void)client_refused(cluster->client, what, found.error_code, found.error_message);
        return NULL;
    }
    char host[256];
    snprintf(host, sizeof(host), "%.*s", (int)found.host.size, found.host.data);
    return client_open_node(cluster->client, found.node_id, host, found.port);
}

bool coordinator_ask(struct cluster *cluster, struct arena *arena,
                     const struct coordinator_call *call)
{
    for (int32_t i = 0;; i++) {
        int16_t error;
        struct connection *connection = coordinator_find(cluster, arena, call, &error);
        if (connection == NULL && error == 0) {
            return false;
        }
        if (connection != NULL) {
            if (!client_call(cluster->client, connection, call->api, call->request, arena,
                             call->response)) {
                return false;
            }
            error = call->error_of(call->response);
        }
        if (!error_passes(error) || i + 1 == ASK_TRIES) {
            return connection != NULL;
        }
        if (!client_pause(cluster->client, ASK_PAUSE_MS)) {
            return false;
        }
    }
}
