/* SPDX-License-Identifier: Apache-2.0 */
/* Which simulation the program is, the build says. */
#include "tests/sim/sims.h"

int main(int count, char **arguments)
{
    return SIM_ENTRY(count, arguments);
}
