"""A hub that lies, against examples/python: each lie is refused, nothing of it is handed out, and the truth is heard after it.

Each case is one stream: what is true first, then the lie. The stream after it is honest again. The lies are in `lies.py`, and
those to a subscriber with a filter in `lies_filtered.py`.
"""

import asyncio
import contextlib
import io
import random
import time

import active_set
import grpc
import lies
import lies_filtered
import make
import watch
from active_set import ActiveSet
from hub import JWKS, NAMESPACE, Hub, activation, changed, content_of, heartbeat
from log import LOG, activation_at, active_at, heartbeat_at, snapshot_at
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc
from refused import Refused
from signed import read_keys, read_object, read_part

CASE_TIMEOUT_SECONDS = 20
SILENCE, SILENCE_SECONDS = "silence", 2


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
    yield "half a snapshot", "", [changed(snapshot_at(10), lambda m: (m.snapshot.bundles.pop(), setattr(m.snapshot, "complete", False)))]
    yield SILENCE, "stream is dead", [None]
    yield "an unknown kind of message", "", [pb.WatchActiveResponse()]
    yield "a replica that is behind", "", [pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))]
    yield "an expired heartbeat", "", [heartbeat_at(8, age=901)]
    # What is held is proven, and not that it is the newest.
    yield "an expired snapshot", "stale: nothing proves", [snapshot_at(8, age=901)]
    yield "a snapshot from the future", "ahead of this one", [snapshot_at(8, age=-120)]


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


def change_at(kind, revision, wanted=()):
    """A true change, as `lines_of` has it: all of the set, or what moved."""
    now = {policy: held for policy, held in active_at(revision).items() if not wanted or policy in wanted}
    shown = {policy: held for policy, held in now.items() if kind == "SNAPSHOT" or held[1] == (1, revision)}
    return kind, (1, revision), [(policy, shown[policy][0]) for policy in sorted(shown)]


# What was heard before the lie: the snapshot of a revision, then activations; and the filter.
WANTED = lies_filtered.WANTED
CASES = [
    (lies.activations, [6], ()), (lies.snapshots, [6, 8], ()), (lies.heartbeats, [6, 8], ()), (lies.beginnings, [], ()),
    (ends, [6, 8], ()), (lies_filtered.changes, [6, 8], WANTED), (lies_filtered.beginnings, [], WANTED),
]  # fmt: skip
# The cases whose first message is true.
TRUE_FIRST = {
    "an activation twice": [change_at("ACTIVATE", 8)], "an expired snapshot": [change_at("SNAPSHOT", 8)],
    "a snapshot from the future": [change_at("SNAPSHOT", 8)],
}  # fmt: skip


async def play(hub, port, family, case, revisions, wanted):
    """One case: the lie on the first stream, the truth on the second."""
    name, why, lie = case
    before = [(activation_at if index else snapshot_at)(revision, wanted) for index, revision in enumerate(revisions)]
    heard = [change_at("ACTIVATE" if index else "SNAPSHOT", revision, wanted) for index, revision in enumerate(revisions)]
    said, handed_out, waits = [], [], []
    watch.say, watch.apply = said.append, handed_out.append
    watch.pause = lambda short, asked: waits.append((short, asked)) or 0
    watch.SILENCE_MAX_SECONDS = SILENCE_SECONDS if name == SILENCE else CASE_TIMEOUT_SECONDS
    hub.requests.clear(), hub.reports.clear()
    resumes = family is ends and name != "the resume point is gone"
    hub.scripts[:] = [[*before, *lie], [(activation_at if resumes else snapshot_at)(10, wanted)]]
    arguments = ["--server", f"http://127.0.0.1:{port}", "--jwks", "-", "--subscriber-id", "s-1", "--until-revision", "10"]
    held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
    await asyncio.wait_for(watch.watch(watch.parse(arguments), held), CASE_TIMEOUT_SECONDS)
    repair = change_at("ACTIVATE" if resumes else "SNAPSHOT", 10, wanted)
    expect(lines_of(handed_out) == [*heard, *TRUE_FIRST.get(name, []), repair], f"{name}: {handed_out}")
    true = {policy: version for policy, (version, _) in active_at(10).items() if not wanted or policy in wanted}
    expect({p: found.version for p, found in held.policies.items()} == true, f"{name}: holds {held.policies}")
    expect([sorted(request.policies) for request in hub.requests] == [sorted(wanted)] * 2, f"{name}: asks for other policies")
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
    """A checkpoint that is old, or from the future, proves what is held and not that it is the newest: the example says so."""
    held, now, said = ActiveSet(NAMESPACE, read_keys(JWKS)), time.time(), []
    watch.say = said.append
    held.apply(snapshot_at(6, age=7 * 86_400), now)
    expect(held.place == (1, 6) and not held.is_fresh(now), "a snapshot of last week is fresh")
    watch.warn_when_stale(held)
    held.apply(heartbeat_at(6, age=-120), now)
    expect(not held.is_fresh(now), "a heartbeat from the future makes fresh")
    watch.warn_when_stale(held)
    unknown = pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))
    expect(held.apply(unknown, now) is None and not held.is_fresh(now), "a replica that is behind makes fresh")
    held.apply(heartbeat_at(6), now)
    expect(held.is_fresh(now) and not held.is_fresh(now + 901), "freshness has no end")
    later = heartbeat((1, 7), active_at(6))
    expect(held.apply(later, now + 5) is None and held.place == (1, 7), "a heartbeat does not move the place")
    held.apply(heartbeat((1, 7), active_at(6), age=901), now)
    expect(held.is_fresh(now), "an old heartbeat takes freshness away")
    watch.warn_when_stale(held)
    expect([each[:5] for each in said] == ["stale"] * 2 and "ahead of this one" in said[1], f"says {said}")


def check_statements_without_root():
    """What was signed before statements had roots is taken, and what it hides shows at the next checkpoint."""
    held, now = ActiveSet(NAMESPACE, read_keys(JWKS)), time.time()
    for message in (snapshot_at(8), activation((1, 12), LOG[12])):
        held.apply(message, now)
    expect(held.place == (1, 12), "a statement without a root is refused")
    expect(is_refused(held.apply, heartbeat_at(12), now), "the dropped activation is not seen")
    held.begin_stream()
    held.apply(snapshot_at(12), now)
    expect(held.policies["a"].version == 1, "a snapshot does not repair it")


def check_filter():
    """A filter hears what touches it, and a checkpoint proves its part: what is there, and what is not."""
    held, now = ActiveSet(NAMESPACE, read_keys(JWKS), WANTED), time.time()
    for message in (snapshot_at(4, WANTED), heartbeat_at(6, WANTED), *(activation_at(at, WANTED) for at in (8, 10, 12))):
        held.apply(message, now)
    held.apply(heartbeat_at(12, WANTED), now + 5)
    expect((held.place, sorted(held.policies)) == ((1, 12), ["a", "c"]), f"holds {held.policies}")


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
    expect(is_refused(ActiveSet(NAMESPACE, read_keys(JWKS)).apply, snapshot_at(6), time.time()), "more policies than there can be")
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
    check_statements_without_root()
    check_filter()
    count = 0
    try:
        for family, revisions, wanted in CASES:
            for case in family():
                await play(hub, port, family, case, revisions, wanted)
                count += 1
    finally:
        await server.stop(None)
    return count
