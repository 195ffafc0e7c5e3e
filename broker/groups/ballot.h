/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which protocol a group uses: each member lists names by preference, a candidate is a name that
 * all of them list, each member votes for the candidate it lists first, and most votes win. When
 * votes are even the protocol that got its first vote first wins, so that the outcome depends on
 * nothing but the order of the members.
 *
 * B1  A line's count is the number of members that list its name, however often they do.
 * B2  A line lives while a member lists it or somebody holds it.
 *
 * Names are found by hash: a peer may list as many as fit in a frame.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/heap.h"
#include "wire/join_group.h"

struct ballot {
    struct heap *heap; /* borrowed */
    struct table lines;
    uint64_t serial; /* of the member that is counted, or of the election */
};

struct ballot_line {
    struct table_node node;
    struct bytes name;  /* behind this struct */
    int32_t count;      /* B1 */
    int32_t holds;      /* B2 */
    int32_t votes;      /* in the election of `election` */
    int32_t first_vote; /* the voter's number */
    uint64_t counted;   /* serial of the member counted last */
    uint64_t election;
};

struct ballot_list {
    const struct join_group_request_protocol *protocols;
    int32_t count;
};

[[nodiscard]] bool ballot_init(struct ballot *ballot, struct heap *heap, uint64_t seed);
void ballot_deinit(struct ballot *ballot); /* nothing may be listed or held any more */

/* False: no memory, nothing changed. */
[[nodiscard]] bool ballot_add(struct ballot *ballot, struct ballot_list list);
void ballot_remove(struct ballot *ballot, struct ballot_list list);

/* Keeps every line of the list alive without counting it, so that a later ballot_add() of it cannot
 * fail. */
void ballot_hold_list(struct ballot *ballot, struct ballot_list list);
void ballot_release_list(struct ballot *ballot, struct ballot_list list);
void ballot_hold(struct ballot_line *line);
void ballot_release(struct ballot *ballot, struct ballot_line *line); /* NULL does nothing */

/* NULL: not listed by anybody. */
struct ballot_line *ballot_find(const struct ballot *ballot, struct bytes name);
/* Whether some name of the list is listed by all member_count members. */
bool ballot_suits(const struct ballot *ballot, struct ballot_list list, int32_t member_count);

/* An election: begin, a vote for each member in their order, and the winner so far. */
struct ballot_election {
    struct ballot_line *winner; /* NULL: no candidate */
    int32_t member_count;
    int32_t voter_count;
};
struct ballot_election ballot_begin(struct ballot *ballot, int32_t member_count);
void ballot_vote(struct ballot *ballot, struct ballot_election *election, struct ballot_list list);
