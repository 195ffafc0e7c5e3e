# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by scripts that need programs from outside: skip, or install once into the user's cache.
set -euo pipefail

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir-tests

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

install_python()
{
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q --disable-pip-version-check -r "$lib/requirements.txt"
}

# Sets $python to an interpreter that has the packages of requirements.txt.
use_python()
{
    need python3
    python3 -c 'import venv, ensurepip' 2>/dev/null || skip 'python3-venv is not installed'
    install_once python "$lib/requirements.txt" install_python
    python=$folder/venv/bin/python
    export PYTHONDONTWRITEBYTECODE=1
}
