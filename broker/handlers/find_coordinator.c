/* SPDX-License-Identifier: Apache-2.0 */
/* FindCoordinator: there is no group or transaction coordinator in this broker, which is said with
 * COORDINATOR_NOT_AVAILABLE and node -1, never with a wrong node. */
#include "wire/find_coordinator.h"
#include "broker/handlers/handler.h"

#define NO_COORDINATOR "this broker serves no consumer groups and no transactions"

void handle_find_coordinator(struct request *request)
{
    struct find_coordinator_request in;
    if (!REQUEST_DECODE(request, find_coordinator_request_decode, &in)) {
        return;
    }
    struct find_coordinator_response out;
    find_coordinator_response_init(&out);
    enum status status = in.key_type < 0 || in.key_type > 2 ? STATUS_INVALID_REQUEST
                                                            : STATUS_COORDINATOR_NOT_AVAILABLE;
    out.error_code = request->version < 4 ? status_code(status) : 0;
    out.error_message = BYTES_LITERAL(NO_COORDINATOR);
    out.node_id = -1;
    out.port = -1;
    out.host = BYTES_LITERAL("");
    out.coordinators =
        arena_new_array(&request->arena, struct find_coordinator_response_coordinator,
                        (size_t)in.coordinator_keys_count);
    if (out.coordinators != NULL) {
        out.coordinators_count = in.coordinator_keys_count;
    }
    for (int32_t i = 0; i < out.coordinators_count; i++) {
        struct find_coordinator_response_coordinator *coordinator = &out.coordinators[i];
        find_coordinator_response_coordinator_init(coordinator);
        coordinator->key = in.coordinator_keys[i];
        coordinator->node_id = -1;
        coordinator->port = -1;
        coordinator->host = BYTES_LITERAL("");
        coordinator->error_code = status_code(status);
        coordinator->error_message = BYTES_LITERAL(NO_COORDINATOR);
    }
    find_coordinator_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}
