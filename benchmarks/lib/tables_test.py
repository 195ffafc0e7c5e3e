#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tables_test.py TABLES: the tables of tables.csv are those of tables_expected.md, and there is no
row among them that could go without a trace.

tables.csv has rows of every layout as the suites printed them, two files one behind the other, a
row that was measured again, anchors before and behind theirs, an anchor whose figure others share,
and planted rows that no layout knows. With --write the second file is made anew after a change of
layout.
"""
import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
CSV, EXPECTED = FOLDER / "tables.csv", FOLDER / "tables_expected.md"


def load(path):
    """The program as a module: it is called once for each row."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("tables", path)
    spec = importlib.util.spec_from_loader("tables", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def text_of(tables, path):
    return "\n".join(tables.suite_text(suite, rows, None)
                     for suite, rows in tables.read(path).items())


def lost(tables, folder):
    """Rows that can be left out of their suite with no change of its tables."""
    header, *lines = CSV.read_text(encoding="utf-8").splitlines()
    path = pathlib.Path(folder, "less.csv")

    def text(rows):
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return text_of(tables, path)

    suites = {}
    for line in lines:
        if line != header:
            suites.setdefault(line.split(",")[0], []).append(line)
    for rows in suites.values():
        whole = text(rows)
        for i, line in enumerate(rows):
            # Of a row of Go the row beside it tells the figure.
            if line.split(",")[1] != "go" and text(rows[:i] + rows[i + 1:]) == whole:
                yield line


def main():
    tables = load(sys.argv[1])
    if "--write" in sys.argv:
        EXPECTED.write_text(text_of(tables, CSV), encoding="utf-8")
        return 0
    wrong = []
    with contextlib.redirect_stdout(io.StringIO()) as found:
        sys.argv = [sys.argv[0], str(CSV)]
        if tables.main() != 0:
            wrong.append("the exit code is not 0")
    expected = EXPECTED.read_text(encoding="utf-8").splitlines()
    for want, line in zip(expected + [""], found.getvalue().splitlines() + [""]):
        if want != line:
            wrong.append(f"expected: {want}\nfound:    {line}")
            break
    with tempfile.TemporaryDirectory() as folder:
        wrong += [f"leaves no trace: {line}" for line in lost(tables, folder)]
        other = pathlib.Path(folder, "other.csv")
        other.write_text("a,b\n1,2\n", encoding="utf-8")
        for arguments in ([str(other)], [str(CSV), "--suite", "002_none"]):
            done = subprocess.run([sys.executable, tables.__file__, *arguments],
                                  capture_output=True, check=False)
            if done.returncode != 2:
                wrong.append(f"{arguments}: exit code {done.returncode}, not 2")
    print("\n".join(wrong) or f"{len(expected)} lines as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
