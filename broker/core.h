/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread: a ring, its pages, timers, partitions and connections, run as a tick.
 *
 *   1 submit everything gathered, wait once, reap completions   (ring_step)
 *   2 run them: bytes become frames, durable writes become answers
 *   3 drain the mailbox
 *   4 due timers
 *   5 due steps of requests, then connections: start what may start, gather finished answers
 *   6 a bounded slice of upkeep
 *   7 one write for every dirty partition                      (store_commit)
 *
 * Writes that steps 2-5 caused leave together in the next step 1: that is the group commit.
 */
#pragma once

#include "base/diag.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/pages.h"
#include "base/random.h"
#include "base/ring.h"
#include "base/timer.h"
#include "broker/coordinator.h"
#include "broker/producer_ids.h"
#include "broker/sessions.h"
#include "topic/manager.h"

struct server;

struct core_counters {
    uint64_t ticks;
    uint64_t requests;
    uint64_t connections_accepted;
    uint64_t connections_refused;
    uint64_t bytes_received;
    uint64_t bytes_sent;
};

struct core {
    int32_t index;
    struct server *server;
    struct ring *ring;
    struct pages *pages;
    struct heap heap;
    struct timers timers;
    struct diag diag;
    char *diag_buffer;
    struct random random;
    struct mailbox mailbox;
    struct store *store;
    struct image image;
    struct manager manager;
    struct list connections;
    int32_t connection_count;
    struct list runnable;      /* requests with a due step */
    struct list ready;         /* connections to look at */
    struct list starving;      /* connections that wait for memory */
    struct list requests_free; /* kept for the next ones */
    int32_t requests_free_count;
    struct timer idle_timer;
    uint64_t trim_due_ns;
    struct producer_ids producer_ids;
    struct sessions sessions;
    struct coordinator coordinators[COORDINATOR_KINDS];
    uint8_t *scratch; /* codecs; one batch at a time */
    struct core_counters counters;
    bool stopping; /* no new connections or requests */
    bool quiet;    /* counted in server->cores_quiet */
    uint64_t stop_deadline_ns;
    struct timer stop_timer;
};

struct core_options {
    int32_t index;
    struct server *server;
    struct ring *ring; /* taken */
    uint64_t seed;
};

/* Blocking. STATUS_NO_MEMORY, or STATUS_KAFKA_STORAGE_ERROR. */
enum status core_open(struct core *core, const struct core_options *options);
void core_close(struct core *core);
/* wait: until something happens; otherwise just look. Answers whether anything was done. */
bool core_tick(struct core *core, bool wait);
/* Somebody waits for memory of this core: C8 of broker/connection.h. */
void core_note_shortage(struct core *core);
/* True when no connection and no request is left. */
bool core_is_quiet(const struct core *core);
