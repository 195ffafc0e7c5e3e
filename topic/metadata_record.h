/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the metadata log as KRaft frames them: frame version (uvarint, 1), key (uvarint),
 * version (uvarint), message. Keys that this broker has no use for decode to the key alone.
 */
#pragma once

#include "base/arena.h"
#include "wire/cluster_metadata.h"
#include "wire/status.h"
#include "wire/writer.h"

struct metadata_record {
    int32_t key;
    union {
        struct topic_record topic;
        struct partition_record partition;
        struct partition_change_record partition_change;
        struct config_record config;
        struct remove_topic_record remove_topic;
        struct producer_ids_record producer_ids;
        struct feature_level_record feature_level;
    };
};

/* Slices point into `frame`, arrays into the arena. STATUS_CORRUPT_MESSAGE when it makes no sense.
 */
enum status metadata_record_decode(struct bytes frame, struct arena *arena,
                                   struct metadata_record *record);
/* The frame lies in the arena; data NULL when the arena refused. */
struct bytes metadata_record_encode(const struct metadata_record *record, struct arena *arena);
