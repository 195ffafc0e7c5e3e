/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be set for the broker: a .properties text and KEY=VALUE overrides, later ones win. One
 * table (broker/config.def) makes the struct, the parser and what DescribeConfigs answers. No I/O.
 *
 * Constant after loading.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "broker/endpoint.h"
#include "storage/config.h"
#include "topic/config.h"
#include "topic/setting.h"

#define BROKER_UNKNOWN_MAX 32
#define CLUSTER_ID_SIZE 64 /* bytes, with the NUL */
#define BROKER_MEMORY_SIZE_MIN (INT64_C(64) << 20)

enum {
#define BROKER_CONFIG(field, ...) BROKER_CONFIG_##field,
#include "broker/config.def"
#undef BROKER_CONFIG
    BROKER_CONFIG_COUNT,
};

/* The order of the words in the table; the ring's words are in the order of enum ring_kind, the
 * writer's in that of enum writer_kind. */
enum broker_pin { BROKER_PIN_AUTO, BROKER_PIN_ON, BROKER_PIN_OFF };

struct broker_config {
#define BROKER_CONFIG(field, name, kind, ...) SETTING_FIELD_##kind field;
#include "broker/config.def"
#undef BROKER_CONFIG
    /* What follows from the fields above. */
    const char *data_dir;
    struct broker_endpoint listeners[ENDPOINTS_MAX];
    int32_t listener_count;
    struct broker_endpoint advertised[ENDPOINTS_MAX]; /* each names one of the listeners */
    int32_t advertised_count;
    struct topic_config topic_defaults;
    /* For one warning each: keys nobody knows, and keys that are known and change nothing here. */
    char *unknown[BROKER_UNKNOWN_MAX];
    int32_t unknown_count;
    int32_t unknown_dropped; /* beyond BROKER_UNKNOWN_MAX */
    const char *inert[BROKER_CONFIG_COUNT];
    int32_t inert_count;
    /* Its own. */
    struct heap *heap;
    char *texts[BROKER_CONFIG_COUNT]; /* explicit values in canonical form; NULL: not set */
};

/*
 * text: the file's, "" for none; overrides: KEY=VALUE each. 0, or 2 (the exit code of a wrong
 * configuration) with one sentence that names key, value and what is allowed; nothing is held then.
 */
int broker_config_load(struct broker_config *config, struct heap *heap, const char *text,
                       const char *const *overrides, int32_t override_count, char *message,
                       size_t message_size);
/* After a successful load only. */
void broker_config_unload(struct broker_config *config);

/* Rows in alphabetical order of names. */
const struct setting *broker_config_row(size_t index);
/* Row `index` for DescribeConfigs of a broker; all of them are read-only. */
void broker_config_describe(const struct broker_config *config, size_t index,
                            struct setting_row *row);
/* Explicit values by key: what lies below the topics' own settings. */
struct setting_lookup broker_config_lookup(const struct broker_config *config);
