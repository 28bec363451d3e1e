"""A hub that lies, against examples/python: each lie is refused, nothing of it is handed out, and the truth is heard after it.

Each case is one stream: what is true first, then the lie. The stream after it is honest again.
"""

import asyncio
import contextlib
import io
import random
import time

import active_set
import grpc
import make
import watch
from active_set import ActiveSet
from hub import (
    JWKS, NAMESPACE, OTHER_KEY, STRANGER, Hub, activation, bundle, changed, checkpoint, content_of, cursor, heartbeat, sign,
    snapshot, statement,
)  # fmt: skip
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc
from signed import Refused, read_keys, read_object, read_part

CASE_TIMEOUT_SECONDS = 20
SILENCE, SILENCE_SECONDS = "silence", 2
# The log: `a` 1 at 1:4, `b` 1 at 1:6, `a` 2 and `b` 2 at 1:8, both in one activation; `a` back to 1 at 1:10.
A4, B6 = ((1, 4), [("a", 0, 1)]), ((1, 6), [("b", 0, 1)])
BOTH8, A10 = ((1, 8), [("a", 1, 2), ("b", 1, 2)]), ((1, 10), [("a", 2, 1)])
AT_6 = snapshot((1, 6), [(bundle("a", 1), A4[0], statement(*A4)), (bundle("b", 1), B6[0], statement(*B6))])
AT_8 = snapshot((1, 8), [(bundle(policy, 2), BOTH8[0], statement(*BOTH8)) for policy in "ab"])
AT_10 = snapshot((1, 10), [(bundle("a", 1), A10[0], statement(*A10)), (bundle("b", 2), BOTH8[0], statement(*BOTH8))])
TO_8, TO_10 = activation(*BOTH8), activation(*A10)
ACTIVE_6, ACTIVE_8 = {"a": 1, "b": 1}, {"a": 2, "b": 2}
FAR = (1 << 63) - 1


def flipped(data, bit=9):
    changed_data = bytearray(data)
    changed_data[bit // 8] ^= 1 << bit % 8
    return bytes(changed_data)


def activations():
    """Lies about the next activation, after the true snapshot at 1:6."""

    def lie(change):
        return changed(TO_8, lambda message: change(message.activation))

    def says(**what):
        return lie(lambda message: setattr(message, "statement", statement(*BOTH8, **what)))

    def shows(index, *arguments, **what):
        return lie(lambda message: message.bundles[index].CopyFrom(bundle(*arguments, **what)))

    def header(**members):
        lied = {"alg": "EdDSA", "kid": make.ED_1.kid, "typ": make.ACTIVATION} | members
        return says(how={"header": make.compact(lied)})

    yield "an activation that was applied", "before 1:6", [activation(*A4)]
    yield "the last activation again", "not after", [activation(*B6)]
    yield "an activation twice", "not after", [TO_8, TO_8]
    yield "an activation left out", "does not follow", [TO_10]
    yield "a bit of a content", "signed digest", [lie(lambda m: setattr(m.bundles[0], "content", flipped(m.bundles[0].content)))]
    yield "a longer content", "signed size", [lie(lambda m: setattr(m.bundles[0], "content", m.bundles[0].content + b" "))]
    yield "no content", "signed size", [lie(lambda m: m.bundles[0].ClearField("content"))]
    yield "contents swapped", "signed digest", [
        lie(lambda m: [setattr(each, "content", content_of(policy, 2)) for each, policy in zip(m.bundles, "ba")])]  # fmt: skip
    yield "a bundle under the name of another policy", "beside", [
        lie(lambda m: setattr(m.bundles[0], "name", m.bundles[1].name))]  # fmt: skip
    yield "a policy twice instead of both", "other changes", [lie(lambda m: m.bundles[0].CopyFrom(m.bundles[1]))]
    yield "half of a group", "other changes", [lie(lambda m: m.bundles.pop())]
    yield "a policy beside the group", "in force", [lie(lambda m: m.bundles.append(bundle("c", 1)))]
    yield "a tombstone beside the group", "other changes", [
        lie(lambda m: m.tombstones.append(f"namespaces/{NAMESPACE}/policies/c"))]  # fmt: skip
    yield "a tombstone of another namespace", "another namespace", [
        lie(lambda m: m.tombstones.append("namespaces/other/policies/a"))]  # fmt: skip
    yield "an older version of the policy", "in force", [shows(0, "a", 1)]
    yield "another version of the policy", "in force", [shows(0, "a", 3)]
    other = make.digest(content_of("a", 3))
    yield "content of another version, signed", "in force", [
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
    gone = lie(lambda m: m.tombstones.extend([f"namespaces/{NAMESPACE}/policies/c"] * 2))
    twice = statement(BOTH8[0], [*BOTH8[1], ("c", 0, 0), ("c", 0, 0)])
    yield "a tombstone twice", "moves a policy twice", [changed(gone, lambda m: setattr(m.activation, "statement", twice))]
    yield "no statement", "three parts", [lie(lambda m: m.ClearField("statement"))]
    yield "a giant statement", "too large", [lie(lambda m: setattr(m, "statement", m.statement + "A" * (1 << 20)))]
    yield "another place beside the statement", "another place", [lie(lambda m: m.cursor.CopyFrom(cursor((1, 9))))]
    yield "no place", "absent or negative", [lie(lambda m: m.ClearField("cursor"))]
    yield "a negative place", "absent or negative", [lie(lambda m: m.cursor.CopyFrom(cursor((1, -1))))]
    yield "a revision out of reach", "too far", [activation((1, FAR), BOTH8[1])]
    yield "an epoch out of reach", "too far", [activation((FAR, 8), BOTH8[1])]
    yield "not a message", "not a message", [b"\xff\xff\xff"]


def snapshots():
    """Lies about the whole, after the true snapshot at 1:6 and the activation at 1:8."""
    b6, a4 = (bundle("b", 1), B6[0], statement(*B6)), (bundle("a", 1), A4[0], statement(*A4))
    both = [(bundle(policy, 2), BOTH8[0], statement(*BOTH8)) for policy in "ab"]

    def lie(change):
        return changed(AT_10, lambda message: change(message.snapshot))

    yield "an older snapshot", "before 1:8", [AT_6]
    yield "an older snapshot at a newer place", "goes back", [snapshot((1, 9), [a4, b6])]
    yield "an older snapshot in a raised epoch, unproven", "another place", [
        changed(AT_6, lambda m: m.snapshot.cursor.CopyFrom(cursor((2, 6))))]  # fmt: skip
    yield "a mix of two moments", "older than another", [snapshot((1, 9), [a4, both[1]])]
    yield "a policy of the set left out", "another digest", [lie(lambda m: m.bundles.pop())]
    yield "another digest of the set", "another digest", [lie(lambda m: setattr(m, "active_set_digest", make.digest(b"")))]
    yield "a checkpoint of another set", "another set", [
        lie(lambda m: setattr(m, "checkpoint", checkpoint((1, 10), ACTIVE_8)))]  # fmt: skip
    yield "a checkpoint of another place", "another place", [
        lie(lambda m: setattr(m, "checkpoint", checkpoint((1, 11), {"a": 1, "b": 2})))]  # fmt: skip
    yield "no checkpoint", "three parts", [lie(lambda m: m.ClearField("checkpoint"))]
    yield "an expired checkpoint", "not fresh", [lie(lambda m: setattr(m, "checkpoint", checkpoint((1, 10), {"a": 1, "b": 2}, age=901)))]
    yield "a checkpoint that lives too long", "lifetime", [
        lie(lambda m: setattr(m, "checkpoint", checkpoint((1, 10), {"a": 1, "b": 2}, ttl=901)))]  # fmt: skip
    yield "a checkpoint from the future", "future", [
        lie(lambda m: setattr(m, "checkpoint", checkpoint((1, 10), {"a": 1, "b": 2}, age=-120)))]  # fmt: skip
    yield "a policy twice", "twice", [lie(lambda m: m.bundles.append(m.bundles[0]))]
    yield "a preview", "preview", [lie(lambda m: setattr(m.bundles[0], "preview", True))]
    yield "another revision beside a statement", "revision of a bundle", [lie(lambda m: setattr(m.bundles[0], "revision", 9))]
    yield "statements swapped", "revision of a bundle", [
        lie(lambda m: setattr(m.bundles[0], "statement", m.bundles[1].statement))]  # fmt: skip
    yield "a bundle from behind the place", "newer than", [lie(lambda m: m.cursor.CopyFrom(cursor((1, 9))))]
    yield "an empty part", "part of a snapshot is empty", [pb.WatchActiveResponse(snapshot=pb.Snapshot())]
    yield "an activation between the parts", "before a whole snapshot", [lie(lambda m: setattr(m, "complete", False)), TO_10]


def heartbeats():
    """Lies about freshness, after the true snapshot at 1:6 and the activation at 1:8."""
    yield "a heartbeat that goes back", "before 1:8", [heartbeat((1, 6), ACTIVE_6)]
    yield "a checkpoint that goes back", "goes back", [heartbeat((1, 9), ACTIVE_8), heartbeat((1, 9), ACTIVE_8, head=(1, 8))]
    yield "a heartbeat of another set", "another set", [heartbeat((1, 8), ACTIVE_6)]
    yield "a heartbeat of another namespace", "namespace other", [heartbeat((1, 8), ACTIVE_8, namespace="other")]
    yield "a heartbeat by a stranger's key", "not known", [heartbeat((1, 8), ACTIVE_8, key=STRANGER)]
    yield "a heartbeat far ahead", "too far", [heartbeat((1, FAR), ACTIVE_8)]
    yield "a heartbeat without its checkpoint", "three parts", [
        changed(heartbeat((1, 8), ACTIVE_8), lambda m: m.heartbeat.ClearField("checkpoint"))]  # fmt: skip
    yield "a statement as a checkpoint", "typ is", [
        changed(heartbeat((1, 8), ACTIVE_8), lambda m: setattr(m.heartbeat, "checkpoint", statement(*BOTH8)))]  # fmt: skip


def beginnings():
    """Lies from the first message on: nothing is held yet."""
    yield "an activation first", "before a whole snapshot", [TO_8]
    yield "a heartbeat first", "before a whole snapshot", [heartbeat((1, 8), ACTIVE_8)]
    yield "a snapshot of last week", "not fresh", [
        changed(AT_6, lambda m: setattr(m.snapshot, "checkpoint", checkpoint((1, 6), ACTIVE_6, age=7 * 86_400)))]  # fmt: skip
    yield "a tampered snapshot", "signed digest", [
        changed(AT_6, lambda m: setattr(m.snapshot.bundles[0].bundle, "content", flipped(content_of("a", 1))))]  # fmt: skip


def ends():
    """Streams that end without a lie: what the watch says, and what it asks for next."""
    say = "server says: "
    yield "a reason with control characters and a wait of years", f"{say}gone  [31m", [reconnect("gone\n\x1b[31m", 1 << 40)]
    yield "a wait of less than nothing", say, [reconnect("soon", -(1 << 40))]
    yield "a reason of a megabyte", say, [reconnect("A" * (1 << 20), 0)]
    yield "the resume point is gone", "OUT_OF_RANGE", [(grpc.StatusCode.OUT_OF_RANGE, "RESUME_POINT_GONE")]
    for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL"):
        yield f"{code} in the middle", code, [(grpc.StatusCode[code], "no\r\n\x00")]
    yield "an end without a word", "", []
    yield "half a snapshot", "", [changed(AT_10, lambda m: (m.snapshot.bundles.pop(), setattr(m.snapshot, "complete", False)))]
    yield SILENCE, "stream is dead", [None]
    yield "an unknown kind of message", "", [pb.WatchActiveResponse()]
    yield "a replica that is behind", "", [pb.WatchActiveResponse(heartbeat=pb.Heartbeat())]
    yield "an expired heartbeat", "", [heartbeat((1, 8), ACTIVE_8, age=901)]


def reconnect(reason, seconds):
    message = pb.WatchActiveResponse()
    message.reconnect.reason = reason
    message.reconnect.backoff.seconds = seconds
    return message


def expect(holds, surprise):
    if not holds:
        raise SystemExit(f"python: {surprise}")


def is_refused(read, *arguments):
    try:
        read(*arguments)
    except Refused:
        return True
    return False


def lines_of(handed_out):
    """What was handed out; a version counts for what it is only with its true content."""

    def version(new):
        return new.version if new.content == content_of(new.policy, new.version) else new.content

    return [(each.kind, each.place, [(new.policy, version(new)) for new in each.changed]) for each in handed_out]


S6, R8 = ("SNAPSHOT", (1, 6), [("a", 1), ("b", 1)]), ("ACTIVATE", (1, 8), [("a", 2), ("b", 2)])
S8, S10 = ("SNAPSHOT", (1, 8), [("a", 2), ("b", 2)]), ("SNAPSHOT", (1, 10), [("a", 1), ("b", 2)])
R10 = ("ACTIVATE", (1, 10), [("a", 1)])
# What was heard before the lie, and what may have been heard of it.
CASES = [
    (activations, [AT_6], [S6]), (snapshots, [AT_6, TO_8], [S6, R8]), (heartbeats, [AT_6, TO_8], [S6, R8]),
    (beginnings, [], []), (ends, [AT_6, TO_8], [S6, R8]),
]  # fmt: skip
# The two cases whose first message is true.
TRUE_FIRST = {"an activation twice": [R8]}


async def play(hub, port, family, case, before, heard):
    """One case: the lie on the first stream, the truth on the second."""
    name, why, lie = case
    said, handed_out, waits = [], [], []
    watch.say, watch.apply = said.append, handed_out.append
    watch.pause = lambda short, asked: waits.append((short, asked)) or 0
    watch.SILENCE_MAX_SECONDS = SILENCE_SECONDS if name == SILENCE else CASE_TIMEOUT_SECONDS
    hub.requests.clear(), hub.reports.clear()
    resumes = family is ends and name != "the resume point is gone"
    hub.scripts[:] = [[*before, *lie], [TO_10] if resumes else [AT_10]]
    arguments = ["--server", f"http://127.0.0.1:{port}", "--jwks", "-", "--subscriber-id", "s-1", "--until-revision", "10"]
    held = ActiveSet(NAMESPACE, read_keys(JWKS))
    await asyncio.wait_for(watch.watch(watch.parse(arguments), held), CASE_TIMEOUT_SECONDS)
    expect(lines_of(handed_out) == [*heard, *TRUE_FIRST.get(name, []), R10 if resumes else S10], f"{name}: {handed_out}")
    expect({p: found.version for p, found in held.policies.items()} == {"a": 1, "b": 2}, f"{name}: holds {held.policies}")
    expect(len(hub.requests) == 2 and len(waits) == 1, f"{name}: {len(hub.requests)} streams, waits {waits}")
    expect(hub.requests[1].HasField("resume") == resumes, f"{name}: resumes at {hub.requests[1].resume}")
    expect([report.cursor.revision for report in hub.reports] == [change.place[1] for change in handed_out], f"{name}: reports")
    talk = [watch.line(each).removesuffix("; what is in force stays") for each in said]
    expect(any(why in each for each in talk) if why else not talk, f"{name}: says {talk} instead of {why!r}")
    expect(any("refused" in each for each in talk) == (family is not ends), f"{name}: says {talk}")
    expect(all(each.isprintable() and len(each) <= watch.LINE_MAX_CHARS for each in talk), f"{name}: {talk}")


def check_pauses():
    """Waits are bounded, whatever was asked for, and spread."""
    pause, random.uniform = PAUSE, lambda low, high: high
    bounds = [pause(short, 0) for short in (0, 1, 7, 10**9)]
    expect(bounds == [0.5, 1, 60, 60], f"waits {bounds}")
    expect([pause(0, asked) for asked in (1 << 40, -(1 << 40), 5)] == [60, 0.5, 5.5], "waits as long as it is told")
    random.uniform = lambda low, high: low
    expect(pause(10, 0) == 0, "waits are not spread")


def check_freshness():
    """A heartbeat whose checkpoint is old extends nothing: the example says so, and holds what it has."""
    held, now, said = ActiveSet(NAMESPACE, read_keys(JWKS)), time.time(), []
    watch.say = said.append
    held.apply(AT_6, now)
    expect(held.is_fresh(now) and not held.is_fresh(now + 901), "freshness has no end")
    expect(held.apply(heartbeat((1, 6), ACTIVE_6, age=901), now) is None and held.is_fresh(now), "an old checkpoint counts")
    later = heartbeat((1, 7), ACTIVE_6)
    expect(held.apply(later, now + 5) is None and held.place == (1, 7), "a heartbeat does not move the place")
    held.apply(heartbeat((1, 7), ACTIVE_6, head=(1, 9), age=-30), now)
    expect(held.place == (1, 7) and not held.is_fresh(now + 905), "a checkpoint of what was not sent makes fresh")
    watch.warn_when_stale(held)
    held.fresh_until = 0
    watch.warn_when_stale(held)
    expect(len(said) == 1 and said[0].startswith("stale"), f"says {said}")


def check_readers():
    """What no stream can bring: other keys, documents that two readers understand differently, too many policies."""
    jwk = make.ED_1.jwk
    for lie in ({"d": "AAAA"}, {"kid": "mine"}, {"alg": "ES256"}, {"use": "enc"}, {"kty": "oct"}, {"crv": "X25519"}):
        expect(is_refused(read_keys, make.compact({"keys": [jwk | lie]})), f"a key with {lie} is taken")
    texts = (b"[1]", b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b'{"a":1e999}', b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"\xff"}',
             b"\xef\xbb\xbf{}", b"{}{}", b"", b"null", b"[" * 60_000)  # fmt: skip
    for text in texts:
        expect(is_refused(read_object, text), f"{text[:40]} is read")
    expect(is_refused(read_part, "AB", 8) and is_refused(read_part, "AA=", 8), "base64url is read in two spellings")
    active_set.POLICIES_MAX = 1
    expect(is_refused(ActiveSet(NAMESPACE, read_keys(JWKS)).apply, AT_6, time.time()), "more policies than there can be")
    active_set.POLICIES_MAX = 10_000
    for server in ("http://example.com:7070", "ftp://127.0.0.1", "127.0.0.1:7070"):
        try:
            watch.parse(["--jwks", "-", "--server", server])
        except SystemExit as end:
            expect(end.code == 2, f"exit code {end.code}")
        else:
            expect(False, f"sends its token to {server}")


PAUSE = watch.pause


async def check():
    """Every case. How many there were."""
    server = grpc.aio.server()
    hub = Hub()
    rpc.add_SyncServiceServicer_to_server(hub, server)
    # What is no message goes out as it is.
    handler = grpc.unary_stream_rpc_method_handler(
        hub.WatchActive, pb.WatchActiveRequest.FromString,
        lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
    )  # fmt: skip
    server.add_registered_method_handlers("policyhub.v1.SyncService", {"WatchActive": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    check_pauses()
    with contextlib.redirect_stderr(io.StringIO()):
        check_readers()
    check_freshness()
    count = 0
    try:
        for family, before, heard in CASES:
            for case in family():
                await play(hub, port, family, case, before, heard)
                count += 1
    finally:
        await server.stop(None)
    return count
