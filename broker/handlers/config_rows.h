/* SPDX-License-Identifier: Apache-2.0 */
/* Config tables as answers: shared by DescribeConfigs and CreateTopics. */
#pragma once

#include "broker/request.h"
#include "topic/setting.h"
#include "wire/create_topics.h"
#include "wire/describe_configs.h"

/* Every topic config as the topic just created has it. */
void config_rows_for_create(struct request *request, const struct create_topics_request_topic *in,
                            struct create_topics_response_topic *out);
/* One resource of DescribeConfigs. */
void config_rows_describe(struct request *request, const struct describe_configs_request *in,
                          const struct describe_configs_request_resource *resource,
                          struct describe_configs_response_result *out);
