#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the compiled libraries of the pure layers import and keep, read from their symbol tables.

    imports.py LIBRARY...     libweir_NAME.a of wire, storage, topic
    imports.py --self-test COMPILER

No object of theirs may call the system for files, time, memory or threads: those come through
base/, so that the simulated ring sees every one of them. None may own writable static data: a core
is a struct handed down, and many of them live in one process.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

FORBIDDEN = re.compile(
    r"(?:p?(?:read|write)v?2?(?:64)?|open(?:at)?(?:64)?|creat|f(?:data)?sync|rename(?:at2?)?|"
    r"unlink(?:at)?|ftruncate(?:64)?|fallocate(?:64)?|mmap(?:64)?|f(?:open|read|write)(?:64)?|"
    r"clock_gettime|gettimeofday|time|nanosleep|u?sleep|getrandom|s?rand(?:_r)?|random|"
    r"(?:m|c|re)alloc|aligned_alloc|posix_memalign|strn?dup|free|"
    r"socket|send|recv|sendmsg|recvmsg|epoll_\w+|io_uring_\w+|pthread_\w+)")

# (object, symbol) -> why it is right.
# The lock policies one and per-shard (seed 004) are there to be measured against none, which
# is what a core uses on its own. The locks lie in the index: no door of base/ would hide them.
LOCKED = ("memtable.c.o", "keytree.c.o", "key_blocks.c.o", "supply.c.o")
EXCEPTIONS = {(owner, f"pthread_mutex_{verb}") for owner in LOCKED
              for verb in ("init", "destroy", "lock", "trylock", "unlock")}


def symbols(library):
    """(object, section, symbol, size, is an object) of each; the section of an import is *UND*."""
    listing = subprocess.run(["objdump", "-t", library], capture_output=True, text=True,
                             check=True).stdout
    owner = "?"
    for line in listing.splitlines():
        head = re.match(r"(\S+):\s+file format", line)
        if head:
            owner = head.group(1).rsplit("/", 1)[-1]
            continue
        match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\t([0-9a-f]+)\s+(?:\.hidden )?(\S+)$", line)
        if match:
            flags, section, size, name = match.groups()
            yield owner, section, name, int(size, 16), "O" in flags


def problems(library):
    for owner, section, name, size, is_object in symbols(library):
        if section == "*UND*" and FORBIDDEN.fullmatch(name) and (owner, name) not in EXCEPTIONS:
            yield f"{owner} imports {name}: base/ has the only doors to the system"
        # .data.rel.ro holds constants with addresses in them.
        if is_object and size > 0 and re.match(r"\.(data|bss|tdata|tbss)(?!\.rel\.ro)|\*COM\*",
                                               section):
            yield f"{owner} keeps {name} in {section}: static mutable state"


def self_test(compiler):
    planted = """
        #include <stdlib.h>
        #include <time.h>
        static int kept;
        const char *const constant[] = {"a", "b"};
        int count(void) { return ++kept; }
        void *get(void) { return time(NULL) > 0 ? malloc(1) : NULL; }
    """
    expected = ["imports malloc", "imports time", "keeps kept in .bss"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "planted"
        subprocess.run([compiler, "-O1", "-fPIE", "-x", "c", "-c", "-", "-o", f"{path}.o"],
                       input=planted, text=True, check=True)
        subprocess.run(["ar", "rc", f"{path}.a", f"{path}.o"], check=True)
        found = sorted(problems(f"{path}.a"))
    right = len(found) == len(expected) and all(
        any(text in problem for problem in found) for text in expected)
    print(*found, "as planted" if right else f"expected {expected}", sep="\n")
    return 0 if right else 1


def main():
    if sys.argv[1] == "--self-test":
        return self_test(sys.argv[2])
    found = [problem for library in sys.argv[1:] for problem in problems(library)]
    count = sum(len({row[0] for row in symbols(library)}) for library in sys.argv[1:])
    print(*found, f"{count} objects, {len(found)} problems", sep="\n")
    return 1 if found or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
