# SPDX-License-Identifier: Apache-2.0
"""A broker that begins to name its one partition thousands of times, while a consumer is at it.

Prints its port. The first Fetch is told that the leader moved, so that Metadata is asked again; the
second that it may not read.
"""
import socket
import struct
import threading

COUNT = 3000
FIRST, NOT_LEADER, NOT_ALLOWED = 7, 6, 29
FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 1, 2, 3, 18
VERSIONS = {API_VERSIONS: 0, METADATA: 1, LIST_OFFSETS: 1, FETCH: 4}


def int16(value):
    return struct.pack(">h", value)


def int32(value):
    return struct.pack(">i", value)


def int64(value):
    return struct.pack(">q", value)


def string(value):
    return int16(len(value)) + value.encode()


def metadata(port, count):
    broker = int32(1) + string("127.0.0.1") + int32(port) + int16(-1)
    partition = int16(0) + int32(0) + int32(1) + 2 * (int32(1) + int32(1))
    return int32(1) + broker + int32(1) + int32(1) + int16(0) + string("twice") + b"\0" + \
        int32(count) + count * partition


def answer(key, version, port, asked):
    if key == API_VERSIONS:
        rows = b"".join(int16(row) + int16(0) + int16(last) for row, last in VERSIONS.items())
        return int16(0 if version == 0 else 35) + int32(len(VERSIONS)) + rows
    first = key not in asked
    asked.add(key)
    if key == METADATA:
        return metadata(port, 1 if first else COUNT)
    head = int32(1) + string("twice") + int32(1) + int32(0)
    if key == LIST_OFFSETS:
        return head + int16(0) + int64(-1) + int64(FIRST)
    error = int16(NOT_LEADER if first else NOT_ALLOWED)
    return int32(0) + head + error + int64(FIRST) + int64(FIRST) + int32(0) + int32(0)


def serve(peer, port, asked):
    with peer, peer.makefile("rb") as reader:
        while size := reader.read(4):
            request = reader.read(struct.unpack(">i", size)[0])
            key, version, correlation = struct.unpack(">hhi", request[:8])
            body = int32(correlation) + answer(key, version, port, asked)
            peer.sendall(int32(len(body)) + body)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(port, flush=True)
    asked = set()
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve, args=(peer, port, asked), daemon=True).start()


main()
