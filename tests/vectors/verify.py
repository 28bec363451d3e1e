"""Verifies the golden vectors with PyJWT: what policyhub signs, any JOSE library can check.

Uses the key set and the tokens alone, never a private key: `pip install 'PyJWT[crypto]'`, then `python verify.py`.
Prints how much was checked; exits with 1 on any surprise.
"""

import hashlib
import json
import pathlib
import sys

import jwt
from jwt.utils import base64url_decode, base64url_encode

HERE = pathlib.Path(__file__).parent
ALGORITHMS = {"OKP": "EdDSA", "EC": "ES256"}


def load(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def thumbprint(jwk):
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    return base64url_encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()).decode()


def verify(token, keys):
    """The header and the exact payload bytes; raises when anything is wrong."""
    header = jwt.get_unverified_header(token)
    jwk = keys[header["kid"]]
    key = jwt.PyJWK(jwk, algorithm=ALGORITHMS[jwk["kty"]])
    return header, jwt.PyJWS().decode(token, key, algorithms=[ALGORITHMS[jwk["kty"]]])


def flips(token):
    """The token with each bit of each decoded part flipped, one at a time."""
    parts = [base64url_decode(part) for part in token.split(".")]
    for index, part in enumerate(parts):
        for bit in range(len(part) * 8):
            changed = bytearray(part)
            changed[bit // 8] ^= 1 << bit % 8
            yield ".".join(
                base64url_encode(bytes(changed) if at == index else whole).decode() for at, whole in enumerate(parts)
            )


def refuses(token, keys):
    # A flipped header may name no known key or be no JSON at all, which PyJWT reports in several ways.
    try:
        verify(token, keys)
    except (jwt.PyJWTError, KeyError, ValueError):
        return True
    return False


def check_token(case, keys):
    header, payload = verify(case["token"], keys)
    expect(list(header) == ["alg", "kid", "typ"], f"{case['name']}: header {header}")
    expect(header["typ"] == case["typ"] and header["kid"] == case["kid"], f"{case['name']}: header {header}")
    expect(payload == case["payload"].encode(), f"{case['name']}: payload")
    if "content" in case:
        content, manifest = case["content"].encode(), json.loads(payload)
        expect(manifest["digest"] == digest(content) and manifest["size"] == len(content), f"{case['name']}: content")


def check_hashes(golden, keys):
    seal_kid = next(case["kid"] for case in load("accepted.json")["tokens"] if case["key"] == golden["seal_key"])
    seal_key = jwt.PyJWK(keys[seal_kid], algorithm="EdDSA").key
    head = bytes(32)
    for event in golden["events"]:
        expect(event["prev"] == head.hex(), f"chain breaks at {event}")
        head = hashlib.sha256(head + event["payload"].encode()).digest()
        expect(event["hash"] == head.hex(), f"hash of {event}")
        seal_key.verify(bytes.fromhex(event["seal"]), head)
    for case in golden["active_sets"]:
        lines = "".join(f"{row['policy']}\t{row['version']}\t{row['digest']}\n" for row in case["active"])
        expect(case["digest"] == digest(lines.encode()), f"active set {case}")
    return len(golden["events"]) + len(golden["active_sets"])


def expect(holds, surprise):
    if not holds:
        sys.exit(f"surprise: {surprise}")


def main():
    keys = {jwk["kid"]: jwk for jwk in load("jwks.json")["keys"]}
    for kid, jwk in keys.items():
        expect(kid == thumbprint(jwk), f"thumbprint of {kid}")
    cases, flipped = load("accepted.json")["tokens"], 0
    for case in cases:
        check_token(case, keys)
        for changed in flips(case["token"]):
            expect(refuses(changed, keys), f"{case['name']}: a flipped bit verifies: {changed}")
            flipped += 1
    typs = {case["typ"] for case in cases}
    expect(len(typs) == 4, f"typs {typs}")
    hashes = check_hashes(load("hashes.json"), keys)
    expect(len(keys) and len(cases) and flipped and hashes, "nothing was checked")
    print(f"{len(keys)} keys, {len(cases)} tokens and {hashes} hashes verify; {flipped} flipped bits are refused")


if __name__ == "__main__":
    main()
