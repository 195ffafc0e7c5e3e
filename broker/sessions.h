/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch sessions (KIP-227): what a client fetches is remembered, so that its next request names
 * only what changed and the answer only what moved. No I/O, no clock; one cache per core.
 *
 *   (0, 0)    full, may create         (n, 0)   the same, and n is dropped first
 *   (0, -1)   full, without a session  (n, -1)  the same, and n is dropped first
 *   (n, e)    incremental: epoch e, then e + 1; behind 2147483647 comes 1
 *
 * S1  A session lives on the core of the connection that made it. Its id modulo the number of
 *     cores is that core, so two cores never hand out one id. A client that comes back on another
 *     core is told FETCH_SESSION_ID_NOT_FOUND and begins with a full request, as it does after
 *     every lost connection. Rejected: one cache for all cores, or requests sent on to the core of
 *     their session; both make every fetch pay for what happens at a reconnect.
 * S2  A session speaks of topics by name or by id, never both.
 * S3  Its partitions have an order, the order of service. What returned records goes to the end, so
 *     that a busy partition does not keep the bytes from those behind it.
 * S4  A step that found the session at (serial, epoch) and meets the same pair later sees the same
 *     partitions in the same order.
 * S5  At most slot_max sessions and size_max bytes. A new one takes the place of the one idle
 *     longest, once that is idle_ns; else of a smaller one that has lived idle_ns; else there is no
 *     new one, and the client stays without.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/random.h"
#include "base/uuid.h"
#include "wire/status.h"

#define SESSION_NONE 0
#define SESSION_EPOCH_FIRST 0
#define SESSION_EPOCH_FINAL (-1)
#define SESSION_IDLE_NS UINT64_C(120000000000)

/* What a client asks of one partition. */
struct session_partition {
    struct bytes topic;   /* by name, else absent */
    struct uuid topic_id; /* by id, else zero */
    int32_t index;
    int32_t leader_epoch; /* -1: not known to the client */
    int64_t offset;
    int32_t size_max; /* bytes */
};

/* One partition of a session, with what its client was last told. */
struct session_entry {
    struct table_node node;
    struct list_node order;
    struct session *session;
    struct session_partition asked; /* asked.topic points behind the struct */
    int64_t high_watermark;         /* -1: unknown, or an error was told */
    int64_t log_start_offset;
};

struct session {
    struct table_node node; /* by id */
    struct list_node used;  /* least recently used first */
    struct sessions *sessions;
    struct list entries; /* S3 */
    int32_t entry_count;
    int32_t id;
    int32_t epoch;   /* of the next request */
    uint64_t serial; /* never given twice */
    bool by_ids;
    uint64_t created_ns;
    uint64_t used_ns;
};

struct sessions_options {
    struct heap *heap;
    uint32_t slot_max;
    size_t size_max;
    int32_t core;
    int32_t core_count;
    uint64_t seed;
};

struct sessions {
    struct heap *heap;
    struct table ids;
    struct table entries; /* of all sessions, by session, topic and index */
    struct list used;
    struct random random;
    uint32_t slot_max;
    size_t size_max;
    size_t size; /* bytes of sessions and entries */
    int32_t core;
    int32_t core_count;
    uint64_t serial_next;
};

/* False when the heap refuses. */
[[nodiscard]] bool sessions_init(struct sessions *sessions, const struct sessions_options *options);
void sessions_deinit(struct sessions *sessions);

/* The beginning of a request: what it names, and in which terms. */
struct session_ask {
    int32_t id;
    int32_t epoch;
    bool by_ids;
};

/*
 * STATUS_OK with *session NULL: a full request; the session it named is gone. STATUS_OK with a
 * session: an incremental one; its epoch has moved on. STATUS_FETCH_SESSION_ID_NOT_FOUND,
 * STATUS_INVALID_FETCH_SESSION_EPOCH, STATUS_FETCH_SESSION_TOPIC_ID_ERROR: the request is refused.
 */
enum status sessions_enter(struct sessions *sessions, const struct session_ask *ask,
                           uint64_t now_ns, struct session **session);
/* For a full request that may create one, of about `count` partitions. NULL: no place (S5). */
struct session *sessions_create(struct sessions *sessions, bool by_ids, int32_t count,
                                uint64_t now_ns);
/* The session as it was at (serial, epoch), or NULL. */
struct session *sessions_find(const struct sessions *sessions, int32_t id, uint64_t serial,
                              int32_t epoch);
void session_close(struct session *session);

/* Adds at the end, or replaces what is asked and keeps the place. Copies the name. NULL: no memory
 * (S5); the session is as it was. */
struct session_entry *session_put(struct session *session,
                                  const struct session_partition *partition);
/* What it does not have is no error. */
void session_forget(struct session *session, struct bytes topic, const struct uuid *topic_id,
                    int32_t index);

/* What an answer says of a partition. */
struct session_answer {
    int64_t high_watermark;
    int64_t log_start_offset;
    bool records; /* there are some */
    bool error;   /* or anything else the client must see */
};

/* Whether an incremental answer must list the partition; remembers what it says, and moves the
 * entry to the end when there are records. */
bool session_entry_told(struct session_entry *entry, const struct session_answer *answer);
