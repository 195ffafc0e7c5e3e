/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_epochs.h"

#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/recovery_producers.h"
#include "storage/scan.h"

static enum status find_in_segment(struct partition *partition, struct segment *segment)
{
    struct scan scan;
    char path[STORE_PATH_SIZE];
    store_path_offset(partition->store, path, partition->name, segment->base_offset, ".log");
    int64_t result = scan_open(&scan, segment);
    if (result < 0) {
        return folder_refuse(partition, path, result);
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
    result = scan.error;
    scan_close(&scan);
    return result < 0 ? folder_refuse(partition, path, result) : STATUS_OK;
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
