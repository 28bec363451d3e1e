"""Lies out of true messages, by chance: parts of one put into another, repeated, out of order, for other filters.

None needs a key. Whatever comes, the example holds what was in force at the place that it holds, and never goes back.
"""

import copy
import random
import time

from active_set import ActiveSet
from hub import JWKS, NAMESPACE, cursor
from log import LOG, STATEMENTS, activation_at, active_at, heartbeat_at, snapshot_at
from refused import Refused
from signed import read_keys

FILTERS = ((), ("a", "c"), ("b",))
STREAMS, MESSAGES_PER_STREAM = 250, 12
TRUE = [
    (wanted, make(revision, wanted, **says))
    for wanted in FILTERS for revision in LOG
    for make, says in ((snapshot_at, {}), (snapshot_at, {"age": 901}), (activation_at, {}), (heartbeat_at, {}), (heartbeat_at, {"age": 901}))
]  # fmt: skip
PLACES = [(1, revision) for revision in (*LOG, 9, 1_048_577, 1 << 62)] + [(2, 6)]
PROVED = ("snapshot", "heartbeat")


def lie(chance, message, other):
    """Changes a message; `other` is a true one whose parts it may take."""
    kind, from_kind = message.WhichOneof("message"), other.WhichOneof("message")
    told, true = getattr(message, kind), getattr(other, from_kind)
    match chance.choice(("cursor", "token", "proof", "bundles", "drop", "tombstone", "whole", "statement")):
        case "cursor":
            told.cursor.CopyFrom(cursor(chance.choice(PLACES)))
        case "token" if kind in PROVED and from_kind in PROVED:
            told.checkpoint = true.checkpoint
            if chance.random() < 0.7:
                told.cursor.CopyFrom(true.cursor)
        case "proof" if kind in PROVED and from_kind in PROVED:
            told.set_proof = true.set_proof
        case "bundles" if kind == from_kind != "heartbeat":
            del told.bundles[:]
            told.bundles.extend(true.bundles)
        case "drop" if kind != "heartbeat" and told.bundles:
            told.bundles.pop(chance.randrange(len(told.bundles)))
        case "tombstone" if kind == "activation":
            told.tombstones.append(f"namespaces/{NAMESPACE}/policies/{chance.choice('abc')}")
        case "whole" if kind == "snapshot":
            told.complete = not told.complete
        case "statement" if kind == "activation":
            told.statement = chance.choice(list(STATEMENTS.values()))


def in_force(revision, wanted):
    return {policy: held for policy, held in active_at(revision).items() if not wanted or policy in wanted}


def check_held(held, is_proven, expect):
    """What is held was in force at its place. Of a filter only what a checkpoint proves; until then, each was in force once."""
    found = {policy: (active.version, active.place) for policy, active in held.policies.items()}
    if held.place is None:
        return expect(not found, f"holds {found} at no place")
    expect(held.place in STATEMENTS, f"holds {found} at {held.place}, which nobody signed")
    if is_proven or not held.wanted:
        return expect(found == in_force(held.place[1], held.wanted), f"holds {found} at {held.place}")
    ever = [each for revision in LOG for each in in_force(revision, held.wanted).items()]
    return expect(all(each in ever for each in found.items()), f"holds {found}, which never were")


def play(chance, expect):
    """One stream of lies to one subscriber, then the truth. How many of the messages were taken."""
    wanted, now, taken = chance.choice(FILTERS), time.time(), 0
    held, mine = ActiveSet(NAMESPACE, read_keys(JWKS), wanted), [message for of, message in TRUE if of == wanted]
    for _ in range(MESSAGES_PER_STREAM):
        message = copy.deepcopy(chance.choice(mine) if chance.random() < 0.8 else chance.choice(TRUE)[1])
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            lie(chance, message, chance.choice(TRUE)[1])
        place, policies, is_proven = held.place, held.policies, False
        try:
            changed, taken = held.apply(message, now), taken + 1
            kind = message.WhichOneof("message")
            is_proven = kind == "heartbeat" or (kind == "snapshot" and changed is not None)
        except Refused:
            expect((held.place, held.policies) == (place, policies), f"a refused message changed something: {message}")
            held.begin_stream()
        expect((held.place or (0, 0)) >= (place or (0, 0)), f"goes back from {place} by {message}")
        check_held(held, is_proven, expect)
    held.begin_stream()
    held.apply(snapshot_at(12, wanted), now)
    check_held(held, True, expect)
    expect(held.is_fresh(now), "an honest hub does not repair it")
    return taken


def check(expect):
    """How many messages came, and how many of them were taken."""
    chance = random.Random(1)
    taken = sum(play(chance, expect) for _ in range(STREAMS))
    messages = STREAMS * MESSAGES_PER_STREAM
    expect(messages // 20 < taken < messages, f"{taken} of {messages} lies were taken: they prove little")
    return messages, taken
