/* SPDX-License-Identifier: Apache-2.0 */
/* A leader epoch file: what is read writes back to a text that reads the same. */
#include <string.h>

#include "base/check.h"
#include "storage/epochs.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct epochs epochs;
    if (epochs_decode(&epochs, bytes_of(data, size)) != STATUS_OK) {
        return 0;
    }
    char text[4096];
    size_t written = epochs_encode(&epochs, text, sizeof(text));
    check(written <= sizeof(text));
    struct epochs again;
    check(epochs_decode(&again, bytes_of(text, written)) == STATUS_OK);
    check(again.count == epochs.count);
    for (int32_t i = 0; i < epochs.count; i++) {
        const struct epoch_entry *entry = &epochs.entries[i];
        check(again.entries[i].epoch == entry->epoch);
        check(again.entries[i].start_offset == entry->start_offset);
        check(i == 0 || entry[-1].epoch < entry->epoch);
        check(i == 0 || entry[-1].start_offset < entry->start_offset);
        check(epochs_of_offset(&epochs, entry->start_offset) == entry->epoch);
    }
    return 0;
}
