/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/handlers/config_rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/groups/consumer_group.h"
#include "broker/handlers/handler.h"
#include "topic/name.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_GROUP = 32 };

/* A row points into itself; what goes into the answer is copied into the request's arena. */
static struct bytes text_keep(struct request *request, const char *text)
{
    if (text == NULL) {
        return BYTES_NULL;
    }
    size_t size = strlen(text);
    size = size > STRING_SIZE_MAX ? STRING_SIZE_MAX : size; /* a file's value may be longer */
    uint8_t *copy = arena_acquire_bytes(&request->arena, size);
    if (copy == NULL) {
        return BYTES_NULL;
    }
    memcpy(copy, text, size);
    return bytes_of(copy, size);
}

static const char *topic_setting_find(const void *context, const char *name)
{
    return image_setting_value(context, name);
}

/* ---- CreateTopics ---- */

struct create_lookup {
    struct request *request;
    const struct create_topics_request_topic *in;
};

static const char *create_setting_find(const void *context, const char *name)
{
    const struct create_lookup *lookup = context;
    for (int32_t i = lookup->in->configs_count - 1; i >= 0; i--) { /* the last one holds */
        const struct create_topics_request_config *config = &lookup->in->configs[i];
        if (bytes_equal(config->name, bytes_of_text(name))) {
            struct bytes value = config->value;
            char *text = arena_acquire(&lookup->request->arena, value.size + 1);
            if (text != NULL) {
                memcpy(text, value.data, value.size);
            }
            return text;
        }
    }
    return NULL;
}

void config_rows_for_create(struct request *request, const struct create_topics_request_topic *in,
                            struct create_topics_response_topic *out)
{
    size_t count = topic_config_count();
    out->configs = arena_new_array(&request->arena, struct create_topics_response_config, count);
    if (out->configs == NULL) {
        return;
    }
    out->configs_count = (int32_t)count;
    struct create_lookup lookup = {.request = request, .in = in};
    const struct setting_lookup own = {.find = create_setting_find, .context = &lookup};
    for (size_t i = 0; i < count; i++) {
        struct setting_row row;
        topic_config_describe(i, own, broker_config_lookup(request->core->server->config), &row);
        out->configs[i] = (struct create_topics_response_config){
            .name = bytes_of_text(row.setting->name),
            .value = text_keep(request, row.value),
            .config_source = (int8_t)row.source,
            .is_sensitive = row.setting->kind == SETTING_PASSWORD,
        };
    }
}

/* ---- DescribeConfigs ---- */

static bool is_asked(const struct describe_configs_request_resource *resource, const char *name)
{
    if (resource->configuration_keys_count <= 0) {
        return true; /* to Kafka an empty list is all of them, as null is */
    }
    for (int32_t i = 0; i < resource->configuration_keys_count; i++) {
        if (bytes_equal(resource->configuration_keys[i], bytes_of_text(name))) {
            return true;
        }
    }
    return false;
}

static void synonyms_fill(struct request *request, const struct setting_row *row,
                          struct describe_configs_response_config *out)
{
    out->synonyms = arena_new_array(&request->arena, struct describe_configs_response_synonym,
                                    (size_t)row->origin_count);
    if (out->synonyms == NULL) {
        return;
    }
    out->synonyms_count = row->origin_count;
    for (int32_t i = 0; i < row->origin_count; i++) {
        out->synonyms[i].name = bytes_of_text(row->origins[i].name);
        out->synonyms[i].value = text_keep(request, row->origins[i].value);
        out->synonyms[i].source = (int8_t)row->origins[i].source;
    }
}

static void row_add(struct request *request, const struct describe_configs_request *in,
                    const struct setting_row *row, bool read_only,
                    struct describe_configs_response_result *out)
{
    struct describe_configs_response_config *config = &out->configs[out->configs_count++];
    describe_configs_response_config_init(config);
    config->name = bytes_of_text(row->setting->name);
    config->value = text_keep(request, row->value);
    config->read_only = read_only;
    config->config_source = (int8_t)row->source;
    config->is_sensitive = row->setting->kind == SETTING_PASSWORD;
    config->config_type = setting_type_code(row->setting);
    if (in->include_synonyms) {
        synonyms_fill(request, row, config);
    }
    if (in->include_documentation) {
        config->documentation = bytes_of_text(row->setting->sentence);
    }
}

static void describe_topic(struct request *request, const struct describe_configs_request *in,
                           const struct describe_configs_request_resource *resource,
                           struct describe_configs_response_result *out)
{
    const struct image_topic *topic =
        image_find_name(&request->core->image, resource->resource_name);
    if (topic == NULL) {
        enum status status = topic_name_check(resource->resource_name);
        out->error_code =
            status_code(status != STATUS_OK ? status : STATUS_UNKNOWN_TOPIC_OR_PARTITION);
        return;
    }
    size_t count = topic_config_count();
    out->configs = arena_new_array(&request->arena, struct describe_configs_response_config, count);
    if (out->configs == NULL) {
        return;
    }
    const struct setting_lookup own = {.find = topic_setting_find, .context = topic};
    for (size_t i = 0; i < count; i++) {
        struct setting_row row;
        topic_config_describe(i, own, broker_config_lookup(request->core->server->config), &row);
        if (is_asked(resource, row.setting->name)) {
            row_add(request, in, &row, false, out);
        }
    }
}

/* "" asks for what applies to all brokers by dynamic configuration, of which there is none. */
static void describe_broker(struct request *request, const struct describe_configs_request *in,
                            const struct describe_configs_request_resource *resource,
                            struct describe_configs_response_result *out)
{
    const struct server *server = request->core->server;
    if (resource->resource_name.size == 0) {
        return;
    }
    char node[16];
    snprintf(node, sizeof(node), "%d", server->node_id);
    if (!bytes_equal(resource->resource_name, bytes_of_text(node))) {
        out->error_code = status_code(STATUS_INVALID_REQUEST);
        out->error_message = BYTES_LITERAL("a broker's configs are asked of that broker");
        return;
    }
    size_t count = BROKER_CONFIG_COUNT;
    out->configs = arena_new_array(&request->arena, struct describe_configs_response_config, count);
    if (out->configs == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct setting_row row;
        broker_config_describe(server->config, i, &row);
        if (is_asked(resource, row.setting->name)) {
            row_add(request, in, &row, true, out);
        }
    }
}

/* No group has a value of its own, and a group need not exist: what the broker gives all of them,
 * which counts as the default, with itself as its one synonym. */
static void describe_group(struct request *request, const struct describe_configs_request *in,
                           const struct describe_configs_request_resource *resource,
                           struct describe_configs_response_result *out)
{
    static const struct setting settings[] = {
        {.name = "consumer.heartbeat.interval.ms",
         .kind = SETTING_INT,
         .sentence = "Time between heartbeats of members of the newer group protocol."},
        {.name = "consumer.session.timeout.ms",
         .kind = SETTING_INT,
         .sentence = "Session timeout of members of the newer group protocol."},
    };
    if (resource->resource_name.size == 0) {
        out->error_code = status_code(STATUS_INVALID_REQUEST);
        out->error_message = BYTES_LITERAL("a group has a name");
        return;
    }
    struct consumer_config config;
    consumer_group_configure(&config, request->core);
    const int32_t values[] = {config.heartbeat_ms, config.session_ms};
    out->configs = arena_new_array(&request->arena, struct describe_configs_response_config,
                                   ARRAY_COUNT(settings));
    for (size_t i = 0; i < ARRAY_COUNT(settings) && out->configs != NULL; i++) {
        struct setting_row row = {
            .setting = &settings[i], .source = SETTING_SOURCE_DEFAULT, .origin_count = 1};
        snprintf(row.numbers[0], sizeof(row.numbers[0]), "%d", values[i]);
        row.value = row.numbers[0];
        row.origins[0] =
            (struct setting_origin){settings[i].name, row.value, SETTING_SOURCE_DEFAULT};
        if (is_asked(resource, settings[i].name)) {
            row_add(request, in, &row, false, out);
        }
    }
}

void config_rows_describe(struct request *request, const struct describe_configs_request *in,
                          const struct describe_configs_request_resource *resource,
                          struct describe_configs_response_result *out)
{
    describe_configs_response_result_init(out);
    out->resource_type = resource->resource_type;
    out->resource_name = resource->resource_name;
    switch (resource->resource_type) {
    case RESOURCE_TOPIC:
        describe_topic(request, in, resource, out);
        return;
    case RESOURCE_BROKER:
        describe_broker(request, in, resource, out);
        return;
    case RESOURCE_GROUP:
        describe_group(request, in, resource, out);
        return;
    default:
        out->error_code = status_code(STATUS_INVALID_REQUEST);
        out->error_message = BYTES_LITERAL("only topics, brokers and groups have configs here");
    }
}
