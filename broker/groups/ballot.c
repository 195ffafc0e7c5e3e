/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/ballot.h"

#include <string.h>

#include "base/check.h"

bool ballot_init(struct ballot *ballot, struct heap *heap, uint64_t seed)
{
    *ballot = (struct ballot){.heap = heap};
    return table_init(&ballot->lines, heap, seed);
}

void ballot_deinit(struct ballot *ballot)
{
    check(ballot->lines.count == 0);
    table_deinit(&ballot->lines);
}

struct ballot_line *ballot_find(const struct ballot *ballot, struct bytes name)
{
    struct table_node *node = table_find(&ballot->lines, hash_bytes(name, ballot->lines.seed));
    while (node != NULL) {
        struct ballot_line *line = CONTAINER_OF(node, struct ballot_line, node);
        if (bytes_equal(line->name, name)) {
            return line;
        }
        node = table_find_next(node);
    }
    return NULL;
}

static struct ballot_line *line_open(struct ballot *ballot, struct bytes name)
{
    struct ballot_line *line = heap_acquire(ballot->heap, sizeof(*line) + name.size);
    if (line == NULL) {
        return NULL;
    }
    line->name = bytes_of(line + 1, name.size);
    if (name.size > 0) {
        memcpy(line + 1, name.data, name.size);
    }
    line->node.hash = hash_bytes(name, ballot->lines.seed);
    table_insert(&ballot->lines, &line->node);
    return line;
}

/* B2 */
static void line_settle(struct ballot *ballot, struct ballot_line *line)
{
    check(line->count >= 0 && line->holds >= 0);
    if (line->count == 0 && line->holds == 0) {
        table_remove(&ballot->lines, &line->node);
        heap_release(ballot->heap, line, sizeof(*line) + line->name.size);
    }
}

/* B1: true once per name of a list. */
static bool line_is_fresh(const struct ballot *ballot, struct ballot_line *line)
{
    bool fresh = line->counted != ballot->serial;
    line->counted = ballot->serial;
    return fresh;
}

/* Each name's line once: one that stands twice is found marked, or gone. */
static void lines_release(struct ballot *ballot, struct ballot_list list, bool counted)
{
    ballot->serial += 1;
    for (int32_t i = 0; i < list.count; i++) {
        struct ballot_line *line = ballot_find(ballot, list.protocols[i].name);
        if (line == NULL || !line_is_fresh(ballot, line)) {
            continue;
        }
        line->count -= counted;
        line->holds -= !counted;
        line_settle(ballot, line);
    }
}

bool ballot_add(struct ballot *ballot, struct ballot_list list)
{
    ballot->serial += 1;
    for (int32_t i = 0; i < list.count; i++) {
        struct ballot_line *line = ballot_find(ballot, list.protocols[i].name);
        if (line == NULL) {
            line = line_open(ballot, list.protocols[i].name);
        }
        if (line == NULL) {
            lines_release(ballot, (struct ballot_list){list.protocols, i}, true);
            return false;
        }
        line->count += line_is_fresh(ballot, line);
    }
    return true;
}

void ballot_remove(struct ballot *ballot, struct ballot_list list)
{
    lines_release(ballot, list, true);
}

void ballot_hold_list(struct ballot *ballot, struct ballot_list list)
{
    ballot->serial += 1;
    for (int32_t i = 0; i < list.count; i++) {
        struct ballot_line *line = ballot_find(ballot, list.protocols[i].name);
        check(line != NULL);
        line->holds += line_is_fresh(ballot, line);
    }
}

void ballot_release_list(struct ballot *ballot, struct ballot_list list)
{
    lines_release(ballot, list, false);
}

void ballot_hold(struct ballot_line *line)
{
    line->holds += 1;
}

void ballot_release(struct ballot *ballot, struct ballot_line *line)
{
    if (line != NULL) {
        line->holds -= 1;
        line_settle(ballot, line);
    }
}

bool ballot_suits(const struct ballot *ballot, struct ballot_list list, int32_t member_count)
{
    for (int32_t i = 0; i < list.count; i++) {
        const struct ballot_line *line = ballot_find(ballot, list.protocols[i].name);
        if ((line == NULL ? 0 : line->count) == member_count) {
            return true;
        }
    }
    return false;
}

struct ballot_election ballot_begin(struct ballot *ballot, int32_t member_count)
{
    check(member_count > 0);
    ballot->serial += 1;
    return (struct ballot_election){.member_count = member_count};
}

void ballot_vote(struct ballot *ballot, struct ballot_election *election, struct ballot_list list)
{
    struct ballot_line *line = NULL;
    for (int32_t i = 0; i < list.count && line == NULL; i++) {
        struct ballot_line *listed = ballot_find(ballot, list.protocols[i].name);
        check(listed != NULL);
        line = listed->count == election->member_count ? listed : NULL;
    }
    if (line == NULL) {
        return;
    }
    if (line->election != ballot->serial) {
        line->election = ballot->serial;
        line->votes = 0;
        line->first_vote = election->voter_count;
    }
    election->voter_count += 1;
    line->votes += 1;
    struct ballot_line *winner = election->winner;
    if (winner == NULL || line->votes > winner->votes ||
        (line->votes == winner->votes && line->first_vote < winner->first_vote)) {
        election->winner = line;
    }
}
