# SPDX-License-Identifier: Apache-2.0
"""Transactions by hand, in both protocols: version 1 adds partitions by AddPartitionsToTxn and
keeps its epoch; version 2 (KIP-890) adds them with Produce v12 and is given a new epoch at each
end."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire-bad"))

import wire  # noqa: E402 (the path comes first)
from wire import array, int8, int16, int32, int64, string  # noqa: E402

ADD_PARTITIONS, ADD_OFFSETS, END, TXN_OFFSET_COMMIT = 24, 25, 26, 28
OFFSET_FETCH, FIND_COORDINATOR = 9, 10
TRANSACTIONAL = 0x10
NO_TAGS = b"\x00"


def compact(data):
    """A string or bytes of the flexible encoding, short enough for one byte of length or two."""
    data = data if isinstance(data, bytes) else data.encode()
    size = len(data) + 1
    head = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return head + data


def compact_array(items):
    items = list(items)
    return bytes([len(items) + 1]) + b"".join(items)


def flexible(connection, key, version, body):
    """The reader of the answer's body."""
    frame, correlation = wire.frame(key, version, NO_TAGS + body)
    connection.send(frame)
    reader = connection.answer(correlation)
    assert reader.take(1) == NO_TAGS
    return reader


def batch(pair, sequence, values, attributes=TRANSACTIONAL):
    records = [wire.record(value.encode(), delta=index) for index, value in enumerate(values)]
    return wire.batch(records, attributes=attributes, producer_id=pair[0], producer_epoch=pair[1],
                      base_sequence=sequence)


class Producer:
    """One transactional id; every method answers an error code."""

    def __init__(self, connection, name, version=1, timeout_ms=60000):
        self.connection = connection
        self.name = name
        self.version = version
        self.timeout_ms = timeout_ms
        self.pair = (-1, -1)
        self.sequences = {}

    def find(self):
        """The first one creates __transaction_state."""
        reader = self.connection.request(FIND_COORDINATOR, 1, string(self.name) + int8(1))
        reader.int32()
        return reader.int16()

    def init(self):
        reader = self.connection.request(wire.INIT_PRODUCER_ID, 1,
                                         string(self.name) + int32(self.timeout_ms))
        reader.int32()
        error, pair = reader.int16(), (reader.int64(), reader.int16())
        if error == 0:
            self.pair = pair
            self.sequences = {}
        return error

    def _who(self, pair):
        pair = pair or self.pair
        return string(self.name) + int64(pair[0]) + int16(pair[1])

    def add(self, topic, partitions, pair=None):
        """{partition: error code} of AddPartitionsToTxn v1."""
        reader = self.connection.request(ADD_PARTITIONS, 1, self._who(pair) + array(
            [string(topic) + array(map(int32, partitions))]))
        reader.int32()
        assert reader.int32() == 1
        reader.string()
        return {reader.int32(): reader.int16() for _ in range(reader.int32())}

    def produce(self, topic, partition, values, pair=None):
        pair = pair or self.pair
        sequence = self.sequences.get((topic, partition), 0)
        records = batch(pair, sequence, values)
        if self.version == 1:
            body = (string(self.name) + int16(-1) + int32(10000) + array(
                [string(topic) + array([int32(partition) + int32(len(records)) + records])]))
            reader = self.connection.request(wire.PRODUCE, 8, body)
            assert reader.int32() == 1
            reader.string()
            assert (reader.int32(), reader.int32()) == (1, partition)
        else:
            body = (compact(self.name) + int16(-1) + int32(10000) + compact_array(
                [compact(topic) + compact_array(
                    [int32(partition) + compact(records) + NO_TAGS]) + NO_TAGS]) + NO_TAGS)
            reader = flexible(self.connection, wire.PRODUCE, 12, body)
            assert reader.take(1) == b"\x02"
            reader.take(reader.take(1)[0] - 1)
            assert reader.take(1) == b"\x02"
            assert reader.int32() == partition
        error = reader.int16()
        if error == 0:
            self.sequences[topic, partition] = sequence + len(values)
        return error

    def begin(self, topic, partitions, values):
        """Adds the partitions, where the version asks for that, and writes to each."""
        if self.version == 1:
            assert set(self.add(topic, partitions).values()) == {0}
        for partition in partitions:
            assert self.produce(topic, partition, values) == 0

    def end_frame(self, commit, pair=None):
        """For those who do not wait for the answer: the frame and its correlation id."""
        if self.version == 1:
            return wire.frame(END, 1, self._who(pair) + int8(int(commit)))
        pair = pair or self.pair
        return wire.frame(END, 5, NO_TAGS + compact(self.name) + int64(pair[0]) + int16(pair[1]) +
                          int8(int(commit)) + NO_TAGS)

    def end(self, commit, pair=None):
        frame, correlation = self.end_frame(commit, pair)
        self.connection.send(frame)
        reader = self.connection.answer(correlation)
        if self.version == 1:
            reader.int32()
            return reader.int16()
        assert reader.take(1) == NO_TAGS
        reader.int32()
        error, next_pair = reader.int16(), (reader.int64(), reader.int16())
        if error == 0:
            self.pair = next_pair
            self.sequences = {}
        return error

    def add_offsets(self, group):
        reader = self.connection.request(ADD_OFFSETS, 1, self._who(None) + string(group))
        reader.int32()
        return reader.int16()

    def commit_offset(self, group, topic, partition, offset):
        """TxnOffsetCommit v0, which has AddOffsetsToTxn before it."""
        body = (string(self.name) + string(group) + int64(self.pair[0]) + int16(self.pair[1]) +
                array([string(topic) + array([int32(partition) + int64(offset) + string("")])]))
        reader = self.connection.request(TXN_OFFSET_COMMIT, 0, body)
        reader.int32()
        assert reader.int32() == 1
        reader.string()
        assert (reader.int32(), reader.int32()) == (1, partition)
        return reader.int16()


def committed_offset(connection, group, topic, partition):
    reader = connection.request(OFFSET_FETCH, 1, string(group) + array(
        [string(topic) + array([int32(partition)])]))
    assert reader.int32() == 1
    reader.string()
    assert (reader.int32(), reader.int32()) == (1, partition)
    return reader.int64()


class Seen:
    """One partition as a Fetch v4 of read_committed shows it."""

    def __init__(self, connection, topic, partition, offset=0, wait_ms=0):
        body = (int32(-1) + int32(wait_ms) + int32(1) + int32(1 << 20) + int8(1) + array(
            [string(topic) + array([int32(partition) + int64(offset) + int32(1 << 20)])]))
        reader = connection.request(wire.FETCH, 4, body)
        reader.int32()
        assert reader.int32() == 1
        reader.string()
        assert (reader.int32(), reader.int32()) == (1, partition)
        assert reader.int16() == 0
        self.high, self.stable = reader.int64(), reader.int64()
        self.aborted = [(reader.int64(), reader.int64()) for _ in range(max(reader.int32(), 0))]
        self.bytes = reader.bytes() or b""
        self.settled = self.stable == self.high
