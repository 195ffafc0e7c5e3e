/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/record_output.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/json.h"

static const char LETTERS[] = "vskhtpoTVSK%";

struct output_name {
    const char *name;
    enum output_kind kind;
    const char *pattern;
    const char *delimiter;
};

static const struct output_name NAMES[] = {
    {"value", OUTPUT_TEMPLATE, "%v", "\\n"},
    {"key-value", OUTPUT_TEMPLATE, "%k\\t%v", "\\n"},
    {"full", OUTPUT_TEMPLATE, "%t\\t%p\\t%o\\t%T\\t%h\\t%k\\t%v", "\\n"},
    {"raw", OUTPUT_TEMPLATE, "%v", ""},
    {"json", OUTPUT_JSON, "", ""},
    {"length", OUTPUT_LENGTH, "", ""},
};

static struct output_item *item_add(struct output *output, char letter)
{
    size_t count = (size_t)output->item_count + 1;
    output->items = cli_allocate(output->items, count * sizeof(output->items[0]));
    struct output_item *item = &output->items[output->item_count++];
    *item = (struct output_item){.letter = letter, .start = output->literals.size};
    return item;
}

static bool literal_add(struct output *output, const char *from, size_t size)
{
    if (size == 0) {
        return true;
    }
    char *words = cli_allocate(NULL, size + 1);
    memcpy(words, from, size);
    words[size] = '\0';
    struct output_item *item = item_add(output, 0);
    bool good = text_append_escaped(&output->literals, words);
    item->size = output->literals.size - item->start;
    free(words);
    return good;
}

static bool template_parse(struct output *output, const char *pattern)
{
    for (;;) {
        const char *percent = strchrnul(pattern, '%');
        if (!literal_add(output, pattern, (size_t)(percent - pattern))) {
            return false;
        }
        if (*percent == '\0') {
            return true;
        }
        if (percent[1] == '\0' || strchr(LETTERS, percent[1]) == NULL) {
            return false;
        }
        item_add(output, percent[1]);
        pattern = percent + 2;
    }
}

bool output_init(struct output *output, const char *format, const char *delimiter, char *message,
                 size_t message_size)
{
    struct output_name found = {format, OUTPUT_TEMPLATE, format, ""};
    bool named = false;
    for (size_t i = 0; i < ARRAY_COUNT(NAMES); i++) {
        if (strcmp(NAMES[i].name, format) == 0) {
            found = NAMES[i];
            named = true;
        }
    }
    *output = (struct output){.kind = found.kind};
    if (!named && strchr(format, '%') == NULL) {
        snprintf(message, message_size,
                 "--format \"%s\" is none of value, key-value, json, full, raw, length and has no "
                 "%% as a template would",
                 format);
        return false;
    }
    if (!template_parse(output, found.pattern)) {
        snprintf(message, message_size,
                 "--format \"%s\": behind %% stands one of %s, behind \\ one of n r t 0 \\ xHH",
                 format, LETTERS);
        output_deinit(output);
        return false;
    }
    if (!text_append_escaped(&output->delimiter, delimiter == NULL ? found.delimiter : delimiter)) {
        snprintf(message, message_size, "--delimiter \"%s\": behind \\ one of n r t 0 \\ xHH",
                 delimiter);
        output_deinit(output);
        return false;
    }
    return true;
}

void output_deinit(struct output *output)
{
    text_deinit(&output->literals);
    text_deinit(&output->delimiter);
    free(output->items);
    output->items = NULL;
    output->item_count = 0;
}

static void bytes_append(const struct output *output, struct bytes bytes, struct text *to)
{
    text_append(to, bytes.data == NULL ? output->null_marker : bytes);
}

static void headers_append(const struct output *output, struct bytes headers, struct text *to)
{
    struct record_header header;
    bool first = true;
    while (record_header_next(&headers, &header)) {
        text_append_words(to, first ? "" : ",");
        text_append(to, header.key);
        text_append_words(to, "=");
        bytes_append(output, header.value, to);
        first = false;
    }
}

static int64_t size_shown(struct bytes bytes)
{
    return bytes.data == NULL ? -1 : (int64_t)bytes.size;
}

static void item_append(const struct output *output, char letter, const struct output_record *from,
                        struct text *to)
{
    const struct record *record = from->record;
    switch (letter) {
    case 'v':
    case 's':
        return bytes_append(output, record->value, to);
    case 'k':
        return bytes_append(output, record->key, to);
    case 'h':
        return headers_append(output, record->headers, to);
    case 't':
        return text_append(to, from->topic);
    case 'p':
        return text_append_number(to, from->partition);
    case 'o':
        return text_append_number(to, record->offset);
    case 'T':
        return text_append_number(to, record->timestamp);
    case 'V':
    case 'S':
        return text_append_number(to, size_shown(record->value));
    case 'K':
        return text_append_number(to, size_shown(record->key));
    case '%':
        return text_append_words(to, "%");
    default:
        unreachable();
    }
}

static int text_sink(const char *data, size_t size, void *context)
{
    text_append(context, bytes_of(data, size));
    return 0;
}

static void json_append(const struct output_record *from, struct text *to)
{
    const struct record *record = from->record;
    json_t *object = json_object();
    json_object_set_new(object, "topic", json_of_text(from->topic));
    json_object_set_new(object, "partition", json_integer(from->partition));
    json_object_set_new(object, "offset", json_integer(record->offset));
    json_object_set_new(object, "timestamp", json_integer(record->timestamp));
    json_t *headers = json_array();
    struct bytes rest = record->headers;
    struct record_header header;
    while (record_header_next(&rest, &header)) {
        json_t *item = json_object();
        json_set_bytes(item, "key", header.key);
        json_set_bytes(item, "value", header.value);
        json_array_append_new(headers, item);
    }
    json_object_set_new(object, "headers", headers);
    json_set_bytes(object, "key", record->key);
    json_set_bytes(object, "value", record->value);
    (void)json_dump_callback(object, text_sink, to, JSON_COMPACT);
    text_append_words(to, "\n");
    json_decref(object);
}

static void sized_append(struct bytes bytes, struct text *to)
{
    uint8_t size[4];
    put_be32(size, (uint32_t)size_shown(bytes));
    text_append(to, bytes_of(size, sizeof(size)));
    text_append(to, bytes);
}

void output_append(const struct output *output, const struct output_record *record, struct text *to)
{
    if (output->kind == OUTPUT_JSON) {
        json_append(record, to);
        return;
    }
    if (output->kind == OUTPUT_LENGTH) {
        sized_append(record->record->key, to);
        sized_append(record->record->value, to);
        return;
    }
    for (int32_t i = 0; i < output->item_count; i++) {
        const struct output_item *item = &output->items[i];
        if (item->letter == 0) {
            text_append(to, bytes_of(output->literals.data + item->start, item->size));
        } else {
            item_append(output, item->letter, record, to);
        }
    }
    text_append(to, text_bytes(&output->delimiter));
}
