/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer protocol that is embedded in JoinGroup and SyncGroup: what a classic consumer
 * subscribes to and has, and what it is given. Clients tell each other these bytes, and the
 * coordinator only carries them, unless it assigns to classic members itself
 * (broker/groups/consumer.h) or a group changes its kind (broker/groups/migration.h).
 *
 * The bytes are the clients' own. A version to come is read as the newest that is known: versions
 * only add to the end. Topics have names here and ids in our sets; what does not exist is left out.
 */
#pragma once

#include "base/arena.h"
#include "broker/groups/consumer.h"
#include "wire/consumer_protocol.h"

#define EMBEDDED_PROTOCOL_TYPE BYTES_LITERAL("consumer")

/* STATUS_OK, STATUS_NO_MEMORY, or another when the bytes cannot be read. Slices of the bytes. */
enum status embedded_subscription_read(struct bytes bytes, struct arena *arena,
                                       struct consumer_protocol_subscription *subscription);
/* The same. Zero bytes, as a member has that was given nothing yet, are an empty assignment. */
enum status embedded_assignment_read(struct bytes bytes, struct arena *arena,
                                     struct consumer_protocol_assignment *assignment);

/* What the member says that it has, in the arena. False: the arena refused. */
bool embedded_owned(const struct consumer_protocol_subscription *subscription,
                    const struct consumer_catalog *catalog, struct arena *arena,
                    struct parts *parts);
/* What it was given; each part with this epoch. */
bool embedded_assigned(const struct consumer_protocol_assignment *assignment,
                       const struct consumer_catalog *catalog, int32_t epoch, struct arena *arena,
                       struct parts *parts);

/* An assignment in the version of the subscription `like`. Data NULL: the arena refused. */
struct bytes embedded_assignment_make(struct parts parts, struct bytes like,
                                      const struct consumer_catalog *catalog, struct arena *arena);
/* No assignment of these parts takes more bytes. */
size_t embedded_assignment_size_max(struct parts parts);
