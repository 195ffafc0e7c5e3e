/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch: bytes of several partitions, waiting for more when there is little.
 *
 *   read everything -> enough, or an error, or out of time: answer
 *                   -> else give the reads back, watch every partition, read again when one moves
 *
 * A watch speaks of bytes in the log, a read of bytes that this request may have. A read may find
 * less than its watch promised: the end of a segment, the partition's limit, the cache share. So a
 * second read that finds no more than the first is answered if it found anything, and tried again
 * after a pause if not: watching again would fire at once, and turn for ever.
 *
 * The answer's records are slices of blocks that the owner cores keep pinned until they are sent.
 * Sessions are not kept: every answer carries session id 0, which KIP-227 allows, and clients then
 * send whole requests.
 */
#include "wire/fetch.h"
#include "broker/handlers/handler.h"

struct fetch_item {
    struct task task;
    const struct fetch_request_partition *in;
    struct fetch_response_partition_data *out;
    uint64_t available; /* bytes the last read found */
};

struct fetch_state {
    struct request *request;
    struct fetch_request in;
    struct fetch_response out;
    struct fan fan;
    struct fetch_item *items;
    int32_t item_count;
    uint64_t deadline_ns;
    uint64_t found;      /* bytes of the last read, all partitions */
    uint64_t found_last; /* and of the read before it */
    struct timer timer;
    bool error; /* some partition is refused: answer at once */
    bool abandoned;
};

#define SLICES_PER_PARTITION_MIN 1

/* Between two reads that found nothing although bytes are there: others hold the cache share. */
#define PAUSE_NS 10000000

static uint64_t bytes_limit(const struct fetch_state *state)
{
    int64_t asked = state->in.max_bytes;
    int64_t limit = state->request->core->server->config->fetch_size_max;
    return (uint64_t)(asked < 0 ? 0 : asked > limit ? limit : asked);
}

static bool uses_ids(const struct request *request)
{
    return request->version >= 13;
}

static void partition_fail(struct fetch_state *state, struct fetch_response_partition_data *out,
                           enum status status)
{
    out->error_code = status_code(status);
    out->high_watermark = -1;
    out->last_stable_offset = -1;
    out->log_start_offset = -1;
    out->records.count = 0;
    state->error = true;
}

/* ---- the answer ---- */

static uint64_t first_batch_size(const struct partition_read *read)
{
    uint8_t head[BATCH_PREFIX_SIZE];
    size_t filled = 0;
    for (int32_t i = 0; i < read->slice_count && filled < sizeof(head); i++) {
        size_t take = read->slices[i].size;
        take = take > sizeof(head) - filled ? sizeof(head) - filled : take;
        memcpy(head + filled, read->slices[i].data, take);
        filled += take;
    }
    return filled < sizeof(head) ? UINT64_MAX : (uint64_t)batch_size_of(head);
}

/* Cuts the slices to `size` bytes; they are copied so that the read keeps what it pinned. */
static void records_cut(struct request *request, const struct partition_read *read, size_t size,
                        struct slices *out)
{
    struct bytes *items = arena_new_array(&request->arena, struct bytes,
                                          (size_t)read->slice_count + SLICES_PER_PARTITION_MIN);
    if (items == NULL) {
        return;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < read->slice_count && size > 0; i++) {
        struct bytes slice = read->slices[i];
        slice.size = slice.size > size ? size : slice.size;
        items[count++] = slice;
        size -= slice.size;
    }
    out->items = items;
    out->count = count;
}

static void aborted_fill(struct request *request, const struct partition_read *read,
                         struct fetch_response_partition_data *out)
{
    out->aborted_transactions_count = -1;
    if (read->isolation != READ_COMMITTED) {
        return;
    }
    out->aborted_transactions = arena_new_array(
        &request->arena, struct fetch_response_aborted_transaction, (size_t)read->aborted_count);
    if (out->aborted_transactions == NULL) {
        return;
    }
    out->aborted_transactions_count = read->aborted_count;
    for (int32_t i = 0; i < read->aborted_count; i++) {
        out->aborted_transactions[i].producer_id = read->aborted[i].producer_id;
        out->aborted_transactions[i].first_offset = read->aborted[i].first_offset;
    }
}

/* How much of a read is sent when `left` bytes may be. A later partition gets nothing rather than a
 * piece of its first batch; the first one gets its first batch whole, whatever the limits (KIP-74).
 */
static uint64_t size_allowed(const struct partition_read *read, uint64_t left, bool first)
{
    if (read->size <= left) {
        return read->size;
    }
    uint64_t whole = first_batch_size(read);
    if (whole <= left) {
        return left;
    }
    return !first ? 0 : whole < read->size ? whole : read->size;
}

/*
 * Service order is request order, but the owner cores read at the same time: each was given the
 * whole budget, and what is too much is cut here.
 */
static uint64_t item_answer(struct fetch_state *state, struct fetch_item *item, uint64_t given)
{
    struct request *request = state->request;
    const struct partition_read *read = &item->task.read;
    struct fetch_response_partition_data *out = item->out;
    bool out_of_range = item->task.status == STATUS_OFFSET_OUT_OF_RANGE;
    if (item->task.status != STATUS_OK) {
        partition_fail(state, out, item->task.status);
    }
    if (item->task.status == STATUS_OK || out_of_range) {
        out->high_watermark = read->high_watermark;
        out->last_stable_offset = read->last_stable_offset;
        out->log_start_offset = read->log_start_offset;
    }
    if (item->task.status != STATUS_OK) {
        return 0;
    }
    aborted_fill(request, read, out);
    uint64_t limit = bytes_limit(state);
    uint64_t size = size_allowed(read, given > limit ? 0 : limit - given, given == 0);
    records_cut(request, read, size, &out->records);
    return size;
}

static void fetch_released(struct fan *fan)
{
    struct fetch_state *state = CONTAINER_OF(fan, struct fetch_state, fan);
    request_released(state->request);
}

static void fetch_release(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    fan_release(&state->fan, fetch_released);
}

static void fetch_answer(struct fetch_state *state)
{
    struct request *request = state->request;
    uint64_t given = 0;
    for (int32_t i = 0; i < state->item_count; i++) {
        given += item_answer(state, &state->items[i], given);
    }
    request->abandon = NULL;
    request->release = fetch_release;
    fetch_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

/* ---- waiting ---- */

static void fetch_read(struct fetch_state *state);

static void fetch_resume_read(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    timer_disarm(&request->core->timers, &state->timer);
    fetch_read(state);
}

static void fetch_watched(struct fan *fan)
{
    struct fetch_state *state = CONTAINER_OF(fan, struct fetch_state, fan);
    request_wake(state->request, fetch_resume_read);
}

static void fetch_timeout(struct timer *timer)
{
    fan_unwatch(&CONTAINER_OF(timer, struct fetch_state, timer)->fan);
}

static void fetch_abandon(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    state->abandoned = true;
    fan_unwatch(&state->fan);
}

/*
 * How much more each partition must hold before it is worth another look: if all of them stay below
 * their share of what is missing, their sum stays below the minimum as well. So no wake-up is
 * missed and most of the useless ones do not happen.
 */
static void fetch_watch(struct fetch_state *state, uint64_t found)
{
    uint64_t missing = (uint64_t)state->in.min_bytes - found;
    uint64_t share = (missing + (uint64_t)state->item_count - 1) / (uint64_t)state->item_count;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        item->task.watch = (struct partition_watch){
            .offset = item->in->fetch_offset,
            .size_wanted = (uint32_t)(item->available + share),
            .isolation = item->task.read.isolation,
        };
    }
    state->timer.fire = fetch_timeout;
    timer_arm(&state->request->core->timers, &state->timer, state->deadline_ns);
    fan_watch(&state->fan, fetch_watched);
}

static void fetch_pause_over(struct timer *timer)
{
    struct fetch_state *state = CONTAINER_OF(timer, struct fetch_state, timer);
    request_wake(state->request, fetch_resume_read);
}

static void fetch_pause(struct fetch_state *state)
{
    struct core *core = state->request->core;
    uint64_t until_ns = ring_now_ns(core->ring) + PAUSE_NS;
    state->timer.fire = fetch_pause_over;
    timer_arm(&core->timers, &state->timer,
              until_ns < state->deadline_ns ? until_ns : state->deadline_ns);
}

static void fetch_resume_watch(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    if (state->abandoned) {
        request_finish_silent(request);
        return;
    }
    bool no_progress = state->found == state->found_last;
    state->found_last = state->found;
    if (no_progress) {
        fetch_pause(state);
    } else {
        fetch_watch(state, state->found);
    }
}

static void fetch_given_back(struct fan *fan)
{
    struct fetch_state *state = CONTAINER_OF(fan, struct fetch_state, fan);
    request_wake(state->request, fetch_resume_watch);
}

/* ---- reading ---- */

static bool fetch_is_enough(struct fetch_state *state)
{
    uint64_t found = 0;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        if (item->task.status == STATUS_NO_MEMORY) {
            item->task.status = STATUS_OK; /* cache share spent: no bytes now, more next time */
            item->task.read.size = 0;
        }
        if (item->task.status != STATUS_OK) {
            return true;
        }
        item->available = item->task.read.size;
        found += item->available;
    }
    state->found = found;
    bool held_back = found > 0 && found == state->found_last;
    uint64_t limit = bytes_limit(state);
    uint64_t wanted = (uint64_t)(state->in.min_bytes < 0 ? 0 : state->in.min_bytes);
    wanted = wanted > limit ? limit : wanted;
    return found >= wanted || held_back || state->error || state->item_count == 0 ||
           state->abandoned || state->request->core->stopping ||
           ring_now_ns(state->request->core->ring) >= state->deadline_ns;
}

static void fetch_resume_judge(struct request *request)
{
    struct fetch_state *state = request->handler_state;
    if (fetch_is_enough(state)) {
        fetch_answer(state);
        return;
    }
    fan_release(&state->fan, fetch_given_back);
}

static void fetch_read_done(struct fan *fan)
{
    struct fetch_state *state = CONTAINER_OF(fan, struct fetch_state, fan);
    request_wake(state->request, fetch_resume_judge);
}

static void fetch_read(struct fetch_state *state)
{
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        int32_t size = item->in->partition_max_bytes;
        item->task.read = (struct partition_read){
            .offset = item->in->fetch_offset,
            .size_max = (uint32_t)(size < 0 ? 0 : size),
            .first_whole = true,
            .isolation = state->in.isolation_level == 1 ? READ_COMMITTED : READ_UNCOMMITTED,
        };
    }
    state->fan.read_size_max = bytes_limit(state);
    fan_send(&state->fan, fetch_read_done);
}

/* ---- the request ---- */

static void topic_take(struct fetch_state *state, const struct fetch_request_topic *in,
                       struct fetch_response_topic *out)
{
    struct request *request = state->request;
    bool by_id = uses_ids(request);
    const struct image_topic *topic = handler_topic(request, by_id, in->topic, &in->topic_id);
    out->topic = in->topic;
    out->topic_id = in->topic_id;
    out->partitions = arena_new_array(&request->arena, struct fetch_response_partition_data,
                                      (size_t)in->partitions_count);
    if (out->partitions == NULL) {
        return;
    }
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++) {
        struct fetch_response_partition_data *partition = &out->partitions[i];
        struct fetch_item *item = &state->items[state->item_count];
        fetch_response_partition_data_init(partition);
        partition->partition_index = in->partitions[i].partition;
        partition->aborted_transactions_count = -1;
        item->in = &in->partitions[i];
        item->out = partition;
        item->task.kind = TASK_READ;
        item->task.index = in->partitions[i].partition;
        item->task.leader_epoch_asked =
            request->version >= 9 ? in->partitions[i].current_leader_epoch : -1;
        enum status status =
            topic == NULL ? handler_unknown(by_id) : fan_add(&state->fan, &item->task, topic);
        if (status != STATUS_OK) {
            partition_fail(state, partition, status);
            continue;
        }
        state->item_count++;
    }
}

static int32_t partitions_count(const struct fetch_request *in)
{
    int32_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++) {
        count += in->topics[i].partitions_count;
    }
    return count;
}

/* We keep no sessions, so a client that believes in one is told so and starts over. */
static bool session_refused(struct fetch_state *state)
{
    if (state->in.session_epoch <= 0) {
        return false; /* 0: may create one, we do not; -1: without a session, or its end */
    }
    struct request *request = state->request;
    state->out.error_code = status_code(STATUS_FETCH_SESSION_ID_NOT_FOUND);
    fetch_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
    return true;
}

void handle_fetch(struct request *request)
{
    struct fetch_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, fetch_request_decode, &state->in)) {
        return;
    }
    state->request = request;
    fetch_response_init(&state->out);
    fan_init(&state->fan, &request->core->manager, &request->arena);
    if (session_refused(state)) {
        return;
    }
    int32_t topic_count = state->in.topics_count;
    state->out.responses =
        arena_new_array(&request->arena, struct fetch_response_topic, (size_t)topic_count);
    state->items = arena_new_array(&request->arena, struct fetch_item,
                                   (size_t)partitions_count(&state->in) + 1);
    if (state->out.responses == NULL || state->items == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    state->out.responses_count = topic_count;
    for (int32_t i = 0; i < topic_count; i++) {
        fetch_response_topic_init(&state->out.responses[i]);
        topic_take(state, &state->in.topics[i], &state->out.responses[i]);
    }
    int64_t wait_ms = state->in.max_wait_ms < 0 ? 0 : state->in.max_wait_ms;
    state->deadline_ns = ring_now_ns(request->core->ring) + (uint64_t)wait_ms * 1000000;
    state->found_last = UINT64_MAX; /* no read yet */
    request->abandon = fetch_abandon;
    fetch_read(state);
}
