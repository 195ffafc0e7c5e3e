/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: its lines, and the broker made from it. What was taken is taken again in
 * the form in which it is shown. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/config.h"
#include "broker/properties.h"
#include "tests/fuzz/fuzz.h"

static void read_lines(const uint8_t *data, size_t size)
{
    uint8_t *memory = malloc(size == 0 ? 1 : size);
    check(memory != NULL);
    struct properties properties;
    properties_init(&properties, bytes_of(data, size), memory);
    struct bytes key;
    struct bytes value;
    int32_t line = 0;
    while (properties_next(&properties, &key, &value) == STATUS_OK) {
        check(properties.line > line);
        line = properties.line;
        check(properties.size <= size);
        check(key.data >= memory && value.data == key.data + key.size);
        check(value.data + value.size == memory + properties.size);
    }
    free(memory);
}

static void load_again(const struct broker_config *config, struct heap *heap)
{
    char message[400];
    for (size_t i = 0; i < BROKER_CONFIG_COUNT; i++) {
        struct setting_row row;
        broker_config_describe(config, i, &row);
        if (row.source != SETTING_SOURCE_STATIC || row.value == NULL) {
            continue;
        }
        struct setting_value value;
        check(setting_parse(row.setting, bytes_of_text(row.value), &value, message) == STATUS_OK);
        char *out = malloc(strlen(row.value) + 1);
        check(out != NULL);
        size_t size = setting_canonical(row.setting, bytes_of_text(row.value), out);
        check(bytes_equal(bytes_of(out, size), bytes_of_text(row.value)));
        free(out);
    }
    check(heap->size > 0 || config->unknown_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_lines(data, size);
    char *text = malloc(size + 1);
    check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    struct heap heap;
    heap_init(&heap, (size_t)(16 * MIB));
    struct broker_config config;
    char message[400];
    if (broker_config_load(&config, &heap, text, NULL, 0, message, sizeof(message)) == 0) {
        load_again(&config, &heap);
        broker_config_unload(&config);
    } else {
        check(message[0] != '\0' && strlen(message) < sizeof(message));
    }
    heap_deinit(&heap);
    free(text);
    return 0;
}
