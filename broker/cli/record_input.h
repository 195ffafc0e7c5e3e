/* SPDX-License-Identifier: Apache-2.0 */
/* Records of `weir produce` from files or standard input. */
#pragma once

#include "broker/cli/text.h"
#include "wire/record.h"

#define INPUT_HEADERS_MAX 1000
#define INPUT_MESSAGE_SIZE 400
#define INPUT_RECORD_SIZE_MAX (100 * 1024 * 1024)

/*
 * lines   [HEADERS tab] [KEY delimiter] VALUE newline; headers are k=v,k=v
 * json    one object a line: key, value, headers [{key, value}], timestamp; NAME_encoding "base64"
 * length  int32 size and bytes of the key, then of the value, big-endian, -1 for null
 */
enum input_format { INPUT_LINES, INPUT_JSON, INPUT_LENGTH };

struct input_options {
    enum input_format format;
    bool headers;               /* lines */
    struct bytes key_delimiter; /* lines; size 0: there are no keys */
    struct bytes null_marker;   /* lines; data NULL: nothing is null */
};

struct input_record {
    struct bytes key;   /* data NULL: null */
    struct bytes value; /* data NULL: null */
    int64_t timestamp;  /* -1: now */
    int32_t header_count;
    struct record_header headers[INPUT_HEADERS_MAX];
};

struct input {
    struct input_options options;
    char **paths; /* read one after the other; "-" is standard input */
    int32_t path_count;
    int32_t path_index;
    int file; /* -1: none open */
    struct text buffer;
    size_t start;   /* of what was not handed out yet */
    size_t scanned; /* no newline before this */
    bool file_ended;
    uint64_t record_number;
    struct text decoded; /* strings of a JSON record */
    char message[INPUT_MESSAGE_SIZE];
};

enum input_result {
    INPUT_GIVEN,
    INPUT_WAIT, /* nothing came within the time */
    INPUT_END,
    INPUT_WRONG, /* `message` says what */
};

void input_init(struct input *input, const struct input_options *options, char **paths,
                int32_t path_count);
void input_deinit(struct input *input);

/* wait_ms -1: no limit. The record points into the input and is valid until the next call. */
enum input_result input_next(struct input *input, struct input_record *record, int wait_ms);

/* The pure parts: false with a message when the bytes are not a record. */
bool input_parse_line(struct input *input, struct bytes line, struct input_record *record);
bool input_parse_json(struct input *input, struct bytes line, struct input_record *record);
