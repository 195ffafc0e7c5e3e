# SPDX-License-Identifier: Apache-2.0
"""The scenario list of tests/clients/README.md, for each Python client."""
import itertools
import os
import time

import pytest
from adapters import CLIENTS, Record, Refused, wait_served

FIRST_TIME_MS = (int(time.time()) - 86400) * 1000  # a day old: retention must not take it
TIME_STEP_MS = 10
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.fixture(scope="module", params=CLIENTS)
def client(request):
    made = CLIENTS[request.param]()
    yield made
    made.close()


@pytest.fixture
def topic(request):
    """A name of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return os.environ.get("TOPIC_PREFIX", "python-") + name


def make_records(count, partition_count=1):
    """Every kind of null and empty that all clients send, and values that compress a little."""
    records = []
    for i in range(count):
        value = None if i % 11 == 5 and i % 7 else b"%05d " % i * (i * 7 % 131)
        headers = [("same", b"%d" % i), ("same", b""), ("other", bytes(range(256)))][:i % 4]
        records.append(Record(i % partition_count, None if i % 7 == 0 else b"key-%d" % (i % 50),
                              value, headers, FIRST_TIME_MS + i * TIME_STEP_MS))
    return records


def check_read(client, topic, records, partition_count=1):
    """All of it from the beginning: offsets dense, the same records in order."""
    expected = [[r for r in records if r.partition == p] for p in range(partition_count)]
    got = [[] for _ in range(partition_count)]
    reader = client.reader(topic, {p: 0 for p in range(partition_count)})
    for offset, record in itertools.islice(reader, len(records)):
        assert offset == len(got[record.partition])
        got[record.partition].append(record)
    reader.close()
    assert got == expected


def check_dense(where):
    """Offsets of the acknowledgements, per partition, begin at 0 and leave nothing out."""
    for partition in {p for p, _ in where}:
        offsets = [offset for p, offset in where if p == partition]
        assert offsets == list(range(len(offsets)))


@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
@pytest.mark.parametrize("codec", CODECS)
def test_codec(client, topic, codec, idempotent):
    client.create(topic, 3)
    wait_served(client, topic, 3)
    records = make_records(1000, 3)
    check_dense(client.write(topic, records, codec, idempotent))
    check_read(client, topic, records, 3)


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks(client, topic, acks):
    client.create(topic)
    wait_served(client, topic)
    records = make_records(500)
    where = client.write(topic, records, acks=acks)
    if acks != 0:
        check_dense(where)
    check_read(client, topic, records)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_large(client, topic, codec):
    client.create(topic)
    wait_served(client, topic)
    noise = os.urandom(1048000)
    record = Record(0, b"large", noise, [], FIRST_TIME_MS)
    client.write(topic, [record], codec)
    with pytest.raises(Refused) as refused:
        client.write(topic, [record._replace(value=noise + bytes(noise[:2000]))], codec)
    assert refused.value.code == 10
    client.write(topic, [record._replace(key=b"after")], codec)
    check_read(client, topic, [record, record._replace(key=b"after")])


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_seek(client, topic, codec):
    client.create(topic)
    wait_served(client, topic)
    assert client.ends(topic, 0) == (0, 0)
    assert client.offset_for_time(topic, 0, FIRST_TIME_MS) is None
    records = make_records(1000)
    client.write(topic, records, codec)
    assert client.ends(topic, 0) == (0, 1000)
    for time_ms, expected in ((1, 0), (FIRST_TIME_MS, 0), (FIRST_TIME_MS + 1, 1),
                              (FIRST_TIME_MS + 5000, 500), (FIRST_TIME_MS + 4991, 500),
                              (FIRST_TIME_MS + 9990, 999), (FIRST_TIME_MS + 9991, None)):
        assert client.offset_for_time(topic, 0, time_ms) == expected
    for start in (0, 1, 499, 777, 999):
        reader = client.reader(topic, {0: start})
        got = list(itertools.islice(reader, 3 if start < 997 else 1000 - start))
        reader.close()
        assert got == [(start + i, records[start + i]) for i in range(len(got))]


def test_admin(client, topic):
    client.create(topic, 5, {"retention.ms": "123456789"})
    wait_served(client, topic, 5)
    with pytest.raises(Refused) as refused:
        client.create(topic, 5)
    assert refused.value.code == 36
    with pytest.raises(Refused) as refused:
        client.create("bad/name")
    assert refused.value.code == 17
    config = client.config(topic)
    assert config["retention.ms"] == "123456789"
    assert config["max.message.bytes"] == "1048588"
    assert config["cleanup.policy"] == "delete"
    client.delete(topic)
    with pytest.raises(Refused) as refused:
        client.delete(topic + "-never")
    assert refused.value.code == 3


def test_unknown_topic(client, topic):
    assert not client.exists(topic)
    assert not client.exists(topic)
    records = make_records(10)
    client.write(topic, records)  # a producer's metadata request creates it
    wait_served(client, topic)
    check_read(client, topic, records)


def test_long_poll(client, topic):
    """A fetch waits for the record that is sent after it; its own time-out is far away."""
    client.create(topic)
    wait_served(client, topic)
    reader = client.reader(topic, {0: 0}, wait_ms=15000)
    for i, record in enumerate(make_records(10)):
        client.write(topic, [record])
        assert next(reader) == (i, record)
    reader.close()


def test_many_partitions(client, topic):
    for i in range(2):
        client.create(f"{topic}-{i}", 30)
    records = make_records(1500, 30)
    for i in range(2):
        wait_served(client, f"{topic}-{i}", 30)
        check_dense(client.write(f"{topic}-{i}", records))
        check_read(client, f"{topic}-{i}", records, 30)
