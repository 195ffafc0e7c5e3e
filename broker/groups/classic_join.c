/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: who may come in, under which id, and whether that starts a rebalance. */
#include "broker/groups/classic_state.h"

#include <string.h>

#include "base/check.h"

#define UUID_HEX_SIZE ((size_t)36) /* with four dashes */

static struct ballot_list list_of(const struct classic_join *join)
{
    return (struct ballot_list){join->protocols, join->protocol_count};
}

static int32_t rebalance_ms_of(const struct classic_join *join)
{
    return join->rebalance_ms < 0 ? join->session_ms : join->rebalance_ms;
}

/* ---- ids ---- */

static void uuid_put_hex(uint8_t *to, const struct uuid *uuid)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = (uint8_t)digits[uuid->bytes[i] >> 4];
        *to++ = (uint8_t)digits[uuid->bytes[i] & 15];
    }
}

/* "<client or instance id>-<uuid>" as a new member of this join; in no list yet. The text is cut
 * where the id would not fit into a string of the protocol. NULL: no memory. */
static struct classic_member *member_of_join(struct classic *group, const struct classic_join *join,
                                             struct bytes id)
{
    struct classic_blob made = {NULL, 0};
    if (id.size == 0) {
        struct bytes prefix = join->instance_id.data != NULL ? join->instance_id : join->client_id;
        size_t room = STRING_SIZE_MAX - 1 - UUID_HEX_SIZE;
        prefix.size = prefix.size > room ? room : prefix.size;
        made.size = prefix.size + 1 + UUID_HEX_SIZE;
        made.data = heap_acquire(group->heap, made.size);
        if (made.data == NULL) {
            return NULL;
        }
        if (prefix.size > 0) {
            memcpy(made.data, prefix.data, prefix.size);
        }
        made.data[prefix.size] = '-';
        uuid_put_hex(made.data + prefix.size + 1, &join->uuid);
        id = classic_blob_bytes(made);
    }
    struct classic_member *member =
        classic_member_open(group->heap, &(struct classic_texts){
                                             .id = id,
                                             .instance_id = join->instance_id,
                                             .client_id = join->client_id,
                                             .client_host = join->client_host,
                                         });
    classic_blob_free(&made, group->heap);
    if (member != NULL) {
        member->session_ms = join->session_ms;
        member->rebalance_ms = rebalance_ms_of(join);
    }
    return member;
}

/* Its protocols, counted. False: no memory, nothing changed. */
static bool member_take_protocols(struct classic *group, struct classic_member *member,
                                  struct ballot_list list)
{
    if (!classic_protocols_copy(&member->protocols, group->heap, list)) {
        return false;
    }
    if (!ballot_add(&group->ballot, list)) {
        classic_protocols_free(&member->protocols, group->heap);
        return false;
    }
    return true;
}

/* ---- coming in ---- */

static void no_memory(struct classic *group, struct classic_join *join)
{
    classic_refuse_join(group, join, STATUS_COORDINATOR_NOT_AVAILABLE, join->member_id);
}

/* The first member says what kind of group this is. */
static bool take_protocol_type(struct classic *group, struct bytes type)
{
    if (group->member_count > 0 || bytes_equal(classic_blob_bytes(group->protocol_type), type)) {
        return true;
    }
    struct classic_blob copy;
    if (!classic_blob_copy(&copy, group->heap, type)) {
        return false;
    }
    classic_blob_free(&group->protocol_type, group->heap);
    group->protocol_type = copy;
    return true;
}

/* `pending` is whom the member was until now; NULL: it has just come. */
static void add(struct classic *group, struct classic_join *join, struct classic_member *pending)
{
    struct classic_member *member =
        member_of_join(group, join, pending == NULL ? BYTES_NULL : pending->id);
    if (member == NULL) {
        no_memory(group, join);
        return;
    }
    if (!take_protocol_type(group, join->protocol_type) ||
        !member_take_protocols(group, member, list_of(join))) {
        classic_member_close(member, group->heap);
        no_memory(group, join);
        return;
    }
    if (pending != NULL) {
        classic_remove(group, pending, STATUS_UNKNOWN_MEMBER_ID);
    }
    member->is_new = true;
    classic_link(group, member);
    classic_park_join(group, member, join);
    classic_arm_session(group, member, group->config->new_member_join_ms); /* G8 */
    group->joiner_came = true;
    classic_change(group, "a member joined");
}

/* Version 4 and up: the id first, so that a client which gives up on a slow first join does not
 * leave a member behind with each try. */
static void add_pending(struct classic *group, struct classic_join *join)
{
    struct classic_member *member = member_of_join(group, join, BYTES_NULL);
    if (member == NULL) {
        no_memory(group, join);
        return;
    }
    member->pending = true;
    classic_link(group, member);
    classic_arm_session(group, member, join->session_ms);
    classic_refuse_join(group, join, STATUS_MEMBER_ID_REQUIRED, member->id);
}

/* ---- a static member without an id comes back ---- */

static void replace(struct classic *group, struct classic_join *join, struct classic_member *old)
{
    struct classic_member *member = member_of_join(group, join, BYTES_NULL);
    if (member == NULL) {
        no_memory(group, join);
        return;
    }
    if (!member_take_protocols(group, member, list_of(join))) {
        classic_member_close(member, group->heap);
        no_memory(group, join);
        return;
    }
    struct classic_member *known = old->before;
    if (known == NULL) {
        ballot_hold_list(&group->ballot, old->protocols.list);
    }
    classic_swap(group, old, member);
    member->before = known == NULL ? old : known;
    if (known != NULL) { /* came back twice: the log knows the one before both */
        old->before = NULL;
        list_push_tail(&group->removed, &old->place);
    }
    classic_park_join(group, member, join);
    classic_arm_session(group, member, member->session_ms);
    if (group->state == CLASSIC_STABLE && classic_elect_protocol(group) == group->protocol) {
        member->write_id = classic_write(group); /* nothing that concerns others has changed */
        return;
    }
    classic_forget_before(group, member);
    /* In CompletingRebalance the leader may be assigning to the old id, so all start over. */
    classic_change(group, "a static member came back with other protocols or before the end of "
                          "the rebalance");
}

/* ---- one that has an id ---- */

static void update(struct classic *group, struct classic_join *join, struct classic_member *member,
                   const char *reason)
{
    struct classic_protocols before = member->protocols;
    if (!member_take_protocols(group, member, list_of(join))) {
        member->protocols = before;
        no_memory(group, join);
        return;
    }
    ballot_remove(&group->ballot, before.list);
    classic_protocols_free(&before, group->heap);
    member->session_ms = join->session_ms;
    member->rebalance_ms = rebalance_ms_of(join);
    classic_park_join(group, member, join);
    classic_change(group, reason);
}

static void rejoin(struct classic *group, struct classic_join *join, struct classic_member *member)
{
    bool same = classic_protocols_equal(member->protocols.list, list_of(join));
    if (group->state == CLASSIC_PREPARING_REBALANCE) {
        update(group, join, member, NULL);
    } else if (!same) {
        update(group, join, member, "a member's metadata changed");
    } else if (group->state == CLASSIC_STABLE && member == group->leader) {
        /* How a leader asks for a new assignment when the topics themselves have changed. */
        update(group, join, member, "the leader joined again");
    } else {
        classic_answer_join(group, join, member); /* its client missed the answer */
    }
}

static void join_known(struct classic *group, struct classic_join *join,
                       struct classic_member *known)
{
    if (known != NULL && known->pending && join->instance_id.data == NULL) {
        add(group, join, known);
        return;
    }
    struct classic_member *member = NULL;
    enum status status = classic_identify(group, join->member_id, join->instance_id, &member);
    if (status != STATUS_OK) {
        classic_refuse_join(group, join, status, join->member_id);
        return;
    }
    rejoin(group, join, member);
}

static void join_unknown(struct classic *group, struct classic_join *join)
{
    if (join->instance_id.data != NULL) {
        struct classic_member *old = classic_find_instance(group, join->instance_id);
        if (old != NULL) {
            replace(group, join, old);
        } else {
            add(group, join, NULL);
        }
    } else if (join->requires_member_id) {
        add_pending(group, join);
    } else {
        add(group, join, NULL);
    }
}

/* ---- the gate ---- */

static bool is_welcome(const struct classic *group, const struct classic_member *known)
{
    bool is_member = known != NULL && !known->pending;
    switch (group->state) {
    case CLASSIC_PREPARING_REBALANCE:
        /* Those who wait are counted, not the members: when the limit was lowered, whoever comes
         * back last has to go. */
        return (is_member && known->join != NULL) ||
               group->join_count < group->config->member_count_max;
    case CLASSIC_COMPLETING_REBALANCE:
    case CLASSIC_STABLE:
        return is_member || group->member_count < group->config->member_count_max;
    case CLASSIC_EMPTY:
    case CLASSIC_DEAD:
        break;
    }
    return true;
}

static void turn_away(struct classic *group, struct classic_join *join,
                      struct classic_member *known)
{
    classic_refuse_join(group, join, STATUS_GROUP_MAX_SIZE_REACHED, BYTES_LITERAL(""));
    if (known == NULL) {
        return;
    }
    classic_remove(group, known, STATUS_GROUP_MAX_SIZE_REACHED);
    if (group->state == CLASSIC_PREPARING_REBALANCE) {
        classic_settle(group);
    }
}

static bool suits(const struct classic *group, const struct classic_join *join)
{
    if (group->state == CLASSIC_EMPTY) {
        return join->protocol_type.size > 0 && join->protocol_count > 0;
    }
    return bytes_equal(classic_blob_bytes(group->protocol_type), join->protocol_type) &&
           ballot_suits(&group->ballot, list_of(join), group->member_count);
}

void classic_join_step(struct classic *group, struct classic_join *join)
{
    const struct classic_config *config = group->config;
    list_node_init(&join->node);
    if (join->session_ms < config->session_ms_min || join->session_ms > config->session_ms_max) {
        classic_refuse_join(group, join, STATUS_INVALID_SESSION_TIMEOUT, join->member_id);
        return;
    }
    if (group->state == CLASSIC_DEAD) {
        classic_refuse_join(group, join, STATUS_COORDINATOR_NOT_AVAILABLE, join->member_id);
        return;
    }
    bool has_id = join->member_id.size > 0;
    struct classic_member *known = has_id ? classic_find(group, join->member_id) : NULL;
    if (!is_welcome(group, known)) {
        turn_away(group, join, known);
    } else if (!suits(group, join)) {
        classic_refuse_join(group, join, STATUS_INCONSISTENT_GROUP_PROTOCOL, join->member_id);
    } else if (has_id) {
        join_known(group, join, known);
    } else {
        join_unknown(group, join);
    }
}
