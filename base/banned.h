/* SPDX-License-Identifier: Apache-2.0 */
/* Included by the build into every file: calls that are compile errors, and what to use instead. */
#pragma once

/* The headers that declare them come first: a poisoned name may not even be declared. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets /* snprintf, bytes.h */
#pragma GCC poison asctime ctime localtime                    /* ring_wall_ms(), gmtime_r */
