#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone, so that no file depends on the order of its includes.

    headers.py COMPILER BUILD_FOLDER

The generated headers lie in the build folder, laid out as in the source.
"""
import concurrent.futures
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDERS = ["base", "wire", "storage", "topic", "broker", "tests", "benchmarks"]


def main():
    compiler, build = sys.argv[1:]
    headers = sorted(path.relative_to(root).as_posix() for root in (ROOT, pathlib.Path(build))
                     for folder in FOLDERS for path in (root / folder).rglob("*.h"))
    command = [compiler, "-std=gnu2x", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
               "-Wno-unused-function", "-Wno-missing-field-initializers", "-D_GNU_SOURCE",
               "-I", ROOT, "-I", build, "-include", ROOT / "base/banned.h", "-x", "c", "-"]

    def compile_alone(header):
        text = f'#include "{header}"\nextern int not_empty;\n'
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        # A library of the tests alone may be missing where only the program is built.
        lacks = any(f"{name}: No such file" in done.stderr for name in ("cmocka.h", "rdkafka.h"))
        return "" if done.returncode == 0 or lacks else f"{header}:\n{done.stderr}"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        problems = [problem for problem in pool.map(compile_alone, headers) if problem]
    print(*problems, f"{len(headers)} headers, {len(problems)} do not compile alone", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
