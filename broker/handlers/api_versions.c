/* SPDX-License-Identifier: Apache-2.0 */
/* ApiVersions: exactly the rows of api.def. An unknown version is answered in version 0 with error
 * 35 and our own range, and the client asks again (KIP-511). */
#include "wire/api_versions.h"
#include "broker/handlers/handler.h"

/* Feature levels that clients look at. Version 2 of transactions is KIP-890. */
static const struct feature {
    const char *name;
    int16_t min;
    int16_t max;
    int16_t level; /* in force */
} FEATURES[] = {
    {"group.version", 0, 1, 1},
    {"transaction.version", 0, 2, 2},
};

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool software_is_named(struct bytes text)
{
    if (text.size == 0 || !is_word(text.data[0]) || !is_word(text.data[text.size - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!is_word(text.data[i]) && text.data[i] != '-' && text.data[i] != '.') {
            return false;
        }
    }
    return true;
}

static void rows_fill(struct request *request, struct api_versions_response *out, bool all)
{
    int32_t count;
    const struct api *rows = api_rows(&count);
    out->api_keys =
        arena_new_array(&request->arena, struct api_versions_response_api_key, (size_t)count);
    if (out->api_keys == NULL) {
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        if (!all && rows[i].key != API_VERSIONS_KEY) {
            continue;
        }
        struct api_versions_response_api_key *key = &out->api_keys[out->api_keys_count++];
        key->api_key = rows[i].key;
        key->min_version = rows[i].version_advertised;
        key->max_version = rows[i].version_max;
    }
}

/* Below version 4 a feature whose minimum is 0 cannot be told: clients took 0 for damage. */
static void features_fill(struct request *request, struct api_versions_response *out)
{
    size_t count = ARRAY_COUNT(FEATURES);
    out->finalized_features_epoch = 0;
    out->supported_features =
        arena_new_array(&request->arena, struct api_versions_response_supported_feature, count);
    out->finalized_features =
        arena_new_array(&request->arena, struct api_versions_response_finalized_feature, count);
    if (out->supported_features == NULL || out->finalized_features == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct feature *feature = &FEATURES[i];
        if (feature->min > 0 || request->version >= 4) {
            out->supported_features[out->supported_features_count++] =
                (struct api_versions_response_supported_feature){bytes_of_text(feature->name),
                                                                 feature->min, feature->max};
        }
        out->finalized_features[out->finalized_features_count++] =
            (struct api_versions_response_finalized_feature){bytes_of_text(feature->name),
                                                             feature->level, feature->level};
    }
}

void handle_api_versions(struct request *request)
{
    struct api_versions_response out;
    api_versions_response_init(&out);
    if (request->version < request->api->version_min ||
        request->version > request->api->version_max) {
        request->version = 0;
        out.error_code = status_code(STATUS_UNSUPPORTED_VERSION);
        rows_fill(request, &out, false);
        api_versions_response_encode(request_reply(request), 0, &out);
        request_finish(request);
        return;
    }
    struct api_versions_request in;
    if (!REQUEST_DECODE(request, api_versions_request_decode, &in)) {
        return;
    }
    bool named = request->version < 3 || (software_is_named(in.client_software_name) &&
                                          software_is_named(in.client_software_version));
    if (named) {
        rows_fill(request, &out, true);
        features_fill(request, &out);
    } else {
        out.error_code = status_code(STATUS_INVALID_REQUEST);
    }
    api_versions_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}
