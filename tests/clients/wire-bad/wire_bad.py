#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong bytes, and what a broker must make of them.

Every case says what the broker does: it closes the connection, or answers with an error code. A set
names what is acceptable. Apache Kafka 4.1 does the same, except where `kafka=` says otherwise:
there it is laxer than a log with one copy can afford, or answers with an accident (-1). After each
case a new client and one that has been connected from the beginning must be served, nothing may
have been appended, and the resident memory of Weir (WEIR_PID) stays under its budget plus a margin.
"""
import gzip
import os
import random
import socket
import struct
import sys
import time
import traceback

import topics_bad  # noqa: F401 (its cases register themselves)
import wire
from register import CASES, KAFKA, case, cases
from wire import Closed, Connection, batch, int16, int32, int64, int8, record, string, varint

RSS_MIB_MAX = float(os.environ.get("WEIR_RSS_MIB_MAX", "320"))
SEED = int(os.environ.get("WEIR_SEED", "20240601"))


class Broker:
    def __init__(self):
        self.address = wire.address_from_environment()
        self.pid = os.environ.get("WEIR_PID")
        self.prefix = os.environ.get("TOPIC_PREFIX", "wire-bad-")
        self.topic = self.prefix + "victim"
        self.healthy = self.prefix + "healthy"
        self.compacted = self.prefix + "compacted"
        self.old = self.connect()
        self.count = 0
        self.victim_end = 1
        self.random = random.Random(SEED)
        for name, config in ((self.topic, ()), (self.healthy, ()),
                             (self.compacted, (("cleanup.policy", "compact"),))):
            error = wire.create_topic(self.old, name, config=config)
            assert error == 0, f"create {name}: {error}"
            deadline = time.monotonic() + 10
            while wire.list_offsets(self.old, name, -1)[0] != 0:
                assert time.monotonic() < deadline, f"{name} is created, but not served"
                time.sleep(0.05)
        error, base = wire.produce(self.old, self.topic, batch([record(b"first")]))
        assert (error, base) == (0, 0), (error, base)

    def connect(self):
        return Connection(self.address)

    def exchange(self, data):
        """What follows `data` on a new connection."""
        with self.connect() as connection:
            try:
                connection.send(data)
            except Closed:
                return "closed"
            return connection.ending()

    def produce(self, records, topic=None, **options):
        """The error code, or 'closed'."""
        with self.connect() as connection:
            try:
                return wire.produce(connection, self.topic if topic is None else topic, records,
                                    **options)[0]
            except Closed:
                return "closed"

    def check(self, may_grow=False):
        """The broker still serves a new client and an old one, and the victim did not grow."""
        with self.connect() as connection:
            assert wire.api_versions(connection)[0] == 0
            for client in (connection, self.old):
                value = b"healthy %d" % self.count
                error, base = wire.produce(client, self.healthy, batch([record(value)]))
                assert (error, base) == (0, self.count), f"produce: {error}, offset {base}"
                error, high, data = wire.fetch(client, self.healthy, self.count)
                self.count += 1
                assert (error, high) == (0, self.count), f"fetch: {error}, high watermark {high}"
                assert value in data
            error, end = wire.list_offsets(connection, self.topic, -1)
            before, self.victim_end = self.victim_end, end
            assert error == 0, f"the victim: {error}"
            assert end == before or may_grow, f"{end - before} records were appended"
        if self.pid:
            rss = wire.rss_mib(self.pid)
            assert rss <= RSS_MIB_MAX, f"{rss:.0f} MiB resident, at most {RSS_MIB_MAX:.0f}"


# ---- frames


@cases("closed", largest=0x7FFFFFFF, above_limit=104857601, negative=-1, most_negative=-(1 << 31),
       zero=0, one=1, http=struct.unpack(">i", b"GET ")[0])
def frame_size(broker, size):
    return broker.exchange(int32(size) + b"\0" * 64)


@case("closed")
def frame_truncated_then_closed(broker):
    data, _ = wire.frame(wire.METADATA, 4, int32(-1) + int8(0))
    with broker.connect() as connection:
        connection.send(data[:-3])
    return "closed"


@case("closed")
def frame_truncated_then_reset(broker):
    data, _ = wire.frame(wire.PRODUCE, 8, wire.produce_body(broker.topic, 0, b"x" * 100000))
    with broker.connect() as connection:
        connection.send(data[:50000])
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "closed"


@case("closed")
def frame_truncated_then_half_closed(broker):
    data, _ = wire.frame(wire.METADATA, 4, int32(-1) + int8(0))
    with broker.connect() as connection:
        connection.send(data[:-3])
        connection.socket.shutdown(socket.SHUT_WR)
        return connection.ending()


@case("closed")
def half_closed_after_request(broker):
    """The answer may come or not; the end of the connection must."""
    data, _ = wire.frame(wire.METADATA, 4, int32(-1) + int8(0))
    with broker.connect() as connection:
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
        try:
            while connection.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return "open"
        return "closed"


@case("closed")
def half_closed_while_parked(broker):
    """A fetch that waits for records, its client gone."""
    with broker.connect() as connection:
        connection.send(wire.frame(wire.FETCH, 4, wire.fetch_body(broker.topic, 1,
                                                                 wait_ms=3000))[0])
        connection.socket.shutdown(socket.SHUT_WR)
        try:
            while connection.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return "open"
        return "closed"


@case(True)
def dribble(broker):
    """One byte a segment: the same answer as in one piece."""
    body = wire.produce_body(broker.healthy, 0, batch([record(b"drop by drop")]))
    data, correlation = wire.frame(wire.PRODUCE, 8, body)
    with broker.connect() as connection:
        for index in range(len(data)):
            connection.send(data[index:index + 1])
        connection.answer(correlation)
        broker.count += 1
    return True


@case(True)
def pipelined(broker):
    """Three hundred requests in one piece, answered in their order."""
    frames = [wire.frame(wire.METADATA, 4, wire.array([string(broker.topic)]) + int8(0))
              for _ in range(300)]
    with broker.connect() as connection:
        connection.send(b"".join(data for data, _ in frames))
        for _, correlation in frames:
            connection.answer(correlation)
    return True


@case("closed")
def garbage(broker):
    """Random bytes, also behind a plausible size, header and all; some of it may be answered."""
    for index in range(60):
        size = broker.random.randrange(1, 2000)
        data = broker.random.randbytes(size)
        if index % 3 == 1:
            data = int32(size) + data
        if index % 3 == 2:
            key, version = broker.random.randrange(0, 30), broker.random.randrange(0, 12)
            # Topics named by noise are refused; a group or a topic of its own is not made here.
            if key in (wire.METADATA, wire.CREATE_TOPICS):
                key = wire.FETCH
            data = wire.frame(key, version, data)[0]
        with broker.connect() as connection:
            try:
                connection.send(data)
                connection.socket.shutdown(socket.SHUT_WR)
                while connection.socket.recv(65536):
                    pass
            except (Closed, OSError) as problem:
                if isinstance(problem, TimeoutError):
                    return f"open at {index}: {data[:32].hex()}"
    return "closed"


# ---- headers and bodies


@cases("closed", unknown=(999, 0), negative=(-1, 0), retired=(4, 0), version_above=(0, 99),
       version_below=(1, 3), version_negative=(3, -1), produce_old=(0, 2))
def api(broker, key_version):
    return broker.exchange(wire.frame(*key_version, b"\0" * 32)[0])


@cases((35, [18]), next=(60, b"\0\x02a\x021\0"), largest=(32767, b"\0\x02a\x021\0"),
       negative=(-1, b""))
def api_versions_unknown_version(broker, version_body):
    with broker.connect() as connection:
        error, rows = wire.api_versions(connection, *version_body)
        # Kafka closes nothing here: the client asks again on the same connection.
        assert wire.api_versions(connection)[0] == 0
        return error, list(rows)


@case(42)
def api_versions_bad_software_name(broker):
    """Version 3: flexible header and body, compact strings."""
    with broker.connect() as connection:
        reader = connection.request(wire.API_VERSIONS, 3, b"\0" + b"\x03-x" + b"\x021" + b"\0")
        return reader.int16()


@cases(True, null=None, empty="", long="x" * 32000, not_utf8=b"\xff\xfe\n\"level=error")
def client_id(broker, name):
    with broker.connect() as connection:
        connection.request(wire.METADATA, 4, wire.array([]) + int8(0), client=name)
    return True


@cases("closed",
       count_largest=int32(0x7FFFFFFF), count_above_rest=int32(1000),
       length_above_rest=int32(1) + int16(32767) + b"abc",
       length_negative=int32(1) + int16(-2), name_null=int32(1) + int16(-1) + int8(0),
       empty=b"")
def metadata_body(broker, body):
    return broker.exchange(wire.frame(wire.METADATA, 4, body)[0])


@cases("closed",
       topic_count=string(None) + int16(1) + int32(1000) + int32(0x7FFFFFFF),
       records_size=string(None) + int16(1) + int32(1000) + int32(1) + string("t") + int32(1) +
       int32(0) + int32(0x7FFFFFF0),
       partition_count=string(None) + int16(1) + int32(1000) + int32(1) + string("t") +
       int32(0x10000000))
def produce_body(broker, body):
    return broker.exchange(wire.frame(wire.PRODUCE, 8, body)[0])


# ---- batches


def three(**wrong):
    return batch([record(b"value %d" % i, key=b"key", delta=i) for i in range(3)], **wrong)


@cases(2, crc=three(crc=12345), length_short=three(length=40), length_negative=three(length=-1),
       length_zero=three(length=0), flipped=three()[:-1] + b"\x55")
def batch_corrupt(broker, records):
    return broker.produce(records)


@cases({2, 87}, magic_0=three(magic=0), magic_1=three(magic=1), magic_3=three(magic=3),
       magic_negative=three(magic=-1), length_above=three(length=5000), cut=three()[:-5],
       header_cut=three()[:40], header_alone=three()[:wire.BATCH_HEADER_SIZE],
       two=three() + three(), none=b"")
def batch_framing(broker, records):
    return broker.produce(records)


@cases(87, count_above=three(count=4), count_below=three(count=2), count_zero=three(count=0),
       count_negative=three(count=-1), count_largest=three(count=0x7FFFFFFF),
       delta_above=three(last_offset_delta=7), delta_below=three(last_offset_delta=1),
       delta_negative=three(last_offset_delta=-1),
       record_longer=batch([record(b"a", length=1000)]),
       record_shorter=batch([record(b"abc", length=4)]),
       record_length_negative=batch([record(b"a", length=-1)]),
       record_length_zero=batch([record(b"a", length=0)]),
       key_longer=batch([record(b"a", key=b"k", key_length=1000)]),
       value_longer=batch([record(b"a", value_length=1 << 30)]),
       header_count=batch([record(b"a", header_count=1000)]),
       header_count_negative=batch([record(b"a", header_count=-1)]),
       header_name_null=batch([record(b"a", header_count=1, tail=varint(-1) + varint(-1))]),
       record_tail=batch([record(b"a", tail=b"xyz")]),
       tail=batch([record(b"a"), b"xyz"], count=1, last_offset_delta=0),
       control=three(attributes=0x20), payload_none=three(payload=b""))
def batch_records(broker, records):
    return broker.produce(records)


@cases({2, 87}, kafka={0}, tail=three() + b"\0\0\0",
       record_delta=batch([record(b"a", delta=0), record(b"b", delta=5)]),
       record_delta_repeated=batch([record(b"a", delta=0), record(b"b", delta=0)]),
       record_delta_negative=batch([record(b"a", delta=-1)]),
       key_negative=batch([record(b"a", key=b"", key_length=-5)]))
def batch_accepted_by_kafka(broker, records):
    """Kafka appends these as they are, and its consumers meet them."""
    return broker.produce(records)


@cases({2, 87}, kafka={-1}, varint_too_long=batch([b"\xff" * 11]))
def batch_varint(broker, records):
    return broker.produce(records)


@cases({2, 87, 76}, kafka={-1}, codec_5=three(attributes=5), codec_7=three(attributes=7))
def batch_codec_unknown(broker, records):
    return broker.produce(records)


@cases({2, 87}, kafka={-1, 2, 87},
       gzip=three(codec="gzip", payload=b"\x1f\x8b\x08\0not gzip at all"),
       gzip_cut=three(codec="gzip", payload=gzip.compress(b"".join([record(b"a")]))[:12]),
       snappy=three(codec="snappy", payload=b"\xff\xff\xff\xff\x0fno snappy"),
       snappy_xerial=three(codec="snappy", payload=b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\x7f\xff\xff\xff"),
       lz4=three(codec="lz4", payload=b"\x04\x22\x4d\x18nothing of it"),
       zstd=three(codec="zstd", payload=b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff"),
       plain=three(codec="zstd", payload=record(b"a")),
       gzip_count=batch([record(b"a"), record(b"b", delta=1)], codec="gzip", count=9,
                        last_offset_delta=8))
def batch_compressed(broker, records):
    return broker.produce(records)


@case({87, 10, 2})
def batch_bomb(broker):
    """Half a gigabyte of zeros in half a megabyte; the record in front is a lie about its size."""
    bomb = gzip.compress(varint(1 << 28) + b"\0" * (512 << 20), compresslevel=1)
    while len(bomb) > 1000000:
        bomb = gzip.compress(bomb, compresslevel=9)
    return broker.produce(batch([b""], codec="gzip", payload=bomb))


@case(10)
def batch_above_limit(broker):
    return broker.produce(batch([record(b"x" * (1 << 20))]))


@case(32)
def batch_from_the_future(broker):
    return broker.produce(three(time_ms=int(time.time() * 1000) + 7200000))


@cases(21, two=2, minus_two=-2, largest=32767)
def acks(broker, value):
    return broker.produce(three(), acks=value)


@case(0)
def replicas_in_sync(broker):
    """min.insync.replicas asks for no more replicas than there are."""
    topic = broker.prefix + "in-sync"
    with broker.connect() as connection:
        assert wire.create_topic(connection, topic, config=[("min.insync.replicas", "2")]) == 0
        deadline = time.monotonic() + 10
        while wire.list_offsets(connection, topic, -1)[0] != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
    return broker.produce(three(), topic=topic)


@cases(3, above=1, largest=0x7FFFFFFF, negative=-1)
def partition_unknown(broker, partition):
    return broker.produce(three(), partition=partition)


@cases({3, 17}, absent="nobody-made-this", slash="a/b", parent="..", empty="")
def produce_topic(broker, name):
    return broker.produce(three(), topic=name)


@case(((87, -1, [1, 3]), (0, True, [])))
def compacted_without_key_beside_others(broker):
    """Records without a key are named, and the other topic of the request gets its batch."""
    bad = batch([record(b"a", key=b"k"), record(b"no key", delta=1),
                 record(b"b", key=b"k", delta=2), record(b"nor here", delta=3)])
    parts = ((broker.compacted, bad), (broker.healthy, batch([record(b"good")])))
    body = (wire.string(None) + wire.int16(-1) + wire.int32(10000) +
            wire.array([wire.string(topic) + wire.array(
                [wire.int32(0) + wire.int32(len(records)) + records]) for topic, records in parts]))
    with broker.connect() as connection:
        answers = wire.produce_answers(connection.request(wire.PRODUCE, 8, body))
    error, base, errors = answers[broker.healthy]
    broker.count += 1
    return answers[broker.compacted], (error, base == broker.count - 1, errors)


@case((87, 0))
def compacted_without_key(broker):
    without = broker.produce(batch([record(b"no key")]), topic=broker.compacted)
    return without, broker.produce(batch([record(b"a", key=b"k")]), topic=broker.compacted)


@case([0, 0, 45, 47, 0])
def sequences(broker):
    """First, the same again (same offset), a gap, an older epoch, the right successor."""
    with broker.connect() as connection:
        topic = broker.prefix + "sequences"
        wire.create_topic(connection, topic)
        deadline = time.monotonic() + 10
        while wire.list_offsets(connection, topic, -1)[0] != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        number, epoch = wire.producer_id(connection)
        codes, offsets = [], []
        for sequence, used in ((0, epoch), (0, epoch), (9, epoch), (3, epoch - 1), (3, epoch)):
            error, base = wire.produce(connection, topic, three(
                producer_id=number, producer_epoch=max(used, 0) if used >= 0 else -2,
                base_sequence=sequence))
            codes.append(error)
            offsets.append(base)
        assert offsets[0] == offsets[1] == 0, offsets
        assert offsets[4] == 3, offsets
        return codes


@case("none")
def acks_0_refused(broker):
    """No answer, whatever is wrong with it: Kafka closes the connection to say so."""
    with broker.connect() as connection:
        body = wire.produce_body(broker.topic, 0, three(crc=1), acks=0)
        connection.send(wire.frame(wire.PRODUCE, 8, body)[0])
        data, correlation = wire.frame(wire.METADATA, 4, wire.array([]) + int8(0))
        try:
            connection.send(data)
            connection.answer(correlation)
        except Closed:
            pass
        return "none"


# ---- fetch, offsets

@case(3)
def metadata_unknown(broker):
    with broker.connect() as connection:
        assert wire.topic_error(connection, broker.prefix + "unknown") == 3
        return wire.topic_error(connection, broker.prefix + "unknown")


@cases(1, above=1000, far=1 << 60, negative=-1, most_negative=-(1 << 63))
def fetch_offset(broker, offset):
    with broker.connect() as connection:
        return wire.fetch(connection, broker.topic, offset)[0]


@cases(3, above=1, negative=-1)
def fetch_partition(broker, partition):
    with broker.connect() as connection:
        return wire.fetch(connection, broker.topic, 0, partition=partition)[0]


@cases({0}, kafka={0, -1}, zero=0, one=1, negative=-1)
def fetch_size_max(broker, size_max):
    """Whatever the limits, no partial first batch: nothing, or the whole of it."""
    with broker.connect() as connection:
        error, _, data = wire.fetch(connection, broker.topic, 0, wait_ms=50, size_max=size_max)
        assert not data or b"first" in data
        return error


@case([b"last"])
def fetch_size_max_beside_empty(broker):
    """The first partition that has something sends a batch, however little is allowed and however
    many without anything stand before it."""
    topic = broker.prefix + "wide"
    with broker.connect() as connection:
        assert wire.create_topic(connection, topic, count=8) == 0
        deadline = time.monotonic() + 10
        while wire.list_offsets(connection, topic, -1, 7)[0] != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert wire.produce(connection, topic, batch([record(b"last")]), 7)[0] == 0
        asked = wire.array([int32(index) + int64(0) + int32(1 << 20) for index in range(8)])
        reader = connection.request(
            wire.FETCH, 4, int32(-1) + int32(500) + int32(1) + int32(0) + int8(0) +
            wire.array([string(topic) + asked]))
        reader.int32()
        assert reader.int32() == 1 and reader.string() == topic
        found = []
        for _ in range(reader.int32()):
            reader.take(4 + 2 + 8 + 8)
            reader.take(16 * max(reader.int32(), 0))
            found.append(reader.bytes())
        return [b"last" for data in found if b"last" in data]


@cases({3, 35, 42, 0}, local=-4, tiered=-5, unknown=-77)
def list_offsets_time(broker, time_ms):
    """Special values of a later version."""
    with broker.connect() as connection:
        return wire.list_offsets(connection, broker.topic, time_ms)[0]


@case(3)
def list_offsets_partition(broker):
    with broker.connect() as connection:
        return wire.list_offsets(connection, broker.topic, -1, partition=9)[0]


# ---- fetch sessions


def session_begin(broker, connection):
    """The id of a new session that has seen the end of the victim's only partition."""
    error, session, rows = wire.fetch_session(connection, (0, 0), [(broker.topic, {0: 1})])
    assert error == 0 and session > 0, (error, session)
    assert rows == {(broker.topic, 0): (0, 1, b"")}, rows
    return session


@cases(70, none=(0, 1), other=(123456789, 1), negative=(-7, 3))
def session_unknown(broker, session):
    with broker.connect() as connection:
        return wire.fetch_session(connection, session)[0]


@cases(71, ahead=2, behind=-2, far=(1 << 31) - 1)
def session_epoch(broker, epoch):
    with broker.connect() as connection:
        session = session_begin(broker, connection)
        answer = wire.fetch_session(connection, (session, epoch))
        assert answer[1:] == (0, {}), answer
        assert wire.fetch_session(connection, (session, 1))[:2] == (0, session)
        return answer[0]


@case(106)
def session_by_ids(broker):
    """Version 13 speaks of topics by id; its body is flexible."""
    with broker.connect() as connection:
        session = session_begin(broker, connection)
        body = (int32(0) + int32(1) + int32(1 << 20) + int8(0) + int32(session) + int32(1) +
                b"\x01\x01\x01\0")
        data, correlation = wire.frame(wire.FETCH, 13, b"\0" + int32(-1) + body)
        connection.send(data)
        reader = connection.answer(correlation)
        reader.int8()
        reader.int32()
        return reader.int16()


@cases(70, final=-1, anew=0)
def session_closed(broker, epoch):
    with broker.connect() as connection:
        session = session_begin(broker, connection)
        error, other, _ = wire.fetch_session(connection, (session, epoch), [(broker.topic, {0: 1})])
        assert error == 0 and (other == 0) == (epoch == -1) and other != session, (error, other)
        return wire.fetch_session(connection, (session, 1))[0]


@case(True)
def session_steps(broker):
    """Only what moved is told, what returned records goes to the end, what is forgotten is gone."""
    first, second = broker.prefix + "session-a", broker.prefix + "session-b"
    with broker.connect() as connection:
        assert wire.create_topic(connection, first, count=2) == 0
        assert wire.create_topic(connection, second) == 0
        topics = [(first, {0: 0, 1: 0}), (second, {0: 0, 7: 0})]
        error, session, rows = wire.fetch_session(connection, (0, 0), topics)
        assert error == 0 and len(rows) == 4 and rows[second, 7][0] == 3, rows
        epochs = iter(range(1, 100))

        def step(topics=(), forgotten=(), wait_ms=0):
            error, same, rows = wire.fetch_session(connection, (session, next(epochs)), topics,
                                                   forgotten, wait_ms)
            assert (error, same) == (0, session), (error, same)
            return rows

        assert list(step()) == [(second, 7)], "an error is told each time"
        assert not step(forgotten=[(second, [7])])
        for topic, partition in ((first, 0), (second, 0)):
            assert wire.produce(connection, topic, batch([record(b"x")]), partition)[0] == 0
        rows = step(wait_ms=10000)
        assert [key for key in rows if rows[key][2]] == [(first, 0), (second, 0)], rows
        assert rows[first, 0][1] == 1
        rows = step([(first, {0: 1})])
        assert list(rows) == [(second, 0)], "asked at the same offset, it answers the same records"
        assert wire.produce(connection, first, batch([record(b"y")]), 1)[0] == 0
        rows = step([(first, {0: 0}), (second, {0: 0})], wait_ms=10000)
        assert list(rows) == [(first, 1), (first, 0), (second, 0)], rows
        everything = [(first, [0, 1]), (second, [0])]
        error, gone, _ = wire.fetch_session(connection, (session, next(epochs)), (), everything)
        assert (error, gone) == (0, 0), "an empty session ends"
        return wire.fetch_session(connection, (session, next(epochs)))[0] == 70


# ---- clients that stall


@case(True)
def never_reads(broker):
    """A thousand fetches of what is there, and nobody takes the answers."""
    topic = broker.prefix + "bulk"
    with broker.connect() as connection:
        wire.create_topic(connection, topic)
        deadline = time.monotonic() + 10
        while wire.list_offsets(connection, topic, -1)[0] != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        records = batch([record(b"x" * 900000)])
        for _ in range(10):
            assert wire.produce(connection, topic, records)[0] == 0
    stalled = []
    for _ in range(8):
        connection = broker.connect()
        connection.socket.settimeout(1)
        data = b"".join(wire.frame(wire.FETCH, 4, wire.fetch_body(topic, 0, size_max=16 << 20))[0]
                        for _ in range(1000))
        try:
            connection.socket.sendall(data)
        except (TimeoutError, OSError):
            pass  # the broker has stopped reading: that is the back-pressure that is asked for
        stalled.append(connection)
    try:
        broker.check()
    finally:
        for connection in stalled:
            connection.socket.close()
    return True


@case(True)
def half_frames(broker):
    """Twenty clients that announce 2 MB and send a little of it."""
    body = wire.produce_body(broker.topic, 0, b"x" * 100000)
    data = int32(2 << 20) + wire.frame(wire.PRODUCE, 8, body)[0][4:]
    held = []
    for _ in range(20):
        connection = broker.connect()
        try:
            connection.send(data)
        except Closed:
            pass
        held.append(connection)
    try:
        broker.check()
    finally:
        for connection in held:
            connection.socket.close()
    return True


@case(True)
def many_idle(broker):
    held = [broker.connect() for _ in range(400)]
    try:
        broker.check()
    finally:
        for connection in held:
            connection.socket.close()
    return True


def run_case(broker, expected, function):
    """None, or what is wrong."""
    try:
        observed = function(broker)
        accepted = expected if isinstance(expected, set) else [expected]
        if observed not in accepted:
            return f"{observed!r}, expected {expected!r}"
        broker.check(may_grow=KAFKA and observed == 0)
    except Exception as problem:  # each case tells what it met; the others still run
        where = traceback.extract_tb(problem.__traceback__)[-1]
        broker.old = broker.connect()
        return f"{type(problem).__name__} {problem} ({where.filename}:{where.lineno})"
    return None


def main():
    broker = Broker()
    broker.check()
    chosen = [row for row in CASES if len(sys.argv) < 2 or sys.argv[1] in row[0]]
    failed = 0
    for name, expected, function in chosen:
        started = time.monotonic()
        wrong = run_case(broker, expected, function)
        seconds = time.monotonic() - started
        if wrong:
            failed += 1
            print(f"FAILED {name}: {wrong}", flush=True)
        elif seconds > 1:
            print(f"ok {name} ({seconds:.1f} s)", flush=True)
    memory = f", {wire.rss_mib(broker.pid):.0f} MiB resident" if broker.pid else ""
    print(f"{len(chosen)} cases, {failed} failed, seed {SEED}{memory}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
