"""Lies about an activation in parts, after the honest ones up to 1:12: the next is 1:14, with new `a` and `c`, and without `b`.

To a subscriber of all policies, and to one with a filter. As in `lies.py`.
"""

import make_active_sets as trees
from hub import NAMESPACE, STRANGER, activation, bundle, changed, content_of, cursor, in_parts, proof_of, statement, tree_of
from lies_filtered import WANTED
from log import LOG, STATEMENTS, activation_at, active_at, heartbeat_at, snapshot_at
from policyhub.v1 import sync_service_pb2 as pb

OTHER, WITHIN, TWICE = "other changes", "within a message in parts", "is there twice"
TOO_MANY = "more changes than one can have"
UNKNOWN = pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))
NOTHING = pb.WatchActiveResponse(activation=pb.Activation())


def tombstones(first, count):
    """Returns a part with nothing but these."""
    names = (f"namespaces/{NAMESPACE}/policies/p{number}" for number in range(first, first + count))
    return pb.WatchActiveResponse(activation=pb.Activation(tombstones=names))


def put(*bundles):
    return pb.WatchActiveResponse(activation=pb.Activation(bundles=bundles))


def to_anyone(wanted):
    """Yields lies for any filter. The honest parts: one for each change, and an end."""
    parts, whole = in_parts(activation_at(14, wanted)), activation_at(14, wanted)
    *changes, end = parts

    def lie(part, change):
        return changed(part, lambda message: change(message.activation))

    for index in range(len(changes)):
        yield f"part {index} dropped", OTHER, parts[:index] + parts[index + 1 :]
        yield f"part {index} twice", TWICE, parts[: index + 1] + parts[index:]
        yield f"a heartbeat after part {index}", WITHIN, [*parts[: index + 1], heartbeat_at(12, wanted)]
    yield "all parts but the last, and the heartbeat after it", WITHIN, [*changes, heartbeat_at(14, wanted)]
    yield "a part, and a replica that is behind", WITHIN, [changes[0], UNKNOWN]
    yield "an end without its parts", OTHER, [end]
    yield "an end before its parts", OTHER, [end, *changes]
    yield "the parts, and the whole", TWICE, [*changes, whole]
    yield "an empty part first", "part of an activation is empty", [NOTHING, *parts]
    yield "an empty part within", "part of an activation is empty", [changes[0], NOTHING, *parts[1:]]
    yield "a position in an empty part", "part of an activation is empty", [
        lie(end, lambda m: m.ClearField("complete"))]  # fmt: skip
    yield "complete on the first part", "three parts", [lie(changes[0], lambda m: setattr(m, "complete", True)), *parts[1:]]
    yield "complete on the first part, with its end", OTHER, [lie(changes[0], lambda m: m.MergeFrom(end.activation)), *parts[1:]]
    yield "complete on the second part, with its end", OTHER if len(changes) > 2 else "truncated", [
        changes[0], lie(changes[1], lambda m: (m.MergeFrom(end.activation), m.ClearField("set_proof")))]  # fmt: skip
    yield "the statement on the first part", "three parts", [
        lie(changes[0], lambda m: setattr(m, "statement", end.activation.statement)), *changes[1:],
        lie(end, lambda m: m.ClearField("statement"))]  # fmt: skip
    yield "the position on the first part", "cursor is absent", [
        lie(changes[0], lambda m: m.cursor.CopyFrom(end.activation.cursor)), *changes[1:],
        lie(end, lambda m: m.ClearField("cursor"))]  # fmt: skip
    for revision, why in ((8, "before 1:12"), (12, "not after")):
        mixed = lie(end, lambda m, of=revision: (m.cursor.CopyFrom(cursor((1, of))), setattr(m, "statement", STATEMENTS[1, of])))
        yield f"the parts with the end of 1:{revision}", why, [*changes, mixed]
    for revision in (8, 12):
        other = in_parts(activation_at(revision, wanted))
        yield f"the parts of 1:{revision} with the end", OTHER, [*other[:-1], end]
        yield f"the parts of 1:{revision}, then the true ones", TWICE, [*other[:-1], *parts]
    yield "a part of 1:12 in place of its own", OTHER, [changes[0], put(bundle("c", 1)), *parts[2:]]
    yield "a version that never was in a part", OTHER, [put(bundle("a", 3)), *parts[1:]]
    yield "a tombstone in place of a bundle", OTHER, [
        pb.WatchActiveResponse(activation=pb.Activation(tombstones=[f"namespaces/{NAMESPACE}/policies/a"])), *parts[1:]]  # fmt: skip
    yield "a tombstone after the bundle of its policy", TWICE, [
        changes[0], lie(changes[1], lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/a")), *parts[2:]]  # fmt: skip
    yield "a tombstone of another namespace in a part", "another namespace", [
        lie(changes[0], lambda m: m.tombstones.append("namespaces/other/policies/c")), *parts[1:]]  # fmt: skip
    yield "a tombstone beside the parts", OTHER, [*changes, tombstones(0, 1), end]
    yield "101 tombstones", TOO_MANY, [tombstones(0, 101), end]
    yield "endless tombstones", TOO_MANY, [tombstones(first, 1) for first in range(1_000)]
    yield "endless parts of tombstones", TOO_MANY, [changes[0], *(tombstones(first, 33) for first in range(0, 1_000, 33))]
    yield "a bundle after a hundred tombstones", TOO_MANY, [tombstones(0, 100), *parts]
    yield "a content of another version in a part", "signed digest", [
        lie(changes[0], lambda m: setattr(m.bundles[0], "content", content_of("a", 3))), *parts[1:]]  # fmt: skip
    yield "a bundle by a stranger's key in a part", "not known", [put(bundle("a", 2, key=STRANGER)), *parts[1:]]
    yield "a bundle of another namespace in a part", "namespace other", [
        put(bundle("a", 2, signed={"namespace": "other"})), *parts[1:]]  # fmt: skip
    yield "a bundle of another store in a part", "store elsewhere", [put(bundle("a", 2, signed={"store": "elsewhere"})), *parts[1:]]
    half = in_parts(snapshot_at(12, wanted))[0]
    yield "parts within an unfinished snapshot", "before a whole snapshot", [half, *parts]
    yield "a part, then half a snapshot, then a part", "before a whole snapshot", [changes[0], half, *parts[1:]]
    yield "a part, then half a snapshot, then a heartbeat", WITHIN, [changes[0], half, heartbeat_at(12, wanted)]
    yield "a part, then a snapshot, then the rest", OTHER, [changes[0], snapshot_at(12, wanted), *parts[1:]]
    yield "a part, then a snapshot in parts, then the rest", OTHER, [changes[0], *in_parts(snapshot_at(12, wanted)), *parts[1:]]
    yield "a part, then a snapshot of the past", "before 1:12", [changes[0], snapshot_at(10, wanted), *parts[1:]]
    yield "a part, then a statement by a stranger's key", "not known", [
        *changes, lie(end, lambda m: setattr(m, "statement", statement((1, 14), LOG[14], active_at(14), key=STRANGER)))]  # fmt: skip
    yield "parts, then a statement of no root", "statement names no root", [
        *changes, lie(end, lambda m: setattr(m, "statement", statement((1, 14), LOG[14])))]  # fmt: skip
    yield "parts, then a position of 2^62", "signed for 1:14", [
        *changes, lie(end, lambda m: m.cursor.CopyFrom(cursor((1, 1 << 62))))]  # fmt: skip
    yield "parts, then an activation that skips one", "does not follow", [*changes, lie(end, lambda m: setattr(
        m, "statement", statement((1, 14), [("a", 3, 2), ("b", 2, 0), ("c", 1, 2)], active_at(14))))]  # fmt: skip


def unfiltered():
    yield from to_anyone(())
    *changes, end = in_parts(activation_at(14))
    yield "a part for a filter, and its end", OTHER, in_parts(activation_at(14, WANTED))
    yield "endless bundles", TOO_MANY, [put(*(bundle(f"p{number}", 1) for number in range(101)))]
    another = statement((1, 14), LOG[14], active_at(14) | {"d": (1, (1, 13))})
    yield "parts, then a statement of another set", "statement is of another set", [
        *changes, changed(end, lambda m: setattr(m.activation, "statement", another))]  # fmt: skip


def filtered():
    yield from to_anyone(WANTED)
    *changes, end = in_parts(activation_at(14, WANTED))

    def proven(proof, *parts):
        return [*(parts or changes), changed(end, lambda m: setattr(m.activation, "set_proof", proof))]

    yield "parts, and no proof", "truncated", proven(b"")
    yield "parts, and the proof of the set before", "another root", proven(proof_of(active_at(12), WANTED))
    yield "parts, and the proof of the first part alone", "another root", proven(
        proof_of(active_at(12) | {"a": active_at(14)["a"]}, WANTED))  # fmt: skip
    yield "parts, and the proof for a narrower filter", "proof hides policy", proven(proof_of(active_at(14), ["a"]))
    yield "parts, and the proof for another filter", "proof hides policy", proven(proof_of(active_at(12), ["b"]))
    yield "parts, and a proof for nobody", "proof hides policy", proven(
        b"\2" + trees.root(tree_of(active_at(14))))  # fmt: skip
    yield "parts, and a proof cut in the middle", "truncated", proven(end.activation.set_proof[:-1])
    yield "parts, and a proof twice", "after its end", proven(end.activation.set_proof * 2)
    yield "the proof on the first part", "truncated", proven(
        b"", changed(changes[0], lambda m: setattr(m.activation, "set_proof", end.activation.set_proof)), *changes[1:])  # fmt: skip
    yield "parts, and the proof of the heartbeat before", "another root", proven(heartbeat_at(12, WANTED).heartbeat.set_proof)
    yield "a part for all", "b is there twice", [*in_parts(activation_at(14))[2:3], *in_parts(activation_at(14))[2:3]]
    yield "the parts for all", "other changes", in_parts(activation_at(14))
    yield "a bundle that nobody asked for", "b was not asked for", [put(bundle("b", 2)), *changes, end]
    yield "the parts for a narrower filter", "other changes", in_parts(activation_at(14, ["a"]))
    hidden = activation((1, 14), [("a", 1, 2)], active_at(14), WANTED)
    yield "parts of less, as a statement tells them", "active otherwise than claimed", in_parts(hidden)
