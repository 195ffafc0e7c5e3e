/* SPDX-License-Identifier: Apache-2.0 */
/* Included by the build into every file: calls that are compile errors, with what to use instead. */
#pragma once

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets /* snprintf, bytes.h */
#pragma GCC poison asctime ctime localtime                    /* ring_wall_ms(), gmtime_r */
