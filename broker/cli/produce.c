/* SPDX-License-Identifier: Apache-2.0 */
/* `weir produce`: records from files or standard input into a topic. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/json.h"
#include "broker/cli/producer.h"
#include "broker/cli/record_input.h"
#include "broker/cli/records.h"

struct produce_options {
    struct cli_options common;
    int64_t partition;
    const char *key_delimiter;
    const char *null_marker;
    bool headers;
    int32_t format; /* enum input_format */
    int32_t codec;  /* enum codec */
    int32_t acks;   /* index of the word */
    bool idempotent;
    int64_t batch_bytes;
    int64_t linger_ms;
};

#define MEMBER(name) offsetof(struct produce_options, name)

static const struct option_row PRODUCE_ROWS[] = {
    {"partition", "N", OPTION_INTEGER, MEMBER(partition), 0, INT32_MAX,
     "where all records go; else by key as Java's clients do, or any"},
    {"format", "lines|json|length", OPTION_CHOICE, MEMBER(format), 0, 0,
     "of the input: lines, an object a line as consume writes it, or int32 sizes and bytes"},
    {"key-delimiter", "TEXT", OPTION_TEXT, MEMBER(key_delimiter), 0, 0,
     "lines are KEY TEXT VALUE; a line without TEXT has no key"},
    {"headers", NULL, OPTION_FLAG, MEMBER(headers), 0, 0, "lines begin with k=v,k=v and a tab"},
    {"null-marker", "TEXT", OPTION_TEXT, MEMBER(null_marker), 0, 0,
     "a key or value of this text is null"},
    {"codec", "none|gzip|snappy|lz4|zstd", OPTION_CHOICE, MEMBER(codec), 0, 0,
     "how batches are compressed, default none"},
    {"acks", "0|1|all", OPTION_CHOICE, MEMBER(acks), 0, 0,
     "who has to have a batch before the next one, default all"},
    {"idempotent", NULL, OPTION_FLAG, MEMBER(idempotent), 0, 0,
     "a retry after a broken connection writes nothing twice"},
    {"batch-bytes", "N", OPTION_INTEGER, MEMBER(batch_bytes), 1, 100 * 1024 * 1024,
     "a batch is sent at this size, default 262144"},
    {"linger-ms", "N", OPTION_INTEGER, MEMBER(linger_ms), 0, 3600000,
     "and when the input pauses for this long, default 5"},
};

const struct command PRODUCE_COMMAND = {
    .name = "weir produce",
    .operands = "TOPIC [FILE...]",
    .operand_count_min = 1,
    .operand_count_max = 100000,
    .sentence = "Writes records from files, or from standard input, and says where they went.",
    .rows = PRODUCE_ROWS,
    .row_count = ARRAY_COUNT(PRODUCE_ROWS),
};

static void summary_json(const struct producer *producer, int64_t total)
{
    json_t *partitions = json_array();
    for (int32_t i = 0; i < producer->lane_count; i++) {
        const struct lane *lane = &producer->lanes[i];
        if (lane->record_count == 0) {
            continue;
        }
        json_t *object = json_object();
        json_object_set_new(object, "partition", json_integer(lane->partition));
        json_object_set_new(object, "records", json_integer(lane->record_count));
        if (lane->first_offset >= 0) {
            json_object_set_new(object, "first", json_integer(lane->first_offset));
            json_object_set_new(object, "last", json_integer(lane->last_offset));
        }
        json_array_append_new(partitions, object);
    }
    json_t *object = json_object();
    json_object_set_new(object, "topic", json_of_text(bytes_of_text(producer->topic)));
    json_object_set_new(object, "records", json_integer(total));
    json_object_set_new(object, "partitions", partitions);
    json_print(object, stdout, false);
}

static void summary_print(const struct producer *producer, bool json)
{
    int64_t total = 0;
    for (int32_t i = 0; i < producer->lane_count; i++) {
        total += producer->lanes[i].record_count;
    }
    if (json) {
        summary_json(producer, total);
        return;
    }
    printf("%" PRId64 " records to %s\n", total, producer->topic);
    for (int32_t i = 0; i < producer->lane_count; i++) {
        const struct lane *lane = &producer->lanes[i];
        if (lane->record_count > 0 && lane->first_offset < 0) {
            printf("  partition %d  %" PRId64 " records\n", lane->partition, lane->record_count);
        } else if (lane->record_count > 0) {
            printf("  partition %d  %" PRId64 " records  offsets %" PRId64 " to %" PRId64 "\n",
                   lane->partition, lane->record_count, lane->first_offset, lane->last_offset);
        }
    }
}

/* Everything up to the end of the input; a pause in it sends what has gathered. */
static bool input_send(struct producer *producer, struct input *input, int linger_ms)
{
    struct input_record *record = cli_allocate(NULL, sizeof(*record));
    bool good = true;
    bool ended = false;
    while (good && !ended) {
        switch (input_next(input, record, producer_is_empty(producer) ? -1 : linger_ms)) {
        case INPUT_GIVEN:
            good =
                producer_add(producer, record->timestamp >= 0 ? record->timestamp : cli_wall_ms(),
                             record->key, record->value, record->headers, record->header_count);
            break;
        case INPUT_WAIT:
            good = producer_flush(producer);
            break;
        case INPUT_END:
            ended = true;
            break;
        case INPUT_WRONG:
            /* What came before the bad record is written, so that the summary says how far it got.
             */
            good = producer_flush(producer) &&
                   client_fail(producer->client, CLI_USAGE, "%s", input->message);
            break;
        }
    }
    free(record);
    return good && producer_flush(producer);
}

static bool produce(struct cluster *cluster, const struct produce_options *options,
                    const struct input_options *input_options)
{
    static const int16_t ACKS[] = {0, 1, -1};
    struct producer_options how = {
        .codec = (enum codec)options->codec,
        .acks = ACKS[options->acks],
        .idempotent = options->idempotent,
        .partition = (int32_t)options->partition,
        .batch_bytes = (size_t)options->batch_bytes,
    };
    char standard_input[] = "-";
    char *standard_paths[] = {standard_input};
    bool from_files = options->common.operand_count > 1;
    struct input input;
    struct producer producer;
    input_init(&input, input_options, from_files ? options->common.operands + 1 : standard_paths,
               from_files ? options->common.operand_count - 1 : 1);
    bool good = producer_open(&producer, cluster, options->common.operands[0], &how);
    if (good) {
        good = input_send(&producer, &input, (int)options->linger_ms);
        summary_print(&producer, options->common.json);
    }
    producer_close(&producer);
    input_deinit(&input);
    return good;
}

int produce_run(int count, char **arguments)
{
    struct produce_options options = {
        .common = CLI_OPTIONS_DEFAULT,
        .partition = -1,
        .acks = 2,
        .batch_bytes = 262144,
        .linger_ms = 5,
    };
    int code;
    if (!options_parse(&PRODUCE_COMMAND, &options, count, arguments, &code)) {
        return code;
    }
    if (options.format != INPUT_LINES &&
        (options.key_delimiter != NULL || options.null_marker != NULL || options.headers)) {
        fprintf(stderr, "weir produce: --key-delimiter, --headers and --null-marker are about "
                        "--format lines\n");
        return CLI_USAGE;
    }
    struct text delimiter = {0};
    if (options.key_delimiter != NULL && !text_append_escaped(&delimiter, options.key_delimiter)) {
        fprintf(stderr, "weir produce: --key-delimiter \"%s\": behind \\ one of n r t 0 \\ xHH\n",
                options.key_delimiter);
        text_deinit(&delimiter);
        return CLI_USAGE;
    }
    if (options.idempotent && options.acks != 2) {
        fprintf(stderr, "weir produce: --idempotent needs --acks all\n");
        text_deinit(&delimiter);
        return CLI_USAGE;
    }
    struct input_options input = {
        .format = (enum input_format)options.format,
        .headers = options.headers,
        .key_delimiter = text_bytes(&delimiter),
        .null_marker =
            options.null_marker == NULL ? BYTES_NULL : bytes_of_text(options.null_marker),
    };
    struct client client;
    struct cluster cluster = {0};
    bool good =
        cluster_open(&cluster, &client, &options.common) && produce(&cluster, &options, &input);
    text_deinit(&delimiter);
    return cluster_end(&cluster, &client, good);
}
