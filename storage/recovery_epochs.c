/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_epochs.h"

#include "storage/partition_state.h"
#include "storage/recovery_producers.h"
#include "storage/scan.h"

static enum status find_in_segment(struct partition *partition, struct segment *segment)
{
    struct scan scan;
    if (scan_open(&scan, segment) < 0) {
        return STATUS_KAFKA_STORAGE_ERROR;
    }
    int64_t position = 0;
    while (position < segment->size) {
        const uint8_t *data = scan_bytes(&scan, position, BATCH_HEADER_SIZE);
        if (data == NULL) {
            break;
        }
        struct batch_header header;
        batch_header_decode(&header, data);
        if (!segment_header_is_sane(&header) || header.base_offset < segment->base_offset ||
            header.base_offset >= segment->end_offset) {
            break;
        }
        if (header.leader_epoch >= 0) {
            (void)epochs_learn(&partition->epochs, header.leader_epoch, header.base_offset);
        }
        position += batch_size_of(data);
    }
    enum status status = scan.error == 0 ? STATUS_OK : STATUS_KAFKA_STORAGE_ERROR;
    scan_close(&scan);
    return status;
}

enum status recovery_find_epochs(struct partition *partition)
{
    enum status status = STATUS_OK;
    epochs_init(&partition->epochs);
    for (int32_t i = 0; status == STATUS_OK && i < partition->segment_count; i++) {
        status = recovery_know(partition->segments[i]);
        if (status == STATUS_OK) {
            status = find_in_segment(partition, partition->segments[i]);
        }
    }
    return status;
}
