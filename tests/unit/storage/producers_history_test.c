/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories of one log's producers, against a model that remembers everything and searches
 * it. A history that fails is shrunk before it is printed. */
#include "storage/producers.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "tests/lib/test.h"
#include "tests/unit/storage/producers_case.h"

#define SEQUENCE_MAX INT32_MAX

#define MODEL_IDS 7
#define MODEL_PRODUCERS_MAX 4
#define MODEL_EXPIRATION_MS 1000
#define HISTORY_MAX 120
#define HISTORIES 1500

enum op_kind {
    OP_DATA,
    OP_DATA_MORE,
    OP_DATA_MOST,
    OP_END,
    OP_END_MORE,
    OP_TIME,
    OP_RELOAD,
    OP_FORGET,
    OP_KINDS
};

/* Numbers are turned into a request against the state at that moment, so that a history stays
 * meaningful when operations are taken out of it. */
struct op {
    enum op_kind kind;
    uint32_t id;
    uint32_t choice;
    uint32_t extra;
};

struct model_batch {
    int32_t first_sequence;
    int32_t last_sequence;
    int64_t base_offset;
};

/* Remembers everything it was told, and searches it. */
struct model_producer {
    bool known;
    int16_t epoch;
    int32_t coordinator_epoch;
    int32_t transaction; /* index in transactions, -1 none */
    int64_t touched_ms;
    uint32_t touched_order;
    struct model_batch batches[HISTORY_MAX];
    int32_t batch_first; /* those before are forgotten */
    int32_t batch_count;
};

struct model_transaction {
    int64_t id;
    int64_t first_offset;
    int64_t marker_offset; /* INT64_MAX: open */
    bool aborted;
    bool settled; /* forgotten by a reload */
};

struct model {
    struct model_producer producers[MODEL_IDS];
    struct model_transaction transactions[HISTORY_MAX];
    int32_t transaction_count;
    int64_t log_start;
    int64_t high_watermark;
    int64_t end_offset;
    int64_t now_ms;
    uint32_t order;
};

static uint32_t model_count(const struct model *model)
{
    uint32_t count = 0;
    for (int i = 0; i < MODEL_IDS; i++) {
        count += model->producers[i].known;
    }
    return count;
}

static struct model_producer *model_oldest_idle(struct model *model)
{
    struct model_producer *oldest = NULL;
    for (int i = 0; i < MODEL_IDS; i++) {
        struct model_producer *producer = &model->producers[i];
        if (producer->known && producer->transaction < 0 &&
            (oldest == NULL || producer->touched_order < oldest->touched_order)) {
            oldest = producer;
        }
    }
    return oldest;
}

static bool model_has_room(struct model *model)
{
    return model_count(model) < MODEL_PRODUCERS_MAX || model_oldest_idle(model) != NULL;
}

static struct model_producer *model_touch(struct model *model, uint32_t id)
{
    struct model_producer *producer = &model->producers[id];
    if (!producer->known) {
        if (model_count(model) == MODEL_PRODUCERS_MAX) {
            model_oldest_idle(model)->known = false;
        }
        *producer = (struct model_producer){
            .known = true, .epoch = -1, .coordinator_epoch = -1, .transaction = -1};
    }
    producer->touched_ms = model->now_ms;
    producer->touched_order = ++model->order;
    return producer;
}

static void model_set_epoch(struct model_producer *producer, int16_t epoch)
{
    if (producer->epoch != epoch) {
        producer->batch_first = producer->batch_count;
        producer->epoch = epoch;
    }
}

static int32_t wrapped(int64_t sequence)
{
    return (int32_t)(sequence % (INT64_C(1) << 31));
}

static struct producers_verdict model_check(struct model *model, const struct batch_header *header)
{
    struct producers_verdict verdict = {STATUS_OK, false, -1, -1, -1};
    struct model_producer *producer = &model->producers[header->producer_id];
    int32_t last = wrapped((int64_t)header->base_sequence + header->last_offset_delta);
    if (!producer->known) {
        verdict.status = model_has_room(model) ? STATUS_OK : STATUS_NO_MEMORY;
        return verdict;
    }
    if (header->producer_epoch < producer->epoch) {
        verdict.status = STATUS_INVALID_PRODUCER_EPOCH;
        return verdict;
    }
    bool same_epoch = header->producer_epoch == producer->epoch;
    for (int32_t i = producer->batch_count - 1;
         same_epoch && i >= producer->batch_first && i >= producer->batch_count - 5; i--) {
        const struct model_batch *batch = &producer->batches[i];
        if (batch->first_sequence == header->base_sequence && batch->last_sequence == last) {
            verdict.duplicate = true;
            verdict.base_offset = batch->base_offset;
            verdict.last_offset = batch->base_offset + header->last_offset_delta;
            return verdict;
        }
    }
    int32_t next = 0;
    if (same_epoch && producer->batch_count > producer->batch_first) {
        next = wrapped((int64_t)producer->batches[producer->batch_count - 1].last_sequence + 1);
    }
    if (header->base_sequence != next) {
        verdict.status = STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER;
    } else if (producer->transaction >= 0 && !(header->attributes & BATCH_TRANSACTIONAL)) {
        verdict.status = STATUS_INVALID_TXN_STATE;
    }
    return verdict;
}

static int64_t model_first_unstable(const struct model *model, int64_t high_watermark)
{
    int64_t first = INT64_MAX;
    for (int32_t i = 0; i < model->transaction_count; i++) {
        const struct model_transaction *transaction = &model->transactions[i];
        bool open = transaction->marker_offset == INT64_MAX ||
                    (!transaction->settled && transaction->marker_offset >= high_watermark);
        if (open && transaction->first_offset < first) {
            first = transaction->first_offset;
        }
    }
    return first;
}

#define EXPECT(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            return #expression;                                                                    \
        }                                                                                          \
    } while (0)

/* What a client might send next: mostly right, sometimes again, sometimes wrong. */
static struct batch_header data_for(const struct model *model, const struct op *op)
{
    const struct model_producer *producer = &model->producers[op->id];
    int32_t count = 1 + (int32_t)(op->extra % 5);
    struct batch_header header = data_of(op->id, 0, SEQUENCE_MAX - 6, count);
    bool in_transaction = false;
    int32_t kept = 0;
    if (producer->known) {
        kept = producer->batch_count - producer->batch_first;
        in_transaction = producer->transaction >= 0;
        header.producer_epoch = producer->epoch;
        header.base_sequence = 0;
    }
    if (kept > 0) {
        const struct model_batch *last = &producer->batches[producer->batch_count - 1];
        header.base_sequence = wrapped((int64_t)last->last_sequence + 1);
        if (op->choice % 8 == 4) {
            const struct model_batch *again =
                &producer->batches[producer->batch_count - 1 - (int32_t)(op->extra / 5) % kept];
            header.base_sequence = again->first_sequence;
            header.last_offset_delta =
                wrapped((INT64_C(1) << 31) + again->last_sequence - again->first_sequence);
        }
    }
    if (op->choice % 8 == 5) {
        header.base_sequence = wrapped((int64_t)header.base_sequence + 1);
    } else if (op->choice % 8 == 6) {
        header.producer_epoch = (int16_t)(header.producer_epoch - (header.producer_epoch > 0));
    } else if (op->choice % 8 == 7) {
        header.producer_epoch = (int16_t)(header.producer_epoch + 1);
        header.base_sequence = (int32_t)(op->extra % 3 / 2);
    }
    if (in_transaction ? op->choice / 8 % 8 != 0 : op->choice / 8 % 2 == 0) {
        header.attributes |= BATCH_TRANSACTIONAL;
    }
    header.base_offset = model->end_offset;
    return header;
}

static const char *step_data(struct producers *producers, struct model *model, const struct op *op)
{
    struct batch_header header = data_for(model, op);
    struct producers_verdict expected = model_check(model, &header);
    struct producers_verdict verdict = producers_check(producers, &header);
    EXPECT(verdict.status == expected.status);
    EXPECT(verdict.duplicate == expected.duplicate);
    EXPECT(verdict.base_offset == expected.base_offset);
    EXPECT(verdict.last_offset == expected.last_offset);
    if (verdict.status != STATUS_OK || verdict.duplicate) {
        return NULL;
    }
    EXPECT(producers_add(producers, &header, no_marker, model->now_ms) == STATUS_OK);
    struct model_producer *producer = model_touch(model, op->id);
    model_set_epoch(producer, header.producer_epoch);
    producer->batches[producer->batch_count++] = (struct model_batch){
        header.base_sequence,
        wrapped((int64_t)header.base_sequence + header.last_offset_delta),
        header.base_offset,
    };
    if (producer->transaction < 0 && (header.attributes & BATCH_TRANSACTIONAL) != 0) {
        producer->transaction = model->transaction_count;
        model->transactions[model->transaction_count++] =
            (struct model_transaction){op->id, header.base_offset, INT64_MAX, false, false};
    }
    model->end_offset += header.count;
    return NULL;
}

static const char *step_end(struct producers *producers, struct model *model, const struct op *op)
{
    struct model_producer *producer = &model->producers[op->id];
    bool known = producer->known;
    struct batch_header header =
        at(control_of(op->id, known ? producer->epoch : 0), model->end_offset);
    struct producers_marker marker =
        marker_of(op->choice % 2 == 0, known ? producer->coordinator_epoch : 0);
    marker.coordinator_epoch += (int32_t)(op->choice / 2 % 3) - 1;
    int bump = (op->choice / 6 % 4 == 0) - (known && op->choice / 6 % 4 == 1);
    header.producer_epoch = (int16_t)(header.producer_epoch + bump);
    enum status expected = STATUS_OK;
    if (!known) {
        expected = model_has_room(model) ? STATUS_OK : STATUS_NO_MEMORY;
    } else if (header.producer_epoch < producer->epoch) {
        expected = STATUS_INVALID_PRODUCER_EPOCH;
    } else if (marker.coordinator_epoch < producer->coordinator_epoch) {
        expected = STATUS_TRANSACTION_COORDINATOR_FENCED;
    }
    EXPECT(producers_check_marker(producers, &header, marker) == expected);
    if (expected != STATUS_OK) {
        return NULL;
    }
    EXPECT(producers_add(producers, &header, marker, model->now_ms) == STATUS_OK);
    producer = model_touch(model, op->id);
    model_set_epoch(producer, header.producer_epoch);
    producer->coordinator_epoch = marker.coordinator_epoch;
    if (producer->transaction >= 0) {
        model->transactions[producer->transaction].marker_offset = model->end_offset;
        model->transactions[producer->transaction].aborted = !marker.is_commit;
        producer->transaction = -1;
    }
    model->end_offset += 1;
    return NULL;
}

static const char *step_time(struct producers *producers, struct model *model, const struct op *op)
{
    model->now_ms += op->extra % 700;
    uint32_t expired = 0;
    for (int i = 0; i < MODEL_IDS; i++) {
        struct model_producer *producer = &model->producers[i];
        if (producer->known && producer->transaction < 0 &&
            model->now_ms - producer->touched_ms >= MODEL_EXPIRATION_MS) {
            producer->known = false;
            expired += 1;
        }
    }
    EXPECT(producers_expire(producers, model->now_ms, MODEL_EXPIRATION_MS) == expired);
    return NULL;
}

static const char *step_reload(struct producers *producers, struct model *model)
{
    uint8_t data[1024];
    size_t size = producers_encode(producers, data, sizeof(data));
    EXPECT(size <= sizeof(data));
    EXPECT(producers_decode(producers, bytes_of(data, size), model->now_ms) == STATUS_OK);
    for (int i = 0; i < MODEL_IDS; i++) {
        struct model_producer *producer = &model->producers[i];
        if (producer->batch_count > producer->batch_first) {
            producer->batch_first = producer->batch_count - 1;
        }
        producer->touched_ms = model->now_ms;
    }
    for (int32_t i = 0; i < model->transaction_count; i++) {
        model->transactions[i].settled = model->transactions[i].marker_offset != INT64_MAX;
    }
    return NULL;
}

static const char *compare_aborted(const struct producers *producers, const struct model *model,
                                   int64_t first, int64_t until)
{
    struct producers_aborted list[HISTORY_MAX];
    int32_t count = producers_aborted_list(producers, first, until, list, HISTORY_MAX);
    int32_t expected = 0;
    for (int32_t i = 0; i < model->transaction_count; i++) { /* by first offset already */
        const struct model_transaction *transaction = &model->transactions[i];
        if (transaction->aborted && transaction->marker_offset >= model->log_start &&
            transaction->marker_offset >= first && transaction->first_offset < until) {
            EXPECT(expected < count);
            EXPECT(list[expected].producer_id == transaction->id);
            EXPECT(list[expected].first_offset == transaction->first_offset);
            EXPECT(list[expected].last_offset == transaction->marker_offset);
            expected += 1;
        }
    }
    EXPECT(count == expected);
    if (count > 1) {
        struct producers_aborted one;
        EXPECT(producers_aborted_list(producers, first, until, &one, 1) == count);
    }
    return NULL;
}

static const char *compare(struct producers *producers, struct model *model, const struct op *op)
{
    struct producer_view views[MODEL_PRODUCERS_MAX];
    EXPECT(producers_count(producers) == model_count(model));
    uint32_t count = producers_list(producers, views, MODEL_PRODUCERS_MAX);
    EXPECT(count == model_count(model));
    const struct producer_view *view = views;
    for (int i = 0; i < MODEL_IDS; i++) {
        const struct model_producer *producer = &model->producers[i];
        if (producer->known) {
            EXPECT(view->producer_id == i);
            EXPECT(view->epoch == producer->epoch);
            EXPECT(view->coordinator_epoch == producer->coordinator_epoch);
            EXPECT(view->transaction_first_offset ==
                   (producer->transaction < 0
                        ? -1
                        : model->transactions[producer->transaction].first_offset));
            bool empty = producer->batch_count == producer->batch_first;
            EXPECT(view->last_sequence ==
                   (empty ? -1 : producer->batches[producer->batch_count - 1].last_sequence));
            view += 1;
        }
    }
    uint64_t room = (uint64_t)(model->end_offset - model->high_watermark) + 1;
    model->high_watermark += (int64_t)(op->extra / 7 % room);
    EXPECT(producers_first_open(producers) == model_first_unstable(model, INT64_MAX));
    EXPECT(producers_first_unstable(producers, model->high_watermark) ==
           model_first_unstable(model, model->high_watermark));
    int64_t first = (int64_t)(op->extra % (uint64_t)(model->end_offset + 1));
    int64_t until = first + (int64_t)(op->choice % (uint64_t)(model->end_offset - first + 2));
    return compare_aborted(producers, model, first, until);
}

static const char *step(struct producers *producers, struct model *model, const struct op *op)
{
    switch (op->kind) {
    case OP_DATA:
    case OP_DATA_MORE:
    case OP_DATA_MOST:
        return step_data(producers, model, op);
    case OP_END:
    case OP_END_MORE:
        return step_end(producers, model, op);
    case OP_TIME:
        return step_time(producers, model, op);
    case OP_RELOAD:
        return step_reload(producers, model);
    case OP_FORGET:
        model->log_start += op->extra % (uint64_t)(model->high_watermark - model->log_start + 1);
        producers_forget_below(producers, model->log_start);
        return NULL;
    case OP_KINDS:
        break;
    }
    return "unknown operation";
}

/* NULL, or what did not hold. */
static const char *run_history(const struct op *ops, size_t count)
{
    struct heap heap;
    heap_init(&heap, 16 * MIB);
    struct producers *producers = producers_open(&heap, SEED, MODEL_PRODUCERS_MAX);
    struct model *model = calloc(1, sizeof(*model));
    model->now_ms = NOW;
    for (int i = 0; i < MODEL_IDS; i++) {
        model->producers[i].transaction = -1;
    }
    const char *failure = NULL;
    for (size_t i = 0; i < count && failure == NULL; i++) {
        failure = step(producers, model, &ops[i]);
        if (failure == NULL) {
            failure = compare(producers, model, &ops[i]);
        }
    }
    free(model);
    producers_close(producers);
    heap_deinit(&heap);
    return failure;
}

/* Takes out what the failure does not need, and prints the rest. */
static void shrink_and_print(struct op *ops, size_t count)
{
    for (size_t i = count; i-- > 0;) {
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
        fprintf(stderr, "    {%d, %u, %u, %u},\n", (int)ops[i].kind, ops[i].id, ops[i].choice,
                ops[i].extra);
    }
}

static void random_histories_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < HISTORIES; seed++) {
        struct random random;
        random_init(&random, seed);
        struct op ops[HISTORY_MAX];
        size_t count = 1 + random_below(&random, HISTORY_MAX);
        uint64_t ids = 1 + random_below(&random, MODEL_IDS);
        for (size_t i = 0; i < count; i++) {
            ops[i] = (struct op){
                .kind = (enum op_kind)random_below(&random, OP_KINDS),
                .id = (uint32_t)random_below(&random, ids),
                .choice = (uint32_t)random_below(&random, 1 << 16),
                .extra = (uint32_t)random_below(&random, 1 << 16),
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
        cmocka_unit_test(random_histories_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
