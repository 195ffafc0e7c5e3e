/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "broker/properties.h"

#define EXIT_CONFIG 2
#define RACK_SIZE_MAX 255

#define BROKER_CONFIG(field_, name_, kind_, default_, low_, high_, choices_, flags_, sentence_)    \
    {                                                                                              \
        .name = name_,                                                                             \
        .kind = SETTING_##kind_,                                                                   \
        .offset = offsetof(struct broker_config, field_),                                          \
        .default_text = default_,                                                                  \
        .low = low_,                                                                               \
        .high = high_,                                                                             \
        .choices = choices_,                                                                       \
        .flags = flags_,                                                                           \
        .sentence = sentence_,                                                                     \
    },
static const struct setting table[] = {
#include "broker/config.def"
};
#undef BROKER_CONFIG

struct refusal {
    char *message;
    size_t size;
};

const struct setting *broker_config_row(size_t index)
{
    check(index < ARRAY_COUNT(table));
    return &table[index];
}

static const char *find_text(const void *context, const char *name)
{
    const struct broker_config *config = context;
    const struct setting *setting = setting_find(table, ARRAY_COUNT(table), bytes_of_text(name));
    return setting == NULL ? NULL : config->texts[setting - table];
}

struct setting_lookup broker_config_lookup(const struct broker_config *config)
{
    return (struct setting_lookup){find_text, config};
}

void broker_config_describe(const struct broker_config *config, size_t index,
                            struct setting_row *row)
{
    check(index < ARRAY_COUNT(table));
    setting_describe(&table[index], broker_config_lookup(config), SETTING_SOURCE_STATIC,
                     (struct setting_lookup){0}, row);
}

/* ---- keys and values ---- */

static char *text_copy(struct heap *heap, struct bytes text)
{
    char *copy = heap_acquire(heap, text.size + 1);
    if (copy != NULL && text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return copy;
}

static void text_release(struct heap *heap, char *text)
{
    if (text != NULL) {
        heap_release(heap, text, strlen(text) + 1);
    }
}

static int out_of_memory(struct refusal refusal)
{
    snprintf(refusal.message, refusal.size, "the configuration does not fit in memory");
    return EXIT_CONFIG;
}

static int note_unknown(struct broker_config *config, struct bytes key, struct refusal refusal)
{
    for (int32_t i = 0; i < config->unknown_count; i++) {
        if (bytes_equal(bytes_of_text(config->unknown[i]), key)) {
            return 0;
        }
    }
    if (config->unknown_count == BROKER_UNKNOWN_MAX) {
        config->unknown_dropped += 1;
        return 0;
    }
    const uint8_t *zero = key.size == 0 ? NULL : memchr(key.data, '\0', key.size);
    if (zero != NULL) {
        key.size = (size_t)(zero - key.data);
    }
    char *copy = text_copy(config->heap, key);
    if (copy == NULL) {
        return out_of_memory(refusal);
    }
    config->unknown[config->unknown_count++] = copy;
    return 0;
}

static int keep(struct broker_config *config, struct bytes key, struct bytes text,
                struct refusal refusal)
{
    const struct setting *setting = setting_find(table, ARRAY_COUNT(table), key);
    if (setting == NULL) {
        return note_unknown(config, key, refusal);
    }
    struct setting_value value;
    char message[SETTING_MESSAGE_SIZE];
    if (setting_parse(setting, text, &value, message) != STATUS_OK) {
        snprintf(refusal.message, refusal.size, "%s", message);
        return EXIT_CONFIG;
    }
    char *buffer = heap_acquire(config->heap, text.size + 1);
    if (buffer == NULL) {
        return out_of_memory(refusal);
    }
    struct bytes canonical = bytes_of(buffer, setting_canonical(setting, text, buffer));
    char *copy = text_copy(config->heap, canonical);
    heap_release(config->heap, buffer, text.size + 1);
    if (copy == NULL) {
        return out_of_memory(refusal);
    }
    char **place = &config->texts[setting - table];
    text_release(config->heap, *place);
    *place = copy;
    return 0;
}

static int load_text(struct broker_config *config, struct bytes text, struct refusal refusal)
{
    uint8_t *memory = heap_acquire(config->heap, text.size);
    if (memory == NULL) {
        return out_of_memory(refusal);
    }
    struct properties properties;
    properties_init(&properties, text, memory);
    int code = 0;
    while (code == 0) {
        struct bytes key;
        struct bytes value;
        enum status status = properties_next(&properties, &key, &value);
        if (status == STATUS_NOT_FOUND) {
            break;
        }
        if (status != STATUS_OK) {
            snprintf(refusal.message, refusal.size,
                     "line %d: \\u must be followed by four hexadecimal digits", properties.line);
            code = EXIT_CONFIG;
            break;
        }
        code = keep(config, key, value, refusal);
    }
    heap_release(config->heap, memory, text.size);
    return code;
}

static int load_overrides(struct broker_config *config, const char *const *overrides, int32_t count,
                          struct refusal refusal)
{
    for (int32_t i = 0; i < count; i++) {
        const char *equal = strchr(overrides[i], '=');
        if (equal == NULL) {
            snprintf(refusal.message, refusal.size, "--set %.100s: say KEY=VALUE", overrides[i]);
            return EXIT_CONFIG;
        }
        struct bytes key = bytes_of(overrides[i], (size_t)(equal - overrides[i]));
        int code = keep(config, key, bytes_of_text(equal + 1), refusal);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

/* ---- what follows ---- */

static int refuse(struct refusal refusal, const char *sentence)
{
    snprintf(refusal.message, refusal.size, "%s", sentence);
    return EXIT_CONFIG;
}

static bool is_set(const struct broker_config *config, int row)
{
    return config->texts[row] != NULL;
}

static void store_fields(struct broker_config *config)
{
    setting_store_defaults(table, ARRAY_COUNT(table), config);
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (config->texts[i] == NULL) {
            continue;
        }
        struct setting_value value;
        char message[SETTING_MESSAGE_SIZE];
        check(setting_parse(&table[i], bytes_of_text(config->texts[i]), &value, message) ==
              STATUS_OK);
        setting_store(&table[i], &value, config);
        if ((table[i].flags & SETTING_INERT) != 0) {
            config->inert[config->inert_count++] = table[i].name;
        }
    }
}

/* What meta.properties keeps in one line as it is, and reads back the same. */
static bool is_plain_line(const char *text, size_t size_max)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] > '~' || text[i] == '\\') {
            return false;
        }
    }
    return size <= size_max;
}

static int resolve_identity(struct broker_config *config, struct refusal refusal)
{
    bool by_old_name = is_set(config, BROKER_CONFIG_broker_id) && config->broker_id >= 0;
    if (by_old_name && is_set(config, BROKER_CONFIG_node_id) &&
        config->node_id != config->broker_id) {
        snprintf(refusal.message, refusal.size, "node.id=%d and broker.id=%d must be equal",
                 config->node_id, config->broker_id);
        return EXIT_CONFIG;
    }
    if (by_old_name) {
        config->node_id = config->broker_id;
    }
    if (!is_plain_line(config->cluster_id, CLUSTER_ID_SIZE - 1)) {
        return refuse(refusal, "cluster.id: must be at most 63 printable ASCII characters without "
                               "a backslash");
    }
    if (!is_plain_line(config->broker_rack, RACK_SIZE_MAX)) {
        return refuse(refusal, "broker.rack: must be at most 255 printable ASCII characters "
                               "without a backslash");
    }
    if ((config->process_roles & 1) == 0 && is_set(config, BROKER_CONFIG_process_roles) &&
        config->process_roles != 0) {
        return refuse(refusal, "process.roles=controller: must contain broker");
    }
    return 0;
}

static int resolve_folder(struct broker_config *config, struct refusal refusal)
{
    const char *key = config->log_dirs != NULL ? "log.dirs" : "log.dir";
    config->data_dir = config->log_dirs != NULL ? config->log_dirs : config->log_dir;
    if (config->data_dir[0] == '\0' || strchr(config->data_dir, ',') != NULL) {
        snprintf(refusal.message, refusal.size, "%s=%.100s: must name one folder", key,
                 config->data_dir);
        return EXIT_CONFIG;
    }
    return 0;
}

static int resolve_listeners(struct broker_config *config, struct refusal refusal)
{
    struct broker_endpoint all[ENDPOINTS_MAX];
    char message[ENDPOINT_MESSAGE_SIZE];
    int32_t count;
    if (endpoints_parse("listeners", bytes_of_text(config->listener_list), all, &count, message) !=
        STATUS_OK) {
        return refuse(refusal, message);
    }
    for (int32_t i = 0; i < count; i++) {
        if (endpoint_is_listed(config->controller_names, all[i].name)) {
            continue;
        }
        struct bytes protocol = endpoint_protocol(config->listener_protocols, all[i].name);
        if (!bytes_equal(protocol, BYTES_LITERAL("PLAINTEXT"))) {
            int size = protocol.size < 40 ? (int)protocol.size : 40;
            snprintf(refusal.message, refusal.size,
                     "listeners: %s uses the protocol %.*s, but only PLAINTEXT is served; see "
                     "listener.security.protocol.map",
                     all[i].name, size, (const char *)protocol.data);
            return EXIT_CONFIG;
        }
        for (int32_t j = 0; j < config->listener_count; j++) {
            if (config->listeners[j].port == all[i].port && all[i].port != 0 &&
                strcmp(config->listeners[j].host, all[i].host) == 0) {
                snprintf(refusal.message, refusal.size,
                         "listeners: %s and %s have one host and port; give each its own",
                         config->listeners[j].name, all[i].name);
                return EXIT_CONFIG;
            }
        }
        config->listeners[config->listener_count++] = all[i];
    }
    return config->listener_count > 0 ? 0 : refuse(refusal, "listeners: must name at least one");
}

static bool has_listener(const struct broker_config *config, const char *name)
{
    for (int32_t i = 0; i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int resolve_advertised(struct broker_config *config, struct refusal refusal)
{
    struct broker_endpoint all[ENDPOINTS_MAX];
    char message[ENDPOINT_MESSAGE_SIZE];
    int32_t count;
    if (endpoints_parse("advertised.listeners", bytes_of_text(config->advertised_list), all, &count,
                        message) != STATUS_OK) {
        return refuse(refusal, message);
    }
    for (int32_t i = 0; i < count; i++) {
        if (endpoint_is_listed(config->controller_names, all[i].name)) {
            continue;
        }
        const char *host = all[i].host;
        if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0) {
            snprintf(refusal.message, refusal.size,
                     "advertised.listeners: %s must have a host that clients can connect to, not "
                     "\"%s\"",
                     all[i].name, host);
            return EXIT_CONFIG;
        }
        if (!has_listener(config, all[i].name)) {
            snprintf(refusal.message, refusal.size,
                     "advertised.listeners: %s is not among listeners", all[i].name);
            return EXIT_CONFIG;
        }
        config->advertised[config->advertised_count++] = all[i];
    }
    return 0;
}

static int resolve_limits(struct broker_config *config, struct refusal refusal)
{
    if (config->memory_size != 0 && config->memory_size < BROKER_MEMORY_SIZE_MIN) {
        snprintf(refusal.message, refusal.size,
                 "memory.bytes=%lld: must be 0 or a whole number of %lld or more",
                 (long long)config->memory_size, (long long)BROKER_MEMORY_SIZE_MIN);
        return EXIT_CONFIG;
    }
    if (config->group_session_ms_min > config->group_session_ms_max) {
        return refuse(refusal, "group.min.session.timeout.ms must not be above "
                               "group.max.session.timeout.ms");
    }
    return 0;
}

static int resolve_topics(struct broker_config *config, struct refusal refusal)
{
    char message[TOPIC_CONFIG_MESSAGE_SIZE];
    topic_config_defaults(&config->topic_defaults);
    config->topic_defaults.producer_expiration_ms = config->producer_expiration_ms;
    if (topic_config_inherit(&config->topic_defaults, broker_config_lookup(config), message) !=
            STATUS_OK ||
        topic_config_check(&config->topic_defaults, message) != STATUS_OK) {
        return refuse(refusal, message);
    }
    return 0;
}

static int resolve(struct broker_config *config, struct refusal refusal)
{
    static int (*const steps[])(struct broker_config *, struct refusal) = {
        resolve_identity,   resolve_folder, resolve_listeners,
        resolve_advertised, resolve_limits, resolve_topics,
    };
    store_fields(config);
    int code = 0;
    for (size_t i = 0; i < ARRAY_COUNT(steps) && code == 0; i++) {
        code = steps[i](config, refusal);
    }
    return code;
}

void broker_config_unload(struct broker_config *config)
{
    struct heap *heap = config->heap;
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        text_release(heap, config->texts[i]);
    }
    for (int32_t i = 0; i < config->unknown_count; i++) {
        text_release(heap, config->unknown[i]);
    }
    memset(config, 0, sizeof(*config));
}

int broker_config_load(struct broker_config *config, struct heap *heap, const char *text,
                       const char *const *overrides, int32_t override_count, char *message,
                       size_t message_size)
{
    struct refusal refusal = {message, message_size};
    memset(config, 0, sizeof(*config));
    config->heap = heap;
    int code = load_text(config, bytes_of_text(text), refusal);
    if (code == 0) {
        code = load_overrides(config, overrides, override_count, refusal);
    }
    if (code == 0) {
        code = resolve(config, refusal);
    }
    if (code != 0) {
        broker_config_unload(config);
    }
    return code;
}
