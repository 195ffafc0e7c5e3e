/* SPDX-License-Identifier: Apache-2.0 */
/* What every harness defines: libFuzzer's entry. Anything but a crash is fine; 0 is the answer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
