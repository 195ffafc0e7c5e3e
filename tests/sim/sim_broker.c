/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_broker.h"

#include <stdio.h>
#include <stdlib.h>

#include "wire/frame.h"

#define MEMORY_SIZE (64 * MIB)
#define ROUNDS_MAX 1000 /* at one moment */
#define VIRTUAL_NS_MAX UINT64_C(120000000000)

/* What a power cut leaves behind is not freed: leaks are what it is about. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static void must(bool good, const char *what, const char *detail)
{
    if (!good) {
        fprintf(stderr, "simulation: %s: %s\n", what, detail);
        abort();
    }
}

static uint64_t next_event_ns(struct sim_broker *broker)
{
    uint64_t next = sim_world_next_ns(broker->world);
    for (int32_t i = 0; i < broker->server.core_count; i++) {
        uint64_t due = timers_next(&broker->server.cores[i].timers);
        next = due < next ? due : next;
    }
    return next;
}

struct sim_pace {
    uint64_t next_ns; /* the next event, as the last round saw it */
    int32_t rounds;   /* since the clock moved */
};

/* Mail or a due step is work of this moment: time must not pass over it. */
static bool is_busy(const struct sim_broker *broker)
{
    for (int32_t i = 0; i < broker->server.core_count; i++) {
        const struct core *core = &broker->server.cores[i];
        if (atomic_load(&core->mailbox.head) != NULL || !list_is_empty(&core->runnable) ||
            !list_is_empty(&core->ready)) {
            return true;
        }
    }
    return false;
}

/* One round over all cores and the client. The clock moves when nobody has anything left to do: two
 * rounds see the same next event, because what a tick gathered is submitted by the next one. Or
 * when that takes suspiciously long. */
static void step_all(struct sim_broker *broker, bool *alive, struct sim_pace *pace)
{
    for (int32_t i = 0; i < broker->server.core_count; i++) {
        if (alive[i]) {
            alive[i] = server_step_core(&broker->server.cores[i], false);
        }
    }
    (void)ring_step(broker->client_ring, 0);
    uint64_t next = next_event_ns(broker);
    bool quiet = next == pace->next_ns && !is_busy(broker);
    pace->next_ns = next;
    pace->rounds++;
    if (next != UINT64_MAX && next > sim_world_now_ns(broker->world) &&
        (quiet || pace->rounds > ROUNDS_MAX)) {
        sim_world_advance(broker->world, next);
        pace->rounds = 0;
    }
}

void sim_broker_run(struct sim_broker *broker, bool (*done)(void *context), void *context)
{
    bool alive[CORES_MAX];
    for (int32_t i = 0; i < CORES_MAX; i++) {
        alive[i] = true;
    }
    struct sim_pace pace = {0};
    uint64_t limit = sim_world_now_ns(broker->world) + VIRTUAL_NS_MAX;
    while (!done(context)) {
        step_all(broker, alive, &pace);
        must(sim_world_now_ns(broker->world) < limit, "stuck", "too many virtual seconds");
    }
}

struct sim_pause {
    const struct sim_world *world;
    uint64_t until_ns;
};

static bool is_over(void *context)
{
    const struct sim_pause *pause = context;
    return sim_world_now_ns(pause->world) >= pause->until_ns;
}

void sim_broker_sleep(struct sim_broker *broker, uint64_t ms)
{
    struct sim_pause pause = {broker->world, sim_world_now_ns(broker->world) + ms * 1000000};
    sim_broker_run(broker, is_over, &pause);
}

void sim_broker_start(struct sim_broker *broker, int32_t core_count)
{
    struct ring *rings[CORES_MAX];
    for (int32_t i = 0; i < core_count; i++) {
        rings[i] = sim_ring_open(broker->world);
    }
    char message[SERVER_MESSAGE_SIZE] = "";
    const struct server_options options = {
        .config = &broker->config,
        .data_dir = "data",
        .diag_file = getenv("WEIR_SIM_DIAG") != NULL ? 2 : -1,
        .core_count = core_count,
        .rings = rings,
        .memory_size = MEMORY_SIZE,
        .files_max = 256,
        .seed = ++broker->start_count, /* ids made after a crash are not those made before it */
    };
    must(server_open(&broker->server, &options, message) == 0, "start", message);
    for (int32_t i = 0; i < core_count; i++) {
        server_start_core(&broker->server.cores[i]);
    }
    must(server_listen(&broker->server, message) == 0, "listen", message);
    broker->client_ring = sim_ring_open(broker->world);
    broker->running = true;
}

void sim_broker_open(struct sim_broker *broker, uint64_t seed, int32_t core_count)
{
    *broker = (struct sim_broker){0};
    const struct sim_options world = {
        .seed = seed,
        .stream_cut_max = 4096,
        .disk_delay_ns_max = 3000000,
        .net_delay_ns_max = 50000,
    };
    broker->world = sim_world_open(&world);
    heap_init(&broker->heap, 16 * MIB);
    static const char *const overrides[] = {
        "listeners=PLAINTEXT://127.0.0.1:9092",
        "num.partitions=2",
        "node.id=1",
    };
    char message[SERVER_MESSAGE_SIZE] = "";
    must(broker_config_load(&broker->config, &broker->heap, "", overrides, ARRAY_COUNT(overrides),
                            message, sizeof(message)) == 0,
         "configuration", message);
    struct ring *ring = sim_ring_open(broker->world);
    struct op mkdir = {.kind = OP_MKDIR, .path = "data"};
    must(ring_call(ring, &mkdir) == 0, "mkdir", "data");
    struct op open = {.kind = OP_OPEN, .path = ".", .flags = OPEN_READ | OPEN_DIRECTORY};
    int64_t root = ring_call(ring, &open);
    must(root >= 0, "open", ".");
    struct op sync = {.kind = OP_SYNC, .file = (int32_t)root};
    must(ring_call(ring, &sync) == 0, "sync", "."); /* or a power cut takes the folder back */
    struct op close = {.kind = OP_CLOSE, .file = (int32_t)root};
    must(ring_call(ring, &close) == 0, "close", ".");
    ring_close(ring);
    sim_broker_start(broker, core_count);
}

static bool all_closed(void *context)
{
    struct sim_broker *broker = context;
    return atomic_load(&broker->server.cores_closed) == broker->server.core_count;
}

void sim_broker_stop(struct sim_broker *broker)
{
    server_stop(&broker->server);
    sim_broker_run(broker, all_closed, broker);
    server_close(&broker->server);
    ring_close(broker->client_ring);
    broker->running = false;
}

/* Nothing of the old process is torn down in order: its memory is forgotten, as a crash does. */
void sim_broker_crash(struct sim_broker *broker)
{
    sim_world_crash(broker->world);
    for (int32_t i = 0; i < broker->server.core_count; i++) {
        ring_close(broker->server.cores[i].ring);
    }
    ring_close(broker->client_ring);
    broker->running = false;
}

void sim_broker_close(struct sim_broker *broker)
{
    if (broker->running) {
        sim_broker_stop(broker);
    }
    broker_config_unload(&broker->config);
    heap_deinit(&broker->heap);
    sim_world_close(broker->world);
}

/* ---- clients ---- */

static void op_done(struct op *op)
{
    ((struct sim_client *)op->owner)->busy = false;
}

static bool is_idle(void *context)
{
    return !((struct sim_client *)context)->busy;
}

static void client_begin(struct sim_client *client, struct op op)
{
    op.done = op_done;
    op.owner = client;
    client->op = op;
    client->busy = true;
    ring_submit(client->broker->client_ring, &client->op);
}

static int64_t client_call(struct sim_client *client, struct op op)
{
    client_begin(client, op);
    sim_broker_run(client->broker, is_idle, client);
    return client->op.result;
}

void sim_client_open(struct sim_client *client, struct sim_broker *broker)
{
    *client = (struct sim_client){.broker = broker};
    const struct pages_limits limits = {
        .size_max = {[PAGES_REQUEST] = 8 * MIB, [PAGES_SLAB] = 0, [PAGES_CACHE] = 0}};
    client->pages = pages_open(&limits);
    must(client->pages != NULL, "client", "pages");
    arena_init(&client->arena, client->pages, 4 * MIB);
    client->reply = malloc(SIM_REPLY_SIZE_MAX);
    int64_t socket = client_call(client, (struct op){.kind = OP_CONNECT, .path = "127.0.0.1:9092"});
    must(socket >= 0, "client", "connect");
    client->socket = (int32_t)socket;
}

void sim_client_close(struct sim_client *client)
{
    if (client->broker->running) {
        (void)client_call(client, (struct op){.kind = OP_SHUTDOWN, .file = client->socket});
        (void)client_call(client, (struct op){.kind = OP_CLOSE, .file = client->socket});
    }
    arena_reset(&client->arena);
    pages_close(client->pages);
    free(client->reply);
}

struct writer *sim_client_request(struct sim_client *client, struct writer *writer, int16_t key,
                                  int16_t version, bool flexible)
{
    arena_reset(&client->arena);
    writer_init(writer, &client->arena);
    (void)frame_begin(writer);
    writer_i16(writer, key);
    writer_i16(writer, version);
    writer_i32(writer, ++client->correlation);
    writer_string_nullable(writer, false, BYTES_LITERAL("sim"));
    if (flexible) {
        writer_uvarint(writer, 0);
    }
    return writer;
}

void sim_client_post(struct sim_client *client, struct writer *writer)
{
    size_t size = writer_size(writer);
    must(!writer->failed && size <= SIM_REPLY_SIZE_MAX, "client", "request size");
    writer_copy(writer, client->reply);
    put_be32(client->reply, (uint32_t)(size - 4));
    client->vectors[0] = (struct iovec){.iov_base = client->reply, .iov_len = size};
    client_begin(client, (struct op){.kind = OP_SEND,
                                     .file = client->socket,
                                     .vector = client->vectors,
                                     .vector_count = 1});
}

/* What was posted has gone, whole. */
static void post_finish(struct sim_client *client)
{
    int64_t size = (int64_t)client->vectors[0].iov_len;
    sim_broker_run(client->broker, is_idle, client);
    must(client->op.kind != OP_SEND || client->op.result == size, "client", "send");
}

void sim_client_post_bytes(struct sim_client *client, struct bytes bytes)
{
    must(bytes.size <= SIM_REPLY_SIZE_MAX, "client", "request size");
    memcpy(client->reply, bytes.data, bytes.size);
    client->vectors[0] = (struct iovec){.iov_base = client->reply, .iov_len = bytes.size};
    client_begin(client, (struct op){.kind = OP_SEND,
                                     .file = client->socket,
                                     .vector = client->vectors,
                                     .vector_count = 1});
}

void sim_client_send_bytes(struct sim_client *client, struct bytes bytes)
{
    sim_client_post_bytes(client, bytes);
    post_finish(client);
}

void sim_client_send(struct sim_client *client, struct writer *writer)
{
    sim_client_post(client, writer);
    post_finish(client);
}

static void receive_exactly(struct sim_client *client, uint8_t *target, size_t size)
{
    size_t filled = 0;
    while (filled < size) {
        client->vectors[0] = (struct iovec){.iov_base = target + filled, .iov_len = size - filled};
        int64_t got = client_call(client, (struct op){.kind = OP_RECV,
                                                      .file = client->socket,
                                                      .vector = client->vectors,
                                                      .vector_count = 1});
        must(got > 0, "client", "connection closed by the broker");
        filled += (size_t)got;
    }
}

struct reader sim_client_receive(struct sim_client *client, bool flexible_header)
{
    post_finish(client);
    uint8_t prefix[4];
    receive_exactly(client, prefix, sizeof(prefix));
    client->reply_size = get_be32(prefix);
    must(client->reply_size <= SIM_REPLY_SIZE_MAX, "client", "reply size");
    receive_exactly(client, client->reply, client->reply_size);
    struct reader reader;
    reader_init(&reader, bytes_of(client->reply, client->reply_size));
    must(reader_i32(&reader) == client->correlation, "client", "correlation id");
    if (flexible_header) {
        reader_skip_tags(&reader);
    }
    return reader;
}
