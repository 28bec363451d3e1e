"""Lies made from honest messages of random histories: parts of one put into another, repeated, out of order, for other filters.

None needs a key. Whatever comes, the example holds what was in force at its position, and never goes back. LIES is the number
of messages, 3,000 by default.
"""

import copy
import os
import random
import time

from active_set import ActiveSet
from hub import JWKS, NAMESPACE, activation, cursor, heartbeat, in_parts, snapshot, statement
from refused import Refused
from signed import read_keys

FILTERS = ((), ("a", "c"), ("b",))
POLICIES, ACTIVATIONS = "abcd", 6
MESSAGES_PER_STREAM, STREAMS_PER_HISTORY = 12, 25
LIES = int(os.environ.get("LIES", "3000"))
PROVED = ("snapshot", "heartbeat")


class History:
    """A random history of a hub, with its honest messages."""

    def __init__(self, chance):
        self.log, self._active, revision, now = {}, {}, 2, {}
        for _ in range(ACTIVATIONS):
            revision += chance.choice((1, 2, 3))
            moved = chance.sample(POLICIES, chance.choice((1, 1, 2, 3)))
            moves = [(policy, now.get(policy, (0,))[0], chance.choice((0, 1, 2, 3))) for policy in sorted(moved)]
            moves = [(policy, old, new) for policy, old, new in moves if old != new]
            if not moves:
                continue
            now = {policy: held for policy, held in now.items() if policy not in {each[0] for each in moves}}
            now |= {policy: (new, (1, revision)) for policy, _, new in moves if new}
            self.log[revision], self._active[revision] = moves, now
        self.newest = max(self.log, default=0)
        self.statements = {(1, at): statement((1, at), moves, self._active[at]) for at, moves in self.log.items()}
        makers = (self.snapshot_at, {}), (self.snapshot_at, {"age": 901}), (self.heartbeat_at, {}), (self.heartbeat_at, {"age": 901})
        # Filter, revision, message. An activation that moves nothing within the filter is not sent.
        self.true = [
            (wanted, revision, make(revision, wanted, **says)) for wanted in FILTERS for revision in self.log for make, says in makers
        ] + [
            (wanted, revision, self.activation_at(revision, wanted)) for wanted in FILTERS for revision, moves in self.log.items()
            if not wanted or {policy for policy, _, _ in moves} & set(wanted)
        ]  # fmt: skip
        self.positions = [(1, revision) for revision in (*self.log, 1_048_577, 1 << 62)] + [(2, 6), (-1, -6)]

    def active_at(self, revision):
        return self._active[revision]

    def snapshot_at(self, revision, wanted=(), **says):
        return snapshot((1, revision), self._active[revision], wanted, **says)

    def heartbeat_at(self, revision, wanted=(), **says):
        return heartbeat((1, revision), self._active[revision], wanted, **says)

    def activation_at(self, revision, wanted=()):
        return activation((1, revision), self.log[revision], self._active[revision], wanted)


def lie(chance, history, message, other):
    """Changes a message; `other` is an honest one whose parts it may use."""
    kind, from_kind = message.WhichOneof("message"), other.WhichOneof("message")
    told, true = getattr(message, kind), getattr(other, from_kind)
    match chance.choice(("cursor", "token", "proof", "bundles", "drop", "tombstone", "whole", "statement", "activation", "end")):
        case "cursor":
            told.cursor.CopyFrom(cursor(chance.choice(history.positions)))
        case "token" if kind in PROVED and from_kind in PROVED:
            told.checkpoint = true.checkpoint
            if chance.random() < 0.7:
                told.cursor.CopyFrom(true.cursor)
        case "proof":
            told.set_proof = true.set_proof
        case "bundles" if kind == from_kind != "heartbeat":
            del told.bundles[:]
            told.bundles.extend(true.bundles)
        case "drop" if kind != "heartbeat" and told.bundles:
            told.bundles.pop(chance.randrange(len(told.bundles)))
        case "tombstone" if kind == "activation":
            if told.tombstones and chance.random() < 0.5:
                del told.tombstones[:]
            else:
                told.tombstones.append(f"namespaces/{NAMESPACE}/policies/{chance.choice('abc')}")
        case "whole" if kind != "heartbeat":
            told.complete = not told.complete
        case "statement" if kind == "activation":
            position = chance.choice(list(history.statements))
            told.statement = history.statements[position]
            if chance.random() < 0.7:
                told.cursor.CopyFrom(cursor(position))
        case "activation" if kind == "snapshot" and told.bundles:
            chance.choice(told.bundles).activation.CopyFrom(cursor(chance.choice(history.positions)))
        case "end" if kind == from_kind == "activation":
            told.cursor.CopyFrom(true.cursor)
            told.statement, told.set_proof, told.complete = true.statement, true.set_proof, True


def told(chance, history, held):
    """Yields messages without end: honest ones, whole or in parts, some of them dropped, repeated or changed. Many are the next
    acceptable one."""
    if chance.random() < 0.8:
        yield history.snapshot_at(chance.choice(list(history.log)[:3]), held.wanted)
    while True:
        mine = [each for each in history.true if frozenset(each[0]) == held.wanted]
        if chance.random() < 0.7:
            later = [each for each in mine if each[2].HasField("activation") and (1, each[1]) > (held.position or (0, 0))]
            mine = later[:1] or mine
        *_, message = chance.choice(mine) if chance.random() < 0.9 else chance.choice(history.true)
        parts = [message]
        if message.WhichOneof("message") != "heartbeat" and chance.random() < 0.6:
            kind = getattr(message, message.WhichOneof("message"))
            things = len(kind.bundles) + len(getattr(kind, "tombstones", ()))
            parts = in_parts(message, *sorted(chance.choices(range(things + 1), k=chance.choice((1, 1, 2)))))
        for part in parts:
            for _ in range(chance.choices((0, 1, 2), (1, 18, 1))[0]):
                found = copy.deepcopy(part)
                for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2, 3))):
                    lie(chance, history, found, chance.choice(history.true)[2])
                yield found


def in_force(history, revision, wanted):
    return {policy: held for policy, held in history.active_at(revision).items() if not wanted or policy in wanted}


def check_held(history, held, expect):
    """Checks that the held set was in force at its position, and is complete for the filter."""
    found = {policy: (active.version, active.position) for policy, active in held.policies.items()}
    if held.position is None:
        return expect(not found, f"holds {found} at no position")
    expect(held.position in history.statements, f"holds {found} at {held.position}, which nobody signed")
    return expect(found == in_force(history, held.position[1], held.wanted), f"holds {found} at {held.position}")


def play(chance, history, expect):
    """Plays a stream of lies to one subscriber, then the honest one. Returns the accepted messages, and what they moved."""
    wanted, now, taken, moved = chance.choice(FILTERS), time.time(), 0, []
    held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
    messages = told(chance, history, held)
    for _ in range(MESSAGES_PER_STREAM):
        message = next(messages)
        before, newest, fresh_until = (held.position, held.policies, held.fingerprint), held.newest_verified, held.fresh_until
        try:
            change, taken = held.apply(message, now), taken + 1
            if change:
                parts = message.WhichOneof("message") == "activation" and len(message.activation.bundles) < len(change.changed)
                moved.append((change.kind == "SNAPSHOT", bool(wanted), parts))
        except Refused:
            expect((held.position, held.policies, held.fingerprint) == before, f"a refused message changed something: {message}")
            expect(held.fresh_until in (0, fresh_until), f"a refused message made fresh: {message}")
            held.begin_stream()
        expect((held.position or (0, 0)) >= (before[0] or (0, 0)), f"goes back from {before[0]} by {message}")
        expect(held.newest_verified >= max(newest, held.position or (0, 0)), f"forgets {newest} by {message}")
        check_held(history, held, expect)
    held.begin_stream()
    for part in in_parts(history.snapshot_at(history.newest, wanted)):
        held.apply(part, now)
    check_held(history, held, expect)
    expect(held.is_fresh(now), "an honest hub does not repair it")
    return taken, moved


def check(expect):
    """Returns how many messages were sent, and how many of them were accepted."""
    played, seed = [], 0
    while len(played) * MESSAGES_PER_STREAM < LIES:
        seed += 1
        chance = random.Random(seed)
        history = History(chance)
        if history.log:
            played += [play(chance, history, expect) for _ in range(STREAMS_PER_HISTORY)]
    messages, taken = len(played) * MESSAGES_PER_STREAM, sum(taken for taken, _ in played)
    expect(messages // 20 < taken < messages, f"{taken} of {messages} lies were taken: they prove little")
    moved = [each for _, moves in played for each in moves]
    for kind in ((True, True, False), (True, False, False), (False, True, False), (False, True, True), (False, False, True)):
        expect(moved.count(kind) >= 10, f"{moved.count(kind)} of {kind} (snapshot, of a filter, in parts): they prove little")
    return messages, taken
