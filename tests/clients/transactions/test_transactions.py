# SPDX-License-Identifier: Apache-2.0
"""Transactions as clients see them, in both versions of the protocol; the broker is killed behind
each step."""
import pathlib
import subprocess

import confluent_kafka
import pytest
import raw
from conftest import settled, until_ok, wait_until

UNKNOWN_TOPIC, INVALID_REQUEST, INVALID_EPOCH, INVALID_STATE = 3, 42, 47, 48
INVALID_GROUP = 24
INVALID_MAPPING, INVALID_TIMEOUT, NOT_ATTEMPTED, FENCED = 49, 50, 55, 90
PARKED_MS = 14000
SKIPPED = 77
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def producer(connection, name, version=1, **options):
    made = raw.Producer(connection, name, version, **options)
    until_ok(made.find, "FindCoordinator")
    until_ok(made.init, "InitProducerId")
    return made


@VERSIONS
def test_commit_and_abort(served, name, version):
    topic = served.topic(name)
    with served.connect() as connection:
        one = producer(connection, name, version)
        for index in range(6):
            epoch = one.pair[1]
            one.begin(topic, [0, 1], [f"value {index}"])
            assert one.end(index % 2 == 0) == 0
            assert one.pair[1] == epoch + version - 1
        for partition in (0, 1):
            seen = settled(connection, topic, partition)
            assert seen.high == 12  # a record and a marker each
            assert seen.aborted == [(one.pair[0], 2), (one.pair[0], 6), (one.pair[0], 10)]


@VERSIONS
def test_stable_offset_and_parked_fetch(served, name, version):
    """A fetch that waits under read_committed is answered by the marker."""
    topic = served.topic(name, 1)
    with served.connect() as writing, served.connect() as reading:
        one = producer(writing, name, version)
        one.begin(topic, [0], ["a", "b"])
        seen = raw.Seen(reading, topic, 0)
        assert (seen.high, seen.stable, seen.bytes) == (2, 0, b"")
        frame, correlation = one.end_frame(True)
        reading.socket.settimeout(2 * PARKED_MS / 1000)
        writing.send(frame)
        seen = raw.Seen(reading, topic, 0, wait_ms=PARKED_MS)
        assert b"a" in seen.bytes and seen.stable >= 2
        writing.answer(correlation)


def test_aborted_lists_are_sorted(served, name):
    """By first offset, although the markers come in the other order."""
    topic = served.topic(name, 1)
    with served.connect() as connection:
        producers = [producer(connection, f"{name}-{index}") for index in range(4)]
        for one in producers:
            one.begin(topic, [0], ["x"])
        for one in reversed(producers):
            assert one.end(False) == 0
            wait_until(lambda: one.end(False) == 0, "the abort is complete")
        seen = settled(connection, topic, 0)
        assert seen.aborted == [(one.pair[0], index) for index, one in enumerate(producers)]


@VERSIONS
def test_a_second_producer_fences_the_first(served, name, version):
    topic = served.topic(name, 1)
    with served.connect() as connection:
        first = producer(connection, name, version)
        first.begin(topic, [0], ["lost"])
        second = producer(connection, name, version)
        assert second.pair[0] == first.pair[0] and second.pair[1] > first.pair[1]
        second.begin(topic, [0], ["kept"])
        assert first.produce(topic, 0, ["late"]) == INVALID_EPOCH
        assert first.end(True) == (INVALID_EPOCH if version == 1 else FENCED)
        assert second.end(True) == 0
        seen = settled(connection, topic, 0)
        assert seen.high == 4 and seen.aborted == [(first.pair[0], 0)]


@VERSIONS
def test_overdue_transactions_are_aborted(served, name, version):
    topic = served.topic(name, 1)
    with served.connect() as connection:
        one = producer(connection, name, version, timeout_ms=200)
        one.begin(topic, [0], ["late"])
        seen = settled(connection, topic, 0)
        assert seen.high == 2 and seen.aborted == [(one.pair[0], 0)]
        assert one.produce(topic, 0, ["later"]) == INVALID_EPOCH
        assert one.end(True) == (INVALID_EPOCH if version == 1 else FENCED)
        until_ok(one.init, "InitProducerId")
        one.timeout_ms = 60000
        until_ok(one.init, "InitProducerId")
        one.begin(topic, [0], ["again"])
        assert one.end(True) == 0


def test_refusals(served, name):
    topic = served.topic(name)
    with served.connect() as connection:
        one = producer(connection, name)
        assert raw.Producer(connection, "").init() == INVALID_REQUEST
        assert raw.Producer(connection, name, timeout_ms=900001).init() == INVALID_TIMEOUT
        assert raw.Producer(connection, name, timeout_ms=0).init() == INVALID_TIMEOUT
        assert one.end(True) == INVALID_STATE  # nothing has begun
        assert one.produce(topic, 0, ["x"]) == INVALID_STATE  # not added
        assert one.add(topic, [0, 7]) == {0: NOT_ATTEMPTED, 7: UNKNOWN_TOPIC}
        assert one.add(topic, [0], (one.pair[0] + 1, 0)) == {0: INVALID_MAPPING}
        assert one.add(topic, [0], (one.pair[0], one.pair[1] + 1)) == {0: INVALID_EPOCH}
        assert one.add(topic, [0]) == {0: 0}
        assert one.produce(topic, 1, ["x"]) == INVALID_STATE  # another partition
        assert one.produce(topic, 0, ["x"]) == 0
        assert one.end(True, (one.pair[0] + 1, 0)) == INVALID_MAPPING
        assert one.end(False) == 0
        wait_until(lambda: one.end(False) == 0, "a retry of the abort")
        assert one.end(True) == INVALID_STATE


def test_version_2_ends(served, name):
    """What each state says to an end, and to the same end again (KIP-890)."""
    topic = served.topic(name, 1)
    with served.connect() as connection:
        one = producer(connection, name, 2)
        assert one.end(True) == INVALID_STATE
        first = one.pair
        assert one.end(False) == 0  # nothing was written: legal
        assert one.pair == (first[0], first[1] + 1)
        wait_until(lambda: one.end(False, first) == 0, "a retry of the abort")
        assert one.pair == (first[0], first[1] + 1)
        one.begin(topic, [0], ["x"])
        second = one.pair
        assert one.end(True, first) == FENCED
        assert one.end(True) == 0
        wait_until(lambda: one.end(True, second) == 0, "a retry of the commit")
        assert one.pair == (second[0], second[1] + 1)
        assert one.end(False, second) == INVALID_STATE
        assert settled(connection, topic, 0).high == 2


@VERSIONS
@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("step", ["init", "added", "written", "ending", "ended"])
def test_killed_behind_each_step(served, name, version, commit, step):
    """The producer goes on where it was; every partition gets exactly one marker."""
    topic = served.topic(name)
    connection = served.connect()
    one = producer(connection, name, version)
    if step == "init":
        connection = one.connection = served.kill_and_start()
    if version == 1:
        until_ok(lambda: max(one.add(topic, [0, 1]).values()), "AddPartitionsToTxn")
    if step == "added":
        connection = one.connection = served.kill_and_start()
    for partition in (0, 1):
        wait_until(lambda: one.produce(topic, partition, ["x", "y"]) == 0, "Produce")
    if step == "written":
        connection = one.connection = served.kill_and_start()
    pair = one.pair
    if step == "ending":
        connection.send(one.end_frame(commit)[0])
        connection = one.connection = served.kill_and_start()
    until_ok(lambda: one.end(commit, pair), "EndTxn")
    if step == "ended":
        connection = one.connection = served.kill_and_start()
    for partition in (0, 1):
        seen = settled(connection, topic, partition)
        assert seen.high == 3
        assert seen.aborted == ([] if commit else [(pair[0], 0)])
    until_ok(lambda: one.end(commit, pair), "a retry of the end")
    assert one.end(not commit, pair) == INVALID_STATE
    one.begin(topic, [0], ["next"])
    until_ok(lambda: one.end(True, one.pair), "the next end")
    connection.socket.close()


def test_offsets_count_with_the_commit(served, name):
    topic = served.topic(name, 1)
    with served.connect() as connection:
        group = confluent_kafka.Consumer({"bootstrap.servers": served.bootstrap, "group.id": name})
        group.committed([confluent_kafka.TopicPartition(topic, 0)], 30)  # its coordinator is there
        group.close()
        one = producer(connection, name)
        assert one.commit_offset("", topic, 0, 1) == INVALID_GROUP
        for commit, offset, expected in ((False, 5, -1), (True, 7, 7), (False, 9, 7)):
            assert one.commit_offset(name, topic, 0, offset) == INVALID_STATE  # not added
            assert one.add_offsets(name) == 0
            assert one.commit_offset(name, topic, 0, offset) == 0
            assert raw.committed_offset(connection, name, topic, 0) != offset
            assert one.end(commit) == 0
            wait_until(lambda: one.end(commit) == 0, "the end is complete")
            assert raw.committed_offset(connection, name, topic, 0) == expected


def test_confluent_kafka(served, name):
    """The client library as applications use it: consume, transform, produce, with its offsets."""
    topic = served.topic(name, 4)
    configuration = {"bootstrap.servers": served.bootstrap, "transactional.id": name,
                     "linger.ms": 0}
    made = confluent_kafka.Producer(configuration)
    made.init_transactions(30)
    expected = set()
    for index in range(20):
        made.begin_transaction()
        for partition in range(4):
            made.produce(topic, f"{index}-{partition}", partition=partition)
        if index % 3 == 0:
            made.flush(30)
            made.abort_transaction(30)
        else:
            made.commit_transaction(30)
            expected |= {f"{index}-{partition}" for partition in range(4)}
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": served.bootstrap, "group.id": name, "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in range(4)])
    seen, ended = [], set()
    while len(ended) < 4:
        for record in consumer.consume(1000, 0.2):
            if record.error() is None:
                seen.append(record.value().decode())
            else:
                ended.add(record.partition())
    consumer.close()
    assert sorted(seen) == sorted(expected)


def test_confluent_kafka_is_fenced(served, name):
    topic = served.topic(name, 1)
    configuration = {"bootstrap.servers": served.bootstrap, "transactional.id": name,
                     "linger.ms": 0}
    first, second = (confluent_kafka.Producer(configuration) for _ in range(2))
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(topic, "lost", partition=0)
    first.flush(30)
    second.init_transactions(30)
    with pytest.raises(confluent_kafka.KafkaException) as problem:
        first.commit_transaction(30)
    assert problem.value.args[0].fatal()
    second.begin_transaction()
    second.produce(topic, "kept", partition=0)
    second.commit_transaction(30)
    with served.connect() as connection:
        assert b"kept" in settled(connection, topic, 0).bytes


def test_java(served, name):
    """Kafka's own producer, admin client and copier, in version 2."""
    script = pathlib.Path(__file__).resolve().parent / "java"
    done = subprocess.run([script, served.bootstrap, f"{name}-"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-3000:]
