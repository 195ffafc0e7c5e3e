# SPDX-License-Identifier: Apache-2.0
"""Groups whose clients are replaced one by one, from the classic protocol to the newer one and
back, while messages flow: nothing is lost, and nobody stops for longer than a rebalance."""
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, TopicPartition
from conftest import KIND, wait_until
from test_groups_848 import (ANSWER_S_MAX, PARTITIONS, classic_of, close, consumer_of, described,
                             kinds_of, make_topic, produce, share, take, wait_shared)

MEMBERS = 3


def kind_of(served, group):
    return kinds_of(served).get(group)


class Flow:
    """Numbers, one after the other, until it is stopped."""

    def __init__(self, served, topic):
        self.producer = confluent_kafka.Producer({"bootstrap.servers": served.bootstrap})
        self.topic = topic
        self.count = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.005):
            self.producer.produce(self.topic, b"%d" % self.count, partition=self.count % PARTITIONS)
            self.producer.poll(0)
            self.count += 1

    def stop(self):
        self.over.set()
        self.thread.join()
        assert self.producer.flush(ANSWER_S_MAX) == 0


class Readers:
    """Consumers of one group, and all that any of them has read."""

    def __init__(self, served, topic):
        self.served = served
        self.topic = topic
        self.consumers = []
        self.values = set()

    def poll(self):
        for consumer in self.consumers:
            message = consumer.poll(0.01)
            if message is not None:
                assert message.error() is None, message.error()
                self.values.add(int(message.value()))

    def wait_shared(self):
        everything = [(self.topic, i) for i in range(PARTITIONS)]

        def is_shared():
            self.poll()
            shares = [[(place.topic, place.partition) for place in consumer.assignment()]
                      for consumer in self.consumers]
            return sorted(sum(shares, [])) == everything and \
                len(shares) == len([own for own in shares if own])
        wait_until(is_shared, f"{len(self.consumers)} consumers share {everything}")

    def wait_more(self):
        """Each of them goes on reading."""
        known = len(self.values)

        def is_more():
            self.poll()
            return len(self.values) > known + 20
        wait_until(is_more, "messages flow")

    def add(self, make):
        consumer = make(self.served, self.topic, **{
            "enable.auto.commit": True, "auto.commit.interval.ms": 200})
        consumer.subscribe([self.topic])
        self.consumers.append(consumer)

    def replace(self, make):
        """The oldest one goes, a new one comes."""
        self.consumers.pop(0).close()
        self.add(make)
        self.wait_shared()
        self.wait_more()


def test_rolling_upgrade_and_back(served, name):
    make_topic(served, name)
    flow = Flow(served, name)
    readers = Readers(served, name)
    for _ in range(MEMBERS):
        readers.add(classic_of)
    try:
        readers.wait_shared()
        readers.wait_more()
        assert kind_of(served, name) == ConsumerGroupType.CLASSIC
        for _ in range(MEMBERS):
            readers.replace(consumer_of)
            assert kind_of(served, name) == ConsumerGroupType.CONSUMER
            assert len(described(served, name).members) == MEMBERS
        for _ in range(MEMBERS - 1):
            readers.replace(classic_of)
            assert kind_of(served, name) == ConsumerGroupType.CONSUMER
        readers.replace(classic_of)
        assert kind_of(served, name) == ConsumerGroupType.CLASSIC
        assert len(described(served, name).members) == MEMBERS
    finally:
        flow.stop()

    def all_read():
        readers.poll()
        return len(readers.values) == flow.count
    wait_until(all_read, "every message was read")
    close(*readers.consumers)
    reader = classic_of(served, name)
    places = reader.committed([TopicPartition(name, i) for i in range(PARTITIONS)], ANSWER_S_MAX)
    assert sum(place.offset for place in places) == flow.count
    close(reader)


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_offsets_stay(served, name, strategy):
    make_topic(served, name)
    produce(served, name, range(40))
    old = classic_of(served, name, **{"partition.assignment.strategy": strategy})
    old.subscribe([name])
    assert take([old], 40) == list(range(40))
    old.commit(asynchronous=False)
    new = consumer_of(served, name)
    new.subscribe([name])
    wait_shared([old, new], [name])
    assert kind_of(served, name) == ConsumerGroupType.CONSUMER
    produce(served, name, range(40, 80))
    assert take([old, new], 40) == list(range(40, 80)), "nothing twice, nothing left out"
    for consumer in (old, new):
        consumer.commit(asynchronous=False)
    new.close()
    wait_shared([old], [name])
    assert kind_of(served, name) == ConsumerGroupType.CLASSIC
    produce(served, name, range(80, 120))
    assert take([old], 40) == list(range(80, 120))
    old.commit(asynchronous=False)
    places = old.committed([TopicPartition(name, i) for i in range(PARTITIONS)], ANSWER_S_MAX)
    assert [place.offset for place in places] == [30] * PARTITIONS
    close(old)


@pytest.mark.skipif(KIND == "kafka", reason="Apache Kafka starts for longer than a session lasts")
def test_kill_of_the_broker_in_a_mixed_group(served, name):
    make_topic(served, name)
    old = classic_of(served, name)
    old.subscribe([name])
    wait_shared([old], [name])
    new = consumer_of(served, name)
    new.subscribe([name])
    wait_shared([old, new], [name])
    members = {member.member_id for member in described(served, name).members}
    served.kill_and_start()
    produce(served, name, range(40))
    assert set(take([old, new], 40)) == set(range(40))
    wait_shared([old, new], [name])
    assert kind_of(served, name) == ConsumerGroupType.CONSUMER
    assert {member.member_id for member in described(served, name).members} == members
    old.commit(asynchronous=False)
    new.close()
    wait_shared([old], [name])
    assert kind_of(served, name) == ConsumerGroupType.CLASSIC
    served.kill_and_start()
    wait_until(lambda: share([old]) and kind_of(served, name) == ConsumerGroupType.CLASSIC,
               "the classic group is there again")
    wait_shared([old], [name])
    close(old)


def test_classic_members_join_a_consumer_group(served, name):
    make_topic(served, name)
    first = consumer_of(served, name)
    first.subscribe([name])
    wait_shared([first], [name])
    second = classic_of(served, name, **{"partition.assignment.strategy": "range"})
    second.subscribe([name])
    wait_shared([first, second], [name])
    group = described(served, name)
    assert group.type == ConsumerGroupType.CONSUMER and group.state == ConsumerGroupState.STABLE
    stranger = classic_of(served, name, **{"partition.assignment.strategy": "roundrobin"})
    stranger.subscribe([name])

    def refused():
        message = stranger.poll(0.1)
        share([first, second])
        return message is not None and message.error() is not None and message.error()
    assert wait_until(refused, "it lists nothing that all others list").code() == \
        KafkaError.INCONSISTENT_GROUP_PROTOCOL
    close(stranger, second, first)


def test_static_members_change_their_protocol(served, name):
    make_topic(served, name)

    def make(maker, i):
        consumer = maker(served, name, **{"group.instance.id": f"instance-{i}"})
        consumer.subscribe([name])
        return consumer
    first, second = make(classic_of, 1), make(classic_of, 2)
    before = wait_shared([first, second], [name])
    second.close()  # says nothing: a static member of the classic protocol is waited for
    second = make(consumer_of, 2)
    after = wait_shared([first, second], [name])
    assert kind_of(served, name) == ConsumerGroupType.CONSUMER
    assert sorted(sum(before, [])) == sorted(sum(after, []))
    assert {member.group_instance_id for member in described(served, name).members} == \
        {"instance-1", "instance-2"}
    second.close()
    second = make(classic_of, 2)
    wait_shared([first, second], [name])
    assert kind_of(served, name) == ConsumerGroupType.CLASSIC
    close(first, second)


def test_a_dead_member_takes_the_group_back(served, name):
    """The last one of the newer protocol says nothing when it goes: its session ends."""
    make_topic(served, name)
    old = classic_of(served, name)
    old.subscribe([name])
    wait_shared([old], [name])
    new = consumer_of(served, name, **{"group.instance.id": "for a while"})
    new.subscribe([name])
    wait_shared([old, new], [name])
    new.close()
    begin = time.monotonic()
    wait_shared([old], [name])
    assert kind_of(served, name) == ConsumerGroupType.CLASSIC
    assert time.monotonic() - begin < ANSWER_S_MAX
    close(old)
