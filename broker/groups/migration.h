/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group with members changes its kind, so that clients can be replaced one by one. Pure.
 *
 *   upgrade    a member of the newer protocol joins a classic group of consumers: their generation
 *              becomes the group's epoch, what their leader assigned becomes target and assignment,
 *              and they go on as classic members of a consumer group (consumer_classic.c). The
 *              newcomer makes the epoch grow, so that they join again.
 *   downgrade  the last member of the newer protocol is gone, and others are there: the epoch
 *              becomes the generation, what they have becomes what they were assigned, and all
 *              join again. A static member that was replaced by a classic one is gone as well. (In
 *              Kafka nobody joins again then; so no client knows that it leads, and nobody looks
 *              for new topics.)
 *
 * Classic members may join a consumer group whatever the policy says.
 *
 * M1  What was made says the same as what it was made from: members, their protocols, what they
 *     have. The one it was made from is not changed.
 * M2  The records take all of the old kind back before the first of the new kind. A log that ends
 *     between them says less than both: members that are missing in it join anew.
 * M3  The classic group is to rebalance: it is written without a leader, and begins to when it is
 *     loaded. Else it would be Stable after a restart, and nobody would have what the last member
 *     of the newer protocol had.
 */
#pragma once

#include "broker/groups/classic.h"
#include "broker/groups/consumer.h"

/*
 * `to` is open and empty. STATUS_OK; STATUS_GROUP_ID_NOT_FOUND with a sentence: this group may not
 * change; STATUS_NO_MEMORY. When not OK, `to` is good for nothing but consumer_close().
 */
enum status migration_upgrade(const struct classic *from, const struct consumer_event *event,
                              struct arena *arena, struct consumer *to, const char **message);

/*
 * After a step whose output says downgrade; CLASSIC_REBALANCE comes next. `to` is open and empty.
 * Adds to the step's records.
 * False: no memory; `to` may be closed then.
 */
bool migration_downgrade(struct consumer *from, const struct consumer_event *event,
                         struct arena *arena, struct classic *to, struct consumer_output *output);
