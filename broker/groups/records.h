/* SPDX-License-Identifier: Apache-2.0 */
/* Records of __consumer_offsets: an int16 before each key (which message) and value (its version).
 */
#pragma once

#include "base/arena.h"
#include "broker/shard.h"
#include "wire/consumer_offsets.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* What Kafka 4.1 writes. */
#define OFFSET_COMMIT_VERSION 3
#define OFFSET_COMMIT_EXPIRING_VERSION 1 /* with a time of its own to expire at */
#define GROUP_METADATA_VERSION 3

/* One message behind its number, in the arena; data NULL when that refused. */
#define RECORD_BYTES(arena, number, encode, version, message)                                      \
    ({                                                                                             \
        struct writer record_writer;                                                               \
        writer_init(&record_writer, (arena));                                                      \
        writer_i16(&record_writer, (number));                                                      \
        encode(&record_writer, (version), (message));                                              \
        record_whole(&record_writer, (arena));                                                     \
    })

struct bytes record_whole(struct writer *writer, struct arena *arena);

/* Key and value in the arena; `value` NULL makes a tombstone. STATUS_NO_MEMORY. */
enum status record_offset_commit(struct arena *arena, const struct offset_commit_key *key,
                                 const struct offset_commit_value *value,
                                 struct shard_record *record);
enum status record_group_metadata(struct arena *arena, struct bytes group,
                                  const struct group_metadata_value *value,
                                  struct shard_record *record);

/* A key, and what stands behind its number. False: shorter than the number. */
struct record_key {
    int16_t number;
    struct reader body;
};
bool record_key_read(struct bytes key, struct record_key *out);
