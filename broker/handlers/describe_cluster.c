/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeCluster: one broker, which is its own controller. */
#include "wire/describe_cluster.h"
#include "broker/handlers/handler.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2, OPERATIONS_NOT_ASKED = INT32_MIN };

void handle_describe_cluster(struct request *request)
{
    struct describe_cluster_request in;
    if (!REQUEST_DECODE(request, describe_cluster_request_decode, &in)) {
        return;
    }
    const struct server *server = request->core->server;
    struct describe_cluster_response out;
    describe_cluster_response_init(&out);
    out.endpoint_type = in.endpoint_type;
    out.cluster_id = bytes_of_text(server->cluster_id);
    out.controller_id = server->node_id;
    out.cluster_authorized_operations =
        in.include_cluster_authorized_operations ? CLUSTER_OPERATIONS : OPERATIONS_NOT_ASKED;
    struct describe_cluster_response_broker broker;
    describe_cluster_response_broker_init(&broker);
    if (request->version >= 1 && in.endpoint_type != ENDPOINT_BROKERS) {
        out.error_code = status_code(in.endpoint_type == ENDPOINT_CONTROLLERS
                                         ? STATUS_MISMATCHED_ENDPOINT_TYPE
                                         : STATUS_UNSUPPORTED_ENDPOINT_TYPE);
        out.error_message = BYTES_LITERAL("this is a broker's listener; ask for brokers");
        out.controller_id = -1;
    } else {
        const struct listener *listener = server_listener(server, request->connection->listener);
        broker.broker_id = server->node_id;
        broker.host = bytes_of_text(listener->advertised_host);
        broker.port = listener->advertised_port;
        broker.rack = server_rack(server);
        out.brokers = &broker;
        out.brokers_count = 1;
    }
    describe_cluster_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}
