"""Lies out of true messages, by chance: parts of one put into another, repeated, out of order, for other filters.

None needs a key. Whatever comes, the example holds what was in force at the place that it holds, and never goes back.
"""

import copy
import random
import time

from active_set import ActiveSet
from hub import JWKS, NAMESPACE, cursor, in_parts
from log import LOG, NEWEST, STATEMENTS, activation_at, active_at, heartbeat_at, snapshot_at
from refused import Refused
from signed import read_keys

FILTERS = ((), ("a", "c"), ("b",))
STREAMS, MESSAGES_PER_STREAM = 250, 12
# Filter, revision, message.
TRUE = [
    (wanted, revision, make(revision, wanted, **says))
    for wanted in FILTERS for revision in LOG
    for make, says in ((snapshot_at, {}), (snapshot_at, {"age": 901}), (activation_at, {}), (heartbeat_at, {}), (heartbeat_at, {"age": 901}))
]  # fmt: skip
PLACES = [(1, revision) for revision in (*LOG, 9, 1_048_577, 1 << 62)] + [(2, 6), (-1, -6)]
PROVED = ("snapshot", "heartbeat")


def lie(chance, message, other):
    """Changes a message; `other` is a true one whose parts it may take."""
    kind, from_kind = message.WhichOneof("message"), other.WhichOneof("message")
    told, true = getattr(message, kind), getattr(other, from_kind)
    match chance.choice(("cursor", "token", "proof", "bundles", "drop", "tombstone", "whole", "statement", "activation", "end")):
        case "cursor":
            told.cursor.CopyFrom(cursor(chance.choice(PLACES)))
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
            place = chance.choice(list(STATEMENTS))
            told.statement = STATEMENTS[place]
            if chance.random() < 0.7:
                told.cursor.CopyFrom(cursor(place))
        case "activation" if kind == "snapshot" and told.bundles:
            chance.choice(told.bundles).activation.CopyFrom(cursor(chance.choice(PLACES)))
        case "end" if kind == from_kind == "activation":
            told.cursor.CopyFrom(true.cursor)
            told.statement, told.set_proof, told.complete = true.statement, true.set_proof, True


def told(chance, held):
    """Messages without end: true ones, whole or in parts, of which some are dropped, some come twice, and some are changed. Many
    are the next that can be taken."""
    if chance.random() < 0.8:
        yield snapshot_at(chance.choice([4, 6, 8]), held.wanted)
    while True:
        next_revision = min((at for at in LOG if held.place and at > held.place[1]), default=NEWEST)
        mine = [each for each in TRUE if frozenset(each[0]) == held.wanted]
        if chance.random() < 0.7:
            mine = [each for each in mine if each[1] == next_revision and each[2].HasField("activation")]
        *_, message = chance.choice(mine) if chance.random() < 0.9 else chance.choice(TRUE)
        parts = [message]
        if message.WhichOneof("message") != "heartbeat" and chance.random() < 0.6:
            kind = getattr(message, message.WhichOneof("message"))
            things = len(kind.bundles) + len(getattr(kind, "tombstones", ()))
            parts = in_parts(message, *sorted(chance.choices(range(things + 1), k=chance.choice((1, 1, 2)))))
        for part in parts:
            for _ in range(chance.choices((0, 1, 2), (1, 18, 1))[0]):
                found = copy.deepcopy(part)
                for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2, 3))):
                    lie(chance, found, chance.choice(TRUE)[2])
                yield found


def in_force(revision, wanted):
    return {policy: held for policy, held in active_at(revision).items() if not wanted or policy in wanted}


def check_held(held, expect):
    """What is held was in force at its place, and is all of it that was asked for."""
    found = {policy: (active.version, active.place) for policy, active in held.policies.items()}
    if held.place is None:
        return expect(not found, f"holds {found} at no place")
    expect(held.place in STATEMENTS, f"holds {found} at {held.place}, which nobody signed")
    return expect(found == in_force(held.place[1], held.wanted), f"holds {found} at {held.place}")


def play(chance, expect):
    """One stream of lies to one subscriber, then the truth. How many of the messages were taken, and what they moved."""
    wanted, now, taken, moved = chance.choice(FILTERS), time.time(), 0, []
    held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
    messages = told(chance, held)
    for _ in range(MESSAGES_PER_STREAM):
        message = next(messages)
        before, newest, fresh_until = (held.place, held.policies, held.fingerprint), held.newest_verified, held.fresh_until
        try:
            change, taken = held.apply(message, now), taken + 1
            if change:
                parts = message.WhichOneof("message") == "activation" and len(message.activation.bundles) < len(change.changed)
                moved.append((change.kind == "SNAPSHOT", bool(wanted), parts))
        except Refused:
            expect((held.place, held.policies, held.fingerprint) == before, f"a refused message changed something: {message}")
            expect(held.fresh_until in (0, fresh_until), f"a refused message made fresh: {message}")
            held.begin_stream()
        expect((held.place or (0, 0)) >= (before[0] or (0, 0)), f"goes back from {before[0]} by {message}")
        expect(held.newest_verified >= max(newest, held.place or (0, 0)), f"forgets {newest} by {message}")
        check_held(held, expect)
    held.begin_stream()
    for part in in_parts(snapshot_at(NEWEST, wanted)):
        held.apply(part, now)
    check_held(held, expect)
    expect(held.is_fresh(now), "an honest hub does not repair it")
    return taken, moved


def check(expect):
    """How many messages came, and how many of them were taken."""
    chance = random.Random(1)
    played = [play(chance, expect) for _ in range(STREAMS)]
    messages, taken = STREAMS * MESSAGES_PER_STREAM, sum(taken for taken, _ in played)
    expect(messages // 20 < taken < messages, f"{taken} of {messages} lies were taken: they prove little")
    moved = [each for _, moves in played for each in moves]
    for kind in ((True, True, False), (True, False, False), (False, True, False), (False, True, True), (False, False, True)):
        expect(moved.count(kind) >= 10, f"{moved.count(kind)} of {kind} (snapshot, of a filter, in parts): they prove little")
    return messages, taken
