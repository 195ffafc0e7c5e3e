# SPDX-License-Identifier: Apache-2.0
"""Judges what clients saw of a log.

A history is a list of Op in the order in which they ended. Values are unique. An operation is

  ok     its effect was confirmed: a send acknowledged, a transaction committed
  fail   it surely had no effect: a transaction aborted
  info   nobody knows: the connection broke

Sends and polls inside a transaction belong to its one operation. The log as it truly was is put
together from what was seen: `order` holds, for each partition, the values by offset.

  inconsistent-offset  two values at one offset
  duplicate            a value at more than one offset
  lost-write           confirmed, behind it something was read, and nobody ever read it
  unseen               confirmed, and the read to the end at the close did not meet it
  aborted-read         the value of an operation that failed was read
  own-read             a transaction reads what it has just sent
  skip, back           a reader's next record is not the next of the log; not asked of members of
                       a group across assignments
  send-back            a producer's confirmed sends to a partition are not in its order
  cycle                transactions that each read from the other
  torn                 part of a committed transaction was visible where the rest had its turn too
  lost-commit          a group's offset lies before one that was confirmed
  gap                  offsets missing in a partition without transactions
  damaged              a value whose checksum is wrong
"""
import collections
import dataclasses
import re
import zlib


@dataclasses.dataclass
class Op:
    process: str
    outcome: str  # ok, fail, info
    sends: list = dataclasses.field(default_factory=list)  # (partition, offset or None, value)
    polls: list = dataclasses.field(default_factory=list)  # (partition, offset, value)
    assigned: bool = False  # the process begins anew somewhere: its next polls follow nothing
    transactional: bool = False
    commits: dict = dataclasses.field(default_factory=dict)  # (group, partition): offset


@dataclasses.dataclass
class History:
    ops: list
    final: dict  # partition: [(offset, value)] of the read to the end, in the order of reading
    final_commits: dict = dataclasses.field(default_factory=dict)
    dense: set = dataclasses.field(default_factory=set)  # partitions without transactions


def seal(words):
    """A value that carries its own checksum."""
    return f"{words} {zlib.crc32(words.encode()):08x}"


def is_whole(value):
    words, _, mark = value.rpartition(" ")
    return mark == f"{zlib.crc32(words.encode()):08x}"


class Judge:
    def __init__(self, history):
        self.history = history
        self.found = []
        self.log = collections.defaultdict(lambda: collections.defaultdict(set))
        self.sender = {}
        self.read = set()
        for op in history.ops:
            for partition, offset, value in op.sends:
                self.sender[value] = op
                if op.outcome == "ok" and offset is not None:
                    self.log[partition][offset].add(value)
            for partition, offset, value in op.polls:
                self.note_read(partition, offset, value)
        for partition, records in history.final.items():
            for offset, value in records:
                self.note_read(partition, offset, value)
        self.order = {partition: sorted(offsets) for partition, offsets in self.log.items()}
        self.index = {partition: {offset: i for i, offset in enumerate(offsets)}
                      for partition, offsets in self.order.items()}

    def note_read(self, partition, offset, value):
        self.log[partition][offset].add(value)
        self.read.add(value)

    def blame(self, kind, words):
        self.found.append((kind, re.sub("x{9,}", "xx..", words)))

    def committed(self, op):
        return op.outcome == "ok" or (
            op.outcome == "info" and any(value in self.read for _, _, value in op.sends))

    def judge(self):
        self.check_offsets()
        self.check_presence()
        self.check_reads()
        self.check_sends()
        self.check_torn()
        self.check_cycles()
        self.check_commits()
        return self.found

    def check_offsets(self):
        places = collections.defaultdict(set)
        for partition, offsets in self.log.items():
            for offset, values in offsets.items():
                if len(values) > 1:
                    self.blame("inconsistent-offset", f"{partition}:{offset}: {sorted(values)}")
                for value in values:
                    places[value].add((partition, offset))
                    if not is_whole(value):
                        self.blame("damaged", f"{partition}:{offset}: {value}")
        for value, where in places.items():
            if len(where) > 1:
                self.blame("duplicate", f"{value} at {sorted(where)}")
        for partition in self.history.dense:
            order = self.order.get(partition, [])
            for before, after in zip(order, order[1:]):
                if after != before + 1:
                    self.blame("gap", f"{partition}: {after} follows {before}")

    def check_presence(self):
        seen_at_end = {value for records in self.history.final.values() for _, value in records}
        highest = {}
        for op in self.history.ops:
            for partition, offset, _ in op.polls:
                highest[partition] = max(highest.get(partition, -1), offset)
        for op in self.history.ops:
            if op.outcome != "ok":
                continue
            for partition, offset, value in op.sends:
                if value not in self.read and offset is not None and \
                        offset <= highest.get(partition, -1):
                    self.blame("lost-write", f"{value} at {partition}:{offset}")
                elif value not in seen_at_end:
                    self.blame("unseen", f"{value} at {partition}:{offset}")

    def check_reads(self):
        last = {}
        for op in self.history.ops:
            if op.assigned:
                last = {key: place for key, place in last.items() if key[0] != op.process}
            own = {value for _, _, value in op.sends}
            for partition, offset, value in op.polls:
                sender = self.sender.get(value)
                if sender is not None and sender.outcome == "fail":
                    self.blame("aborted-read", f"{op.process} read {value}")
                if value in own:
                    self.blame("own-read", f"{op.process} read {value}")
                self.check_step(last, op, partition, offset)
        for records in self.history.final.values():
            for _, value in records:
                sender = self.sender.get(value)
                if sender is not None and sender.outcome == "fail":
                    self.blame("aborted-read", f"the read to the end met {value}")

    def check_step(self, last, op, partition, offset):
        at = self.index[partition][offset]
        before = last.get((op.process, partition))
        last[op.process, partition] = at
        if before is not None and at > before + 1:
            self.blame("skip", f"{op.process}: {partition}:{offset} after "
                               f"{self.order[partition][before]}")
        elif before is not None and at < before + 1:
            self.blame("back", f"{op.process}: {partition}:{offset} after "
                               f"{self.order[partition][before]}")

    def check_sends(self):
        last = {}
        for op in self.history.ops:
            if op.outcome != "ok":
                continue
            for partition, offset, value in op.sends:
                if offset is None:
                    continue
                if offset <= last.get((op.process, partition), -1):
                    self.blame("send-back", f"{op.process}: {value} at {partition}:{offset}")
                last[op.process, partition] = offset

    def check_torn(self):
        """By the end everything committed is visible, so a transaction is there whole or not."""
        final = {value for records in self.history.final.values() for _, value in records}
        for op in self.history.ops:
            if op.transactional and op.sends:
                there = sum(value in final for _, _, value in op.sends)
                if 0 < there < len(op.sends):
                    self.blame("torn", f"{there} of {len(op.sends)} of {op.process}: "
                                       f"{op.sends[0][2]}")

    def check_cycles(self):
        """Edges from the sender of a value to its reader, among transactions."""
        number = {id(op): i for i, op in enumerate(self.history.ops)}
        edges = collections.defaultdict(set)
        for op in self.history.ops:
            if not op.transactional or not self.committed(op):
                continue
            for _, _, value in op.polls:
                sender = self.sender.get(value)
                if sender is not None and sender is not op and sender.transactional:
                    edges[number[id(sender)]].add(number[id(op)])
        state = {}
        for root in list(edges):
            path = [(root, iter(edges[root]))] if root not in state else []
            state.setdefault(root, 1)
            while path:
                node, rest = path[-1]
                target = next(rest, None)
                if target is None:
                    state[node] = 2
                    path.pop()
                elif state.get(target) == 1:
                    self.blame("cycle", f"{self.history.ops[target].process} reads from itself "
                                        f"through {self.history.ops[node].process}")
                elif target not in state:
                    state[target] = 1
                    path.append((target, iter(edges[target])))

    def check_commits(self):
        best = {}
        for op in self.history.ops:
            for place, offset in op.commits.items() if op.outcome == "ok" else ():
                best[place] = max(best.get(place, -1), offset)
        for place, offset in best.items():
            if self.history.final_commits.get(place, -1) < offset:
                self.blame("lost-commit", f"{place}: {self.history.final_commits.get(place)} "
                                          f"where {offset} was confirmed")


def judge(history):
    """A list of (kind, words)."""
    return Judge(history).judge()


# ---- the checker itself ----

A, B, C, D = (seal(word) for word in "abcd")


def clean():
    return History(
        ops=[Op("w", "ok", sends=[(0, 0, A), (0, 1, B)]),
             Op("t", "ok", sends=[(1, 0, C), (2, 0, D)], transactional=True),
             Op("r", "ok", polls=[(0, 0, A)]), Op("r", "ok", polls=[(0, 1, B), (1, 0, C)]),
             Op("g", "ok", commits={("g", 0): 2})],
        final={0: [(0, A), (1, B)], 1: [(0, C)], 2: [(0, D)]},
        final_commits={("g", 0): 2}, dense={0})


def planted():
    """One history for each kind of anomaly, made from the clean one."""
    def change(kind, edit):
        history = clean()
        edit(history)
        return kind, history
    aborted = Op("t", "fail", sends=[(1, None, seal("x"))], transactional=True)
    return [
        change("inconsistent-offset", lambda h: h.ops.append(Op("q", "ok", polls=[(0, 0, B)]))),
        change("duplicate", lambda h: h.final[0].append((2, A))),
        change("lost-write", lambda h: (h.ops.insert(0, Op("w2", "ok", sends=[(2, 0, seal("x"))])),
                                        h.final.update({2: [(1, D)]}),
                                        h.ops.append(Op("q", "ok", polls=[(2, 1, D)])))),
        change("unseen", lambda h: h.ops.append(Op("w2", "ok", sends=[(0, 2, seal("x"))]))),
        change("aborted-read", lambda h: (h.ops.append(aborted),
                                          h.final[1].append((1, seal("x"))))),
        change("own-read", lambda h: h.ops.append(
            Op("t", "ok", sends=[(1, 1, seal("x"))], polls=[(1, 1, seal("x"))],
               transactional=True))),
        change("skip", lambda h: (h.final[0].append((2, seal("x"))), h.ops.append(
            Op("q", "ok", polls=[(0, 0, A), (0, 2, seal("x"))])))),
        change("back", lambda h: h.ops.append(Op("q", "ok", polls=[(0, 1, B), (0, 0, A)]))),
        change("send-back", lambda h: h.ops.append(Op("w", "ok", sends=[(0, 0, A)]))),
        change("cycle", lambda h: (
            h.ops.append(Op("t1", "ok", sends=[(1, 1, seal("x"))], polls=[(2, 1, seal("y"))],
                            transactional=True)),
            h.ops.append(Op("t2", "ok", sends=[(2, 1, seal("y"))], polls=[(1, 1, seal("x"))],
                            transactional=True)))),
        change("torn", lambda h: h.final[2].clear()),
        change("lost-commit", lambda h: h.final_commits.update({("g", 0): 1})),
        change("gap", lambda h: (h.ops.append(Op("w2", "ok", sends=[(0, 3, seal("x"))])),
                                 h.final[0].append((3, seal("x"))))),
        change("damaged", lambda h: h.final[2].append((1, "e 00000000"))),
    ]


def self_test():
    """Sentences about what the checker does not see, or sees where there is nothing."""
    wrong = []
    for kind, words in judge(clean()):
        wrong.append(f"a clean history is blamed for {kind}: {words}")
    for kind, history in planted():
        if kind not in {found for found, _ in judge(history)}:
            wrong.append(f"{kind} was planted and not found")
    return wrong
