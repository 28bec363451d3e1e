"""Two rotations and a revocation of signing keys under pinned subscribers: watchers, agents and an example, none restarted.

All of them pin only the first key, by one file that does not change. POLICYHUB_DRILL is the number of subscribers: 6 by
default, 50 before a release.
"""

import json
import os
import signal

from real import PYTHON_EXAMPLE, Scene, expect, is_refusal, publish

SUBSCRIBERS = int(os.environ.get("POLICYHUB_DRILL", "6"))
# A store of one replica, whose keys may sign as soon as they are prepared, with frequent heartbeats.
LIVELY = ["--key-publish-before-use-ms", "0", "--heartbeat-interval-ms", "200"]


def serve(scene, address="127.0.0.1:0"):
    """Starts a hub without TLS."""
    addresses = scene.scratch / "data" / "addr.json"
    addresses.unlink(missing_ok=True)
    served = ["serve", "--data-dir", "data", "--grpc-addr", address, "--http-addr", "127.0.0.1:0", "--console-addr", "off", *LIVELY]
    hub = scene.start([scene.binary, *served], "hub")
    scene.until("the hub listens", lambda: addresses.exists() and addresses.stat().st_size, hub)
    scene.environment["POLICYHUB_SERVER"] = f"http://{json.loads(addresses.read_text())['grpc']}"
    scene.environment.pop("POLICYHUB_CA_CERT", None)
    return hub


def subscribers(scene, example):
    """Returns the subscribers: the name of each, its process, and how to check that it holds a version of the policy."""
    def printed(name, words):
        return lambda version: any(words(version) in line for line in (scene.scratch / f"{name}.out").read_text().splitlines())

    def in_folder(name):
        def holds(version):
            found = scene.scratch / name / "current" / "policies" / "p" / "content.json"
            return found.exists() and json.loads(found.read_text())["version"] == version

        return holds

    for number in range(SUBSCRIBERS):
        kind = ("example", "watch", "agent")[number % 3]
        name = f"{kind}-{number}"
        if kind == "example":
            command, holds = [*example, "--jwks", "keys.json"], printed(name, lambda version: f"p -> {version} ")
        elif kind == "watch":
            command = [scene.binary, "watch", "--jwks", "keys.json", "--report"]
            holds = printed(name, lambda version: f" -> {version}  by")
        else:
            command, holds = [scene.binary, "agent", "--jwks", "keys.json", "--dir", name], in_folder(name)
        yield name, scene.start([*command, "--subscriber-id", name], name), holds


def keys(scene, state):
    listed = json.loads(scene.run("keys", "list", "--output", "json"))["keys"]
    return [key["name"].removeprefix("signingKeys/") for key in listed if key["state"] == f"KEY_STATE_{state}" and key["purpose"] == "KEY_PURPOSE_BUNDLE"]


def rotate(scene):
    scene.run("keys", "prepare")
    scene.run("keys", "activate", keys(scene, "PREPARED")[0])


def walk(scene, example):
    serve(scene)
    (scene.scratch / "keys.json").write_text(scene.run("keys", "list", "--jwks"))
    (first,) = keys(scene, "ACTIVE")
    followers = list(subscribers(scene, example))
    version = 0

    def everyone_takes_the_next(after):
        nonlocal version
        version += 1
        publish(scene, "p", version)
        scene.run("activate", f"p@{version}", "--reason", after)
        for name, process, holds in followers:
            scene.until(f"{name} takes what came after {after}", lambda holds=holds: holds(version), process)

    everyone_takes_the_next("the beginning")
    rotate(scene)
    everyone_takes_the_next("the first rotation")
    rotate(scene)
    everyone_takes_the_next("the second rotation")
    scene.run("keys", "revoke", first, "--reason", "a drill", "--resign")
    everyone_takes_the_next("the revocation")
    head = json.loads(scene.run("active", "p", "--output", "json"))["cursor"]["revision"]
    converged = scene.run("convergence", str(head), "--wait", "20s")
    expect(f" {len(followers)} applied, 0 rejected, 0 pending, 0 offline" in converged, f"not all converged: {converged}")
    for name, process, _ in followers:
        expect(process.poll() is None, f"{name} ended: {scene.talk()}")
        process.send_signal(signal.SIGTERM)
    for name, _, _ in followers:
        talk = (scene.scratch / f"{name}.err").read_text()
        expect(not is_refusal(talk) and "not known" not in talk and "rejected" not in talk, f"{name} refused something: {talk}")
    return len(followers)


def check(binary, scratch, stubs, example=PYTHON_EXAMPLE):
    """Runs the drill and returns the number of subscribers that followed."""
    scratch.mkdir()
    scene = Scene(binary, scratch, stubs)
    try:
        return walk(scene, example)
    finally:
        scene.end()
