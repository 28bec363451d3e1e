"""A hub with scripted answers: messages signed with the keys of the golden vectors.

Those private keys are published in RFCs. `make.py` signs, and `make_active_sets.py` makes roots and proofs, without the code
under test. A set is a dictionary: policy to (version, position of the activation).
"""

import asyncio
import copy
import itertools
import time

import make
import make_active_sets as trees
from policyhub.v1 import cursor_pb2
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc

KEY, OTHER_KEY, STRANGER = make.ED_1, make.EC, make.STRANGER
JWKS = make.compact({"keys": [KEY.jwk, OTHER_KEY.jwk]})
NAMESPACE, STORE = "default", "0198a0c2-0000-7000-8000-000000000001"
# Separates the messages of one stream from those of the next.
NEXT_STREAM = "next stream"


def content_of(policy, version):
    return f'{{"policy":"{policy}","version":{version}}}\n'.encode()


def head_hash(position):
    """Returns the hash of the event at a position."""
    return make.sha256(f"{position[0]}:{position[1]}".encode())


def fingerprint(position):
    return int.from_bytes(head_hash(position)[:8], "big")


def cursor(position):
    return cursor_pb2.Cursor(epoch=position[0], revision=position[1], fingerprint=fingerprint(position))


def sign(typ, payload, key=KEY, **how):
    return make.token(key, typ, make.compact(payload), **how)


def bundle(policy, version, key=KEY, signed=(), beside=()):
    """Returns a bundle whose manifest has `signed` and whose fields have `beside` in place of the honest values."""
    content = content_of(policy, version)
    manifest = make.manifest(policy=policy, version=version, label=f"{version}.0.0", digest=make.digest(content), size=len(content))
    manifest |= dict(signed)
    fields = {
        "name": f"namespaces/{manifest['namespace']}/policies/{policy}/versions/{version}", "version": version,
        "label": f"{version}.0.0", "digest": make.digest(content), "size_bytes": len(content),
        "content_type": "application/json", "content": content, "manifest": sign(make.BUNDLE, manifest, key),
    } | dict(beside)  # fmt: skip
    return pb.Bundle(**fields)


def tree_of(active):
    rows = ((policy, *active[policy]) for policy in active)
    return trees.tree([
        {"policy": policy, "version": version, "digest": make.digest(content_of(policy, version)), "epoch": at[0], "revision": at[1]}
        for policy, version, at in rows
    ])  # fmt: skip


def proof_of(active, wanted):
    """Returns the proof for the requested part of a set; empty for the whole set."""
    return trees.written(trees.cut(tree_of(active), wanted)) if wanted else b""


def statement(position, moves, active=None, key=KEY, typ=make.ACTIVATION, how=(), **signed):
    """Returns a statement that each policy moves from one version to another; 0 is none. `active`: what is in force after it."""
    changes = [make.change(policy, to, content_of(policy, to) if to else None, previous) for policy, previous, to in moves]
    payload = make.statement(epoch=position[0], revision=position[1], changes=changes)
    if active is not None:
        payload["active_set_root"] = trees.root(tree_of(active)).hex()
    return sign(typ, payload | signed, key, **dict(how))


def checkpoint(position, active, key=KEY, ttl=900, age=0, **signed):
    """Returns a checkpoint over what is active, made `age` seconds ago."""
    made = int(time.time()) - age
    payload = {
        "store": STORE, "namespace": NAMESPACE, "epoch": position[0], "revision": position[1], "head_hash": head_hash(position).hex(),
        "active_set_root": trees.root(tree_of(active)).hex(), "iat": made, "exp": made + ttl,
    }  # fmt: skip
    return sign(make.CHECKPOINT, payload | signed, key)


def opened(seconds, nanos=0):
    """Returns the first message of a stream, which states the heartbeat interval."""
    message = pb.WatchActiveResponse()
    message.opened.heartbeat_interval.seconds, message.opened.heartbeat_interval.nanos = seconds, nanos
    return message


def put_in_force(bundle, at):
    bundle.activation.CopyFrom(cursor(at))
    return bundle


def snapshot(position, active, wanted=(), **checkpoint_says):
    """Returns a complete snapshot of the wanted policies that are active; none named: all."""
    bundles = [
        put_in_force(bundle(policy, version), at)
        for policy, (version, at) in sorted(active.items()) if not wanted or policy in wanted
    ]  # fmt: skip
    part = pb.Snapshot(
        bundles=bundles, complete=True, cursor=cursor(position), checkpoint=checkpoint(position, active, **checkpoint_says),
        set_proof=proof_of(active, wanted),
    )  # fmt: skip
    return pb.WatchActiveResponse(snapshot=part)


def activation(position, moves, active=None, wanted=(), **says):
    """Returns an activation in one message, for subscribers of these policies; none named: all."""
    proof = proof_of(active, wanted) if active is not None else b""
    message = pb.Activation(
        cursor=cursor(position), statement=statement(position, moves, active, **says), complete=True, set_proof=proof
    )
    sent = [(policy, to) for policy, _, to in moves if not wanted or policy in wanted]
    message.bundles.extend(put_in_force(bundle(policy, to), position) for policy, to in sent if to)
    message.tombstones.extend(f"namespaces/{NAMESPACE}/policies/{policy}" for policy, to in sent if not to)
    return pb.WatchActiveResponse(activation=message)


def heartbeat(position, active, wanted=(), **says):
    proof = proof_of(active, wanted)
    message = pb.Heartbeat(cursor=cursor(position), checkpoint=checkpoint(position, active, **says), set_proof=proof)
    return pb.WatchActiveResponse(heartbeat=message)


def in_parts(message, *cuts):
    """Returns a whole snapshot or activation in parts, split before these elements. None named: one part per element, and an
    empty last part."""
    kind, rest = message.WhichOneof("message"), copy.deepcopy(message)
    end = getattr(rest, kind)
    brings = [(field, each) for field in ("bundles", "tombstones") for each in getattr(getattr(message, kind), field, ())]
    for field, _ in brings:
        end.ClearField(field)
    parts = []
    for first, last in itertools.pairwise([0, *(cuts or range(1, len(brings) + 1)), len(brings)]):
        parts.append(pb.WatchActiveResponse())
        told = getattr(parts[-1], kind)
        told.SetInParent()  # sets the kind of an empty part too
        for field, each in brings[first:last]:
            getattr(told, field).append(each)
    getattr(parts[-1], kind).MergeFrom(end)
    return parts


def changed(message, change):
    """Returns a changed copy of a message."""
    found = copy.deepcopy(message)
    change(found)
    return found


class Hub(rpc.SyncServiceServicer):
    """Plays one script for each opened stream, and keeps the requests. In a script a tuple is the status that ends the stream,
    None is silence for ever, and a callable is called and awaited."""

    def __init__(self):
        self.scripts, self.requests, self.reports = [], [], []

    async def WatchActive(self, request, context):
        self.requests.append(request)
        for message in self.scripts.pop(0):
            if message is None:
                await asyncio.Event().wait()
            if callable(message):
                await message()
                continue
            if isinstance(message, tuple):
                await context.abort(*message)
            yield message

    async def ReportStatus(self, request, context):
        self.reports.append(request)
        return pb.ReportStatusResponse(stored=True)
