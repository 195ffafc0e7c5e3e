# SPDX-License-Identifier: Apache-2.0
"""Groups of the consumer protocol as librdkafka sees them: the coordinator assigns, members move
one by one, and nobody stops for the others."""
import os
import signal
import socket
import struct
import subprocess
import sys

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until

PARTITIONS = 4
ANSWER_S_MAX = 30


def admin_of(served):
    return AdminClient({"bootstrap.servers": served.bootstrap})


def make_topic(served, topic, partitions=PARTITIONS):
    admin = admin_of(served)  # lives until the answer is there
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()


def produce(served, topic, values, partitions=PARTITIONS):
    producer = confluent_kafka.Producer({"bootstrap.servers": served.bootstrap})
    for value in values:
        producer.produce(topic, b"%d" % value, partition=value % partitions)
    assert producer.flush(ANSWER_S_MAX) == 0


def settings_of(served, group, **settings):
    return {"bootstrap.servers": served.bootstrap, "group.id": group, "group.protocol": "consumer",
            "auto.offset.reset": "earliest", "enable.auto.commit": False,
            "topic.metadata.refresh.interval.ms": 500, **settings}


def consumer_of(served, group, **settings):
    return confluent_kafka.Consumer(settings_of(served, group, **settings))


def classic_of(served, group, **settings):
    return confluent_kafka.Consumer({
        "bootstrap.servers": served.bootstrap, "group.id": group, "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 200, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, **settings})


def take(consumers, count):
    """Values of the next records of all of them."""
    values = []

    def more():
        for consumer in consumers:
            message = consumer.poll(0.05)
            if message is not None:
                assert message.error() is None, message.error()
                values.append(int(message.value()))
        return len(values) >= count
    wait_until(more, f"{count} records")
    return sorted(values)


def share(consumers):
    """Places of each, after a turn of poll() for everybody; nobody may have one twice."""
    for consumer in consumers:
        message = consumer.poll(0.02)
        assert message is None or message.error() is None, message.error()
    return [sorted((place.topic, place.partition) for place in consumer.assignment())
            for consumer in consumers]


def wait_shared(consumers, topics, partitions=PARTITIONS):
    """Everything is with exactly one of them, and evenly."""
    everything = sorted((topic, i) for topic in topics for i in range(partitions))

    def is_shared():
        shares = share(consumers)
        sizes = [len(own) for own in shares]
        return sorted(sum(shares, [])) == everything and max(sizes) - min(sizes) <= 1
    wait_until(is_shared, f"{len(consumers)} consumers share {everything}")
    return share(consumers)


def close(*consumers):
    for consumer in consumers:
        consumer.close()


def described(served, group):
    admin = admin_of(served)
    return admin.describe_consumer_groups([group])[group].result(ANSWER_S_MAX)


def kinds_of(served, **filters):
    """What kind each group is of, once the coordinator has read its logs."""
    admin = admin_of(served)

    def listed():
        listing = admin.list_consumer_groups(**filters).result(ANSWER_S_MAX)
        return None if listing.errors else [listing]
    (listing,) = wait_until(listed, "a list of groups without errors")
    return {group.group_id: group.type for group in listing.valid}


def test_join_rebalance_leave(served, name):
    make_topic(served, name)
    produce(served, name, range(100))
    first = consumer_of(served, name)
    first.subscribe([name])
    assert take([first], 100) == list(range(100))
    first.commit(asynchronous=False)
    second = consumer_of(served, name)
    second.subscribe([name])
    shares = wait_shared([first, second], [name])
    produce(served, name, range(100, 200))
    assert take([first, second], 100) == list(range(100, 200))
    third = consumer_of(served, name)
    third.subscribe([name])
    wait_shared([first, second, third], [name])
    first.close()
    wait_shared([second, third], [name])
    close(second, third)
    assert len(shares) == 2


def test_commits_carry_the_member_epoch(served, name):
    make_topic(served, name)
    produce(served, name, range(40))
    first = consumer_of(served, name)
    first.subscribe([name])
    take([first], 40)
    first.commit(offsets=[TopicPartition(name, i, 5 + i) for i in range(PARTITIONS)],
                 asynchronous=False)
    places = [TopicPartition(name, i) for i in range(PARTITIONS)]
    assert [place.offset for place in first.committed(places, ANSWER_S_MAX)] == [5, 6, 7, 8]
    stranger = classic_of(served, name)  # not a member: no right to commit beside one
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        stranger.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    assert refused.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
    close(first)
    stranger.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    assert [place.offset for place in stranger.committed(places, ANSWER_S_MAX)] == [1, 6, 7, 8]
    close(stranger)


def test_pattern(served, name):
    make_topic(served, f"{name}-a", 2)
    make_topic(served, f"other-{name}", 2)
    consumer = consumer_of(served, name)
    consumer.subscribe([f"^{name}-.*"])
    wait_shared([consumer], [f"{name}-a"], 2)
    make_topic(served, f"{name}-b", 2)
    wait_shared([consumer], [f"{name}-a", f"{name}-b"], 2)
    close(consumer)


def test_topics_come_and_go(served, name):
    make_topic(served, name, 2)
    make_topic(served, f"{name}-gone", 2)
    consumers = [consumer_of(served, name) for _ in range(2)]
    for consumer in consumers:
        consumer.subscribe([name, f"{name}-gone"])
    wait_shared(consumers, [name, f"{name}-gone"], 2)
    admin = admin_of(served)
    admin.delete_topics([f"{name}-gone"])[f"{name}-gone"].result()
    produce(served, name, range(4), 2)

    def has(expected):
        for consumer in consumers:
            consumer.poll(0.02)
        return expected == sorted((place.topic, place.partition) for consumer in consumers
                                  for place in consumer.assignment())
    wait_until(lambda: has([(name, 0), (name, 1)]), "the deleted topic is gone")
    make_topic(served, f"{name}-gone", 6)
    again = [(name, 0), (name, 1)] + [(f"{name}-gone", i) for i in range(6)]
    wait_until(lambda: has(again), "a topic of the same name, and larger")
    close(*consumers)


def test_kill_of_the_broker(served, name):
    make_topic(served, name)
    consumers = [consumer_of(served, name) for _ in range(2)]
    for consumer in consumers:
        consumer.subscribe([name])
    before = wait_shared(consumers, [name])
    produce(served, name, range(40))
    assert take(consumers, 40) == list(range(40))
    for consumer in consumers:
        consumer.commit(asynchronous=False)
    members = {member.member_id for member in described(served, name).members}
    served.kill_and_start()
    produce(served, name, range(40, 80))
    assert take(consumers, 40) == list(range(40, 80))
    assert wait_shared(consumers, [name]) == before, "nobody had to move"
    assert {member.member_id for member in described(served, name).members} == members
    places = [TopicPartition(name, i) for i in range(PARTITIONS)]
    offsets = [place.offset for place in consumers[0].committed(places, ANSWER_S_MAX)]
    assert offsets == [10] * PARTITIONS
    close(*consumers)


def test_death_of_a_member(served, name):
    make_topic(served, name)
    text = ("import confluent_kafka, sys\n"
            f"consumer = confluent_kafka.Consumer({settings_of(served, name)!r})\n"
            f"consumer.subscribe([{name!r}])\n"
            "while len(consumer.assignment()) < 4:\n"
            "    consumer.poll(0.05)\n"
            "print('has all', flush=True)\n"
            "while True:\n"
            "    consumer.poll(0.05)\n")
    child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"has all\n"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    heir = consumer_of(served, name)
    heir.subscribe([name])
    wait_shared([heir], [name])
    close(heir)


def test_static_members(served, name):
    make_topic(served, name)

    def make(i):
        consumer = consumer_of(served, name, **{"group.instance.id": f"instance-{i}"})
        consumer.subscribe([name])
        return consumer
    first, second = make(1), make(2)
    before = wait_shared([first, second], [name])
    second.close()  # for a while: it will be back
    assert share([first]) == before[:1]
    again = make(2)
    assert wait_shared([first, again], [name]) == before
    close(first, again)


def test_admin(served, name):
    make_topic(served, name)
    consumer = consumer_of(served, name, **{"client.id": "the client"})
    consumer.subscribe([name])
    wait_shared([consumer], [name])
    admin = admin_of(served)
    stable = {ConsumerGroupState.STABLE}
    assert kinds_of(served, types={ConsumerGroupType.CONSUMER}, states=stable)[name] == \
        ConsumerGroupType.CONSUMER
    assert name not in kinds_of(served, types={ConsumerGroupType.CLASSIC})
    group = described(served, name)
    assert group.type == ConsumerGroupType.CONSUMER and group.state == ConsumerGroupState.STABLE
    assert group.partition_assignor == "uniform"
    (member,) = group.members
    assert member.client_id == "the client" and member.host == "/127.0.0.1"
    for assignment in (member.assignment, member.target_assignment):
        places = sorted((place.topic, place.partition) for place in assignment.topic_partitions)
        assert places == [(name, i) for i in range(PARTITIONS)]
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        admin.delete_consumer_groups([name])[name].result(ANSWER_S_MAX)
    assert refused.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    close(consumer)
    admin.delete_consumer_groups([name])[name].result(ANSWER_S_MAX)
    served.kill_and_start()
    assert name not in kinds_of(served)


def test_assignors(served, name):
    make_topic(served, f"{name}-a", 3)
    make_topic(served, f"{name}-b", 3)
    consumers = [consumer_of(served, name, **{"group.remote.assignor": "range"}) for _ in range(3)]
    for consumer in consumers:
        consumer.subscribe([f"{name}-a", f"{name}-b"])
    for own in wait_shared(consumers, [f"{name}-a", f"{name}-b"], 3):
        assert len({partition for _, partition in own}) == 1, "equal numbers meet at one member"
    close(*consumers)
    stranger = consumer_of(served, name, **{"group.remote.assignor": "nobody"})
    stranger.subscribe([f"{name}-a"])

    def refused():
        message = stranger.poll(0.1)
        return message is not None and message.error() is not None and message.error()
    error = wait_until(refused, "an unknown assignor is refused")
    assert error.code() in (KafkaError.UNSUPPORTED_ASSIGNOR, KafkaError._FATAL), error
    close(stranger)


def test_an_empty_group_changes_its_kind(served, name):
    make_topic(served, name)
    produce(served, name, range(12))
    for make, begin in ((classic_of, 0), (consumer_of, 4), (classic_of, 8)):
        consumer = make(served, name)
        consumer.subscribe([name])
        wait_until(lambda who=consumer: share([who])[0], "partitions")
        consumer.commit(offsets=[TopicPartition(name, 0, begin + 1)], asynchronous=False)
        (place,) = consumer.committed([TopicPartition(name, 0)], ANSWER_S_MAX)
        assert place.offset == begin + 1
        assert kinds_of(served)[name] == (ConsumerGroupType.CONSUMER if make is consumer_of
                                          else ConsumerGroupType.CLASSIC)
        close(consumer)
    served.kill_and_start()
    reader = classic_of(served, name)
    (place,) = reader.committed([TopicPartition(name, 0)], ANSWER_S_MAX)
    assert place.offset == 9
    close(reader)


def test_offsets_in_a_transaction(served, name):
    make_topic(served, name)
    make_topic(served, f"{name}-out", 1)
    produce(served, name, range(20))
    consumer = consumer_of(served, name, **{"isolation.level": "read_committed"})
    consumer.subscribe([name])
    assert take([consumer], 20) == list(range(20))
    producer = confluent_kafka.Producer({"bootstrap.servers": served.bootstrap,
                                         "transactional.id": name})
    producer.init_transactions(ANSWER_S_MAX)
    places = [TopicPartition(name, i) for i in range(PARTITIONS)]
    for offset, end in ((3, producer.abort_transaction), (5, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(f"{name}-out", b"%d" % offset)
        producer.send_offsets_to_transaction(
            [TopicPartition(name, i, offset) for i in range(PARTITIONS)],
            consumer.consumer_group_metadata(), ANSWER_S_MAX)
        end(ANSWER_S_MAX)
    assert [place.offset for place in consumer.committed(places, ANSWER_S_MAX)] == [5] * PARTITIONS
    # Who was a member, and is none any more, does not get his offsets in.
    stale = consumer.consumer_group_metadata()
    close(consumer)
    producer.begin_transaction()
    with pytest.raises(confluent_kafka.KafkaException):
        producer.send_offsets_to_transaction([TopicPartition(name, 0, 9)], stale, ANSWER_S_MAX)
    producer.abort_transaction(ANSWER_S_MAX)
    heir = consumer_of(served, name)
    assert [place.offset for place in heir.committed(places, ANSWER_S_MAX)] == [5] * PARTITIONS
    close(heir)


def test_configs_of_a_group(served):
    """DescribeConfigs 1 of a GROUP, which librdkafka cannot ask for: the broker's own values."""
    def ask(group):
        body = (struct.pack(">ib", 1, 32) + struct.pack(">h", len(group)) + group +
                struct.pack(">ib", -1, 1))
        host, port = served.bootstrap.rsplit(":", 1)
        with socket.create_connection((host, int(port)), ANSWER_S_MAX) as client:
            client.sendall(struct.pack(">ihhih", 10 + len(body), 32, 1, 7, -1) + body)
            size = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))[0]
            data = client.recv(size, socket.MSG_WAITALL)[4 + 4 + 4:]
        return struct.unpack_from(">h", data)[0], data[2:]

    code, rows = ask(b"nobody")
    assert code == 0
    for name, value in ((b"consumer.heartbeat.interval.ms", b"200"),
                        (b"consumer.session.timeout.ms", b"4000")):
        text = struct.pack(">h", len(name)) + name + struct.pack(">h", len(value)) + value
        # May be changed; the default, and its own synonym.
        assert text + struct.pack(">bbbi", 0, 5, 0, 1) + text + b"\5" in rows
    assert ask(b"")[0] == 42
