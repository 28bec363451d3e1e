"""A hostile server, against examples/python: each lie is refused, none of it is passed on, and honest messages are accepted after it.

Each case is one stream or several: honest messages first, then the lie. The stream after it is honest again. The lies are in
`lies.py`, those to a subscriber with a filter in `lies_filtered.py`, and those about activations in parts in `lies_parts.py`.
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
import lies_parts
import make
import watch
from active_set import ActiveSet
from hub import (
    JWKS, NAMESPACE, NEXT_STREAM, STRANGER, Hub, activation, changed, content_of, cursor, fingerprint, heartbeat, in_parts,
    opened, snapshot, statement,
)  # fmt: skip
from log import LOG, NEWEST, activation_at, active_at, heartbeat_at, snapshot_at
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc
from refused import Refused
from signed import read_keys, read_object, read_part

CASE_TIMEOUT_SECONDS = 20
# Silent streams, and the longest silence that is waited for, in seconds, in place of the real limit.
SILENCES = {"silence": 1, "silence, and heartbeats that come after years": 1, "silence, and heartbeats that come at once": 30}


def ends():
    """Yields streams that end without a lie: what the watch prints, and what it requests next."""
    say = "server says: "
    yield "a wait of years", f"{say}draining", [reconnect(pb.RECONNECT_REASON_DRAINING, 1 << 40)]
    yield "a wait of less than nothing", f"{say}age", [reconnect(pb.RECONNECT_REASON_AGE, -(1 << 40))]
    yield "a reason that nobody knows", f"{say}99", [reconnect(99, 0)]
    yield "the resume point is gone", "OUT_OF_RANGE", [(grpc.StatusCode.OUT_OF_RANGE, "RESUME_POINT_GONE")]
    for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL"):
        yield f"{code} in the middle", code, [(grpc.StatusCode[code], "no\r\n\x00")]
    yield "an end without a word", "", []
    yield "half a snapshot", "", [in_parts(snapshot_at(10))[0]]
    yield "half an activation", "", [in_parts(activation_at(10))[0]]
    yield "half an activation, and an unknown kind of message", "", [in_parts(activation_at(10))[0], pb.WatchActiveResponse()]
    no_word, after_years, at_once = SILENCES
    yield no_word, "nothing came for 1 s", [None]
    yield after_years, "nothing came for 1 s", [opened(1 << 40), None]
    yield at_once, "nothing came for 3 s", [opened(0, 1), None]
    yield "an unknown kind of message", "", [pb.WatchActiveResponse()]
    yield "a replica that is behind", "", [pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))]
    yield "an expired heartbeat", "", [heartbeat_at(8, age=901)]
    # The held set is proven, but not that it is the newest.
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
    """Returns what was passed on; a version counts only with its original content."""

    def version(new):
        return new.version if new.content == content_of(new.policy, new.version) else new.content

    return [(each.kind, each.position, [(new.policy, version(new)) for new in each.changed]) for each in handed_out]


def change_at(kind, revision, wanted=()):
    """Returns an honest change in the form of `lines_of`: the whole set, or what moved."""
    now = {policy: held for policy, held in active_at(revision).items() if not wanted or policy in wanted}
    shown = {policy: held for policy, held in now.items() if kind == "SNAPSHOT" or held[1] == (1, revision)}
    return kind, (1, revision), [(policy, shown[policy][0]) for policy in sorted(shown)]


# What is sent before the lie: the snapshot of a revision, then activations; and the filter.
WANTED = lies_filtered.WANTED
CASES = [
    (lies.activations, [6], ()), (lies.snapshots, [6, 8], ()), (lies.heartbeats, [6, 8], ()), (lies.replays, [6, 8], ()),
    (lies.beginnings, [], ()), (lies_parts.unfiltered, [8, 10, 12], ()), (ends, [6, 8], ()),
    (lies_filtered.changes, [6, 8], WANTED), (lies_filtered.replays, [6, 8], WANTED), (lies_filtered.beginnings, [], WANTED),
    (lies_parts.filtered, [8, 10, 12], WANTED),
]  # fmt: skip
# The cases whose first message is honest.
TRUE_FIRST = {
    "an activation twice": [change_at("ACTIVATE", 8)], "an expired snapshot": [change_at("SNAPSHOT", 8)],
    "a snapshot from the future": [change_at("SNAPSHOT", 8)],
}  # fmt: skip
THEN_A_SNAPSHOT = ("a part, then a snapshot, then the rest", "a part, then a snapshot in parts, then the rest")


def streams_of(messages):
    """Returns the messages of each stream."""
    streams = [[]]
    for message in messages:
        if isinstance(message, str) and message == NEXT_STREAM:
            streams.append([])
        else:
            streams[-1].append(message)
    return streams


def truth(resumes_at, wanted):
    """Returns an honest stream, in parts, up to the newest revision; and the expected output."""
    if resumes_at is None:
        return in_parts(snapshot_at(NEWEST, wanted)), [change_at("SNAPSHOT", NEWEST, wanted)]
    after = [revision for revision in LOG if revision > resumes_at]
    parts = [part for revision in after for part in in_parts(activation_at(revision, wanted))]
    return parts, [change_at("ACTIVATE", revision, wanted) for revision in after]


async def play(hub, port, family, case, revisions, wanted):
    """Plays one case: the lie on the first stream, or on more; the honest messages on the last."""
    name, why, lie = case
    before = [(activation_at if index else snapshot_at)(revision, wanted) for index, revision in enumerate(revisions)]
    heard = [change_at("ACTIVATE" if index else "SNAPSHOT", revision, wanted) for index, revision in enumerate(revisions)]
    heard += [change_at("SNAPSHOT", revisions[-1], wanted)] if name in THEN_A_SNAPSHOT else TRUE_FIRST.get(name, [])
    said, handed_out, waits = [], [], []
    watch.say, watch.apply = said.append, handed_out.append
    watch.pause = lambda short, asked: waits.append((short, asked)) or 0
    watch.SILENCE_MAX_SECONDS = SILENCES.get(name, CASE_TIMEOUT_SECONDS)
    hub.requests.clear(), hub.reports.clear()
    resumes = family is ends and name != "the resume point is gone"
    repair, repaired = truth(revisions[-1] if resumes else None, wanted)
    first, *more = streams_of(lie)
    # In cases without a lie, the first stream does not state its heartbeat interval.
    hub.scripts[:] = [[*([] if family is ends else [OPENED]), *before, *first], *([OPENED, *each] for each in more), [OPENED, *repair]]
    streams = len(hub.scripts)
    arguments = ["--server", f"http://127.0.0.1:{port}", "--jwks", "-", "--subscriber-id", "s-1", "--until-revision", str(NEWEST)]
    held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
    await asyncio.wait_for(watch.watch(watch.parse(arguments), held), CASE_TIMEOUT_SECONDS)
    expect(lines_of(handed_out) == heard + repaired, f"{name}: {handed_out}")
    true = {policy: active for policy, active in active_at(NEWEST).items() if not wanted or policy in wanted}
    expect({p: (found.version, found.position) for p, found in held.policies.items()} == true, f"{name}: holds {held.policies}")
    expect([sorted(request.targets[0].policies) for request in hub.requests] == [sorted(wanted)] * streams, f"{name}: asks for other policies")
    expect(len(hub.requests) == streams and len(waits) == streams - 1, f"{name}: {len(hub.requests)} streams, waits {waits}")
    resumed = [request.targets[0].resume for request in hub.requests if request.targets[0].HasField("resume")]
    expect(resumed == ([cursor((1, revisions[-1]))] if resumes else []), f"{name}: resumes at {resumed}")
    told = [cursor(change.position) for change in handed_out]
    applied = [report.cursor for report in hub.reports if report.status == pb.APPLY_STATUS_APPLIED]
    expect(applied == told, f"{name}: reports {hub.reports}")
    talk = [watch.line(each).removesuffix("; what is in force stays") for each in said]
    refused = [each for each in talk if each.startswith("refused: ")]
    rejected = [report.reason for report in hub.reports if report.status == pb.APPLY_STATUS_REJECTED]
    expect({f"refused: {watch.line(reason)}" for reason in rejected} <= set(refused), f"{name}: reports {rejected}")
    expect(len(refused) == (0 if family is ends else streams - 1), f"{name}: says {talk}")
    shown = talk if family is ends else refused[-1:]
    expect(any(why in each for each in shown) if why else not talk, f"{name}: says {talk} instead of {why!r}")
    expect(all(each.isprintable() and len(each) <= watch.LINE_MAX_CHARS for each in talk), f"{name}: {talk}")


async def check_after_a_refusal(hub, port):
    """Checks that a refusal is reported, and that no stream resumes until a snapshot was accepted."""
    def spoil(message):
        message.activation.statement = message.activation.statement[:-8] + "AAAAAAAA"

    said, handed_out = [], []
    watch.say, watch.apply, watch.pause = said.append, handed_out.append, lambda short, asked: 0
    watch.SILENCE_MAX_SECONDS = CASE_TIMEOUT_SECONDS
    hub.requests.clear(), hub.reports.clear()
    repair, _ = truth(None, ())
    cut = (grpc.StatusCode.UNAVAILABLE, "cut")
    hub.scripts[:] = [[OPENED, snapshot_at(6), changed(activation_at(8), spoil)], [OPENED, cut], [OPENED, *repair]]
    arguments = ["--server", f"http://127.0.0.1:{port}", "--jwks", "-", "--subscriber-id", "s-1", "--until-revision", str(NEWEST)]
    held = ActiveSet(NAMESPACE, read_keys(JWKS))
    await asyncio.wait_for(watch.watch(watch.parse(arguments), held), CASE_TIMEOUT_SECONDS)
    resumed = [request.targets[0].HasField("resume") for request in hub.requests]
    expect(resumed == [False] * 3, f"after a refusal it resumes: {resumed}")
    reports = [(report.status, report.cursor.revision, bool(report.reason)) for report in hub.reports]
    applied, rejected = pb.APPLY_STATUS_APPLIED, pb.APPLY_STATUS_REJECTED
    expect(reports == [(applied, 6, False), (rejected, 8, True), (applied, NEWEST, False)], f"reports {hub.reports}")


def check_pauses():
    """Checks that waits are bounded, whatever was requested, and spread."""
    pause, random.uniform = PAUSE, lambda low, high: high
    bounds = [pause(short, 0) for short in (0, 1, 7, 10**9)]
    expect(bounds == [0.5, 1, 60, 60], f"waits {bounds}")
    expect([pause(0, asked) for asked in (1 << 40, -(1 << 40), 5)] == [60, 0.5, 5.5], "waits as long as it is told")
    random.uniform = lambda low, high: low
    expect(pause(10, 0) == 0, "waits are not spread")


def check_freshness():
    """Checks that a checkpoint that is old, or from the future, proves the held set, but not that it is the newest."""
    held, now, said = ActiveSet(NAMESPACE, read_keys(JWKS)), time.time(), []
    watch.say = said.append
    held.apply(snapshot_at(6, age=7 * 86_400), now)
    expect(held.position == (1, 6) and not held.is_fresh(now), "a snapshot of last week is fresh")
    watch.warn_when_stale(held)
    held.apply(heartbeat_at(6, age=-120), now)
    expect(not held.is_fresh(now), "a heartbeat from the future makes fresh")
    watch.warn_when_stale(held)
    unknown = pb.WatchActiveResponse(heartbeat=pb.Heartbeat(resume_unknown=True))
    expect(held.apply(unknown, now) is None and not held.is_fresh(now), "a replica that is behind makes fresh")
    held.apply(heartbeat_at(6), now)
    expect(held.is_fresh(now) and not held.is_fresh(now + 901), "freshness has no end")
    held.apply(heartbeat_at(6, age=-120), now)
    expect(not held.is_fresh(now), "a clock that was set back leaves it fresh")
    held.apply(heartbeat_at(6), now)
    later = heartbeat((1, 7), active_at(6))
    expect(held.apply(later, now + 5) is None and held.position == (1, 7), "a heartbeat does not move the position")
    held.apply(heartbeat((1, 7), active_at(6), age=901), now)
    expect(held.is_fresh(now), "an old heartbeat takes freshness away")
    watch.warn_when_stale(held)
    expect([each[:5] for each in said] == ["stale"] * 2 and "ahead of this one" in said[1], f"says {said}")


def check_gaps():
    """Checks that a checkpoint that contradicts the held set ends its freshness, and that one that proves nothing does not."""
    another = active_at(8) | {"a": active_at(10)["a"]}
    for wanted in ((), WANTED):
        held, now = ActiveSet(NAMESPACE, read_keys(JWKS), wanted), time.time()
        held.apply(snapshot_at(8, wanted), now)
        lies_of_no_proof = [heartbeat_at(8, wanted, key=STRANGER), heartbeat_at(8, wanted, namespace="other")]
        if wanted:
            lies_of_no_proof += [heartbeat_at(8), heartbeat((1, 8), active_at(8), ["b"])]
        for lie in lies_of_no_proof:
            expect(is_refused(held.apply, lie, now) and held.is_fresh(now), f"{wanted}: what proves nothing ends freshness")
        for age in (0, 901):
            held.apply(heartbeat((1, 8), active_at(8), wanted), now)
            expect(held.is_fresh(now), f"{wanted}: a heartbeat does not make fresh")
            expect(is_refused(held.apply, heartbeat((1, 8), another, wanted, age=age), now), f"{wanted}: a gap is taken")
            expect(not held.is_fresh(now) and held.unproven, f"{wanted}: a gap leaves it fresh")
        # An activation does not change the time, accepted or not.
        held.apply(heartbeat_at(8, wanted), now)
        until = held.fresh_until
        expect(is_refused(held.apply, activation_at(12, wanted), now), f"{wanted}: an activation left out is not seen")
        expect(held.fresh_until == until, f"{wanted}: an activation that was refused ends freshness")
        held.begin_stream()
        held.apply(snapshot_at(12, wanted), now)
        until = held.fresh_until
        for part in in_parts(activation_at(14, wanted)):
            held.apply(part, now + 5)
        expect(held.position == (1, 14) and held.fresh_until == until > now, f"{wanted}: an activation that was taken ends freshness")


def check_high_water_mark():
    """Checks that nothing older than a verified position is accepted, also when it was refused; unverified ones don't count."""
    now = time.time()
    for wanted in ((), WANTED):
        held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
        held.apply(snapshot_at(8, wanted), now)
        unsigned = [
            heartbeat_at(14, wanted, key=STRANGER), heartbeat_at(14, wanted, namespace="other"), heartbeat_at(14, wanted, ttl=901),
            changed(heartbeat_at(10, wanted), lambda m: m.heartbeat.cursor.CopyFrom(cursor((1, 14)))),
            changed(activation_at(10, wanted), lambda m: m.activation.ClearField("statement")),
        ]  # fmt: skip
        for lie in unsigned:
            expect(is_refused(held.apply, lie, now), f"taken: {lie}")
            expect(held.newest_verified == (1, 8), f"{wanted}: {held.newest_verified} by what did not verify: {lie}")
        held.begin_stream()
        held.apply(heartbeat_at(8, wanted), now)
        expect(is_refused(held.apply, heartbeat_at(10, wanted), now), f"{wanted}: a gap is taken")
        held.begin_stream()
        for old in (heartbeat_at(8, wanted), snapshot_at(8, wanted), snapshot_at(6, wanted), activation_at(8, wanted)):
            expect(is_refused(held.apply, old, now) and held.position == (1, 8), f"{wanted}: taken after a gap: {old}")
            held.begin_stream()
        expect(not held.is_fresh(now), f"{wanted}: fresh after a gap")
        # The activation that was left out repairs it as well as a snapshot does.
        other = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
        for message in (snapshot_at(8, wanted), heartbeat_at(8, wanted)):
            other.apply(message, now)
        expect(is_refused(other.apply, heartbeat_at(10, wanted), now), f"{wanted}: a gap is taken")
        for each, repair in ((held, snapshot_at(10, wanted)), (other, activation_at(10, wanted))):
            each.begin_stream()
            each.apply(repair, now)
            each.apply(heartbeat_at(10, wanted), now)
            expect(each.position == each.newest_verified == (1, 10) and each.is_fresh(now), f"{wanted}: not repaired by {repair}")


def check_fingerprints():
    """Checks that the event at a position is known by the hash in a checkpoint, and after an activation by the server's claim."""
    held, now = ActiveSet(NAMESPACE, read_keys(JWKS)), time.time()

    def lie(message):
        return changed(message, lambda m: setattr(getattr(m, m.WhichOneof("message")).cursor, "fingerprint", 7))

    for message, known in (
        (lie(snapshot_at(6)), fingerprint((1, 6))), (lie(activation_at(8)), 7), (lie(heartbeat_at(8)), fingerprint((1, 8))),
        (activation_at(10), fingerprint((1, 10))), (heartbeat_at(10, head_hash="00" * 32), 0),
    ):  # fmt: skip
        held.apply(message, now)
        expect(held.fingerprint == known, f"the event at {held.position} is {held.fingerprint}")


def check_parts():
    """Checks that every way to split an activation has the same result, and that a part alone changes nothing."""
    now = time.time()
    for wanted in ((), WANTED):
        for cuts in ([0], [1], [2], [1, 2], [1, 1, 2, 2], [0, 0, 1, 3, 3], ()):
            held = ActiveSet(NAMESPACE, read_keys(JWKS), wanted)
            held.apply(snapshot_at(12, wanted), now)
            whole, before = activation_at(14, wanted), (held.position, dict(held.policies), held.fingerprint, held.fresh_until)
            *parts, end = in_parts(whole, *[cut for cut in cuts if cut <= (2 if wanted else 3)])
            parts = [part for part in parts if part.activation.bundles or part.activation.tombstones]
            for part in parts:
                expect(held.apply(part, now) is None, f"{wanted} {cuts}: a part changes something")
                held.apply(pb.WatchActiveResponse(), now)
                held.apply(opened(10), now)
                expect((held.position, held.policies, held.fingerprint, held.fresh_until) == before, f"{wanted} {cuts}: a part shows")
            expect(lines_of([held.apply(end, now)]) == [change_at("ACTIVATE", 14, wanted)], f"{wanted} {cuts}")
            held.apply(heartbeat_at(14, wanted), now)
    held, names = ActiveSet(NAMESPACE, read_keys(JWKS)), [f"p{number}" for number in range(100)]
    gone = {name: (1, (1, 2)) for name in names[:60]}
    held.apply(snapshot((1, 2), gone), now)
    now_active = {name: (1, (1, 4)) for name in names[60:]}
    moves = [(name, *((1, 0) if name in gone else (0, 1))) for name in names]
    for part in in_parts(activation((1, 4), moves, now_active)):
        held.apply(part, now)
    expect({name: (each.version, each.position) for name, each in held.policies.items()} == now_active, "a hundred changes")


def check_silence():
    """Checks that the permitted silence of a stream is three heartbeats, within limits."""
    asked = [(0, 0), (0, 1), (1, 0), (2, 500_000_000), (9, 0), (10, 0), (11, 0), (1 << 40, 0), (-(1 << 40), 0), (5, -999_999_999)]
    found = [round(watch.silence_of(opened(*each).opened)) for each in asked]
    expect(found == [3, 3, 3, 8, 27, 30, 30, 30, 3, 12], f"waits {found}")
    expect(watch.silence_of(pb.Opened()) == 3, "waits for ever without an interval")


def check_statements_without_root():
    """Checks that statements from before roots are refused, because they prove no set, and then everything older as well."""
    for wanted in ((), WANTED):
        held, now = ActiveSet(NAMESPACE, read_keys(JWKS), wanted), time.time()
        held.apply(snapshot_at(8, wanted), now)
        rootless = changed(activation_at(10, wanted), lambda m: setattr(m.activation, "statement", statement((1, 10), LOG[10])))
        expect(is_refused(held.apply, rootless, now), f"{wanted}: a statement without a root is taken")
        expect(held.position == (1, 8) and held.policies["a"].version == 2, f"{wanted}: a refused activation changed something")
        held.begin_stream()
        expect(is_refused(held.apply, snapshot_at(8, wanted), now), f"{wanted}: older than what verified is taken")
        held.begin_stream()
        held.apply(snapshot_at(12, wanted), now)
        expect(held.policies["a"].version == 1, f"{wanted}: a snapshot does not repair it")


def check_filter():
    """Checks that a filtered stream gets its changes, and that a checkpoint proves its part: what is there, and what is not."""
    held, now = ActiveSet(NAMESPACE, read_keys(JWKS), WANTED), time.time()
    for message in (snapshot_at(4, WANTED), heartbeat_at(6, WANTED), *(activation_at(at, WANTED) for at in (8, 10, 12, 14))):
        held.apply(message, now)
    held.apply(heartbeat_at(14, WANTED), now + 5)
    expect((held.position, sorted(held.policies)) == ((1, 14), ["a", "c"]), f"holds {held.policies}")


def check_readers():
    """Checks what no stream can contain: other keys, documents that two parsers read differently, too many policies."""
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


PAUSE, OPENED = watch.pause, opened(10)


@contextlib.asynccontextmanager
async def served():
    """Starts a scripted hub; yields it with its port."""
    server = grpc.aio.server()
    hub = Hub()
    rpc.add_SyncServiceServicer_to_server(hub, server)
    # Bytes are sent unchanged.
    handler = grpc.unary_stream_rpc_method_handler(
        hub.WatchActive, pb.WatchActiveRequest.FromString,
        lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
    )  # fmt: skip
    server.add_registered_method_handlers("policyhub.v1.SyncService", {"WatchActive": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield hub, port
    finally:
        await server.stop(None)


async def check():
    """Runs every case and returns their number."""
    check_pauses()
    with contextlib.redirect_stderr(io.StringIO()):
        check_readers()
    check_freshness()
    check_gaps()
    check_high_water_mark()
    check_fingerprints()
    check_parts()
    check_silence()
    check_statements_without_root()
    check_filter()
    count = 0
    async with served() as (hub, port):
        for family, revisions, wanted in CASES:
            for case in family():
                await play(hub, port, family, case, revisions, wanted)
                count += 1
        await check_after_a_refusal(hub, port)
    return count
