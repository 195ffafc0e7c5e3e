#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_test.py COMPARE: planted regressions on both sides of each gate, and what is no row."""
import csv
import pathlib
import subprocess
import sys
import tempfile

BASE = {"suite": "000_slab", "case": "write16k", "layer": "storage", "params": "capacity=1MiB",
        "threads": "1", "record_bytes": "16384", "sync": "dsync", "compression": "none",
        "payload": "ramp", "MB_s": "1000", "ops_s": "61000", "allocs_op": "2", "p99_us": "100"}

# What differs in the new file, and the exit code it must have.
CASES = [
    ({}, 0),
    ({"MB_s": "1500", "ops_s": "90000", "allocs_op": "0", "p99_us": "10"}, 0),
    ({"MB_s": "910"}, 0), ({"MB_s": "900"}, 0), ({"MB_s": "890"}, 1),  # 9, 10, 11%
    ({"ops_s": "55000"}, 0), ({"ops_s": "54290"}, 1),  # 9.8, 11%
    ({"allocs_op": "2.38"}, 0), ({"allocs_op": "2.42"}, 1),  # 19, 21%
    ({"p99_us": "149"}, 0), ({"p99_us": "151"}, 1),  # 49, 51%
    ({"p99_us": ""}, 0),  # a row without percentiles
    ({"params": "capacity=2MiB", "MB_s": "1"}, 2),  # another row: nothing in common
    ({"payload": "random", "MB_s": "1"}, 2),
]


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, BASE)
        writer.writeheader()
        writer.writerows(rows)


def main():
    compare = sys.argv[1]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        old, new = pathlib.Path(folder, "old.csv"), pathlib.Path(folder, "new.csv")

        def check(name, rows_old, rows_new, expected):
            write(old, rows_old)
            write(new, rows_new)
            done = subprocess.run([sys.executable, compare, old, new], capture_output=True,
                                  text=True, check=False)
            if done.returncode != expected:
                print(f"{name}: exit code {done.returncode}, not {expected}\n{done.stdout}"
                      f"{done.stderr}")
            return done.returncode != expected

        for change, expected in CASES:
            wrong += check(change, [BASE], [{**BASE, **change}], expected)
        # No allocation before, one in ten operations now; and one in ten thousand.
        none = {**BASE, "allocs_op": "0.0000"}
        wrong += check("first allocation", [none], [{**BASE, "allocs_op": "0.1"}], 1)
        wrong += check("rare allocation", [none], [{**BASE, "allocs_op": "0.0001"}], 0)
        # One bad row among good ones, and rows that came and went.
        other = {**BASE, "case": "other"}
        wrong += check("second row", [BASE, other], [BASE, {**other, "MB_s": "500"}], 1)
        wrong += check("gone and new", [BASE, other], [BASE, {**other, "case": "third"}], 0)
        old.write_text("a,b\n1,2\n")
        write(new, [BASE])
        done = subprocess.run([sys.executable, compare, old, new], capture_output=True, check=False)
        if done.returncode != 2:
            print(f"a file that is no table: exit code {done.returncode}, not 2")
            wrong += 1
    print(f"{len(CASES) + 5} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
