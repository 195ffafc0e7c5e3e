/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the data folder beside the partitions: `meta.properties` and the checkpoint files by
 * which Apache Kafka knows a cleanly stopped folder, and partition folders that nobody owns. All of
 * it is blocking, at start and stop, on METADATA_CORE's ring.
 */
#pragma once

#include "broker/server.h"

/* Reads meta.properties, or makes it with a new cluster id. 0, or the exit code with a message. */
int identity_load(struct server *server, struct ring *ring, char message[SERVER_MESSAGE_SIZE]);
/*
 * Partition folders without a topic: one whose topic was deleted (the crash came between the record
 * and the rename) is renamed for deletion; any other is left where it is and named in a line,
 * because nothing is ever deleted without a record that says so. Folders already renamed are
 * removed. A folder under the name of a partition that is there is not looked into, unless a topic
 * of that name was removed before: opening it tells whose it is, and reads less.
 */
void strays_tidy(struct server *server);
/* After all partitions are closed: recovery points, log starts and high watermarks. */
void checkpoints_write(struct server *server, struct ring *ring);
