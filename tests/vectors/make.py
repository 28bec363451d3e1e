"""Writes the golden vectors, with Python's cryptography alone and none of the code under test.

Deterministic: the keys are printed in RFCs, Ed25519 needs no randomness and ES256 takes its nonces from RFC 6979. Run it
only when a format changes on purpose: `python make.py`, with `cryptography` on an OpenSSL of 3.2 or later.
"""

import base64
import hashlib
import hmac
import json
import pathlib

import make_active_sets as trees
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HERE = pathlib.Path(__file__).parent
NOW = 1_800_000_000
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha256(data):
    return hashlib.sha256(data).digest()


def digest(data):
    return "sha256:" + sha256(data).hex()


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Key:
    def __init__(self, private, alg):
        self.private, self.alg = private, alg
        if alg == "EdDSA":
            raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            self.members = {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}
        else:
            point = private.public_key().public_numbers()
            x, y = (b64(n.to_bytes(32, "big")) for n in (point.x, point.y))
            self.members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self.kid = b64(sha256(compact(self.members)))
        self.jwk = self.members | {"kid": self.kid, "alg": alg, "use": "sig"}

    def sign(self, message):
        if self.alg == "EdDSA":
            return self.private.sign(message)
        r, s = decode_dss_signature(self.sign_der(message))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign_der(self, message):
        return self.private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def pkcs8(self, encoding=serialization.Encoding.PEM):
        return self.private.private_bytes(
            encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def pem(der):
    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


# RFC 8032 §7.1, tests 1, 2 and 3; RFC 7515 appendix A.3.
SEED_1 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
SEED_2 = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
SEED_3 = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
ED_1, ED_2, STRANGER = (
    Key(ed25519.Ed25519PrivateKey.from_private_bytes(seed), "EdDSA") for seed in (SEED_1, SEED_2, SEED_3)
)
EC = Key(
    ec.derive_private_key(
        int.from_bytes(unb64("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"), "big"), ec.SECP256R1()
    ),
    "ES256",
)
KEYS = {"ed25519-v1": ED_1, "ed25519-v2": ED_2, "p256": EC}


def join(header, payload, signature):
    return ".".join(b64(part) for part in (header, payload, signature))


def token(key, typ, payload, header=None, sign=None):
    header = compact({"alg": key.alg, "kid": key.kid, "typ": typ}) if header is None else header
    signed = (b64(header) + "." + b64(payload)).encode()
    return join(header, payload, (sign or key.sign)(signed))


BUNDLE, ACTIVATION, CHECKPOINT, PREVIEW = (
    f"policyhub-{name}+jws" for name in ("bundle", "activation", "checkpoint", "preview")
)
CONTENT = '{"limit":100,"note":"zoë"}\n'
PREV = sha256(b"the event before")


def manifest(**changes):
    content = CONTENT.encode()
    return {
        "store": "0198a0c2-0000-7000-8000-000000000001", "namespace": "default", "policy": "refund-limits",
        "version": 3, "label": "1.2.0", "digest": digest(content), "size": len(content),
        "content_type": "application/json", "author": 'zoë "z" of example', "publisher": "ci", "iat": NOW,
    } | changes


def annotated(annotations):
    """A manifest as it is signed of a version with annotations."""
    return without(manifest(), "iat") | {"annotations": annotations, "iat": NOW}


def adopted(author="system", **others):
    """A manifest as it is signed of a version that existed before."""
    return without(manifest(), "iat") | {"adopted": {"author": author} | others, "iat": NOW}


def from_template(parameters):
    """A manifest as it is signed of a version that was made from a template."""
    source = {"policy": "refunds", "version": 2, "digest": digest(b"kind: JSON"), "parameters": parameters}
    return without(manifest(), "iat") | {"template": source, "iat": NOW}


def without(members, name):
    return {key: value for key, value in members.items() if key != name}


def change(policy, version, content, previous):
    gone = {} if content is None else {"digest": digest(content)}
    return {"policy": policy, "version": version} | gone | {"previous": previous}


def statement(**changes):
    return {
        "store": "0198a0c2-0000-7000-8000-000000000001", "namespace": "default", "epoch": 1, "revision": 42,
        "kind": "ACTIVATE", "changes": [change("refund-limits", 3, CONTENT.encode(), 1), change("tone", 1, b"kind", 0)],
        "actor": "oncall", "reason_digest": digest(b"refunds were too generous"), "prev": PREV.hex(), "iat": NOW,
    } | changes


def rooted(root):
    """A statement as it is signed now: with the root of the active set after its changes."""
    return without(statement(), "iat") | {"active_set_root": root, "iat": NOW}


SETS = [
    [],
    [("refund-limits", 3, digest(CONTENT.encode()))],
    [("a", 12, digest(b"1")), ("a-b", 1, digest(b"2")), ("a1", 9007199254740993, digest(b"3"))],
]


def set_root(active, place=(1, 42)):
    """The root of a set that one activation put in force."""
    rows = [dict(zip(("policy", "version", "digest", "epoch", "revision"), (*row, *place))) for row in active]
    return trees.root(trees.tree(rows)).hex()


def set_digest(active):
    return digest("".join(f"{policy}\t{version}\t{of}\n" for policy, version, of in active).encode())


def checkpoint(**changes):
    return {
        "store": "0198a0c2-0000-7000-8000-000000000001", "namespace": "default", "epoch": 1, "revision": 42,
        "head_hash": sha256(PREV + b"payload").hex(), "active_set_root": set_root(SETS[1]),
        "iat": NOW, "exp": NOW + 900,
    } | changes


def accepted():
    cases = []
    gone = [change("tone", 0, None, 1)]
    for name, typ, payload in [
        ("bundle", BUNDLE, manifest()),
        ("bundle-without-label", BUNDLE, without(manifest(), "label")),
        ("bundle-with-annotations", BUNDLE, annotated({"owner": "team-a", "x/display_name": 'zoë "z"\n\tof example'})),
        ("bundle-adopted", BUNDLE, adopted(create_time=NOW - 1)), ("bundle-adopted-without-time", BUNDLE, adopted('zoë "z"')),
        ("bundle-from-template", BUNDLE, from_template('{"limit":0.5,"note":"zoë"}')),
        ("activation", ACTIVATION, statement()),
        ("activation-with-root", ACTIVATION, rooted(set_root([*SETS[1], ("tone", 1, digest(b"kind"))]))),
        ("deactivation", ACTIVATION, statement(kind="DEACTIVATE", changes=gone)),
        ("checkpoint", CHECKPOINT, checkpoint()),
        ("preview", PREVIEW, manifest(publisher="viewer")),
    ]:
        for key_name, key in KEYS.items():
            case = {"name": f"{name}-{key_name}", "typ": typ, "key": key_name, "kid": key.kid}
            if typ in (BUNDLE, PREVIEW):
                case["content"] = CONTENT
            text = compact(payload)
            cases.append(case | {"payload": text.decode(), "token": token(key, typ, text)})
    return cases


def refused_headers():
    """Each is well signed: only its header is wrong."""
    good = {"alg": "EdDSA", "kid": ED_1.kid, "typ": BUNDLE}
    text = compact(good)
    for name, value in [
        ("crit", ["exp"]), ("jwk", ED_1.jwk), ("jku", "https://example.com/jwks.json"), ("x5c", ["AAAA"]),
        ("x5u", "https://example.com/chain.pem"), ("b64", False), ("zip", "DEF"), ("enc", "A256GCM"), ("cty", "JWT"),
    ]:
        yield f"header-with-{name}", compact(good | {name: value}), "HeaderMalformed"
    for name in good:
        yield f"header-without-{name}", compact(without(good, name)), "HeaderMalformed"
        repeated = text[:-1] + b"," + compact({name: good[name]})[1:]
        yield f"header-with-{name}-twice", repeated, "HeaderMalformed"
        yield f"header-with-{name}-null", compact(good | {name: None}), "HeaderMalformed"
    yield "header-as-array", compact(list(good.values())), "HeaderMalformed"
    yield "header-with-trailing-object", text + b"{}", "HeaderMalformed"
    yield "header-with-byte-order-mark", b"\xef\xbb\xbf" + text, "HeaderMalformed"
    yield "header-not-utf8", text.replace(b"EdDSA", b"EdDS\xff"), "HeaderMalformed"
    yield "header-empty", b"", "HeaderMalformed"
    for name, alg in [("lower-case", "eddsa"), ("rfc9864", "Ed25519"), ("hs512", "HS512"), ("es384", "ES384"), ("empty", "")]:
        yield f"alg-{name}", compact(good | {"alg": alg}), "AlgorithmUnsupported"
    yield "alg-of-the-other-type", compact(good | {"alg": "ES256"}), "AlgorithmMismatch"
    for name, typ in [
        ("jwt", "JWT"), ("at-jwt", "at+jwt"), ("upper-case", BUNDLE.upper()), ("media-type", f"application/{BUNDLE}"),
        ("preview", PREVIEW), ("activation", ACTIVATION), ("checkpoint", CHECKPOINT), ("empty", ""),
    ]:
        yield f"typ-{name}", compact(good | {"typ": typ}), "TypeMismatch"
    for name, kid in [
        ("path", "../../etc/policyhub/keys/signing.pem"), ("sql", "' OR '1'='1"), ("empty", ""),
        ("padded", ED_1.kid + "="), ("with-nul", ED_1.kid + "\0"), ("of-a-stranger", STRANGER.kid),
    ]:
        yield f"kid-{name}", compact(good | {"kid": kid}), "KeyUnknown"


def refused_signatures():
    header, payload = compact({"alg": "EdDSA", "kid": ED_1.kid, "typ": BUNDLE}), compact(manifest())
    signed = (b64(header) + "." + b64(payload)).encode()
    signature = ED_1.sign(signed)
    none = compact({"alg": "none", "kid": ED_1.kid, "typ": BUNDLE})
    yield "alg-none", join(none, payload, b""), "AlgorithmUnsupported"
    hs256 = compact({"alg": "HS256", "kid": ED_1.kid, "typ": BUNDLE})
    mac = hmac.digest(unb64(ED_1.members["x"]), (b64(hs256) + "." + b64(payload)).encode(), "sha256")
    yield "alg-hs256-with-the-public-key", join(hs256, payload, mac), "AlgorithmUnsupported"
    yield "signature-empty", join(header, payload, b""), "SignatureInvalid"
    yield "signature-short", join(header, payload, signature[:63]), "SignatureInvalid"
    yield "signature-long", join(header, payload, signature + b"\0"), "SignatureInvalid"
    yield "signature-of-a-stranger", token(STRANGER, BUNDLE, payload, header=header), "SignatureInvalid"
    high = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    yield "signature-with-s-beyond-the-order", join(header, payload, signature[:32] + high.to_bytes(32, "little")), "SignatureInvalid"
    yield "payload-swapped", join(header, compact(manifest(version=4)), signature), "SignatureInvalid"
    yield "payload-rewritten", join(header, json.dumps(manifest()).encode(), signature), "SignatureInvalid"
    yield "payload-empty", join(header, b"", signature), "SignatureInvalid"
    ec_header = compact({"alg": "ES256", "kid": EC.kid, "typ": BUNDLE})
    yield "es256-as-der", token(EC, BUNDLE, payload, sign=EC.sign_der), "SignatureInvalid"
    yield "es256-of-zeros", join(ec_header, payload, bytes(64)), "SignatureInvalid"
    yield "es256-by-the-other-type", token(ED_1, BUNDLE, payload, header=ec_header), "SignatureInvalid"


def refused_shapes():
    good = token(ED_1, BUNDLE, compact(manifest()))
    header, payload, signature = good.split(".")
    # The last character of 64 bytes carries four bits that no byte holds.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = letters[letters.index(signature[-1]) + 1]
    flat = json.dumps({"payload": payload, "protected": header, "signature": signature})
    for name, text, error in [
        ("empty", "", "TokenMalformed"), ("two-dots", "..", "HeaderMalformed"),
        ("two-parts", f"{header}.{payload}", "TokenMalformed"), ("four-parts", good + ".", "TokenMalformed"),
        ("five-parts", good + "..", "TokenMalformed"), ("json-serialization", flat, "TokenMalformed"),
        ("padded-signature", good + "==", "SignatureInvalid"), ("padded-payload", f"{header}.{payload}=.{signature}", "Base64Malformed"),
        ("trailing-bits", f"{header}.{payload}.{signature[:-1]}{twin}", "Base64Malformed"),
        ("standard-alphabet", f"{header}.{payload}.{'+/' + signature[2:]}", "Base64Malformed"),
        ("leading-space", " " + good, "Base64Malformed"), ("newline-in-payload", f"{header}.{payload}\n.{signature}", "Base64Malformed"),
        ("detached-payload", f"{header}..{signature}", "SignatureInvalid"),
    ]:
        yield name, text, error


def refused():
    cases = []

    def add(name, verifier, text, error, **more):
        cases.append({"name": name, "verifier": verifier, "error": error} | more | {"token": text})

    for name, header, error in refused_headers():
        add(name, "bundle", token(ED_1, BUNDLE, compact(manifest()), header=header), error, content=CONTENT)
    for name, text, error in [*refused_signatures(), *refused_shapes()]:
        add(name, "bundle", text, error, content=CONTENT)

    def payload(name, verifier, typ, text, error, **more):
        add(name, verifier, token(ED_1, typ, text), error, **more)

    good = compact(manifest())
    for name, text in [
        ("not-json", b"policy"), ("as-array", compact(list(manifest().values()))), ("without-digest", compact(without(manifest(), "digest"))),
        ("with-version-twice", good[:-1] + b',"version":9}'), ("with-version-zero", compact(manifest(version=0))),
        ("with-upper-case-digest", compact(manifest(digest="sha256:" + "A" * 64))), ("with-sha1", compact(manifest(digest="sha1:" + "a" * 40))),
        ("with-foreign-namespace", compact(manifest(namespace="../other"))), ("with-negative-size", compact(manifest(size=-1))),
    ]:
        payload(f"manifest-{name}", "bundle", BUNDLE, text, "PayloadMalformed", content=CONTENT)
    twice = compact(annotated({"owner": "a"})).replace(b'{"owner":"a"}', b'{"owner":"a","owner":"b"}')
    payload("manifest-with-annotation-twice", "bundle", BUNDLE, twice, "PayloadMalformed", content=CONTENT)
    for name, annotations in [
        ("as-array", [["owner", "a"]]), ("null", None), ("of-number", {"owner": 1}), ("of-bad-key", {"an owner": "a"}),
        ("of-empty-key", {"": "a"}), ("of-long-key", {"k" * 65: "a"}), ("of-control", {"owner": "\x1b[2J"}), ("of-c1", {"owner": "\x9b"}),
        ("of-long-value", {"owner": "v" * 2049}), ("too-many", {str(i): "" for i in range(65)}),
        ("too-large", {str(i): "v" * 1024 for i in range(4)}),
    ]:
        text = compact(annotated(annotations))
        payload(f"manifest-with-annotations-{name}", "bundle", BUNDLE, text, "PayloadMalformed", content=CONTENT)
    for name, claim in [
        ("as-text", "system"), ("as-array", ["system"]), ("without-author", {}), ("of-number", {"author": 1}), ("of-nobody", {"author": " "}),
        ("of-control", {"author": "a\nb"}), ("of-c1", {"author": "\x9b"}), ("of-long-author", {"author": "a" * 257}),
        ("of-time-before-1970", {"author": "a", "create_time": -1}), ("of-time-as-text", {"author": "a", "create_time": "1"}),
        ("of-time-with-fraction", {"author": "a", "create_time": 1.5}),
    ]:
        text = compact(adopted() | {"adopted": claim})
        payload(f"manifest-with-adoption-{name}", "bundle", BUNDLE, text, "PayloadMalformed", content=CONTENT)
    twice = compact(adopted("a")).replace(b'"author":"a"}', b'"author":"a","author":"b"}')
    payload("manifest-with-adopter-twice", "bundle", BUNDLE, twice, "PayloadMalformed", content=CONTENT)
    payload("content-changed", "bundle", BUNDLE, good, "DigestMismatch", content=CONTENT.replace("100", "900"))
    payload("content-longer", "bundle", BUNDLE, good, "SizeMismatch", content=CONTENT + " ")
    for name, text in [
        ("at-revision-zero", statement(revision=0)), ("with-short-prev", statement(prev="00")), ("with-upper-case-prev", statement(prev=PREV.hex().upper())),
        ("with-version-beyond-64-bits", statement(revision=2**63)), ("with-version-and-no-digest", statement(changes=[change("tone", 1, None, 0)])),
        ("with-short-root", rooted("00")), ("with-upper-case-root", rooted("AB" * 32)), ("with-root-as-digest", rooted(digest(b""))),
        ("without-changes", without(statement(), "changes")), ("with-change-as-array", statement(changes=[["tone", 0, None, 1]])),
    ]:
        payload(f"statement-{name}", "statement", ACTIVATION, compact(text), "PayloadMalformed")
    payload("bundle-as-statement", "statement", BUNDLE, good, "TypeMismatch")
    payload("manifest-with-typ-of-statement", "statement", ACTIVATION, good, "PayloadMalformed")
    text = compact(checkpoint())
    payload("checkpoint-at-its-expiry", "checkpoint", CHECKPOINT, text, "Stale", now=NOW + 900)
    payload("checkpoint-of-61-seconds-ahead", "checkpoint", CHECKPOINT, text, "FromFuture", now=NOW - 61)
    for name, exp in [("too-long", NOW + 901), ("empty", NOW), ("backwards", NOW - 1)]:
        payload(f"checkpoint-lifetime-{name}", "checkpoint", CHECKPOINT, compact(checkpoint(exp=exp)), "LifetimeInvalid", now=NOW)
    old = without(checkpoint(), "active_set_root") | {"active_set_digest": set_digest(SETS[1])}
    for name, text in [
        ("without-exp", without(checkpoint(), "exp")), ("without-root", without(checkpoint(), "active_set_root")),
        ("with-digest-for-root", old), ("with-short-root", checkpoint(active_set_root="00")),
        ("with-upper-case-root", checkpoint(active_set_root="AB" * 32)),
    ]:
        payload(f"checkpoint-{name}", "checkpoint", CHECKPOINT, compact(text), "PayloadMalformed", now=NOW)
    return cases


def hashes_and_seals():
    events, prev = [], bytes(32)
    for text in ['{"revision":1}', '{"revision":2,"note":"zoë"}', ""]:
        hash_ = sha256(prev + text.encode())
        events.append({"prev": prev.hex(), "payload": text, "hash": hash_.hex(), "seal": ED_1.sign(hash_).hex()})
        prev = hash_
    active = [
        {"active": [dict(zip(("policy", "version", "digest"), row)) for row in rows], "digest": set_digest(rows)} for rows in SETS
    ]
    return {"seal_key": "ed25519-v1", "events": events, "active_sets": active}


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    (HERE / "keys").mkdir(exist_ok=True)
    (HERE / "keys/ed25519-v1.pem").write_bytes(ED_1.pkcs8())
    # RFC 5958 version 2, with the public key in the tag that ring writes.
    public = unb64(ED_2.members["x"])
    two = bytes.fromhex("3051020101300506032b657004220420") + SEED_2 + bytes.fromhex("812100") + public
    (HERE / "keys/ed25519-v2.pem").write_text(pem(two))
    (HERE / "keys/p256.pem").write_bytes(EC.pkcs8())
    write("jwks.json", {"keys": [key.jwk for key in KEYS.values()]})
    write("accepted.json", {"now": NOW, "tokens": accepted()})
    write("refused.json", {"tokens": refused()})
    write("hashes.json", hashes_and_seals())


if __name__ == "__main__":
    main()
