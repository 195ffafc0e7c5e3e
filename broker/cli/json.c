/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/json.h"

#include <stdlib.h>
#include <string.h>

#define ENCODING_SUFFIX "_encoding"

static const char *encoding_name(const char *name, char buffer[64])
{
    snprintf(buffer, 64, "%s" ENCODING_SUFFIX, name);
    return buffer;
}

json_t *json_of_text(struct bytes text)
{
    if (text.data == NULL) {
        return json_null();
    }
    if (bytes_are_utf8(text)) {
        return json_stringn((const char *)text.data, text.size);
    }
    struct text repaired = {0};
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x80) {
            text_append(&repaired, bytes_of(&text.data[i], 1));
        } else {
            text_append_words(&repaired, "\xef\xbf\xbd");
        }
    }
    json_t *result = json_stringn((const char *)repaired.data, repaired.size);
    text_deinit(&repaired);
    return result;
}

void json_set_bytes(json_t *object, const char *name, struct bytes bytes)
{
    if (bytes.data == NULL || bytes_are_utf8(bytes)) {
        json_object_set_new(object, name, json_of_text(bytes));
        return;
    }
    char encoding[64];
    struct text base64 = {0};
    text_append_base64(&base64, bytes);
    json_object_set_new(object, name, json_stringn((const char *)base64.data, base64.size));
    json_object_set_new(object, encoding_name(name, encoding), json_string("base64"));
    text_deinit(&base64);
}

bool json_take_bytes(const json_t *object, const char *name, struct text *text, bool *present)
{
    char encoding[64];
    const json_t *value = json_object_get(object, name);
    const json_t *how = json_object_get(object, encoding_name(name, encoding));
    *present = value != NULL && !json_is_null(value);
    if (!*present) {
        return true;
    }
    if (!json_is_string(value)) {
        return false;
    }
    struct bytes bytes = bytes_of(json_string_value(value), json_string_length(value));
    if (how == NULL) {
        text_append(text, bytes);
        return true;
    }
    return json_is_string(how) && strcmp(json_string_value(how), "base64") == 0 &&
           text_append_base64_decoded(text, bytes);
}

void json_print(json_t *document, FILE *to, bool one_line)
{
    (void)json_dumpf(document, to, one_line ? JSON_COMPACT : JSON_INDENT(2));
    fputc('\n', to);
    json_decref(document);
}

void json_set_partitions(json_t *object, struct bytes topic, const int32_t *partitions,
                         int32_t count)
{
    if (!bytes_are_utf8(topic)) {
        return;
    }
    json_t *array = json_array();
    for (int32_t i = 0; i < count; i++) {
        json_array_append_new(array, json_integer(partitions[i]));
    }
    json_object_setn_new(object, (const char *)topic.data, topic.size, array);
}

void json_end(json_t *document, bool print)
{
    if (print && document != NULL) {
        json_print(document, stdout, false);
    } else {
        json_decref(document);
    }
}
