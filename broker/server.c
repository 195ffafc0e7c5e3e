/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/connection.h"
#include "broker/data_dir.h"

/* What runs when a stop is asked for gets so long; then its connections are cut. */
#define STOP_GRACE_NS UINT64_C(3000000000)
#define STOP_STEP_NS UINT64_C(10000000)

static int open_failed(char message[SERVER_MESSAGE_SIZE], const char *what, enum status status)
{
    snprintf(message, SERVER_MESSAGE_SIZE, "%s: %s (%s)", what, status_sentence(status),
             status_name(status));
    return 3;
}

static int cores_open(struct server *server, const struct server_options *options,
                      char message[SERVER_MESSAGE_SIZE])
{
    for (int32_t i = 0; i < server->core_count; i++) {
        const struct core_options core = {
            .index = i,
            .server = server,
            .ring = options->rings[i],
            .seed = options->seed + (uint64_t)i,
        };
        enum status status = core_open(&server->cores[i], &core);
        if (status != STATUS_OK) {
            return open_failed(message, "a core cannot start", status);
        }
    }
    return 0;
}

static int metadata_start(struct server *server, char message[SERVER_MESSAGE_SIZE])
{
    struct core *core = &server->cores[METADATA_CORE];
    struct image *images[CORES_MAX];
    for (int32_t i = 0; i < server->core_count; i++) {
        images[i] = &server->cores[i].image;
    }
    const struct metadata_options options = {
        .ring = core->ring,
        .store = core->store,
        .heap = &core->heap,
        .pages = core->pages,
        .diag = &core->diag,
        .peers = &server->peers,
        .random = &server->random,
        .node_id = server->node_id,
    };
    core->image.remember_removed = true;
    enum status status = metadata_open(&server->metadata, &options, images, server->core_count);
    if (status != STATUS_OK) {
        return open_failed(message, "the metadata log cannot be read", status);
    }
    strays_tidy(server);
    core->image.remember_removed = false;
    return 0;
}

int server_open(struct server *server, const struct server_options *options,
                char message[SERVER_MESSAGE_SIZE])
{
    *server = (struct server){
        .config = options->config,
        .data_dir = options->data_dir,
        .diag_file = options->diag_file,
        .core_count = options->core_count,
        .memory_size = options->memory_size,
        .files_max = options->files_max,
        .writer = options->config->writer,
        .topic_defaults = options->config->topic_defaults,
    };
    check(server->core_count > 0);
    check(server->core_count <= CORES_MAX);
    random_init(&server->random, options->seed ^ UINT64_C(0x7765697200000000));
    server->peers.count = server->core_count;
    size_t size = (size_t)server->core_count * sizeof(struct core);
    server->cores = aligned_alloc(_Alignof(struct core), size);
    if (server->cores == NULL) {
        return open_failed(message, "the broker cannot start", STATUS_NO_MEMORY);
    }
    memset(server->cores, 0, size);
    int code = identity_load(server, options->rings[METADATA_CORE], message);
    if (code != 0) {
        return code;
    }
    server->writer =
        store_probe(options->rings[METADATA_CORE], options->data_dir, options->config->writer);
    code = cores_open(server, options, message);
    return code != 0 ? code : metadata_start(server, message);
}

/* ---- a core's start ---- */

static void epochs_changed(struct change *change)
{
    *(bool *)change->owner = true;
}

/* Recovery lost bytes that somebody may have read: the partitions begin a new leader epoch, so that
 * clients notice (KIP-320). One change per core, before the first answer. */
static void bump_epochs(struct core *core, int32_t count)
{
    struct change_topic *topics =
        heap_acquire(&core->heap, (size_t)count * sizeof(struct change_topic));
    check(topics != NULL);
    int32_t filled = 0;
    LIST_EACH (&core->image.topics, node) {
        struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
        for (int32_t i = 0; i < topic->partition_count; i++) {
            struct partition *local = topic->partitions[i].local;
            if (local != NULL && partition_facts(local).epoch_bump_due) {
                check(filled < count);
                topics[filled++] = (struct change_topic){.id = topic->id, .partition_index = i};
            }
        }
    }
    bool done = false;
    struct change change = {
        .kind = CHANGE_LEADER_EPOCH,
        .topics = topics,
        .topic_count = filled,
        .done = epochs_changed,
        .owner = &done,
    };
    metadata_submit(core->server->metadata, &core->server->peers, core->index, &change);
    while (!done) {
        (void)core_tick(core, true);
    }
    if (change.status != STATUS_OK) {
        diag_line(&core->diag, DIAG_ERROR, "broker/server",
                  "no leader epoch begins for partitions that lost records; the next start tries "
                  "again",
                  "partitions=%d status=%s remedy=\"see the line of topic/metadata or "
                  "storage/space; until then consumers may not notice what is gone\"",
                  filled, status_name(change.status));
    }
    heap_release(&core->heap, topics, (size_t)count * sizeof(struct change_topic));
}

void server_start_core(struct core *core)
{
    struct server *server = core->server;
    int32_t cut_count = 0;
    int32_t failures = manager_open_partitions(&core->manager, &cut_count);
    atomic_fetch_add(&server->open_failures, failures);
    if (cut_count > 0) {
        bump_epochs(core, cut_count);
    }
    atomic_fetch_add(&server->cores_ready, 1);
    ring_wake(server->cores[METADATA_CORE].ring);
}

int server_listen(struct server *server, char message[SERVER_MESSAGE_SIZE])
{
    check(atomic_load(&server->cores_ready) == server->core_count);
    atomic_store(&server->phase, SERVER_SERVING);
    return listeners_open(server, message);
}

/* ---- stop ---- */

static void wake_all(struct server *server)
{
    for (int32_t i = 0; i < server->core_count; i++) {
        ring_wake(server->cores[i].ring);
    }
}

void server_stop(struct server *server)
{
    atomic_store(&server->stop_wanted, true);
    ring_wake(server->cores[METADATA_CORE].ring);
}

/* METADATA_CORE moves the phase. */
static void phase_move(struct server *server)
{
    int phase = atomic_load(&server->phase);
    if (metadata_failed(server->metadata)) {
        server->exit_code = 3;
        atomic_store(&server->stop_wanted, true);
    }
    if (phase == SERVER_SERVING && atomic_load(&server->stop_wanted)) {
        atomic_store(&server->phase, SERVER_STOPPING);
        listeners_shut(server);
        wake_all(server);
    }
    if (phase == SERVER_STOPPING && listeners_are_shut(server) &&
        atomic_load(&server->cores_quiet) == server->core_count) {
        atomic_store(&server->phase, SERVER_CLOSING);
        wake_all(server);
    }
}

static void connections_stop(struct core *core)
{
    bool cut = ring_now_ns(core->ring) > core->stop_deadline_ns;
    LIST_EACH (&core->connections, node) {
        struct connection *connection = LIST_ENTRY(node, struct connection, node);
        if (cut || connection->request_count == 0) {
            connection_close(connection);
        }
        connection_ready(connection);
    }
}

static void core_stop_step(struct core *core)
{
    if (!core->stopping) {
        core->stopping = true;
        core->stop_deadline_ns = ring_now_ns(core->ring) + STOP_GRACE_NS;
        coordinators_stop(core);
    }
    connections_stop(core);
    if (!core->quiet && core_is_quiet(core)) {
        core->quiet = true;
        atomic_fetch_add(&core->server->cores_quiet, 1);
        ring_wake(core->server->cores[METADATA_CORE].ring);
    }
}

bool server_step_core(struct core *core, bool wait)
{
    struct server *server = core->server;
    if (core->index == METADATA_CORE) {
        phase_move(server);
    }
    int phase = atomic_load(&server->phase);
    if (phase == SERVER_CLOSING) {
        manager_close_partitions(&core->manager, true);
        while (ring_in_flight(core->ring) > 0) {
            ring_wait(core->ring); /* sockets refused lately that are being closed */
        }
        atomic_fetch_add(&server->cores_closed, 1);
        return false;
    }
    if (phase == SERVER_STOPPING) {
        core_stop_step(core);
        timer_arm(&core->timers, &core->stop_timer,
                  ring_now_ns(core->ring) + STOP_STEP_NS); /* looks again */
    }
    (void)core_tick(core, wait);
    return true;
}

void server_close(struct server *server)
{
    for (int32_t i = 0; i < server->core_count; i++) {
        (void)mailbox_drain(&server->cores[i].mailbox); /* nodes on their way home */
    }
    listeners_close(server);
    if (server->metadata != NULL) {
        check(atomic_load(&server->cores_closed) == server->core_count);
        checkpoints_write(server, server->cores[METADATA_CORE].ring);
        metadata_close(server->metadata, !metadata_failed(server->metadata));
    }
    for (int32_t i = 0; i < server->core_count; i++) {
        timer_disarm(&server->cores[i].timers, &server->cores[i].stop_timer);
        core_close(&server->cores[i]);
    }
    free(server->cores);
}
