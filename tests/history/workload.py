# SPDX-License-Identifier: Apache-2.0
"""Clients that write down what they did and what they were told: one thread each."""
import collections
import random
import threading
import time

from confluent_kafka import (OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)

from checker import Op, seal

PLAIN = "history-plain"
TRANSACTIONAL = "history-transactional"
PARTITION_COUNT = 4
WAIT_S = 60
COMMON = {"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20,
          "socket.timeout.ms": 10000, "log_level": 0, "metadata.recovery.strategy": "none"}
CONSUMER = {"enable.auto.commit": False, "auto.offset.reset": "earliest",
            "isolation.level": "read_committed", "check.crcs": True, "fetch.wait.max.ms": 20}


class Recorder:
    """The history, from all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.ops = []
        self.count = 0
        self.problems = []

    def add(self, op):
        with self.lock:
            self.ops.append(op)
            self.count += len(op.sends) + len(op.polls) + len(op.commits)


class Client(threading.Thread):
    def __init__(self, name, bootstrap, recorder, seed, ending):
        super().__init__(name=name, daemon=True)
        self.bootstrap = bootstrap
        self.recorder = recorder
        self.random = random.Random(f"{seed} {name}")
        self.ending = ending
        self.number = 0

    def config(self, **more):
        return {"bootstrap.servers": self.bootstrap, **COMMON, **more}

    def value(self):
        self.number += 1
        filler = "x" * self.random.choice((1, 10, 100, 1000))
        return seal(f"{self.name} {self.number} {filler}")

    def run(self):
        try:
            while not self.ending.is_set():
                self.step()
            self.close()
        except (KafkaException, RuntimeError) as problem:
            self.recorder.problems.append(f"{self.name}: {problem}")

    def step(self):
        raise NotImplementedError

    def close(self):
        pass


class PlainProducer(Client):
    """Idempotent; a few records at a time, each acknowledged or not by itself."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.producer = Producer(self.config(**{
            "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": WAIT_S * 1000}))

    def step(self):
        places = {}

        def delivered(error, message):
            places[message.value().decode()] = None if error else message.offset()
        sends = []
        for _ in range(self.random.randrange(1, 40)):
            partition, value = self.random.randrange(PARTITION_COUNT), self.value()
            self.producer.produce(PLAIN, value, partition=partition, on_delivery=delivered)
            sends.append(((PLAIN, partition), value))
        left = self.producer.flush(WAIT_S)
        for place, value in sends:
            offset = places.get(value)
            outcome = "info" if offset is None or left else "ok"
            self.recorder.add(Op(self.name, outcome, sends=[(place, offset, value)]))


class TransactionalProducer(Client):
    """Commits most, aborts some, and now and then dies in the middle without a word."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.producer = None
        self.abandoned = []

    def begin_anew(self):
        if self.producer is not None:
            self.abandoned = self.abandoned[-3:] + [self.producer]
        self.producer = Producer(self.config(**{
            "transactional.id": self.name, "transaction.timeout.ms": 20000, "linger.ms": 1,
            "message.timeout.ms": 15000}))
        self.producer.init_transactions(WAIT_S)

    def step(self):
        try:
            if self.producer is None:
                self.begin_anew()
        except KafkaException as problem:
            if not problem.args[0].retriable():
                self.producer = None
            time.sleep(0.1)
            return
        places = {}
        op = Op(self.name, "info", transactional=True)
        try:
            self.transact(op, places)
        except KafkaException as problem:
            self.recover(op, problem.args[0])
        op.sends = [(place, places.get(value), value) for place, _, value in op.sends]
        self.recorder.add(op)

    def transact(self, op, places):
        def delivered(error, message):
            places[message.value().decode()] = None if error else message.offset()
        self.producer.begin_transaction()
        for _ in range(self.random.randrange(1, 20)):
            partition, value = self.random.randrange(PARTITION_COUNT), self.value()
            self.producer.produce(TRANSACTIONAL, value, partition=partition,
                                  on_delivery=delivered)
            op.sends.append(((TRANSACTIONAL, partition), None, value))
        chance = self.random.randrange(100)
        if chance < 3:
            self.producer.flush(0.05)
            self.begin_anew()  # whoever comes with the id aborts what was open
            op.outcome = "fail"
        elif chance < 20:
            self.producer.flush(WAIT_S)
            self.producer.abort_transaction(WAIT_S)
            op.outcome = "fail"
        else:
            self.producer.commit_transaction(WAIT_S)
            op.outcome = "ok"

    def recover(self, op, error):
        """A commit that failed may have happened, unless an abort is confirmed afterwards."""
        if error.txn_requires_abort():
            try:
                self.producer.abort_transaction(WAIT_S)
                op.outcome = "fail"
                return
            except KafkaException:
                pass
        self.abandoned = self.abandoned[-3:] + [self.producer]
        self.producer = None

    def close(self):
        """Nothing stays open: whoever comes with the id aborts what was."""
        self.begin_anew()


class Reader(Client):
    """Follows partitions that were given to it, all from the beginning."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.consumer = None

    def step(self):
        op = Op(self.name, "ok")
        if self.consumer is None or self.random.randrange(400) == 0:
            if self.consumer is not None:
                self.consumer.close()
            self.consumer = Consumer(self.config(**CONSUMER, **{"group.id": "unused"}))
            self.consumer.assign([TopicPartition(topic, i, OFFSET_BEGINNING)
                                  for topic in (PLAIN, TRANSACTIONAL)
                                  for i in range(PARTITION_COUNT)])
            op.assigned = True
        op.polls = polled(self.consumer.consume(500, 0.1))
        if op.polls or op.assigned:
            self.recorder.add(op)

    def close(self):
        if self.consumer is not None:
            self.consumer.close()


class Member(Client):
    """One of a group: polls, commits what it polled, leaves now and then."""

    group = "history-group"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.consumer = None
        self.assigned = False

    def on_change(self, *_):
        self.assigned = True

    def step(self):
        if self.consumer is None or self.random.randrange(300) == 0:
            self.close()
            self.consumer = Consumer(self.config(**CONSUMER, **{
                "group.id": self.group, "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "partition.assignment.strategy": "cooperative-sticky"}))
            self.consumer.subscribe([PLAIN, TRANSACTIONAL], on_assign=self.on_change,
                                    on_revoke=self.on_change, on_lost=self.on_change)
            self.assigned = True
        polls = polled(self.consumer.consume(300, 0.1))
        op = Op(self.name, "ok", polls=polls, assigned=self.assigned)
        self.assigned = False
        if op.polls or op.assigned:
            self.recorder.add(op)
        if polls:
            self.commit(polls)

    def commit(self, polls):
        ends = {}
        for place, offset, _ in polls:
            ends[place] = offset + 1
        asked = [TopicPartition(topic, partition, offset)
                 for (topic, partition), offset in ends.items()]
        try:
            done = self.consumer.commit(offsets=asked, asynchronous=False)
        except KafkaException:
            return  # another generation owns them by now, or nobody answered
        commits = {(self.group, (item.topic, item.partition)): item.offset
                   for item in done if item.error is None}
        self.recorder.add(Op(self.name, "ok", commits=commits))

    def close(self):
        if self.consumer is not None:
            self.consumer.close()
            self.consumer = None


def polled(messages):
    polls = []
    for message in messages:
        if message.error() is None:
            polls.append(((message.topic(), message.partition()), message.offset(),
                          message.value().decode(errors="replace")))
        elif message.error().code() not in (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT,
                                            KafkaError._ALL_BROKERS_DOWN) and \
                not message.error().retriable():
            raise KafkaException(message.error())
    return polls


def read_to_end(bootstrap):
    """Everything that read_committed shows, per partition, in the order of reading."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **COMMON, **CONSUMER,
                         "group.id": "unused", "enable.partition.eof": True})
    places = [(topic, i) for topic in (PLAIN, TRANSACTIONAL) for i in range(PARTITION_COUNT)]
    consumer.assign([TopicPartition(topic, i, OFFSET_BEGINNING) for topic, i in places])
    final = collections.defaultdict(list)
    ended = set()
    deadline = time.monotonic() + WAIT_S
    while len(ended) < len(places):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the end of {set(places) - ended} was not reached")
        for message in consumer.consume(1000, 0.2):
            place = message.topic(), message.partition()
            if message.error() is None:
                final[place].append((message.offset(), message.value().decode(errors="replace")))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(place)
    consumer.close()
    return dict(final)


def committed(bootstrap, group):
    consumer = Consumer({"bootstrap.servers": bootstrap, **COMMON, "group.id": group})
    asked = [TopicPartition(topic, i) for topic in (PLAIN, TRANSACTIONAL)
             for i in range(PARTITION_COUNT)]
    found = consumer.committed(asked, WAIT_S)
    consumer.close()
    return {(group, (item.topic, item.partition)): item.offset for item in found}
