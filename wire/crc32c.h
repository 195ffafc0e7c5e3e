/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), as Kafka's record batches use it. Hardware where the CPU has it (three
 * interleaved streams on x86-64), a table elsewhere; crc32c_check() proves both equal at start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* crc is 0 for the first piece, the previous result for the next ones. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
uint32_t crc32c_table(uint32_t crc, const void *data, size_t size);
[[nodiscard]] bool crc32c_check(void);
