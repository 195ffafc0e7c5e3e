/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeConfigs: effective values of topics and of this broker, with source and synonyms. */
#include "broker/handlers/config_rows.h"
#include "broker/handlers/handler.h"

void handle_describe_configs(struct request *request)
{
    struct describe_configs_request in;
    if (!REQUEST_DECODE(request, describe_configs_request_decode, &in)) {
        return;
    }
    struct describe_configs_response out;
    describe_configs_response_init(&out);
    out.results = arena_new_array(&request->arena, struct describe_configs_response_result,
                                  (size_t)in.resources_count);
    if (out.results != NULL) {
        out.results_count = in.resources_count;
    }
    for (int32_t i = 0; i < out.results_count; i++) {
        config_rows_describe(request, &in, &in.resources[i], &out.results[i]);
    }
    describe_configs_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}
