# SPDX-License-Identifier: Apache-2.0
"""The Kafka protocol by hand: just enough to say the right thing, and every wrong one.

Python's standard library only. All requests use the newest version without flexible encoding that
has what the cases need, so that a byte in a test is a byte of the description.
"""
import gzip
import itertools
import os
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 0, 1, 2, 3, 18
CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = 19, 20, 22
DESCRIBE_CONFIGS, DESCRIBE_CLUSTER = 32, 60
WAIT_S = 15
BATCH_HEADER_SIZE = 61
ANSWER_SIZE_MAX = 64 << 20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

_correlation = itertools.count(1)


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC32C[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def int8(value):
    return struct.pack(">b", value)


def int16(value):
    return struct.pack(">h", value)


def int32(value):
    return struct.pack(">i", value)


def int64(value):
    return struct.pack(">q", value)


def string(value):
    if value is None:
        return int16(-1)
    data = value if isinstance(value, bytes) else value.encode()
    return int16(len(data)) + data


def array(items):
    items = list(items)
    return int32(len(items)) + b"".join(items)


def varint(value):
    """Zigzag, as in records."""
    value = (value << 1) ^ (value >> 63)
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(value, key=None, delta=0, **wrong):
    """A record; `wrong` replaces a field: length, key_length, value_length, header_count, tail."""
    body = int8(0) + varint(0) + varint(delta)
    for name, data in (("key", key), ("value", value)):
        body += varint(wrong.get(f"{name}_length", -1 if data is None else len(data)))
        body += data or b""
    body += varint(wrong.get("header_count", 0)) + wrong.get("tail", b"")
    return varint(wrong.get("length", len(body))) + body


def batch(records, **wrong):
    """A v2 batch of encoded records; `wrong` replaces a header field, before the CRC is made."""
    payload = wrong.get("payload", b"".join(records))
    codec = wrong.get("codec", "none")
    if codec == "gzip" and "payload" not in wrong:
        payload = gzip.compress(payload)
    count = len(records)
    time_ms = wrong.get("time_ms", int(time.time() * 1000))
    protected = b"".join([
        int16(wrong.get("attributes", CODECS[codec])),
        int32(wrong.get("last_offset_delta", count - 1)),
        int64(time_ms), int64(time_ms),
        int64(wrong.get("producer_id", -1)), int16(wrong.get("producer_epoch", -1)),
        int32(wrong.get("base_sequence", -1)), int32(wrong.get("count", count)), payload])
    crc = wrong.get("crc", crc32c(protected))
    body = int32(-1) + int8(wrong.get("magic", 2)) + struct.pack(">I", crc) + protected
    return int64(wrong.get("base_offset", 0)) + int32(wrong.get("length", len(body))) + body


class Reader:
    """Takes an answer apart from its front."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        piece = self.data[self.at:self.at + size]
        if len(piece) != size:
            raise AssertionError(f"answer of {len(self.data)} bytes ends within a field")
        self.at += size
        return piece

    def int8(self):
        return struct.unpack(">b", self.take(1))[0]

    def int16(self):
        return struct.unpack(">h", self.take(2))[0]

    def int32(self):
        return struct.unpack(">i", self.take(4))[0]

    def int64(self):
        return struct.unpack(">q", self.take(8))[0]

    def string(self):
        size = self.int16()
        return None if size < 0 else self.take(size).decode()

    def bytes(self):
        size = self.int32()
        return None if size < 0 else self.take(size)


class Closed(Exception):
    """The broker ended the connection."""


def frame(key, version, body, client="weir-test"):
    """A whole frame, and the correlation id in it."""
    correlation = next(_correlation)
    data = int16(key) + int16(version) + int32(correlation) + string(client) + body
    return int32(len(data)) + data, correlation


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Closed from gone

    def _receive(self, size):
        data = bytearray()
        while len(data) < size:
            try:
                piece = self.socket.recv(min(size - len(data), 1 << 20))
            except ConnectionResetError as gone:
                raise Closed from gone
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def answer(self, correlation):
        size = struct.unpack(">i", self._receive(4))[0]
        assert 4 <= size <= ANSWER_SIZE_MAX, f"an answer of {size} bytes"
        reader = Reader(self._receive(size))
        got = reader.int32()
        assert got == correlation, f"correlation id {got}, expected {correlation}"
        return reader

    def request(self, key, version, body, client="weir-test"):
        data, correlation = frame(key, version, body, client)
        self.send(data)
        return self.answer(correlation)

    def ending(self):
        """'closed', 'answered' or 'open': what the broker does next."""
        try:
            self._receive(1)
            return "answered"
        except Closed:
            return "closed"
        except TimeoutError:
            return "open"


def produce_body(topic, partition, records, acks=-1):
    data = int32(-1) if records is None else int32(len(records)) + records
    return (string(None) + int16(acks) + int32(10000) +
            array([string(topic) + array([int32(partition) + data])]))


def produce(connection, topic, records, partition=0, acks=-1):
    """(error code, base offset) of Produce v8."""
    reader = connection.request(PRODUCE, 8, produce_body(topic, partition, records, acks))
    assert reader.int32() == 1
    reader.string()
    assert reader.int32() == 1
    assert reader.int32() == partition
    return reader.int16(), reader.int64()


def produce_answers(reader):
    """Topic: (error code, base offset, indexes of the records at fault), one partition each."""
    answers = {}
    for _ in range(reader.int32()):
        topic = reader.string()
        assert reader.int32() == 1
        reader.int32()
        error, base, _, _ = reader.int16(), reader.int64(), reader.int64(), reader.int64()
        indexes = []
        for _ in range(reader.int32()):
            indexes.append(reader.int32())
            reader.string()
        reader.string()
        answers[topic] = error, base, indexes
    return answers


def fetch_body(topic, offset, partition=0, wait_ms=500, size_max=1 << 20):
    return (int32(-1) + int32(wait_ms) + int32(1) + int32(size_max) + int8(0) +
            array([string(topic) + array([int32(partition) + int64(offset) + int32(size_max)])]))


def fetch(connection, topic, offset, **options):
    """(error code, high watermark, bytes) of Fetch v4."""
    reader = connection.request(FETCH, 4, fetch_body(topic, offset, **options))
    reader.int32()
    assert reader.int32() == 1
    reader.string()
    assert reader.int32() == 1
    reader.int32()
    error, high = reader.int16(), reader.int64()
    reader.int64()
    for _ in range(max(reader.int32(), 0)):
        reader.take(16)
    return error, high, reader.bytes()


def fetch_session(connection, session, topics=(), forgotten=(), wait_ms=0):
    """(error code, session id, {(topic, partition): (error code, high watermark, bytes)}) of Fetch
    v7 with session (id, epoch); topics are (name, {partition: offset}), forgotten (name,
    [partition])."""
    asked = [string(topic) + array([int32(partition) + int64(offset) + int64(-1) + int32(1 << 20)
                                    for partition, offset in partitions.items()])
             for topic, partitions in topics]
    gone = [string(topic) + array(map(int32, partitions)) for topic, partitions in forgotten]
    reader = connection.request(FETCH, 7, int32(-1) + int32(wait_ms) + int32(1) + int32(1 << 20) +
                                int8(0) + int32(session[0]) + int32(session[1]) + array(asked) +
                                array(gone))
    reader.int32()
    error, session_id = reader.int16(), reader.int32()
    rows = {}
    for _ in range(reader.int32()):
        topic = reader.string()
        for _ in range(reader.int32()):
            partition, code, high = reader.int32(), reader.int16(), reader.int64()
            reader.take(16)
            for _ in range(max(reader.int32(), 0)):
                reader.take(16)
            rows[topic, partition] = (code, high, reader.bytes())
    return error, session_id, rows


def list_offsets(connection, topic, time_ms, partition=0):
    """(error code, offset) of ListOffsets v1."""
    reader = connection.request(LIST_OFFSETS, 1, int32(-1) + array(
        [string(topic) + array([int32(partition) + int64(time_ms)])]))
    assert reader.int32() == 1
    reader.string()
    assert reader.int32() == 1
    reader.int32()
    error = reader.int16()
    reader.int64()
    return error, reader.int64()


def create_topic(connection, topic, count=1, replicas=1, config=()):
    """Error code of CreateTopics v3."""
    settings = array([string(name) + string(value) for name, value in config])
    reader = connection.request(CREATE_TOPICS, 3, array(
        [string(topic) + int32(count) + int16(replicas) + array([]) + settings]) +
        int32(10000) + int8(0))
    reader.int32()
    assert reader.int32() == 1
    reader.string()
    return reader.int16()


def delete_topic(connection, topic):
    """Error code of DeleteTopics v3."""
    reader = connection.request(DELETE_TOPICS, 3, array([string(topic)]) + int32(10000))
    reader.int32()
    assert reader.int32() == 1
    reader.string()
    return reader.int16()


def topic_configs(connection, topic, names):
    """Error code of DescribeConfigs v1, and the values by name."""
    reader = connection.request(DESCRIBE_CONFIGS, 1, array(
        [int8(2) + string(topic) + array(string(name) for name in names)]) + int8(0))
    reader.int32()
    assert reader.int32() == 1
    error = reader.int16()
    reader.string(), reader.int8(), reader.string()
    values = {}
    for _ in range(reader.int32()):
        name = reader.string()
        values[name] = reader.string()
        reader.take(3)
        assert reader.int32() == 0  # synonyms
    return error, values


def topic_error(connection, topic, create=False):
    """Error code of one topic in Metadata v4."""
    reader = connection.request(METADATA, 4, array([string(topic)]) + int8(int(create)))
    reader.int32()
    for _ in range(reader.int32()):
        reader.int32(), reader.string(), reader.int32(), reader.string()
    reader.string()
    reader.int32()
    assert reader.int32() == 1
    return reader.int16()


def producer_id(connection):
    """(id, epoch) of InitProducerId v0."""
    for _ in range(100):
        reader = connection.request(INIT_PRODUCER_ID, 0, string(None) + int32(60000))
        reader.int32()
        error = reader.int16()
        if error not in (14, 15):
            break
        time.sleep(0.05)  # Kafka fetches its first block of ids from the controller
    assert error == 0, f"InitProducerId: {error}"
    return reader.int64(), reader.int16()


def api_versions(connection, version=0, body=b""):
    """(error code, {key: (min, max)}) of a v0 answer."""
    reader = connection.request(API_VERSIONS, version, body)
    error = reader.int16()
    rows = [(reader.int16(), reader.int16(), reader.int16()) for _ in range(reader.int32())]
    return error, {key: (low, high) for key, low, high in rows}


def rss_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise AssertionError(f"no VmRSS of process {pid}")


def address_from_environment():
    host, port = os.environ["BOOTSTRAP"].rsplit(":", 1)
    return host, int(port)
