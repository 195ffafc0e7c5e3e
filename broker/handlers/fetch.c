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
 *
 * With a session (broker/sessions.h) the request names what changed, and the items are what the
 * session holds. It may be gone when the answer is due, closed by another connection: the items
 * hold copies, and the answer finds it again by serial and epoch.
 */
#include "wire/fetch.h"
#include "broker/handlers/handler.h"

struct fetch_item {
    struct task task;
    struct session_partition asked;
    struct fetch_response_partition_data out;
    uint64_t available; /* bytes the last read found */
    bool listed;        /* in the answer */
};

/* What the request is to the session cache: nothing, the beginning of a session, a step of one. */
enum fetch_kind { FETCH_ALONE, FETCH_FIRST, FETCH_STEP };

struct fetch_state {
    struct request *request;
    struct fetch_request in;
    struct fetch_response out;
    struct fan fan;
    struct fetch_item *items;
    int32_t item_count;
    enum fetch_kind kind;
    int32_t session_id; /* of FETCH_STEP, with the epoch it has now */
    int32_t session_epoch;
    uint64_t session_serial;
    uint64_t deadline_ns;
    uint64_t found;      /* bytes of the last read, all partitions */
    uint64_t found_last; /* and of the read before it */
    struct timer timer;
    bool abandoned;
};

#define FIRST_WITH_ZSTD 10 /* KIP-110 */
/* Between two reads that found nothing although bytes are there: others hold the cache share. */
#define PAUSE_NS 10000000
#define CACHE_PARTS 4

/* The client's limit and the broker's; and as long as an answer is not sent, nobody else can have
 * the memory of what it pins, so no answer is larger than a part of the cache. */
static uint64_t bytes_limit(const struct fetch_state *state)
{
    const struct core *core = state->request->core;
    int64_t asked = state->in.max_bytes;
    int64_t part = (int64_t)(pages_size_max(core->pages, PAGES_CACHE) / CACHE_PARTS);
    int64_t limit = core->server->config->fetch_size_max;
    limit = limit > part ? part : limit;
    return (uint64_t)(asked < 0 ? 0 : asked > limit ? limit : asked);
}

/* MinBytes, but no more than the answer may hold. */
static uint64_t bytes_wanted(const struct fetch_state *state)
{
    uint64_t limit = bytes_limit(state);
    uint64_t wanted = (uint64_t)(state->in.min_bytes < 0 ? 0 : state->in.min_bytes);
    return wanted > limit ? limit : wanted;
}

static bool uses_ids(const struct request *request)
{
    return request->version >= 13;
}

static void partition_fail(struct fetch_response_partition_data *out, enum status status)
{
    out->error_code = status_code(status);
    out->high_watermark = -1;
    out->last_stable_offset = -1;
    out->log_start_offset = -1;
    out->records.count = 0;
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
    struct bytes *items = arena_new_array(&request->arena, struct bytes, (size_t)read->slice_count);
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
    struct fetch_response_partition_data *out = &item->out;
    bool out_of_range = item->task.status == STATUS_OFFSET_OUT_OF_RANGE;
    if (item->task.status != STATUS_OK) {
        /* Clients of version 4 and 5 do not know the storage error, and try again on this one. */
        bool old = request->version <= 5 && item->task.status == STATUS_KAFKA_STORAGE_ERROR;
        partition_fail(out, old ? STATUS_NOT_LEADER_OR_FOLLOWER : item->task.status);
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

static struct session_answer item_told(const struct fetch_item *item)
{
    return (struct session_answer){
        .high_watermark = item->out.high_watermark,
        .log_start_offset = item->out.log_start_offset,
        .records = item->out.records.count > 0,
        .error = item->out.error_code != 0,
    };
}

/* The session that a whole request begins, where there is place. It remembers this answer. */
static void session_begin(struct fetch_state *state)
{
    struct core *core = state->request->core;
    struct session *session = sessions_create(&core->sessions, uses_ids(state->request),
                                              state->item_count, ring_now_ns(core->ring));
    if (session == NULL) {
        return;
    }
    for (int32_t i = 0; i < state->item_count; i++) {
        struct session_answer told = item_told(&state->items[i]);
        struct session_entry *entry = session_put(session, &state->items[i].asked);
        if (entry == NULL) {
            session_close(session);
            return;
        }
        told.records = false; /* a new session keeps the order of its request */
        session_entry_told(entry, &told);
    }
    state->out.session_id = session->id;
}

/* Leaves out what the client knows already. The items are the session's entries in their order; an
 * entry that moves to the end is met before its move. */
static void session_step(struct fetch_state *state)
{
    struct session *session = sessions_find(&state->request->core->sessions, state->session_id,
                                            state->session_serial, state->session_epoch);
    if (session == NULL) { /* closed meanwhile: the client begins a new one */
        state->out.error_code = status_code(STATUS_INVALID_FETCH_SESSION_EPOCH);
        state->item_count = 0;
        return;
    }
    check(session->entry_count == state->item_count);
    state->out.session_id = session->id;
    struct list_node *node = list_first(&session->entries);
    for (int32_t i = 0; i < state->item_count; i++) {
        struct session_entry *entry = LIST_ENTRY(node, struct session_entry, order);
        struct session_answer told = item_told(&state->items[i]);
        check(entry->asked.index == state->items[i].asked.index);
        node = node->next;
        state->items[i].listed = session_entry_told(entry, &told);
    }
}

static bool same_topic(const struct fetch_item *item, const struct fetch_response_topic *topic)
{
    return bytes_equal(item->asked.topic, topic->topic) &&
           uuid_equal(&item->asked.topic_id, &topic->topic_id);
}

/* Neighbours of one topic share its row. False: the arena refused. */
static bool answer_rows(struct fetch_state *state)
{
    struct arena *arena = &state->request->arena;
    struct fetch_response *out = &state->out;
    size_t room = (size_t)state->item_count;
    out->responses = arena_new_array(arena, struct fetch_response_topic, room);
    struct fetch_response_partition_data *partitions =
        arena_new_array(arena, struct fetch_response_partition_data, room);
    if (out->responses == NULL || partitions == NULL) {
        return false;
    }
    struct fetch_response_topic *topic = NULL;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        if (!item->listed) {
            continue;
        }
        if (topic == NULL || !same_topic(item, topic)) {
            topic = &out->responses[out->responses_count++];
            fetch_response_topic_init(topic);
            topic->topic = item->asked.topic;
            topic->topic_id = item->asked.topic_id;
            topic->partitions = partitions;
        }
        topic->partitions_count++;
        *partitions++ = item->out;
    }
    return true;
}

static void fetch_answer(struct fetch_state *state)
{
    struct request *request = state->request;
    uint64_t given = 0;
    for (int32_t i = 0; i < state->item_count; i++) {
        given += item_answer(state, &state->items[i], given);
    }
    if (state->kind == FETCH_FIRST && state->item_count > 0) {
        session_begin(state);
    } else if (state->kind == FETCH_STEP) {
        session_step(state);
    }
    request->abandon = NULL;
    request->release = fetch_release;
    if (!answer_rows(state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
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
    uint64_t missing = bytes_wanted(state) - found;
    uint64_t count = (uint64_t)state->fan.task_count;
    uint64_t share = (missing + count - 1) / count;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        item->task.watch = (struct partition_watch){
            .offset = item->asked.offset,
            .place = item->task.read.place,
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

/* What was refused before it was asked of anybody does not end the wait for the others, as in
 * Kafka: a client that still names a topic that is gone would be answered as fast as it can ask. */
static bool item_is_sent(const struct fetch_item *item)
{
    return item->task.group != NULL;
}

static bool fetch_is_enough(struct fetch_state *state)
{
    uint64_t found = 0;
    bool refused = false;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct fetch_item *item = &state->items[i];
        if (item->task.status == STATUS_NO_MEMORY) {
            item->task.status = STATUS_OK; /* cache share spent: no bytes now, more next time */
        }
        refused = refused || (item->task.status != STATUS_OK && item_is_sent(item));
        item->available = item->task.read.size;
        found += item->available;
    }
    state->found = found;
    bool held_back = found > 0 && found == state->found_last;
    return refused || found >= bytes_wanted(state) || held_back || state->fan.task_count == 0 ||
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
        int32_t size = item->asked.size_max;
        item->task.read = (struct partition_read){
            .offset = item->asked.offset,
            .size_max = (uint32_t)(size < 0 ? 0 : size),
            .first_whole = true,
            .isolation = state->in.isolation_level == 1 ? READ_COMMITTED : READ_UNCOMMITTED,
        };
    }
    state->fan.read_size_max = bytes_limit(state);
    fan_send(&state->fan, fetch_read_done);
}

/* ---- the request ---- */

/* The item's copy of the topic's name; neighbours of one topic share it. */
static struct bytes topic_copy(struct fetch_state *state, struct bytes topic)
{
    if (state->item_count > 0) {
        struct bytes last = state->items[state->item_count - 1].asked.topic;
        if (bytes_equal(last, topic)) {
            return last;
        }
    }
    uint8_t *copy = arena_acquire_bytes(&state->request->arena, topic.size);
    if (copy == NULL) {
        return BYTES_NULL;
    }
    memcpy(copy, topic.data, topic.size);
    return bytes_of(copy, topic.size);
}

static void item_take(struct fetch_state *state, const struct session_partition *asked)
{
    struct request *request = state->request;
    bool by_id = uses_ids(request);
    struct fetch_item *item = &state->items[state->item_count];
    item->asked = *asked;
    if (asked->topic.size > 0) {
        item->asked.topic = topic_copy(state, asked->topic);
    }
    state->item_count++;
    item->listed = true;
    fetch_response_partition_data_init(&item->out);
    item->out.partition_index = asked->index;
    item->out.aborted_transactions_count = -1;
    item->task.kind = TASK_READ;
    item->task.index = asked->index;
    item->task.leader_epoch_asked = asked->leader_epoch;
    const struct image_topic *topic = handler_topic(request, by_id, asked->topic, &asked->topic_id);
    if (topic == NULL) {
        item->task.status = handler_unknown(by_id);
    } else if (request->version < FIRST_WITH_ZSTD && !topic->config.compression_producer &&
               topic->config.compression == CODEC_ZSTD) {
        item->task.status = STATUS_UNSUPPORTED_COMPRESSION_TYPE; /* what it cannot unpack */
    } else if (fan_add(&state->fan, &item->task, topic) == STATUS_NO_MEMORY) {
        item->task.status = STATUS_KAFKA_STORAGE_ERROR; /* the arena: the answer will fail, too */
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

static struct session_partition partition_asked(const struct request *request,
                                                const struct fetch_request_topic *topic,
                                                const struct fetch_request_partition *in)
{
    return (struct session_partition){
        .topic = uses_ids(request) ? BYTES_NULL : topic->topic,
        .topic_id = uses_ids(request) ? topic->topic_id : (struct uuid){{0}},
        .index = in->partition,
        .leader_epoch = request->version >= 9 ? in->current_leader_epoch : -1,
        .offset = in->fetch_offset,
        .size_max = in->partition_max_bytes,
    };
}

static bool items_reserve(struct fetch_state *state, int32_t count)
{
    state->items = arena_new_array(&state->request->arena, struct fetch_item, (size_t)count + 1);
    if (state->items == NULL) {
        request_refuse(state->request, "request memory is spent");
    }
    return state->items != NULL;
}

static bool items_from_request(struct fetch_state *state)
{
    if (!items_reserve(state, partitions_count(&state->in))) {
        return false;
    }
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        const struct fetch_request_topic *topic = &state->in.topics[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct session_partition asked =
                partition_asked(state->request, topic, &topic->partitions[k]);
            item_take(state, &asked);
        }
    }
    return true;
}

static void session_refuse(struct fetch_state *state, enum status status)
{
    struct request *request = state->request;
    state->out.error_code = status_code(status);
    fetch_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

/* What the request adds to its session, changes and takes away. False: no memory, the session is
 * half changed. */
static bool session_update(struct fetch_state *state, struct session *session)
{
    const struct request *request = state->request;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        const struct fetch_request_topic *topic = &state->in.topics[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct session_partition asked = partition_asked(request, topic, &topic->partitions[k]);
            if (session_put(session, &asked) == NULL) {
                return false;
            }
        }
    }
    for (int32_t i = 0; i < state->in.forgotten_topics_data_count; i++) {
        const struct fetch_request_forgotten_topic *topic = &state->in.forgotten_topics_data[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            session_forget(session, topic->topic, &topic->topic_id, topic->partitions[k]);
        }
    }
    return true;
}

static bool items_from_session(struct fetch_state *state, struct session *session)
{
    if (!session_update(state, session)) {
        session_close(session);
        session_refuse(state, STATUS_FETCH_SESSION_ID_NOT_FOUND);
        return false;
    }
    if (session->entry_count == 0) {
        session_close(session); /* and the answer carries id 0 */
        return items_reserve(state, 0);
    }
    if (!items_reserve(state, session->entry_count)) {
        return false;
    }
    state->kind = FETCH_STEP;
    state->session_id = session->id;
    state->session_epoch = session->epoch;
    state->session_serial = session->serial;
    LIST_EACH (&session->entries, node) {
        item_take(state, &LIST_ENTRY(node, struct session_entry, order)->asked);
    }
    return true;
}

/* False: the request is answered. */
static bool items_take(struct fetch_state *state)
{
    struct core *core = state->request->core;
    const struct session_ask ask = {
        .id = state->in.session_id,
        .epoch = state->in.session_epoch,
        .by_ids = uses_ids(state->request),
    };
    struct session *session;
    enum status status = sessions_enter(&core->sessions, &ask, ring_now_ns(core->ring), &session);
    if (status != STATUS_OK) {
        session_refuse(state, status);
        return false;
    }
    if (session != NULL) {
        return items_from_session(state, session);
    }
    state->kind = ask.epoch == SESSION_EPOCH_FIRST ? FETCH_FIRST : FETCH_ALONE;
    return items_from_request(state);
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
    if (!items_take(state)) {
        return;
    }
    int64_t wait_ms = state->in.max_wait_ms < 0 ? 0 : state->in.max_wait_ms;
    state->deadline_ns = ring_now_ns(request->core->ring) + (uint64_t)wait_ms * 1000000;
    state->found_last = UINT64_MAX; /* no read yet */
    request->abandon = fetch_abandon;
    fetch_read(state);
}
