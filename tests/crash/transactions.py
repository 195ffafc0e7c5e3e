#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill the broker while transactions of every state are under way; what was promised must hold.

    transactions.py [--cycles 8] [--seconds 60] [--seed N] [--kafka]

Producers write transactions over all partitions and commit or abort them; a copier moves records
from one topic to another with its offsets in the same transactions. The broker gets SIGKILL at a
random moment and is started again on the same data; the same clients go on. In the end:

  T1  every record of a transaction whose commit was answered is read under read_committed, once
  T2  no record of a transaction whose abort was answered is
  T3  of a transaction whose outcome nobody was told, all records are or none
  T4  the copier's target holds each record of the source once, in order
  T5  nothing is left open: the last stable offset is the high watermark
"""
import argparse
import collections
import functools
import pathlib
import random
import signal
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients/lib"))

from broker import Broker, free_port  # noqa: E402 (the path comes first)

TOPIC, SOURCE, TARGET = "crash", "crash-source", "crash-target"
PARTITION_COUNT = 4
SOURCE_COUNT = 4000
COPY_SIZE = 5
WAIT_S = 60
CALL_S = 5
STUCK_S = 8
LOAD_S = {"weir": (0.1, 3.0), "kafka": (2.0, 5.0)}
WRITER_COUNT = 3
CLIENT = {"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
          "log_level": 0}


class Violation(Exception):
    """A promise that was broken; the message names it."""


class Stuck(Exception):
    """The client library does not come back: librdkafka 2.16 loses a TxnOffsetCommit, timeout and
    all, whose group coordinator goes away between AddOffsetsToTxn and FindCoordinator."""


def bounded(call):
    """Runs it in a thread that may be left behind."""
    outcome = []

    def run():
        try:
            call()
            outcome.append(None)
        except KafkaException as problem:
            outcome.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(STUCK_S)
    if not outcome:
        raise Stuck
    if outcome[0] is not None:
        raise outcome[0]


class Worker(threading.Thread):
    """Transactions of one id, one after the other, until `running` is cleared for good."""

    def __init__(self, name, bootstrap, seed, ended):
        super().__init__(name=name, daemon=True)
        self.bootstrap = bootstrap
        self.random = random.Random(f"{seed} {name}")
        self.ended = ended
        self.problem = None
        self.producer = None
        self.fatal_count = 0

    def renew(self):
        """A producer whose last transaction, if any was open, is fenced."""
        self.producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0,
                                  "transactional.id": self.name, **CLIENT})
        while True:
            try:
                self.producer.init_transactions(CALL_S)
                return
            except KafkaException as problem:
                if not problem.args[0].retriable():
                    raise

    def finish(self, commit):
        """True when the broker has said so; False when the outcome is not known."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                if commit:
                    self.producer.commit_transaction(CALL_S)
                else:
                    self.producer.abort_transaction(CALL_S)
                return True
            except KafkaException as problem:
                error = problem.args[0]
                if error.retriable() and time.monotonic() < deadline:
                    continue
                if error.txn_requires_abort():
                    self.abandon()
                else:
                    self.renew()
                return False

    def abandon(self):
        if not self.finish(False):
            self.fatal_count += 1

    def run(self):
        try:
            self.renew()
            while not self.ended.is_set():
                self.turn()
            self.renew()  # ends what is open
        except (KafkaException, Violation) as problem:
            self.problem = f"{type(problem).__name__}: {problem}"


class Writer(Worker):
    """Remembers of each transaction how many records it has, and its outcome."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.counts = {}
        self.outcomes = {}  # number: "committed", "aborted", "unknown"

    def turn(self):
        number = len(self.counts)
        count = self.random.randrange(1, 12)
        self.counts[number] = count
        self.outcomes[number] = "unknown"
        self.producer.begin_transaction()
        try:
            for index in range(count):
                self.producer.produce(TOPIC, f"{self.name} {number} {index}".encode(),
                                      partition=self.random.randrange(PARTITION_COUNT))
            if self.random.randrange(2):
                self.producer.flush(WAIT_S)
        except KafkaException as problem:
            if problem.args[0].fatal():
                self.renew()
                self.outcomes[number] = "aborted"
                return
        commit = self.random.randrange(3) > 0
        if self.finish(commit):
            self.outcomes[number] = "committed" if commit else "aborted"


class Copier(Worker):
    """Reads from what is committed, always: a lost answer must not lose or double a record."""

    def renew(self):
        super().renew()
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "copier",
                             "isolation.level": "read_committed", "enable.auto.commit": False,
                             **CLIENT})
        place = TopicPartition(SOURCE, 0)
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                [place] = consumer.committed([place], CALL_S)
                break
            except KafkaException as problem:
                if not problem.args[0].retriable() or time.monotonic() > deadline:
                    raise
        self.consumer = consumer
        self.position = max(place.offset, 0)
        consumer.assign([TopicPartition(SOURCE, 0, self.position)])

    def turn(self):
        records = [record for record in self.consumer.consume(COPY_SIZE, 0.2)
                   if record.error() is None]
        if not records:
            return
        self.producer.begin_transaction()
        try:
            for record in records:
                self.producer.produce(TARGET, record.value(), partition=0)
            next_place = TopicPartition(SOURCE, 0, records[-1].offset() + 1)
            group = self.consumer.consumer_group_metadata()
            bounded(functools.partial(self.producer.send_offsets_to_transaction, [next_place],
                                      group, CALL_S))
            done = self.finish(self.random.randrange(4) > 0)
        except (KafkaException, Stuck):
            done = False
        if not done or self.random.randrange(4) == 0:
            self.renew()
            return
        [place] = self.consumer.committed([TopicPartition(SOURCE, 0)], WAIT_S)
        if place.offset != next_place.offset:  # aborted: from there again
            self.renew()


def read(bootstrap, topic, partition_count, isolation):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "check.crcs": True,
                         "isolation.level": isolation, "enable.auto.commit": False,
                         "enable.partition.eof": True, "fetch.wait.max.ms": 20, **CLIENT})
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING)
                     for index in range(partition_count)])
    values = [[] for _ in range(partition_count)]
    ended = set()
    deadline = time.monotonic() + WAIT_S
    while len(ended) < partition_count:
        if time.monotonic() > deadline:
            raise Violation(f"{topic}: the end is not reached under {isolation}")
        for record in consumer.consume(10000, 0.2):
            if record.error() is not None:
                ended.add(record.partition())
            else:
                values[record.partition()].append(record.value().decode())
    consumer.close()
    return values


def check_writer(writer, seen):
    for number, count in writer.counts.items():
        found = seen[(writer.name, number)]
        outcome = writer.outcomes[number]
        if len(set(found)) != len(found):
            raise Violation(f"T1: {writer.name} {number}: a record is there twice")
        if outcome == "committed" and len(found) != count:
            raise Violation(f"T1: {writer.name} {number}: {len(found)} of {count} records")
        if outcome == "aborted" and found:
            raise Violation(f"T2: {writer.name} {number}: {len(found)} records are visible")
        if len(found) not in (0, count):
            raise Violation(f"T3: {writer.name} {number}: {len(found)} of {count} records")


def check_settled(bootstrap):
    """T5: with every transaction decided, both isolations end at the same offset."""
    ends = []
    for isolation in ("read_committed", "read_uncommitted"):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused",
                             "isolation.level": isolation, **CLIENT})
        ends.append([consumer.get_watermark_offsets(TopicPartition(TOPIC, index), WAIT_S)[1]
                     for index in range(PARTITION_COUNT)])
        consumer.close()
    return ends[0] == ends[1]


def verify(bootstrap, writers):
    deadline = time.monotonic() + WAIT_S
    while not check_settled(bootstrap):  # the last markers are on their way
        if time.monotonic() > deadline:
            raise Violation("T5: the last stable offset stays behind the high watermark")
        time.sleep(0.05)
    seen = collections.defaultdict(list)
    for log in read(bootstrap, TOPIC, PARTITION_COUNT, "read_committed"):
        for value in log:
            name, number, index = value.split()
            seen[(name, int(number))].append(index)
    for writer in writers:
        check_writer(writer, seen)
    [copied] = read(bootstrap, TARGET, 1, "read_committed")
    expected = [f"{index:06}" for index in range(len(copied))]
    if copied != expected:
        wrong = next(i for i, value in enumerate(copied) if value != expected[i])
        raise Violation(f"T4: {copied[wrong]} stands where {expected[wrong]} was due")
    return len(copied)


def prepare(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = [NewTopic(TOPIC, PARTITION_COUNT, 1), NewTopic(SOURCE, 1, 1), NewTopic(TARGET, 1, 1)]
    for created in admin.create_topics(topics).values():
        created.result(WAIT_S)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **CLIENT})
    for index in range(SOURCE_COUNT):
        producer.produce(SOURCE, f"{index:06}".encode(), partition=0)
    producer.flush(WAIT_S)


def run(options, broker, port):
    chance = random.Random(options.seed)
    began = time.monotonic()
    broker.start()
    prepare(broker.wait_ready())
    ended = threading.Event()
    address = f"127.0.0.1:{port}"
    writers = [Writer(f"writer-{i}", address, options.seed, ended) for i in range(WRITER_COUNT)]
    workers = [*writers, Copier("copier", address, options.seed, ended)]
    for worker in workers:
        worker.start()
    for cycle in range(options.cycles):
        if time.monotonic() - began > options.seconds:
            print(f"{options.cycles - cycle} cycles left out after {options.seconds} s")
            break
        time.sleep(chance.uniform(*LOAD_S[broker.kind]))
        if broker.process.poll() is not None:
            raise Violation(f"the broker ended by itself, code {broker.process.returncode}")
        broker.kill()
        broker.start()
        broker.wait_ready()
        print(f"cycle {cycle + 1}: {sum(len(w.counts) for w in writers)} transactions", flush=True)
    time.sleep(chance.uniform(*LOAD_S[broker.kind]))
    ended.set()
    for worker in workers:
        worker.join(2 * WAIT_S)
        if worker.is_alive() or worker.problem is not None:
            raise Violation(f"{worker.name}: {worker.problem or 'hangs'}")
    copied = verify(address, writers)
    outcomes = collections.Counter(o for w in writers for o in w.outcomes.values())
    print(f"{dict(outcomes)}, {copied} of {SOURCE_COUNT} records copied")
    if not outcomes["committed"] or not copied:
        raise Violation("nothing was committed")
    return broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    port = free_port()
    broker = Broker("kafka" if options.kafka else "weir", port)
    try:
        wrong = run(options, broker, port)
        broker.failed = bool(wrong)
    except (Violation, RuntimeError, OSError, KafkaException) as problem:
        wrong = [f"{type(problem).__name__}: {problem}"]
    finally:
        broker.close()
    for sentence in wrong:
        print(f"FAILED {sentence} (seed {options.seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
