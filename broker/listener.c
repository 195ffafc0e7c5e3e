/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that listen. All are accepted on METADATA_CORE and handed to the core with the fewest
 * connections. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/connection.h"
#include "broker/server.h"

/* A socket on its way to its core. */
struct handover {
    struct mail mail;
    struct core *core;
    struct heap *heap;
    int32_t socket;
    int32_t listener;
    struct op close_op;
};

static void handover_free(struct mail *mail)
{
    struct handover *handover = CONTAINER_OF(mail, struct handover, mail);
    heap_release(handover->heap, handover, sizeof(*handover));
}

/* The node came from the acceptor's heap and goes back there. */
static void handover_return(struct handover *handover)
{
    handover->mail.deliver = handover_free;
    peers_send(&handover->core->server->peers, METADATA_CORE, &handover->mail);
}

static void refused_closed(struct op *op)
{
    struct handover *handover = op->owner;
    handover_return(handover);
}

static void handover_refuse(struct handover *handover)
{
    struct core *core = handover->core;
    if (!core->stopping) {
        diag_line(&core->diag, DIAG_WARN, "broker/listener", "connection not accepted",
                  "connections=%d error=\"no memory\" remedy=\"raise memory.bytes\"",
                  core->connection_count);
    }
    core->counters.connections_refused++;
    atomic_fetch_sub(&core->server->connection_counts[core->index], 1);
    handover->close_op = (struct op){
        .kind = OP_CLOSE, .file = handover->socket, .done = refused_closed, .owner = handover};
    ring_submit(core->ring, &handover->close_op);
}

static void handover_arrived(struct mail *mail)
{
    struct handover *handover = CONTAINER_OF(mail, struct handover, mail);
    struct core *core = handover->core;
    if (core->stopping || !connection_open(core, handover->socket, handover->listener)) {
        handover_refuse(handover);
        return;
    }
    handover_return(handover);
}

static int32_t core_with_fewest(struct server *server)
{
    int32_t best = 0;
    int best_count = atomic_load_explicit(&server->connection_counts[0], memory_order_relaxed);
    for (int32_t i = 1; i < server->core_count; i++) {
        int count = atomic_load_explicit(&server->connection_counts[i], memory_order_relaxed);
        if (count < best_count) {
            best = i;
            best_count = count;
        }
    }
    return best;
}

static bool place_connection(struct server *server, int32_t socket, int32_t listener)
{
    struct core *acceptor = &server->cores[METADATA_CORE];
    struct handover *handover = heap_acquire(&acceptor->heap, sizeof(*handover));
    if (handover == NULL) {
        return false;
    }
    int32_t core = core_with_fewest(server);
    atomic_fetch_add(&server->connection_counts[core], 1);
    handover->core = &server->cores[core];
    handover->heap = &acceptor->heap;
    handover->socket = socket;
    handover->listener = listener;
    handover->mail.deliver = handover_arrived;
    peers_send(&server->peers, core, &handover->mail);
    return true;
}

static void accept_start(struct listener *listener);

static void accept_failed(struct listener *listener, const char *error, const char *remedy)
{
    struct server *server = listener->server;
    if (atomic_load(&server->phase) == SERVER_SERVING) {
        diag_line(&server->cores[METADATA_CORE].diag, DIAG_WARN, "broker/listener",
                  "connection not accepted", "listener=%s:%u error=\"%s\" remedy=\"%s\"",
                  listener->host, listener->port, error, remedy);
    }
}

/* After an error the next try waits for RETRY_NS: out of descriptors must not become a busy loop.
 */
#define RETRY_NS UINT64_C(100000000)

static void accept_retry(struct timer *timer)
{
    accept_start(CONTAINER_OF(timer, struct listener, retry));
}

static void accept_later(struct listener *listener)
{
    struct server *server = listener->server;
    struct core *core = &server->cores[METADATA_CORE];
    if (atomic_load(&server->phase) == SERVER_SERVING) {
        timer_arm(&core->timers, &listener->retry, ring_now_ns(core->ring) + RETRY_NS);
    }
}

static void unplaced_closed(struct op *op)
{
    struct listener *listener = op->owner;
    listener->closing = false;
    accept_later(listener);
}

/* Nobody could take it over: the peer sees the end, not a broker that never answers. */
static void unplaced_close(struct listener *listener, int32_t socket)
{
    listener->closing = true;
    listener->close_op =
        (struct op){.kind = OP_CLOSE, .file = socket, .done = unplaced_closed, .owner = listener};
    ring_submit(listener->server->cores[METADATA_CORE].ring, &listener->close_op);
}

static void accept_done(struct op *op)
{
    struct listener *listener = op->owner;
    struct server *server = listener->server;
    listener->accepting = false;
    if (op->result < 0) {
        accept_failed(listener, strerror((int)-op->result), "raise the limit of open files");
        accept_later(listener);
    } else if (!place_connection(server, (int32_t)op->result, listener->index)) {
        accept_failed(listener, "no memory", "raise memory.bytes");
        unplaced_close(listener, (int32_t)op->result);
    } else if (atomic_load(&server->phase) == SERVER_SERVING) {
        accept_start(listener);
    }
}

/* As Apache Kafka does, clients above max.connections wait in the socket's queue. */
static bool is_full(struct server *server)
{
    int64_t count = 0;
    for (int32_t i = 0; i < server->core_count; i++) {
        count += atomic_load_explicit(&server->connection_counts[i], memory_order_relaxed);
    }
    if (count < server->config->connection_count_max) {
        server->full_said = false;
        return false;
    }
    if (!server->full_said) {
        server->full_said = true;
        diag_line(&server->cores[METADATA_CORE].diag, DIAG_WARN, "broker/listener",
                  "no more connections",
                  "count=%lld limit=%d remedy=\"new clients wait; raise max.connections\"",
                  (long long)count, server->config->connection_count_max);
    }
    return true;
}

static void accept_start(struct listener *listener)
{
    struct core *core = &listener->server->cores[METADATA_CORE];
    if (is_full(listener->server)) {
        timer_arm(&core->timers, &listener->retry, ring_now_ns(core->ring) + RETRY_NS);
        return;
    }
    listener->accepting = true;
    listener->accept_op = (struct op){
        .kind = OP_ACCEPT,
        .file = listener->socket,
        .done = accept_done,
        .owner = listener,
    };
    ring_submit(core->ring, &listener->accept_op);
}

static void advertise(struct listener *listener, const struct broker_config *config)
{
    const struct broker_endpoint *advertised = NULL;
    for (int32_t i = 0; i < config->advertised_count; i++) {
        if (strcmp(config->advertised[i].name, listener->name) == 0) {
            advertised = &config->advertised[i];
        }
    }
    bool any = strcmp(listener->host, "0.0.0.0") == 0 || strcmp(listener->host, "::") == 0 ||
               listener->host[0] == '\0';
    const char *host = advertised != NULL ? advertised->host : any ? "localhost" : listener->host;
    snprintf(listener->advertised_host, sizeof(listener->advertised_host), "%s", host);
    listener->advertised_port =
        advertised != NULL && advertised->port != 0 ? advertised->port : listener->port;
    if (any && advertised == NULL) {
        diag_line(&listener->server->cores[METADATA_CORE].diag, DIAG_WARN, "broker/listener",
                  "clients are sent to localhost",
                  "listener=%s://%s:%u remedy=\"clients on other machines need "
                  "advertised.listeners=%s://NAME:%u with a name of this machine\"",
                  listener->name, listener->host, listener->port, listener->name, listener->port);
    }
}

/*
 * A broker that was killed holds its port for a moment longer: the kernel takes its ring apart,
 * with the accept that waited there, after the process is gone. Who starts the next one at once
 * (a supervisor) should not be told that the port is taken.
 */
#define PORT_TRIES 200
#define PORT_RETRY_NS UINT64_C(10000000)

static int listen_patiently(struct ring *ring, const struct broker_endpoint *endpoint,
                            struct listener *listener)
{
    int result = -EADDRINUSE;
    for (int i = 0; i < PORT_TRIES && result == -EADDRINUSE; i++) {
        if (i > 0) {
            ring_step(ring, ring_now_ns(ring) + PORT_RETRY_NS);
        }
        result =
            ring_listen(ring, endpoint->host, endpoint->port, &listener->socket, &listener->port);
    }
    return result;
}

int listeners_open(struct server *server, char message[SERVER_MESSAGE_SIZE])
{
    const struct broker_config *config = server->config;
    struct core *core = &server->cores[METADATA_CORE];
    check(config->listener_count <= LISTENERS_MAX);
    for (int32_t i = 0; i < config->listener_count; i++) {
        const struct broker_endpoint *endpoint = &config->listeners[i];
        struct listener *listener = &server->listeners[i];
        listener->server = server;
        listener->index = i;
        listener->retry.fire = accept_retry;
        snprintf(listener->name, sizeof(listener->name), "%s", endpoint->name);
        snprintf(listener->host, sizeof(listener->host), "%s", endpoint->host);
        int result = listen_patiently(core->ring, endpoint, listener);
        if (result < 0) {
            snprintf(message, SERVER_MESSAGE_SIZE,
                     "cannot listen on %s:%u: %s; free the port or choose another with --listen",
                     endpoint->host, endpoint->port, strerror(-result));
            return 2;
        }
        server->listener_count = i + 1;
        advertise(listener, config);
        accept_start(listener);
    }
    return 0;
}

static void shut_done(struct op *op)
{
    struct listener *listener = op->owner;
    listener->shutting = false;
}

void listeners_shut(struct server *server)
{
    struct core *core = &server->cores[METADATA_CORE];
    for (int32_t i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        timer_disarm(&core->timers, &listener->retry);
        listener->shutting = true;
        listener->shut_op = (struct op){
            .kind = OP_SHUTDOWN, .file = listener->socket, .done = shut_done, .owner = listener};
        ring_submit(core->ring, &listener->shut_op);
    }
}

bool listeners_are_shut(const struct server *server)
{
    for (int32_t i = 0; i < server->listener_count; i++) {
        const struct listener *listener = &server->listeners[i];
        if (listener->accepting || listener->closing || listener->shutting) {
            return false;
        }
    }
    return true;
}

void listeners_close(struct server *server)
{
    check(listeners_are_shut(server));
    for (int32_t i = 0; i < server->listener_count; i++) {
        struct op op = {.kind = OP_CLOSE, .file = server->listeners[i].socket};
        (void)ring_call(server->cores[METADATA_CORE].ring, &op);
    }
}

struct bytes server_rack(const struct server *server)
{
    const char *rack = server->config->broker_rack;
    return rack[0] == '\0' ? BYTES_NULL : bytes_of_text(rack);
}

const struct listener *server_listener(const struct server *server, int32_t index)
{
    check(index >= 0);
    check(index < server->listener_count);
    return &server->listeners[index];
}
