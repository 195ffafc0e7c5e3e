/* SPDX-License-Identifier: Apache-2.0 */
/* __transaction_state with anything in it (tests/fuzz/shard_replay.h): two loads make one state,
 * what was prepared is finished, and every id can be described, taken over and left alone. */
#include <stdlib.h>

#include "base/check.h"
#include "broker/transactions/transactions.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/shard_replay.h"
#include "wire/describe_transactions.h"
#include "wire/end_txn.h"
#include "wire/init_producer_id.h"
#include "wire/list_transactions.h"

#define IDS_MAX 4 /* that are asked for one by one */
#define SWEEPS_SECONDS 70
#define INITS_MAX 50 /* until what was open is ended */

/* ---- the state ---- */

static void print_partitions(FILE *out, const struct partition_set *set)
{
    for (int32_t i = 0; i < set->topic_count; i++) {
        const struct partition_set_topic *topic = &set->topics[i];
        shard_replay_print_bytes(out, topic->name);
        for (int32_t k = 0; k < topic->count; k++) {
            fprintf(out, "-%d", topic->indexes[k]);
        }
    }
}

static void print(FILE *out, const struct shard *shard)
{
    const struct transactions *transactions = transactions_of(shard);
    fprintf(out, "%d ids\n", transactions->count);
    LIST_EACH (&transactions->list, node) {
        const struct transactional_id *entry = LIST_ENTRY(node, struct transactional_id, node);
        const struct transaction_value *value = &entry->transaction.value;
        fprintf(out, "id");
        shard_replay_print_bytes(out, entry->id);
        fprintf(out, " %s %lld after %lld before %lld epoch %d after %d version %d",
                transaction_state_name(value->state), (long long)value->producer_id,
                (long long)value->previous_producer_id, (long long)value->next_producer_id,
                value->epoch, value->last_epoch, value->client_version);
        fprintf(out, " times %lld %lld %d marks %d%d%d", (long long)value->start_ms,
                (long long)value->update_ms, value->timeout_ms, entry->mark_due, entry->again,
                entry->transaction.pending);
        print_partitions(out, &entry->partitions);
        fputc('\n', out);
    }
}

/* ---- requests ---- */

struct ids_kept {
    struct bytes ids[IDS_MAX];
    int32_t count;
};

static void ids_free(struct ids_kept *kept)
{
    for (int32_t i = 0; i < kept->count; i++) {
        free((void *)(uintptr_t)kept->ids[i].data);
    }
}

static void list(struct shard_replay *replay, struct ids_kept *kept)
{
    struct list_transactions_request request;
    list_transactions_request_init(&request);
    request.duration_filter = -1;
    struct list_transactions_response response;
    SHARD_REPLAY_CALL(replay, LIST_TRANSACTIONS, list_transactions, 1, &request, &response);
    *kept = (struct ids_kept){0};
    check(response.error_code == 0);
    for (int32_t i = 0; i < response.transaction_states_count && kept->count < IDS_MAX; i++) {
        struct bytes id = response.transaction_states[i].transactional_id;
        uint8_t *copy = malloc(id.size + 1);
        check(copy != NULL);
        memcpy(copy, id.data, id.size);
        kept->ids[kept->count++] = bytes_of(copy, id.size);
    }
}

static void describe(struct shard_replay *replay, struct bytes id)
{
    struct describe_transactions_request request = {.transactional_ids = &id,
                                                    .transactional_ids_count = 1};
    struct describe_transactions_response response;
    SHARD_REPLAY_CALL(replay, DESCRIBE_TRANSACTIONS, describe_transactions, 0, &request, &response);
    check(response.transaction_states_count == 1);
}

/* A new instance: whatever is open or half done ends first. */
static int16_t init(struct shard_replay *replay, struct bytes id,
                    struct init_producer_id_response *response)
{
    struct init_producer_id_request request;
    init_producer_id_request_init(&request);
    request.transactional_id = id;
    request.transaction_timeout_ms = 1000;
    for (int i = 0; i < INITS_MAX; i++) {
        SHARD_REPLAY_CALL(replay, INIT_PRODUCER_ID, init_producer_id, 4, &request, response);
        if (response->error_code != status_code(STATUS_CONCURRENT_TRANSACTIONS)) {
            break;
        }
    }
    return response->error_code;
}

static void end(struct shard_replay *replay, struct bytes id,
                const struct init_producer_id_response *pair)
{
    struct end_txn_request request;
    end_txn_request_init(&request);
    request.transactional_id = id;
    request.producer_id = pair->producer_id;
    request.producer_epoch = pair->producer_epoch;
    struct end_txn_response response;
    SHARD_REPLAY_CALL(replay, END_TXN, end_txn, 5, &request, &response);
    check(response.error_code == 0);
}

static void serve(struct shard_replay *replay, bool good)
{
    struct ids_kept kept;
    struct init_producer_id_response pair;
    list(replay, &kept);
    int16_t code = init(replay, BYTES_LITERAL("nobody has this name"), &pair);
    check(code == (good ? 0 : status_code(STATUS_COORDINATOR_NOT_AVAILABLE)));
    for (int32_t i = 0; i < kept.count; i++) {
        describe(replay, kept.ids[i]);
        if (i % 2 == 0 && init(replay, kept.ids[i], &pair) == 0) {
            end(replay, kept.ids[i], &pair);
        }
    }
    if (good) {
        shard_replay_pass(replay, SWEEPS_SECONDS);
    }
    for (int32_t i = 0; i < kept.count; i++) {
        code = init(replay, kept.ids[i], &pair);
        check(code == 0 || kept.ids[i].size == 0);
    }
    ids_free(&kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shard_replay_kind kind = {COORDINATOR_TRANSACTION, print, serve};
    shard_replay_run(&kind, bytes_of(data, size));
    return 0;
}
