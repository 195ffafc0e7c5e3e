/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) The catalog as one core sees it: topics, ids, partitions, configs, where each partition
 * lives.
 *
 * Every core has its own image and changes it by the same records in the same order, so no core
 * ever reads another's memory and no lock or shared tree is needed. Rejected: one shared tree of
 * reference-counted nodes; the copies cost about 200 bytes a topic and core, the tree an atomic
 * per look-up.
 *
 * M1  Two images that applied the same records are equal, placement included.
 * M2  A topic is in both tables or in neither.
 * M3  Partition indexes of a topic are dense from 0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/uuid.h"
#include "topic/config.h"
#include "topic/peers.h"
#include "wire/status.h"

struct partition;

struct image_partition {
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t core;                /* owner */
    struct partition *local;     /* on the owner's image only; set by the manager */
    int64_t closed_start_offset; /* likewise, once it was closed cleanly */
    int64_t closed_end_offset;
};

/* One explicit topic config. */
struct image_setting {
    struct list_node node;
    char *name;
    char *value;
};

struct image_topic {
    uint32_t magic;
    struct table_node by_name;
    struct table_node by_id;
    struct list_node node; /* order of creation */
    struct uuid id;
    char *name;
    bool renewed; /* a topic of this name was removed before: see image_note_renewed() */
    int32_t partition_count;
    int32_t partition_room;
    struct image_partition *partitions;
    struct list settings;
    struct topic_config config; /* effective: broker defaults under the settings */
};

/* What apply tells its owner, while the topic is whole. Removal comes before the topic is freed. */
struct image_listener {
    void (*partition_added)(void *context, struct image_topic *topic, int32_t index);
    void (*partition_changed)(void *context, struct image_topic *topic, int32_t index);
    void (*topic_configured)(void *context, struct image_topic *topic);
    void (*topic_removed)(void *context, struct image_topic *topic);
    void *context;
};

struct image {
    struct heap *heap;
    struct table names;
    struct table ids;
    struct list topics;
    int32_t topic_count;
    int32_t partition_count;
    uint64_t version; /* another number whenever a topic or a partition came or went; never 0 */
    int64_t producer_id_next; /* first id that no block has taken */
    int32_t core_count;
    uint32_t core_partitions[CORES_MAX];
    struct topic_config defaults;
    struct list removed; /* ids removed while `remember_removed`: see image_was_removed() */
    bool remember_removed;
};

[[nodiscard]] bool image_init(struct image *image, struct heap *heap, uint64_t seed,
                              int32_t core_count, const struct topic_config *defaults);
void image_deinit(struct image *image);

/*
 * Applies one framed record of the metadata log (frame version, key, version, message).
 * Kinds that a single broker has no use for are skipped. STATUS_CORRUPT_MESSAGE when it cannot be
 * decoded, STATUS_NO_MEMORY when the heap refuses: in both cases the caller stops the broker,
 * because images that differ are worse than none. `scratch` holds decoded arrays; the
 * caller resets it.
 */
enum status image_apply(struct image *image, struct bytes record, struct arena *scratch,
                        const struct image_listener *listener);

/* Every record of one batch, in order; control batches change nothing. Resets `scratch`, which
 * needs room for the arrays of one record. */
enum status image_apply_batch(struct image *image, struct bytes batch, struct arena *scratch,
                              const struct image_listener *listener);

struct image_topic *image_find_name(const struct image *image, struct bytes name);
struct image_topic *image_find_id(const struct image *image, const struct uuid *id);
/* A topic whose name collides with this one ("a.b" and "a_b"), or NULL. */
struct image_topic *image_find_collision(const struct image *image, struct bytes name);
const char *image_setting_value(const struct image_topic *topic, const char *name);
/* Whether a RemoveTopicRecord for this id went by during the replay at start. */
bool image_was_removed(const struct image *image, const struct uuid *id);
/* Sets `renewed` of the topics whose name had another id before, as far as the replay tells. */
void image_note_renewed(struct image *image);

#define IMAGE_TOPIC_MAGIC 0x70746977u
