/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/request.h"

#include "broker/connection.h"
#include "broker/core.h"
#include "broker/server.h"
#include "wire/frame.h"

/* Requests kept for reuse, so that the data path allocates nothing once it is warm. */
#define REQUESTS_FREE_MAX 1024
#define REQUEST_ARENA_SIZE_MAX (64 * MIB)

struct request *request_open(struct connection *connection, struct input *input)
{
    struct core *core = connection->core;
    struct list_node *node = list_pop_head(&core->requests_free);
    struct request *request;
    if (node != NULL) {
        core->requests_free_count--;
        request = LIST_ENTRY(node, struct request, node);
        *request = (struct request){0};
    } else {
        request = heap_acquire(&core->heap, sizeof(*request));
        if (request == NULL) {
            return NULL;
        }
    }
    request->magic = REQUEST_MAGIC;
    request->core = core;
    request->connection = connection;
    request->input = input;
    input->pins++;
    request->arrived_ns = ring_now_ns(core->ring);
    arena_init(&request->arena, core->pages, REQUEST_ARENA_SIZE_MAX);
    return request;
}

void request_wake(struct request *request, void (*resume)(struct request *request))
{
    check_magic(request, REQUEST_MAGIC);
    check(!list_is_linked(&request->run_node));
    request->resume = resume;
    list_push_tail(&request->core->runnable, &request->run_node);
}

/* ApiVersions always answers with header version 0, so that a client that knows less can read it.
 */
static bool response_header_is_flexible(const struct request *request)
{
    bool flexible = request->version >= request->api->flexible_first;
    return frame_response_header_version(request->api->key, flexible) == 1;
}

struct writer *request_reply(struct request *request)
{
    check(request->state == REQUEST_RUNNING);
    writer_init(&request->writer, &request->arena);
    request->size_place = frame_begin(&request->writer);
    writer_i32(&request->writer, request->correlation);
    if (response_header_is_flexible(request)) {
        writer_uvarint(&request->writer, 0);
    }
    return &request->writer;
}

static void request_answered(struct request *request)
{
    request->state = REQUEST_ANSWERED;
    connection_request_answered(request->connection, request);
}

void request_finish(struct request *request)
{
    check(request->state == REQUEST_RUNNING);
    struct writer *writer = &request->writer;
    if (!writer->failed) {
        frame_end(writer, request->size_place);
        int count;
        request->slices = writer_slices(writer, &count);
        request->slice_count = count;
        request->answer_size = writer_size(writer) + request->arena.size;
    }
    if (writer->failed || request->arena.failed) {
        diag_line(&request->core->diag, DIAG_WARN, "broker/request", "answer does not fit memory",
                  "api=%s size=%zu limit=%llu remedy=\"raise memory.bytes or ask for less at "
                  "once\"",
                  request->api->name, request->arena.size,
                  (unsigned long long)REQUEST_ARENA_SIZE_MAX);
        request->slice_count = 0;
        request->silent = true;
        request_answered(request);
        connection_close(request->connection);
        return;
    }
    request_answered(request);
}

void request_finish_silent(struct request *request)
{
    check(request->state == REQUEST_RUNNING);
    request->silent = true;
    request_answered(request);
}

void request_refuse(struct request *request, const char *why)
{
    char client[64];
    diag_line(&request->core->diag, DIAG_WARN, "broker/request", "request refused",
              "api=%s version=%d client=\"%s\" size=%zu why=\"%s\" remedy=\"connection closed\"",
              request->api->name, request->version,
              diag_escape(client, sizeof(client), request->client_id.data, request->client_id.size),
              request->frame_size, why);
    request_finish_silent(request);
    connection_close(request->connection);
}

void request_released(struct request *request)
{
    check(request->state == REQUEST_RELEASING);
    struct core *core = request->core;
    struct connection *connection = request->connection;
    arena_reset(&request->arena);
    input_unpin(core, request->input);
    request->magic = 0;
    connection_request_closed(connection, request);
    if (core->requests_free_count < REQUESTS_FREE_MAX) {
        list_node_init(&request->node);
        list_push_tail(&core->requests_free, &request->node);
        core->requests_free_count++;
    } else {
        heap_release(&core->heap, request, sizeof(*request));
    }
}

void request_close(struct request *request)
{
    check_magic(request, REQUEST_MAGIC);
    check(request->state == REQUEST_ANSWERED);
    list_remove(&request->node);
    request->state = REQUEST_RELEASING;
    if (request->release != NULL) {
        request->release(request);
    } else {
        request_released(request);
    }
}
