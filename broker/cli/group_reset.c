/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir group reset`: commits other offsets for a group that has no members.
 *
 *   the partitions: of --topic, else all that the group committed -> the offset that --to or --ago
 *   names, kept between log start and end -> printed -> committed unless --dry-run
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/cli/coordinator.h"
#include "broker/cli/groups.h"
#include "broker/cli/json.h"
#include "broker/cli/records.h"
#include "wire/offset_commit.h"

struct reset_options {
    struct cli_options common;
    struct option_words topics;
    const char *to;
    int64_t ago_ms;
    bool dry_run;
};

static const struct option_row RESET_ROWS[] = {
    {"topic", "NAME", OPTION_WORDS, offsetof(struct reset_options, topics), 0, 0,
     "all partitions of this topic; default what the group committed; may be given several times"},
    {"to", "WHERE", OPTION_TEXT, offsetof(struct reset_options, to), 0, 0,
     "beginning, end, an offset, @MILLISECONDS since 1970, or -COUNT before the end"},
    {"ago-ms", "N", OPTION_INTEGER, offsetof(struct reset_options, ago_ms), 0, INT64_MAX,
     "the first record of the last N milliseconds, in place of --to"},
    {"dry-run", NULL, OPTION_FLAG, offsetof(struct reset_options, dry_run), 0, 0,
     "only print what would be committed"},
};

const struct command GROUP_RESET = {
    .name = "weir group reset",
    .operands = "GROUP",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Moves the committed offsets of a group without members.",
    .rows = RESET_ROWS,
    .row_count = ARRAY_COUNT(RESET_ROWS),
};

/* One topic and what will be committed for it. */
struct reset_topic {
    const struct metadata_response_topic *topic;
    bool *chosen; /* indexed like topic->partitions, as the next one is */
    int64_t *offsets;
};

struct reset {
    struct cluster *cluster;
    struct arena *arena;
    const struct reset_options *options;
    struct bytes group;
    struct start to;
    struct group_offsets committed;
    struct reset_topic *topics;
    int32_t topic_count;
};

/* ---- which partitions ---- */

static struct reset_topic *topic_add(struct reset *reset, struct bytes name)
{
    for (int32_t i = 0; i < reset->topic_count; i++) {
        if (bytes_equal(reset->topics[i].topic->name, name)) {
            return &reset->topics[i];
        }
    }
    const struct metadata_response_topic *topic = group_topic(reset->cluster, name);
    if (topic == NULL || topic->error_code != 0) {
        char what[GROUP_WHAT_SIZE];
        snprintf(what, sizeof(what), "topic \"%.*s\"", (int)name.size, name.data);
        (void)client_refused(reset->cluster->client, what,
                             status_code(STATUS_UNKNOWN_TOPIC_OR_PARTITION), BYTES_NULL);
        return NULL;
    }
    size_t count = (size_t)topic->partitions_count;
    struct reset_topic *added = &reset->topics[reset->topic_count++];
    added->topic = topic;
    added->chosen = arena_new_array(reset->arena, bool, count);
    added->offsets = arena_new_array(reset->arena, int64_t, count);
    return added;
}

static bool partitions_choose(struct reset *reset)
{
    const struct option_words *names = &reset->options->topics;
    size_t count = (size_t)names->count + (size_t)reset->committed.count + 1;
    reset->topics = arena_new_array(reset->arena, struct reset_topic, count);
    for (int32_t i = 0; i < names->count && !reset->arena->failed; i++) {
        struct reset_topic *topic = topic_add(reset, bytes_of_text(names->items[i]));
        if (topic == NULL) {
            return false;
        }
        for (int32_t k = 0; k < topic->topic->partitions_count && topic->chosen != NULL; k++) {
            topic->chosen[k] = true;
        }
    }
    for (int32_t i = 0; names->count == 0 && i < reset->committed.count; i++) {
        const struct group_offset *offset = &reset->committed.items[i];
        struct reset_topic *topic = topic_add(reset, offset->topic);
        if (topic == NULL) {
            return false;
        }
        for (int32_t k = 0; k < topic->topic->partitions_count && topic->chosen != NULL; k++) {
            topic->chosen[k] |= topic->topic->partitions[k].partition_index == offset->partition;
        }
    }
    if (reset->arena->failed) {
        return client_fail(reset->cluster->client, CLI_USAGE, "%zu topics are too many", count);
    }
    if (reset->topic_count == 0) {
        return client_fail(reset->cluster->client, CLI_REFUSED,
                           "group \"%.*s\" has committed nothing; name topics with --topic",
                           (int)reset->group.size, reset->group.data);
    }
    return true;
}

/* ---- which offsets ---- */

static bool offsets_ask(struct reset *reset, const struct metadata_response_topic *topic,
                        int64_t timestamp, struct cluster_offset **out)
{
    size_t count = (size_t)topic->partitions_count;
    int64_t *timestamps = arena_new_array(reset->arena, int64_t, count);
    *out = arena_new_array(reset->arena, struct cluster_offset, count);
    if (reset->arena->failed) {
        return client_fail(reset->cluster->client, CLI_USAGE, "%zu partitions do not fit in memory",
                           count);
    }
    for (size_t i = 0; i < count; i++) {
        timestamps[i] = timestamp;
    }
    if (!cluster_offsets(reset->cluster, topic, timestamps, 0, *out)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if ((*out)[i].error_code != 0) {
            char what[GROUP_WHAT_SIZE];
            snprintf(what, sizeof(what), "offsets of topic \"%.*s\" partition %d",
                     (int)topic->name.size, topic->name.data, topic->partitions[i].partition_index);
            return client_refused(reset->cluster->client, what, (*out)[i].error_code, BYTES_NULL);
        }
    }
    return true;
}

static int64_t between(int64_t offset, int64_t start, int64_t end)
{
    return offset < start ? start : offset > end ? end : offset;
}

static bool topic_resolve(struct reset *reset, struct reset_topic *topic)
{
    struct cluster_offset *starts;
    struct cluster_offset *ends;
    struct cluster_offset *at = NULL;
    if (!offsets_ask(reset, topic->topic, OFFSET_AT_BEGINNING, &starts) ||
        !offsets_ask(reset, topic->topic, OFFSET_AT_END, &ends) ||
        (reset->to.kind == START_TIMESTAMP &&
         !offsets_ask(reset, topic->topic, reset->to.number, &at))) {
        return false;
    }
    for (int32_t i = 0; i < topic->topic->partitions_count; i++) {
        int64_t end = ends[i].offset;
        int64_t offset = reset->to.kind == START_BEGINNING ? 0
                         : reset->to.kind == START_END     ? end
                         : reset->to.kind == START_OFFSET  ? reset->to.number
                         : reset->to.kind == START_BACK    ? end - reset->to.number
                         : at != NULL && at[i].offset >= 0 ? at[i].offset
                                                           : end;
        topic->offsets[i] = between(offset, starts[i].offset, end);
    }
    return true;
}

/* ---- the commit ---- */

/* The first error of any partition: the rest is said by it. */
static int16_t commit_error(const void *response)
{
    const struct offset_commit_response *answer = response;
    for (int32_t i = 0; i < answer->topics_count; i++) {
        for (int32_t k = 0; k < answer->topics[i].partitions_count; k++) {
            if (answer->topics[i].partitions[k].error_code != 0) {
                return answer->topics[i].partitions[k].error_code;
            }
        }
    }
    return 0;
}

static void topic_request(struct reset *reset, const struct reset_topic *from,
                          struct offset_commit_request_topic *to)
{
    offset_commit_request_topic_init(to);
    to->name = from->topic->name;
    to->topic_id = from->topic->topic_id;
    to->partitions = arena_new_array(reset->arena, struct offset_commit_request_partition,
                                     (size_t)from->topic->partitions_count);
    for (int32_t i = 0; to->partitions != NULL && i < from->topic->partitions_count; i++) {
        if (from->chosen[i]) {
            struct offset_commit_request_partition *item = &to->partitions[to->partitions_count++];
            offset_commit_request_partition_init(item);
            item->partition_index = from->topic->partitions[i].partition_index;
            item->committed_offset = from->offsets[i];
            item->committed_metadata = BYTES_LITERAL("");
        }
    }
}

static bool offsets_commit(struct reset *reset)
{
    struct offset_commit_request request;
    struct offset_commit_response response;
    offset_commit_request_init(&request);
    request.group_id = reset->group;
    request.generation_id_or_member_epoch = -1; /* from outside: only while nobody is a member */
    request.member_id = BYTES_LITERAL("");
    request.retention_time_ms = -1;
    request.topics = arena_new_array(reset->arena, struct offset_commit_request_topic,
                                     (size_t)reset->topic_count);
    for (int32_t i = 0; request.topics != NULL && i < reset->topic_count; i++) {
        topic_request(reset, &reset->topics[i], &request.topics[request.topics_count++]);
    }
    if (reset->arena->failed) {
        return client_fail(reset->cluster->client, CLI_USAGE, "the request does not fit in memory");
    }
    const struct coordinator_call call = {.key = reset->group,
                                          .kind = COORDINATOR_GROUP,
                                          .api = OFFSET_COMMIT_KEY,
                                          .request = &request,
                                          .response = &response,
                                          .error_of = commit_error};
    if (!coordinator_ask(reset->cluster, reset->arena, &call)) {
        return false;
    }
    int16_t error = commit_error(&response);
    if (error == 0) {
        return true;
    }
    char what[GROUP_WHAT_SIZE];
    snprintf(what, sizeof(what), "group \"%.*s\"", (int)reset->group.size, reset->group.data);
    bool members = error == status_code(STATUS_UNKNOWN_MEMBER_ID);
    return client_refused(reset->cluster->client, what, error,
                          members ? BYTES_LITERAL("it has members; stop them first") : BYTES_NULL);
}

/* ---- the verb ---- */

static int64_t committed_before(const struct reset *reset, struct bytes topic, int32_t partition)
{
    for (int32_t i = 0; i < reset->committed.count; i++) {
        const struct group_offset *offset = &reset->committed.items[i];
        if (offset->partition == partition && bytes_equal(offset->topic, topic)) {
            return offset->offset;
        }
    }
    return -1;
}

static void reset_print(const struct reset *reset)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < reset->topic_count; i++) {
        const struct reset_topic *topic = &reset->topics[i];
        for (int32_t k = 0; k < topic->topic->partitions_count; k++) {
            int32_t partition = topic->topic->partitions[k].partition_index;
            int64_t before = committed_before(reset, topic->topic->name, partition);
            if (!topic->chosen[k]) {
                continue;
            }
            if (!reset->options->common.json) {
                printf("%.*s  %d  from %" PRId64 "  to %" PRId64 "%s\n",
                       (int)topic->topic->name.size, topic->topic->name.data, partition, before,
                       topic->offsets[k], reset->options->dry_run ? "  (dry run)" : "");
                continue;
            }
            json_t *object = json_object();
            json_object_set_new(object, "topic", json_of_text(topic->topic->name));
            json_object_set_new(object, "partition", json_integer(partition));
            json_object_set_new(object, "from", json_integer(before));
            json_object_set_new(object, "to", json_integer(topic->offsets[k]));
            json_object_set_new(object, "committed", json_boolean(!reset->options->dry_run));
            json_array_append_new(array, object);
        }
    }
    json_end(array, reset->options->common.json);
}

static bool reset_all(struct reset *reset)
{
    if (!cluster_refresh(reset->cluster, NULL, -1, CLUSTER_ONLY_LOOK) ||
        !group_offsets_ask(reset->cluster, reset->arena, reset->group, &reset->committed) ||
        !partitions_choose(reset)) {
        return false;
    }
    for (int32_t i = 0; i < reset->topic_count; i++) {
        if (!topic_resolve(reset, &reset->topics[i])) {
            return false;
        }
    }
    if (!reset->options->dry_run && !offsets_commit(reset)) {
        return false;
    }
    reset_print(reset);
    return true;
}

int group_reset_run(int count, char **arguments)
{
    struct reset_options options = {.common = CLI_OPTIONS_DEFAULT, .ago_ms = -1};
    int code;
    if (!options_parse(&GROUP_RESET, &options, count, arguments, &code)) {
        return code;
    }
    struct reset reset = {
        .options = &options,
        .group = bytes_of_text(options.common.operands[0]),
        .to = {.kind = START_TIMESTAMP, .number = cli_wall_ms() - options.ago_ms}};
    if ((options.to == NULL) == (options.ago_ms < 0)) {
        fprintf(stderr, "weir group reset: say one of --to and --ago-ms\n");
        return CLI_USAGE;
    }
    if (options.to != NULL && !start_parse(options.to, &reset.to)) {
        fprintf(stderr,
                "weir group reset: --to \"%s\" is none of beginning, end, an offset, "
                "@MILLISECONDS, -COUNT\n",
                options.to);
        return CLI_USAGE;
    }
    struct client client;
    struct cluster cluster = {0};
    struct arena arena;
    reset.cluster = &cluster;
    reset.arena = &arena;
    bool good = cluster_open(&cluster, &client, &options.common);
    client_arena_init(&client, &arena);
    good = good && reset_all(&reset);
    arena_reset(&arena);
    return cluster_end(&cluster, &client, good);
}
