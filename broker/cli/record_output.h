/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of `weir consume` as text. A format is a name or a template:
 *
 *   %v %s value      %k key       %h headers k=v,k=v    %t topic      %p partition
 *   %V %S its size   %K its size  %T timestamp in ms    %o offset     %% a percent sign
 *
 * and \n \r \t \0 \\ \xHH. Sizes of null are -1. Names: value, key-value, full, raw are templates;
 * json is one object a line, length what `weir produce --format length` reads.
 */
#pragma once

#include "broker/cli/text.h"
#include "wire/record.h"

enum output_kind { OUTPUT_TEMPLATE, OUTPUT_JSON, OUTPUT_LENGTH };

struct output {
    enum output_kind kind;
    struct text literals;
    struct output_item {
        char letter; /* 0: a literal */
        size_t start;
        size_t size;
    } * items;
    int32_t item_count;
    struct text delimiter; /* behind each record; templates */
    struct bytes null_marker;
};

struct output_record {
    struct bytes topic;
    int32_t partition;
    const struct record *record;
};

/* False: the format is not one; `message` says why. delimiter NULL: the format's own. */
bool output_init(struct output *output, const char *format, const char *delimiter, char *message,
                 size_t message_size);
void output_deinit(struct output *output);
void output_append(const struct output *output, const struct output_record *record,
                   struct text *to);
