"""The real hub, over TLS, against an example: its output equals that of `policyhub watch`, line by line.

The hub restarts in the middle: the example must continue by itself, and miss nothing. Two of each run: one for every policy,
the other for `b_b` only.
"""

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE_SECONDS = 30
# The command that starts the Python example.
PYTHON_EXAMPLE = [sys.executable, os.path.join(os.path.dirname(__file__), "..", "..", "examples", "python", "watch.py")]
# Every change of the scenario below.
EXPECTED = """\
SNAPSHOT 1:0 nothing is active
ACTIVATE 1:3 by local:admin: a -> 1 1.0.0 sha256:{a1}
ACTIVATE 1:6 by local:admin: b_b -> 1 sha256:{b1}
ACTIVATE 1:11 by local:admin: a -> 2 2.0.0 sha256:{a2}, b_b -> 2 sha256:{b2}
ROLLBACK 1:12 by local:admin: a -> 1 1.0.0 sha256:{a1}
DEACTIVATE 1:13 by local:admin: b_b -> none
ACTIVATE 1:14 by local:admin: a -> 2 2.0.0 sha256:{a2}
"""
FILTER, EXPECTED_OF_FILTER = "b_b", """\
SNAPSHOT 1:0 nothing is active
ACTIVATE 1:6 by local:admin: b_b -> 1 sha256:{b1}
ACTIVATE 1:11 by local:admin: b_b -> 2 sha256:{b2}
DEACTIVATE 1:13 by local:admin: b_b -> none
"""


def expect(holds, surprise):
    if not holds:
        raise SystemExit(f"python: {surprise}")


def write_certificates(scratch):
    """Creates a self-signed certificate for 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (scratch / "cert.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    os.close(os.open(scratch / "key.pem", os.O_CREAT | os.O_WRONLY, 0o600))
    (scratch / "key.pem").write_bytes(private)


def whole(messages):
    """Yields the messages, with parts joined. A new stream discards incomplete parts."""
    bundles, tombstones = [], []
    for message in messages:
        part = message.get("snapshot") or message.get("activation")
        if message.get("opened"):
            bundles, tombstones = [], []
        elif part:
            bundles += part["bundles"]
            tombstones += part.get("tombstones", [])
            if not part["complete"]:
                continue
            part |= {"bundles": bundles, "tombstones": tombstones}
            bundles, tombstones = [], []
        yield message


def in_words(message):
    """Returns a message of `policyhub watch --output json` as the example prints it; None: it prints nothing."""

    def position(part):
        return f"{part['cursor']['epoch']}:{part['cursor']['revision']}"

    def policy(bundle):
        label = f" {bundle['label']}" if bundle["label"] else ""
        return f"{bundle['name'].split('/')[3]} -> {bundle['version']}{label} {bundle['digest'][:19]}"

    if snapshot := message.get("snapshot"):
        moves = [policy(bundle) for bundle in snapshot["bundles"]]
        return f"SNAPSHOT {position(snapshot)} {', '.join(moves) or 'nothing is active'}"
    if activation := message.get("activation"):
        payload = activation["statement"].split(".")[1]
        statement = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        moves = [policy(bundle) for bundle in activation["bundles"]]
        moves += [f"{name.split('/')[3]} -> none" for name in activation["tombstones"]]
        return f"{statement['kind']} {position(activation)} by {statement['actor']}: {', '.join(moves)}"
    return None


def is_refusal(talk):
    """Returns whether a subscriber printed a refusal. A connection error, which libraries write in either case, is none."""
    return "refused" in talk.lower().replace("connection refused", "")


class Scene:
    """A hub and the processes beside it. All of them end with it."""

    def __init__(self, binary, scratch, stubs):
        self.binary, self.scratch, self.running = binary, scratch, []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLICYHUB_")}
        self.environment = kept | {"PYTHONPATH": str(stubs), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment |= {"POLICYHUB_CA_CERT": str(scratch / "cert.pem")}
        self.environment |= {"POLICYHUB_TOKEN_FILE": str(scratch / "data" / "admin.token")}

    def start(self, command, log):
        with open(self.scratch / f"{log}.out", "a") as out, open(self.scratch / f"{log}.err", "a") as talk:
            started = subprocess.Popen(command, cwd=self.scratch, env=self.environment, stdout=out, stderr=talk)
        self.running.append(started)
        return started

    def serve(self, address):
        """Starts the hub and returns its address."""
        addresses = self.scratch / "data" / "addr.json"
        addresses.unlink(missing_ok=True)
        served = ["serve", "--data-dir", "data", "--grpc-addr", address, "--http-addr", "127.0.0.1:0", "--console-addr", "off"]
        hub = self.start([self.binary, *served, "--tls-cert", "cert.pem", "--tls-key", "key.pem"], "hub")
        self.until("the hub listens", lambda: addresses.exists() and addresses.stat().st_size, hub)
        address = json.loads(addresses.read_text())["grpc"]
        self.environment["POLICYHUB_SERVER"] = f"https://{address}"
        return hub, address

    def run(self, *arguments):
        done = subprocess.run(
            [self.binary, *arguments], cwd=self.scratch, env=self.environment, text=True, capture_output=True, check=False
        )
        expect(done.returncode == 0, f"policyhub {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def lines(self, log):
        printed = (self.scratch / f"{log}.out").read_text().splitlines()
        told = [in_words(message) for message in whole(json.loads(line) for line in printed if line.startswith("{"))]
        told += [line for line in printed if not line.startswith("{")]  # a log has lines of one kind alone
        return [line for line in told if line]

    def until(self, what, holds, process):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            ended = process.poll() is not None
            expect(not ended and time.monotonic() < deadline, f"{what}: not seen; talk: {self.talk()}")
            time.sleep(0.02)

    def talk(self):
        return "".join(path.read_text()[-2_000:] for path in sorted(self.scratch.glob("*.err")))

    def end(self):
        for process in self.running:
            process.kill()
            process.wait()


def publish(scene, policy, version, *label):
    """Drafts and publishes; returns the digest as printed."""
    content = f'{{"policy": "{policy}", "version": {version}}}'.encode()
    (scene.scratch / "content").write_bytes(content)
    create = ["--create"] if version == 1 else []
    scene.run("draft", policy, "content", "--content-type", "application/json", *create, *label)
    scene.run("publish", f"{policy}@{version}")
    return hashlib.sha256(content).hexdigest()[:12]


def walk(scene, example):
    """Runs a scenario; returns the expected output for all policies and for one. `example`: the command that starts the example."""
    hub, address = scene.serve("127.0.0.1:0")
    (scene.scratch / "keys.json").write_text(scene.run("keys", "list", "--jwks"))
    watch = [*example, "--jwks", "keys.json", "--subscriber-id"]
    whole_set, of_filter = scene.start([*watch, "example-1"], "example"), scene.start([*watch, "example-2", FILTER], "example-filter")
    watch = [scene.binary, "watch", "--jwks", "keys.json", "--output", "json", "--until-revision"]
    other, other_of_filter = scene.start([*watch, "14"], "other"), scene.start([*watch, "13", FILTER], "other-filter")
    for log, process in (("example", whole_set), ("other", other), ("example-filter", of_filter), ("other-filter", other_of_filter)):
        scene.until(f"{log}: a snapshot", lambda log=log: scene.lines(log), process)
    digests = {"a1": publish(scene, "a", 1, "--label", "1.0.0")}
    scene.run("activate", "a@1", "--reason", "go")
    digests["b1"] = publish(scene, "b_b", 1)
    scene.run("activate", "b_b@1", "--reason", "go")
    digests |= {"a2": publish(scene, "a", 2, "--label", "2.0.0"), "b2": publish(scene, "b_b", 2)}
    scene.run("activate", "a@2", "b_b@2", "--reason", "both")
    scene.run("rollback", "a", "--reason", "back")
    scene.until("the hub's first half", lambda: len(scene.lines("other")) == 5, other)
    hub.send_signal(signal.SIGTERM)
    expect(hub.wait(PATIENCE_SECONDS) == 0, "the hub did not end in order")
    scene.serve(address)
    scene.run("deactivate", "b_b", "--reason", "enough")
    scene.run("activate", "a@2", "--reason", "again")
    # Both must reconnect by themselves.
    for ended in (other, other_of_filter):
        expect(ended.wait(PATIENCE_SECONDS) == 0, f"`policyhub watch` failed: {scene.talk()}")
    heard, of_b = (expected.format(**digests).splitlines() for expected in (EXPECTED, EXPECTED_OF_FILTER))
    scene.until("the hub's second half", lambda: len(scene.lines("example")) >= len(heard), whole_set)
    scene.until("the filter's second half", lambda: len(scene.lines("example-filter")) >= len(of_b), of_filter)
    converged = scene.run("convergence", "14", "--wait", "20s")
    expect(converged.startswith("1:14 1 applied, 0 rejected, 0 pending"), f"the example did not report: {converged}")
    for process in (whole_set, of_filter):
        process.send_signal(signal.SIGTERM)
        expect(process.wait(PATIENCE_SECONDS) == 0, f"the example did not end in order: {scene.talk()}")
    expect(not is_refusal(scene.talk()), f"something true was refused: {scene.talk()}")
    return heard, of_b


def check(binary, scratch, stubs, example=PYTHON_EXAMPLE):
    """Runs the comparison and returns the number of compared lines."""
    write_certificates(scratch)
    scene = Scene(binary, scratch, stubs)
    try:
        heard, of_b = walk(scene, example)
    finally:
        scene.end()
    for log, true in (("example", heard), ("other", heard), ("example-filter", of_b), ("other-filter", of_b)):
        expect(scene.lines(log) == true, f"{log} printed {scene.lines(log)} instead of {true}")
    return len(heard) + len(of_b)
