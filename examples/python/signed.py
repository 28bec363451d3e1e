"""What policyhub signs, verified: compact JWS by a stock JWT library, and what each kind of token says.

No I/O and no clock. Invariants: a key has exactly one algorithm, whatever a header says; payloads are exact bytes; and what
two JSON readers may understand differently is refused.
"""

import hashlib
import json
import math
import re

import jwt
from jwt.utils import base64url_decode, base64url_encode

from refused import Refused, require

# The limits of the server: larger ones are never sent.
HEADER_MAX_BYTES, PAYLOAD_MAX_BYTES, SIGNATURE_BYTES = 8 * 1024, 64 * 1024, 64
CONTENT_MAX_BYTES = 1024 * 1024
ANNOTATIONS_MAX, ANNOTATIONS_MAX_BYTES = 64, 4 * 1024
ANNOTATION_KEY_MAX_CHARS, ANNOTATION_VALUE_MAX_BYTES = 64, 2 * 1024
ADOPTED_AUTHOR_MAX_BYTES = 256
CHECKPOINT_TTL_SECONDS, CLOCK_SKEW_MAX_SECONDS = 15 * 60, 60

BUNDLE, ACTIVATION, CHECKPOINT = (f"policyhub-{name}+jws" for name in ("bundle", "activation", "checkpoint"))
ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def thumbprint(jwk):
    """Returns the id of a key (RFC 7638), which can't be chosen."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    return base64url_encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()).decode()


def read_keys(jwks):
    """Returns the public keys of a JWK Set by their ids, each with the one algorithm of its type."""
    return dict(read_jwk(jwk) for jwk in read_object(jwks)["keys"])


def read_jwk(jwk):
    """Returns one public key with its id."""
    require(isinstance(jwk, dict), "a key is no object")
    algorithm = ALGORITHMS.get((jwk.get("kty"), jwk.get("crv")))
    require(algorithm and "d" not in jwk, "a key of the set is no public Ed25519 or P-256 key")
    require(jwk.get("alg", algorithm) == algorithm and jwk.get("use", "sig") == "sig", "a key is for something else")
    require(jwk.get("kid", thumbprint(jwk)) == thumbprint(jwk), "a key's id is not its thumbprint")
    return thumbprint(jwk), jwt.PyJWK(jwk, algorithm=algorithm)


def read_part(part, most_bytes):
    """Returns the bytes of a part of a token: base64url without padding, in its only valid form."""
    require(len(part) <= -(-most_bytes * 4 // 3), "token is too large")
    try:
        data = base64url_decode(part)
    except ValueError as error:
        raise Refused("token is not base64url") from error
    require(base64url_encode(data).decode() == part, "token is not base64url")
    return data


def read_object(data):
    """Returns the one JSON object in these bytes."""

    def members(pairs):
        require(len(dict(pairs)) == len(pairs), "JSON has a member twice")
        return dict(pairs)

    def number(text):
        require(math.isfinite(float(text)), "JSON has a number of no size")
        return float(text)

    try:
        found = json.loads(data.decode(), object_pairs_hook=members, parse_float=number, parse_constant=number)
        json.dumps(found, ensure_ascii=False).encode()  # a single surrogate is not text
    except (ValueError, RecursionError) as error:
        raise Refused("not JSON") from error
    require(isinstance(found, dict), "not a JSON object")
    return found


def signed_bytes(token, typ, keys):
    """Returns the payload of a compact JWS with exactly this `typ`, signed by one of these keys."""
    parts = token.split(".", 3)
    require(len(parts) == 3, "token has not three parts")
    header = read_object(read_part(parts[0], HEADER_MAX_BYTES))
    # No other members, such as crit, b64, zip, jwk, jku, x5u or x5c.
    require(set(header) == {"alg", "kid", "typ"}, f"header has members {', '.join(map(str, header))}")
    require(all(isinstance(value, str) for value in header.values()), "header has a member that is no text")
    require(header["typ"] == typ, f"typ is {header['typ']}, not {typ}")
    key = keys.get(header["kid"])
    require(key, f"key {header['kid']} is not known")
    require(header["alg"] == key.algorithm_name, f"alg {header['alg']} is not the key's")
    for part, most_bytes in ((parts[1], PAYLOAD_MAX_BYTES), (parts[2], SIGNATURE_BYTES)):
        read_part(part, most_bytes)
    try:
        return jwt.PyJWS().decode(token, key, algorithms=[key.algorithm_name])
    except jwt.PyJWTError as error:
        raise Refused(f"signature of a {typ} does not hold") from error


def text(pattern=r"(?s).*"):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def whole(least):
    return lambda value: type(value) is int and least <= value < 1 << 63


ID, DIGEST, HASH = text("[a-z]([a-z0-9_-]{0,61}[a-z0-9])?"), text("sha256:[0-9a-f]{64}"), text("[0-9a-f]{64}")
TIME = whole(-1 << 63)
OWNER = {"store": text(), "namespace": ID, "iat": TIME}
PLACE = {"epoch": whole(0), "revision": whole(0)}
MANIFEST = OWNER | {
    "policy": ID, "version": whole(1), "digest": DIGEST, "size": whole(0), "content_type": text(),
    "author": text(), "publisher": text(),
}  # fmt: skip
KEY = text(f"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{ANNOTATION_KEY_MAX_CHARS - 1}}}")
VALUE = text(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]*")


def size(value):
    return len(value.encode())


def annotations(value):
    return (
        isinstance(value, dict) and len(value) <= ANNOTATIONS_MAX and all(KEY(key) for key in value)
        and all(VALUE(each) and size(each) <= ANNOTATION_VALUE_MAX_BYTES for each in value.values())
        and sum(size(key) + size(each) for key, each in value.items()) <= ANNOTATIONS_MAX_BYTES
    )  # fmt: skip


AUTHOR = text(r"(?s)(?=.*\S)[^\x00-\x1f\x7f-\x9f]*")


def adopted(value):
    return value is None or (
        isinstance(value, dict) and AUTHOR(value.get("author")) and size(value["author"]) <= ADOPTED_AUTHOR_MAX_BYTES
        and (value.get("create_time") is None or whole(0)(value["create_time"]))
    )  # fmt: skip


CHANGES = lambda value: isinstance(value, list) and all(isinstance(change, dict) for change in value)  # noqa: E731
STATEMENT = OWNER | PLACE | {
    "revision": whole(1), "kind": text(), "changes": CHANGES, "actor": text(), "reason_digest": DIGEST, "prev": HASH,
}  # fmt: skip
CHANGE = {"policy": ID, "version": whole(0), "previous": whole(0)}
HEAD = OWNER | PLACE | {"head_hash": HASH, "active_set_root": HASH, "exp": TIME}


def read_signed(token, typ, shape, keys):
    """Returns the payload of a token with every member of its shape. Others are ignored, because a later server may add some."""
    payload = read_object(signed_bytes(token, typ, keys))
    for name, fits in shape.items():
        require(name in payload and fits(payload[name]), f"{name} of a {typ} is absent or wrong")
    return payload


def read_manifest(token, content, keys):
    """Returns the manifest of a bundle whose content is exactly these bytes."""
    manifest = read_signed(token, BUNDLE, MANIFEST, keys)
    require(manifest.get("label") is None or isinstance(manifest["label"], str), "label is no text")
    require(annotations(manifest.get("annotations", {})), "annotations are no texts within their bounds")
    require(adopted(manifest.get("adopted")), "who wrote it before, and when, is not within its bounds")
    require(len(content) == manifest["size"] <= CONTENT_MAX_BYTES, "content has not the signed size")
    require(digest(content) == manifest["digest"], "content has not the signed digest")
    return manifest


def read_statement(token, keys):
    """Returns the statement of an activation."""
    statement = read_signed(token, ACTIVATION, STATEMENT, keys)
    root = statement.get("active_set_root")  # what was signed before there were roots has none
    require(root is None or HASH(root), "active_set_root of a statement is wrong")
    for change in statement["changes"]:
        for name, fits in CHANGE.items():
            require(name in change and fits(change[name]), f"{name} of a change is absent or wrong")
        gone = change["version"] == 0
        require(change.get("digest") is None if gone else DIGEST(change.get("digest")), "digest of a change is wrong")
    return statement


def read_checkpoint(token, keys):
    """Returns a checkpoint of any time: it proves what was in force at its position."""
    checkpoint = read_signed(token, CHECKPOINT, HEAD, keys)
    require(0 < checkpoint["exp"] - checkpoint["iat"] <= CHECKPOINT_TTL_SECONDS, "checkpoint has a wrong lifetime")
    return checkpoint


def why_not_fresh(checkpoint, now):
    """Returns why a checkpoint does not prove that nothing is newer at `now`, in seconds since the Unix epoch; empty: it does."""
    ahead = checkpoint["iat"] - now
    if ahead > CLOCK_SKEW_MAX_SECONDS:
        return f"checkpoint is from the future: the server's clock is {ahead:.0f} s ahead of this one"
    return "checkpoint is not fresh" if now >= checkpoint["exp"] else ""
