/* SPDX-License-Identifier: Apache-2.0 */
/* `weir group list|delete`; the other verbs have files of their own. */
#include "broker/cli/groups.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/cli/cli.h"
#include "broker/cli/coordinator.h"
#include "broker/cli/json.h"
#include "broker/cli/verbs.h"
#include "wire/delete_groups.h"
#include "wire/list_groups.h"

/* List */

struct list_options {
    struct cli_options common;
    struct option_words states;
    struct option_words types;
};

static const struct option_row LIST_ROWS[] = {
    {"state", "STATE", OPTION_WORDS, offsetof(struct list_options, states), 0, 0,
     "only groups in this state, Stable for example; may be given several times"},
    {"type", "TYPE", OPTION_WORDS, offsetof(struct list_options, types), 0, 0,
     "only groups of this type, classic or consumer; may be given several times"},
};

const struct command GROUP_LIST = {
    .name = "weir group list",
    .operands = "",
    .sentence = "Lists the groups with state, type and protocol.",
    .rows = LIST_ROWS,
    .row_count = ARRAY_COUNT(LIST_ROWS),
};

struct listed {
    struct list_groups_response_group *items;
    size_t count;
};

static int listed_order(const void *a, const void *b)
{
    const struct list_groups_response_group *first = a;
    const struct list_groups_response_group *second = b;
    return bytes_compare(first->group_id, second->group_id);
}

static struct bytes *words_take(struct arena *arena, const struct option_words *words)
{
    struct bytes *items = arena_new_array(arena, struct bytes, (size_t)words->count + 1);
    for (int32_t i = 0; items != NULL && i < words->count; i++) {
        items[i] = bytes_of_text(words->items[i]);
    }
    return items;
}

/* Every broker names the groups that it coordinates. */
static bool list_ask(struct cluster *cluster, struct arena *arena,
                     const struct list_options *options, struct listed *listed)
{
    struct list_groups_request request;
    list_groups_request_init(&request);
    request.states_filter = words_take(arena, &options->states);
    request.states_filter_count = options->states.count;
    request.types_filter = words_take(arena, &options->types);
    request.types_filter_count = options->types.count;
    for (int32_t i = 0; i < cluster->metadata.brokers_count; i++) {
        struct connection *connection = cluster_node(cluster, cluster->metadata.brokers[i].node_id);
        struct list_groups_response response;
        if (connection == NULL || !client_call(cluster->client, connection, LIST_GROUPS_KEY,
                                               &request, arena, &response)) {
            return false;
        }
        if (response.error_code != 0) {
            return client_refused(cluster->client, "groups", response.error_code, BYTES_NULL);
        }
        size_t count = listed->count + (size_t)response.groups_count;
        listed->items = cli_allocate(listed->items, (count + 1) * sizeof(listed->items[0]));
        for (int32_t k = 0; k < response.groups_count; k++) {
            listed->items[listed->count++] = response.groups[k];
        }
    }
    qsort(listed->items, listed->count, sizeof(listed->items[0]), listed_order);
    return true;
}

/* Old brokers leave state and type out. */
static struct bytes word_or_dash(struct bytes word)
{
    return word.size == 0 ? BYTES_LITERAL("-") : word;
}

static void list_print(const struct listed *listed, bool json)
{
    json_t *array = json_array();
    for (size_t i = 0; i < listed->count; i++) {
        const struct list_groups_response_group *group = &listed->items[i];
        struct bytes state = word_or_dash(group->group_state);
        struct bytes type = word_or_dash(group->group_type);
        if (!json) {
            printf("%.*s  %.*s  %.*s  %.*s\n", (int)group->group_id.size, group->group_id.data,
                   (int)state.size, state.data, (int)type.size, type.data,
                   (int)group->protocol_type.size, group->protocol_type.data);
            continue;
        }
        json_t *object = json_object();
        json_object_set_new(object, "group", json_of_text(group->group_id));
        json_object_set_new(object, "state", json_of_text(group->group_state));
        json_object_set_new(object, "type", json_of_text(group->group_type));
        json_object_set_new(object, "protocol_type", json_of_text(group->protocol_type));
        json_array_append_new(array, object);
    }
    json_end(array, json);
}

static int list_run(int count, char **arguments)
{
    struct list_options options = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    if (!options_parse(&GROUP_LIST, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    struct listed listed = {0};
    struct arena arena;
    bool good = cluster_open(&cluster, &client, &options.common);
    client_arena_init(&client, &arena);
    good = good && cluster_refresh(&cluster, NULL, 0, CLUSTER_ONLY_LOOK) &&
           list_ask(&cluster, &arena, &options, &listed);
    if (good) {
        list_print(&listed, options.common.json);
    }
    free(listed.items);
    arena_reset(&arena);
    return cluster_end(&cluster, &client, good);
}

/* Delete */

const struct command GROUP_DELETE = {
    .name = "weir group delete",
    .operands = "GROUP...",
    .operand_count_min = 1,
    .operand_count_max = GROUP_OPERANDS_MAX,
    .sentence = "Deletes groups without members, and all that they committed.",
};

static int16_t delete_error(const void *response)
{
    const struct delete_groups_response *answer = response;
    return answer->results_count > 0 ? answer->results[0].error_code : 0;
}

/* One by one: groups have different coordinators. */
static bool group_delete(struct cluster *cluster, struct arena *arena, struct bytes group,
                         json_t *array)
{
    struct delete_groups_request request;
    struct delete_groups_response response;
    delete_groups_request_init(&request);
    request.groups_names = &group;
    request.groups_names_count = 1;
    const struct coordinator_call call = {.key = group,
                                          .kind = COORDINATOR_GROUP,
                                          .api = DELETE_GROUPS_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = delete_error};
    bool good = coordinator_ask(cluster, arena, &call);
    int16_t error = good ? delete_error(&response) : 0;
    if (good && array != NULL) {
        json_t *object = json_object();
        json_object_set_new(object, "group", json_of_text(group));
        json_object_set_new(object, "deleted", json_boolean(error == 0));
        json_array_append_new(array, object);
    } else if (good && error == 0) {
        printf("deleted group %.*s\n", (int)group.size, group.data);
    }
    if (error != 0) {
        char what[GROUP_WHAT_SIZE];
        snprintf(what, sizeof(what), "group \"%.*s\" was not deleted", (int)group.size, group.data);
        good = client_refused(cluster->client, what, error, BYTES_NULL);
    }
    return good;
}

static int delete_run(int count, char **arguments)
{
    return cluster_each(&GROUP_DELETE, count, arguments, group_delete);
}

/* The verb */

static const struct verb_row GROUP_VERBS[] = {
    {"list", &GROUP_LIST, list_run},
    {"describe", &GROUP_DESCRIBE, group_describe_run},
    {"offsets", &GROUP_OFFSETS, group_offsets_run},
    {"reset", &GROUP_RESET, group_reset_run},
    {"delete", &GROUP_DELETE, delete_run},
};

int group_run(int count, char **arguments)
{
    return verbs_run("group", GROUP_VERBS, ARRAY_COUNT(GROUP_VERBS), count, arguments);
}
