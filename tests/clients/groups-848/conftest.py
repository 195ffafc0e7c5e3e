# SPDX-License-Identifier: Apache-2.0
"""A broker for the whole run, with heartbeats and sessions short enough for tests.

WEIR_KIND=kafka: Apache Kafka instead: are the tests themselves right?
"""
import os
import pathlib
import random
import socket
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from broker import Broker  # noqa: E402 (the path comes first)

SETTINGS = ("group.consumer.heartbeat.interval.ms=200",
            "group.consumer.min.heartbeat.interval.ms=200",
            "group.consumer.session.timeout.ms=4000", "group.consumer.min.session.timeout.ms=4000",
            "group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=5")
KIND = os.environ.get("WEIR_KIND", "weir")
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
        settings = SETTINGS if KIND == "kafka" else (*SETTINGS, "memory.bytes=134217728")
        self.broker = Broker(KIND, fixed_port(), settings)
        self.broker.start()
        self.bootstrap = self.broker.wait_ready()

    def kill_and_start(self):
        self.broker.kill()
        self.broker.start()
        self.broker.wait_ready()


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
    """A word of the test's own, for topics and groups."""
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
