/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core.h"

#include "broker/connection.h"
#include "broker/server.h"
#include "wire/batch.h"

#define DIAG_BUFFER_SIZE (32 * KIB)
#define IDLE_CHECK_NS UINT64_C(5000000000)
#define STARVING_RETRY_NS UINT64_C(1000000)
#define TRIM_INTERVAL_NS UINT64_C(100000000)
#define UPKEEP_BUDGET_NS UINT64_C(200000)
#define STEPS_PER_TURN_MAX 4096
/* Memory of chunks kept warm for the next burst; the rest goes back to the kernel. */
#define WARM_SIZE (4 * MIB)
/* State (objects, tables, block tables) is charged to the part of the budget that is not for bytes
 * under way; the cache gives way to it. */
#define HEAP_SHARE_MIN (16 * MIB)
/* Of the heap; about 500,000 partitions in sessions for each GiB of it. */
#define SESSIONS_SHARE 8

/* A client may hold what is short on another core: blocks that it was sent are of their owner. */
void core_note_shortage(struct core *core)
{
    atomic_store_explicit(&core->server->shortage_ns, ring_now_ns(core->ring),
                          memory_order_relaxed);
}

/* Lately, on any core; all look as often. */
static bool is_short(struct core *core, uint64_t now_ns)
{
    if (store_take_shortage(core->store)) {
        core_note_shortage(core);
    }
    uint64_t shortage_ns = atomic_load_explicit(&core->server->shortage_ns, memory_order_relaxed);
    return shortage_ns != 0 && now_ns <= shortage_ns + IDLE_CHECK_NS;
}

/* A time from the configuration, which may be longer than nanoseconds can say: then it never ends.
 */
static uint64_t ns_of_ms(int64_t ms)
{
    return (uint64_t)ms > UINT64_MAX / 2 / 1000000 ? UINT64_MAX / 2 : (uint64_t)ms * 1000000;
}

static void idle_check(struct timer *timer)
{
    struct core *core = CONTAINER_OF(timer, struct core, idle_timer);
    uint64_t now_ns = ring_now_ns(core->ring);
    uint64_t idle_ns = ns_of_ms(core->server->config->connection_idle_ms_max);
    bool shortage = is_short(core, now_ns);
    LIST_EACH (&core->connections, node) {
        struct connection *connection = LIST_ENTRY(node, struct connection, node);
        if (now_ns - connection->active_ns > idle_ns) {
            connection_close(connection); /* clients expect it: connections.max.idle.ms */
        } else if (shortage) {
            connection_cut_stalled(connection, now_ns);
        }
    }
    timer_arm(&core->timers, timer, now_ns + IDLE_CHECK_NS);
}

/* Only ends the wait: server_step_core() looks at what is left. */
static void stop_look(struct timer *timer)
{
    (void)timer;
}

static bool core_open_sessions(struct core *core)
{
    const struct server *server = core->server;
    uint32_t slots = (uint32_t)server->config->session_slots;
    uint32_t cores = (uint32_t)server->core_count;
    const struct sessions_options options = {
        .heap = &core->heap,
        .slot_max = slots / cores + (slots % cores != 0),
        .size_max = core->heap.size_max / SESSIONS_SHARE,
        .core = core->index,
        .core_count = server->core_count,
        .seed = random_u64(&core->random),
    };
    return sessions_init(&core->sessions, &options);
}

static enum status core_open_memory(struct core *core)
{
    const struct server *server = core->server;
    size_t share = server->memory_size / (size_t)server->core_count;
    size_t quarter = share / 4 / CHUNK_SIZE * CHUNK_SIZE;
    const struct pages_limits limits = {.size_max = {
                                            [PAGES_REQUEST] = quarter,
                                            [PAGES_SLAB] = quarter,
                                            [PAGES_CACHE] = quarter,
                                        }};
    core->pages = pages_open(&limits);
    size_t state = share - 3 * quarter;
    heap_init(&core->heap, state > HEAP_SHARE_MIN ? state : HEAP_SHARE_MIN);
    if (core->pages == NULL) {
        return STATUS_NO_MEMORY;
    }
    core->diag_buffer = heap_acquire(&core->heap, DIAG_BUFFER_SIZE);
    core->scratch = heap_acquire(&core->heap, BATCH_SCRATCH_SIZE);
    if (core->diag_buffer == NULL || core->scratch == NULL) {
        return STATUS_NO_MEMORY;
    }
    diag_init(&core->diag, server->diag_file, core->index, DIAG_INFO, core->diag_buffer,
              DIAG_BUFFER_SIZE);
    core->diag.wall_ms = ring_wall_ms(core->ring);
    return STATUS_OK;
}

static struct store *core_open_store(struct core *core)
{
    const struct server *server = core->server;
    const struct store_options store = {
        .ring = core->ring,
        .pages = core->pages,
        .heap = &core->heap,
        .timers = &core->timers,
        .diag = &core->diag,
        .data_dir = server->data_dir,
        .writer = server->writer,
        .hash_seed = random_u64(&core->random),
        .files_max = server->files_max / (uint32_t)server->core_count,
        .producer_count_max = (uint32_t)server->config->producer_count_max,
        .memtable_shards = (uint32_t)server->config->memtable_shards,
        .retention_check_ns = ns_of_ms(server->config->retention_check_ms),
    };
    return store_open(&store);
}

enum status core_open(struct core *core, const struct core_options *options)
{
    struct server *server = options->server;
    *core = (struct core){
        .index = options->index,
        .server = server,
        .ring = options->ring,
    };
    timers_init(&core->timers);
    mailbox_init(&core->mailbox);
    random_init(&core->random, options->seed);
    list_init(&core->connections);
    list_init(&core->runnable);
    list_init(&core->ready);
    list_init(&core->starving);
    list_init(&core->requests_free);
    producer_ids_init(&core->producer_ids);
    enum status status = core_open_memory(core);
    if (status != STATUS_OK) {
        return status;
    }
    core->store = core_open_store(core);
    if (core->store == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (!image_init(&core->image, &core->heap, random_u64(&core->random), server->core_count,
                    &server->topic_defaults)) {
        return STATUS_NO_MEMORY;
    }
    if (!core_open_sessions(core)) {
        return STATUS_NO_MEMORY;
    }
    const struct manager_options manager = {
        .core = core->index,
        .store = core->store,
        .pages = core->pages,
        .diag = &core->diag,
        .peers = &server->peers,
        .image = &core->image,
        .listener = {.partition_opened = coordinators_partition_opened,
                     .partition_leaving = coordinators_partition_leaving,
                     .topic_removed = coordinators_topic_removed,
                     .context = core},
    };
    manager_init(&core->manager, &manager);
    server->peers.peers[core->index] =
        (struct peer){.mailbox = &core->mailbox, .ring = core->ring, .manager = &core->manager};
    status = coordinators_open(core);
    if (status != STATUS_OK) {
        return status;
    }
    core->idle_timer.fire = idle_check;
    core->stop_timer.fire = stop_look;
    timer_arm(&core->timers, &core->idle_timer, ring_now_ns(core->ring) + IDLE_CHECK_NS);
    return STATUS_OK;
}

void core_close(struct core *core)
{
    check(list_is_empty(&core->connections));
    check(list_is_empty(&core->runnable));
    timer_disarm(&core->timers, &core->idle_timer);
    sessions_deinit(&core->sessions);
    coordinators_close(core);
    image_deinit(&core->image);
    store_close(core->store);
    struct list_node *node;
    while ((node = list_pop_head(&core->requests_free)) != NULL) {
        heap_release(&core->heap, LIST_ENTRY(node, struct request, node), sizeof(struct request));
    }
    diag_flush(&core->diag);
    heap_release(&core->heap, core->scratch, BATCH_SCRATCH_SIZE);
    heap_release(&core->heap, core->diag_buffer, DIAG_BUFFER_SIZE);
    heap_deinit(&core->heap);
    pages_close(core->pages);
    ring_close(core->ring);
}

/*
 * Steps and connections wake each other. What is left after STEPS_PER_TURN_MAX waits for the next
 * turn, which then does not sleep: one request that wakes itself must not keep the others, the
 * timers and a stop from their turn.
 */
static bool core_run_due(struct core *core)
{
    int32_t steps = 0;
    while (steps < STEPS_PER_TURN_MAX) {
        struct list_node *node = list_pop_head(&core->runnable);
        if (node != NULL) {
            struct request *request = LIST_ENTRY(node, struct request, run_node);
            request->resume(request);
        } else if ((node = list_pop_head(&core->ready)) != NULL) {
            connection_step(LIST_ENTRY(node, struct connection, ready_node));
        } else {
            break;
        }
        steps++;
    }
    return steps > 0;
}

/* One of those that wait for request memory, a tick: whoever gets none is last in the line. */
static void core_feed_starving(struct core *core)
{
    struct list_node *node = list_pop_head(&core->starving);
    if (node != NULL) {
        connection_retry(LIST_ENTRY(node, struct connection, starving_node));
    }
}

/* Until when a core that has nothing to do may sleep: memory that came free within a tick, or a
 * second connection that waits for some, is no event that would wake it. */
static uint64_t core_sleep_until(const struct core *core)
{
    uint64_t until_ns = timers_next(&core->timers);
    if (list_is_empty(&core->starving)) {
        return until_ns;
    }
    uint64_t retry_ns = ring_now_ns(core->ring) + STARVING_RETRY_NS;
    return until_ns < retry_ns ? until_ns : retry_ns;
}

/* Storage arms a timer when upkeep is due, so a quiet core sleeps; memory goes back now and then.
 */
static void core_upkeep(struct core *core)
{
    store_upkeep(core->store, UPKEEP_BUDGET_NS);
    uint64_t now_ns = ring_now_ns(core->ring);
    if (now_ns >= core->trim_due_ns) {
        core->trim_due_ns = now_ns + TRIM_INTERVAL_NS;
        pages_trim(core->pages, WARM_SIZE);
    }
}

bool core_tick(struct core *core, bool wait)
{
    core->counters.ticks++;
    bool idle = list_is_empty(&core->runnable) && list_is_empty(&core->ready);
    bool asleep = wait && idle && mailbox_sleep(&core->mailbox);
    size_t completed = ring_step(core->ring, asleep ? core_sleep_until(core) : 0);
    if (asleep) {
        mailbox_awake(&core->mailbox);
    }
    core->diag.wall_ms = ring_wall_ms(core->ring);
    size_t delivered = mailbox_drain(&core->mailbox);
    timers_fire(&core->timers, ring_now_ns(core->ring));
    core_feed_starving(core);
    bool busy = core_run_due(core);
    core_upkeep(core);
    store_commit(core->store);
    diag_flush(&core->diag);
    return busy || completed > 0 || delivered > 0;
}

bool core_is_quiet(const struct core *core)
{
    return list_is_empty(&core->connections) && list_is_empty(&core->runnable) &&
           coordinators_are_quiet(core);
}
