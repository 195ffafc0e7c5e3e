/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/connection.h"

#include "broker/core.h"
#include "broker/server.h"
#include "wire/api_versions.h"
#include "wire/frame.h"
#include "wire/reader.h"

#define READ_AHEAD_MIN (64 * KIB)
#define READ_AHEAD_MAX MIB
/* With more small requests in flight than this the connection streams, and pages are too small. */
#define REQUESTS_OF_A_PAGE 2
/* A frame above this part of a core's request memory is a large one (C7). */
#define FRAME_LARGE_PART 32

static bool input_is_page(const struct input *input)
{
    return input->size == PAGE_SIZE;
}

/* C7 */
static uint8_t *frames_acquire_run(struct core *core, size_t size)
{
    size_t size_max = pages_size_max(core->pages, PAGES_REQUEST);
    size_t eighths = size > size_max / FRAME_LARGE_PART ? 7 : 6;
    if (size + pages_size(core->pages, PAGES_REQUEST) > size_max / 8 * eighths) {
        return NULL;
    }
    return pages_acquire_run(core->pages, size, PAGES_REQUEST);
}

static struct input *input_open(struct core *core, size_t size)
{
    struct input *input = heap_acquire(&core->heap, sizeof(*input));
    if (input == NULL) {
        return NULL;
    }
    if (size <= PAGE_SIZE) {
        size = PAGE_SIZE;
        input->memory = pages_acquire_page(core->pages, PAGES_REQUEST);
    } else {
        size = (size + CHUNK_SIZE - 1) / CHUNK_SIZE * CHUNK_SIZE;
        input->memory = frames_acquire_run(core, size);
    }
    if (input->memory == NULL) {
        heap_release(&core->heap, input, sizeof(*input));
        return NULL;
    }
    input->size = size;
    input->pins = 1;
    return input;
}

void input_unpin(struct core *core, struct input *input)
{
    check(input->pins > 0);
    input->pins--;
    if (input->pins > 0) {
        return;
    }
    if (input_is_page(input)) {
        pages_release_page(core->pages, input->memory, PAGES_REQUEST);
    } else {
        pages_release_run(core->pages, input->memory, input->size, PAGES_REQUEST);
    }
    heap_release(&core->heap, input, sizeof(*input));
}

bool connection_open(struct core *core, int32_t socket, int32_t listener)
{
    struct connection *connection = heap_acquire(&core->heap, sizeof(*connection));
    if (connection == NULL) {
        return false;
    }
    connection->input = input_open(core, PAGE_SIZE);
    if (connection->input == NULL) {
        heap_release(&core->heap, connection, sizeof(*connection));
        return false;
    }
    connection->magic = CONNECTION_MAGIC;
    connection->core = core;
    connection->socket = socket;
    connection->listener = listener;
    connection->read_ahead = READ_AHEAD_MIN;
    connection->active_ns = ring_now_ns(core->ring);
    list_init(&connection->requests);
    list_push_tail(&core->connections, &connection->node);
    core->connection_count++;
    core->counters.connections_accepted++;
    connection_ready(connection);
    return true;
}

void connection_ready(struct connection *connection)
{
    check_magic(connection, CONNECTION_MAGIC);
    if (!list_is_linked(&connection->ready_node)) {
        list_push_tail(&connection->core->ready, &connection->ready_node);
    }
}

void connection_retry(struct connection *connection)
{
    connection_ready(connection);
}

static void close_done(struct op *op)
{
    struct connection *connection = op->owner;
    struct core *core = connection->core;
    check(connection->request_count == 0);
    if (list_is_linked(&connection->ready_node)) {
        list_remove(&connection->ready_node);
    }
    if (list_is_linked(&connection->starving_node)) {
        list_remove(&connection->starving_node);
    }
    list_remove(&connection->node);
    core->connection_count--;
    atomic_fetch_sub(&core->server->connection_counts[core->index], 1);
    input_unpin(core, connection->input);
    connection->magic = 0;
    heap_release(&core->heap, connection, sizeof(*connection));
}

static void shutdown_done(struct op *op)
{
    struct connection *connection = op->owner;
    connection->close_submitted = false;
    connection_ready(connection);
}

/* SHUTDOWN first: it ends a RECV or SEND that is under way, and only then the descriptor may go. */
void connection_close(struct connection *connection)
{
    if (connection->closing) {
        return;
    }
    connection->closing = true;
    connection->close_submitted = true;
    connection->close_op = (struct op){
        .kind = OP_SHUTDOWN,
        .file = connection->socket,
        .done = shutdown_done,
        .owner = connection,
    };
    ring_submit(connection->core->ring, &connection->close_op);
}

static void connection_finish_closing(struct connection *connection)
{
    if (connection->close_submitted || connection->receiving || connection->sending ||
        connection->request_count > 0) {
        return;
    }
    connection->close_submitted = true;
    connection->close_op = (struct op){
        .kind = OP_CLOSE,
        .file = connection->socket,
        .done = close_done,
        .owner = connection,
    };
    ring_submit(connection->core->ring, &connection->close_op);
}

void connection_request_answered(struct connection *connection, struct request *request)
{
    check(connection->running_count > 0);
    connection->running_count--;
    if (request->api->handle != handle_produce) {
        connection->running_other--;
    }
    connection->answer_size += request->answer_size;
    connection_ready(connection);
}

void connection_request_closed(struct connection *connection, struct request *request)
{
    check(connection->request_count > 0);
    check(connection->answer_size >= request->answer_size);
    connection->request_count--;
    connection->request_size -= request->frame_size;
    connection->answer_size -= request->answer_size;
    connection_ready(connection);
}

static void connection_fault(struct connection *connection, const char *event, long long seen,
                             long long limit, const char *remedy)
{
    diag_line(&connection->core->diag, DIAG_WARN, "broker/connection", event,
              "socket=%d seen=%lld limit=%lld remedy=\"%s\"", connection->socket, seen, limit,
              remedy);
    connection_close(connection);
}

/* Memory waits for it: a frame whose rest is still to come, or an answer on its way. Or both wait:
 * it has the begin of a frame that is larger than what it lies in. */
static bool connection_holds_memory(const struct connection *connection)
{
    bool starving = list_is_linked(&connection->starving_node);
    return connection->sending || (starving && !input_is_page(connection->input)) ||
           (connection->receiving && connection->frame_need > (size_t)PAGE_SIZE);
}

void connection_cut_stalled(struct connection *connection, uint64_t now_ns)
{
    uint64_t still_ns = now_ns - connection->active_ns;
    if (!connection->closing && connection_holds_memory(connection) &&
        still_ns > CONNECTION_STALLED_NS) {
        connection_fault(connection, "client stalls while others wait for memory",
                         (long long)(still_ns / 1000000),
                         (long long)(CONNECTION_STALLED_NS / 1000000),
                         "closed after so many ms; see why it stops, or raise memory.bytes");
    }
}

/* ---- frames become requests ---- */

static const struct api *header_api(struct connection *connection, int16_t key, int16_t version)
{
    const struct api *api = api_find(key);
    if (api == NULL) {
        connection_fault(connection, "unknown api key", key, -1,
                         "closed; the client must ask ApiVersions first");
        return NULL;
    }
    bool served = version >= api->version_min && version <= api->version_max;
    if (!served && key != API_VERSIONS_KEY) {
        connection_fault(connection, "version not served", version, api->version_max,
                         "closed; the client must ask ApiVersions first");
        return NULL;
    }
    return api;
}

/* The header and what is behind it. An ApiVersions request of a version we do not know has a header
 * we can read up to the client id; the handler answers it without looking further (KIP-511). */
static void frame_take(struct connection *connection, struct bytes frame)
{
    struct frame_head head;
    bool whole = frame_head_decode(&head, frame);
    check(whole); /* frame_size_check() */
    const struct api *api = header_api(connection, head.key, head.version);
    if (api == NULL) {
        return;
    }
    struct reader reader;
    reader_init(&reader, frame);
    (void)reader_take(&reader, FRAME_HEAD_SIZE);
    bool served = head.version >= api->version_min && head.version <= api->version_max;
    struct bytes client_id = reader_string_nullable(&reader, false);
    if (served && head.version >= api->flexible_first) {
        reader_skip_tags(&reader);
    }
    if (reader_status(&reader) != STATUS_OK) {
        connection_fault(connection, "request header cannot be read", (long long)frame.size, -1,
                         "closed; header cut short or malformed");
        return;
    }
    struct request *request = request_open(connection, connection->input);
    if (request == NULL) {
        connection_fault(connection, "no memory for a request", (long long)frame.size, -1,
                         "raise memory.bytes");
        return;
    }
    request->api = api;
    request->version = head.version;
    request->correlation = head.correlation_id;
    request->client_id = client_id;
    request->body = bytes_of(reader.cursor, reader_size(&reader));
    request->frame_size = frame.size;
    list_push_tail(&connection->requests, &request->node);
    connection->request_count++;
    connection->request_size += frame.size;
    connection->core->counters.requests++;
}

static bool frame_size_check(struct connection *connection, int32_t size)
{
    const struct server *server = connection->core->server;
    int64_t limit = server->config->request_size_max;
    if (!frame_size_is_valid(size, (int32_t)limit)) {
        connection_fault(connection, "frame size out of range", size, limit,
                         "closed; larger requests need socket.request.max.bytes");
        return false;
    }
    int64_t room = (int64_t)(pages_size_max(connection->core->pages, PAGES_REQUEST) / 4 * 3);
    if (size > room) {
        connection_fault(connection, "frame larger than a core has memory for", size, room,
                         "closed; raise memory.bytes or lower socket.request.max.bytes");
        return false;
    }
    return true;
}

/* C3 */
static size_t size_share(const struct connection *connection)
{
    return pages_size_max(connection->core->pages, PAGES_REQUEST) / 16;
}

static bool may_take(const struct connection *connection)
{
    return connection->request_count < CONNECTION_REQUESTS_MAX &&
           (connection->request_size < size_share(connection) || connection->request_count == 0);
}

static void frames_parse(struct connection *connection)
{
    connection->frame_need = 0;
    connection->frames_wait = false;
    while (!connection->closing && connection->end - connection->begin >= sizeof(int32_t)) {
        if (!may_take(connection)) {
            connection->frames_wait = true;
            return;
        }
        const uint8_t *head = connection->input->memory + connection->begin;
        int32_t size = (int32_t)get_be32(head);
        if (!frame_size_check(connection, size)) {
            return;
        }
        size_t whole = (size_t)size + sizeof(int32_t);
        if (connection->end - connection->begin < whole) {
            connection->frame_need = whole;
            return;
        }
        frame_take(connection, bytes_of(head + sizeof(int32_t), (size_t)size));
        connection->begin += whole;
    }
}

/* ---- receiving ---- */

/* Moves the unfinished frame into another piece of memory of at least `size` bytes. */
static bool input_replace(struct connection *connection, size_t size)
{
    struct input *input = input_open(connection->core, size);
    if (input == NULL) {
        return false;
    }
    size_t rest = connection->end - connection->begin;
    check(rest <= input->size);
    memcpy(input->memory, connection->input->memory + connection->begin, rest);
    input_unpin(connection->core, connection->input);
    connection->input = input;
    connection->begin = 0;
    connection->end = rest;
    return true;
}

/* Quiet: nothing received that is not answered, so the bytes in the input belong to nobody. */
static bool input_is_free(const struct connection *connection)
{
    return connection->begin == connection->end && connection->input->pins == 1;
}

/* The run first: a page can be had then, whatever others hold. */
static void input_shrink(struct connection *connection)
{
    struct core *core = connection->core;
    struct input *input = connection->input;
    pages_release_run(core->pages, input->memory, input->size, PAGES_REQUEST);
    input->memory = pages_acquire_page(core->pages, PAGES_REQUEST);
    check(input->memory != NULL);
    input->size = PAGE_SIZE;
}

/* Others wait for memory: none is taken ahead of need, and none is kept that holds little. */
static bool is_pressed(const struct connection *connection)
{
    return !list_is_empty(&connection->core->starving);
}

/* The begin of a frame moves to the begin of its memory: the requests before it need it no more. */
static void input_compact(struct connection *connection)
{
    size_t rest = connection->end - connection->begin;
    memmove(connection->input->memory, connection->input->memory + connection->begin, rest);
    connection->begin = 0;
    connection->end = rest;
}

/* Memory for a frame that does not fit; C9. */
static bool input_extend(struct connection *connection, size_t need)
{
    struct input *input = connection->input;
    if (input->pins == 1 && input->size >= need) {
        input_compact(connection);
        return true;
    }
    if (connection->request_count > 0 && need < connection->read_ahead && !is_pressed(connection) &&
        input_replace(connection, connection->read_ahead)) {
        if (connection->read_ahead < READ_AHEAD_MAX) {
            connection->read_ahead *= 2;
        }
        return true;
    }
    if (input_replace(connection, need)) {
        return true;
    }
    if (!input_is_page(input) && connection->end - connection->begin <= PAGE_SIZE) {
        (void)!input_replace(connection, PAGE_SIZE);
    }
    return false;
}

/*
 * Room for what comes next. A quiet connection goes back to one page; a frame that does not fit
 * gets a run of its size or, while the connection streams, a larger one that holds several frames.
 */
static bool input_prepare(struct connection *connection)
{
    struct input *input = connection->input;
    bool pressed = is_pressed(connection);
    if (input_is_free(connection)) {
        connection->begin = 0;
        connection->end = 0;
        if (input_is_page(input) || connection->request_count > 0) {
            return true;
        }
        connection->read_ahead = READ_AHEAD_MIN;
        input_shrink(connection);
        return true;
    }
    size_t need = connection->frame_need > 0 ? connection->frame_need : sizeof(int32_t);
    bool fits = input->size - connection->begin >= need && connection->end < input->size;
    bool begins = connection->begin == connection->end && !input_is_page(input);
    if (fits && !(pressed && begins)) {
        return true;
    }
    if (need <= PAGE_SIZE && (pressed || connection->request_count <= REQUESTS_OF_A_PAGE) &&
        input_replace(connection, PAGE_SIZE)) {
        return true;
    }
    return fits || input_extend(connection, need);
}

static void receive_done(struct op *op)
{
    struct connection *connection = op->owner;
    connection->receiving = false;
    if (op->result > 0) {
        connection->end += (size_t)op->result;
        connection->active_ns = ring_now_ns(connection->core->ring);
        connection->core->counters.bytes_received += (uint64_t)op->result;
    } else {
        connection->ended = true;
    }
    connection_ready(connection);
}

/* Under pressure nothing behind a frame that has its run: it would keep the run from the others. */
static size_t receive_size(const struct connection *connection)
{
    size_t room = connection->input->size - connection->end;
    size_t missing = connection->begin + connection->frame_need - connection->end;
    bool exact = connection->frame_need > (size_t)PAGE_SIZE && is_pressed(connection);
    return exact && missing < room ? missing : room;
}

static void receive_start(struct connection *connection)
{
    if (connection->receiving || connection->ended || !may_take(connection)) {
        return;
    }
    if (!input_prepare(connection)) {
        core_note_shortage(connection->core);
        if (!list_is_linked(&connection->starving_node)) {
            list_push_tail(&connection->core->starving, &connection->starving_node);
        }
        return;
    }
    connection->receive_vector = (struct iovec){
        .iov_base = connection->input->memory + connection->end,
        .iov_len = receive_size(connection),
    };
    check(connection->receive_vector.iov_len > 0);
    connection->receiving = true;
    connection->receive_op = (struct op){
        .kind = OP_RECV,
        .file = connection->socket,
        .vector = &connection->receive_vector,
        .vector_count = 1,
        .done = receive_done,
        .owner = connection,
    };
    ring_submit(connection->core->ring, &connection->receive_op);
}

/* ---- requests start ---- */

static void requests_start(struct connection *connection)
{
    LIST_EACH (&connection->requests, node) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (request->state != REQUEST_QUEUED) {
            continue;
        }
        bool produce = request->api->handle == handle_produce;
        if (connection->running_count > 0 && (!produce || connection->running_other > 0)) {
            return; /* C2 */
        }
        if (connection->answer_size >= size_share(connection)) {
            return; /* C3 */
        }
        request->state = REQUEST_RUNNING;
        connection->running_count++;
        connection->running_other += produce ? 0 : 1;
        request->api->handle(request);
        if (connection->closing) {
            return;
        }
    }
}

/* ---- answers leave ---- */

static void answers_drop_silent(struct connection *connection)
{
    struct list_node *node;
    while ((node = list_first(&connection->requests)) != NULL) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (request->state != REQUEST_ANSWERED || !(request->silent || connection->closing)) {
            return;
        }
        request_close(request);
    }
}

static void send_done(struct op *op)
{
    struct connection *connection = op->owner;
    connection->sending = false;
    if (op->result < 0) {
        connection_close(connection);
    } else {
        connection->active_ns = ring_now_ns(connection->core->ring);
        connection->core->counters.bytes_sent += (uint64_t)op->result;
        for (int32_t i = 0; i < connection->send_requests; i++) {
            struct list_node *node = list_first(&connection->requests);
            check(node != NULL);
            request_close(LIST_ENTRY(node, struct request, node));
        }
    }
    connection->send_requests = 0;
    connection_ready(connection);
}

/* Fills the send vector with whole answers from the front, and with the beginning of one that has
 * more slices than fit; slice_next remembers how far that one got. */
static int32_t send_gather(struct connection *connection)
{
    int32_t count = 0;
    connection->send_requests = 0;
    LIST_EACH (&connection->requests, node) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (request->state != REQUEST_ANSWERED) {
            break;
        }
        int32_t slice = connection->slice_next;
        int32_t slice_count = request->silent ? 0 : request->slice_count;
        while (slice < slice_count && count < OP_VECTOR_MAX) {
            connection->send_vector[count++] = request->slices[slice++];
        }
        if (slice < slice_count) {
            connection->slice_next = slice;
            break;
        }
        connection->slice_next = 0;
        connection->send_requests++;
    }
    return count;
}

static void send_start(struct connection *connection)
{
    if (connection->sending) {
        return;
    }
    int32_t count = send_gather(connection);
    if (count == 0) {
        return;
    }
    connection->sending = true;
    connection->active_ns = ring_now_ns(connection->core->ring);
    connection->send_op = (struct op){
        .kind = OP_SEND,
        .file = connection->socket,
        .vector = connection->send_vector,
        .vector_count = count,
        .done = send_done,
        .owner = connection,
    };
    ring_submit(connection->core->ring, &connection->send_op);
}

/* Requests that never started are dropped when their connection closes; running ones are awaited,
 * and told when they only wait. */
static void requests_abandon(struct connection *connection)
{
    LIST_EACH (&connection->requests, node) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (request->state == REQUEST_QUEUED) {
            request->state = REQUEST_ANSWERED;
            request->silent = true;
        } else if (request->state == REQUEST_RUNNING && request->abandon != NULL) {
            void (*abandon)(struct request *) = request->abandon;
            request->abandon = NULL;
            abandon(request);
        }
    }
}

/* C6 */
static bool connection_is_over(const struct connection *connection)
{
    if (!connection->ended || connection->frames_wait) {
        return false;
    }
    if (connection->request_count == 0) {
        return true;
    }
    struct list_node *node = list_last(&connection->requests);
    const struct request *last = node == NULL ? NULL : LIST_ENTRY(node, struct request, node);
    return last != NULL && last->state == REQUEST_RUNNING && last->abandon != NULL;
}

void connection_step(struct connection *connection)
{
    check_magic(connection, CONNECTION_MAGIC);
    if (!connection->closing) {
        frames_parse(connection);
    }
    if (!connection->closing) {
        requests_start(connection);
    }
    if (connection->closing) {
        requests_abandon(connection);
        if (!connection->sending) {
            answers_drop_silent(connection);
        }
        connection_finish_closing(connection);
        return;
    }
    if (!connection->sending) {
        answers_drop_silent(connection);
        send_start(connection);
    }
    if (connection->frames_wait && may_take(connection)) {
        connection_ready(connection); /* requests without an answer have made room already */
        return;
    }
    if (connection_is_over(connection)) {
        connection_close(connection);
        return;
    }
    if (!connection->core->stopping) {
        receive_start(connection);
    } else if (connection->request_count == 0) {
        connection_close(connection);
    }
}
