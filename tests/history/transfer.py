#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exactly once: records are copied inside transactions while the broker is killed.

    transfer.py [--records 40000] [--kills 4] [--clients librdkafka,java] [--seed N] [--kafka]

Each client reads its own input topic as a group, writes to its own output topic and commits the
offsets with the transaction; some transactions are aborted and done again. What a read_committed
consumer finds in the output at the end must be the input: every record, once, in order within its
partition of the input.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "clients/lib"))

from confluent_kafka import (OFFSET_BEGINNING, Consumer, KafkaError,  # noqa: E402
                             KafkaException, Producer, TopicPartition)
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

from broker import Broker, free_port  # noqa: E402 (the path comes first)

PARTITION_COUNT = 2
BATCH = 200
WAIT_S = 60
COPY_S_MIN = 240  # and 10 ms for each record
PAUSE_S = {"weir": (0.3, 1.5), "kafka": (4, 7)}
# No rebootstrap: librdkafka 2.16 then sends a group's offsets to the broker object it has just
# given up, and waits for ever.
COMMON = {"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "log_level": 0,
          "metadata.recovery.strategy": "none"}


def input_topic(client):
    return f"copy-in-{client}"


def output_topic(client):
    return f"copy-out-{client}"


def fill(bootstrap, client, count):
    """Record i of a partition has the value "partition i"."""
    producer = Producer({"bootstrap.servers": bootstrap, **COMMON, "linger.ms": 5,
                         "enable.idempotence": True, "queue.buffering.max.messages": 1000000})
    for i in range(count):
        partition = i % PARTITION_COUNT
        producer.produce(input_topic(client), f"{partition} {i // PARTITION_COUNT}",
                         partition=partition)
        producer.poll(0)
    if producer.flush(WAIT_S):
        raise RuntimeError("the input could not be written")


class LibrdkafkaCopier(threading.Thread):
    """Begins anew after every error that it may not go on from."""

    def __init__(self, bootstrap, count, seed):
        super().__init__(daemon=True)
        self.bootstrap, self.count = bootstrap, count
        self.random = random.Random(seed)
        self.restarts = self.aborts = 0
        self.problem = None
        self.given_up = threading.Event()

    def run(self):
        try:
            while not self.given_up.is_set():
                try:
                    if self.copy():
                        return
                except KafkaException as problem:
                    if problem.args[0].code() == KafkaError._FATAL:
                        raise
                self.restarts += 1
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem

    def copy(self):
        """True when the group has committed all of the input."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, **COMMON,
                             "group.id": "copy-librdkafka", "auto.offset.reset": "earliest",
                             "enable.auto.commit": False, "session.timeout.ms": 6000,
                             "isolation.level": "read_committed"})
        producer = Producer({"bootstrap.servers": self.bootstrap, **COMMON,
                             "transactional.id": "copy-librdkafka", "linger.ms": 1,
                             "transaction.timeout.ms": 20000})
        try:
            producer.init_transactions(WAIT_S)
            consumer.subscribe([input_topic("librdkafka")])
            while not self.given_up.is_set():
                messages = [m for m in consumer.consume(BATCH, 0.5) if m.error() is None]
                if not messages and self.is_done(consumer):
                    return True
                if messages:
                    self.transact(consumer, producer, messages)
            return False
        finally:
            consumer.close()

    def is_done(self, consumer):
        parts = [TopicPartition(input_topic("librdkafka"), i) for i in range(PARTITION_COUNT)]
        return sum(max(p.offset, 0) for p in consumer.committed(parts, WAIT_S)) >= self.count

    def transact(self, consumer, producer, messages):
        producer.begin_transaction()
        for message in messages:
            producer.produce(output_topic("librdkafka"), message.value(),
                             partition=message.partition())
        try:
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata(),
                WAIT_S)
            if self.random.randrange(100) < 10:
                self.aborts += 1
                producer.abort_transaction(WAIT_S)
                self.rewind(consumer)
            else:
                producer.commit_transaction(WAIT_S)
        except KafkaException as problem:
            if not problem.args[0].txn_requires_abort():
                raise
            producer.abort_transaction(WAIT_S)
            self.rewind(consumer)

    @staticmethod
    def rewind(consumer):
        for item in consumer.committed(consumer.assignment(), WAIT_S):
            consumer.seek(TopicPartition(item.topic, item.partition,
                                         item.offset if item.offset >= 0 else OFFSET_BEGINNING))


class JavaCopier(threading.Thread):
    """Kafka's own TransactionalMessageCopier, started again for as long as it is not through."""

    def __init__(self, bootstrap, count, _seed):
        super().__init__(daemon=True)
        self.bootstrap, self.count = bootstrap, count
        self.restarts = self.aborts = 0
        self.problem = None
        self.process = None
        self.given_up = threading.Event()

    def run(self):
        class_path = subprocess.run([HERE.parent / "clients/lib/kafka-broker", "classpath"],
                                    check=True, capture_output=True, text=True).stdout.strip()
        config = HERE.parent / "clients/lib/kafka/log4j2.xml"
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                   f"-Dlog4j2.configurationFile={config}", "-Dweir.log=ERROR", "-cp", class_path,
                   "org.apache.kafka.tools.TransactionalMessageCopier",
                   "--broker-list", self.bootstrap, "--input-topic", input_topic("java"),
                   "--input-partition", "0", "--output-topic", output_topic("java"),
                   "--consumer-group", "copy-java", "--transactional-id", "copy-java",
                   "--transaction-size", str(BATCH), "--transaction-timeout", "20000",
                   "--group-mode", "--use-group-metadata", "--enable-random-aborts"]
        while not self.given_up.is_set():
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT, text=True)
            text, _ = self.process.communicate()
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            if self.process.returncode == 0 and lines and lines[-1].get("remaining") == 0:
                return
            self.restarts += 1
            if self.restarts > 40:
                self.problem = text[-600:]
                return


COPIERS = {"librdkafka": LibrdkafkaCopier, "java": JavaCopier}


def compare(bootstrap, client, count):
    """Sentences about what the output has that the input had not, and the other way round."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **COMMON, "group.id": "unused",
                         "auto.offset.reset": "earliest", "isolation.level": "read_committed",
                         "enable.partition.eof": True, "enable.auto.commit": False})
    consumer.assign([TopicPartition(output_topic(client), i, OFFSET_BEGINNING)
                     for i in range(PARTITION_COUNT)])
    found, ended = [[] for _ in range(PARTITION_COUNT)], set()
    deadline = time.monotonic() + WAIT_S
    while len(ended) < PARTITION_COUNT and time.monotonic() < deadline:
        for message in consumer.consume(2000, 0.5):
            if message.error() is None:
                partition, number = message.value().split()
                found[int(partition)].append(int(number))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    if len(ended) < PARTITION_COUNT:
        return [f"{client}: the end of the output was not reached"]
    wrong = []
    for partition, numbers in enumerate(found):
        expected = len(range(partition, count, PARTITION_COUNT))
        # Kafka's tool spreads the output over its partitions: only there order is not kept.
        numbers = sorted(numbers) if client == "java" else numbers
        if numbers != list(range(expected)):
            missing = set(range(expected)) - set(numbers)
            wrong.append(f"{client}: partition {partition}: {len(numbers)} records where "
                         f"{expected} were due, {len(missing)} missing, "
                         f"{len(numbers) - len(set(numbers))} twice")
    return wrong


def kill_again_and_again(options, broker, copiers):
    chance = random.Random(options.seed)
    limit_s = max(COPY_S_MIN, options.records / 100)
    deadline = time.monotonic() + limit_s
    kills = 0
    while any(copier.is_alive() for copier in copiers.values()):
        if time.monotonic() > deadline:
            for copier in copiers.values():
                copier.given_up.set()
            alive = [name for name, copier in copiers.items() if copier.is_alive()]
            raise RuntimeError(f"{alive} not through after {limit_s:.0f} s")
        time.sleep(chance.uniform(*PAUSE_S[broker.kind]))
        if kills < options.kills:
            broker.kill()
            broker.start()
            broker.wait_ready()
            kills += 1
    return kills


def run(options, broker):
    broker.start()
    bootstrap = broker.wait_ready()
    names = options.clients.split(",")
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = [NewTopic(make(name), PARTITION_COUNT, 1) for name in names
              for make in (input_topic, output_topic)]
    for made in admin.create_topics(topics).values():
        made.result(WAIT_S)
    for name in names:
        fill(bootstrap, name, options.records)
    copiers = {name: COPIERS[name](bootstrap, options.records, options.seed) for name in names}
    began = time.monotonic()
    for copier in copiers.values():
        copier.start()
    kills = kill_again_and_again(options, broker, copiers)
    wrong = []
    for name, copier in copiers.items():
        print(f"{name}: {options.records} records, begun anew {copier.restarts} times, "
              f"{copier.aborts} aborts of its own")
        if copier.problem:
            wrong.append(f"{name}: {copier.problem}")
        wrong += compare(bootstrap, name, options.records)
    print(f"{kills} kills, {time.monotonic() - began:.0f} s")
    if kills < options.kills:
        wrong.append(f"through after {kills} of {options.kills} kills: too few records")
    return wrong + broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=40000)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--clients", default="librdkafka,java")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    kind = "kafka" if options.kafka else "weir"
    broker = Broker(kind, free_port(), ["group.initial.rebalance.delay.ms=0"])
    try:
        wrong = run(options, broker)
        broker.failed = bool(wrong)
    except (RuntimeError, OSError, KafkaException) as problem:
        wrong = [f"{type(problem).__name__}: {problem}"]
    finally:
        broker.close()
    for sentence in wrong:
        print(f"FAILED {sentence} (seed {options.seed})")
    sys.stdout.flush()
    os._exit(1 if wrong else 0)  # a copier may still wait for a broker that is gone


if __name__ == "__main__":
    main()
