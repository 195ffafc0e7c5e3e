# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by every run script. BOOTSTRAP=host:port is the broker; WEIR_KIND (weir, kafka, other) and
# WEIR_REQUIRE_ALL come from run-one and are optional when a script is run by hand.
set -euo pipefail

: "${BOOTSTRAP:?set BOOTSTRAP=host:port, or use tests/clients/run-one}"
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir-tests/$(basename "$here")
export BOOTSTRAP WEIR_KIND=${WEIR_KIND:-other}
# Topic names of this run: a broker that is not fresh may hold those of an earlier one.
export TOPIC_PREFIX=${TOPIC_PREFIX:-$(basename "$here")-$$-}

skip()
{
    if [ "${WEIR_REQUIRE_ALL:-0}" = 1 ]; then
        echo "FAILED required, but $*"
        exit 1
    fi
    echo "skipped: $*"
    exit 77
}

need()
{
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
}

fail()
{
    echo "FAILED $*"
    exit 1
}

# install_once NAME FILE... COMMAND: run the shell function COMMAND with $folder set to a folder of
# the cache that is named by the files' sum, unless a run before did. Output is shown on failure.
install_once()
{
    local name=$1 command=${*: -1} files=("${@:2:$#-2}") sum
    sum=$(cat "${files[@]}" | sha256sum | cut -c1-12)
    folder=$cache/$name-$sum
    [ ! -e "$folder/complete" ] || return 0
    mkdir -p "$folder"
    (
        flock 9
        [ -e "$folder/complete" ] && exit 0
        if ! (set -e; "$command") >"$folder/install.log" 2>&1; then
            tail -n 30 "$folder/install.log"
            exit 1
        fi
        touch "$folder/complete"
    ) 9>"$folder/lock" || fail "installation of $name, log in $folder/install.log"
}
