# SPDX-License-Identifier: Apache-2.0
"""A broker for the whole run, and what its clients see in the end."""
import pathlib
import random
import socket
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import raw  # noqa: E402 (the path comes first)
from broker import Broker  # noqa: E402
from raw import wire  # noqa: E402

SETTINGS = ("transaction.abort.timed.out.transaction.cleanup.interval.ms=100",
            "transaction.state.log.num.partitions=6", "offsets.topic.num.partitions=5",
            "memory.bytes=134217728", "cores=2")
WAIT_S_MAX = 30


def fixed_port():
    """Below the ports that the kernel gives to clients: one that looks for a killed broker could
    else be given the broker's own port, and talk to itself."""
    for port in random.sample(range(15000, 30000), 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


class Served:
    """A broker at a fixed port, so that clients find it again after a kill."""

    def __init__(self):
        self.port = fixed_port()
        self.broker = Broker("weir", self.port, SETTINGS)
        self.broker.start()
        self.bootstrap = self.broker.wait_ready()

    def connect(self):
        return wire.Connection(("127.0.0.1", self.port))

    def kill_and_start(self):
        """A new connection: whoever has an answer has what it says on disk."""
        self.broker.kill()
        self.broker.start()
        self.broker.wait_ready()
        return self.connect()

    def topic(self, name, count=2):
        with self.connect() as connection:
            assert wire.create_topic(connection, name, count) == 0
        return name


@pytest.fixture(scope="session")
def served():
    made = Served()
    yield made
    wrong = made.broker.stop()
    made.broker.failed = bool(wrong)
    made.broker.close()
    assert not wrong


@pytest.fixture
def name(request):
    """A word of the test's own, for topics, groups and transactional ids."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


def wait_until(condition, what):
    """What the condition answers, once that is true."""
    deadline = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"not within {WAIT_S_MAX} s: {what}")


def settled(connection, topic, partition):
    """The partition once nothing is open in it."""
    def look():
        seen = raw.Seen(connection, topic, partition)
        return seen if seen.settled else None
    return wait_until(look, f"{topic}-{partition} is decided")


def until_ok(call, what):
    """Repeats while a coordinator loads (14), is not there yet (15, 16) or is busy (51)."""
    def ask():
        error = call()
        assert error in (0, 14, 15, 16, 51), f"{what}: error {error}"
        return error == 0
    wait_until(ask, what)
