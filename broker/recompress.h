/* SPDX-License-Identifier: Apache-2.0 */
/* Batches for topics whose compression.type is not "producer" and not the batch's own codec. */
#pragma once

#include "base/arena.h"
#include "topic/config.h"
#include "wire/compress.h"
#include "wire/record.h"

bool recompress_wanted(const struct topic_config *config, enum codec codec);
/*
 * Unpacks the batch and builds it anew with the topic's codec and level; *batch then lies in the
 * arena. MESSAGE_TOO_LARGE when the new form is above max.message.bytes; NO_MEMORY.
 */
enum status recompress(struct pages *pages, struct arena *arena, struct batch_scratch scratch,
                       const struct topic_config *config, struct bytes *batch);
