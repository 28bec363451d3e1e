"""Lies to a subscriber of some policies: `a`, and `c`, which is not in force before 1:12. As in `lies.py`."""

from hub import NAMESPACE, NEXT_STREAM, activation, bundle, changed, checkpoint, cursor, heartbeat, proof_of, statement
from log import LOG, activation_at, active_at, heartbeat_at, snapshot_at

WANTED = ["a", "c"]
HIDDEN, ANOTHER, OTHERWISE = "proof hides policy a", "proof is of another root", "active otherwise than claimed"


def snapshot_lie(change, revision=10):
    return [changed(snapshot_at(revision, WANTED), lambda message: change(message.snapshot))]


def proofs():
    """Yields proofs of something else, for 1:10."""
    yield "no proof", "truncated", b""
    yield "a proof of the time before", ANOTHER, proof_of(active_at(8), WANTED)
    yield "a proof of the time after", ANOTHER, proof_of(active_at(12), WANTED)
    yield "a proof of a set without the policy", ANOTHER, proof_of({"b": active_at(10)["b"]}, WANTED)
    yield "a proof for a narrower filter", HIDDEN, proof_of(active_at(10), ["c"])
    yield "a proof for another filter", HIDDEN, proof_of(active_at(10), ["b"])
    yield "a proof for a wider filter", "nobody asked for", proof_of(active_at(12), ["a", "b", "c"])
    yield "a proof with an end of its own", "after its end", proof_of(active_at(10), WANTED) + b"\0"
    yield "a proof that is cut", "truncated", proof_of(active_at(10), WANTED)[:-1]


def changes():
    """Yields lies after the honest snapshot at 1:6 and the activation at 1:8."""

    def lie(change, revision=10):
        return [changed(activation_at(revision, WANTED), lambda message: change(message.activation))]

    def heartbeat_lie(change):
        return [changed(heartbeat_at(8, WANTED), lambda message: change(message.heartbeat))]

    a = f"namespaces/{NAMESPACE}/policies/a"
    yield "the activation of the watched policy dropped", OTHERWISE, [heartbeat_at(10, WANTED)]
    yield "it dropped, and the checkpoint expired", OTHERWISE, [heartbeat_at(10, WANTED, age=901)]
    yield "it dropped, and a policy of its own activated", OTHERWISE, [
        heartbeat((1, 12), active_at(12) | {"c": active_at(8)["b"]}, WANTED)]  # fmt: skip
    yield "a policy activated and not told", "active and not claimed", [
        heartbeat((1, 12), active_at(8) | {"c": active_at(12)["c"]}, WANTED)]  # fmt: skip
    yield "a false tombstone", "other changes", lie(lambda m: (m.bundles.pop(), m.tombstones.append(a)))
    yield "a tombstone beside the change", "a is there twice", lie(lambda m: m.tombstones.append(a))
    yield "the change left out of its activation", "other changes", lie(lambda m: m.bundles.pop())
    yield "a policy that nobody asked for", "b was not asked for", [
        activation((1, 10), [("a", 2, 1), ("b", 2, 1)], active_at(10), wanted=["a", "b"])]  # fmt: skip
    yield "another policy in place of the one asked for", "b was not asked for", lie(
        lambda m: m.bundles[0].CopyFrom(bundle("b", 2)))  # fmt: skip
    yield "a tombstone that nobody asked for", "other changes", lie(
        lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/b"))  # fmt: skip
    yield "an older version", "other changes", lie(lambda m: m.bundles[0].CopyFrom(bundle("a", 2)))
    yield "the activation of the watched policy dropped before another", OTHERWISE, [activation_at(12, WANTED)]
    yield "an activation for all", "truncated", [activation_at(10)]
    yield "a statement of no root", "statement names no root", lie(
        lambda m: setattr(m, "statement", statement((1, 10), LOG[10])))  # fmt: skip
    yield "a statement of another set", ANOTHER, lie(
        lambda m: setattr(m, "statement", statement((1, 10), LOG[10], active_at(8))))  # fmt: skip
    elsewhere = active_at(10) | {"a": (1, (1, 9))}
    yield "a statement of another set, proven", OTHERWISE, [activation((1, 10), LOG[10], elsewhere, WANTED)]
    yield "a policy activated and not told, proven", "active and not claimed", [
        activation((1, 10), LOG[10], active_at(10) | {"c": active_at(12)["c"]}, WANTED)]  # fmt: skip
    yield "an activation that was applied", "not after", [activation_at(8, WANTED)]
    yield "an activation from before", "before 1:8", [activation_at(4, WANTED)]
    yield "an activation that skips one", "does not follow", [
        activation((1, 11), [("a", 1, 3)], active_at(10) | {"a": (3, (1, 11))}, WANTED)]  # fmt: skip
    yield "a position of 2^62", "signed for 1:10", lie(lambda m: m.cursor.CopyFrom(cursor((1, 1 << 62))))
    yield "an older snapshot", "before 1:8", [snapshot_at(6, WANTED)]
    yield "a heartbeat that goes back", "before 1:8", [heartbeat_at(6, WANTED)]
    yield "a heartbeat ahead of its checkpoint", "signed for 1:8", heartbeat_lie(lambda m: m.cursor.CopyFrom(cursor((1, 10))))
    newest, proof = checkpoint((1, 10), active_at(10)), proof_of(active_at(8), WANTED)
    yield "the newest checkpoint by an old proof", ANOTHER, heartbeat_lie(
        lambda m: (m.cursor.CopyFrom(cursor((1, 10))), setattr(m, "checkpoint", newest), setattr(m, "set_proof", proof)))  # fmt: skip
    for name, why, proof in proofs():
        yield f"a heartbeat with {name}", why, [changed(
            heartbeat((1, 10), active_at(10), WANTED), lambda m, proof=proof: setattr(m.heartbeat, "set_proof", proof))]  # fmt: skip
        yield f"a snapshot with {name}", why, snapshot_lie(lambda m, proof=proof: setattr(m, "set_proof", proof))
        yield f"an activation with {name}", why, lie(lambda m, proof=proof: setattr(m, "set_proof", proof))
    yield "a snapshot without the policy", "active and not claimed", snapshot_lie(lambda m: m.bundles.pop())
    older, all_10 = snapshot_at(6, WANTED).snapshot, snapshot_at(10).snapshot
    yield "the version by its older activation", OTHERWISE, snapshot_lie(lambda m: m.bundles[0].CopyFrom(older.bundles[0]))
    yield "another activation of the version", OTHERWISE, snapshot_lie(
        lambda m: m.bundles[0].activation.CopyFrom(cursor((1, 9))))  # fmt: skip
    yield "an activation below nothing", OTHERWISE, snapshot_lie(
        lambda m: m.bundles[0].activation.CopyFrom(cursor((-1, -10))))  # fmt: skip
    yield "a version without its activation", "activation of a bundle is absent", snapshot_lie(
        lambda m: m.bundles[0].ClearField("activation"))  # fmt: skip
    yield "a snapshot with a policy that nobody asked for", "b was not asked for", snapshot_lie(
        lambda m: m.bundles.append(all_10.bundles[1]))  # fmt: skip
    yield "a snapshot for all", "b was not asked for", [snapshot_at(10)]


def replays():
    """Yields old messages, sent after something newer was verified, as in `lies.py`."""
    old = [("heartbeat", heartbeat_at(8, WANTED)), ("snapshot", snapshot_at(8, WANTED))]
    for name, message in old:
        yield f"a gap, then the {name} from before", "before 1:10", [heartbeat_at(10, WANTED), NEXT_STREAM, message]
        yield f"a gap without its proof, then the {name} from before", "before 1:10", [
            heartbeat((1, 10), active_at(10)), NEXT_STREAM, message]  # fmt: skip
        yield f"an activation without its proof, then the {name} from before", "before 1:10", [
            changed(activation_at(10, WANTED), lambda m: m.activation.ClearField("set_proof")), NEXT_STREAM, message]  # fmt: skip
        yield f"a snapshot without its proof, then the {name} from before", "before 1:10", [
            *snapshot_lie(lambda m: m.ClearField("set_proof")), NEXT_STREAM, message]  # fmt: skip
    yield "a gap, then the activation before it", "before 1:12", [heartbeat_at(12, WANTED), NEXT_STREAM, activation_at(10, WANTED)]


def beginnings():
    """Yields lies from the first message on, while nothing is held yet."""
    older = snapshot_at(8, WANTED).snapshot
    yield "an older version at first", OTHERWISE, snapshot_lie(lambda m: m.bundles[0].CopyFrom(older.bundles[0]))
    yield "nothing at first", "active and not claimed", snapshot_lie(lambda m: m.bundles.pop())
    yield "nothing at first, and no proof", "truncated", snapshot_lie(lambda m: (m.bundles.pop(), m.ClearField("set_proof")))
    yield "nothing at first, by the proof of another", HIDDEN, snapshot_lie(
        lambda m: (m.bundles.pop(), setattr(m, "set_proof", proof_of(active_at(10), ["c"]))))  # fmt: skip
    yield "nothing at first, and no checkpoint", "three parts", snapshot_lie(
        lambda m: (m.bundles.pop(), m.ClearField("checkpoint")))  # fmt: skip
    older_cursor = (older.cursor, older.checkpoint)
    yield "an older checkpoint at first", "signed for 1:8", snapshot_lie(lambda m: setattr(m, "checkpoint", older_cursor[1]))
    yield "an older checkpoint at its position at first", ANOTHER, snapshot_lie(
        lambda m: (m.cursor.CopyFrom(older_cursor[0]), setattr(m, "checkpoint", older_cursor[1])))  # fmt: skip
