# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by every run script. BOOTSTRAP=host:port is the broker; WEIR_KIND (weir, kafka, other) and
# WEIR_REQUIRE_ALL come from run-one and are optional when a script is run by hand.
: "${BOOTSTRAP:?set BOOTSTRAP=host:port, or use tests/clients/run-one}"
. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
export BOOTSTRAP WEIR_KIND=${WEIR_KIND:-other}
# Topic names of this run: a broker that is not fresh may hold those of an earlier one.
export TOPIC_PREFIX=${TOPIC_PREFIX:-$(basename "$here")-$$-}
