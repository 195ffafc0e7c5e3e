#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the broker may not create topics by itself, asking for one does not; CreateTopics does.

And a broker that stands in a rack says so.
"""
import os
import sys
import time

import wire


def rack_of(connection):
    """Of the one broker in Metadata v4."""
    reader = connection.request(wire.METADATA, 4, wire.array([]) + wire.int8(0))
    reader.int32()
    assert reader.int32() == 1
    reader.int32()
    reader.string()
    reader.int32()
    return reader.string()


def main():
    topic = os.environ.get("TOPIC_PREFIX", "off-") + "topic"
    with wire.Connection(wire.address_from_environment()) as connection:
        if rack_of(connection) != "left":
            print(f"FAILED rack: {rack_of(connection)}, expected left")
            return 1
        for create in (True, False, True):
            error = wire.topic_error(connection, topic, create)
            if error != 3:
                print(f"FAILED metadata, creation allowed {create}: {error}, expected 3")
                return 1
        records = wire.batch([wire.record(b"nowhere")])
        error, _ = wire.produce(connection, topic, records)
        if error != 3:
            print(f"FAILED produce: {error}, expected 3")
            return 1
        error = wire.create_topic(connection, topic)
        deadline = time.monotonic() + 10
        while error == 0 and wire.produce(connection, topic, records)[0] != 0:
            if time.monotonic() > deadline:
                error = "not served"
        if error != 0:
            print(f"FAILED create topic: {error}")
            return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
