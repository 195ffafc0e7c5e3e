/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/epochs.h"

#include <string.h>

#include "base/check.h"

void epochs_init(struct epochs *epochs)
{
    epochs->count = 0;
}

bool epochs_equal(const struct epochs *a, const struct epochs *b)
{
    bool equal = a->count == b->count;
    for (int32_t i = 0; equal && i < a->count; i++) {
        equal = a->entries[i].epoch == b->entries[i].epoch &&
                a->entries[i].start_offset == b->entries[i].start_offset;
    }
    return equal;
}

static void epochs_drop_first(struct epochs *epochs, int32_t count)
{
    check(count >= 0 && count <= epochs->count);
    epochs->count -= count;
    memmove(&epochs->entries[0], &epochs->entries[count],
            (size_t)epochs->count * sizeof(epochs->entries[0]));
}

bool epochs_begin(struct epochs *epochs, int32_t epoch, int64_t start_offset)
{
    if (epoch < 0 || start_offset < 0 ||
        (epochs->count > 0 && epoch <= epochs->entries[epochs->count - 1].epoch)) {
        return false;
    }
    epochs_cut_end(epochs, start_offset); /* E1 */
    if (epochs->count == EPOCHS_MAX) {
        epochs_drop_first(epochs, 1); /* E2 */
    }
    epochs->entries[epochs->count] = (struct epoch_entry){epoch, start_offset};
    epochs->count += 1;
    return true;
}

void epochs_cut_end(struct epochs *epochs, int64_t end_offset)
{
    while (epochs->count > 0 && epochs->entries[epochs->count - 1].start_offset >= end_offset) {
        epochs->count -= 1;
    }
}

bool epochs_learn(struct epochs *epochs, int32_t epoch, int64_t offset)
{
    int32_t index = epochs->count - 1;
    while (index >= 0 && epochs->entries[index].epoch > epoch) {
        index -= 1;
    }
    if (index == epochs->count - 1 && (index < 0 || epochs->entries[index].epoch < epoch)) {
        return epochs_begin(epochs, epoch, offset);
    }
    if (index < 0 || epochs->entries[index].epoch != epoch || offset < 0 ||
        epochs->entries[index].start_offset <= offset) {
        return false;
    }
    epochs->entries[index].start_offset = offset;
    int32_t first = index; /* E1: older ones that began there or later have no record */
    while (first > 0 && epochs->entries[first - 1].start_offset >= offset) {
        first -= 1;
    }
    memmove(&epochs->entries[first], &epochs->entries[index],
            (size_t)(epochs->count - index) * sizeof(epochs->entries[0]));
    epochs->count -= index - first;
    return true;
}

/* Index of the last entry that starts at or below the offset; -1 when none does. */
static int32_t epochs_floor(const struct epochs *epochs, int64_t offset)
{
    int32_t index = epochs->count - 1;
    while (index >= 0 && epochs->entries[index].start_offset > offset) {
        index -= 1;
    }
    return index;
}

void epochs_cut_start(struct epochs *epochs, int64_t log_start_offset)
{
    int32_t index = epochs_floor(epochs, log_start_offset);
    if (index < 0) {
        return;
    }
    epochs_drop_first(epochs, index);
    epochs->entries[0].start_offset = log_start_offset;
}

int32_t epochs_of_offset(const struct epochs *epochs, int64_t offset)
{
    int32_t index = epochs_floor(epochs, offset);
    return index < 0 ? -1 : epochs->entries[index].epoch;
}

struct epoch_entry epochs_end_of(const struct epochs *epochs, int32_t epoch, int64_t end_offset)
{
    const struct epoch_entry *entries = epochs->entries;
    int32_t next = 0; /* first entry of a higher epoch */
    while (next < epochs->count && entries[next].epoch <= epoch) {
        next += 1;
    }
    if (epoch < 0 || epochs->count == 0) {
        return (struct epoch_entry){-1, -1};
    }
    if (next == epochs->count) {
        bool is_newest = entries[next - 1].epoch == epoch;
        return is_newest ? (struct epoch_entry){epoch, end_offset} : (struct epoch_entry){-1, -1};
    }
    int32_t floor = next == 0 ? epoch : entries[next - 1].epoch;
    return (struct epoch_entry){floor, entries[next].start_offset};
}

/* ---- the text file ---- */

struct epochs_text {
    char *text;
    size_t size; /* written or needed */
    size_t size_max;
};

static void text_put(struct epochs_text *out, uint64_t number, char end)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        count -= 1;
        if (out->size < out->size_max) {
            out->text[out->size] = digits[count];
        }
        out->size += 1;
    }
    if (out->size < out->size_max) {
        out->text[out->size] = end;
    }
    out->size += 1;
}

static void epochs_put(const struct epochs *epochs, struct epochs_text *out)
{
    text_put(out, 0, '\n');
    text_put(out, (uint64_t)epochs->count, '\n');
    for (int32_t i = 0; i < epochs->count; i++) {
        text_put(out, (uint64_t)epochs->entries[i].epoch, ' ');
        text_put(out, (uint64_t)epochs->entries[i].start_offset, '\n');
    }
}

size_t epochs_encode(const struct epochs *epochs, char *text, size_t size_max)
{
    struct epochs_text needed = {.size_max = 0};
    epochs_put(epochs, &needed);
    if (needed.size <= size_max) {
        struct epochs_text out = {.text = text, .size_max = size_max};
        epochs_put(epochs, &out);
    }
    return needed.size;
}

/* Digits, then exactly `end`. The newline is asked for after the last entry too: without it a cut
 * file could end in the middle of an offset. */
static bool text_take(struct bytes *text, uint64_t max, char end, uint64_t *number)
{
    *number = 0;
    size_t count = 0;
    while (count < text->size && text->data[count] >= '0' && text->data[count] <= '9') {
        uint64_t digit = (uint64_t)(text->data[count] - '0');
        if (*number > (max - digit) / 10) {
            return false;
        }
        *number = *number * 10 + digit;
        count += 1;
    }
    if (count == 0 || count == text->size || text->data[count] != (uint8_t)end) {
        return false;
    }
    text->data += count + 1;
    text->size -= count + 1;
    return true;
}

enum status epochs_decode(struct epochs *epochs, struct bytes text)
{
    struct epochs fresh;
    epochs_init(&fresh);
    uint64_t version;
    uint64_t count;
    if (!text_take(&text, INT32_MAX, '\n', &version) || version != 0 ||
        !text_take(&text, INT32_MAX, '\n', &count)) {
        return STATUS_CORRUPT_MESSAGE;
    }
    struct epoch_entry last = {-1, -1};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t epoch;
        uint64_t start_offset;
        if (!text_take(&text, INT32_MAX, ' ', &epoch) ||
            !text_take(&text, INT64_MAX, '\n', &start_offset)) {
            return STATUS_CORRUPT_MESSAGE;
        }
        struct epoch_entry entry = {(int32_t)epoch, (int64_t)start_offset};
        if (entry.epoch <= last.epoch || entry.start_offset < last.start_offset) {
            return STATUS_CORRUPT_MESSAGE;
        }
        last = entry;
        (void)epochs_begin(&fresh, entry.epoch, entry.start_offset);
    }
    if (text.size != 0) {
        return STATUS_CORRUPT_MESSAGE;
    }
    *epochs = fresh;
    return STATUS_OK;
}
