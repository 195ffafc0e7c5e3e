#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build Weir and run its test suites, each inside its budget of seconds.

    suites.py [--quick | --long] [--suite NAME]...

Called by scripts/test, which installs what is missing first. Prints a line for each suite, the end
of the log of each test that failed, and as its last line "N passed, N failed, N skipped". A suite
that passes its budget is ended, and what did not finish counts as failed. Build folders are reused.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOG_LINES_SHOWN = 40
SKIPPED = 77
LONG_FACTOR = 10
STOP_S = 15

# Folder, then what meson setup is told and the compiler. The slow checks run where the sanitizers
# do: the release build has to be the one that ships. Warnings are errors there alone: what GCC
# believes about ranges changes with sanitizers and levels, and would fail code that is right.
SANITIZED = ["--buildtype=debugoptimized", "-Doptimization=1", "-Dwerror=false"]
CXX = {"gcc": "g++", "clang-14": "clang++-14"}
BUILDS = {
    "release": ("build", ["--buildtype=release"], "gcc"),
    "asan": ("build-asan", SANITIZED + ["-Dcheck_slow=true", "-Db_sanitize=address,undefined"],
             "gcc"),
    "tsan": ("build-tsan", SANITIZED + ["-Db_sanitize=thread"], "gcc"),
    "fuzz": ("build-fuzz", SANITIZED + ["-Dcheck_slow=true", "-Db_sanitize=address,undefined",
                                        "-Dfuzz=true", "-Db_lundef=false",
                                        "-Dc_args=-fsanitize=fuzzer-no-link"], "clang-14"),
}

# Seconds on two cores. "fast" is style, unit, wire and the quick round trip together.
BUDGETS = {"build": 600, "fast": 120, "sim": 300, "crash": 240, "clients": 600, "asan": 300,
           "tsan": 60, "fuzz": 120}

# Suite: budget, build, labels of its tests in meson, factor on the tests' own time-outs.
SUITES = {
    "style": ("fast", "release", ["style"], 1),
    "unit": ("fast", "release", ["unit"], 1),
    "wire": ("fast", "release", ["wire"], 1),
    "sim": ("sim", "release", ["sim"], 1),
    "crash": ("crash", "release", ["crash"], 1),
    "asan": ("asan", "asan", ["unit", "sim", "wire"], 3),
    "tsan": ("tsan", "tsan", ["tsan"], 5),
    "fuzz": ("fuzz", "fuzz", ["fuzz"], 3),
    "clients": ("clients", "release", ["clients"], 1),
}
QUICK = ["style", "unit", "wire"]

# The fake stack that finds use after return stays off: on it GCC 12 gives objects that want 64
# bytes of alignment less (its PR 110027), and a mailbox is such an object.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Outcome:
    """The count of one suite, and what to show of its failures: (name, text)."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def fail(self, name, text):
        self.failed += 1
        self.failures.append((name, text))

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Budgets:
    """Seconds left of each budget."""

    def __init__(self, factor):
        self.left = {name: seconds * factor for name, seconds in BUDGETS.items()}
        self.whole = dict(self.left)

    def take(self, name, seconds):
        self.left[name] = max(0.0, self.left[name] - seconds)


def run(command, seconds, **environment):
    """Exit code (None: out of time) and output. Ends the whole process group when out of time."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **SANITIZER_ENV, **environment})
        try:
            code = process.wait(timeout=max(0.1, seconds))
        except subprocess.TimeoutExpired:
            code = None
            # SIGTERM first: meson then ends its tests, which run in groups of their own.
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(timeout=STOP_S)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
        log.seek(0)
        return code, log.read().decode(errors="replace")


def tail(text, count=LOG_LINES_SHOWN):
    return "\n".join(text.rstrip().splitlines()[-count:])


def introspect(folder, what):
    """What meson knows of a configured folder; nothing when it is not configured."""
    path = ROOT / folder / f"meson-info/intro-{what}.json"
    return json.loads(path.read_text()) if path.exists() else []


def planned(folder, labels):
    """The tests of a folder that carry one of the labels."""
    wanted = {f"weir:{label}" for label in labels}
    return [test for test in introspect(folder, "tests") if wanted & set(test["suite"])]


def fuzz_programs():
    return {target["name"]: target["filename"][0]
            for target in introspect(BUILDS["fuzz"][0], "targets")
            if target["type"] == "executable" and target["name"].startswith("fuzz_")}


def ninja_targets(name):
    """What ninja has to make: all of release, elsewhere only what the build's suites run."""
    if name == "release":
        return []
    folder = ROOT / BUILDS[name][0]
    needed = {target for _, build_name, labels, _ in SUITES.values() if build_name == name
              for test in planned(folder, labels) for target in test["depends"]}
    files = [path for target in introspect(folder, "targets") if target["id"] in needed
             for path in target["filename"]]
    if name == "fuzz":
        files += fuzz_programs().values()
    return [os.path.relpath(path, folder) for path in files]


def build(name, seconds):
    """None, or why it failed."""
    folder, options, compiler = BUILDS[name]
    started = time.monotonic()
    setup = ["meson", "setup", str(ROOT / folder), str(ROOT)]
    if not (ROOT / folder / "build.ninja").exists():
        code, output = run(setup + options, seconds, CC=compiler, CXX=CXX[compiler])
        if code != 0:
            return tail(output)
    else:
        # scripts/run configures without the test library; by now it is installed.
        known = ROOT / folder / "meson-info/intro-dependencies.json"
        if '"cmocka"' not in known.read_text():
            run(setup + ["--reconfigure"], seconds, CC=compiler, CXX=CXX[compiler])
    code, output = run(["ninja", "-C", folder, *ninja_targets(name)],
                       seconds - (time.monotonic() - started))
    if code is None:
        return tail(output, 5) + f"\nout of time after {seconds:.0f} s"
    return None if code == 0 else tail(output)


def record(outcome, row):
    result = row["result"]
    if result in ("OK", "EXPECTEDFAIL"):
        outcome.passed += 1
    elif result == "SKIP":
        outcome.skipped += 1
    else:
        text = f"{row.get('stdout') or ''}\n{row.get('stderr') or ''}"
        outcome.fail(row["name"], f"{result}, code {row.get('returncode')}\n{tail(text)}")


def meson_tests(suite, seconds, long):
    """Run the tests of one suite and count them one by one."""
    _, build_name, labels, factor = SUITES[suite]
    folder = BUILDS[build_name][0]
    outcome = Outcome()
    tests = planned(folder, labels)
    if not tests:
        return outcome
    log = ROOT / folder / f"meson-logs/{suite}.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--logbase", suite,
               "--timeout-multiplier", str(factor * (LONG_FACTOR if long else 1))]
    for label in labels:
        command += ["--suite", label]
    # The thread sanitizer of GCC 12 wants a fixed address space where the kernel spreads it wide.
    fixed = ["setarch", "-R"]
    if suite == "tsan" and subprocess.run(fixed + ["true"], check=False).returncode == 0:
        command = fixed + command
    code, output = run(command, seconds, **({"WEIR_LONG": "1"} if long else {}))
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for row in rows:
        record(outcome, row)
    missing = len(tests) - len(rows)
    if missing > 0:
        why = f"out of time after {seconds:.0f} s" if code is None else tail(output)
        outcome.fail(suite, f"{missing} of {len(tests)} tests did not run: {why}")
        outcome.failed += missing - 1
    return outcome


def fuzz(programs, seconds):
    """Every harness for an equal share of the time, two at once, from its corpus."""
    outcome = Outcome()
    jobs = min(2, os.cpu_count() or 1)
    share = int(seconds * jobs / max(1, len(programs)))
    crashes = ROOT / BUILDS["fuzz"][0] / "crashes"
    crashes.mkdir(exist_ok=True)

    def one(item):
        name, program = item
        corpus = ROOT / "tests/fuzz/corpus" / name.removeprefix("fuzz_")
        with tempfile.TemporaryDirectory() as found:
            command = [program, found] + ([str(corpus)] if corpus.is_dir() else [])
            command += [f"-max_total_time={max(1, share)}", "-timeout=10", "-rss_limit_mb=1024",
                        "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-"]
            return name, *run(command, share + 20)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, code, output in pool.map(one, programs.items()):
            if code == 0:
                outcome.passed += 1
            else:
                outcome.fail(name, f"code {code}; the input lies in {crashes.name}/ of the build "
                             f"folder\n{tail(output)}")
    return outcome


def run_suite(suite, seconds, long):
    started = time.monotonic()
    outcome = meson_tests(suite, seconds, long)
    if suite == "fuzz":
        programs = fuzz_programs()
        # What is over after the replays, less the time that starting and merging a corpus takes.
        left = seconds - (time.monotonic() - started) - 5 - 2 * len(programs)
        if programs:
            more = fuzz(programs, max(len(programs), left))
            outcome.add(more)
            outcome.failures += more.failures
    return outcome


def round_trip(seconds):
    outcome = Outcome()
    script = ROOT / "tests/clients/run-one"
    code, output = run([str(script), "kcat", "--quick"], seconds, WEIR=str(ROOT / "build/weir"))
    if code == 0:
        outcome.passed += 1
    elif code == SKIPPED:
        outcome.skipped += 1
    else:
        outcome.fail("kcat --quick", f"code {code}\n{tail(output)}")
    return outcome


class Session:
    """The lines on the screen and the sum of all suites."""

    def __init__(self, long):
        self.long = long
        self.total = Outcome()
        self.budgets = Budgets(LONG_FACTOR if long else 1)
        self.broken = set()

    def run(self, name, budget, work):
        started = time.monotonic()
        outcome = work(self.budgets.left[budget])
        seconds = time.monotonic() - started
        self.budgets.take(budget, seconds)
        self.total.add(outcome)
        print(f"{name:14} {seconds:6.1f} s of {self.budgets.whole[budget]:4.0f}  {outcome}")
        for test, text in outcome.failures:
            print(f"--- {name}: {test}: {text}")
        sys.stdout.flush()
        return outcome

    def build(self, name):
        def work(seconds):
            outcome = Outcome()
            problem = build(name, seconds)
            if problem is not None:
                outcome.fail(name, problem)
            return outcome
        if self.run(f"build {name}", "build", work).failed:
            self.broken.add(name)

    def suite(self, name):
        budget, build_name = SUITES[name][:2]
        if build_name not in self.broken:
            self.run(name, budget, lambda seconds: run_suite(name, seconds, self.long))


def empty(name):
    """No test carries the suite's labels: then its build is not worth its time either."""
    return not planned(BUILDS["release"][0], SUITES[name][2])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="style, unit, wire, one round trip")
    parser.add_argument("--long", action="store_true", help="ten times the work and the budgets")
    parser.add_argument("--suite", action="append", choices=list(SUITES), default=[])
    options = parser.parse_args()
    names = options.suite or (QUICK if options.quick else list(SUITES))
    session = Session(options.long)
    session.build("release")
    if "release" not in session.broken:
        wanted = dict.fromkeys(SUITES[name][1] for name in names if not empty(name))
        for name in wanted:
            if name != "release":
                session.build(name)
        for name in names:
            session.suite(name)
        if options.quick and not options.suite:
            session.run("round trip", "fast", round_trip)
    print(session.total, flush=True)
    return 1 if session.total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
