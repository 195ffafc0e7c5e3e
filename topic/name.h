/* SPDX-License-Identifier: Apache-2.0 */
/* Names of topics. A name is also a folder's name, so the rule is about safety, not taste. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "wire/status.h"

#define TOPIC_NAME_SIZE_MAX 249
/* The metadata log's: its folder lies beside those of the topics. */
#define METADATA_NAME "__cluster_metadata"

/* 1 to 249 of [a-zA-Z0-9._-], neither "." nor "..", and not METADATA_NAME, whose folder a topic of
 * that name would take. STATUS_INVALID_TOPIC_EXCEPTION. */
enum status topic_name_check(struct bytes name);
/* What is wrong with a refused name, as one sentence for the client. NULL: nothing. */
const char *topic_name_fault(struct bytes name);

/* Metrics tools write "." as "_": a.b and a_b would be one topic to them. Names that are equal once
 * every "." is a "_" collide; so do equal names. */
bool topic_name_collides(struct bytes a, struct bytes b);
/* The form in which colliding names are equal; the name must have passed the check. */
size_t topic_name_collision_key(struct bytes name, char out[TOPIC_NAME_SIZE_MAX]);

/* The topics brokers keep their own state in: clients may read them, not produce to them. */
bool topic_name_is_internal(struct bytes name);
