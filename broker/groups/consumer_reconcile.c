/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member's walk to its target, one step at each heartbeat. With A assigned, T the target, and
 * "free" what nobody else holds:
 *
 *   kept = A and T       given up = A less T       wanted = T less A
 *
 *   it still has some of what is given up   A := kept, wait; epoch stays    UNREVOKED_PARTITIONS
 *   else                                    A := kept + wanted that is free, epoch := target's
 *     some wanted is not free                                               UNRELEASED_PARTITIONS
 *     all of it is                                                          STABLE
 *
 * What it was told to give up stays held until it says, by a heartbeat that lists what it has and
 * does not list that, that it is gone.
 */
#include "broker/groups/consumer_state.h"

static bool still_has(const struct owned *owned, struct parts parts)
{
    return parts.count > 0 && (!owned->told || parts_meet(owned->parts, parts));
}

/* Held by nobody but the member itself, which then is giving it up and may keep it instead. */
static bool is_free(const struct consumer *group, const struct consumer_member *member,
                    const struct part *part)
{
    const struct consumer_member *owner = held_by(group, part);
    return owner == NULL || owner == member;
}

static bool member_move(struct step *step, struct consumer_member *member,
                        enum consumer_member_state state, struct parts assigned,
                        struct parts revoking)
{
    bool same = parts_equal(assigned, parts_of(&member->assigned)) &&
                parts_equal(revoking, parts_of(&member->revoking));
    member->state = state;
    if (state == MEMBER_UNREVOKED) {
        int64_t wait_ms = member->rebalance_ms < 0 ? 0 : member->rebalance_ms;
        member->rebalance_deadline_ms = step->now_ms + wait_ms;
    }
    return same || member_hold(step->group, member, assigned, revoking) || step_break(step);
}

static bool member_advance(struct step *step, struct consumer_member *member,
                           const struct owned *owned)
{
    struct consumer *group = step->group;
    struct parts assigned = parts_of(&member->assigned);
    struct parts target = parts_of(&member->target);
    struct part *next =
        arena_new_array(step->arena, struct part, (size_t)assigned.count + (size_t)target.count);
    struct part *rest = arena_new_array(step->arena, struct part, (size_t)assigned.count);
    if (next == NULL || rest == NULL) {
        return step_break(step);
    }
    struct parts kept = {next, parts_filter(assigned, target, true, next)};
    struct parts given_up = {rest, parts_filter(assigned, target, false, rest)};
    if (still_has(owned, given_up)) {
        return member_move(step, member, MEMBER_UNREVOKED, kept, given_up);
    }
    bool waits = false;
    int32_t count = kept.count;
    for (int32_t i = 0; i < target.count; i++) {
        if (parts_find(kept, &target.items[i]) != NULL) {
            continue;
        }
        if (is_free(group, member, &target.items[i])) {
            next[count] = target.items[i];
            next[count++].epoch = group->target_epoch;
        } else {
            waits = true;
        }
    }
    count = parts_sort(next, count);
    if (member->epoch != group->target_epoch) {
        member->previous_epoch = member->epoch;
        member->epoch = group->target_epoch;
    }
    return member_move(step, member, waits ? MEMBER_UNRELEASED : MEMBER_STABLE,
                       (struct parts){next, count}, (struct parts){NULL, 0});
}

/* Whether an assignment record would say something new. */
static bool looks_alike(const struct consumer_member *member, const struct parts *assigned,
                        int32_t epoch, enum consumer_member_state state)
{
    return member->epoch == epoch && member->state == state &&
           assigned->count == member->assigned.count &&
           parts_equal(*assigned, parts_of(&member->assigned));
}

bool member_reconcile(struct step *step, struct consumer_member *member, const struct owned *owned,
                      bool *changed)
{
    bool due = member->state == MEMBER_UNRELEASED;
    if (member->state == MEMBER_STABLE) {
        due = member->epoch != step->group->target_epoch;
    } else if (member->state == MEMBER_UNREVOKED) {
        due = !still_has(owned, parts_of(&member->revoking));
    }
    *changed = false;
    if (!due) {
        return true;
    }
    size_t count = (size_t)member->assigned.count;
    struct part *copy = arena_new_array(step->arena, struct part, count);
    if (copy == NULL) {
        return step_break(step);
    }
    if (count > 0) {
        memcpy(copy, member->assigned.items, count * sizeof(*copy));
    }
    struct parts before = {copy, (int32_t)count};
    int32_t epoch = member->epoch;
    enum consumer_member_state state = member->state;
    if (!member_advance(step, member, owned)) {
        return false;
    }
    *changed = !looks_alike(member, &before, epoch, state);
    return true;
}
