"""Policies of 1 MiB, and a subscriber that is killed: it continues from what it saved, also while the server is down."""

import signal

from drill import serve
from real import Scene, expect, is_refusal

MIB = 1024 * 1024
LARGE = [f"large-{number}" for number in range(4)]


def publish_large(scene, policy):
    """Publishes a version with the largest permitted content."""
    content = f'{{"policy": "{policy}", "padding": "'.encode()
    (scene.scratch / "content").write_bytes(content + b"x" * (MIB - len(content) - 2) + b'"}')
    scene.run("draft", policy, "content", "--content-type", "application/json", "--create")
    scene.run("publish", f"{policy}@1")


def subscribe(scene, example, *filter_of):
    name = "filtered" if filter_of else "whole"
    command = [*example, "--jwks", "keys.json", "--subscriber-id", name, "--state", f"state-{name}", *filter_of]
    return scene.start(command, name)


def walk(scene, example):
    hub = serve(scene)
    (scene.scratch / "keys.json").write_text(scene.run("keys", "list", "--jwks"))
    started = {"whole": subscribe(scene, example), "filtered": subscribe(scene, example, LARGE[0])}

    def heard(name, words):
        scene.until(f"{name} hears {words}", lambda: any(words in line for line in scene.lines(name)), started[name])

    for policy in LARGE:
        publish_large(scene, policy)
    scene.run("activate", *[f"{policy}@1" for policy in LARGE], "--reason", "all of them in one activation")
    heard("whole", f"{LARGE[3]} -> 1 ")
    heard("filtered", f"{LARGE[0]} -> 1 ")
    for process in started.values():
        process.kill()
        process.wait()
    # Without a server, what was in force before is in force again.
    hub.send_signal(signal.SIGTERM)
    expect(hub.wait(30) == 0, "the server did not end in order")
    started = {"whole": subscribe(scene, example), "filtered": subscribe(scene, example, LARGE[0])}
    heard("whole", "SAVED ")
    heard("filtered", "SAVED ")
    serve(scene, scene.environment["POLICYHUB_SERVER"].removeprefix("http://"))
    scene.run("deactivate", LARGE[0], "--reason", "enough")
    for name, process in started.items():
        heard(name, f"{LARGE[0]} -> none")
        kinds = [line.split()[0] for line in scene.lines(name)]
        expect(kinds == ["SNAPSHOT", "ACTIVATE", "SAVED", "DEACTIVATE"], f"{name} does not resume: {kinds}")
        process.send_signal(signal.SIGTERM)
        expect(process.wait(30) == 0, f"{name} did not end in order: {scene.talk()}")
    expect(not is_refusal(scene.talk()), f"something true was refused: {scene.talk()}")


def check(binary, scratch, stubs, example):
    scene = Scene(binary, scratch, stubs)
    try:
        walk(scene, example)
    finally:
        scene.end()
