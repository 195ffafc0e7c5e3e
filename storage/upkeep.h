/* SPDX-License-Identifier: Apache-2.0 */
/* The round of store_upkeep(): what is due by time, and what a broken partition needs. */
#pragma once

#include <stddef.h>

/* Sizes of the private states that store_open() makes pools of. */
size_t partition_read_state_size(void);
size_t partition_lookup_state_size(void);
