/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/records.h"

struct bytes record_whole(struct writer *writer, struct arena *arena)
{
    size_t size = writer_size(writer);
    uint8_t *memory = arena_acquire_bytes(arena, size);
    if (writer->failed || memory == NULL) {
        return BYTES_NULL;
    }
    writer_copy(writer, memory);
    return bytes_of(memory, size);
}

enum status record_offset_commit(struct arena *arena, const struct offset_commit_key *key,
                                 const struct offset_commit_value *value,
                                 struct shard_record *record)
{
    record->key = RECORD_BYTES(arena, OFFSET_COMMIT_KEY_KEY, offset_commit_key_encode, 0, key);
    record->value = BYTES_NULL;
    if (value != NULL) {
        int16_t version =
            value->expire_timestamp >= 0 ? OFFSET_COMMIT_EXPIRING_VERSION : OFFSET_COMMIT_VERSION;
        record->value = RECORD_BYTES(arena, version, offset_commit_value_encode, version, value);
    }
    return arena->failed ? STATUS_NO_MEMORY : STATUS_OK;
}

enum status record_group_metadata(struct arena *arena, struct bytes group,
                                  const struct group_metadata_value *value,
                                  struct shard_record *record)
{
    const struct group_metadata_key key = {.group = group};
    record->key = RECORD_BYTES(arena, GROUP_METADATA_KEY_KEY, group_metadata_key_encode, 0, &key);
    record->value = BYTES_NULL;
    if (value != NULL) {
        record->value = RECORD_BYTES(arena, GROUP_METADATA_VERSION, group_metadata_value_encode,
                                     GROUP_METADATA_VERSION, value);
    }
    return arena->failed ? STATUS_NO_MEMORY : STATUS_OK;
}

bool record_key_read(struct bytes key, struct record_key *out)
{
    reader_init(&out->body, key);
    out->number = reader_i16(&out->body);
    return reader_status(&out->body) == STATUS_OK;
}
