/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* `weir serve [--config FILE] [--data DIR] [--listen HOST:PORT] [--set KEY=VALUE]...`
 * Exit codes: 0 clean, 1 usage, 2 configuration, 3 data. */
int serve_run(int count, char **arguments);
