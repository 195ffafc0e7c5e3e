/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories of a classic group against classic_model.h, which knows its rules by other
 * means. After each step every answer, every member, the next deadline and the invariants are
 * compared. A history that fails is shrunk before it is printed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pages.h"
#include "base/random.h"
#include "broker/groups/classic_state.h"
#include "tests/lib/test.h"
#include "tests/unit/broker/groups/classic_model_calls.h"

#define CLIENTS 6 /* the last two are static */
#define CLIENTS_DYNAMIC 4
#define HISTORY_MAX (MODEL_REQUESTS - 1)
#define HISTORIES 20000
#define VALUE_SIZE_MAX 8192
#define WRITES_MAX 64
#define GENERATIONS_MAX 512
#define ID_SIZE_MAX 64

enum op_kind {
    OP_JOIN,
    OP_JOIN_MORE,
    OP_JOIN_MOST,
    OP_SYNC,
    OP_LEAD, /* a sync of whoever leads */
    OP_LEAD_MORE,
    OP_LEAD_MOST,
    OP_WRITTEN,
    OP_WRITTEN_MORE,
    OP_WRITTEN_MOST,
    OP_TIME,
    OP_HEARTBEAT,
    OP_COMMIT,
    OP_LEAVE,
    OP_REBALANCE,
    OP_LIMIT,
    OP_RESTART,
    OP_KINDS
};

/* Numbers are turned into a request against the state at that moment, so that a history stays
 * meaningful when operations are taken out of it. */
struct op {
    enum op_kind kind;
    uint32_t client;
    uint32_t choice;
    uint32_t extra;
};

/* What a client remembers of its last answers. */
struct history_client {
    int id;
    int id_before;
    int32_t generation;
    int protocol;
    int listing;
    int metadata;
};

struct request {
    struct classic_join join;
    struct classic_sync sync;
    struct model_request model;
    uint32_t client;
    bool answered;
    bool learned; /* its client has seen the answer */
};

struct write {
    uint64_t id;
    struct model record;
    uint8_t value[VALUE_SIZE_MAX];
    size_t value_size;
};

struct history {
    struct heap heap;
    struct pages *pages;
    struct classic_config config;
    struct classic *group;
    struct classic_output output;
    struct model model;
    struct history_client clients[CLIENTS];
    struct request requests[MODEL_REQUESTS];
    int request_count;
    struct write writes[WRITES_MAX]; /* under way, oldest first */
    int write_count;
    struct write durable;              /* id 0: nothing */
    int told_leaders[GENERATIONS_MAX]; /* G2; 0 none */
};

#define EXPECT(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            return #expression;                                                                    \
        }                                                                                          \
    } while (0)

static const char *const names[MODEL_NAMES] = {"range", "sticky", "other"};
static const char *const types[] = {"consumer", "connect"};
static const char *const instances[] = {"i0", "i1"};

static int instance_of(uint32_t client)
{
    return client < CLIENTS_DYNAMIC ? NONE : (int)client - CLIENTS_DYNAMIC;
}

static struct bytes instance_text(int instance)
{
    return instance == NONE ? BYTES_NULL : bytes_of_text(instances[instance]);
}

/* The uuid of a join carries its number, so an id can be told from the number alone. */
static struct bytes id_text(const struct history *history, int id, char text[ID_SIZE_MAX])
{
    if (id == 0) {
        return BYTES_LITERAL("");
    }
    int instance = history->requests[id - 1].model.instance;
    snprintf(text, ID_SIZE_MAX, "%s-00000000-0000-0000-0000-0000%08x",
             instance == NONE ? "c" : instances[instance], (unsigned)id);
    return bytes_of_text(text);
}

static bool id_equals(const struct history *history, struct bytes actual, int id)
{
    char text[ID_SIZE_MAX];
    return bytes_equal(actual, id_text(history, id, text));
}

static struct bytes number_text(int number, char text[ID_SIZE_MAX])
{
    snprintf(text, ID_SIZE_MAX, "%d", number);
    return number == 0 ? BYTES_LITERAL("") : bytes_of_text(text);
}

/* ---- answers ---- */

static const char *take_join(struct history *history, struct classic_join *join)
{
    struct request *request = CONTAINER_OF(join, struct request, join);
    const struct model_answer *expected = &history->model.answers[request - history->requests];
    EXPECT(!request->answered); /* G1 */
    request->answered = true;
    EXPECT(expected->given && !expected->is_sync);
    EXPECT(join->answer.status == expected->status);
    int id = expected->id == ECHO ? request->model.id : expected->id;
    EXPECT(id_equals(history, join->answer.member_id, id));
    EXPECT(join->answer.lists_members == expected->lists_members);
    EXPECT(join->answer.skip_assignment == expected->skips);
    EXPECT(id_equals(history, join->answer.leader, expected->leader));
    if (expected->status != STATUS_OK) {
        EXPECT(join->answer.generation == -1);
        return NULL;
    }
    EXPECT(join->answer.generation == history->model.generation);
    EXPECT(bytes_equal(join->answer.protocol, bytes_of_text(names[expected->protocol])));
    EXPECT(bytes_equal(join->answer.protocol_type, bytes_of_text(types[history->model.type])));
    return NULL;
}

static const char *take_sync(struct history *history, struct classic_sync *sync)
{
    struct request *request = CONTAINER_OF(sync, struct request, sync);
    const struct model_answer *expected = &history->model.answers[request - history->requests];
    char text[ID_SIZE_MAX];
    EXPECT(!request->answered); /* G1 */
    request->answered = true;
    EXPECT(expected->given && expected->is_sync);
    EXPECT(sync->answer.status == expected->status);
    EXPECT(bytes_equal(sync->answer.assignment, number_text(expected->assignment, text)));
    EXPECT(expected->status != STATUS_OK ||
           bytes_equal(sync->answer.protocol, bytes_of_text(names[expected->protocol])));
    return NULL;
}

/* G2, apart from the model. */
static const char *take_leader(struct history *history, int number)
{
    const struct model_answer *answer = &history->model.answers[number];
    int32_t generation = history->model.generation;
    if (answer->is_sync || answer->status != STATUS_OK || generation >= GENERATIONS_MAX) {
        return NULL;
    }
    int *told = &history->told_leaders[generation];
    bool is_other = *told != 0 && *told != answer->leader;
    EXPECT(!is_other || (history->requests[*told - 1].model.instance != NONE &&
                         history->requests[*told - 1].model.instance ==
                             history->requests[answer->leader - 1].model.instance));
    *told = answer->leader;
    return NULL;
}

static void client_learn(struct history *history, int number)
{
    const struct model_answer *answer = &history->model.answers[number];
    const struct request *request = &history->requests[number];
    struct history_client *client = &history->clients[request->client];
    if (answer->is_sync) {
        return;
    }
    if (answer->status == STATUS_OK || answer->status == STATUS_MEMBER_ID_REQUIRED) {
        client->id_before = client->id != answer->id ? client->id : client->id_before;
        client->id = answer->id;
    } else if (answer->status == STATUS_UNKNOWN_MEMBER_ID && request->model.id == client->id) {
        client->id_before = client->id;
        client->id = 0;
    }
    if (answer->status == STATUS_OK) {
        client->generation = history->model.generation;
        client->protocol = answer->protocol;
    }
}

static const char *take_answers(struct history *history)
{
    const char *failure = NULL;
    for (struct list_node *node; (node = list_pop_head(&history->output.joins)) != NULL;) {
        const char *found = take_join(history, LIST_ENTRY(node, struct classic_join, node));
        failure = failure == NULL ? found : failure;
    }
    for (struct list_node *node; (node = list_pop_head(&history->output.syncs)) != NULL;) {
        const char *found = take_sync(history, LIST_ENTRY(node, struct classic_sync, node));
        failure = failure == NULL ? found : failure;
    }
    for (int i = 0; i < history->request_count && failure == NULL; i++) {
        EXPECT(history->requests[i].answered == history->model.answers[i].given);
    }
    return failure;
}

/* ---- comparing ---- */

static const char *compare_member(const struct history *history,
                                  const struct classic_member_view *view,
                                  const struct model_member *expected)
{
    char text[ID_SIZE_MAX];
    EXPECT(id_equals(history, view->member_id, expected->id));
    EXPECT(bytes_equal(view->instance_id, instance_text(expected->instance)));
    EXPECT(view->session_ms == expected->session_ms);
    EXPECT(view->rebalance_ms == expected->rebalance_ms);
    EXPECT(bytes_equal(view->assignment, number_text(expected->assignment, text)));
    EXPECT(history->model.protocol == NONE ||
           !model_lists(expected->listing, history->model.protocol) ||
           bytes_equal(view->metadata, number_text(expected->metadata, text)));
    return NULL;
}

static const char *compare(const struct history *history)
{
    const struct model *model = &history->model;
    struct classic_view view = classic_view(history->group);
    EXPECT(classic_verify(history->group));
    EXPECT(view.state == model->state);
    EXPECT(view.generation == model->generation);
    EXPECT(id_equals(history, view.leader, model->leader));
    EXPECT(view.member_count == model_members(model));
    EXPECT(view.pending_count == model->count - model_members(model));
    EXPECT(model->protocol == NONE
               ? view.protocol.data == NULL
               : bytes_equal(view.protocol, bytes_of_text(names[model->protocol])));
    EXPECT(classic_deadline_ms(history->group) == model_deadline_ms(model));
    EXPECT(classic_is_idle(history->group) == (model->state == CLASSIC_EMPTY && model->count == 0));
    const struct classic_member *member = NULL;
    for (int i = 0; i < model->count; i++) {
        if (!model->members[i].pending) {
            member = classic_member_next(history->group, member);
            struct classic_member_view seen = classic_member_view(history->group, member);
            const char *failure = compare_member(history, &seen, &model->members[i]);
            if (failure != NULL) {
                return failure;
            }
        }
    }
    return NULL;
}

static const char *take_write(struct history *history)
{
    struct arena arena;
    struct writer writer;
    struct group_metadata_value value;
    EXPECT(history->output.write == history->model.wrote);
    if (!history->output.write) {
        return NULL;
    }
    EXPECT(history->output.write_id == history->model.write_serial);
    check(history->write_count < WRITES_MAX);
    struct write *write = &history->writes[history->write_count++];
    arena_init(&arena, history->pages, (size_t)(4 * MIB));
    check(classic_value(history->group, &arena, &value) == STATUS_OK);
    writer_init(&writer, &arena);
    group_metadata_value_encode(&writer, 3, &value);
    write->id = history->output.write_id;
    write->value_size = writer_size(&writer);
    check(!writer.failed && write->value_size <= VALUE_SIZE_MAX);
    writer_copy(&writer, write->value);
    write->record = model_snapshot(&history->model);
    arena_reset(&arena);
    return NULL;
}

/* The model has taken the event already. */
static const char *step(struct history *history, struct classic_event event)
{
    event.now_ms = history->model.now_ms;
    event.wall_ms = history->model.now_ms;
    classic_step(history->group, &event, &history->output);
    const char *failure = take_answers(history);
    if (failure == NULL) {
        failure = take_write(history);
    }
    if (failure == NULL) {
        failure = compare(history);
    }
    for (int i = 0; i < history->request_count && failure == NULL; i++) {
        if (history->model.answers[i].given && !history->requests[i].learned) {
            history->requests[i].learned = true;
            failure = take_leader(history, i);
            client_learn(history, i);
        }
    }
    history->model.wrote = false;
    return failure;
}

/* ---- operations ---- */

static struct request *request_of(struct history *history, const struct op *op)
{
    check(history->request_count < MODEL_REQUESTS);
    struct request *request = &history->requests[history->request_count++];
    const struct history_client *client = &history->clients[op->client];
    request->client = op->client;
    request->model.id = client->id;
    request->model.instance = instance_of(op->client);
    request->model.generation = client->generation;
    request->model.protocol = op->choice / 16 % 4 == 0 ? NONE : client->protocol;
    request->model.type = op->choice / 64 % 32 == 0;
    if (op->choice % 16 == 0) {
        request->model.id = client->id_before;
    } else if (op->choice % 16 == 1 || (op->choice % 16 < 5 && request->model.instance != NONE)) {
        request->model.id = 0;
    }
    if (op->choice / 2048 % 16 == 0) {
        request->model.generation += (int32_t)(op->extra % 3) - 1;
    }
    return request;
}

static const char *step_join(struct history *history, const struct op *op)
{
    static const int versions[] = {0, 3, 4, 8, 9, 9, 9, 9};
    int number = history->request_count;
    struct request *request = request_of(history, op);
    struct model_request *model = &request->model;
    struct history_client *client = &history->clients[op->client];
    if (op->extra % 16 == 0) {
        client->listing = (int)(op->extra / 16 % MODEL_LISTINGS);
    } else if (op->extra % 16 == 1) {
        client->metadata += 1;
    }
    model->listing = client->listing;
    model->metadata = client->metadata;
    model->version = versions[op->extra / 256 % ARRAY_COUNT(versions)];
    model->session_ms = 6000 + 2000 * (int32_t)op->client;
    model->rebalance_ms = model->version == 0 ? -1 : 8000 + 3000 * (int32_t)(op->extra / 2048 % 4);
    char id[ID_SIZE_MAX];
    char metadata[ID_SIZE_MAX];
    struct join_group_request_protocol protocols[MODEL_LIST];
    int32_t count = 0;
    for (const int8_t *at = model_listings[model->listing]; *at >= 0; at++) {
        protocols[count].name = bytes_of_text(names[*at]);
        protocols[count++].metadata = number_text(model->metadata, metadata);
    }
    request->join = (struct classic_join){
        .member_id = id_text(history, model->id, id),
        .instance_id = instance_text(model->instance),
        .client_id = BYTES_LITERAL("c"),
        .client_host = BYTES_LITERAL("/127.0.0.1"),
        .protocol_type = bytes_of_text(types[model->type]),
        .protocols = protocols,
        .protocol_count = count,
        .session_ms = model->session_ms,
        .rebalance_ms = model->rebalance_ms,
        .requires_member_id = model->version >= 4,
        .may_skip_assignment = model->version >= 9,
    };
    put_be32(request->join.uuid.bytes + 12, (uint32_t)number + 1);
    model_join(&history->model, number, model);
    return step(history, (struct classic_event){.kind = CLASSIC_JOIN, .join = &request->join});
}

static const char *step_sync(struct history *history, const struct op *op)
{
    int number = history->request_count;
    struct request *request = request_of(history, op);
    struct model_request *model = &request->model;
    struct sync_group_request_assignment assignments[MODEL_MEMBERS + 1];
    char ids[MODEL_MEMBERS + 1][ID_SIZE_MAX];
    char texts[MODEL_MEMBERS + 1][ID_SIZE_MAX];
    for (int i = 0; i < history->model.count; i++) {
        if ((op->extra >> i) % 2 == 1 || op->choice % 2 == 0) {
            model->assigned[model->assigned_count] = history->model.members[i].id;
            model->assignments[model->assigned_count++] = 100 * number + i + 1;
        }
    }
    for (int i = 0; i < model->assigned_count; i++) {
        assignments[i].member_id = id_text(history, model->assigned[i], ids[i]);
        assignments[i].assignment = number_text(model->assignments[i], texts[i]);
    }
    char id[ID_SIZE_MAX];
    request->sync = (struct classic_sync){
        .member_id = id_text(history, model->id, id),
        .instance_id = instance_text(model->instance),
        .protocol_type = bytes_of_text(types[model->type]),
        .protocol = model->protocol == NONE ? BYTES_NULL : bytes_of_text(names[model->protocol]),
        .generation = model->generation,
        .assignments = assignments,
        .assignment_count = model->assigned_count,
    };
    model_sync(&history->model, number, model);
    return step(history, (struct classic_event){.kind = CLASSIC_SYNC, .sync = &request->sync});
}

static const char *step_lead(struct history *history, struct op op)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (history->model.leader != 0 && history->clients[i].id == history->model.leader) {
            op.client = i;
            op.choice |= 15;
            return step_sync(history, &op);
        }
    }
    return NULL;
}

static const char *step_call(struct history *history, const struct op *op)
{
    struct request *request = request_of(history, op);
    struct model_request *model = &request->model;
    char id[ID_SIZE_MAX];
    history->request_count -= 1; /* answered at once: nothing is parked */
    if (op->extra % 8 == 0) {
        model->generation = -1;
    }
    model->transactional = op->extra / 8 % 4 == 0;
    struct classic_call call = {
        .member_id = id_text(history, model->id, id),
        .instance_id = instance_text(model->instance),
        .generation = model->generation,
        .transactional = model->transactional,
    };
    bool beats = op->kind == OP_HEARTBEAT;
    enum status expected =
        beats ? model_heartbeat(&history->model, model) : model_commit(&history->model, model);
    memset(request, 0, sizeof(*request));
    const char *failure =
        step(history, (struct classic_event){.kind = beats ? CLASSIC_HEARTBEAT : CLASSIC_COMMIT,
                                             .call = &call});
    EXPECT(failure != NULL || call.status == expected);
    return failure;
}

static const char *step_leave(struct history *history, const struct op *op)
{
    const struct history_client *client = &history->clients[op->client];
    int instance = instance_of(op->client);
    int asked = op->extra % 4 == 0 ? 0 : op->extra % 8 == 1 ? client->id_before : client->id;
    char id[ID_SIZE_MAX];
    struct classic_leaver leaver = {id_text(history, asked, id), instance_text(instance),
                                    STATUS_OK};
    enum status expected = model_leave(&history->model, asked, instance);
    const char *failure =
        step(history,
             (struct classic_event){.kind = CLASSIC_LEAVE, .leavers = &leaver, .leaver_count = 1});
    EXPECT(failure != NULL || leaver.status == expected);
    return failure;
}

static const char *step_time(struct history *history, const struct op *op)
{
    struct model *model = &history->model;
    int64_t until_ms = model->now_ms + (int64_t)(op->extra % (op->choice % 4 == 0 ? 30000 : 3000));
    const char *failure = NULL;
    for (int64_t due_ms; failure == NULL && (due_ms = model_deadline_ms(model)) <= until_ms;) {
        model->now_ms = due_ms > model->now_ms ? due_ms : model->now_ms;
        model_tick(model);
        failure = step(history, (struct classic_event){.kind = CLASSIC_TICK});
    }
    model->now_ms = until_ms;
    return failure;
}

static const char *step_written(struct history *history, const struct op *op)
{
    if (history->write_count == 0) {
        return NULL;
    }
    struct write *oldest = &history->writes[0];
    uint64_t write_id = oldest->id;
    bool fails = op->choice % 5 == 0;
    if (!fails) {
        history->durable = *oldest;
    }
    history->write_count -= 1;
    memmove(oldest, oldest + 1, (size_t)history->write_count * sizeof(*oldest));
    if (fails) {
        model_persist_failed(&history->model, write_id);
        return step(history, (struct classic_event){.kind = CLASSIC_PERSIST_FAILED,
                                                    .write_id = write_id,
                                                    .status = STATUS_IO});
    }
    model_persisted(&history->model, write_id);
    return step(history, (struct classic_event){.kind = CLASSIC_PERSISTED, .write_id = write_id});
}

static struct model model_of_nothing(const struct classic_config *config)
{
    return (struct model){.type = NONE, .protocol = NONE, .phase_ms = NONE, .config = config};
}

static const char *step_retire(struct history *history)
{
    struct classic_event event = {
        .kind = CLASSIC_RETIRE, .now_ms = history->model.now_ms, .status = STATUS_NOT_COORDINATOR};
    model_retire(&history->model);
    classic_step(history->group, &event, &history->output);
    EXPECT(!history->output.write);
    EXPECT(classic_verify(history->group));
    EXPECT(classic_view(history->group).state == CLASSIC_DEAD);
    EXPECT(classic_deadline_ms(history->group) == INT64_MAX);
    return take_answers(history);
}

/* The broker stops and starts: what was durable comes back. */
static const char *step_restart(struct history *history)
{
    const char *failure = step_retire(history);
    EXPECT(failure == NULL);
    classic_close(history->group);
    EXPECT(history->heap.size == 0);
    history->group = classic_open(&history->heap, 5, &history->config);
    history->write_count = 0;
    memset(history->told_leaders, 0, sizeof(history->told_leaders));
    struct model nothing = model_of_nothing(&history->config);
    model_load(&history->model, history->durable.id == 0 ? &nothing : &history->durable.record);
    if (history->durable.id != 0) {
        struct arena arena;
        struct reader reader;
        struct group_metadata_value value;
        arena_init(&arena, history->pages, (size_t)(4 * MIB));
        reader_init(&reader, bytes_of(history->durable.value, history->durable.value_size));
        check(group_metadata_value_decode(&reader, 3, &arena, &value) == STATUS_OK);
        EXPECT(classic_load(history->group, &value, 0) == STATUS_OK);
        classic_resume(history->group, history->model.now_ms);
        arena_reset(&arena);
    }
    return compare(history);
}

static const char *step_op(struct history *history, const struct op *op)
{
    switch (op->kind) {
    case OP_JOIN:
    case OP_JOIN_MORE:
    case OP_JOIN_MOST:
        return step_join(history, op);
    case OP_SYNC:
        return step_sync(history, op);
    case OP_LEAD:
    case OP_LEAD_MORE:
    case OP_LEAD_MOST:
        return step_lead(history, *op);
    case OP_WRITTEN:
    case OP_WRITTEN_MORE:
    case OP_WRITTEN_MOST:
        return step_written(history, op);
    case OP_TIME:
        return step_time(history, op);
    case OP_HEARTBEAT:
    case OP_COMMIT:
        return step_call(history, op);
    case OP_LEAVE:
        return op->choice % 4 == 0 ? step_leave(history, op) : NULL;
    case OP_REBALANCE:
        if (op->choice % 4 == 0 && (history->model.state == CLASSIC_STABLE ||
                                    history->model.state == CLASSIC_COMPLETING_REBALANCE)) {
            model_begin(&history->model);
            return step(history, (struct classic_event){.kind = CLASSIC_REBALANCE});
        }
        return NULL;
    case OP_LIMIT:
        history->config.member_count_max = op->choice % 4 == 0 ? 1 + (int)(op->extra % 4) : 20;
        history->config.initial_delay_ms = op->choice / 4 % 4 == 0 ? 0 : 3000;
        return NULL;
    case OP_RESTART:
        return op->choice % 4 == 0 ? step_restart(history) : NULL;
    case OP_KINDS:
        break;
    }
    return "unknown operation";
}

/* ---- histories ---- */

/* NULL, or what did not hold. */
static const char *run_history(struct pages *pages, const struct op *ops, size_t count)
{
    struct history *history = calloc(1, sizeof(*history));
    heap_init(&history->heap, (size_t)(16 * MIB));
    history->pages = pages;
    history->config = (struct classic_config){
        .initial_delay_ms = 3000,
        .session_ms_min = 0,
        .session_ms_max = INT32_MAX,
        .member_count_max = 20,
        .new_member_join_ms = 25000,
    };
    history->model = model_of_nothing(&history->config);
    history->model.now_ms = 1000;
    history->group = classic_open(&history->heap, 3, &history->config);
    const char *failure = NULL;
    for (size_t i = 0; i < count && failure == NULL; i++) {
        failure = step_op(history, &ops[i]);
    }
    if (failure == NULL) {
        failure = step_retire(history);
    }
    for (int i = 0; i < history->request_count && failure == NULL; i++) {
        failure = history->requests[i].answered ? NULL : "everything was answered"; /* G1 */
    }
    if (failure == NULL) { /* else things are parked */
        classic_close(history->group);
        failure = history->heap.size == 0 ? NULL : "all memory came back";
    }
    free(history);
    return failure;
}

/* Takes out what the failure does not need, and prints the rest. */
static void shrink_and_print(struct pages *pages, struct op *ops, size_t count)
{
    for (size_t taken = 1; taken > 0;) {
        taken = 0;
        for (size_t i = count; i-- > 0;) {
            struct op without[HISTORY_MAX];
            memcpy(without, ops, i * sizeof(ops[0]));
            memcpy(without + i, ops + i + 1, (count - i - 1) * sizeof(ops[0]));
            if (run_history(pages, without, count - 1) != NULL) {
                count -= 1;
                taken += 1;
                memcpy(ops, without, count * sizeof(ops[0]));
            }
        }
    }
    fprintf(stderr, "not so: %s, after\n", run_history(pages, ops, count));
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "    {%d, %u, %u, %u},\n", (int)ops[i].kind, ops[i].client, ops[i].choice,
                ops[i].extra);
    }
}

static void random_histories_agree_with_a_model(void **state)
{
    (void)state;
    struct pages *pages =
        pages_open(&(struct pages_limits){.size_max = {64 * CHUNK_SIZE, CHUNK_SIZE, CHUNK_SIZE}});
    assert_non_null(pages);
    for (uint64_t seed = 0; seed < HISTORIES; seed++) {
        struct random random;
        random_init(&random, seed);
        struct op ops[HISTORY_MAX];
        size_t count = 1 + random_below(&random, HISTORY_MAX);
        uint64_t clients = 1 + random_below(&random, CLIENTS);
        uint64_t first = random_below(&random, CLIENTS - clients + 1);
        for (size_t i = 0; i < count; i++) {
            ops[i] = (struct op){
                .kind = (enum op_kind)random_below(&random, OP_KINDS),
                .client = (uint32_t)(first + random_below(&random, clients)),
                .choice = (uint32_t)random_u64(&random),
                .extra = (uint32_t)random_u64(&random),
            };
        }
        if (run_history(pages, ops, count) != NULL) {
            shrink_and_print(pages, ops, count);
            fail_msg("history of seed %llu", (unsigned long long)seed);
        }
    }
    pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
