# SPDX-License-Identifier: Apache-2.0
"""Consumer groups as clients see them: members, assignments, committed offsets."""
import asyncio
import json
import subprocess
import threading

import aiokafka
import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until

SESSION_MS = 6000


def admin_of(served):
    return AdminClient({"bootstrap.servers": served.bootstrap})


def make_topic(served, topic, partitions):
    admin = admin_of(served)  # lives until the answer is there
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()


def produce(served, topic, partitions, count):
    producer = confluent_kafka.Producer({"bootstrap.servers": served.bootstrap})
    for i in range(count):
        producer.produce(topic, b"%d" % i, partition=i % partitions)
    assert producer.flush(30) == 0


def consumer_of(served, group, **settings):
    return confluent_kafka.Consumer({
        "bootstrap.servers": served.bootstrap, "group.id": group,
        "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 300,
        "topic.metadata.refresh.interval.ms": 500, **settings})


def take(consumer, count):
    """Values of the next records."""
    values = []

    def more():
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            values.append(int(message.value()))
        return len(values) == count
    wait_until(more, f"{count} records")
    return values


def committed(served, group, topic, partitions):
    """Offsets of a group, asked for by somebody who is no member."""
    reader = consumer_of(served, group)
    places = [confluent_kafka.TopicPartition(topic, p) for p in range(partitions)]
    answer = reader.committed(places, timeout=30)
    reader.close()
    return [place.offset for place in answer]


def share(consumers):
    """Partitions of each, after a turn of poll() for everybody."""
    for consumer in consumers:
        consumer.poll(0.02)
    return [sorted(place.partition for place in consumer.assignment()) for consumer in consumers]


def is_shared(consumers, partitions):
    shares = share(consumers)
    return all(shares) and sorted(sum(shares, [])) == list(range(partitions))


def test_subscribe_commit_and_go_on(served, name):
    make_topic(served, name, 3)
    produce(served, name, 3, 30)
    first = consumer_of(served, name)
    first.subscribe([name])
    assert sorted(take(first, 30)) == list(range(30))
    first.commit(asynchronous=False)
    first.close()
    assert committed(served, name, name, 3) == [10, 10, 10]
    produce(served, name, 3, 6)
    second = consumer_of(served, name)
    second.subscribe([name])
    assert sorted(take(second, 6)) == list(range(6))
    second.close()


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_share_and_inherit(served, name, strategy):
    make_topic(served, name, 6)
    settings = {"partition.assignment.strategy": strategy}
    members = [consumer_of(served, name, **settings) for _ in range(3)]
    for member in members:
        member.subscribe([name])
    wait_until(lambda: is_shared(members, 6), "six partitions among three members")
    members.pop().close()
    wait_until(lambda: is_shared(members, 6), "six partitions among two members")
    late = consumer_of(served, name, **settings)
    late.subscribe([name])
    members.append(late)
    wait_until(lambda: is_shared(members, 6), "six partitions with a late member")
    for member in members:
        member.close()


def test_commits_survive_a_kill(served, name):
    make_topic(served, name, 2)
    produce(served, name, 2, 20)
    member = consumer_of(served, name)
    member.subscribe([name])
    take(member, 20)
    places = [confluent_kafka.TopicPartition(name, p, p + 3, metadata=f"note {p}")
              for p in range(2)]
    member.commit(offsets=places, asynchronous=False)
    served.kill_and_start()
    reader = consumer_of(served, name)
    answer = reader.committed([confluent_kafka.TopicPartition(name, p) for p in range(3)], 30)
    assert [place.offset for place in answer[:2]] == [3, 4]
    assert [place.metadata for place in answer[:2]] == ["note 0", "note 1"]
    assert answer[2].offset < 0
    reader.close()
    # The member goes on in the same generation: its session began anew with the broker.
    wait_until(lambda: share([member]) == [[0, 1]], "the member keeps its partitions")
    member.commit(offsets=[confluent_kafka.TopicPartition(name, 0, 9)], asynchronous=False)
    member.close()
    assert committed(served, name, name, 2) == [9, 4]


def test_a_member_that_vanishes_is_replaced(served, name):
    make_topic(served, name, 2)
    command = ["kcat", "-b", served.bootstrap, "-G", name, "-X", f"session.timeout.ms={SESSION_MS}",
               "-X", "heartbeat.interval.ms=300", name]
    gone = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in gone.stderr:
        if "assigned" in line:
            break
    heir = consumer_of(served, name)
    heir.subscribe([name])
    wait_until(lambda: share([heir]) == [[0]] or share([heir]) == [[1]], "half of it")
    gone.kill()
    gone.wait()
    wait_until(lambda: share([heir]) == [[0, 1]], "all of it, after the session's end")
    heir.close()


def test_a_static_member_comes_back_without_a_rebalance(served, name):
    make_topic(served, name, 4)
    other = consumer_of(served, name, **{"group.instance.id": "other"})
    fixed = consumer_of(served, name, **{"group.instance.id": "fixed"})
    for member in (other, fixed):
        member.subscribe([name])
    wait_until(lambda: is_shared([other, fixed], 4), "four partitions among two members")
    before = share([other, fixed])
    fixed.close()  # a static member does not leave
    again = consumer_of(served, name, **{"group.instance.id": "fixed"})
    again.subscribe([name])
    wait_until(lambda: share([other, again]) == before, "the same partitions")
    other.close()
    again.close()


def test_lag_and_admin(served, name):
    make_topic(served, name, 2)
    produce(served, name, 2, 10)
    admin = admin_of(served)
    member = consumer_of(served, name, **{"client.id": "lagging"})
    member.subscribe([name])
    take(member, 10)
    member.commit(offsets=[confluent_kafka.TopicPartition(name, 0, 2)], asynchronous=False)
    described = admin.describe_consumer_groups([name])[name].result()
    assert described.state.name == "STABLE"
    assert described.members[0].client_id == "lagging"
    assert "127.0.0.1" in described.members[0].host
    assert {(p.topic, p.partition) for p in described.members[0].assignment.topic_partitions} == \
        {(name, 0), (name, 1)}
    listed = {group.group_id: group for group in admin.list_consumer_groups().result().valid}
    assert listed[name].state.name == "STABLE"
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        admin.delete_consumer_groups([name])[name].result()
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.NON_EMPTY_GROUP
    high = member.get_watermark_offsets(confluent_kafka.TopicPartition(name, 0), 30)[1]
    assert high - committed(served, name, name, 1)[0] == 3
    member.close()
    admin.delete_consumer_groups([name])[name].result()
    assert committed(served, name, name, 2) == [-1001, -1001]
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        admin.delete_consumer_groups([name])[name].result()
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.GROUP_ID_NOT_FOUND


def test_offsets_by_hand(served, name):
    """Somebody who assigns by himself commits without members; administrators alter and delete."""
    make_topic(served, name, 2)
    loner = kafka.KafkaConsumer(bootstrap_servers=served.bootstrap, group_id=name,
                                enable_auto_commit=False)
    place = kafka.TopicPartition(name, 0)
    loner.assign([place])
    loner.commit({place: kafka.OffsetAndMetadata(7, "seven", -1)})
    assert loner.committed(place) == 7
    loner.close()
    admin = kafka.KafkaAdminClient(bootstrap_servers=served.bootstrap)
    assert name in {group["group_id"] if isinstance(group, dict) else group[0]
                    for group in admin.list_groups()}
    admin.close()
    served.kill_and_start()
    assert committed(served, name, name, 2) == [7, -1001]


def test_members_of_two_libraries(served, name):
    make_topic(served, name, 4)
    produce(served, name, 4, 8)
    member = consumer_of(served, name, **{"partition.assignment.strategy": "range"})
    member.subscribe([name])
    # First in, and so the leader: kafka-python may assign before it knows the topic.
    wait_until(lambda: share([member]) == [[0, 1, 2, 3]], "everything for the first one")
    other = kafka.KafkaConsumer(name, bootstrap_servers=served.bootstrap, group_id=name,
                                enable_auto_commit=False, session_timeout_ms=SESSION_MS,
                                heartbeat_interval_ms=300, auto_offset_reset="earliest")

    def both():
        other.poll(timeout_ms=20)
        shares = share([member])[0], sorted(p.partition for p in other.assignment())
        return all(shares) and sorted(shares[0] + shares[1]) == [0, 1, 2, 3]
    wait_until(both, "four partitions among members of two libraries")
    other.close()
    wait_until(lambda: share([member]) == [[0, 1, 2, 3]], "everything for the one that stays")
    member.close()


def test_kcat(served, name):
    make_topic(served, name, 2)
    produce(served, name, 2, 10)
    command = ["kcat", "-b", served.bootstrap, "-G", name, "-e", "-J", "-X",
               "auto.offset.reset=earliest", name]
    first = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(first.stdout.splitlines()) == 10
    assert {json.loads(line)["partition"] for line in first.stdout.splitlines()} == {0, 1}
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert second.stdout == ""


def test_a_deleted_topic_takes_its_offsets(served, name):
    make_topic(served, name, 1)
    produce(served, name, 1, 5)
    loner = consumer_of(served, name)
    loner.commit(offsets=[confluent_kafka.TopicPartition(name, 0, 5)], asynchronous=False)
    admin = admin_of(served)
    admin.delete_topics([name])[name].result()
    make_topic(served, name, 1)
    wait_until(lambda: committed(served, name, name, 1) == [-1001], "no offset of the old topic")
    loner.close()


def test_many_commits_share_writes(served, name):
    """Commits of eight clients at once are all there after a kill."""
    make_topic(served, name, 8)

    def commit(partition):
        loner = consumer_of(served, f"{name}-{partition}")
        for offset in range(1, 51):
            loner.commit(offsets=[confluent_kafka.TopicPartition(name, partition, offset)],
                         asynchronous=False)
        loner.close()
    threads = [threading.Thread(target=commit, args=(p,)) for p in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.kill_and_start()
    for partition in range(8):
        assert committed(served, f"{name}-{partition}", name, 8)[partition] == 50


def test_aiokafka(served, name):
    """Two members of the third library, and a third one that begins where they ended."""
    make_topic(served, name, 4)
    produce(served, name, 4, 40)

    def member():
        return aiokafka.AIOKafkaConsumer(
            name, bootstrap_servers=served.bootstrap, group_id=name, enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=SESSION_MS, heartbeat_interval_ms=300)

    async def read(consumer, values, due):
        while len(set(values)) < due:
            for records in (await consumer.getmany(timeout_ms=50)).values():
                values += [int(record.value) for record in records]

    async def run():
        values = []
        members = [member(), member()]
        for consumer in members:
            await consumer.start()
        await asyncio.wait_for(asyncio.gather(*[read(m, values, 40) for m in members]), 30)
        assert sorted(set(values)) == list(range(40))
        for consumer in members:
            await consumer.commit()
            await consumer.stop()
        produce(served, name, 4, 4)
        values = []
        last = member()
        await last.start()
        await asyncio.wait_for(read(last, values, 4), 30)
        assert sorted(values) == list(range(4))
        await last.stop()
    asyncio.run(run())
    assert committed(served, name, name, 4) == [10, 10, 10, 10]
