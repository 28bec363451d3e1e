"""What the Python example checks before it decodes a message, and which store's documents it accepts before it holds anything."""

import asyncio
import resource
import time

import watch
from active_set import ActiveSet
from hub import JWKS, NAMESPACE
from log import LOG, activation_at, heartbeat_at, snapshot_at
from policyhub.v1 import sync_service_pb2 as pb
from refused import Refused
from signed import read_keys
from wire_scan import DEPTH_MAX, FIELDS_MAX, read_message

MIB = 1024 * 1024
# How much a subscriber may grow, whatever is sent.
GROWTH_MAX_BYTES = 32 * MIB


def refusal(read, *arguments):
    try:
        read(*arguments)
    except Refused as refused:
        return str(refused)
    return ""


def varint(number):
    more = bytes([number & 127 | 128]) if number > 127 else b""
    return more + varint(number >> 7) if more else bytes([number])


def within(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def bombs():
    """Yields messages within 8 MiB, and why each is not decoded."""
    snapshot, activation = 1, 2
    much, odd = "more", "not in the wire format"
    for field in (1, 4):
        yield f"empty elements of field {field}", much, within(snapshot, within(field, b"") * (7 * MIB // 2))
        yield f"empty elements of field {field} of an activation", much, within(activation, within(field, b"") * (7 * MIB // 2))
    yield "empty snapshots", much, within(snapshot, b"") * (4 * MIB)
    yield "numbers", much, b"\x98\x06\x01" * (FIELDS_MAX + 1)
    yield "groups in groups", "nested deeper", b"\x9b\x06" * (DEPTH_MAX + 1)
    yield "an end without a group", odd, b"\x9c\x06"
    yield "a group without an end", odd, b"\x9b\x06"
    yield "less than it says", odd, b"\x0a\x05abc"
    yield "a fixed number that is cut", odd, b"\x99\x06abc"
    yield "field 0", odd, b"\x02\x00"
    yield "a number without an end", odd, b"\x98\x06" + b"\xff" * 11


def check_scan(expect):
    for revision in LOG:
        for message in (snapshot_at(revision), activation_at(revision), heartbeat_at(revision)):
            data = message.SerializeToString()
            expect(read_message(pb.WatchActiveResponse, data) == message, f"reads something else than {message}")
    messages = list(bombs())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, why, data in messages:
        said = refusal(read_message, pb.WatchActiveResponse, data)
        expect(why in said, f"{name}: {said!r} instead of {why!r}")
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    expect(growth < GROWTH_MAX_BYTES, f"grows by {growth} bytes")


class Channel:
    """Records how a stream is read."""

    def __init__(self):
        self.readers = {}

    def unary_stream(self, path, request_serializer=None, response_deserializer=None, **_):
        self.readers[path] = response_deserializer

    def unary_unary(self, *_, **__):
        return None


def check_stream_is_scanned(expect):
    channel = Channel()
    watch.stub_of(channel)
    read = channel.readers["/policyhub.v1.SyncService/WatchActive"]
    expect(refusal(read, within(1, within(1, b"") * MIB)), "a stream is decoded before it is scanned")


def check_other_store(expect):
    """Checks that a refused copy from another store does not bind an empty set to that store."""
    now = time.time()
    held, less = ActiveSet(NAMESPACE, read_keys(JWKS)), snapshot_at(10, store="store-2")
    del less.snapshot.bundles[:]
    expect("another set" in refusal(held.apply, less, now), "a set of another store is taken without its policies")
    held.begin_stream()
    held.apply(snapshot_at(6), now)
    held.begin_stream()
    for other in (heartbeat_at(10, store="store-2"), snapshot_at(10, store="store-2")):
        expect("signed by store" in refusal(held.apply, other, now) and held.position == (1, 6), "another store is taken")
        held.begin_stream()
    held.apply(snapshot_at(8), now)
    expect(held.is_fresh(now) and held.position == (1, 8), "the first store does not repair it")


class Paused(Exception):
    """Stands for the wait before the watch reconnects."""


def check_missing_credential(expect):
    """Checks that the watch reconnects when its token file is absent for a moment, as during a replacement."""
    said, say, pause = [], watch.say, watch.pause

    def ended(short_streams, asked):
        raise Paused

    watch.say, watch.pause = said.append, ended
    arguments = ["--server", "http://127.0.0.1:1", "--jwks", "-", "--token-file", "/nowhere/token"]
    try:
        asyncio.run(watch.watch(watch.parse(arguments), ActiveSet(NAMESPACE, read_keys(JWKS))))
    except Paused:
        expect("no stream" in said[0] and "/nowhere/token" in said[0], f"says {said}")
    finally:
        watch.say, watch.pause = say, pause


def check(expect):
    check_missing_credential(expect)
    check_scan(expect)
    check_stream_is_scanned(expect)
    check_other_store(expect)
