"""A hub that says what a test wants: messages signed with the keys of the golden vectors.

Those private keys are printed in RFCs and known to everyone. `make.py` signs, with none of the code under test.
"""

import asyncio
import copy
import time

import make
from policyhub.v1 import event_pb2
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc

KEY, OTHER_KEY, STRANGER = make.ED_1, make.EC, make.STRANGER
JWKS = make.compact({"keys": [KEY.jwk, OTHER_KEY.jwk]})
NAMESPACE, STORE = "default", "0198a0c2-0000-7000-8000-000000000001"


def content_of(policy, version):
    return f'{{"policy":"{policy}","version":{version}}}\n'.encode()


def cursor(place):
    return event_pb2.Cursor(epoch=place[0], revision=place[1])


def sign(typ, payload, key=KEY, **how):
    return make.token(key, typ, make.compact(payload), **how)


def bundle(policy, version, key=KEY, signed=(), beside=()):
    """A bundle whose manifest says `signed` and whose fields say `beside` in place of the truth."""
    content = content_of(policy, version)
    manifest = make.manifest(policy=policy, version=version, label=f"{version}.0.0", digest=make.digest(content), size=len(content))
    manifest |= dict(signed)
    fields = {
        "name": f"namespaces/{manifest['namespace']}/policies/{policy}/versions/{version}", "version": version,
        "label": f"{version}.0.0", "digest": make.digest(content), "size_bytes": len(content),
        "content_type": "application/json", "content": content, "manifest": sign(make.BUNDLE, manifest, key),
    } | dict(beside)  # fmt: skip
    return pb.Bundle(**fields)


def statement(place, moves, key=KEY, typ=make.ACTIVATION, how=(), **signed):
    """A statement that each policy moves from one version to another; 0 is none."""
    changes = [make.change(policy, to, content_of(policy, to) if to else None, previous) for policy, previous, to in moves]
    payload = make.statement(epoch=place[0], revision=place[1], changes=changes) | signed
    return sign(typ, payload, key, **dict(how))


def checkpoint(place, active, key=KEY, ttl=900, age=0, **signed):
    """A checkpoint made `age` seconds ago over the versions that are active."""
    made = int(time.time()) - age
    lines = "".join(f"{policy}\t{active[policy]}\t{make.digest(content_of(policy, active[policy]))}\n" for policy in sorted(active))
    payload = {
        "store": STORE, "namespace": NAMESPACE, "epoch": place[0], "revision": place[1], "head_hash": make.PREV.hex(),
        "active_set_digest": make.digest(lines.encode()), "iat": made, "exp": made + ttl,
    }  # fmt: skip
    return sign(make.CHECKPOINT, payload | signed, key)


def snapshot(place, entries, active=None, **checkpoint_says):
    """A whole snapshot of (bundle, place of its activation, statement)."""
    active = active or {entry[0].name.split("/")[3]: entry[0].version for entry in entries}
    lines = "".join(f"{policy}\t{active[policy]}\t{make.digest(content_of(policy, active[policy]))}\n" for policy in sorted(active))
    bundles = [pb.ActiveBundle(bundle=each, revision=at[1], statement=says) for each, at, says in entries]
    part = pb.Snapshot(
        bundles=bundles, complete=True, cursor=cursor(place), active_set_digest=make.digest(lines.encode()),
        checkpoint=checkpoint(place, active, **checkpoint_says),
    )  # fmt: skip
    return pb.WatchActiveResponse(snapshot=part)


def activation(place, moves, **says):
    """An activation in one message."""
    message = pb.Activation(cursor=cursor(place), statement=statement(place, moves, **says))
    message.bundles.extend(bundle(policy, to) for policy, _, to in moves if to)
    message.tombstones.extend(f"namespaces/{NAMESPACE}/policies/{policy}" for policy, _, to in moves if not to)
    return pb.WatchActiveResponse(activation=message)


def heartbeat(place, active, head=None, **says):
    message = pb.Heartbeat(cursor=cursor(place), checkpoint=checkpoint(head or place, active, **says))
    return pb.WatchActiveResponse(heartbeat=message)


def changed(message, change):
    """A copy of a message with something changed in it."""
    found = copy.deepcopy(message)
    change(found)
    return found


class Hub(rpc.SyncServiceServicer):
    """Plays one script for each stream that is opened, and keeps what it was asked. In a script a tuple is the status that
    ends the stream, and None is silence for ever."""

    def __init__(self):
        self.scripts, self.requests, self.reports = [], [], []

    async def WatchActive(self, request, context):
        self.requests.append(request)
        for message in self.scripts.pop(0):
            if message is None:
                await asyncio.Event().wait()
            if isinstance(message, tuple):
                await context.abort(*message)
            yield message

    async def ReportStatus(self, request, context):
        self.reports.append(request)
        return pb.ReportStatusResponse(stored=True)
