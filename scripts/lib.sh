# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts of this folder: where the project is, and what Debian 12 has to install.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

packages_build=(
    gcc g++ libc6-dev binutils meson ninja-build pkg-config python3
    liburing-dev libzstd-dev liblz4-dev libsnappy-dev zlib1g-dev libxxhash-dev libjansson-dev
    libre2-dev
)
packages_quick=("${packages_build[@]}" libcmocka-dev kcat clang-format-14)
packages_test=("${packages_quick[@]}" librdkafka-dev clang-14 libclang-rt-14-dev llvm-14 jq)

# packages_toolchains: what the client suites need beside it, where the machine has no such command,
# one a line. Debian's Go is older than the Go clients want, so it is not among them.
packages_toolchains()
{
    command -v javac >/dev/null || echo default-jdk-headless
    command -v mvn >/dev/null || echo maven
    command -v npm >/dev/null || printf 'nodejs\nnpm\n'
    command -v cargo >/dev/null || echo cargo
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

# Whole seconds an installation may take.
install_s_max=180

# packages_missing NAME...: those of the names that are not installed, one a line.
packages_missing()
{
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^installed //p' | sort -u |
        comm -13 - <(printf '%s\n' "$@" | sort -u)
}

# packages_install NAME...: installs what is missing; says what and how on stderr.
packages_install()
{
    local missing log as_root=()
    if ! command -v dpkg-query >/dev/null; then
        echo "not a Debian system: install by hand what the lists in scripts/lib.sh name" >&2
        return 0
    fi
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "these packages are missing, and this is neither root nor has it sudo:" >&2
            echo "    apt-get install --no-install-recommends $missing" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing $missing" >&2
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! "${as_root[@]}" timeout "$install_s_max" sh -ec '
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends "$@"
    ' install $missing </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "installing failed, or took more than $install_s_max s" >&2
        return 1
    fi
    rm -f "$log"
}

# build_setup FOLDER OPTION...: configures once; a folder that exists is used as it is.
build_setup()
{
    local folder=$1
    shift
    [ -f "$root/$folder/build.ninja" ] || meson setup "$root/$folder" "$root" "$@"
}
