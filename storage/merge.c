/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/merge.h"

#include "base/check.h"
#include "storage/key_order.h"

/* Place i has the places 2i and 2i+1 below it; from `count` on these are the runs, in order. Place
 * 0 is not used, so one array of nodes serves runs and places. */

/* Ended runs come last: their head is the largest there is, and equal heads are looked into. */
#define HEAD_ENDED UINT64_MAX

/* Whether run a comes before run b; their heads are equal. */
static bool decide_equal(const struct merge *merge, uint32_t a, uint32_t b, bool *tie)
{
    const struct merge_node *left = &merge->nodes[a];
    const struct merge_node *right = &merge->nodes[b];
    if (left->ended || right->ended) {
        return right->ended;
    }
    int order = key_compare_from(left->key, right->key, merge->skip + 8);
    if (order != 0) {
        return order < 0;
    }
    *tie = true;
    return left->offset == right->offset ? a < b : left->offset > right->offset;
}

static void place_decide(struct merge *merge, uint32_t place, uint32_t a, uint32_t b)
{
    struct merge_node *nodes = merge->nodes;
    uint64_t left = nodes[a].head;
    uint64_t right = nodes[b].head;
    bool tie = false;
    uint32_t winner = left < right ? a : b;
    if (__builtin_expect(left == right, 0)) {
        winner = decide_equal(merge, a, b, &tie) ? a : b;
    }
    nodes[place].winner = winner;
    nodes[place].tie = tie;
}

/* The winner at a place: of an inner one, or the run itself. */
static uint32_t winner_at(const struct merge *merge, uint32_t place)
{
    return place >= merge->count ? place - merge->count : merge->nodes[place].winner;
}

static void replay(struct merge *merge, uint32_t run)
{
    uint32_t winner = run;
    for (uint32_t place = merge->count + run; place > 1; place /= 2) {
        place_decide(merge, place / 2, winner, winner_at(merge, place ^ 1));
        winner = merge->nodes[place / 2].winner;
    }
}

static void replay_all(struct merge *merge)
{
    for (uint32_t place = merge->count - 1; place > 0; place--) {
        place_decide(merge, place, winner_at(merge, 2 * place), winner_at(merge, 2 * place + 1));
    }
}

/* M3: only the first `skip` bytes are common from now on. */
static void merge_shorten(struct merge *merge, size_t skip)
{
    merge->skip = skip;
    for (uint32_t i = 0; i < merge->count; i++) {
        struct merge_node *node = &merge->nodes[i];
        node->head = node->ended ? HEAD_ENDED : key_head(node->key, skip);
    }
    replay_all(merge);
}

/* The run's next item into its node. */
static enum status run_step(struct merge *merge, uint32_t index)
{
    struct merge_run *run = merge->runs[index];
    struct merge_node *node = &merge->nodes[index];
    check(!node->ended);
    enum status status = run->advance(run);
    if (status == STATUS_NOT_FOUND) {
        node->ended = true;
        node->head = HEAD_ENDED;
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        node->key = run->key;
        node->offset = run->offset;
    }
    return status;
}

static enum status merge_start(struct merge *merge)
{
    while (merge->started < merge->count) {
        enum status status = run_step(merge, merge->started);
        if (status != STATUS_OK) {
            return status;
        }
        const struct merge_node *node = &merge->nodes[merge->started];
        merge->started += 1;
        if (node->ended) {
            continue;
        }
        struct bytes beginning = {merge->beginning, merge->skip};
        if (merge->skip == SIZE_MAX) { /* the first one */
            merge->skip = node->key.size < MERGE_SKIP_MAX ? node->key.size : MERGE_SKIP_MAX;
            if (merge->skip > 0) {
                memcpy(merge->beginning, node->key.data, merge->skip);
            }
        } else {
            merge->skip = key_common(beginning, node->key);
        }
    }
    merge_shorten(merge, merge->skip == SIZE_MAX ? 0 : merge->skip);
    return STATUS_OK;
}

/* A run that stands on the winner's key. It lost to the winner itself at a place on the winner's
 * way up, because between the two of them no other key fits. MERGE_NONE: there is none. */
static uint32_t duplicate_of(const struct merge *merge, uint32_t winner)
{
    for (uint32_t place = merge->count + winner; place > 1; place /= 2) {
        if (merge->nodes[place / 2].tie) {
            return winner_at(merge, place ^ 1);
        }
    }
    return MERGE_NONE;
}

static enum status merge_move(struct merge *merge)
{
    uint32_t index = merge->moving;
    struct merge_node *node = &merge->nodes[index];
    uint64_t before = node->head;
    enum status status = run_step(merge, index);
    if (status != STATUS_OK) {
        return status;
    }
    merge->moving = MERGE_NONE;
    if (node->ended) {
        replay(merge, index);
        return STATUS_OK;
    }
    struct bytes beginning = {merge->beginning, merge->skip};
    size_t common = key_common(beginning, node->key);
    if (common < merge->skip) {
        bool back = common == node->key.size || node->key.data[common] < beginning.data[common];
        merge_shorten(merge, common);
        return back ? STATUS_MALFORMED : STATUS_OK; /* M1 */
    }
    node->head = key_head(node->key, merge->skip);
    replay(merge, index);
    return node->head < before ? STATUS_MALFORMED : STATUS_OK; /* M1 */
}

void merge_init(struct merge *merge, struct merge_run **runs, struct merge_node *nodes,
                uint32_t count, enum merge_equal equal)
{
    *merge = (struct merge){
        .runs = runs,
        .nodes = nodes,
        .count = count,
        .equal = equal,
        .standing = MERGE_NONE,
        .moving = MERGE_NONE,
        .skip = SIZE_MAX,
    };
    for (uint32_t i = 0; i < count; i++) {
        check(runs[i]->advance != NULL);
        nodes[i] = (struct merge_node){0};
    }
}

/* Steps what was handed out. With MERGE_NEWEST the older items of its key go first: those of other
 * runs while its key is still there to be compared with, then its own run's. */
static enum status merge_leave(struct merge *merge)
{
    while (merge->standing != MERGE_NONE || merge->moving != MERGE_NONE) {
        if (merge->moving == MERGE_NONE) {
            uint32_t other =
                merge->equal == MERGE_NEWEST ? duplicate_of(merge, merge->standing) : MERGE_NONE;
            merge->moving = other != MERGE_NONE ? other : merge->standing;
            merge->dropped += other != MERGE_NONE;
        }
        uint32_t moved = merge->moving;
        enum status status = merge_move(merge);
        if (status != STATUS_OK) {
            return status;
        }
        if (moved != merge->standing) {
            continue;
        }
        if (merge->equal == MERGE_NEWEST && !merge->nodes[moved].ended &&
            merge->runs[moved]->repeats) {
            merge->moving = moved;
            merge->dropped += 1;
        } else {
            merge->standing = MERGE_NONE;
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
    *run = NULL;
    uint32_t winner = merge->count == 0 ? MERGE_NONE : winner_at(merge, 1);
    if (winner == MERGE_NONE || merge->nodes[winner].ended) {
        return STATUS_NOT_FOUND;
    }
    merge->standing = winner;
    *run = merge->runs[winner];
    return STATUS_OK;
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
