/* SPDX-License-Identifier: Apache-2.0 */
/* A classic group's record as a log might hold it: whatever can be read is a group that keeps its
 * invariants while members beat, time passes and it is written again. */
#include <stdlib.h>

#include "base/check.h"
#include "base/pages.h"
#include "broker/groups/classic_state.h"
#include "tests/fuzz/fuzz.h"

#define ARENA_SIZE ((size_t)(16 * MIB))
#define VERSION_SIZE ((size_t)2)
#define TICKS_MAX 32

static const struct classic_config config = {
    .session_ms_max = INT32_MAX, .member_count_max = 3, .new_member_join_ms = 300000};

static void step(struct classic *group, struct classic_event event, int64_t now_ms)
{
    struct classic_output output;
    event.now_ms = now_ms;
    event.wall_ms = now_ms;
    classic_step(group, &event, &output);
    check(classic_verify(group));
    check(list_is_empty(&output.joins) && list_is_empty(&output.syncs)); /* nobody asked */
}

/* Written and read again it is the same group. */
static void write_again(struct classic *group, struct heap *heap, struct arena *arena)
{
    struct group_metadata_value value;
    struct classic *copy = classic_open(heap, 2, &config);
    if (copy != NULL && classic_value(group, arena, &value) == STATUS_OK &&
        classic_load(copy, &value, 1) == STATUS_OK) {
        struct classic_view a = classic_view(group);
        struct classic_view b = classic_view(copy);
        check(a.generation == b.generation && a.member_count == b.member_count);
        check(bytes_equal(a.leader, b.leader) && bytes_equal(a.protocol, b.protocol));
        check(bytes_equal(a.protocol_type, b.protocol_type));
    }
    classic_close(copy);
}

static void live(struct classic *group)
{
    const struct classic_member *first = classic_member_next(group, NULL);
    if (first != NULL) {
        struct classic_member_view view = classic_member_view(group, first);
        struct classic_call call = {.member_id = view.member_id,
                                    .instance_id = view.instance_id,
                                    .generation = classic_view(group).generation};
        step(group, (struct classic_event){.kind = CLASSIC_HEARTBEAT, .call = &call}, 1);
        check(call.status == STATUS_OK || call.status == STATUS_REBALANCE_IN_PROGRESS);
    }
    (void)classic_subscribes(group, BYTES_LITERAL("topic"));
    for (int i = 0; i < TICKS_MAX && classic_deadline_ms(group) != INT64_MAX; i++) {
        step(group, (struct classic_event){.kind = CLASSIC_TICK}, classic_deadline_ms(group));
    }
}

static void run(struct pages *pages, int16_t version, struct bytes body)
{
    struct heap heap;
    struct arena arena;
    struct reader reader;
    struct group_metadata_value value;
    heap_init(&heap, ARENA_SIZE);
    arena_init(&arena, pages, ARENA_SIZE);
    reader_init(&reader, body);
    struct classic *group = classic_open(&heap, 1, &config);
    check(group != NULL);
    if (group_metadata_value_decode(&reader, version, &arena, &value) == STATUS_OK) {
        enum status status = classic_load(group, &value, 1);
        check(classic_verify(group));
        check(status == STATUS_OK || classic_view(group).member_count == 0);
        if (classic_view(group).state != CLASSIC_PREPARING_REBALANCE) {
            write_again(group, &heap, &arena);
        }
        live(group);
    }
    step(group, (struct classic_event){.kind = CLASSIC_RETIRE, .status = STATUS_CLOSED},
         INT64_C(1) << 40);
    classic_close(group);
    arena_reset(&arena);
    heap_deinit(&heap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < VERSION_SIZE) {
        return 0;
    }
    struct pages *pages =
        pages_open(&(struct pages_limits){.size_max = {2 * ARENA_SIZE, CHUNK_SIZE, CHUNK_SIZE}});
    check(pages != NULL);
    run(pages, (int16_t)get_be16(data), bytes_of(data + VERSION_SIZE, size - VERSION_SIZE));
    pages_close(pages);
    return 0;
}
