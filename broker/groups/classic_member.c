/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/classic_member.h"

#include <string.h>

#include "base/check.h"

bool classic_blob_copy(struct classic_blob *blob, struct heap *heap, struct bytes from)
{
    *blob = (struct classic_blob){NULL, 0};
    if (from.size == 0) {
        return true;
    }
    blob->data = heap_acquire(heap, from.size);
    if (blob->data == NULL) {
        return false;
    }
    blob->size = from.size;
    memcpy(blob->data, from.data, from.size);
    return true;
}

void classic_blob_free(struct classic_blob *blob, struct heap *heap)
{
    heap_release(heap, blob->data, blob->size);
    *blob = (struct classic_blob){NULL, 0};
}

/* Copies to *cursor and moves it; the copy's data is NULL only when from's is. */
static struct bytes text_copy(uint8_t **cursor, struct bytes from)
{
    if (from.data == NULL) {
        return from;
    }
    struct bytes copy = {*cursor, from.size};
    memcpy(*cursor, from.data, from.size);
    *cursor += from.size;
    return copy;
}

bool classic_protocols_copy(struct classic_protocols *protocols, struct heap *heap,
                            struct ballot_list from)
{
    *protocols = (struct classic_protocols){{NULL, 0}, 0};
    size_t head = (size_t)from.count * sizeof(from.protocols[0]);
    size_t size = head;
    for (int32_t i = 0; i < from.count; i++) {
        size += from.protocols[i].name.size + from.protocols[i].metadata.size;
    }
    if (size == 0) {
        return true;
    }
    struct join_group_request_protocol *copies = heap_acquire(heap, size);
    if (copies == NULL) {
        return false;
    }
    uint8_t *cursor = (uint8_t *)copies + head;
    for (int32_t i = 0; i < from.count; i++) {
        copies[i].name = text_copy(&cursor, from.protocols[i].name);
        copies[i].metadata = text_copy(&cursor, from.protocols[i].metadata);
    }
    check(cursor == (uint8_t *)copies + size);
    *protocols = (struct classic_protocols){{copies, from.count}, size};
    return true;
}

void classic_protocols_free(struct classic_protocols *protocols, struct heap *heap)
{
    heap_release(heap, (void *)(uintptr_t)protocols->list.protocols, protocols->size);
    *protocols = (struct classic_protocols){{NULL, 0}, 0};
}

bool classic_protocols_equal(struct ballot_list a, struct ballot_list b)
{
    if (a.count != b.count) {
        return false;
    }
    for (int32_t i = 0; i < a.count; i++) {
        if (!bytes_equal(a.protocols[i].name, b.protocols[i].name) ||
            !bytes_equal(a.protocols[i].metadata, b.protocols[i].metadata)) {
            return false;
        }
    }
    return true;
}

struct classic_member *classic_member_open(struct heap *heap, const struct classic_texts *texts)
{
    size_t size = sizeof(struct classic_member) + texts->id.size + texts->instance_id.size +
                  texts->client_id.size + texts->client_host.size;
    struct classic_member *member = heap_acquire(heap, size);
    if (member == NULL) {
        return NULL;
    }
    uint8_t *cursor = (uint8_t *)(member + 1);
    member->size = size;
    member->id = text_copy(&cursor, texts->id);
    member->instance_id = text_copy(&cursor, texts->instance_id);
    member->client_id = text_copy(&cursor, texts->client_id);
    member->client_host = text_copy(&cursor, texts->client_host);
    return member;
}

void classic_member_close(struct classic_member *member, struct heap *heap)
{
    check(member->join == NULL && member->sync == NULL); /* G1 */
    check(member->before == NULL);
    check(!member->session.armed);
    check(!list_is_linked(&member->place) && !list_is_linked(&member->expired));
    classic_protocols_free(&member->protocols, heap);
    classic_blob_free(&member->assignment, heap);
    classic_blob_free(&member->assignment_next, heap);
    heap_release(heap, member, member->size);
}
