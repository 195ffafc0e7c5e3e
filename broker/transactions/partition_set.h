/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions of one transaction, by topic name: topics in order of name, indexes ascending. By name
 * and not by id, because that is what the log's format holds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/heap.h"
#include "wire/status.h"

struct partition_set_topic {
    struct bytes name; /* its own */
    int32_t *indexes;
    int32_t count;
    int32_t room;
};

struct partition_set {
    struct partition_set_topic *topics;
    int32_t topic_count;
    int32_t topic_room;
    int32_t count; /* partitions of all topics */
};

/* An empty set is all zeros and owns nothing. */
void partition_set_clear(struct partition_set *set, struct heap *heap);
bool partition_set_has(const struct partition_set *set, struct bytes topic, int32_t index);
/* STATUS_OK also when it is there already. STATUS_NO_MEMORY: the set is unchanged. */
enum status partition_set_add(struct partition_set *set, struct heap *heap, struct bytes topic,
                              int32_t index);
/* Into an empty set. STATUS_NO_MEMORY: the target is empty. */
enum status partition_set_copy(struct partition_set *target, const struct partition_set *source,
                               struct heap *heap);
