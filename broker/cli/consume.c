/* SPDX-License-Identifier: Apache-2.0 */
/* `weir consume`: the records of a topic as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/consumer.h"
#include "broker/cli/record_output.h"
#include "broker/cli/records.h"

/* Text that waits for write(); what a round gave is written at its end in any case. */
#define OUTPUT_SIZE (64 * 1024)

struct consume_options {
    struct cli_options common;
    int64_t partition;
    const char *from;
    int64_t count;
    bool follow;
    bool until_end;
    const char *format;
    const char *delimiter;
    const char *null_marker;
    int32_t isolation; /* 0 committed, 1 uncommitted */
};

#define MEMBER(name) offsetof(struct consume_options, name)

static const struct option_row CONSUME_ROWS[] = {
    {"partition", "N", OPTION_INTEGER, MEMBER(partition), 0, INT32_MAX,
     "only this one; else all partitions"},
    {"from", "PLACE", OPTION_TEXT, MEMBER(from), 0, 0,
     "beginning (default), end, an offset, @MILLISECONDS, or -COUNT before the end"},
    {"count", "N", OPTION_INTEGER, MEMBER(count), 0, INT64_MAX, "stop after so many records"},
    {"follow", NULL, OPTION_FLAG, MEMBER(follow), 0, 0,
     "wait for new records (default with --from end)"},
    {"until-end", NULL, OPTION_FLAG, MEMBER(until_end), 0, 0,
     "stop where the partitions ended at the start (default otherwise)"},
    {"format", "FORMAT", OPTION_TEXT, MEMBER(format), 0, 0,
     "value (default), key-value, full, json, raw, length, or a template: %v value, %k key, "
     "%h headers, %t topic, %p partition, %o offset, %T time, %V %K sizes, \\n \\t \\xHH"},
    {"delimiter", "TEXT", OPTION_TEXT, MEMBER(delimiter), 0, 0,
     "behind each record, default a newline; nothing for raw and templates"},
    {"null-marker", "TEXT", OPTION_TEXT, MEMBER(null_marker), 0, 0,
     "what stands for null, default nothing"},
    {"isolation", "committed|uncommitted", OPTION_CHOICE, MEMBER(isolation), 0, 0,
     "whether records of open and aborted transactions are left out, default committed"},
};

const struct command CONSUME_COMMAND = {
    .name = "weir consume",
    .operands = "TOPIC",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Prints the records of a topic.",
    .rows = CONSUME_ROWS,
    .row_count = ARRAY_COUNT(CONSUME_ROWS),
};

bool start_parse(const char *text, struct start *start)
{
    if (strcmp(text, "beginning") == 0 || strcmp(text, "end") == 0) {
        *start = (struct start){text[0] == 'b' ? START_BEGINNING : START_END, 0};
        return true;
    }
    if (text[0] == '@') {
        start->kind = START_TIMESTAMP;
        return integer_parse(text + 1, 0, INT64_MAX, &start->number);
    }
    start->kind = START_OFFSET;
    if (text[0] == '-') {
        start->kind = START_BACK;
        return integer_parse(text + 1, 0, INT64_MAX, &start->number);
    }
    return integer_parse(text, 0, INT64_MAX, &start->number);
}

/* Where to begin */

/* ListOffsets of the same timestamp for all partitions; every one has to answer. */
static bool offsets_ask(struct consumer *consumer, int64_t timestamp, bool committed,
                        struct cluster_offset *results)
{
    const struct metadata_response_topic *topic = &consumer->cluster->metadata.topics[0];
    int64_t *timestamps =
        cli_allocate(NULL, (size_t)topic->partitions_count * sizeof(timestamps[0]));
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        timestamps[i] = timestamp;
    }
    bool good = cluster_offsets(consumer->cluster, topic, timestamps, committed, results);
    free(timestamps);
    for (int32_t i = 0; i < topic->partitions_count && good; i++) {
        int32_t partition = topic->partitions[i].partition_index;
        bool wanted = false;
        for (int32_t k = 0; k < consumer->position_count; k++) {
            wanted = wanted || consumer->positions[k].partition == partition;
        }
        if (wanted && results[i].error_code != 0) {
            char what[320];
            snprintf(what, sizeof(what), "topic \"%.250s\" partition %d", consumer->topic,
                     partition);
            good = client_refused(consumer->client, what, results[i].error_code, BYTES_NULL);
        }
    }
    return good;
}

struct bounds {
    int64_t start;
    int64_t end;        /* the last stable offset for committed, else the high watermark */
    int64_t time;       /* of START_TIMESTAMP; -1: no record is that late */
    int64_t offset_max; /* the high watermark */
};

static bool position_start(const struct consumer *consumer, struct position *position,
                           const struct start *start, const struct bounds *bounds)
{
    switch (start->kind) {
    case START_BEGINNING:
        position->next = bounds->start;
        return true;
    case START_END:
        position->next = bounds->end;
        return true;
    case START_TIMESTAMP:
        position->next = bounds->time < 0 ? bounds->end : bounds->time;
        return true;
    case START_BACK:
        position->next = bounds->end - bounds->start > start->number ? bounds->end - start->number
                                                                     : bounds->start;
        return true;
    case START_OFFSET:
        position->next = start->number;
        if (start->number >= bounds->start && start->number <= bounds->offset_max) {
            return true;
        }
        return client_fail(consumer->client, CLI_REFUSED,
                           "topic \"%s\" partition %d: OFFSET_OUT_OF_RANGE, offset %" PRId64
                           " lies outside %" PRId64 " to %" PRId64
                           "; say --from beginning, --from end, or one of those",
                           consumer->topic, position->partition, start->number, bounds->start,
                           bounds->offset_max);
    default:
        unreachable();
    }
}

static bool bounds_apply(struct consumer *consumer, const struct start *start, bool follow,
                         struct cluster_offset *results[4])
{
    const struct metadata_response_topic *topic = &consumer->cluster->metadata.topics[0];
    for (int32_t i = 0; i < consumer->position_count; i++) {
        struct position *position = &consumer->positions[i];
        int32_t index = 0;
        while (topic->partitions[index].partition_index != position->partition) {
            index++;
        }
        struct bounds bounds = {
            .start = results[0][index].offset,
            .offset_max = results[1][index].offset,
            .end = results[2][index].offset,
            .time = results[3][index].offset,
        };
        if (!position_start(consumer, position, start, &bounds)) {
            return false;
        }
        position->until = follow ? INT64_MAX : bounds.end;
        position->done = position->next >= position->until;
    }
    return true;
}

static bool positions_start(struct consumer *consumer, const struct start *start, bool follow)
{
    struct cluster_offset *results[4];
    size_t count = (size_t)consumer->cluster->metadata.topics[0].partitions_count;
    for (size_t i = 0; i < ARRAY_COUNT(results); i++) {
        results[i] = cli_allocate(NULL, count * sizeof(results[i][0]));
        memset(results[i], 0, count * sizeof(results[i][0]));
    }
    bool good = offsets_ask(consumer, OFFSET_AT_BEGINNING, false, results[0]) &&
                offsets_ask(consumer, OFFSET_AT_END, false, results[1]) &&
                offsets_ask(consumer, OFFSET_AT_END, consumer->committed, results[2]) &&
                (start->kind != START_TIMESTAMP ||
                 offsets_ask(consumer, start->number, consumer->committed, results[3])) &&
                bounds_apply(consumer, start, follow, results);
    for (size_t i = 0; i < ARRAY_COUNT(results); i++) {
        free(results[i]);
    }
    return good;
}

static bool positions_make(struct consumer *consumer, int64_t partition)
{
    const struct metadata_response_topic *topic =
        cluster_await_topic(consumer->cluster, consumer->topic, CLUSTER_ONLY_LOOK);
    if (topic == NULL) {
        return false;
    }
    consumer->positions =
        cli_allocate(NULL, (size_t)topic->partitions_count * sizeof(consumer->positions[0]));
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        int32_t index = topic->partitions[i].partition_index;
        if (partition < 0 || partition == index) {
            consumer->positions[consumer->position_count++] = (struct position){.partition = index};
        }
    }
    return consumer->position_count > 0 ||
           client_fail(consumer->client, CLI_REFUSED,
                       "topic \"%s\" has %d partitions, from 0 on; there is no partition %" PRId64,
                       consumer->topic, topic->partitions_count, partition);
}

/* Output */

struct printer {
    const struct output *output;
    struct bytes topic;
    struct text text;
    int64_t left; /* records still to be printed */
    bool gone;    /* nobody reads any more, or it cannot be written */
    int error;    /* why, from errno */
};

static void printer_flush(struct printer *printer)
{
    bool written = fwrite(printer->text.data, 1, printer->text.size, stdout) == printer->text.size;
    if (!printer->gone && (!written || fflush(stdout) != 0)) {
        printer->gone = true;
        printer->error = errno;
    }
    printer->text.size = 0;
}

static bool printer_take(void *context, int32_t partition, const struct record *record)
{
    struct printer *printer = context;
    struct output_record row = {printer->topic, partition, record};
    output_append(printer->output, &row, &printer->text);
    printer->left--;
    if (printer->text.size >= OUTPUT_SIZE) {
        printer_flush(printer);
    }
    return printer->left > 0 && !printer->gone;
}

static bool records_print(struct consumer *consumer, const struct output *output, int64_t count)
{
    struct printer printer = {
        .output = output, .topic = bytes_of_text(consumer->topic), .left = count};
    consumer->take = printer_take;
    consumer->context = &printer;
    enum consumer_result result = count == 0 ? CONSUMER_DONE : CONSUMER_MORE;
    while (result == CONSUMER_MORE) {
        result = consumer_poll(consumer);
        if (printer.text.size > 0) {
            printer_flush(&printer);
        }
        if (printer.gone) {
            result = CONSUMER_DONE;
        }
    }
    text_deinit(&printer.text);
    if (printer.gone && printer.error != EPIPE) {
        return client_fail(consumer->client, CLI_USAGE, "cannot write the output: %s",
                           strerror(printer.error));
    }
    return result == CONSUMER_DONE;
}

static bool consume(struct cluster *cluster, const struct consume_options *options,
                    const struct start *start, const struct output *output)
{
    struct consumer consumer = {
        .client = cluster->client,
        .cluster = cluster,
        .topic = options->common.operands[0],
        .committed = options->isolation == 0,
    };
    bool follow = options->follow || (start->kind == START_END && !options->until_end);
    bool good = client_catch_signals(cluster->client) &&
                positions_make(&consumer, options->partition) &&
                positions_start(&consumer, start, follow) &&
                records_print(&consumer, output, options->count);
    free(consumer.positions);
    return good;
}

int consume_run(int count, char **arguments)
{
    struct consume_options options = {
        .common = CLI_OPTIONS_DEFAULT,
        .partition = -1,
        .from = "beginning",
        .count = INT64_MAX,
    };
    int code;
    if (!options_parse(&CONSUME_COMMAND, &options, count, arguments, &code)) {
        return code;
    }
    struct start start = {0};
    char message[400];
    struct output output;
    const char *format = options.format != NULL ? options.format
                         : options.common.json  ? "json"
                                                : "value";
    if (!start_parse(options.from, &start)) {
        fprintf(stderr,
                "weir consume: --from \"%s\" is none of beginning, end, an offset, @MILLISECONDS, "
                "-COUNT\n",
                options.from);
        return CLI_USAGE;
    }
    if (options.follow && options.until_end) {
        fprintf(stderr, "weir consume: --follow and --until-end exclude each other\n");
        return CLI_USAGE;
    }
    if (options.common.json && strcmp(format, "json") != 0) {
        fprintf(stderr, "weir consume: --json and --format %s exclude each other\n", format);
        return CLI_USAGE;
    }
    bool shaped = strcmp(format, "json") == 0 || strcmp(format, "length") == 0;
    if (shaped && (options.delimiter != NULL || options.null_marker != NULL)) {
        fprintf(stderr, "weir consume: %s has no --delimiter and no --null-marker\n", format);
        return CLI_USAGE;
    }
    if (!output_init(&output, format, options.delimiter, message, sizeof(message))) {
        fprintf(stderr, "weir consume: %s\n", message);
        return CLI_USAGE;
    }
    output.null_marker =
        options.null_marker == NULL ? BYTES_NULL : bytes_of_text(options.null_marker);
    struct client client;
    struct cluster cluster = {0};
    bool good = cluster_open(&cluster, &client, &options.common) &&
                consume(&cluster, &options, &start, &output);
    output_deinit(&output);
    return cluster_end(&cluster, &client, good);
}
