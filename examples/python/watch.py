"""Keeps the active set of a namespace, and prints one line for each change once it is verified.

    python watch.py --jwks keys.json --subscriber-id shop-1

Run it where the stubs are on the path: see README.md. Put what your service does with a change into `apply`. It keeps its
position in memory: it comes back after every end of a stream, and misses nothing. SIGINT and SIGTERM end it with exit code 0.
"""

import argparse
import asyncio
import functools
import os
import pathlib
import random
import signal
import sys
import time
from urllib.parse import urlsplit

import grpc
from active_set import ActiveSet
from pinned_keys import PinnedKeys
from policyhub.v1 import cursor_pb2
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc
from refused import Contradicted, Refused
from signed import read_keys
from wire_scan import read_message

# A stream counts as dead after this many missed heartbeats, within these limits, whatever interval the server states.
HEARTBEATS_MISSED, SILENCE_MIN_SECONDS, SILENCE_MAX_SECONDS = 3, 3, 30
CALL_TIMEOUT_SECONDS = 5
# The longest wait before a stream is opened again: it doubles after each stream that ended early.
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 60
# An honest message is at most 2 MiB. This is the limit of grpcio itself; the rules permit up to 8 MiB.
MESSAGE_MAX_BYTES = 4 * 1024 * 1024
LINE_MAX_CHARS, REASON_MAX_CHARS = 4_096, 1_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def line(text):
    """Makes text from outside one line of bounded length."""
    return "".join(each if each.isprintable() else " " for each in text[:LINE_MAX_CHARS])


def say(talk):
    """Prints on stderr: stdout is for data."""
    print(line(f"watch: {talk}"), file=sys.stderr, flush=True)


def apply(change):
    """Lets the service apply a change; everything in force is in `ActiveSet.policies`. This one prints it."""
    moves = [f"{new.policy} -> {new.version}{' ' if new.label else ''}{new.label} {new.digest[:19]}" for new in change.changed]
    moves += [f"{policy} -> none" for policy in change.removed]
    by = f" by {change.actor}:" if change.actor else ""
    print(line(f"{change.kind} {change.position[0]}:{change.position[1]}{by} {', '.join(moves) or 'nothing is active'}"), flush=True)


def open_channel(options):
    """Opens a channel for one stream: a new token or authority is used from the next one on."""
    server = urlsplit(options.server)
    # Without the probe a stream has 64 KiB in flight. With it grpcio reads dozens of messages ahead of the reader.
    limits = [
        ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if server.scheme == "https":
        authority = options.ca_cert.read_bytes() if options.ca_cert else None
        return grpc.aio.secure_channel(server.netloc, grpc.ssl_channel_credentials(authority), limits)
    return grpc.aio.insecure_channel(server.netloc, limits)


def stub_of(channel):
    """The calls of a subscriber. Messages of a stream are scanned before they are decoded."""
    stub = rpc.SyncServiceStub(channel)
    stub.WatchActive = channel.unary_stream(
        "/policyhub.v1.SyncService/WatchActive", request_serializer=pb.WatchActiveRequest.SerializeToString,
        response_deserializer=functools.partial(read_message, pb.WatchActiveResponse),
    )  # fmt: skip
    return stub


def credentials(options):
    token = options.token_file.read_text().strip() if options.token_file else os.environ.get("POLICYHUB_TOKEN", "")
    return [("authorization", f"Bearer {token}")] if token else []


def cursor_of(held):
    return cursor_pb2.Cursor(epoch=held.position[0], revision=held.position[1], fingerprint=held.fingerprint)


async def report(stub, options, held, cursor, rejection=""):
    """Reports what this runtime runs with, or why it rejected what is at the cursor. Returns whether the server accepted it.
    A failed report changes nothing here."""
    request = pb.ReportStatusRequest(
        name=f"namespaces/{options.namespace}/subscribers/{options.subscriber_id}", cursor=cursor, digest=held.digest(),
        status=pb.APPLY_STATUS_REJECTED if rejection else pb.APPLY_STATUS_APPLIED, reason=rejection,
    )  # fmt: skip
    try:
        await stub.ReportStatus(request, metadata=credentials(options), timeout=CALL_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        say(f"could not report: {error.code().name} {error.details()}")
        return False
    return True


async def report_refusal(stub, options, held, message, refusal):
    """Reports a refusal: at the cursor of the message when that is above the held one; at the held one, when something newer is in
    force that was not received."""
    part = message.WhichOneof("message")
    named = getattr(message, part).cursor if part in ("snapshot", "activation", "heartbeat") else cursor_pb2.Cursor()
    if (named.epoch, named.revision) > (held.position or (0, 0)):
        cursor = cursor_pb2.Cursor(epoch=named.epoch, revision=named.revision)
    elif isinstance(refusal, Contradicted) and held.position:
        cursor = cursor_of(held)
    else:
        return
    await report(stub, options, held, cursor, str(refusal)[:REASON_MAX_CHARS])


class KeyFile:
    """The pinned keys, read again when they change. A half-written or missing file changes nothing."""

    def __init__(self, path, strict):
        self.path, self.strict, self.seen = path, strict, path.read_bytes()
        self.keys = read_keys(self.seen)

    def pinned(self):
        return None if self.strict else PinnedKeys(self.keys)

    def look(self, held):
        """Reads the file again; it is small, so for each message. True: `held` follows other keys now, and the statements that
        follow them come only with the next stream."""
        try:
            data = self.path.read_bytes()
            if data == self.seen:
                return False
            self.seen = data
            keys = read_keys(data)
            if not keys:
                raise Refused("it has no keys")
        except (OSError, Refused, KeyError, TypeError) as error:
            say(f"the keys of {self.path} are not used: {error}; those read before stand")
            return False
        if set(keys) == set(self.keys):
            return False
        self.keys = keys
        if held.pinned:
            held.pinned.replace(keys)
        held.keys = held.pinned.trusted if held.pinned else keys
        say(f"the pinned keys changed: {len(held.keys)} are trusted")
        return held.pinned is not None


def warn_when_stale(held):
    if held.position and not held.is_fresh(time.time()):
        why = f": {held.unproven}" if held.unproven else ""
        say(f"stale: nothing proves any more that what is held is the newest{why}")


def is_done(options, held):
    return options.until_revision and held.position and held.position[1] >= options.until_revision


def seconds_of(duration):
    return duration.seconds + duration.nanos / 1e9


def silence_of(opened):
    """Returns how long a stream may be silent, in seconds."""
    asked = HEARTBEATS_MISSED * seconds_of(opened.heartbeat_interval)
    return min(SILENCE_MAX_SECONDS, max(SILENCE_MIN_SECONDS, asked))


def reason_of(reconnect):
    """Returns why the server asks to reconnect. A reason of a newer server has no name here."""
    known = pb.ReconnectReason.DESCRIPTOR.values_by_number.get(reconnect.reason)
    return known.name.removeprefix("RECONNECT_REASON_").lower() if known else reconnect.reason


async def read_stream(stub, options, held, file=None):
    """Reads one stream to its end. Returns how long the server asks to wait before the next one, in seconds."""
    resume = cursor_of(held) if held.position and not held.needs_snapshot else None
    target = pb.WatchTarget(parent=f"namespaces/{options.namespace}", policies=sorted(held.wanted), resume=resume)
    request = pb.WatchActiveRequest(targets=[target], subscriber_id=options.subscriber_id)
    if held.pinned:
        epoch, serial = held.pinned.newest or (0, 0)
        request.key_cursor.CopyFrom(cursor_pb2.Cursor(epoch=epoch, revision=serial))
    stream = stub.WatchActive(request, metadata=credentials(options))
    held.begin_stream()
    silence, reported = SILENCE_MAX_SECONDS, not options.subscriber_id
    try:
        while not is_done(options, held):
            try:
                message = await asyncio.wait_for(stream.read(), silence)
            except TimeoutError:
                say(f"stream is dead: nothing came for {silence:.0f} s")
                return 0
            if message is grpc.aio.EOF:
                return 0
            if message is None:
                raise Refused("not a message of a watch")  # so says grpc.aio of bytes it can't read
            if message.WhichOneof("message") == "opened":
                silence = silence_of(message.opened)
            if message.WhichOneof("message") == "reconnect":
                say(f"server says: {reason_of(message.reconnect)}")
                return seconds_of(message.reconnect.backoff)
            if file and file.look(held):
                return 0  # the message was not accepted yet, so the next stream sends it again
            try:
                change = held.apply(message, time.time())
            except Refused as refusal:
                if options.subscriber_id:
                    await report_refusal(stub, options, held, message, refusal)
                raise
            if change:
                apply(change)
            # Answers to reports are not signed, and a server may lose a report: send it at least once on each stream,
            # at a checkpoint that proves the held set.
            is_proven = message.WhichOneof("message") == "heartbeat" and held.is_fresh(time.time())
            if options.subscriber_id and (change or not reported and is_proven):
                reported = await report(stub, options, held, cursor_of(held))
            warn_when_stale(held)
    finally:
        stream.cancel()


def pause(short_streams, asked_seconds):
    """Returns how long to wait, in seconds: what the server asked for, plus a random part up to the limit, so that many
    disconnected subscribers don't reconnect at once."""
    bound = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(short_streams, 10))
    return min(BACKOFF_MAX_SECONDS, max(0, asked_seconds) + random.uniform(0, bound))


async def watch(options, held, file=None):
    """Keeps `held` up to date with the server, over any number of streams."""
    short_streams = 0
    while not is_done(options, held):
        asked, began = 0, time.monotonic()
        try:
            async with open_channel(options) as channel:
                asked = await read_stream(stub_of(channel), options, held, file) or 0
        except Refused as refusal:
            # A lie, or a gap: a whole snapshot repairs both, and it may not go back either.
            say(f"refused: {refusal}; what is in force stays")
            held.needs_snapshot = True
        except grpc.aio.AioRpcError as error:
            say(f"stream ended: {error.code().name} {error.details()}")
            held.needs_snapshot |= error.code() is grpc.StatusCode.OUT_OF_RANGE
        except OSError as error:
            # A token or an authority is being replaced: it is read again for the next stream.
            say(f"no stream: {error}")
        short_streams = 0 if time.monotonic() - began > BACKOFF_MAX_SECONDS else short_streams + 1
        warn_when_stale(held)
        if not is_done(options, held):
            await asyncio.sleep(pause(short_streams, asked))


def parse(arguments):
    """Returns the options, from arguments and the environment variables that `policyhub` itself reads."""
    environment = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--server", default=environment("POLICYHUB_SERVER", "http://127.0.0.1:7070"))
    parser.add_argument("--ca-cert", type=pathlib.Path, default=environment("POLICYHUB_CA_CERT"), help="PEM")
    parser.add_argument("--token-file", type=pathlib.Path, default=environment("POLICYHUB_TOKEN_FILE"))
    parser.add_argument("--jwks", type=pathlib.Path, required=True, help="the keys to trust, as a JWK Set")
    parser.add_argument("--pin-strict", action="store_true", help="trust the keys of the file alone, and no key statement")
    parser.add_argument("--store", help="id of the store whose documents count; default: of the first message taken over")
    parser.add_argument("policy", nargs="*", help="ids of policies; none: all of the namespace")
    parser.add_argument("--namespace", default=environment("POLICYHUB_NAMESPACE", "default"))
    parser.add_argument("--subscriber-id", default="", help="stable id of this runtime; empty: anonymous, no reports")
    parser.add_argument("--until-revision", type=int, default=0, help="end once this revision is reached")
    options = parser.parse_args(arguments)
    server = urlsplit(options.server)
    if server.scheme != "https" and (server.scheme != "http" or server.hostname not in LOOPBACK):
        parser.error(f"{options.server} must be https://, or http:// on loopback: in clear text a token is no secret")
    return options


async def main():
    options = parse(sys.argv[1:])
    credentials(options)  # a missing file at the start is a mistake, and ends the program
    file = KeyFile(options.jwks, options.pin_strict)
    held = ActiveSet(options.namespace, file.keys, options.policy, file.pinned(), options.store)
    task = asyncio.ensure_future(watch(options, held, file))
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        say("told to end")


if __name__ == "__main__":
    asyncio.run(main())
