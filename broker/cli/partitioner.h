/* SPDX-License-Identifier: Apache-2.0 */
/* Where a record goes: keys exactly as Java's clients place them, so that both can share a topic.
 */
#pragma once

#include "base/bytes.h"

/* The 32-bit MurmurHash2 variant of Kafka's clients (seed 0x9747b28c). */
int32_t murmur2(struct bytes key);

/* Index among `count` partitions, count > 0. */
int32_t partition_of_key(struct bytes key, int32_t count);
