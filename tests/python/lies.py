"""Lies to a subscriber of every policy: each a name, the expected output of the example, and the messages.

None needs a key of the hub, except those that a faulty hub could send.
"""

import make
from hub import (
    NAMESPACE, NEXT_STREAM, OTHER_KEY, STRANGER, bundle, changed, checkpoint, content_of, cursor, heartbeat, in_parts, statement,
)  # fmt: skip
from log import LOG, STATEMENTS, activation_at, active_at, heartbeat_at, snapshot_at
from policyhub.v1 import sync_service_pb2 as pb

AT_6, AT_10, TO_8, TO_10 = snapshot_at(6), snapshot_at(10), activation_at(8), activation_at(10)
FAR = 1 << 62


def flipped(data, bit=9):
    changed_data = bytearray(data)
    changed_data[bit // 8] ^= 1 << bit % 8
    return bytes(changed_data)


def swap_activations(one, other):
    kept = cursor((one.activation.epoch, one.activation.revision))
    one.activation.CopyFrom(other.activation)
    other.activation.CopyFrom(kept)


def activations():
    """Yields lies about the next activation, after the honest snapshot at 1:6."""

    def lie(change):
        return changed(TO_8, lambda message: change(message.activation))

    def says(**what):
        return lie(lambda message: setattr(message, "statement", statement((1, 8), LOG[8], active_at(8), **what)))

    def shows(index, *arguments, **what):
        return lie(lambda message: message.bundles[index].CopyFrom(bundle(*arguments, **what)))

    def header(**members):
        lied = {"alg": "EdDSA", "kid": make.ED_1.kid, "typ": make.ACTIVATION} | members
        return says(how={"header": make.compact(lied)})

    yield "an activation that was applied", "before 1:6", [activation_at(4)]
    yield "the last activation again", "not after", [activation_at(6)]
    yield "an activation twice", "not after", [TO_8, TO_8]
    yield "an activation left out", "does not follow", [TO_10]
    yield "two activations in another order", "does not follow", [TO_10, TO_8]
    yield "a bundle of another activation", "of another activation", [lie(lambda m: m.bundles[0].activation.CopyFrom(cursor((1, 6))))]
    yield "a bundle of no activation", "of another activation", [lie(lambda m: m.bundles[0].ClearField("activation"))]
    yield "a bit of a content", "signed digest", [lie(lambda m: setattr(m.bundles[0], "content", flipped(m.bundles[0].content)))]
    yield "a longer content", "signed size", [lie(lambda m: setattr(m.bundles[0], "content", m.bundles[0].content + b" "))]
    yield "no content", "signed size", [lie(lambda m: m.bundles[0].ClearField("content"))]
    yield "contents swapped", "signed digest", [
        lie(lambda m: [setattr(each, "content", content_of(policy, 2)) for each, policy in zip(m.bundles, "ba")])]  # fmt: skip
    yield "a bundle under the name of another policy", "beside", [
        lie(lambda m: setattr(m.bundles[0], "name", m.bundles[1].name))]  # fmt: skip
    yield "a policy twice instead of both", "b is there twice", [lie(lambda m: m.bundles[0].CopyFrom(m.bundles[1]))]
    yield "half of a group", "other changes", [lie(lambda m: m.bundles.pop())]
    yield "a policy beside the group", "other changes", [lie(lambda m: m.bundles.append(bundle("c", 1)))]
    yield "a tombstone beside the group", "other changes", [
        lie(lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/c"))]  # fmt: skip
    yield "a false tombstone", "other changes", [
        lie(lambda m: (m.bundles.pop(0), m.tombstones.append(f"namespaces/{NAMESPACE}/policies/a")))]  # fmt: skip
    yield "a tombstone of another namespace", "another namespace", [
        lie(lambda m: m.tombstones.append("namespaces/other/policies/a"))]  # fmt: skip
    yield "a tombstone that is no policy", "no policy's name", [
        lie(lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/" + "a" * 64))]  # fmt: skip
    yield "a tombstone beside the bundle of its policy", "a is there twice", [
        lie(lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/a"))]  # fmt: skip
    yield "an older version of the policy", "other changes", [shows(0, "a", 1)]
    yield "another version of the policy", "other changes", [shows(0, "a", 3)]
    other = make.digest(content_of("a", 3))
    yield "content of another version, signed", "other changes", [
        shows(0, "a", 2, signed={"digest": other}, beside={"digest": other, "content": content_of("a", 3)})]  # fmt: skip
    for field, value in (
        ("label", "9.0.0"), ("version", 3), ("digest", make.digest(b"")), ("content_type", "text/html"), ("size_bytes", 1),
    ):  # fmt: skip
        yield f"another {field} beside the manifest", "beside", [shows(0, "a", 2, beside={field: value})]
    yield "a bundle of another namespace", "namespace other", [shows(0, "a", 2, signed={"namespace": "other"})]
    yield "a bundle of another store", "store elsewhere", [shows(0, "a", 2, signed={"store": "elsewhere"})]
    yield "a bundle by a stranger's key", "not known", [shows(0, "a", 2, key=STRANGER)]
    yield "a statement as a manifest", "typ is", [lie(lambda m: setattr(m.bundles[0], "manifest", m.statement))]
    yield "a statement of another namespace", "namespace other", [says(namespace="other")]
    yield "a statement of another store", "store elsewhere", [says(store="elsewhere")]
    yield "a statement by a stranger's key", "not known", [says(key=STRANGER)]
    yield "a stranger's signature under our kid", "does not hold", [says(how={"sign": STRANGER.sign})]
    yield "alg none", "not the key's", [header(alg="none")]
    yield "alg HS256", "not the key's", [header(alg="HS256")]
    yield "alg of the other kind of key", "not the key's", [header(alg="ES256")]
    yield "the kid of another key", "not the key's", [header(kid=OTHER_KEY.kid)]
    yield "typ of a checkpoint", "typ is", [header(typ=make.CHECKPOINT)]
    for member in ("crit", "b64", "zip", "jku", "jwk", "x5u", "x5c"):
        yield f"{member} in the header", "header has members", [header(**{member: "x"})]
    yield "a kid that is no text", "no text", [header(kid=["x"])]
    yield "a label that is no text", "no text", [shows(0, "a", 2, signed={"label": []}, beside={"label": ""})]
    moves = [make.change(policy, 2, content_of(policy, 2), 1) for policy in "ab"]
    yield "a change of a policy that is no id", "of a change", [says(changes=[*moves, moves[0] | {"policy": "../a"}])]
    yield "a change without a version", "of a change", [says(changes=[*moves, make.without(moves[0], "version")])]
    twice = statement((1, 8), [*LOG[8], ("c", 0, 0), ("c", 0, 0)], active_at(8))
    for times, why in ((1, "moves a policy twice"), (2, "c is there twice")):
        yield f"two moves of a policy by {times} tombstones", why, [lie(lambda m, times=times: (
            m.tombstones.extend([f"namespaces/{NAMESPACE}/policies/c"] * times), setattr(m, "statement", twice)))]  # fmt: skip
    yield "no statement", "three parts", [lie(lambda m: m.ClearField("statement"))]
    yield "a giant statement", "too large", [lie(lambda m: setattr(m, "statement", m.statement + "A" * (1 << 20)))]
    for position in ((1, 9), (1, -8), (-1, 8), (2, 8), (1, FAR), (FAR, 8)):
        yield f"{position} beside the statement", "signed for 1:8", [lie(lambda m, position=position: m.cursor.CopyFrom(cursor(position)))]
    yield "no position", "cursor is absent", [lie(lambda m: m.ClearField("cursor"))]
    yield "a statement of another set", "statement is of another set", [
        lie(lambda m: setattr(m, "statement", statement((1, 8), LOG[8], active_at(6))))]  # fmt: skip
    yield "a statement of no root", "statement names no root", [
        lie(lambda m: setattr(m, "statement", statement((1, 8), LOG[8])))]  # fmt: skip
    yield "a statement whose root is null", "statement names no root", [says(active_set_root=None)]
    yield "a statement whose root is empty", "active_set_root of a statement", [says(active_set_root="")]
    yield "an activation that does not end", "within a message in parts", [
        lie(lambda m: m.ClearField("complete")), heartbeat_at(8)]  # fmt: skip
    yield "a root that is none", "active_set_root of a statement", [says(active_set_root="00")]
    yield "not a message", "not a message", [b"\xff\xff\xff"]


def snapshots():
    """Yields lies about whole sets, after the honest snapshot at 1:6 and the activation at 1:8."""

    def lie(change, of=AT_10):
        return changed(of, lambda message: change(message.snapshot))

    def proves(*arguments, **says):
        return lie(lambda m: setattr(m, "checkpoint", checkpoint(*arguments, **says)))

    def unproven(position, of):
        return lie(lambda m: (m.cursor.CopyFrom(cursor(position)), m.ClearField("checkpoint")), of)

    def moved(position, of=AT_6):
        return lie(lambda m: m.cursor.CopyFrom(cursor(position)), of)

    def under(token, of):
        return lie(lambda m: (m.cursor.CopyFrom(cursor((1, 10))), setattr(m, "checkpoint", token)), of)

    nothing = pb.WatchActiveResponse(snapshot=pb.Snapshot(complete=True))
    newest, another = AT_10.snapshot.checkpoint, "checkpoint is of another set"
    of_c = snapshot_at(12).snapshot.bundles[2]
    yield "an older snapshot", "before 1:8", [AT_6]
    yield "an old bundle at a new position", "three parts", [unproven((1, 1_048_577), AT_6)]
    yield "an old bundle at a new position, with its checkpoint", "signed for 1:6", [moved((1, 1_048_577))]
    yield "nothing at a new position, then an old bundle, then a true heartbeat", "three parts", [
        unproven((1, 1_048_576), nothing), unproven((1, 1_048_577), AT_6), heartbeat_at(8)]  # fmt: skip
    yield "an older snapshot in a raised epoch", "signed for 1:6", [moved((2, 6))]
    yield "an older snapshot under the newest checkpoint", another, [under(newest, AT_6)]
    yield "nothing under the newest checkpoint", another, [under(newest, nothing)]
    yield "a position of 2^62", "signed for 1:10", [moved((1, FAR), AT_10)]
    yield "an epoch of 2^62", "signed for 1:10", [moved((FAR, 10), AT_10)]
    yield "a mix of two moments", another, [
        lie(lambda m: m.bundles[0].CopyFrom(snapshot_at(8).snapshot.bundles[0]))]  # fmt: skip
    yield "a version that is in force again, by its older activation", another, [
        lie(lambda m: m.bundles[0].CopyFrom(AT_6.snapshot.bundles[0]))]  # fmt: skip
    yield "a policy of the set left out", another, [lie(lambda m: m.bundles.pop())]
    yield "a policy beside the set", another, [lie(lambda m: m.bundles.append(of_c))]
    yield "a checkpoint of another set", another, [proves((1, 10), active_at(8))]
    yield "a checkpoint of another position", "signed for 1:11", [proves((1, 11), active_at(10))]
    yield "an older checkpoint", "signed for 1:8", [proves((1, 8), active_at(8))]
    yield "a checkpoint of another namespace", "namespace other", [proves((1, 10), active_at(10), namespace="other")]
    yield "a checkpoint of another store", "store elsewhere", [proves((1, 10), active_at(10), store="elsewhere")]
    yield "a checkpoint by a stranger's key", "not known", [proves((1, 10), active_at(10), key=STRANGER)]
    yield "a checkpoint of no root", "active_set_root of a", [proves((1, 10), active_at(10), active_set_root="")]
    yield "a checkpoint that lives too long", "lifetime", [proves((1, 10), active_at(10), ttl=901)]
    yield "an expired checkpoint of another set", another, [proves((1, 10), active_at(8), age=901)]
    yield "no checkpoint", "three parts", [lie(lambda m: m.ClearField("checkpoint"))]
    yield "no position of a snapshot", "cursor is absent", [lie(lambda m: m.ClearField("cursor"))]
    yield "a policy twice", "twice", [lie(lambda m: m.bundles.append(m.bundles[0]))]
    yield "a preview", "preview", [lie(lambda m: setattr(m.bundles[0], "preview", True))]
    for position in ((1, 9), (2, 10), (0, 10), (1, 8), (1, 0), (1, -10), (-1, 10), (1, FAR)):
        yield f"{position} as another activation of a bundle", another, [
            lie(lambda m, position=position: m.bundles[0].activation.CopyFrom(cursor(position)))]  # fmt: skip
    yield "activations swapped", another, [lie(lambda m: swap_activations(*m.bundles))]
    yield "a bundle without its activation", "activation of a bundle is absent", [
        lie(lambda m: m.bundles[0].ClearField("activation"))]  # fmt: skip
    yield "no bundle", "activation of a bundle is absent", [lie(lambda m: m.bundles[0].Clear())]
    yield "an empty part", "part of a snapshot is empty", [pb.WatchActiveResponse(snapshot=pb.Snapshot())]
    begun = lie(lambda m: setattr(m, "complete", False))
    yield "an activation between the parts", "before a whole snapshot", [begun, TO_10]
    yield "a part of an activation between the parts", "before a whole snapshot", [begun, in_parts(TO_10)[0]]
    yield "a heartbeat between the parts", "within a message in parts", [begun, heartbeat_at(8)]
    (a, b, end), of_12 = in_parts(AT_10), in_parts(snapshot_at(12))
    yield "a part dropped", another, [a, end]
    yield "a part twice", "a is there twice", [a, a]
    yield "the last part alone", another, [end]
    yield "a part of another moment", another, [in_parts(snapshot_at(8))[0], b, end]
    yield "a part beside those of the set", another, [a, b, of_12[2], end]
    yield "the parts of a larger set", another, [*of_12[:-1], end]
    yield "an empty part within", "part of a snapshot is empty", [a, pb.WatchActiveResponse(snapshot=pb.Snapshot()), b, end]
    yield "a snapshot that ends at its first part", "three parts", [changed(a, lambda m: setattr(m.snapshot, "complete", True))]
    yield "a snapshot whose end is at its first part", another, [changed(a, lambda m: m.MergeFrom(end))]
    yield "a snapshot that begins anew in the middle", "a is there twice", [a, AT_10]


def heartbeats():
    """Yields lies about freshness, and gaps, after the honest snapshot at 1:6 and the activation at 1:8."""

    def lie(change, of=8):
        return [changed(heartbeat_at(of), lambda message: change(message.heartbeat))]

    another = "checkpoint is of another set"
    yield "a heartbeat that goes back", "before 1:8", [heartbeat_at(6)]
    yield "an activation dropped before a heartbeat", another, [heartbeat_at(10)]
    yield "an activation dropped before an expired heartbeat", another, [heartbeat_at(10, age=901)]
    yield "an activation dropped before one of another policy", "statement is of another set", [activation_at(12)]
    yield "a heartbeat of another set", another, [heartbeat((1, 8), active_at(6))]
    yield "a proof of another set", another, [heartbeat((1, 8), active_at(6), ["a", "b"])]
    yield "a heartbeat of another namespace", "namespace other", [heartbeat_at(8, namespace="other")]
    yield "a heartbeat of another store", "store elsewhere", [heartbeat_at(8, store="elsewhere")]
    yield "a heartbeat by a stranger's key", "not known", [heartbeat_at(8, key=STRANGER)]
    yield "a heartbeat that lives too long", "lifetime", [heartbeat_at(8, ttl=901)]
    for position in ((1, 9), (1, 7), (2, 8), (1, FAR)):
        yield f"{position} beside the checkpoint", "signed for 1:8", lie(lambda m, position=position: m.cursor.CopyFrom(cursor(position)))
    yield "a checkpoint ahead of its heartbeat", "signed for 1:10", lie(lambda m: m.cursor.CopyFrom(cursor((1, 8))), 10)
    yield "a heartbeat without its position", "cursor is absent", lie(lambda m: m.ClearField("cursor"))
    yield "a heartbeat without its checkpoint", "three parts", lie(lambda m: m.ClearField("checkpoint"))
    yield "a heartbeat of nothing", "three parts", [pb.WatchActiveResponse(heartbeat=pb.Heartbeat())]
    yield "a statement as a checkpoint", "typ is", lie(lambda m: setattr(m, "checkpoint", STATEMENTS[1, 8]))


def replays():
    """Yields old messages, sent after something newer was verified and refused. Each ends the stream, and the next stream sends
    what is old. After the honest snapshot at 1:6 and the activation at 1:8."""
    gap = [heartbeat_at(10), NEXT_STREAM]
    yield "a gap, then the heartbeat from before", "before 1:10", [*gap, heartbeat_at(8)]
    yield "a gap, then an expired heartbeat from before", "before 1:10", [*gap, heartbeat_at(8, age=901)]
    yield "an expired gap, then the heartbeat from before", "before 1:10", [heartbeat_at(10, age=901), NEXT_STREAM, heartbeat_at(8)]
    yield "a gap, then the snapshot from before", "before 1:10", [*gap, snapshot_at(8)]
    yield "a gap, then the snapshot from before in parts", "before 1:10", [*gap, *in_parts(snapshot_at(8))]
    yield "a gap, then both, one after the other", "before 1:10", [*gap, snapshot_at(8), NEXT_STREAM, heartbeat_at(8)]
    yield "a gap, then the activation before it", "before 1:12", [heartbeat_at(12), NEXT_STREAM, TO_10]
    less = changed(AT_10, lambda m: m.snapshot.bundles.pop())
    yield "a snapshot of less, then the one from before", "before 1:10", [less, NEXT_STREAM, snapshot_at(8)]
    half = changed(TO_10, lambda m: m.activation.bundles.pop())
    yield "an activation of less, then the heartbeat from before", "before 1:10", [half, NEXT_STREAM, heartbeat_at(8)]
    yield "an activation left out, then the heartbeat from before", "before 1:12", [activation_at(12), NEXT_STREAM, heartbeat_at(8)]
    rootless = changed(TO_10, lambda m: setattr(m.activation, "statement", statement((1, 10), LOG[10])))
    yield "an activation of no root, then the snapshot from before", "before 1:10", [rootless, NEXT_STREAM, snapshot_at(8)]


def beginnings():
    """Yields lies from the first message on, while nothing is held yet."""
    yield "an activation first", "before a whole snapshot", [TO_8]
    yield "a heartbeat first", "before a whole snapshot", [heartbeat_at(8)]
    unknown = pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))
    yield "a replica that is behind first", "before a whole snapshot", [unknown]
    yield "a tampered snapshot", "signed digest", [
        changed(AT_6, lambda m: setattr(m.snapshot.bundles[0], "content", flipped(content_of("a", 1))))]  # fmt: skip
    older = changed(AT_6, lambda m: (
        m.snapshot.cursor.CopyFrom(cursor((1, 10))), setattr(m.snapshot, "checkpoint", AT_10.snapshot.checkpoint)))  # fmt: skip
    yield "an older snapshot first, under the newest checkpoint", "another set", [older]
    yield "an older snapshot first, at a new position", "signed for 1:6", [
        changed(AT_6, lambda m: m.snapshot.cursor.CopyFrom(cursor((1, 10))))]  # fmt: skip
    yield "a part of an activation first", "before a whole snapshot", [in_parts(TO_8)[0]]
    less = changed(AT_10, lambda m: m.snapshot.bundles.pop())
    yield "less than all first, then an older snapshot", "before 1:10", [less, NEXT_STREAM, AT_6]
    yield "nothing first", "three parts", [
        pb.WatchActiveResponse(snapshot=pb.Snapshot(complete=True, cursor=cursor((1, 1_048_576))))]  # fmt: skip
