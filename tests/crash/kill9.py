#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill the broker under load, start it on the same data, and read what the clients were promised.

    kill9.py [--cycles 10] [--seconds 70] [--seed N] [--kafka]

Six producers, a connection each, write all the time: idempotent, acks=all and acks=1, plain and
compressed, several batches in flight. The broker gets SIGKILL at a random moment, now and then
again while it starts, and the same producers go on against its successor. After each start, with
every record either acknowledged or failed, all partitions are read:

  K1  offsets are dense from 0 to the high watermark
  K2  every acknowledged record lies at the offset of its acknowledgement
  K3  a record of an idempotent producer is there at most once, in the order of sending, and with
      K2 exactly once if it was acknowledged
  K4  what was readable before the kill is a prefix of what is readable now
  K5  a second read, after the page cache was dropped where that is permitted, gives the same bytes
"""
import argparse
import hashlib
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

TOPIC = "kill9"
PARTITION_COUNT = 4
WAIT_S = 60
LOAD_S = {"weir": (0.05, 2.0), "kafka": (0.5, 2.0)}
KILL_AT_START_PERCENT = {"weir": 30, "kafka": 0}
PRODUCERS = {
    "idempotent": {"enable.idempotence": True},
    "idempotent-lz4": {"enable.idempotence": True, "compression.type": "lz4"},
    "all": {"acks": "all"},
    "all-zstd": {"acks": "all", "compression.type": "zstd", "linger.ms": 20},
    "one": {"acks": 1},
    "one-single": {"acks": 1, "batch.num.messages": 1, "linger.ms": 0},
}


class Violation(Exception):
    """A promise that was broken; the message names it."""


def digest(value):
    return hashlib.blake2b(value, digest_size=12).digest()


class Writer(threading.Thread):
    """One producer: sends while `running` is set and remembers what it was told."""

    def __init__(self, name, bootstrap, seed, running):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(f"{seed} {name}")
        self.running = running
        self.ended = False
        self.acknowledged = {}  # (partition, offset): digest
        self.sent_count = 0
        self.failed_count = 0
        self.fatal = None
        self.idempotent = "enable.idempotence" in PRODUCERS[name]
        self.producer = Producer({
            "bootstrap.servers": bootstrap, "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "linger.ms": 1,
            "queue.buffering.max.messages": 3000, "message.timeout.ms": WAIT_S * 1000,
            "log_level": 0, "error_cb": self.on_error, **PRODUCERS[name]})

    def on_error(self, error):
        if error.fatal():
            self.fatal = error

    def on_delivery(self, error, message):
        if error is not None:
            self.failed_count += 1
            return
        where = (message.partition(), message.offset())
        if message.offset() < 0:
            self.fatal = "an acknowledgement without an offset"
        if where in self.acknowledged:
            self.fatal = f"two acknowledgements for {where}"
        self.acknowledged[where] = digest(message.value())

    def send(self):
        size = self.random.choice((10, 100, 100, 100, 1000, 1000, 8000))
        value = b"%s %d %s" % (self.name.encode(), self.sent_count,
                               self.random.randbytes(size // 2).hex().encode())
        try:
            self.producer.produce(TOPIC, value, partition=self.random.randrange(PARTITION_COUNT),
                                  on_delivery=self.on_delivery)
            self.sent_count += 1
        except BufferError:
            self.producer.poll(0.02)

    def run(self):
        try:
            while not self.ended and self.fatal is None:
                self.running.wait(0.1)
                if self.running.is_set():
                    for _ in range(4):
                        self.send()
                self.producer.poll(0.002)
        except KafkaException as problem:
            self.fatal = problem

    def settle(self):
        """Every record is acknowledged or failed. Nothing is sent meanwhile."""
        try:
            left = self.producer.flush(WAIT_S)
        except (KafkaException, SystemError) as problem:  # raised through a callback
            self.fatal = self.fatal or problem
        if self.fatal is not None:
            raise Violation(f"producer {self.name}: {self.fatal}")
        if left:
            raise Violation(f"producer {self.name}: {left} records without an answer")
        if len(self.acknowledged) + self.failed_count != self.sent_count:
            raise Violation(f"producer {self.name}: {self.sent_count} records sent, "
                            f"{len(self.acknowledged)} acknowledged, {self.failed_count} failed")


def read_all(bootstrap):
    """Per partition the values in offset order, each checked for K1."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "check.crcs": True,
                         "enable.auto.commit": False, "auto.offset.reset": "error",
                         "fetch.wait.max.ms": 20, "log_level": 0})
    ends = []
    for partition in range(PARTITION_COUNT):
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), WAIT_S)
        if low != 0:
            raise Violation(f"K1: partition {partition} begins at {low}")
        ends.append(high)
    consumer.assign([TopicPartition(TOPIC, i, OFFSET_BEGINNING) for i in range(PARTITION_COUNT)])
    logs = [[] for _ in range(PARTITION_COUNT)]
    left = sum(ends)
    deadline = time.monotonic() + WAIT_S
    while left > 0:
        for message in consumer.consume(10000, 0.2):
            if message.error():
                raise Violation(f"K1: {message.error()}")
            log = logs[message.partition()]
            if message.offset() != len(log):
                raise Violation(f"K1: partition {message.partition()}: offset "
                                f"{message.offset()} where {len(log)} was due")
            log.append(message.value())
            left -= 1
        if time.monotonic() > deadline:
            raise Violation(f"K1: {left} of {sum(ends)} records cannot be read")
    consumer.close()
    return logs


def check_acknowledged(logs, writers):
    for writer in writers:
        for (partition, offset), expected in writer.acknowledged.items():
            if offset >= len(logs[partition]):
                raise Violation(f"K2: {writer.name}: acknowledged at {partition}:{offset}, the "
                                f"partition ends at {len(logs[partition])}")
            if digest(logs[partition][offset]) != expected:
                raise Violation(f"K2: {writer.name}: another record lies at {partition}:{offset}")


def check_order(logs, writers):
    idempotent = {writer.name.encode() for writer in writers if writer.idempotent}
    for partition, log in enumerate(logs):
        last = {}
        for offset, value in enumerate(log):
            name, number, _ = value.split(b" ", 2)
            if name not in idempotent:
                continue
            if int(number) <= last.get(name, -1):
                raise Violation(f"K3: {name.decode()}: record {int(number)} at {partition}:"
                                f"{offset} comes after {last[name]}")
            last[name] = int(number)


def check_prefix(logs, before):
    for partition, (log, old) in enumerate(zip(logs, before)):
        if [digest(value) for value in log[:len(old)]] != old:
            raise Violation(f"K4: partition {partition}: what was read before has changed")


def drop_page_cache():
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1", encoding="ascii")
        return True
    except OSError:
        return False


def start_broker(broker, chance):
    """Sometimes the first attempts are killed while they start. The address, and how many were."""
    killed = 0
    while chance.randrange(100) < KILL_AT_START_PERCENT[broker.kind]:
        broker.start()
        time.sleep(chance.uniform(0, 0.05))
        broker.kill()
        killed += 1
    broker.start()
    return broker.wait_ready(), killed


def create_topic(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, PARTITION_COUNT, 1)])[TOPIC].result(WAIT_S)


def verify(bootstrap, writers, before):
    """The digests of all that is readable."""
    logs = read_all(bootstrap)
    check_acknowledged(logs, writers)
    check_order(logs, writers)
    check_prefix(logs, before)
    digests = [[digest(value) for value in log] for log in logs]
    drop_page_cache()
    check_prefix(read_all(bootstrap), digests)
    return digests


def run(options, broker, port):
    chance = random.Random(options.seed)
    running = threading.Event()
    began = time.monotonic()
    broker.start()
    bootstrap = broker.wait_ready()
    create_topic(bootstrap)
    writers = [Writer(name, f"127.0.0.1:{port}", options.seed, running) for name in PRODUCERS]
    for writer in writers:
        writer.start()
    before = [[] for _ in range(PARTITION_COUNT)]
    for cycle in range(options.cycles):
        if time.monotonic() - began > options.seconds:
            print(f"{options.cycles - cycle} cycles left out after {options.seconds} s")
            break
        running.set()
        time.sleep(chance.uniform(*LOAD_S[broker.kind]))
        if broker.process.poll() is not None:
            raise Violation(f"the broker ended by itself, code {broker.process.returncode}")
        broker.kill()
        running.clear()
        started = time.monotonic()
        bootstrap, killed = start_broker(broker, chance)
        ready_s = time.monotonic() - started
        for writer in writers:
            writer.settle()
        before = verify(bootstrap, writers, before)
        print(f"cycle {cycle + 1}: {sum(len(w.acknowledged) for w in writers)} acknowledged, "
              f"{sum(w.failed_count for w in writers)} failed, {sum(map(len, before))} readable, "
              f"killed {killed} times while starting, ready in {ready_s:.2f} s", flush=True)
    for writer in writers:
        writer.ended = True
        writer.join()
    if not before[0]:
        raise Violation("nothing was written")
    return broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=70)
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
