/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce: one batch for each of several partitions.
 *
 * Each batch is judged alone, before anything is sent to its owner: a bad one gets its error and
 * the others are appended. The batch stays where it was received; the owner copies it once into its
 * slab. acks=1 and acks=all are answered by the same event, the durable high watermark.
 *
 * Transactional batches ask the coordinator first, all of a request at once: up to version 11
 * whether the partitions are in the transaction, from 12 on to add them (KIP-890). It holds markers
 * back until the appends are done (X2 of broker/transactions/transactions.h).
 *
 * An answer that is not there after the request's timeout is REQUEST_TIMED_OUT for all of it: what
 * other cores hold is not looked at before it comes home. The batches are appended nevertheless,
 * as in Kafka, and the request lives on until they are.
 */
#include "wire/produce.h"

#include <stdio.h>

#include "broker/handlers/handler.h"
#include "broker/recompress.h"
#include "broker/transactions/transactions.h"
#include "topic/name.h"

/* What one batch may unpack to. Clients fill batches to at most 1 MiB before they pack them, so 100
 * times max.message.bytes' default is far from honest use and near enough to stop a bomb. */
#define UNPACKED_SIZE_MAX (100 * MIB)

#define VERSION_ABORTABLE 11 /* first that knows TRANSACTION_ABORTABLE */
#define VERSION_ADDS 12      /* first that adds partitions to its transaction */

struct produce_item {
    struct task task;
    struct produce_response_partition *out;
    struct transaction_spot *spot; /* NULL: not transactional */
    struct uuid topic_id;
    enum status status; /* why it was not sent */
};

/* The transaction of a request; all zeros when there is none. */
struct produce_transaction {
    struct coordinator_fan fan;
    struct transaction_call call;
    struct coordinator_fan release_fan;
    struct transaction_release release;
    bool asking;    /* the coordinator has not answered yet */
    bool late;      /* the timeout passed meanwhile */
    bool releasing; /* the coordinator is being told that the appends are done */
};

struct produce_state {
    struct produce_request in;
    struct produce_response out;
    struct fan fan;
    struct produce_item *items;
    int32_t item_count;
    struct produce_transaction transaction;
    struct timer timer;
    bool returned;  /* no core holds anything of the fan any more */
    bool timed_out; /* answered, or about to be, without it */
    bool sent;      /* the answer is out: only what is under way is waited for */
    bool failed;    /* any partition: closes an acks=0 connection, as Kafka does */
};

static void partition_fail(struct produce_state *state, struct produce_response_partition *out,
                           enum status status, const char *message)
{
    out->error_code = handler_partition_code(status);
    out->base_offset = -1;
    if (message != NULL) {
        out->error_message = bytes_of_text(message);
    }
    state->failed = true;
}

static void partition_fail_records(struct request *request, struct produce_response_partition *out,
                                   const struct batch_fault *fault)
{
    if (fault->index < 0 || fault->message == NULL) {
        return;
    }
    struct produce_response_record_error *errors = arena_new_array(
        &request->arena, struct produce_response_record_error, (size_t)fault->count);
    for (int32_t i = 0; errors != NULL && i < fault->count; i++) {
        errors[i].batch_index = fault->indexes[i];
        errors[i].batch_index_error_message = bytes_of_text(fault->message);
        out->record_errors = errors;
        out->record_errors_count = i + 1;
    }
}

/* What Kafka checks before it looks into the batch. min.insync.replicas is not among it: Kafka asks
 * for no more replicas than the partition has (KIP-966), and that is one. */
static enum status batch_admit(const struct request *request, const struct image_topic *topic,
                               struct bytes batch)
{
    if (batch.data == NULL || batch.size < BATCH_HEADER_SIZE) {
        return STATUS_INVALID_RECORD;
    }
    if ((int64_t)batch.size > topic->config.message_size_max) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    struct batch_header header;
    batch_header_decode(&header, batch.data);
    if ((header.attributes & BATCH_CODEC_MASK) == CODEC_ZSTD && request->version < 7) {
        return STATUS_UNSUPPORTED_COMPRESSION_TYPE;
    }
    return STATUS_OK;
}

/* Judges the batch and brings it into the form the log keeps. */
static enum status batch_prepare(struct request *request, const struct image_topic *topic,
                                 struct bytes *batch, struct partition_append *append,
                                 struct batch_fault *fault)
{
    struct core *core = request->core;
    const struct topic_config *config = &topic->config;
    const struct batch_scratch scratch = {
        .memory = core->scratch, .size = BATCH_SCRATCH_SIZE, .heap = &core->heap};
    append->now_ms = ring_wall_ms(core->ring);
    const struct batch_rules rules = {
        .walk = config->validate_records || config->compact, /* records without a key never go */
        .key_required = config->compact,
        .log_append_time = config->log_append_time,
        .now_ms = append->now_ms,
        .timestamp_before_ms_max = config->timestamp_before_ms_max,
        .timestamp_after_ms_max = config->timestamp_after_ms_max,
        .decompressed_size_max = UNPACKED_SIZE_MAX,
        .record_size_max = config->decompressed_size_max,
    };
    int64_t max_timestamp;
    enum status status =
        batch_validate(*batch, &rules, scratch, &append->header, &max_timestamp, fault);
    if (status != STATUS_OK) {
        return status;
    }
    enum codec codec = append->header.attributes & BATCH_CODEC_MASK;
    if (recompress_wanted(config, codec)) {
        status = recompress(core->pages, &request->arena, scratch, config, batch);
        if (status != STATUS_OK) {
            return status;
        }
        batch_header_decode(&append->header, batch->data);
    }
    uint8_t *memory = (uint8_t *)(uintptr_t)batch->data; /* of this request, received or rebuilt */
    if (!config->log_append_time && max_timestamp != append->header.max_timestamp) {
        batch_stamp_time(memory, batch->size, false, max_timestamp);
        append->header.max_timestamp = max_timestamp;
    }
    append->batch = memory;
    append->size = batch->size;
    return STATUS_OK;
}

/* The topics of coordinators are theirs; Kafka's admin client may write to them all the same. */
static bool topic_is_closed(const struct request *request, const struct image_topic *topic)
{
    return topic_name_is_internal(bytes_of_text(topic->name)) &&
           !bytes_equal(request->client_id, BYTES_LITERAL("__admin_client"));
}

/* The name outlives the topic: the coordinator may read it on another core. */
static struct bytes topic_name_copy(struct request *request, const struct image_topic *topic)
{
    size_t size = strlen(topic->name);
    uint8_t *copy = arena_acquire_bytes(&request->arena, size);
    if (copy == NULL) {
        return BYTES_NULL;
    }
    memcpy(copy, topic->name, size);
    return bytes_of(copy, size);
}

/* A transactional batch waits for the coordinator's word. One request speaks of one producer. */
static enum status item_hold(struct request *request, struct produce_state *state,
                             const struct image_topic *topic, struct produce_item *item,
                             const char **message)
{
    struct transaction_call *call = &state->transaction.call;
    const struct batch_header *header = &item->task.append.header;
    if (state->in.transactional_id.size == 0) {
        *message = "a transactional batch needs a transactional id";
        return STATUS_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    if (call->spot_count == 0) {
        call->event.producer_id = header->producer_id;
        call->event.epoch = header->producer_epoch;
    } else if (call->event.producer_id != header->producer_id ||
               call->event.epoch != header->producer_epoch) {
        *message = "the batches of one request are of several producers";
        return STATUS_INVALID_PRODUCER_ID_MAPPING;
    }
    item->spot = &call->spots[call->spot_count];
    *item->spot = (struct transaction_spot){
        .topic = topic_name_copy(request, topic),
        .index = item->task.index,
    };
    if (item->spot->topic.data == NULL) {
        return STATUS_KAFKA_STORAGE_ERROR; /* the arena: the answer will fail, too */
    }
    item->topic_id = topic->id;
    item->task.append.from_zero = request->version >= VERSION_ADDS;
    call->spot_count++;
    return STATUS_OK;
}

static void partition_take(struct request *request, struct produce_state *state,
                           const struct image_topic *topic,
                           const struct produce_request_partition_data *in,
                           struct produce_response_partition *out)
{
    out->index = in->index;
    out->base_offset = -1;
    struct batch_fault fault;
    batch_fault_init(&fault);
    struct bytes batch = in->records.count == 1 ? in->records.items[0] : BYTES_NULL;
    struct produce_item *item = &state->items[state->item_count];
    item->task.kind = TASK_APPEND;
    item->task.index = in->index;
    item->task.leader_epoch_asked = -1;
    item->out = out;
    if (in->index < 0 || in->index >= topic->partition_count) {
        partition_fail(state, out, STATUS_UNKNOWN_TOPIC_OR_PARTITION, NULL);
        return;
    }
    if (topic_is_closed(request, topic)) {
        partition_fail(state, out, STATUS_INVALID_TOPIC_EXCEPTION, NULL);
        return;
    }
    enum status status = batch_admit(request, topic, batch);
    if (status == STATUS_OK) {
        status = batch_prepare(request, topic, &batch, &item->task.append, &fault);
    }
    bool held = (item->task.append.header.attributes & BATCH_TRANSACTIONAL) != 0;
    if (status == STATUS_OK && held) {
        status = item_hold(request, state, topic, item, &fault.message);
    } else if (status == STATUS_OK) {
        status = fan_add(&state->fan, &item->task, topic);
    }
    if (status != STATUS_OK) {
        partition_fail(state, out, status, fault.message);
        partition_fail_records(request, out, &fault);
        return;
    }
    state->item_count++;
}

static void topic_take(struct request *request, struct produce_state *state,
                       const struct produce_request_topic_data *in,
                       struct produce_response_topic *out)
{
    bool by_id = request->version >= 13;
    const struct image_topic *topic = handler_topic(request, by_id, in->name, &in->topic_id);
    out->name = in->name;
    out->topic_id = in->topic_id;
    out->partition_responses = arena_new_array(&request->arena, struct produce_response_partition,
                                               (size_t)in->partition_data_count);
    if (out->partition_responses == NULL) {
        return; /* the arena failed: request_finish() says so */
    }
    out->partition_responses_count = in->partition_data_count;
    for (int32_t i = 0; i < in->partition_data_count; i++) {
        struct produce_response_partition *partition = &out->partition_responses[i];
        produce_response_partition_init(partition);
        if (topic != NULL && state->in.acks >= -1 && state->in.acks <= 1) {
            partition_take(request, state, topic, &in->partition_data[i], partition);
            continue;
        }
        partition->index = in->partition_data[i].index;
        enum status status = state->in.acks < -1 || state->in.acks > 1
                                 ? STATUS_INVALID_REQUIRED_ACKS
                                 : handler_unknown(by_id);
        partition_fail(state, partition, status, NULL);
    }
}

/* "orders-3 answered MESSAGE_TOO_LARGE"; of a topic that was named by its id, the id. */
static void fault_print(char *text, size_t size, const struct produce_response_topic *topic,
                        const struct produce_response_partition *partition)
{
    char name[128];
    if (topic->name.data == NULL) {
        uuid_format(&topic->topic_id, name);
    } else {
        (void)diag_escape(name, sizeof(name), topic->name.data, topic->name.size);
    }
    snprintf(text, size, "acks=0 and %s-%d answered %s", name, partition->index,
             status_name(status_from_code(partition->error_code)));
}

/* Closing is the only way to tell a client that wants no answer; Kafka does the same. The log names
 * the first of the partitions. */
static void produce_close(struct request *request, const struct produce_state *state)
{
    char why[256] = "";
    for (int32_t i = 0; i < state->out.responses_count; i++) {
        const struct produce_response_topic *topic = &state->out.responses[i];
        for (int32_t k = 0; k < topic->partition_responses_count; k++) {
            if (topic->partition_responses[k].error_code != 0 && why[0] == '\0') {
                fault_print(why, sizeof(why), topic, &topic->partition_responses[k]);
            }
        }
    }
    request_refuse(request, why);
}

static void produce_answer(struct request *request)
{
    struct produce_state *state = request->handler_state;
    timer_disarm(&request->core->timers, &state->timer);
    for (int32_t i = 0; i < state->item_count; i++) {
        struct produce_item *item = &state->items[i];
        const struct partition_append *append = &item->task.append;
        enum status status = item->status != STATUS_OK ? item->status : item->task.status;
        if (status != STATUS_OK) {
            partition_fail(state, item->out, status, NULL);
            continue;
        }
        item->out->base_offset = append->base_offset;
        item->out->log_append_time_ms = append->append_time_ms;
        item->out->log_start_offset = append->log_start_offset;
    }
    if (state->in.acks == 0 && state->failed) {
        produce_close(request, state);
        return;
    }
    if (state->in.acks == 0) {
        request_finish_silent(request);
        return;
    }
    produce_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

/* ---- the end: answered, sent, and nothing under way ---- */

static void produce_settle(struct produce_state *state)
{
    if (state->sent && state->returned && !state->transaction.releasing) {
        request_released(state->fan.owner);
    }
}

static void produce_release(struct request *request)
{
    struct produce_state *state = request->handler_state;
    state->sent = true;
    produce_settle(state);
}

static void coordinator_told(struct coordinator_fan *fan)
{
    struct produce_state *state = fan->owner;
    state->transaction.releasing = false;
    produce_settle(state);
}

static void coordinator_heard(struct coordinator_fan *fan)
{
    coordinator_fan_release(fan, coordinator_told);
}

/* X2: markers may go out now. */
static void coordinator_tell(struct produce_state *state)
{
    struct produce_transaction *transaction = &state->transaction;
    transaction->releasing = true;
    transaction->release.id = transaction->call.id;
    transaction->release.serial = transaction->call.serial;
    coordinator_fan_init(&transaction->release_fan, transaction->fan.home);
    transaction->release_fan.owner = state;
    transaction_release_add(&transaction->release_fan, &transaction->release);
    coordinator_fan_send(&transaction->release_fan, coordinator_heard);
}

static void produce_done(struct fan *fan)
{
    struct produce_state *state = CONTAINER_OF(fan, struct produce_state, fan);
    struct request *request = fan->owner;
    bool admitted = state->transaction.call.serial != 0;
    state->returned = true;
    if (!state->timed_out) {
        request_wake(request, produce_answer);
    }
    if (admitted) {
        coordinator_tell(state); /* the last look at the state, unless it waits to be sent */
    } else {
        produce_settle(state);
    }
}

static void produce_answer_late(struct request *request)
{
    struct produce_state *state = request->handler_state;
    for (int32_t i = 0; i < state->item_count; i++) {
        partition_fail(state, state->items[i].out, STATUS_REQUEST_TIMED_OUT, NULL);
    }
    request->release = produce_release;
    produce_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

static void produce_timeout(struct timer *timer)
{
    struct produce_state *state = CONTAINER_OF(timer, struct produce_state, timer);
    if (state->transaction.asking) {
        state->transaction.late = true;
    } else if (!state->returned) {
        state->timed_out = true;
        request_wake(state->fan.owner, produce_answer_late);
    }
}

/* Kafka's clock of requests has ticks of 1 ms, so a timeout of 0 is one of those. */
static void produce_arm_timeout(struct request *request, struct produce_state *state)
{
    if (state->in.acks == 0) {
        return;
    }
    uint64_t timeout_ms = state->in.timeout_ms < 1 ? 1 : (uint64_t)state->in.timeout_ms;
    state->timer.fire = produce_timeout;
    timer_arm(&request->core->timers, &state->timer,
              ring_now_ns(request->core->ring) + timeout_ms * 1000000);
}

/* ---- the coordinator's word ---- */

/* What a producer of this version is told; it cannot tell these errors apart, but retries or aborts
 * as they ask. */
static enum status transaction_status(const struct request *request, enum status status)
{
    switch (status) {
    case STATUS_PRODUCER_FENCED:
        return STATUS_INVALID_PRODUCER_EPOCH;
    case STATUS_TRANSACTION_ABORTABLE:
        return request->version >= VERSION_ABORTABLE ? status : STATUS_INVALID_TXN_STATE;
    case STATUS_CONCURRENT_TRANSACTIONS:
        return request->version >= VERSION_ADDS ? status : STATUS_NOT_ENOUGH_REPLICAS;
    case STATUS_COORDINATOR_LOAD_IN_PROGRESS:
    case STATUS_COORDINATOR_NOT_AVAILABLE:
    case STATUS_NOT_COORDINATOR:
        return STATUS_NOT_ENOUGH_REPLICAS; /* retried without asking for metadata */
    default:
        return status;
    }
}

static void produce_admitted(struct request *request)
{
    struct produce_state *state = request->handler_state;
    struct produce_transaction *transaction = &state->transaction;
    enum status status = transaction_status(request, transaction->call.call.status);
    transaction->asking = false;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct produce_item *item = &state->items[i];
        if (item->spot == NULL) {
            continue;
        }
        item->status =
            status != STATUS_OK ? status : transaction_status(request, item->spot->status);
        if (item->status == STATUS_OK) {
            item->status = fan_add(&state->fan, &item->task,
                                   image_find_id(&request->core->image, &item->topic_id));
        }
    }
    request->release = produce_release;
    fan_send(&state->fan, produce_done);
    if (transaction->late && !state->returned) {
        state->timed_out = true;
        produce_answer_late(request);
    }
}

static void coordinator_answered(struct coordinator_fan *fan)
{
    struct produce_state *state = fan->owner;
    request_wake(state->fan.owner, produce_admitted);
}

static void coordinator_done(struct coordinator_fan *fan)
{
    coordinator_fan_release(fan, coordinator_answered);
}

static void produce_ask(struct request *request, struct produce_state *state)
{
    struct produce_transaction *transaction = &state->transaction;
    struct transaction_call *call = &transaction->call;
    bool adds = request->version >= VERSION_ADDS;
    call->id = state->in.transactional_id;
    call->event.kind = adds ? TRANSACTION_ADD : TRANSACTION_VERIFY;
    call->event.version = TRANSACTION_VERSION_BUMPS;
    call->admit = true;
    transaction->asking = true;
    coordinator_fan_init(&transaction->fan, request->core);
    transaction->fan.owner = state;
    transaction_call_add(&transaction->fan, call);
    coordinator_fan_send(&transaction->fan, coordinator_done);
}

static int32_t partitions_count(const struct produce_request *in)
{
    int32_t count = 0;
    for (int32_t i = 0; i < in->topic_data_count; i++) {
        count += in->topic_data[i].partition_data_count;
    }
    return count;
}

void handle_produce(struct request *request)
{
    struct produce_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, produce_request_decode, &state->in)) {
        return;
    }
    produce_response_init(&state->out);
    fan_init(&state->fan, &request->core->manager, &request->arena);
    state->fan.owner = request;
    int32_t topic_count = state->in.topic_data_count;
    int32_t item_count = partitions_count(&state->in);
    state->out.responses =
        arena_new_array(&request->arena, struct produce_response_topic, (size_t)topic_count);
    state->items = arena_new_array(&request->arena, struct produce_item, (size_t)item_count + 1);
    if (state->in.transactional_id.size > 0) {
        state->transaction.call.spots =
            arena_new_array(&request->arena, struct transaction_spot, (size_t)item_count);
    }
    if (state->out.responses == NULL || state->items == NULL || request->arena.failed) {
        request_refuse(request, "request memory is spent");
        return;
    }
    state->out.responses_count = topic_count;
    for (int32_t i = 0; i < topic_count; i++) {
        produce_response_topic_init(&state->out.responses[i]);
        topic_take(request, state, &state->in.topic_data[i], &state->out.responses[i]);
    }
    produce_arm_timeout(request, state);
    if (state->transaction.call.spot_count > 0) {
        produce_ask(request, state);
    } else {
        fan_send(&state->fan, produce_done);
    }
}
