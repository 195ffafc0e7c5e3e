/* SPDX-License-Identifier: Apache-2.0 */
/* The walk of batch_validate over a producer's records; its header has passed already. */
#pragma once

#include "wire/batch.h"

enum status records_walk(struct bytes records, const struct batch_header *header,
                         const struct batch_rules *rules, struct batch_scratch scratch,
                         int64_t *max_timestamp_out, struct batch_fault *fault);
