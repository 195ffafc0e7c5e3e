#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What consumer groups cost, over the socket, against any broker.

    benchmarks/groups/groups.py [--bootstrap HOST:PORT] [--weir PROGRAM] [--kafka] [--seconds N]

commit   OffsetCommit of one partition, paced, one request under way per connection; the latency
         counts from the moment it was due
settle   members that join one group at once and heartbeat ten times a second, until all partitions
         have one owner and nobody is told anything new; in the classic protocol (all of one
         generation, without group.initial.rebalance.delay.ms) and in the consumer protocol
load     a start on a folder with so many committed offsets: from the ready line to the first
         OffsetFetch that is answered (Weir only, because it starts the broker again)

One line per figure. Without --bootstrap a broker is started for the run.
"""
import argparse
import pathlib
import selectors
import socket
import struct
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests/clients/lib"))
sys.dont_write_bytecode = True

from broker import Broker  # noqa: E402 (the path comes first)

COMMITS_PER_S = 1000
COMMIT_CONNECTIONS = 16
MEMBERS = 50
PARTITIONS = 200
HEARTBEAT_S = 0.1
LOADED_OFFSETS = 10000
TOPIC = "groups-benchmark"
# What a consumer subscribes to: Kafka parks for ever whoever says it in another form.
SUBSCRIPTION = struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">i", -1)


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def blob(value):
    return struct.pack(">i", len(value)) + value


class Reader:
    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.position)
        self.position += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def text(self):
        size = self.take("h")
        self.position += max(size, 0)
        return self.data[self.position - max(size, 0):self.position].decode()

    def blob(self):
        size = self.take("i")
        self.position += size
        return self.data[self.position - size:self.position]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def compact(self):
        """A compact string or None."""
        size = self.varint() - 1
        self.position += max(size, 0)
        return None if size < 0 else self.data[self.position - size:self.position].decode()


class Connection:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.correlation = 0

    def send(self, key, version, body, flexible=False):
        self.correlation += 1
        head = struct.pack(">hhi", key, version, self.correlation) + text("benchmark")
        head += b"\0" if flexible else b""
        self.socket.sendall(struct.pack(">i", len(head + body)) + head + body)

    def receive(self, wait=True):
        """The next answer, or None when it is not there yet."""
        while True:
            if len(self.buffer) >= 4:
                size = struct.unpack_from(">i", self.buffer)[0]
                if len(self.buffer) >= 4 + size:
                    frame, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
                    return Reader(frame[4:])
            self.socket.setblocking(wait)
            try:
                got = self.socket.recv(1 << 20)
            except BlockingIOError:
                return None
            finally:
                self.socket.setblocking(True)
            if not got:
                raise RuntimeError("connection closed by the broker")
            self.buffer += got

    def call(self, key, version, body):
        self.send(key, version, body)
        return self.receive()


def prepare(address):
    """The topic, and the coordinator's."""
    connection = Connection(address)
    connection.call(19, 2, struct.pack(">i", 1) + text(TOPIC) +
                    struct.pack(">ihiiib", PARTITIONS, 1, 0, 0, 30000, 0))
    while connection.call(10, 0, text("any")).take("h") != 0:
        time.sleep(0.05)


def commit_body(group, partition, offset):
    return (text(group) + struct.pack(">i", -1) + text("") + struct.pack(">qi", -1, 1) +
            text(TOPIC) + struct.pack(">iiq", 1, partition, offset) + text(""))


def commit_error(reader):
    reader.take("i")
    reader.text()
    return reader.take("iih")[2]


def measure_commits(address, seconds):
    connections = [Connection(address) for _ in range(COMMIT_CONNECTIONS)]
    selector = selectors.DefaultSelector()
    idle = []
    for index, connection in enumerate(connections):
        connection.index = index
        while commit_error(connection.call(8, 2, commit_body(f"commit-{index}", 0, 0))) != 0:
            time.sleep(0.05)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        idle.append(connection)
    start = time.perf_counter() + 0.1
    due = [start + i / COMMITS_PER_S for i in range(int(COMMITS_PER_S * seconds))]
    sent, latencies = 0, []
    while len(latencies) < len(due):
        now = time.perf_counter()
        while sent < len(due) and due[sent] <= now and idle:
            connection = idle.pop()
            connection.due = due[sent]
            connection.send(8, 2, commit_body(f"commit-{connection.index}", 0, sent))
            sent += 1
        # A wait counts in whole milliseconds, which is what is to be measured: so it spins.
        for key, _ in selector.select(0 if sent < len(due) and idle else 0.01):
            answer = key.data.receive()
            if commit_error(answer) != 0:
                raise RuntimeError("a commit was refused")
            latencies.append(time.perf_counter() - key.data.due)
            idle.append(key.data)
    latencies.sort()
    p50, p99, p999 = (latencies[int(len(latencies) * q)] * 1e3 for q in (0.5, 0.99, 0.999))
    print(f"commit {COMMITS_PER_S}/s over {COMMIT_CONNECTIONS} connections: "
          f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms", flush=True)


class Member:
    """JoinGroup 5, SyncGroup 3, Heartbeat 3; one request under way."""

    def __init__(self, address, group):
        self.connection = Connection(address)
        self.group, self.id, self.generation, self.settled = group, "", -1, False
        self.beat_due = float("inf")

    def join(self):
        self.settled, self.beat_due = False, float("inf")
        self.state = "join"
        self.connection.send(11, 5, text(self.group) + struct.pack(">ii", 30000, 30000) +
                             text(self.id) + b"\xff\xff" + text("consumer") +
                             struct.pack(">i", 1) + text("range") + blob(SUBSCRIPTION))

    def sync(self, members):
        self.state = "sync"
        share = PARTITIONS // MEMBERS * 4
        parts = b"".join(text(member) + blob(b"p" * share) for member in members)
        self.connection.send(14, 3, text(self.group) + struct.pack(">i", self.generation) +
                             text(self.id) + b"\xff\xff" + struct.pack(">i", len(members)) + parts)

    def beat(self):
        self.state = "beat"
        self.beat_due = float("inf")
        self.connection.send(12, 3, text(self.group) + struct.pack(">i", self.generation) +
                             text(self.id) + b"\xff\xff")

    def joined(self, reader):
        _, error, generation = reader.take("ihi")
        reader.text()
        leader = reader.text()
        self.id = reader.text() or self.id
        if error != 0:
            self.join()
            return
        self.generation = generation
        members = []
        for _ in range(reader.take("i")):
            members.append(reader.text())
            reader.take("h")
            reader.blob()
        self.sync(members if leader == self.id else [])

    def step(self):
        reader = self.connection.receive()
        if self.state == "join":
            self.joined(reader)
            return
        error = reader.take("ih")[1]
        if error in (22, 25, 27):
            self.join()
        elif error != 0:
            raise RuntimeError(f"{self.state}: error {error}")
        else:
            self.settled = True
            self.beat_due = time.perf_counter() + HEARTBEAT_S


class ConsumerMember:
    """ConsumerGroupHeartbeat 1: says what it was given, as a consumer does; one under way."""

    def __init__(self, address, group):
        self.connection = Connection(address)
        self.group, self.id, self.generation = group, str(uuid.uuid4()), 0
        self.owned, self.topic_id, self.beat_due = [], b"", float("inf")
        self.settled = False

    def join(self):
        self.beat(full=True)

    def compact_owned(self):
        if not self.owned:
            return b"\1"
        count = len(self.owned) + 1
        head = bytes([count]) if count < 128 else bytes([count & 127 | 128, count >> 7])
        return (b"\2" + self.topic_id + head + struct.pack(f">{len(self.owned)}i", *self.owned) +
                b"\0")

    def beat(self, full=False):
        """A full heartbeat says everything; the others only what the member owns."""
        self.beat_due = float("inf")
        name = TOPIC.encode()
        subscription = b"\2" + bytes([len(name) + 1]) + name if full else b"\0"
        body = (bytes([len(self.group) + 1]) + self.group.encode() +
                bytes([len(self.id) + 1]) + self.id.encode() + struct.pack(">i", self.generation) +
                b"\0\0" + struct.pack(">i", 30000 if full else -1) + subscription + b"\0\0" +
                self.compact_owned() + b"\0")
        self.connection.send(68, 1, body, flexible=True)

    def step(self):
        reader = self.connection.receive()
        reader.varint()
        error = reader.take("ih")[1]
        message = reader.compact()
        if error != 0:
            raise RuntimeError(f"heartbeat: error {error}, {message}")
        reader.compact()
        epoch, _ = reader.take("ii")
        changed = epoch != self.generation
        self.generation = epoch
        if reader.take("b") == 1:
            self.owned = []
            for _ in range(reader.varint() - 1):
                self.topic_id = reader.take("16s")
                self.owned += [reader.take("i") for _ in range(reader.varint() - 1)]
                reader.varint()
            changed = True
        self.settled = not changed
        # News is answered at once, as a consumer does when it has given partitions back.
        self.beat_due = time.perf_counter() + (0 if changed else HEARTBEAT_S)


def settle(protocol, members, is_whole):
    """All of them join; until every one is settled, in one generation, and is_whole()."""
    selector = selectors.DefaultSelector()
    for member in members:
        selector.register(member.connection.socket, selectors.EVENT_READ, member)
    start = time.perf_counter()
    for member in members:
        member.join()
    while True:
        for key, _ in selector.select(0.01):
            key.data.step()
        now = time.perf_counter()
        for member in members:
            if member.beat_due <= now:
                member.beat()
        generations = {member.generation for member in members}
        if all(member.settled for member in members) and len(generations) == 1 and is_whole():
            break
        if now - start > 60:
            raise RuntimeError("the group does not settle")
    print(f"settle {MEMBERS} members over {PARTITIONS} partitions, {protocol} protocol: "
          f"{(now - start) * 1e3:.0f} ms, generation {generations.pop()}", flush=True)


def measure_settle(address):
    settle("classic", [Member(address, "settle") for _ in range(MEMBERS)], lambda: True)
    members = [ConsumerMember(address, "settle-consumer") for _ in range(MEMBERS)]
    settle("consumer", members, lambda: sorted(
        partition for member in members for partition in member.owned) == list(range(PARTITIONS)))


def measure_load(broker, address):
    connection = Connection(address)
    per_request = 100
    for first in range(0, LOADED_OFFSETS, per_request):
        parts = b"".join(struct.pack(">iq", p, first) + text("") for p in range(per_request))
        body = (text(f"load-{first}") + struct.pack(">i", -1) + text("") +
                struct.pack(">qi", -1, 1) + text(TOPIC) + struct.pack(">i", per_request) + parts)
        while commit_error(connection.call(8, 2, body)) != 0:
            time.sleep(0.01)
    broker.kill()
    broker.start()
    address = broker.wait_ready()
    start = time.perf_counter()
    groups = [f"load-{first}" for first in range(0, LOADED_OFFSETS, per_request)]
    connection = Connection(address)
    for group in groups:
        while True:
            reader = connection.call(9, 2, text(group) + struct.pack(">i", 1) + text(TOPIC) +
                                     struct.pack(">ii", 1, 5))
            reader.take("i")
            reader.text()
            _, partition, offset = reader.take("iiq")
            if offset == int(group[5:]):
                break
            reader.text()
            if reader.take("h") == 0 and reader.take("h") == 0:
                raise RuntimeError(f"{group}, partition {partition}: offset {offset}")
    print(f"load {LOADED_OFFSETS} offsets of {len(groups)} groups: the last one answered "
          f"{(time.perf_counter() - start) * 1e3:.0f} ms after the ready line", flush=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--bootstrap")
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    broker = None
    address = options.bootstrap
    if address is None:
        broker = Broker("kafka" if options.kafka else "weir", 0,
                        ["group.initial.rebalance.delay.ms=0"])
        broker.start()
        address = broker.wait_ready()
    try:
        prepare(address)
        measure_commits(address, options.seconds)
        measure_settle(address)
        if broker is not None and not options.kafka:
            measure_load(broker, address)
        if broker is not None:
            broker.failed = bool(broker.stop())
    finally:
        if broker is not None:
            broker.close()


if __name__ == "__main__":
    main()
