#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the tests that client libraries bring along, and ask of Weir what Apache Kafka does.

    upstream.py --built CLIENT=FOLDER... [--client CLIENT]... [TEST]...
    upstream.py --built CLIENT=FOLDER... [--client CLIENT]... --kafka [--rounds N] [TEST]...

Without --kafka: a fresh Weir for each client; each test that CLIENT.list names has to pass, but for
those of missing.list, which says why.
With --kafka: a fresh Apache Kafka for each of N rounds, and every test there is; CLIENT.list
becomes those that passed in all rounds. With TEST only tests of this name run, and no list is
written.

A test that fails runs a second time, alone: their deadlines are their own, and short.
"""
import argparse
import collections
import concurrent.futures
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.dont_write_bytecode = True

from broker import Broker, skip  # noqa: E402 (the path comes first)

PORT = 9092
KAFKA_VERSION = "4.1.1"
ADVERTISED = f"advertised.listeners=PLAINTEXT://localhost:{PORT}"
# Tests mostly wait: for groups, for time-outs that have to pass.
JOBS = 4
TEST_S_MAX = 120
LINES_SHOWN = 25
OWN_NETWORK = "WEIR_UPSTREAM_OWN_NETWORK"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


class KafkaGo:
    """Test programs of `go test -c`, one a package; subtests count one by one."""

    name = "kafka-go"
    needs = "go"
    # What its own set-up has, less the listener with SASL and the authorizer.
    settings = ["message.max.bytes=200000000", "group.initial.rebalance.delay.ms=0"]
    environment = {"KAFKA_VERSION": KAFKA_VERSION, "KAFKA_SKIP_NETTEST": "1"}
    # Their subtests wait long and do not build on each other, as some do.
    apart = ("TestReaderConsumerGroup", "TestWriter")

    def __init__(self, folder):
        source = folder / "source"
        self.programs = {name: source / package / "upstream.test" for name, package in
                         (("kafka", "."), ("compress", "compress"), ("topics", "topics"))}

    def tests(self, program):
        return self.output(program, "-test.list", "^Test").split()

    def output(self, program, *arguments):
        path = self.programs[program]
        return run_program([path, *arguments], path.parent, self.environment)[1]

    def job(self, test):
        """What of a listed test's name is run in one go: the test, or one subtest of it."""
        return "/".join(test.split("/")[:2]) if top(test) in self.apart else top(test)

    def run(self, program, test):
        """The tests that passed, parents of others left out, and the output."""
        pattern = "/".join(f"^{re.escape(part)}$" for part in test.split("/"))
        output = self.output(program, "-test.v", "-test.run", pattern,
                             f"-test.timeout={TEST_S_MAX}s")
        ended = re.findall(r"^\s*--- (PASS|FAIL|SKIP): (\S+) \(", output, re.M)
        parents = {name.rpartition("/")[0] for _, name in ended}
        return {name for word, name in ended if word == "PASS" and name not in parents}, output


class Rdkafka:
    """Test programs of `cargo test`, one a file."""

    name = "rdkafka"
    needs = "cargo and make"
    settings = ["node.id=0", "num.partitions=3", "group.initial.rebalance.delay.ms=0"]
    environment = {"KAFKA_VERSION": KAFKA_VERSION, "KAFKA_HOST": f"localhost:{PORT}"}

    def __init__(self, folder):
        self.folder = folder
        self.programs = {path.name: path for path in sorted((folder / "bin").iterdir())}

    def tests(self, program):
        lines = run_program([self.programs[program], "--list", "--format=terse"], self.folder,
                            self.environment)[1].splitlines()
        return [line.removesuffix(": test") for line in lines if line.endswith(": test")]

    @staticmethod
    def job(test):
        return test

    def run(self, program, test):
        code, output = run_program([self.programs[program], "--exact", test], self.folder,
                                   self.environment)
        # A name that no test has is no failure to the program.
        return {test} if code == 0 and "test result: ok. 1 passed" in output else set(), output


CLIENTS = (KafkaGo, Rdkafka)


def run_program(command, folder, environment):
    """Exit code (None: out of time) and output."""
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **environment},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        try:
            output = process.communicate(timeout=TEST_S_MAX + 10)[0]
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            output, code = process.communicate()[0], None
    return code, output.decode(errors="replace")


def read_list(name):
    """The lines of a list, split at spaces; its opening comment and empty lines are left out."""
    path = HERE / f"{name}.list"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line and not line.startswith("#")]


def write_list(name, pairs):
    text = "# SPDX-License-Identifier: Apache-2.0\n" \
           f"# What passes on Apache Kafka {KAFKA_VERSION}, by `run --client {name} --kafka`.\n"
    text += "".join(f"{program} {test}\n" for program, test in sorted(pairs))
    (HERE / f"{name}.list").write_text(text)


def own_network():
    """Goes on in a network of its own: whatever has the port on this machine is left alone."""
    if os.environ.get(OWN_NETWORK):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        return
    for how in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        try:
            if subprocess.run([*how, "true"], capture_output=True, check=False).returncode == 0:
                os.environ[OWN_NETWORK] = "1"
                os.execvp(how[0], [*how, sys.executable, *sys.argv])
        except FileNotFoundError:
            break


def need_port():
    try:
        socket.create_server(("127.0.0.1", PORT)).close()
    except OSError:
        skip(f"port {PORT}, which the tests ask for, is taken")


class Round:
    """Tests of one client against one fresh broker."""

    def __init__(self, client, kind):
        self.client = client
        self.broker = Broker(kind, PORT, [ADVERTISED, *client.settings])
        self.passed = set()
        self.outputs = {}
        self.first = {}  # those of tests that needed a second try
        self.seconds = collections.Counter()

    def one(self, job):
        """Runs one test with its subtests; what passed, as (program, test)."""
        started = time.monotonic()
        passed, output = self.client.run(*job)
        self.outputs[job] = output
        self.seconds[job] = time.monotonic() - started
        return {(job[0], name) for name in passed}

    def run(self, jobs, wanted=None):
        """`wanted`: job -> what it has to pass; where that is not known, anything. Says what is
        wrong with the broker."""
        try:
            self.broker.start()
            self.broker.wait_ready()
            with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
                for passed in pool.map(self.one, jobs):
                    self.passed |= passed
            passing = {(program, top(test)) for program, test in self.passed}
            again = [job for job in jobs
                     if (wanted[job] - self.passed if wanted else job not in passing)]
            self.first = {job: self.outputs[job] for job in again}
            for job in again:
                self.passed |= self.one(job)
            wrong = self.broker.stop()
            self.broker.failed = bool(wrong)
            return wrong
        finally:
            self.broker.close()


def by_job(client, pairs):
    jobs = collections.defaultdict(set)
    for program, test in pairs:
        jobs[program, client.job(test)].add((program, test))
    return jobs


def top(test):
    return test.partition("/")[0]


def is_named(options, test):
    return not options.tests or top(test) in options.tests


def show(client, job, output):
    print(f"--- {client.name} {' '.join(job)}, end of its output")
    print(*output.rstrip().splitlines()[-LINES_SHOWN:], sep="\n")


def check_weir(client, options):
    """Whether all that has to pass passes."""
    missing = {tuple(row[1:3]) for row in read_list("missing") if row[0] == client.name}
    wanted = {tuple(row) for row in read_list(client.name)} - missing
    wanted = {pair for pair in wanted if is_named(options, pair[1])}
    jobs = by_job(client, wanted)
    started = time.monotonic()
    this = Round(client, "weir")
    wrong = this.run(sorted(jobs), jobs)
    failed = by_job(client, wanted - this.passed)
    for job, output in sorted(this.first.items()):
        show(client, job, output)
        if job in failed:
            show(client, job, this.outputs[job])
        else:
            print("passed at the second try:", client.name, *job)
    for pair in sorted(set().union(*failed.values())):
        print("FAILED", client.name, *pair)
    for sentence in wrong:
        print("FAILED", client.name, sentence)
    print(f"{client.name}: {len(wanted & this.passed)} of {len(wanted)} passed, "
          f"{time.monotonic() - started:.0f} s", flush=True)
    return not failed and not wrong


def ask_kafka(client, options):
    """Writes the list of those that always pass."""
    jobs = [(program, test) for program in client.programs for test in client.tests(program)
            if is_named(options, test)]
    rounds = []
    for number in range(options.rounds):
        started = time.monotonic()
        this = Round(client, "kafka")
        for sentence in this.run(jobs):
            print(f"round {number + 1}: {sentence}")
        print(f"{client.name}: round {number + 1}, {len(this.passed)} passed, "
              f"{time.monotonic() - started:.0f} s", flush=True)
        rounds.append(this)
    always = set.intersection(*(this.passed for this in rounds))
    passing = {(program, top(test)) for program, test in always}
    for job in jobs:
        if job not in passing:
            show(client, job, rounds[-1].outputs[job])
    for pair in sorted(set.union(*(this.passed for this in rounds)) - always):
        print("sometimes:", *pair)
    for job, seconds in rounds[-1].seconds.most_common(10):
        print(f"{seconds:6.1f} s {' '.join(job)}")
    if not options.tests:
        write_list(client.name, always)
    return bool(always)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", action="append", default=[], metavar="CLIENT=FOLDER")
    parser.add_argument("--client", action="append", choices=[client.name for client in CLIENTS])
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("tests", nargs="*", metavar="TEST")
    options = parser.parse_args()
    built = dict(pair.split("=", 1) for pair in options.built)
    chosen = [client for client in CLIENTS if not options.client or client.name in options.client]
    # A test runner's time-out sends SIGTERM: unwind, so that no broker is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    own_network()
    need_port()
    work = ask_kafka if options.kafka else check_weir
    results = [work(client(pathlib.Path(built[client.name])), options) for client in chosen
               if client.name in built]
    if not all(results):
        return 1
    for client in chosen:
        if client.name not in built:
            skip(f"{client.needs} for {client.name} is not installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
