/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/merge.h"

#include "base/check.h"
#include "storage/key_order.h"

/* Node i has the children 2i and 2i+1; from `count` on these are the runs, in order. Node 0 is
 * not used, so the array has one node a run. */

static void node_decide(struct merge_node *node, struct merge_run *a, struct merge_run *b)
{
    node->tie = false;
    if (a == NULL || b == NULL) {
        node->winner = a == NULL ? b : a;
        return;
    }
    if (a->prefix != b->prefix) {
        node->winner = a->prefix < b->prefix ? a : b;
        return;
    }
    int order = key_compare_from(a->key, b->key, 8);
    if (order == 0) {
        node->tie = true;
        order = a->offset == b->offset ? (a->index < b->index ? -1 : 1)
                                       : (a->offset > b->offset ? -1 : 1);
    }
    node->winner = order < 0 ? a : b;
}

static struct merge_run *side(const struct merge *merge, uint32_t place)
{
    if (place >= merge->count) {
        struct merge_run *run = merge->runs[place - merge->count];
        return run->ended ? NULL : run;
    }
    return merge->nodes[place].winner;
}

static void replay(struct merge *merge, uint32_t place)
{
    for (uint32_t node = place / 2; node > 0; node /= 2) {
        node_decide(&merge->nodes[node], side(merge, 2 * node), side(merge, 2 * node + 1));
    }
}

/* One step of one run, without its consequences. */
static enum status run_step(struct merge_run *run, bool first)
{
    check(!run->ended);
    uint64_t before = run->prefix;
    enum status status = run->advance(run);
    if (status == STATUS_NOT_FOUND) {
        run->ended = true;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    run->prefix = key_head(run->key, 0);
    return !first && run->prefix < before ? STATUS_MALFORMED : STATUS_OK; /* M1 */
}

static enum status merge_start(struct merge *merge)
{
    while (merge->started < merge->count) {
        enum status status = run_step(merge->runs[merge->started], true);
        if (status != STATUS_OK) {
            return status;
        }
        merge->started += 1;
    }
    for (uint32_t node = merge->count - 1; node > 0; node--) {
        node_decide(&merge->nodes[node], side(merge, 2 * node), side(merge, 2 * node + 1));
    }
    return STATUS_OK;
}

/* A run that stands on the winner's key. It lost to the winner itself at a node of the winner's
 * way up, because between the two of them no other key fits. NULL: there is none. */
static struct merge_run *duplicate_of(const struct merge *merge, const struct merge_run *winner)
{
    for (uint32_t place = merge->count + winner->index; place > 1; place /= 2) {
        if (merge->nodes[place / 2].tie) {
            return side(merge, place ^ 1);
        }
    }
    return NULL;
}

static enum status merge_move(struct merge *merge)
{
    enum status status = run_step(merge->moving, false);
    if (status == STATUS_OK) {
        replay(merge, merge->count + merge->moving->index);
        merge->moving = NULL;
    }
    return status;
}

void merge_init(struct merge *merge, struct merge_run **runs, struct merge_node *nodes,
                uint32_t count, enum merge_equal equal)
{
    *merge = (struct merge){.runs = runs, .nodes = nodes, .count = count, .equal = equal};
    for (uint32_t i = 0; i < count; i++) {
        check(runs[i]->advance != NULL);
        runs[i]->index = i;
        runs[i]->ended = false;
        nodes[i] = (struct merge_node){0};
    }
}

static struct merge_run *merge_top(const struct merge *merge)
{
    return merge->count == 0 ? NULL : side(merge, 1);
}

/* Steps what was handed out. With MERGE_NEWEST the older items of its key go first: those of other
 * runs while its key is still there to be compared with, then its own run's. */
static enum status merge_leave(struct merge *merge)
{
    while (merge->standing != NULL || merge->moving != NULL) {
        if (merge->moving == NULL) {
            struct merge_run *other =
                merge->equal == MERGE_NEWEST ? duplicate_of(merge, merge->standing) : NULL;
            merge->moving = other != NULL ? other : merge->standing;
            merge->dropped += other != NULL;
        }
        struct merge_run *moved = merge->moving;
        enum status status = merge_move(merge);
        if (status != STATUS_OK) {
            return status;
        }
        if (moved != merge->standing) {
            continue;
        }
        if (merge->equal == MERGE_NEWEST && !moved->ended && moved->repeats) {
            merge->moving = moved;
            merge->dropped += 1;
        } else {
            merge->standing = NULL;
        }
    }
    return STATUS_OK;
}

enum status merge_next(struct merge *merge, const struct merge_run **run)
{
    enum status status = merge->started < merge->count ? merge_start(merge) : merge_leave(merge);
    if (status != STATUS_OK) {
        return status;
    }
    merge->standing = merge_top(merge);
    *run = merge->standing;
    return merge->standing == NULL ? STATUS_NOT_FOUND : STATUS_OK;
}

struct merge_plan merge_plan(uint32_t run_count, uint64_t run_size, uint64_t size_max)
{
    check(run_size > 0);
    struct merge_plan plan = {0};
    uint64_t fan_in = size_max / run_size;
    if (fan_in < 2) {
        return plan;
    }
    plan.fan_in = fan_in > UINT32_MAX ? UINT32_MAX : (uint32_t)fan_in;
    for (uint64_t left = run_count; left > 1; left = (left + plan.fan_in - 1) / plan.fan_in) {
        plan.passes += 1;
    }
    return plan;
}
