"""The stream vectors (`tests/vectors/streams`) against examples/python, over a real connection.

The example reads each stream of a lie; the last stream is honest. The verdict is checked when the honest stream is requested.
The example prints whether it refuses and whether the held set is fresh, but not the kind of a refusal.
"""

import asyncio
import base64
import json
import pathlib
import tempfile
import time
import types

import watch
from active_set import ActiveSet
from hostile import expect, served
from policyhub.v1 import sync_service_pb2 as pb

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "streams" / "streams.json"
CASE_TIMEOUT_SECONDS = 20
FIELDS = ("version", "digest", "epoch", "revision")


def set_at(vectors, position, case):
    """Returns what was in force at a position, of the policies that a case requests."""
    found = vectors["sets"][position]
    asked = {policy: held for policy, held in found["policies"].items() if not case["filter"] or policy in case["filter"]}
    return (found["epoch"], found["revision"]), {policy: tuple(held[field] for field in FIELDS) for policy, held in asked.items()}


def held_by(held):
    return held.position, {policy: (each.version, each.digest, *each.position) for policy, each in held.policies.items()}


def messages(vectors, names):
    parts = (base64.b64decode(part) for name in names for part in vectors["messages"][name])
    return [pb.WatchActiveResponse.FromString(part) for part in parts]


async def play(hub, port, vectors, case, pins):
    said, seen, moves = [], [], []
    watch.say, watch.pause = said.append, lambda short, asked: 0
    watch.apply = lambda change: moves.append(change.position)
    watch.time = types.SimpleNamespace(time=lambda: case["clock"], monotonic=time.monotonic)
    file = watch.KeyFile(pins, strict=False)
    held = ActiveSet("default", file.keys, case["filter"], file.pinned())

    async def look():
        refused = sum(each.startswith("refused: ") for each in said)
        seen.append((refused, held_by(held), not held.is_fresh(case["clock"])))

    first, *more = ([*messages(vectors, names)] for names in case["lie"])
    hub.requests.clear()
    hub.scripts[:] = [[*messages(vectors, case["before"]), *first], *more, [look, *messages(vectors, case["repair"])]]
    after = set_at(vectors, case["after"], case)
    arguments = ["--server", f"http://127.0.0.1:{port}", "--jwks", str(pins), "--subscriber-id", "s-1"]
    options = watch.parse([*arguments, "--until-revision", str(after[0][1])])
    name, then = case["name"], case["then"]
    await asyncio.wait_for(watch.watch(options, held, file), CASE_TIMEOUT_SECONDS)
    holds = set_at(vectors, then["holds"], case) if then["holds"] else (None, {})
    if holds != after:  # otherwise it ends before the honest stream, as its options say
        expect(seen == [(then["refused"], holds, then["stale"])], f"{case['kind']}, {name}: {seen}, not {then}")
    expect(held_by(held) == after and held.is_fresh(case["clock"]), f"{name}: not repaired: {held_by(held)} {said}")
    expect(moves == sorted(set(moves)), f"{name}: goes back: {moves}")
    for position in moves:
        expect(any((at["epoch"], at["revision"]) == position for at in vectors["sets"].values()), f"{name}: {position} is no position")


async def check_key_file(hub, port, vectors, pins):
    """Checks that a changed key file ends the stream, and that the next one requests every statement after the new keys."""
    case = next(case for case in vectors["cases"] if case["name"] == "a history to its end")
    watch.time = types.SimpleNamespace(time=lambda: case["clock"], monotonic=time.monotonic)
    watch.say, watch.apply, watch.pause = (lambda talk: None), (lambda change: None), lambda short, asked: 0
    file = watch.KeyFile(pins, strict=False)
    held = ActiveSet("default", file.keys, (), file.pinned())
    more = json.loads(pins.read_text())
    more["keys"].append(json.loads((VECTORS.parent.parent / "jwks.json").read_text())["keys"][0])
    first = messages(vectors, case["before"])
    async def change():
        while not hub.reports:
            await asyncio.sleep(0)
        pins.write_text(json.dumps(more))

    hub.requests.clear(), hub.reports.clear()
    hub.scripts[:] = [[*first, change, first[-1], None], [*first[:1], None]]
    options = watch.parse(["--server", f"http://127.0.0.1:{port}", "--jwks", str(pins), "--subscriber-id", "s-1"])
    task = asyncio.ensure_future(watch.watch(options, held, file))
    async with asyncio.timeout(CASE_TIMEOUT_SECONDS):
        while len(hub.requests) < 2:
            await asyncio.sleep(0)
    task.cancel()
    cursors = [(request.key_cursor.epoch, request.key_cursor.revision) for request in hub.requests]
    expect(cursors == [(0, 0), (0, 0)], f"asks for key statements after {cursors}")
    expect(hub.requests[1].targets[0].resume.revision == held.position[1], "does not go on from where it was")


async def check():
    """Plays the cases and returns their number."""
    vectors = json.loads(VECTORS.read_text())
    before = watch.time, watch.say, watch.apply, watch.pause
    try:
        async with served() as (hub, port):
            with tempfile.TemporaryDirectory() as scratch:
                pins = pathlib.Path(scratch) / "keys.json"
                pins.write_text(json.dumps(vectors["pins"]))
                for case in vectors["cases"]:
                    await play(hub, port, vectors, case, pins)
                await check_key_file(hub, port, vectors, pins)
    finally:
        watch.time, watch.say, watch.apply, watch.pause = before
    return len(vectors["cases"])
