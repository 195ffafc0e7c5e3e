/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of one transactional id: producers that lose answers and come back, writes that
 * fail, power cuts, markers. The model is what the world outside has seen: pairs that were given,
 * decisions that were promised, marks on partitions. A history that fails is shrunk before it is
 * printed.
 */
#include "broker/transactions/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/lib/test.h"

#define CLIENTS 3
#define PARTITIONS 4
#define HISTORY_MAX 150
#define HISTORIES 30000
#define TIMEOUT_MS 100
#define EXPIRATION_MS 2000

enum op_kind {
    OP_INIT,
    OP_ADD,
    OP_ADD_MORE,
    OP_END,
    OP_END_MORE,
    OP_VERIFY,
    OP_SETTLE, /* the write under way ends, well or badly */
    OP_SETTLE_MORE,
    OP_SETTLE_MOST,
    OP_MARK,
    OP_MARK_MORE,
    OP_TIME,
    OP_CRASH,
    OP_KINDS
};

struct op {
    enum op_kind kind;
    uint32_t client;
    uint32_t choice;
};

struct pair {
    int64_t id;
    int16_t epoch;
};

struct client {
    struct pair pair; /* id -1: never initialised */
    int16_t version;
};

/* What the log holds: the value and the set. */
struct durable {
    bool exists;
    struct transaction_value value;
    uint32_t partitions;
};

struct model {
    struct transaction transaction;
    bool alive;          /* the coordinator holds the id */
    uint32_t partitions; /* its set */
    uint32_t added;      /* with the write under way */
    enum transaction_partitions change;
    int32_t asker; /* client that waits for the write, -1 none */
    bool asker_ends;
    bool marking;
    struct durable log;
    struct client clients[CLIENTS];
    struct pair given; /* the newest pair that anybody was given */
    struct pair marked[PARTITIONS];
    uint32_t admitted; /* partitions that a producer was told are in its open transaction */
    bool promised;     /* an end was answered OK and is not complete */
    bool promised_commit;
    int64_t fresh_id;
    int64_t now_ms;
};

#define EXPECT(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            return #expression;                                                                    \
        }                                                                                          \
    } while (0)

static int pair_compare(struct pair a, struct pair b)
{
    if (a.id != b.id) {
        return a.id < b.id ? -1 : 1; /* fresh ids ascend */
    }
    return (a.epoch > b.epoch) - (a.epoch < b.epoch);
}

static struct pair pair_of(const struct transaction_value *value)
{
    return (struct pair){value->producer_id, value->epoch};
}

static bool is_prepared(enum transaction_state state)
{
    return state == TRANSACTION_PREPARE_COMMIT || state == TRANSACTION_PREPARE_ABORT;
}

/* T3, T4, T6, T8, T9 on two values that follow each other in the log. */
static const char *judge_write(const struct model *model, const struct durable *before,
                               const struct durable *after)
{
    const struct transaction_value *was = &before->value;
    const struct transaction_value *now = &after->value;
    EXPECT(now->epoch >= 0 && now->producer_id >= 0);
    bool holds = now->state == TRANSACTION_ONGOING || is_prepared(now->state);
    EXPECT(holds || after->partitions == 0); /* T8 */
    if (!before->exists) {
        EXPECT(now->state == TRANSACTION_EMPTY && now->epoch == 0);
        return NULL;
    }
    EXPECT(pair_compare(pair_of(now), pair_of(was)) >= 0); /* T3 */
    EXPECT(now->update_ms >= was->update_ms);
    if (is_prepared(was->state)) { /* T4 */
        EXPECT(now->state == (was->state == TRANSACTION_PREPARE_COMMIT
                                  ? TRANSACTION_COMPLETE_COMMIT
                                  : TRANSACTION_COMPLETE_ABORT));
        for (int i = 0; i < PARTITIONS; i++) {
            bool in = (before->partitions & 1u << i) != 0;
            EXPECT(!in || pair_compare(model->marked[i], pair_of(was)) == 0);
        }
    }
    if (is_prepared(now->state)) {
        EXPECT(after->partitions == before->partitions);
        EXPECT(was->state == TRANSACTION_ONGOING || now->state == TRANSACTION_PREPARE_ABORT);
        bool fence = now->last_epoch < 0 && pair_compare(pair_of(now), pair_of(was)) > 0;
        if (fence) { /* T9 */
            EXPECT(now->state == TRANSACTION_PREPARE_ABORT);
            EXPECT(pair_compare(pair_of(now), model->given) > 0);
        } else if (now->client_version == 2) { /* T6 */
            EXPECT(now->producer_id == was->producer_id && now->epoch == was->epoch + 1);
        }
    }
    if (now->state == TRANSACTION_ONGOING) {
        EXPECT(pair_compare(pair_of(now), pair_of(was)) == 0);
        EXPECT((after->partitions & before->partitions) == before->partitions);
        EXPECT(was->state == TRANSACTION_ONGOING || before->partitions == 0);
    }
    return NULL;
}

/* The write reaches the log; the coordinator may or may not live to hear of it. */
static const char *write_log(struct model *model)
{
    const struct transaction_value *next = &model->transaction.next;
    struct durable after = {.exists = true, .value = *next, .partitions = model->partitions};
    if (model->change == TRANSACTION_UNITE) {
        after.partitions |= model->added;
    } else if (model->change == TRANSACTION_CLEAR) {
        after.partitions = 0;
    }
    if (next->state == TRANSACTION_DEAD) {
        EXPECT(model->log.value.state != TRANSACTION_ONGOING &&
               !is_prepared(model->log.value.state));
        model->log.exists = false;
        return NULL;
    }
    const char *failure = judge_write(model, &model->log, &after);
    model->log = after;
    if (next->state == TRANSACTION_COMPLETE_COMMIT || next->state == TRANSACTION_COMPLETE_ABORT) {
        /* What was promised came true. */
        EXPECT(!model->promised ||
               model->promised_commit == (next->state == TRANSACTION_COMPLETE_COMMIT));
        model->promised = false;
        model->admitted = 0;
    }
    return failure;
}

/* An answer reaches a producer, or is lost. */
static const char *take_answer(struct model *model, const struct op *op,
                               const struct transaction_output *output, bool gives)
{
    if (output->status != STATUS_OK) {
        EXPECT(output->producer_id == -1);
        return NULL;
    }
    struct pair pair = {output->producer_id, output->epoch};
    if (!gives || output->producer_id < 0) {
        return NULL;
    }
    EXPECT(pair.epoch <= TRANSACTION_EPOCH_LAST); /* T7 */
    EXPECT(pair_compare(pair, model->given) >= 0);
    model->given = pair;
    if (op->choice % 5 != 0) {
        model->clients[model->asker].pair = pair;
    }
    return NULL;
}

static struct transaction_event event_of(struct model *model, const struct op *op)
{
    const struct client *client = &model->clients[op->client];
    struct transaction_event event = {
        .now_ms = model->now_ms,
        .producer_id = client->pair.id,
        .epoch = client->pair.epoch,
        .version = client->version,
        .fresh_id = -1,
        .timeout_ms = TIMEOUT_MS,
    };
    if (op->choice % 11 == 0 && event.epoch > 0) {
        event.epoch -= 1; /* an old request arrives late */
    } else if (op->choice % 13 == 0) {
        event.epoch += 1; /* or somebody guesses */
    }
    return event;
}

/* T5: nothing is proposed for a pair that is not the durable one; init without a pair is. */
static const char *judge_proposal(const struct model *model, const struct transaction_event *event)
{
    if (event->kind == TRANSACTION_INIT) {
        struct pair next = pair_of(&model->transaction.next);
        struct pair asked = {event->producer_id, event->epoch};
        bool changes = pair_compare(next, pair_of(&model->transaction.value)) != 0;
        EXPECT(event->producer_id < 0 || model->transaction.value.epoch < 0 || !changes ||
               pair_compare(asked, pair_of(&model->transaction.value)) == 0);
        return NULL;
    }
    EXPECT(event->producer_id == model->log.value.producer_id);
    EXPECT(event->epoch == model->log.value.epoch);
    return NULL;
}

static const char *ask(struct model *model, const struct op *op, struct transaction_event event)
{
    struct transaction_output output;
    bool was_pending = model->transaction.pending;
    struct transaction_value before = model->transaction.value;
    transaction_step(&model->transaction, &event, &output);
    EXPECT(output.answer + output.persist + output.id_needed == 1);
    EXPECT(memcmp(&before, &model->transaction.value, sizeof(before)) == 0); /* T1 */
    if (output.id_needed) {
        event.fresh_id = ++model->fresh_id;
        transaction_step(&model->transaction, &event, &output);
        EXPECT(output.persist);
    }
    model->asker = output.persist ? (int32_t)op->client : model->asker;
    if (output.persist) {
        EXPECT(!was_pending); /* T2 */
        model->change = output.partitions;
        model->asker_ends = event.kind == TRANSACTION_END;
        return judge_proposal(model, &event);
    }
    EXPECT(was_pending == model->transaction.pending);
    if (event.kind == TRANSACTION_END && output.status == STATUS_OK) {
        enum transaction_state done =
            event.commit ? TRANSACTION_COMPLETE_COMMIT : TRANSACTION_COMPLETE_ABORT;
        EXPECT(model->log.value.state == done);
    }
    int32_t asker = model->asker;
    model->asker = (int32_t)op->client;
    const char *failure = take_answer(model, op, &output, event.kind == TRANSACTION_END);
    model->asker = asker;
    return failure;
}

static const char *step_init(struct model *model, const struct op *op)
{
    if (!model->alive) {
        transaction_init(&model->transaction);
        model->alive = true;
        model->partitions = 0;
    }
    struct transaction_event event = event_of(model, op);
    event.kind = TRANSACTION_INIT;
    if (op->choice / 16 % 3 != 0) {
        event.producer_id = -1;
        event.epoch = -1;
    }
    return ask(model, op, event);
}

static const char *step_add(struct model *model, const struct op *op, bool verify)
{
    if (!model->alive) {
        return NULL;
    }
    uint32_t asked = 1 + op->choice / 256 % ((1u << PARTITIONS) - 1);
    struct transaction_event event = event_of(model, op);
    event.kind = verify ? TRANSACTION_VERIFY : TRANSACTION_ADD;
    event.known = (asked & ~model->partitions) == 0;
    struct transaction_value was = model->transaction.value;
    const char *failure = ask(model, op, event);
    if (failure == NULL && !verify && model->transaction.pending &&
        model->change == TRANSACTION_UNITE && model->asker == (int32_t)op->client &&
        model->transaction.next.state == TRANSACTION_ONGOING && was.epoch == event.epoch) {
        model->added = asked;
    }
    return failure;
}

static const char *step_end(struct model *model, const struct op *op)
{
    if (!model->alive) {
        return NULL;
    }
    struct transaction_event event = event_of(model, op);
    event.kind = TRANSACTION_END;
    event.commit = op->choice / 64 % 2 == 0;
    return ask(model, op, event);
}

/* The write under way ends. */
static const char *step_settle(struct model *model, const struct op *op)
{
    if (!model->alive || !model->transaction.pending) {
        return NULL;
    }
    struct transaction_output output;
    if (op->choice % 7 == 0) {
        const struct transaction_event refused = {.kind = TRANSACTION_REFUSED,
                                                  .status = STATUS_KAFKA_STORAGE_ERROR};
        transaction_step(&model->transaction, &refused, &output);
        EXPECT(output.answer && output.status != STATUS_OK);
        EXPECT(output.mark == is_prepared(model->transaction.value.state));
        model->marking = output.mark;
        return NULL;
    }
    const char *failure = write_log(model);
    if (failure != NULL) {
        return failure;
    }
    const struct transaction_event persisted = {.kind = TRANSACTION_PERSISTED};
    transaction_step(&model->transaction, &persisted, &output);
    model->partitions = model->log.partitions;
    model->marking = output.mark;
    EXPECT(output.mark == is_prepared(model->transaction.value.state));
    EXPECT(output.dead == !model->log.exists);
    if (output.dead) {
        model->alive = false;
        model->given.epoch = INT16_MAX; /* pairs of that life are worth nothing any more */
        return NULL;
    }
    if (model->asker < 0) {
        return NULL;
    }
    if (output.status == STATUS_OK && model->asker_ends) {
        model->promised = true;
        model->promised_commit = model->log.value.state == TRANSACTION_PREPARE_COMMIT;
        EXPECT((model->admitted & ~model->log.partitions) == 0);
    } else if (output.status == STATUS_OK && model->change == TRANSACTION_UNITE) {
        model->admitted |= model->added;
    }
    failure = take_answer(model, op, &output, true);
    model->asker = -1;
    return failure;
}

/* One partition after the other gets its marker; behind the last one the coordinator hears of it.
 */
static const char *step_mark(struct model *model)
{
    if (!model->alive || !model->marking || model->transaction.pending) {
        return NULL;
    }
    EXPECT(transaction_is_prepared(&model->transaction));
    struct pair pair = pair_of(&model->transaction.value);
    for (int i = 0; i < PARTITIONS; i++) {
        if ((model->partitions & 1u << i) != 0 && pair_compare(model->marked[i], pair) != 0) {
            EXPECT(pair_compare(model->marked[i], pair) < 0); /* a partition takes no lower epoch */
            model->marked[i] = pair;
            return NULL;
        }
    }
    struct transaction_output output;
    const struct transaction_event marked = {.kind = TRANSACTION_MARKED, .now_ms = model->now_ms};
    transaction_step(&model->transaction, &marked, &output);
    EXPECT(output.persist && output.partitions == TRANSACTION_CLEAR);
    model->change = output.partitions;
    model->asker = -1;
    model->asker_ends = false;
    model->marking = false;
    return NULL;
}

static const char *step_time(struct model *model, const struct op *op)
{
    model->now_ms += op->choice % (op->choice % 5 == 0 ? 3000 : 90);
    if (!model->alive || model->transaction.pending) {
        return NULL;
    }
    if (model->transaction.value.producer_id < 0) {
        EXPECT(transaction_is_unused(&model->transaction));
        return NULL;
    }
    bool due = transaction_due_ms(&model->transaction, EXPIRATION_MS) <= model->now_ms;
    bool open = model->transaction.value.state == TRANSACTION_ONGOING;
    struct transaction_output output;
    const struct transaction_event event = {
        .kind = open ? TRANSACTION_OVERDUE : TRANSACTION_FORGET,
        .now_ms = model->now_ms,
        .timeout_ms = EXPIRATION_MS,
    };
    transaction_step(&model->transaction, &event, &output);
    EXPECT(output.persist == due);
    if (output.persist) {
        model->change = output.partitions;
        model->asker = -1;
        model->asker_ends = false;
    }
    return NULL;
}

/* The power goes; the write under way got there or not. */
static const char *step_crash(struct model *model, const struct op *op)
{
    const char *failure = NULL;
    if (model->alive && model->transaction.pending && op->choice % 2 == 0) {
        failure = write_log(model);
    }
    model->asker = -1;
    model->marking = false;
    model->alive = model->log.exists;
    if (!model->alive) {
        model->given.epoch = INT16_MAX;
        model->partitions = 0;
        return failure;
    }
    struct transaction_value value = model->log.value;
    value.last_epoch = -1;
    EXPECT(transaction_load(&model->transaction, &value, &model->marking) == STATUS_OK);
    model->partitions = model->log.partitions;
    return failure;
}

static const char *step(struct model *model, const struct op *op)
{
    switch (op->kind) {
    case OP_INIT:
        return step_init(model, op);
    case OP_ADD:
    case OP_ADD_MORE:
        return step_add(model, op, false);
    case OP_VERIFY:
        return step_add(model, op, true);
    case OP_END:
    case OP_END_MORE:
        return step_end(model, op);
    case OP_SETTLE:
    case OP_SETTLE_MORE:
    case OP_SETTLE_MOST:
        return step_settle(model, op);
    case OP_MARK:
    case OP_MARK_MORE:
        return step_mark(model);
    case OP_TIME:
        return step_time(model, op);
    case OP_CRASH:
        return step_crash(model, op);
    case OP_KINDS:
        break;
    }
    return "unknown operation";
}

/* Half of the histories begin close to the end of the epochs. */
static void model_begin(struct model *model, const struct op *ops)
{
    *model = (struct model){.asker = -1, .fresh_id = 1000, .now_ms = 1000000, .given = {-1, -1}};
    for (int i = 0; i < CLIENTS; i++) {
        model->clients[i] = (struct client){.pair = {-1, -1}, .version = i == 1 ? 1 : 2};
    }
    for (int i = 0; i < PARTITIONS; i++) {
        model->marked[i] = (struct pair){-1, -1};
    }
    if (ops[0].choice % 2 == 0) {
        int16_t epoch = (int16_t)(TRANSACTION_EPOCH_LAST - 1 - ops[0].choice / 2 % 6);
        model->log = (struct durable){
            .exists = true,
            .value = {.producer_id = 1000,
                      .previous_producer_id = 1000,
                      .next_producer_id = -1,
                      .start_ms = -1,
                      .update_ms = model->now_ms,
                      .timeout_ms = TIMEOUT_MS,
                      .epoch = epoch,
                      .last_epoch = -1,
                      .client_version = 2,
                      .state = TRANSACTION_EMPTY},
        };
        model->clients[0].pair = model->given = (struct pair){1000, epoch};
        (void)step_crash(model, &ops[0]);
    }
}

/* NULL, or what did not hold. */
static const char *run_history(const struct op *ops, size_t count)
{
    struct model *model = calloc(1, sizeof(*model));
    model_begin(model, ops);
    const char *failure = NULL;
    for (size_t i = 0; i < count && failure == NULL; i++) {
        failure = step(model, &ops[i]);
    }
    free(model);
    return failure;
}

/* Takes out what the failure does not need, and prints the rest. */
static void shrink_and_print(struct op *ops, size_t count)
{
    for (size_t i = count; i-- > 1;) {
        struct op without[HISTORY_MAX];
        memcpy(without, ops, i * sizeof(ops[0]));
        memcpy(without + i, ops + i + 1, (count - i - 1) * sizeof(ops[0]));
        if (run_history(without, count - 1) != NULL) {
            count -= 1;
            memcpy(ops, without, count * sizeof(ops[0]));
        }
    }
    fprintf(stderr, "not so: %s, after\n", run_history(ops, count));
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "    {%d, %u, %u},\n", (int)ops[i].kind, ops[i].client, ops[i].choice);
    }
}

static void random_histories_keep_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < HISTORIES; seed++) {
        struct random random;
        random_init(&random, seed);
        struct op ops[HISTORY_MAX];
        size_t count = 1 + random_below(&random, HISTORY_MAX);
        uint64_t clients = 1 + random_below(&random, CLIENTS);
        for (size_t i = 0; i < count; i++) {
            ops[i] = (struct op){
                .kind = (enum op_kind)random_below(&random, OP_KINDS),
                .client = (uint32_t)random_below(&random, clients),
                .choice = (uint32_t)random_below(&random, 1 << 16),
            };
        }
        if (run_history(ops, count) != NULL) {
            shrink_and_print(ops, count);
            fail_msg("history of seed %llu", (unsigned long long)seed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
