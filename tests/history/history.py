#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Producers, transactions, readers and a group against a broker that is killed again and again.

    history.py [--operations 50000] [--seconds 60] [--seed N] [--kafka] [--self-test]

Every record sent, read and every offset committed is an operation; what the clients were told is
kept and judged at the end, see checker.py. Ends when both so many operations were done and at
least five kills, or the time is up.
"""
import argparse
import pathlib
import random
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "clients/lib"))

from checker import History, judge, self_test  # noqa: E402 (the path comes first)

KILLS_MIN = 5
LOAD_S = {"weir": (0.5, 3.0), "kafka": (3.0, 6.0)}
SETTINGS = {"weir": ["group.initial.rebalance.delay.ms=0"], "kafka": []}
SHOWN_MAX = 10


def create_topics(bootstrap):
    from confluent_kafka.admin import AdminClient, NewTopic
    from workload import PARTITION_COUNT, PLAIN, TRANSACTIONAL
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = [NewTopic(name, PARTITION_COUNT, 1) for name in (PLAIN, TRANSACTIONAL)]
    for made in admin.create_topics(topics).values():
        made.result(60)


def start_clients(bootstrap, recorder, seed, ending):
    from workload import Member, PlainProducer, Reader, TransactionalProducer
    kinds = {"plain": (PlainProducer, 2), "transaction": (TransactionalProducer, 3),
             "reader": (Reader, 2), "member": (Member, 3)}
    clients = [kind(f"{name}-{i}", bootstrap, recorder, seed, ending)
               for name, (kind, count) in kinds.items() for i in range(count)]
    for client in clients:
        client.start()
    return clients


def drive(options, broker, recorder):
    """Kills and starts until there is enough; the address of the last start and the kills."""
    chance = random.Random(options.seed)
    began = time.monotonic()
    kills = 0
    while time.monotonic() - began < options.seconds and \
            (recorder.count < options.operations or kills < KILLS_MIN):
        time.sleep(chance.uniform(*LOAD_S[broker.kind]))
        if broker.process.poll() is not None:
            raise RuntimeError(f"the broker ended by itself, code {broker.process.returncode}")
        broker.kill()
        broker.start()
        broker.wait_ready()
        kills += 1
    return kills


def run(options, broker):
    from workload import Member, PARTITION_COUNT, PLAIN, Recorder, committed, read_to_end
    broker.start()
    bootstrap = broker.wait_ready()
    create_topics(bootstrap)
    recorder, ending = Recorder(), threading.Event()
    clients = start_clients(bootstrap, recorder, options.seed, ending)
    kills = drive(options, broker, recorder)
    ending.set()
    for client in clients:
        client.join(120)
        if client.is_alive():
            recorder.problems.append(f"{client.name} does not come to an end")
    history = History(recorder.ops, read_to_end(bootstrap), committed(bootstrap, Member.group),
                      {(PLAIN, i) for i in range(PARTITION_COUNT)})
    outcomes = {}
    for op in history.ops:
        if op.transactional:
            outcomes[op.outcome] = outcomes.get(op.outcome, 0) + 1
    commits = sum(len(op.commits) for op in history.ops)
    print(f"{recorder.count} operations, {kills} kills, transactions {outcomes}, {commits} offsets "
          f"committed, {sum(map(len, history.final.values()))} records at the end")
    wrong = recorder.problems + [f"{kind}: {words}" for kind, words in judge(history)]
    if recorder.count < options.operations:
        print(f"only {recorder.count} of {options.operations} operations in {options.seconds} s")
    if not outcomes.get("ok") or not outcomes.get("fail") or commits == 0:
        wrong.append("the workload did not do all of its kinds")
    return wrong + broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=50000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    wrong = self_test()
    if options.self_test or wrong:
        print(*[f"FAILED {sentence}" for sentence in wrong] or ["every planted anomaly is found"],
              sep="\n")
        return 1 if wrong else 0
    from broker import Broker, free_port
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    kind = "kafka" if options.kafka else "weir"
    broker = Broker(kind, free_port(), SETTINGS[kind])
    try:
        wrong = run(options, broker)
        broker.failed = bool(wrong)
    except (RuntimeError, OSError) as problem:
        wrong = [f"{type(problem).__name__}: {problem}"]
    finally:
        broker.close()
    for sentence in wrong[:SHOWN_MAX]:
        print(f"FAILED {sentence[:200]}")
    if wrong:
        print(f"{len(wrong)} findings, replay: history.py --seed {options.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
