/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member of a classic group: what it said of itself, what it waits for. Inside of
 * broker/groups/classic.h; a pending member is one that was told its id and has not come back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/timer.h"
#include "broker/groups/ballot.h"
#include "broker/groups/classic.h"

/* Bytes of its own; data NULL: none. */
struct classic_blob {
    uint8_t *data;
    size_t size;
};

/* False: no memory. Zero bytes are copied as none. */
[[nodiscard]] bool classic_blob_copy(struct classic_blob *blob, struct heap *heap,
                                     struct bytes from);
void classic_blob_free(struct classic_blob *blob, struct heap *heap);
static inline struct bytes classic_blob_bytes(struct classic_blob blob)
{
    return (struct bytes){blob.data, blob.size};
}

/* Names and metadata by preference, in one block. */
struct classic_protocols {
    struct ballot_list list;
    size_t size; /* of the block that list.protocols starts */
};

[[nodiscard]] bool classic_protocols_copy(struct classic_protocols *protocols, struct heap *heap,
                                          struct ballot_list from);
void classic_protocols_free(struct classic_protocols *protocols, struct heap *heap);
/* Same names, same metadata, same order. */
bool classic_protocols_equal(struct ballot_list a, struct ballot_list b);

struct classic_member {
    struct table_node by_id;
    struct table_node by_instance; /* static members */
    struct list_node place;        /* in the group's members, pending or removed */
    struct list_node expired;      /* while a tick collects whose time is over */
    struct timer session;
    struct classic *group;
    size_t size; /* of the block: the four texts stand behind the struct */
    struct bytes id;
    struct bytes instance_id; /* data NULL: dynamic */
    struct bytes client_id;
    struct bytes client_host;
    int32_t session_ms;
    int32_t rebalance_ms;
    struct classic_protocols protocols;
    struct classic_blob assignment;
    struct classic_blob assignment_next; /* being written */
    struct classic_join *join;           /* parked; NULL none */
    struct classic_sync *sync;           /* parked; NULL none */
    struct classic_member *before;       /* whom it replaced, until that is durable; NULL none */
    uint64_t write_id;                   /* of that write */
    bool pending;
    bool is_new;      /* its first join is parked */
    bool awaits_sync; /* was told of the generation and has not synced yet */
};

struct classic_texts {
    struct bytes id;
    struct bytes instance_id;
    struct bytes client_id;
    struct bytes client_host;
};

/* In no list and no table. NULL: no memory. */
[[nodiscard]] struct classic_member *classic_member_open(struct heap *heap,
                                                         const struct classic_texts *texts);
/* Must be in no list and no table, with nothing parked and nobody before it. */
void classic_member_close(struct classic_member *member, struct heap *heap);
