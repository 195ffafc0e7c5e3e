/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of one transactional id, one by one. */
#include "broker/transactions/transaction.h"

#include "tests/lib/test.h"

#define NOW INT64_C(1700000000000)
#define ID INT64_C(4000)
#define ID_NEW INT64_C(5000)
#define TIMEOUT_MS 60000
#define V1 1
#define V2 2

static struct transaction_output step(struct transaction *transaction,
                                      struct transaction_event event)
{
    struct transaction_output output;
    if (event.now_ms == 0) {
        event.now_ms = NOW;
    }
    transaction_step(transaction, &event, &output);
    return output;
}

static struct transaction_output persisted(struct transaction *transaction)
{
    assert_true(transaction->pending);
    return step(transaction, (struct transaction_event){.kind = TRANSACTION_PERSISTED});
}

static struct transaction_event init_of(int64_t producer_id, int16_t epoch, int64_t fresh_id)
{
    return (struct transaction_event){
        .kind = TRANSACTION_INIT,
        .producer_id = producer_id,
        .epoch = epoch,
        .fresh_id = fresh_id,
        .timeout_ms = TIMEOUT_MS,
    };
}

static struct transaction_event add_of(int64_t producer_id, int16_t epoch, int16_t version)
{
    return (struct transaction_event){
        .kind = TRANSACTION_ADD, .producer_id = producer_id, .epoch = epoch, .version = version};
}

static struct transaction_event end_of(int16_t epoch, int16_t version, bool commit)
{
    return (struct transaction_event){
        .kind = TRANSACTION_END,
        .producer_id = ID,
        .epoch = epoch,
        .version = version,
        .commit = commit,
        .fresh_id = -1,
    };
}

/* A durable value, as if loaded. */
static struct transaction at(enum transaction_state state, int16_t epoch, int16_t version)
{
    struct transaction transaction;
    bool mark;
    const struct transaction_value value = {
        .producer_id = ID,
        .previous_producer_id = ID,
        .next_producer_id = -1,
        .start_ms = NOW,
        .update_ms = NOW,
        .timeout_ms = TIMEOUT_MS,
        .epoch = epoch,
        .last_epoch = -1,
        .client_version = version,
        .state = state,
    };
    assert_int_equal(transaction_load(&transaction, &value, &mark), STATUS_OK);
    assert_int_equal(mark, transaction_is_prepared(&transaction));
    return transaction;
}

static void assert_refused(struct transaction_output output, enum status status)
{
    assert_true(output.answer);
    assert_int_equal(output.status, status);
    assert_false(output.persist);
    assert_false(output.mark);
}

static void assert_proposed(const struct transaction *transaction, struct transaction_output output,
                            enum transaction_state state, int16_t epoch)
{
    assert_true(output.persist);
    assert_false(output.answer); /* T1 */
    assert_true(transaction->pending);
    assert_int_equal(transaction->next.state, state);
    assert_int_equal(transaction->next.epoch, epoch);
}

static void a_new_id_gets_epoch_0_once_it_is_durable(void **state)
{
    (void)state;
    struct transaction transaction;
    transaction_init(&transaction);
    assert_true(transaction_is_unused(&transaction));
    struct transaction_output output = step(&transaction, init_of(-1, -1, -1));
    assert_true(output.id_needed);
    assert_false(output.answer);
    output = step(&transaction, init_of(-1, -1, ID));
    assert_proposed(&transaction, output, TRANSACTION_EMPTY, 0);
    assert_int_equal(output.partitions, TRANSACTION_CLEAR);
    assert_refused(step(&transaction, init_of(-1, -1, ID_NEW)), STATUS_CONCURRENT_TRANSACTIONS);
    output = persisted(&transaction);
    assert_true(output.answer);
    assert_int_equal(output.status, STATUS_OK);
    assert_int_equal(output.producer_id, ID);
    assert_int_equal(output.epoch, 0);
    assert_int_equal(transaction.value.timeout_ms, TIMEOUT_MS);
}

static void a_refused_write_changes_nothing(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V2);
    assert_true(step(&transaction, init_of(-1, -1, -1)).persist);
    struct transaction_output output =
        step(&transaction, (struct transaction_event){.kind = TRANSACTION_REFUSED,
                                                      .status = STATUS_KAFKA_STORAGE_ERROR});
    assert_refused(output, STATUS_KAFKA_STORAGE_ERROR);
    assert_false(transaction.pending);
    assert_int_equal(transaction.value.epoch, 3);
}

static void each_init_raises_the_epoch(void **state)
{
    (void)state;
    const enum transaction_state states[] = {TRANSACTION_EMPTY, TRANSACTION_COMPLETE_COMMIT,
                                             TRANSACTION_COMPLETE_ABORT};
    for (size_t i = 0; i < 3; i++) {
        struct transaction transaction = at(states[i], 3, V1);
        assert_proposed(&transaction, step(&transaction, init_of(-1, -1, -1)), TRANSACTION_EMPTY,
                        4);
        assert_int_equal(persisted(&transaction).epoch, 4);
    }
}

static void an_init_with_the_current_pair_may_be_repeated(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V1);
    (void)step(&transaction, init_of(ID, 3, -1));
    assert_int_equal(persisted(&transaction).epoch, 4);
    (void)step(&transaction, init_of(ID, 3, -1)); /* the answer was lost */
    assert_int_equal(persisted(&transaction).epoch, 4);
    (void)step(&transaction, init_of(ID, 3, -1)); /* and again */
    assert_int_equal(persisted(&transaction).epoch, 4);
    (void)step(&transaction, init_of(-1, -1, -1)); /* a new instance */
    assert_int_equal(persisted(&transaction).epoch, 5);
    assert_refused(step(&transaction, init_of(ID, 3, -1)), STATUS_PRODUCER_FENCED);
    assert_refused(step(&transaction, init_of(ID, 4, -1)), STATUS_PRODUCER_FENCED);
    assert_refused(step(&transaction, init_of(ID_NEW, 5, -1)), STATUS_PRODUCER_FENCED);
}

static void a_used_up_epoch_needs_a_new_id(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, TRANSACTION_EPOCH_LAST - 1, V1);
    (void)step(&transaction, init_of(-1, -1, -1));
    assert_int_equal(persisted(&transaction).epoch, TRANSACTION_EPOCH_LAST);
    struct transaction_event again = init_of(ID, TRANSACTION_EPOCH_LAST, -1);
    assert_true(step(&transaction, again).id_needed);
    again.fresh_id = ID_NEW;
    (void)step(&transaction, again);
    struct transaction_output output = persisted(&transaction);
    assert_int_equal(output.producer_id, ID_NEW);
    assert_int_equal(output.epoch, 0);
    (void)step(&transaction, again); /* the answer was lost: no third id */
    output = persisted(&transaction);
    assert_int_equal(output.producer_id, ID_NEW);
    assert_int_equal(output.epoch, 0);
}

static void an_init_fences_the_open_transaction(void **state)
{
    (void)state;
    for (int16_t version = V1; version <= V2; version++) {
        struct transaction transaction = at(TRANSACTION_ONGOING, 3, version);
        assert_refused(step(&transaction, init_of(ID, 2, -1)), STATUS_PRODUCER_FENCED);
        struct transaction_output output = step(&transaction, init_of(-1, -1, -1));
        int16_t fenced = version == V2 ? 5 : 4;
        assert_proposed(&transaction, output, TRANSACTION_PREPARE_ABORT, fenced);
        assert_int_equal(output.partitions, TRANSACTION_KEEP);
        output = persisted(&transaction);
        assert_int_equal(output.status, STATUS_CONCURRENT_TRANSACTIONS);
        assert_int_equal(output.producer_id, -1);
        assert_true(output.mark);
        assert_refused(step(&transaction, init_of(-1, -1, -1)), STATUS_CONCURRENT_TRANSACTIONS);
        assert_refused(step(&transaction, add_of(ID, 3, version)), STATUS_PRODUCER_FENCED);
        assert_refused(step(&transaction, end_of(3, version, true)), STATUS_PRODUCER_FENCED);
        (void)step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
        (void)persisted(&transaction);
        assert_refused(step(&transaction, end_of(3, version, false)), STATUS_PRODUCER_FENCED);
        (void)step(&transaction, init_of(-1, -1, -1));
        assert_int_equal(persisted(&transaction).epoch, fenced + 1);
    }
}

static void the_last_epoch_can_still_be_fenced(void **state)
{
    (void)state;
    for (int16_t version = V1; version <= V2; version++) {
        struct transaction transaction = at(TRANSACTION_ONGOING, TRANSACTION_EPOCH_LAST, version);
        assert_proposed(&transaction, step(&transaction, init_of(-1, -1, -1)),
                        TRANSACTION_PREPARE_ABORT, INT16_MAX);
        (void)persisted(&transaction);
        (void)step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
        (void)persisted(&transaction);
        /* T7: nobody has that pair, so whoever names it is refused. */
        assert_refused(step(&transaction, add_of(ID, INT16_MAX, version)), STATUS_PRODUCER_FENCED);
        assert_refused(step(&transaction, end_of(INT16_MAX, V2, false)), STATUS_PRODUCER_FENCED);
        assert_true(step(&transaction, init_of(-1, -1, -1)).id_needed);
    }
}

static void partitions_open_the_transaction(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V1);
    transaction.value.start_ms = -1;
    struct transaction_output output = step(&transaction, add_of(ID, 3, V1));
    assert_proposed(&transaction, output, TRANSACTION_ONGOING, 3);
    assert_int_equal(output.partitions, TRANSACTION_UNITE);
    assert_int_equal(transaction.next.start_ms, NOW);
    assert_refused(step(&transaction, add_of(ID, 3, V1)), STATUS_CONCURRENT_TRANSACTIONS); /* T2 */
    assert_int_equal(persisted(&transaction).status, STATUS_OK);
    struct transaction_event known = add_of(ID, 3, V1);
    known.known = true;
    assert_refused(step(&transaction, known), STATUS_OK); /* answered without a write */
    struct transaction_event more = add_of(ID, 3, V1);
    more.now_ms = NOW + 5;
    assert_true(step(&transaction, more).persist);
    assert_int_equal(transaction.next.start_ms, NOW);
    assert_int_equal(transaction.next.update_ms, NOW + 5);
}

static void partitions_are_taken_from_the_current_pair_alone(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V1);
    assert_refused(step(&transaction, add_of(ID_NEW, 3, V1)), STATUS_INVALID_PRODUCER_ID_MAPPING);
    assert_refused(step(&transaction, add_of(ID, 2, V1)), STATUS_PRODUCER_FENCED);
    assert_refused(step(&transaction, add_of(ID, 4, V1)), STATUS_PRODUCER_FENCED);
    struct transaction unknown;
    transaction_init(&unknown);
    assert_refused(step(&unknown, add_of(-1, -1, V1)), STATUS_INVALID_PRODUCER_ID_MAPPING);
    assert_refused(step(&unknown, end_of(0, V1, true)), STATUS_INVALID_PRODUCER_ID_MAPPING);
    assert_refused(step(&unknown, end_of(0, V2, false)), STATUS_INVALID_PRODUCER_ID_MAPPING);
    transaction = at(TRANSACTION_PREPARE_COMMIT, 3, V1);
    assert_refused(step(&transaction, add_of(ID, 3, V1)), STATUS_CONCURRENT_TRANSACTIONS);
}

static void verifying_changes_nothing(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_ONGOING, 3, V1);
    struct transaction_event verify = {
        .kind = TRANSACTION_VERIFY, .producer_id = ID, .epoch = 3, .known = true};
    assert_refused(step(&transaction, verify), STATUS_OK);
    verify.known = false;
    assert_refused(step(&transaction, verify), STATUS_TRANSACTION_ABORTABLE);
    transaction = at(TRANSACTION_COMPLETE_COMMIT, 3, V1);
    verify.known = true; /* of the transaction before: nothing is open now */
    assert_refused(step(&transaction, verify), STATUS_TRANSACTION_ABORTABLE);
    transaction = at(TRANSACTION_PREPARE_ABORT, 3, V1);
    assert_refused(step(&transaction, verify), STATUS_CONCURRENT_TRANSACTIONS);
    verify.epoch = 2;
    assert_refused(step(&transaction, verify), STATUS_PRODUCER_FENCED);
}

static void version_1_keeps_the_pair_over_an_end(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct transaction transaction = at(TRANSACTION_ONGOING, 3, V1);
        struct transaction_output output = step(&transaction, end_of(3, V1, commit));
        enum transaction_state prepare =
            commit ? TRANSACTION_PREPARE_COMMIT : TRANSACTION_PREPARE_ABORT;
        assert_proposed(&transaction, output, prepare, 3);
        output = persisted(&transaction);
        assert_int_equal(output.status, STATUS_OK);
        assert_int_equal(output.epoch, 3);
        assert_true(output.mark);
        assert_refused(step(&transaction, end_of(3, V1, commit)), STATUS_CONCURRENT_TRANSACTIONS);
        assert_refused(step(&transaction, end_of(3, V1, !commit)), STATUS_INVALID_TXN_STATE);
        output = step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
        assert_int_equal(output.partitions, TRANSACTION_CLEAR);
        (void)persisted(&transaction);
        assert_int_equal(transaction.value.state,
                         commit ? TRANSACTION_COMPLETE_COMMIT : TRANSACTION_COMPLETE_ABORT);
        assert_refused(step(&transaction, end_of(3, V1, commit)), STATUS_OK); /* a retry */
        assert_refused(step(&transaction, end_of(3, V1, !commit)), STATUS_INVALID_TXN_STATE);
        assert_refused(step(&transaction, end_of(2, V1, commit)), STATUS_PRODUCER_FENCED);
    }
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V1);
    assert_refused(step(&transaction, end_of(3, V1, true)), STATUS_INVALID_TXN_STATE);
    assert_refused(step(&transaction, end_of(3, V1, false)), STATUS_INVALID_TXN_STATE);
}

static void version_2_raises_the_epoch_at_each_end(void **state)
{
    (void)state;
    for (int commit = 0; commit <= 1; commit++) {
        struct transaction transaction = at(TRANSACTION_ONGOING, 3, V2);
        (void)step(&transaction, end_of(3, V2, commit));
        struct transaction_output output = persisted(&transaction);
        assert_int_equal(output.status, STATUS_OK);
        assert_int_equal(output.producer_id, ID);
        assert_int_equal(output.epoch, 4);
        assert_int_equal(transaction.value.epoch, 4); /* T6: what markers carry */
        assert_refused(step(&transaction, end_of(3, V2, commit)), STATUS_CONCURRENT_TRANSACTIONS);
        assert_refused(step(&transaction, end_of(3, V2, !commit)), STATUS_INVALID_TXN_STATE);
        assert_refused(step(&transaction, end_of(4, V2, commit)), STATUS_PRODUCER_FENCED);
        (void)step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
        (void)persisted(&transaction);
        output = step(&transaction, end_of(3, V2, commit)); /* the answer was lost */
        assert_refused(output, STATUS_OK);
        assert_int_equal(output.epoch, 4);
        assert_refused(step(&transaction, end_of(3, V2, !commit)), STATUS_INVALID_TXN_STATE);
        assert_refused(step(&transaction, end_of(2, V2, commit)), STATUS_PRODUCER_FENCED);
        assert_refused(step(&transaction, end_of(5, V2, commit)), STATUS_PRODUCER_FENCED);
        assert_refused(step(&transaction, end_of(4, V2, true)), STATUS_INVALID_TXN_STATE);
        (void)step(&transaction, end_of(4, V2, false)); /* nothing was written: an abort is fine */
        assert_int_equal(persisted(&transaction).epoch, 5);
    }
}

static void version_2_may_abort_what_it_never_began(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_EMPTY, 3, V2);
    transaction.value.start_ms = -1;
    assert_refused(step(&transaction, end_of(3, V2, true)), STATUS_INVALID_TXN_STATE);
    assert_refused(step(&transaction, end_of(2, V2, false)), STATUS_PRODUCER_FENCED);
    assert_proposed(&transaction, step(&transaction, end_of(3, V2, false)),
                    TRANSACTION_PREPARE_ABORT, 4);
    assert_int_equal(transaction.next.start_ms, NOW);
}

static void version_2_changes_the_id_when_the_epoch_is_used_up(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_ONGOING, TRANSACTION_EPOCH_LAST, V2);
    struct transaction_event end = end_of(TRANSACTION_EPOCH_LAST, V2, true);
    assert_true(step(&transaction, end).id_needed);
    end.fresh_id = ID_NEW;
    assert_proposed(&transaction, step(&transaction, end), TRANSACTION_PREPARE_COMMIT, INT16_MAX);
    struct transaction_output output = persisted(&transaction);
    assert_int_equal(output.producer_id, ID_NEW);
    assert_int_equal(output.epoch, 0);
    assert_int_equal(transaction.value.producer_id, ID); /* markers speak of the old one */
    end.fresh_id = -1;
    assert_refused(step(&transaction, end), STATUS_CONCURRENT_TRANSACTIONS);
    (void)step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
    (void)persisted(&transaction);
    assert_int_equal(transaction.value.producer_id, ID_NEW);
    assert_int_equal(transaction.value.previous_producer_id, ID);
    output = step(&transaction, end); /* the answer was lost */
    assert_refused(output, STATUS_OK);
    assert_int_equal(output.producer_id, ID_NEW);
    assert_int_equal(output.epoch, 0);
}

static void an_overdue_transaction_is_fenced_and_aborted(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_ONGOING, 3, V2);
    struct transaction_event overdue = {.kind = TRANSACTION_OVERDUE,
                                        .now_ms = NOW + TIMEOUT_MS - 1};
    assert_int_equal(transaction_due_ms(&transaction, 1), NOW + TIMEOUT_MS);
    assert_false(step(&transaction, overdue).persist);
    overdue.now_ms += 1;
    assert_proposed(&transaction, step(&transaction, overdue), TRANSACTION_PREPARE_ABORT, 5);
    assert_true(persisted(&transaction).mark);
    assert_refused(step(&transaction, end_of(3, V2, true)), STATUS_PRODUCER_FENCED);
    assert_refused(step(&transaction, end_of(3, V2, false)), STATUS_PRODUCER_FENCED);
    assert_int_equal(transaction_due_ms(&transaction, 1), INT64_MAX);
    overdue.now_ms += TIMEOUT_MS;
    assert_false(step(&transaction, overdue).persist);
}

static void a_complete_that_fails_is_marked_again(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_PREPARE_COMMIT, 3, V2);
    (void)step(&transaction, (struct transaction_event){.kind = TRANSACTION_MARKED});
    struct transaction_output output =
        step(&transaction, (struct transaction_event){.kind = TRANSACTION_REFUSED,
                                                      .status = STATUS_KAFKA_STORAGE_ERROR});
    assert_true(output.mark);
    assert_int_equal(transaction.value.state, TRANSACTION_PREPARE_COMMIT);
}

static void an_unused_id_is_forgotten(void **state)
{
    (void)state;
    struct transaction transaction = at(TRANSACTION_COMPLETE_COMMIT, 3, V2);
    struct transaction_event forget = {
        .kind = TRANSACTION_FORGET, .now_ms = NOW + 999, .timeout_ms = 1000};
    assert_int_equal(transaction_due_ms(&transaction, 1000), NOW + 1000);
    assert_false(step(&transaction, forget).persist);
    forget.now_ms += 1;
    assert_proposed(&transaction, step(&transaction, forget), TRANSACTION_DEAD, 3);
    assert_refused(step(&transaction, init_of(-1, -1, -1)), STATUS_CONCURRENT_TRANSACTIONS);
    assert_true(persisted(&transaction).dead);
    transaction = at(TRANSACTION_ONGOING, 3, V2);
    assert_false(step(&transaction, forget).persist);
}

static void damaged_values_are_refused(void **state)
{
    (void)state;
    struct transaction transaction;
    bool mark;
    struct transaction_value value = at(TRANSACTION_EMPTY, 0, V2).value;
    value.state = TRANSACTION_DEAD;
    assert_int_equal(transaction_load(&transaction, &value, &mark), STATUS_CORRUPT_MESSAGE);
    value.state = TRANSACTION_PREPARE_EPOCH_FENCE;
    assert_int_equal(transaction_load(&transaction, &value, &mark), STATUS_CORRUPT_MESSAGE);
    value.state = TRANSACTION_STATES;
    assert_int_equal(transaction_load(&transaction, &value, &mark), STATUS_CORRUPT_MESSAGE);
    value.state = TRANSACTION_EMPTY;
    value.epoch = -1;
    assert_int_equal(transaction_load(&transaction, &value, &mark), STATUS_CORRUPT_MESSAGE);
}

static void states_have_kafkas_names(void **state)
{
    (void)state;
    assert_string_equal(transaction_state_name(TRANSACTION_COMPLETE_ABORT), "CompleteAbort");
    for (enum transaction_state one = 0; one < TRANSACTION_STATES; one++) {
        const char *name = transaction_state_name(one);
        assert_int_equal(transaction_state_of_name(name, strlen(name)), one);
    }
    assert_int_equal(transaction_state_of_name("Complete", 8), TRANSACTION_STATES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_id_gets_epoch_0_once_it_is_durable),
        cmocka_unit_test(a_refused_write_changes_nothing),
        cmocka_unit_test(each_init_raises_the_epoch),
        cmocka_unit_test(an_init_with_the_current_pair_may_be_repeated),
        cmocka_unit_test(a_used_up_epoch_needs_a_new_id),
        cmocka_unit_test(an_init_fences_the_open_transaction),
        cmocka_unit_test(the_last_epoch_can_still_be_fenced),
        cmocka_unit_test(partitions_open_the_transaction),
        cmocka_unit_test(partitions_are_taken_from_the_current_pair_alone),
        cmocka_unit_test(verifying_changes_nothing),
        cmocka_unit_test(version_1_keeps_the_pair_over_an_end),
        cmocka_unit_test(version_2_raises_the_epoch_at_each_end),
        cmocka_unit_test(version_2_may_abort_what_it_never_began),
        cmocka_unit_test(version_2_changes_the_id_when_the_epoch_is_used_up),
        cmocka_unit_test(an_overdue_transaction_is_fenced_and_aborted),
        cmocka_unit_test(a_complete_that_fails_is_marked_again),
        cmocka_unit_test(an_unused_id_is_forgotten),
        cmocka_unit_test(damaged_values_are_refused),
        cmocka_unit_test(states_have_kafkas_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
