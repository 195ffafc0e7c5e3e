/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/pattern.h"

#include <re2/re2.h>

#include <cstdio>
#include <new>

struct pattern {
    pattern(re2::StringPiece text, const re2::RE2::Options &options) : re2(text, options)
    {
    }
    re2::RE2 re2;
};

struct pattern *pattern_open(const void *text, size_t size, char message[PATTERN_MESSAGE_SIZE])
{
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(PATTERN_SIZE_MAX);
    struct pattern *pattern = new (std::nothrow) struct pattern(
        re2::StringPiece(static_cast<const char *>(text), size), options);
    if (pattern == nullptr) {
        std::snprintf(message, PATTERN_MESSAGE_SIZE, "no memory for the regular expression");
    } else if (!pattern->re2.ok()) {
        std::snprintf(message, PATTERN_MESSAGE_SIZE, "SubscribedTopicRegex is not valid: %s",
                      pattern->re2.error().c_str());
        delete pattern;
        pattern = nullptr;
    }
    return pattern;
}

bool pattern_matches(const struct pattern *pattern, const void *name, size_t size)
{
    return re2::RE2::FullMatch(re2::StringPiece(static_cast<const char *>(name), size),
                               pattern->re2);
}

void pattern_close(struct pattern *pattern)
{
    delete pattern;
}
