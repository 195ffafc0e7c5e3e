/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/metadata_record.h"

#include "base/check.h"
#include "wire/reader.h"

#define FRAME_VERSION 1
/* partition_record version 0: no directories, because one broker with one folder has nothing to say
 * there, and every KRaft reader knows it. All other kinds exist in version 0. */
#define MESSAGE_VERSION 0

enum status metadata_record_decode(struct bytes frame, struct arena *arena,
                                   struct metadata_record *record)
{
    struct reader reader;
    reader_init(&reader, frame);
    uint32_t frame_version = reader_uvarint(&reader);
    record->key = (int32_t)reader_uvarint(&reader);
    int16_t version = (int16_t)reader_uvarint(&reader);
    if (reader_status(&reader) != STATUS_OK || frame_version != FRAME_VERSION) {
        return STATUS_CORRUPT_MESSAGE;
    }
    enum status status = STATUS_OK;
    switch (record->key) {
    case TOPIC_RECORD_KEY:
        status = topic_record_decode(&reader, version, arena, &record->topic);
        break;
    case PARTITION_RECORD_KEY:
        status = partition_record_decode(&reader, version, arena, &record->partition);
        break;
    case PARTITION_CHANGE_RECORD_KEY:
        status = partition_change_record_decode(&reader, version, arena, &record->partition_change);
        break;
    case CONFIG_RECORD_KEY:
        status = config_record_decode(&reader, version, arena, &record->config);
        break;
    case REMOVE_TOPIC_RECORD_KEY:
        status = remove_topic_record_decode(&reader, version, arena, &record->remove_topic);
        break;
    case PRODUCER_IDS_RECORD_KEY:
        status = producer_ids_record_decode(&reader, version, arena, &record->producer_ids);
        break;
    case FEATURE_LEVEL_RECORD_KEY:
        status = feature_level_record_decode(&reader, version, arena, &record->feature_level);
        break;
    default:
        break;
    }
    return status == STATUS_OK || status == STATUS_NO_MEMORY ? status : STATUS_CORRUPT_MESSAGE;
}

struct bytes metadata_record_encode(const struct metadata_record *record, struct arena *arena)
{
    struct writer writer;
    writer_init(&writer, arena);
    writer_uvarint(&writer, FRAME_VERSION);
    writer_uvarint(&writer, (uint32_t)record->key);
    writer_uvarint(&writer, MESSAGE_VERSION);
    switch (record->key) {
    case TOPIC_RECORD_KEY:
        topic_record_encode(&writer, MESSAGE_VERSION, &record->topic);
        break;
    case PARTITION_RECORD_KEY:
        partition_record_encode(&writer, MESSAGE_VERSION, &record->partition);
        break;
    case PARTITION_CHANGE_RECORD_KEY:
        partition_change_record_encode(&writer, MESSAGE_VERSION, &record->partition_change);
        break;
    case CONFIG_RECORD_KEY:
        config_record_encode(&writer, MESSAGE_VERSION, &record->config);
        break;
    case REMOVE_TOPIC_RECORD_KEY:
        remove_topic_record_encode(&writer, MESSAGE_VERSION, &record->remove_topic);
        break;
    case PRODUCER_IDS_RECORD_KEY:
        producer_ids_record_encode(&writer, MESSAGE_VERSION, &record->producer_ids);
        break;
    case FEATURE_LEVEL_RECORD_KEY:
        feature_level_record_encode(&writer, MESSAGE_VERSION, &record->feature_level);
        break;
    default:
        unreachable();
    }
    uint8_t *frame = arena_acquire_bytes(arena, writer_size(&writer));
    if (frame == NULL || writer.failed) {
        return BYTES_NULL;
    }
    writer_copy(&writer, frame);
    return bytes_of(frame, writer_size(&writer));
}
