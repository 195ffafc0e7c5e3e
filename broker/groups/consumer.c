/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/consumer.h"

#include "broker/groups/consumer_state.h"

/* ---- life ---- */

struct consumer *consumer_open(struct heap *heap, uint64_t seed,
                               const struct consumer_config *config, struct bytes name)
{
    struct consumer *group = heap_acquire(heap, sizeof(*group));
    if (group == NULL) {
        return NULL;
    }
    group->magic = CONSUMER_MAGIC;
    group->heap = heap;
    group->config = config;
    group->seed = seed;
    list_init(&group->members);
    list_init(&group->patterns);
    if (!text_assign(heap, &group->name, name)) {
        goto release_group;
    }
    if (!table_init(&group->ids, heap, seed)) {
        goto release_name;
    }
    if (!table_init(&group->instances, heap, seed)) {
        goto close_ids;
    }
    if (!table_init(&group->held, heap, seed)) {
        goto close_instances;
    }
    if (!ballot_init(&group->ballot, heap, seed)) {
        goto close_held;
    }
    return group;

close_held:
    table_deinit(&group->held);
close_instances:
    table_deinit(&group->instances);
close_ids:
    table_deinit(&group->ids);
release_name:
    text_release(heap, &group->name);
release_group:
    heap_release(heap, group, sizeof(*group));
    return NULL;
}

/* Also of a group that broke in the middle of a step: what is held is not compared with the sets.
 */
void consumer_close(struct consumer *group)
{
    if (group == NULL) {
        return;
    }
    check_magic(group, CONSUMER_MAGIC);
    held_clear(group);
    LIST_EACH (&group->members, node) {
        member_close(group, LIST_ENTRY(node, struct consumer_member, node));
    }
    LIST_EACH (&group->patterns, node) {
        pattern_free(group, LIST_ENTRY(node, struct consumer_pattern, node));
    }
    ballot_deinit(&group->ballot);
    table_deinit(&group->held);
    table_deinit(&group->instances);
    table_deinit(&group->ids);
    text_release(group->heap, &group->name);
    group->magic = 0;
    heap_release(group->heap, group, sizeof(*group));
}

bool step_break(struct step *step)
{
    step->out->broken = step->touched;
    step->refused = true;
    return false;
}

/* ---- deadlines ---- */

/* A classic member answers for its rebalance by joining and syncing in time, not by revoking. */
static int64_t member_deadline_ms(const struct consumer_member *member)
{
    int64_t first = member->session_deadline_ms;
    if (member->classic) {
        first = member->join_deadline_ms < first ? member->join_deadline_ms : first;
        return member->sync_deadline_ms < first ? member->sync_deadline_ms : first;
    }
    bool revokes = member->state == MEMBER_UNREVOKED;
    return revokes && member->rebalance_deadline_ms < first ? member->rebalance_deadline_ms : first;
}

int64_t consumer_deadline_ms(const struct consumer *group)
{
    int64_t first = INT64_MAX;
    LIST_EACH (&group->members, node) {
        int64_t deadline = member_deadline_ms(LIST_ENTRY(node, struct consumer_member, node));
        first = deadline < first ? deadline : first;
    }
    return first;
}

static bool tick(struct step *step)
{
    int32_t count = step->group->member_count;
    LIST_EACH (&step->group->members, node) {
        struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        if (member_deadline_ms(member) <= step->now_ms && !member_remove(step, member)) {
            return false;
        }
    }
    return step->group->member_count == count || members_left(step, "a member went silent");
}

void consumer_step(struct consumer *group, const struct consumer_event *event, struct arena *arena,
                   struct consumer_output *output)
{
    check_magic(group, CONSUMER_MAGIC);
    *output = (struct consumer_output){0};
    consumer_group_heartbeat_response_init(&output->answer);
    struct step step = {
        .group = group,
        .now_ms = event->now_ms,
        .wall_ms = event->wall_ms,
        .catalog = event->catalog,
        .arena = arena,
        .out = output,
        .touched = event->kind == CONSUMER_TICK || event->first != NULL,
    };
    if ((event->first != NULL && !write_record(&step, event->first)) ||
        (event->upgraded && !write_whole(&step))) {
        return;
    }
    switch (event->kind) {
    case CONSUMER_HEARTBEAT:
        consumer_heartbeat_step(&step, event->heartbeat);
        break;
    case CONSUMER_JOIN:
        consumer_join_step(&step, event->join);
        break;
    case CONSUMER_SYNC:
        consumer_sync_step(&step, event->sync);
        break;
    case CONSUMER_CLASSIC_HEARTBEAT:
        consumer_call_step(&step, event->call);
        break;
    case CONSUMER_LEAVE:
        consumer_leave_step(&step, event->leavers, event->leaver_count);
        break;
    case CONSUMER_TICK:
        (void)tick(&step); /* output->broken says */
        break;
    }
}

/* ---- the log ---- */

/* What a log of ours never says, and one that lost its end in the middle of a batch may: epochs in
 * the wrong order, a state that does not go with what is to be given up. */
static void member_mend(struct consumer *group, struct consumer_member *member)
{
    if (member->revoking.count > 0) {
        member->state = MEMBER_UNREVOKED;
    } else if (member->state == MEMBER_UNREVOKED) {
        member->state = MEMBER_UNRELEASED;
    }
    if (member->epoch > group->epoch) {
        group->epoch = member->epoch; /* above the target's: the next heartbeat makes a new one */
    }
}

static bool member_loaded(struct consumer *group, struct consumer_member *member, int64_t now_ms)
{
    if (!member->recorded) { /* assignments of a member that has gone */
        member_close(group, member);
        return true;
    }
    int64_t wait_ms = member->rebalance_ms < 0 ? 0 : member->rebalance_ms;
    member->session_deadline_ms =
        now_ms + (member->classic ? member->classic_session_ms : group->config->session_ms);
    member->rebalance_deadline_ms = now_ms + wait_ms;
    return member->pattern.size == 0 || pattern_join(group, member->pattern) != NULL;
}

bool consumer_loaded(struct consumer *group, int64_t now_ms)
{
    LIST_EACH (&group->patterns, node) {
        LIST_ENTRY(node, struct consumer_pattern, node)->member_count = 0;
    }
    LIST_EACH (&group->members, node) {
        if (!member_loaded(group, LIST_ENTRY(node, struct consumer_member, node), now_ms)) {
            return false;
        }
    }
    LIST_EACH (&group->patterns, node) {
        struct consumer_pattern *pattern = LIST_ENTRY(node, struct consumer_pattern, node);
        if (pattern->member_count == 0) {
            pattern_free(group, pattern);
        }
    }
    if (!held_build(group)) {
        return false;
    }
    group->epoch = group->target_epoch > group->epoch ? group->target_epoch : group->epoch;
    LIST_EACH (&group->members, node) {
        member_mend(group, LIST_ENTRY(node, struct consumer_member, node));
    }
    group->catalog_version = 0;
    return true;
}

bool consumer_is_blank(const struct consumer *group)
{
    return group->member_count == 0 && list_is_empty(&group->patterns) && !group->epoch_written &&
           !group->target_written && !group->topics_written;
}

void consumer_erase(struct consumer *group, struct arena *arena, struct consumer_output *output)
{
    check(group->member_count == 0);
    *output = (struct consumer_output){0};
    struct step step = {.group = group, .arena = arena, .out = output, .touched = true};
    LIST_EACH (&group->patterns, node) {
        struct bytes text = LIST_ENTRY(node, struct consumer_pattern, node)->text;
        if (!write_pattern_gone(&step, text)) {
            return;
        }
    }
    (void)write_group_gone(&step); /* output->broken says */
}
