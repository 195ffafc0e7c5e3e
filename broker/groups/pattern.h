/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions of topic names, in RE2's syntax as KIP-848 wants it: linear time whatever the
 * pattern, so a client cannot stop a core with one. The one file of C++ (pattern.cc); RE2 takes its
 * memory from the C library, at most PATTERN_SIZE_MAX a pattern, and only while it is open.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PATTERN_SIZE_MAX (1 << 20)
#define PATTERN_MESSAGE_SIZE 200

struct pattern;

/* NULL: it is no regular expression, and `message` says why, with a final NUL. */
struct pattern *pattern_open(const void *text, size_t size, char message[PATTERN_MESSAGE_SIZE]);
/* Whether the whole name matches. */
bool pattern_matches(const struct pattern *pattern, const void *name, size_t size);
void pattern_close(struct pattern *pattern);

#ifdef __cplusplus
}
#endif
