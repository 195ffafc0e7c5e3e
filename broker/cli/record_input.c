/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/record_input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/cli/json.h"

#define READ_SIZE (256 * 1024)
#define LENGTH_SIZE 4

void input_init(struct input *input, const struct input_options *options, char **paths,
                int32_t path_count)
{
    *input =
        (struct input){.options = *options, .paths = paths, .path_count = path_count, .file = -1};
}

static void file_close(struct input *input)
{
    if (input->file > STDIN_FILENO) {
        close(input->file);
    }
    input->file = -1;
}

void input_deinit(struct input *input)
{
    file_close(input);
    text_deinit(&input->buffer);
    text_deinit(&input->decoded);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct input *input, const char *format,
                                                        ...)
{
    va_list arguments;
    int used = snprintf(input->message, sizeof(input->message),
                        "record %" PRIu64 " of the input: ", input->record_number);
    va_start(arguments, format);
    vsnprintf(input->message + used, sizeof(input->message) - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

static struct bytes bytes_skip(struct bytes bytes, size_t size)
{
    return bytes_of(bytes.data + size, bytes.size - size);
}

/* Lines */

/* Takes what lies before the delimiter and the delimiter itself; false: there is none. */
static bool bytes_cut(struct bytes *from, struct bytes delimiter, struct bytes *head)
{
    const uint8_t *at =
        from->size == 0 ? NULL : memmem(from->data, from->size, delimiter.data, delimiter.size);
    if (at == NULL) {
        return false;
    }
    *head = bytes_of(from->data, (size_t)(at - from->data));
    *from = bytes_skip(*from, head->size + delimiter.size);
    return true;
}

static bool headers_parse(struct input *input, struct bytes list, struct input_record *record)
{
    while (list.size > 0) {
        struct bytes item = list;
        if (!bytes_cut(&list, BYTES_LITERAL(","), &item)) {
            list = BYTES_NULL;
        }
        if (record->header_count == INPUT_HEADERS_MAX) {
            return wrong(input, "more than %d headers", INPUT_HEADERS_MAX);
        }
        struct record_header *header = &record->headers[record->header_count++];
        header->value = item;
        if (!bytes_cut(&header->value, BYTES_LITERAL("="), &header->key)) {
            *header = (struct record_header){.key = item, .value = BYTES_NULL};
        }
    }
    return true;
}

static struct bytes null_where_marked(const struct input *input, struct bytes bytes)
{
    bool marked =
        input->options.null_marker.data != NULL && bytes_equal(bytes, input->options.null_marker);
    return marked ? BYTES_NULL : bytes;
}

bool input_parse_line(struct input *input, struct bytes line, struct input_record *record)
{
    struct bytes rest = line;
    record->key = BYTES_NULL;
    record->timestamp = -1;
    record->header_count = 0;
    if (input->options.headers) {
        struct bytes list;
        if (!bytes_cut(&rest, BYTES_LITERAL("\t"), &list)) {
            return wrong(input, "no tab behind the headers, which --headers asks for");
        }
        if (!headers_parse(input, list, record)) {
            return false;
        }
    }
    struct bytes key;
    if (input->options.key_delimiter.size > 0 &&
        bytes_cut(&rest, input->options.key_delimiter, &key)) {
        record->key = null_where_marked(input, key);
    }
    record->value = null_where_marked(input, rest);
    return true;
}

/* JSON */

/* Strings of one line need no more room than the line, so nothing moves once it is reserved. */
static bool json_take(struct input *input, const json_t *object, const char *name,
                      struct bytes *out)
{
    bool present;
    size_t start = input->decoded.size;
    if (!json_take_bytes(object, name, &input->decoded, &present)) {
        return wrong(input, "\"%s\" is not text, null, or base64 that says so", name);
    }
    *out =
        present ? bytes_of(input->decoded.data + start, input->decoded.size - start) : BYTES_NULL;
    return true;
}

static bool json_headers_take(struct input *input, const json_t *list, struct input_record *record)
{
    if (list == NULL || json_is_null(list)) {
        return true;
    }
    if (!json_is_array(list) || json_array_size(list) > INPUT_HEADERS_MAX) {
        return wrong(input, "\"headers\" is not an array of at most %d", INPUT_HEADERS_MAX);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct record_header *header = &record->headers[record->header_count++];
        const json_t *item = json_array_get(list, i);
        if (!json_take(input, item, "key", &header->key) ||
            !json_take(input, item, "value", &header->value)) {
            return false;
        }
        if (header->key.data == NULL) {
            return wrong(input, "a header has no \"key\"");
        }
    }
    return true;
}

static bool json_record_take(struct input *input, const json_t *object, struct input_record *record)
{
    if (!json_is_object(object)) {
        return wrong(input, "not a JSON object");
    }
    const json_t *timestamp = json_object_get(object, "timestamp");
    if (timestamp != NULL && !json_is_integer(timestamp)) {
        return wrong(input, "\"timestamp\" is not whole milliseconds");
    }
    record->timestamp = timestamp == NULL ? -1 : json_integer_value(timestamp);
    record->header_count = 0;
    return json_take(input, object, "key", &record->key) &&
           json_take(input, object, "value", &record->value) &&
           json_headers_take(input, json_object_get(object, "headers"), record);
}

bool input_parse_json(struct input *input, struct bytes line, struct input_record *record)
{
    json_error_t error;
    json_t *object =
        json_loadb((const char *)line.data, line.size, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (object == NULL) {
        return wrong(input, "not JSON: %s", error.text);
    }
    input->decoded.size = 0;
    (void)text_reserve(&input->decoded, line.size + 8);
    bool good = json_record_take(input, object, record);
    json_decref(object);
    return good;
}

/* Bytes */

/* Opens the next file; false at the end of all, or with a message. */
static bool file_next(struct input *input)
{
    if (input->path_index == input->path_count) {
        return false;
    }
    const char *path = input->paths[input->path_index++];
    input->file_ended = false;
    input->file = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (input->file < 0) {
        snprintf(input->message, sizeof(input->message), "cannot open %s: %s", path,
                 strerror(errno));
        return false;
    }
    return true;
}

/* More bytes of the file behind those that are there; at its end file_ended is set. */
static enum input_result bytes_read(struct input *input, int wait_ms)
{
    if (input->start > 0) {
        memmove(input->buffer.data, input->buffer.data + input->start,
                input->buffer.size - input->start);
        input->buffer.size -= input->start;
        input->scanned -= input->start;
        input->start = 0;
    }
    if (input->buffer.size > INPUT_RECORD_SIZE_MAX) {
        wrong(input, "larger than %d bytes", INPUT_RECORD_SIZE_MAX);
        return INPUT_WRONG;
    }
    struct pollfd file = {input->file, POLLIN, 0};
    if (wait_ms >= 0 && poll(&file, 1, wait_ms) == 0) {
        return INPUT_WAIT;
    }
    ssize_t got;
    do {
        got = read(input->file, text_reserve(&input->buffer, READ_SIZE), READ_SIZE);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        snprintf(input->message, sizeof(input->message), "cannot read %s: %s",
                 input->paths[input->path_index - 1], strerror(errno));
        return INPUT_WRONG;
    }
    input->file_ended = got == 0;
    input->buffer.size += (size_t)got;
    return INPUT_GIVEN;
}

/* A whole line, the last one also without its newline. */
static bool line_take(struct input *input, struct bytes *line)
{
    size_t left = input->buffer.size - input->scanned;
    uint8_t *from = left == 0 ? NULL : input->buffer.data + input->scanned;
    uint8_t *newline = from == NULL ? NULL : memchr(from, '\n', left);
    if (newline != NULL) {
        *line = bytes_of(input->buffer.data + input->start,
                         (size_t)(newline - input->buffer.data) - input->start);
        input->start = input->scanned = (size_t)(newline - input->buffer.data) + 1;
        return true;
    }
    input->scanned = input->buffer.size;
    if (input->file_ended && input->start < input->buffer.size) {
        *line = bytes_of(input->buffer.data + input->start, input->buffer.size - input->start);
        input->start = input->buffer.size;
        return true;
    }
    return false;
}

/* An int32 size and as many bytes. False: not all there, or *good is cleared. */
static bool field_take(struct input *input, struct bytes *rest, struct bytes *field, bool *good)
{
    if (rest->size < LENGTH_SIZE) {
        return false;
    }
    int32_t size = (int32_t)get_be32(rest->data);
    if (size < -1 || size > INPUT_RECORD_SIZE_MAX) {
        *good = wrong(input, "a size of %d, not -1 to %d", size, INPUT_RECORD_SIZE_MAX);
        return false;
    }
    if (size > 0 && rest->size - LENGTH_SIZE < (size_t)size) {
        return false;
    }
    *field = size < 0 ? BYTES_NULL : bytes_of(rest->data + LENGTH_SIZE, (size_t)size);
    *rest = bytes_skip(*rest, LENGTH_SIZE + field->size);
    return true;
}

static bool sized_take(struct input *input, struct input_record *record, bool *good)
{
    struct bytes rest = bytes_skip(text_bytes(&input->buffer), input->start);
    size_t size = rest.size;
    record->timestamp = -1;
    record->header_count = 0;
    if (field_take(input, &rest, &record->key, good) &&
        field_take(input, &rest, &record->value, good)) {
        input->start += size - rest.size;
        input->scanned = input->start;
        return true;
    }
    if (*good && input->file_ended && size > 0) {
        *good = wrong(input, "cut short: %zu bytes are left", size);
    }
    return false;
}

/* A record of the bytes that are there; false: there is none, and *good says why not. */
static bool record_take(struct input *input, struct input_record *record, bool *good)
{
    if (input->options.format == INPUT_LENGTH) {
        return sized_take(input, record, good);
    }
    struct bytes line;
    while (line_take(input, &line)) {
        if (input->options.format == INPUT_LINES) {
            *good = input_parse_line(input, line, record);
            return *good;
        }
        if (line.size > 0) { /* an empty line between documents is nothing */
            *good = input_parse_json(input, line, record);
            return *good;
        }
    }
    return false;
}

enum input_result input_next(struct input *input, struct input_record *record, int wait_ms)
{
    input->record_number++;
    for (;;) {
        bool good = true;
        if (input->file < 0 && !file_next(input)) {
            return input->message[0] == '\0' ? INPUT_END : INPUT_WRONG;
        }
        if (record_take(input, record, &good)) {
            return INPUT_GIVEN;
        }
        if (!good) {
            return INPUT_WRONG;
        }
        if (input->file_ended) {
            file_close(input);
            continue;
        }
        enum input_result result = bytes_read(input, wait_ms);
        if (result != INPUT_GIVEN) {
            input->record_number--;
            return result;
        }
    }
}
