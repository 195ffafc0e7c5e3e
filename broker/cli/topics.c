/* SPDX-License-Identifier: Apache-2.0 */
/* `weir topic create|list|delete`; describe has a file of its own. */
#include "broker/cli/topics.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/cli.h"
#include "broker/cli/cluster.h"
#include "broker/cli/json.h"
#include "broker/cli/options.h"
#include "broker/cli/verbs.h"
#include "wire/create_topics.h"
#include "wire/delete_topics.h"

#define WHAT_SIZE 320
#define OPERANDS_MAX 10000

/* Create */

struct create_options {
    struct cli_options common;
    int64_t partitions;
    int64_t replication;
    struct option_words configs;
    bool if_not_exists;
    bool validate_only;
};

static const struct option_row CREATE_ROWS[] = {
    {"partitions", "N", OPTION_INTEGER, offsetof(struct create_options, partitions), -1, 1000000,
     "how many, default the broker's num.partitions"},
    {"replication", "N", OPTION_INTEGER, offsetof(struct create_options, replication), -1, 32767,
     "copies of each, default the broker's default.replication.factor"},
    {"config", "KEY=VALUE", OPTION_WORDS, offsetof(struct create_options, configs), 0, 0,
     "a setting of the topic; may be given several times"},
    {"if-not-exists", NULL, OPTION_FLAG, offsetof(struct create_options, if_not_exists), 0, 0,
     "a topic of that name is fine"},
    {"validate-only", NULL, OPTION_FLAG, offsetof(struct create_options, validate_only), 0, 0,
     "only ask whether it could be made"},
};

const struct command TOPIC_CREATE = {
    .name = "weir topic create",
    .operands = "NAME",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Makes a topic.",
    .rows = CREATE_ROWS,
    .row_count = ARRAY_COUNT(CREATE_ROWS),
};

static bool configs_take(struct client *client, const struct create_options *options,
                         struct create_topics_request_config *configs)
{
    for (int32_t i = 0; i < options->configs.count; i++) {
        const char *word = options->configs.items[i];
        const char *equals = strchr(word, '=');
        if (equals == NULL || equals == word) {
            return client_fail(client, CLI_USAGE, "--config \"%s\" is not KEY=VALUE", word);
        }
        create_topics_request_config_init(&configs[i]);
        configs[i].name = bytes_of(word, (size_t)(equals - word));
        configs[i].value = bytes_of_text(equals + 1);
    }
    return true;
}

static void create_print(const struct create_options *options,
                         const struct create_topics_response_topic *topic)
{
    bool existed = topic->error_code != 0;
    char id[UUID_TEXT_SIZE];
    uuid_format(&topic->topic_id, id);
    const char *name = options->common.operands[0];
    if (options->common.json) {
        json_t *object = json_object();
        json_object_set_new(object, "name", json_of_text(topic->name));
        json_object_set_new(object, "created", json_boolean(!existed && !options->validate_only));
        if (!existed && !uuid_is_zero(&topic->topic_id)) {
            json_object_set_new(object, "id", json_string(id));
        }
        if (!existed && topic->num_partitions > 0) {
            json_object_set_new(object, "partitions", json_integer(topic->num_partitions));
            json_object_set_new(object, "replication", json_integer(topic->replication_factor));
        }
        json_print(object, stdout, false);
    } else if (existed) {
        printf("topic %s exists\n", name);
    } else if (options->validate_only) {
        printf("topic %s could be made\n", name);
    } else if (topic->num_partitions > 0) {
        printf("made topic %s, id %s, %d partitions, replication %d\n", name, id,
               topic->num_partitions, topic->replication_factor);
    } else {
        printf("made topic %s\n", name);
    }
}

static bool create(struct cluster *cluster, const struct create_options *options)
{
    struct client *client = cluster->client;
    char *name = options->common.operands[0];
    struct create_topics_request_config configs[OPTION_WORDS_MAX];
    struct create_topics_request_topic topic;
    struct create_topics_request request;
    struct create_topics_response response;
    create_topics_request_topic_init(&topic);
    create_topics_request_init(&request);
    if (!configs_take(client, options, configs)) {
        return false;
    }
    topic.name = bytes_of_text(name);
    topic.num_partitions = (int32_t)options->partitions;
    topic.replication_factor = (int16_t)options->replication;
    topic.configs = configs;
    topic.configs_count = options->configs.count;
    request.topics = &topic;
    request.topics_count = 1;
    request.timeout_ms = (int32_t)options->common.timeout_ms;
    request.validate_only = options->validate_only;
    struct connection *connection = cluster_controller(cluster);
    if (connection == NULL ||
        !client_call(client, connection, CREATE_TOPICS_KEY, &request, &cluster->arena, &response)) {
        return false;
    }
    if (response.topics_count != 1) {
        return client_fail(client, CLI_REFUSED, "%s does not answer for topic \"%s\"",
                           connection->address, name);
    }
    int16_t error = response.topics[0].error_code;
    bool existed = error == status_code(STATUS_TOPIC_ALREADY_EXISTS) && options->if_not_exists;
    if (error != 0 && !existed) {
        char what[WHAT_SIZE];
        snprintf(what, sizeof(what), "topic \"%.250s\" was not made", name);
        return client_refused(client, what, error, response.topics[0].error_message);
    }
    create_print(options, &response.topics[0]);
    return true;
}

static int create_run(int count, char **arguments)
{
    struct create_options options = {
        .common = CLI_OPTIONS_DEFAULT, .partitions = -1, .replication = -1};
    int code;
    if (!options_parse(&TOPIC_CREATE, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    bool good = cluster_open(&cluster, &client, &options.common) && create(&cluster, &options);
    return cluster_end(&cluster, &client, good);
}

/* List */

struct list_options {
    struct cli_options common;
    bool internal;
};

static const struct option_row LIST_ROWS[] = {
    {"internal", NULL, OPTION_FLAG, offsetof(struct list_options, internal), 0, 0,
     "show the broker's own topics too"},
};

const struct command TOPIC_LIST = {
    .name = "weir topic list",
    .operands = "",
    .sentence = "Lists the topics, one a line.",
    .rows = LIST_ROWS,
    .row_count = ARRAY_COUNT(LIST_ROWS),
};

static void list_print(const struct metadata_response *metadata, const struct list_options *options)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < metadata->topics_count; i++) {
        const struct metadata_response_topic *topic = &metadata->topics[i];
        if (topic->is_internal && !options->internal) {
            continue;
        }
        if (!options->common.json) {
            printf("%.*s\n", (int)topic->name.size, topic->name.data);
            continue;
        }
        char id[UUID_TEXT_SIZE];
        uuid_format(&topic->topic_id, id);
        json_t *object = json_object();
        json_object_set_new(object, "name", json_of_text(topic->name));
        if (!uuid_is_zero(&topic->topic_id)) {
            json_object_set_new(object, "id", json_string(id));
        }
        json_object_set_new(object, "partitions", json_integer(topic->partitions_count));
        json_object_set_new(object, "internal", json_boolean(topic->is_internal));
        json_array_append_new(array, object);
    }
    json_end(array, options->common.json);
}

static int list_run(int count, char **arguments)
{
    struct list_options options = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    if (!options_parse(&TOPIC_LIST, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    bool good = cluster_open(&cluster, &client, &options.common) &&
                cluster_refresh(&cluster, NULL, -1, CLUSTER_ONLY_LOOK);
    if (good) {
        list_print(&cluster.metadata, &options);
    }
    return cluster_end(&cluster, &client, good);
}

/* Delete */

struct delete_options {
    struct cli_options common;
    bool if_exists;
};

static const struct option_row DELETE_ROWS[] = {
    {"if-exists", NULL, OPTION_FLAG, offsetof(struct delete_options, if_exists), 0, 0,
     "a topic that is not there is fine"},
};

const struct command TOPIC_DELETE = {
    .name = "weir topic delete",
    .operands = "NAME...",
    .operand_count_min = 1,
    .operand_count_max = OPERANDS_MAX,
    .sentence = "Deletes topics with all their records.",
    .rows = DELETE_ROWS,
    .row_count = ARRAY_COUNT(DELETE_ROWS),
};

/* Every topic is reported; the first refusal is the one that decides the exit code. */
static bool delete_print(struct client *client, const struct delete_topics_response *response,
                         const struct delete_options *options)
{
    bool good = true;
    json_t *array = json_array();
    for (int32_t i = 0; i < response->responses_count; i++) {
        const struct delete_topics_response_topic *topic = &response->responses[i];
        int16_t error = topic->error_code;
        bool missing = error == status_code(STATUS_UNKNOWN_TOPIC_OR_PARTITION);
        if (options->common.json) {
            json_t *object = json_object();
            json_object_set_new(object, "name", json_of_text(topic->name));
            json_object_set_new(object, "deleted", json_boolean(error == 0));
            if (error != 0) {
                json_object_set_new(object, "error",
                                    json_string(status_name(status_from_code(error))));
            }
            json_array_append_new(array, object);
        } else if (error == 0) {
            printf("deleted topic %.*s\n", (int)topic->name.size, topic->name.data);
        }
        if (error != 0 && !(missing && options->if_exists) && good) {
            char what[WHAT_SIZE];
            snprintf(what, sizeof(what), "topic \"%.*s\" was not deleted", (int)topic->name.size,
                     topic->name.data == NULL ? (const uint8_t *)"" : topic->name.data);
            good = client_refused(client, what, error, topic->error_message);
        }
    }
    json_end(array, options->common.json);
    return good;
}

static bool topics_delete(struct cluster *cluster, const struct delete_options *options)
{
    struct connection *connection = cluster_controller(cluster);
    if (connection == NULL) {
        return false;
    }
    size_t count = (size_t)options->common.operand_count;
    struct delete_topics_request request;
    struct delete_topics_response response;
    delete_topics_request_init(&request);
    request.timeout_ms = (int32_t)options->common.timeout_ms;
    request.topics = arena_new_array(&cluster->arena, struct delete_topics_request_topic, count);
    request.topic_names = arena_new_array(&cluster->arena, struct bytes, count);
    if (cluster->arena.failed) {
        return client_fail(cluster->client, CLI_USAGE, "%zu topics are too many", count);
    }
    request.topics_count = request.topic_names_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        delete_topics_request_topic_init(&request.topics[i]);
        request.topics[i].name = bytes_of_text(options->common.operands[i]);
        request.topic_names[i] = request.topics[i].name;
    }
    return client_call(cluster->client, connection, DELETE_TOPICS_KEY, &request, &cluster->arena,
                       &response) &&
           delete_print(cluster->client, &response, options);
}

static int delete_run(int count, char **arguments)
{
    struct delete_options options = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    if (!options_parse(&TOPIC_DELETE, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    bool good =
        cluster_open(&cluster, &client, &options.common) && topics_delete(&cluster, &options);
    return cluster_end(&cluster, &client, good);
}

/* The verb */

static const struct verb_row TOPIC_VERBS[] = {
    {"create", &TOPIC_CREATE, create_run},
    {"list", &TOPIC_LIST, list_run},
    {"describe", &TOPIC_DESCRIBE, topic_describe_run},
    {"delete", &TOPIC_DELETE, delete_run},
};

int topic_run(int count, char **arguments)
{
    return verbs_run("topic", TOPIC_VERBS, ARRAY_COUNT(TOPIC_VERBS), count, arguments);
}
