/* SPDX-License-Identifier: Apache-2.0 */
/* Members come, change and go, whichever protocol they speak; and what follows for the group. */
#include "broker/groups/consumer_state.h"
#include "broker/groups/embedded.h"

/* How often a change of topics is looked at: each look compares all patterns with all names. */
#define REFRESH_MS 1000

/* Counts and numbers of a member in the record of a classic group, generously. */
#define MEMBER_FIXED_SIZE ((size_t)64)

/* ---- epochs ---- */

static bool epoch_grow(struct step *step, const char *reason)
{
    step->group->epoch++;
    step->out->reason = reason;
    return write_epoch(step);
}

/* What members subscribe to is looked up again: after a change of theirs at once, after one of the
 * topics now and then. *changed: other topics than before. */
static bool topics_refresh(struct step *step, bool forced, bool *changed)
{
    struct consumer *group = step->group;
    bool topics_moved = group->catalog_version != step->catalog->version;
    *changed = false;
    if (!forced && (!topics_moved || step->now_ms < group->refresh_due_ms)) {
        return true;
    }
    if (topics_moved) {
        LIST_EACH (&group->patterns, node) {
            if (!pattern_resolve(step, LIST_ENTRY(node, struct consumer_pattern, node))) {
                return false;
            }
        }
        group->catalog_version = step->catalog->version;
        group->refresh_due_ms = step->now_ms + REFRESH_MS;
    }
    int64_t hash;
    if (!subscription_hash(step, &hash)) {
        return false;
    }
    *changed = hash != group->hash;
    group->hash = hash;
    return true;
}

/* ---- coming ---- */

bool member_let_go(struct step *step, struct consumer_member *member)
{
    struct parts assigned = parts_of(&member->assigned);
    member->state = MEMBER_STABLE;
    member->rebalance_deadline_ms = INT64_MAX;
    if (member->revoking.count == 0) {
        return true;
    }
    struct part *copy = arena_new_array(step->arena, struct part, (size_t)assigned.count);
    if (copy == NULL) {
        return step_break(step);
    }
    struct parts kept = {copy, parts_filter(assigned, assigned, true, copy)};
    return member_hold(step->group, member, kept, (struct parts){NULL, 0}) || step_break(step);
}

struct consumer_member *member_enter(struct step *step, struct consumer_member *member,
                                     struct consumer_member *former, struct bytes id)
{
    struct consumer *group = step->group;
    if (former != NULL) {
        if (!write_member_gone(step, former) || !member_let_go(step, former)) {
            return NULL;
        }
        if (!member_rename(group, former, id)) {
            step_break(step);
            return NULL;
        }
        former->epoch = 0;
        former->previous_epoch = 0;
        return write_target(step, former) ? former : NULL;
    }
    if (member == NULL) {
        member = member_open(group, id);
        if (member == NULL) {
            step_break(step);
        }
    }
    return member;
}

/* ---- changes ---- */

bool text_update(struct step *step, struct bytes *own, struct bytes asked, bool *changed)
{
    if (asked.data == NULL || (own->data != NULL && bytes_equal(*own, asked))) {
        return true;
    }
    *changed = true;
    return text_assign(step->group->heap, own, asked) || step_break(step);
}

bool instance_update(struct step *step, struct consumer_member *member, struct bytes asked,
                     bool *changed)
{
    const struct bytes *own = &member->instance_id;
    if (asked.data == NULL || (own->data != NULL && bytes_equal(*own, asked))) {
        return true;
    }
    *changed = true;
    return member_set_instance(step->group, member, asked) || step_break(step);
}

bool pattern_update(struct step *step, struct consumer_member *member, struct bytes asked,
                    bool *changed)
{
    if (asked.data == NULL || bytes_equal(member->pattern, asked)) {
        return true;
    }
    *changed = true;
    bool joined = asked.size == 0;
    if (!joined) {
        bool fresh = pattern_find(step->group, asked) == NULL;
        struct consumer_pattern *pattern = pattern_join(step->group, asked);
        joined = pattern != NULL && (!fresh || pattern_resolve(step, pattern));
    }
    return (joined || step_break(step)) && pattern_leave(step, member->pattern) &&
           (text_assign(step->group->heap, &member->pattern, asked) || step_break(step));
}

bool names_update(struct step *step, struct consumer_member *member, struct bytes *items,
                  int32_t count, bool *changed)
{
    struct names names = {0};
    if (!names_assign(step->group->heap, &names, items, count)) {
        return step_break(step);
    }
    *changed = *changed || !names_equal(&names, &member->names);
    names_release(step->group->heap, &member->names);
    member->names = names;
    return true;
}

bool member_commit(struct step *step, const struct consumer_member *member,
                   const struct member_change *change)
{
    bool forced = change->subscription || change->fresh;
    bool topics_changed;
    if ((change->joined || change->written || change->subscription) &&
        !write_member(step, member)) {
        return false;
    }
    if (!topics_refresh(step, forced, &topics_changed)) {
        return false;
    }
    return (!forced && !topics_changed) ||
           epoch_grow(step, change->fresh          ? "a member joined"
                            : change->subscription ? "a subscription changed"
                                                   : "topics changed");
}

bool member_proceed(struct step *step, struct consumer_member *member, const struct owned *owned,
                    bool joined, bool *moved)
{
    struct consumer *group = step->group;
    struct parts_set before = {0};
    bool changed;
    if (group->epoch > group->target_epoch && !target_make(step)) {
        return false;
    }
    if (!parts_set_assign(&before, group->heap, parts_of(&member->assigned))) {
        return step_break(step);
    }
    bool done = member_reconcile(step, member, owned, &changed);
    *moved = done && !parts_equal(parts_of(&before), parts_of(&member->assigned));
    parts_set_release(&before, group->heap);
    return done && (!(changed || joined) || write_assignment(step, member));
}

/* ---- going ---- */

bool member_remove(struct step *step, struct consumer_member *member)
{
    bool written = write_member_gone(step, member) && pattern_leave(step, member->pattern);
    if (written) {
        member_close(step->group, member);
    }
    return written;
}

/* The group as a classic one is a single record, which has to fit into a batch. */
static bool fits_one_record(const struct consumer *group)
{
    size_t size = 0;
    LIST_EACH (&group->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        size += MEMBER_FIXED_SIZE + member->id.size + member->instance_id.size +
                member->client_id.size + member->client_host.size + member->protocols.size +
                embedded_assignment_size_max(parts_of(&member->assigned)) +
                embedded_assignment_size_max(parts_of(&member->revoking));
    }
    return size <= SHARD_APPEND_SIZE_MAX / 2;
}

/* I8, which a log that others wrote may break. */
static bool has_common_protocol(const struct consumer *group)
{
    const struct consumer_member *first =
        LIST_ENTRY(group->members.head.next, const struct consumer_member, node);
    return ballot_suits(&group->ballot, first->protocols.list, group->classic_count);
}

bool consumer_may_downgrade(const struct consumer *group)
{
    return group->config->downgrade && group->member_count > 0 &&
           group->classic_count == group->member_count &&
           group->member_count <= group->config->classic->member_count_max &&
           has_common_protocol(group) && fits_one_record(group);
}

bool members_left(struct step *step, const char *reason)
{
    bool changed;
    if (consumer_may_downgrade(step->group)) {
        step->out->downgrade = true;
        step->out->reason = "the last member of the newer protocol left";
        return true;
    }
    return topics_refresh(step, true, &changed) && epoch_grow(step, reason);
}
