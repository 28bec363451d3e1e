"""Verifies the golden vectors with PyJWT: what policyhub signs, any JOSE library can check.

By the code of examples/python/signed.py, so that what a Python team copies is held to the vectors too. Uses the key set and
the tokens alone, never a private key: `pip install 'PyJWT[crypto]'`, then `python verify.py`. Prints how much was checked;
exits with 1 on any surprise.
"""

import hashlib
import json
import pathlib
import sys

import jwt
from jwt.utils import base64url_decode, base64url_encode

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "examples" / "python"))
from pinned_keys import PinnedKeys  # noqa: E402
from set_root import SET_PROOF_MAX_BYTES, SET_PROOF_PARTS_MAX, active_set_root, bits, key_of, verify_set_proof  # noqa: E402
from signed import (  # noqa: E402
    Refused, digest, read_checkpoint, read_keys, read_manifest, read_statement, require, signed_bytes, why_not_fresh,
)  # fmt: skip


def load(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


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


def refuses(read, *arguments):
    try:
        read(*arguments)
    except Refused:
        return True
    return False


def read_fresh_checkpoint(token, keys, now):
    checkpoint = read_checkpoint(token, keys)
    require(not (why := why_not_fresh(checkpoint, now)), why)
    return checkpoint


def check_token(case, keys, now):
    header, payload = jwt.get_unverified_header(case["token"]), signed_bytes(case["token"], case["typ"], keys)
    expect(list(header) == ["alg", "kid", "typ"], f"{case['name']}: header {header}")
    expect(header["typ"] == case["typ"] and header["kid"] == case["kid"], f"{case['name']}: header {header}")
    expect(payload == case["payload"].encode(), f"{case['name']}: payload")
    if case["typ"] == "policyhub-activation+jws":
        read_statement(case["token"], keys)
    if case["typ"] == "policyhub-checkpoint+jws":
        read_fresh_checkpoint(case["token"], keys, now)
    if "content" in case:
        content, manifest = case["content"].encode(), json.loads(payload)
        expect(manifest["digest"] == digest(content) and manifest["size"] == len(content), f"{case['name']}: content")


def check_refused(case, keys):
    arguments = {
        "bundle": (read_manifest, case["token"], case.get("content", "").encode(), keys),
        "statement": (read_statement, case["token"], keys),
        "checkpoint": (read_fresh_checkpoint, case["token"], keys, case.get("now")),
    }[case["verifier"]]
    expect(refuses(*arguments), f"{case['name']} is taken")


def check_hashes(golden, keys):
    seal_kid = next(case["kid"] for case in load("accepted.json")["tokens"] if case["key"] == golden["seal_key"])
    seal_key = keys[seal_kid].key
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


def rows_as_set(rows):
    return {row["policy"]: (row["version"], row["digest"], row["epoch"], row["revision"]) for row in rows}


def proof_error(case, proof, root):
    """Why a set proof is refused; empty when it is not."""
    try:
        verify_set_proof(proof, root, case["filter"], rows_as_set(case["claimed"]))
    except Refused as why:
        return str(why)
    return ""


def deepest(keys, depth=0):
    """A proof that goes down to the last bit of each of these keys, with a made-up hash beside each leaf."""
    if depth == 256:
        return b"\1" + keys[0] + bytes(32) if keys else b"\2" + b"\1" * 32
    sides = ([key for key in keys if bits(key, depth + 1) & 1 == side] for side in (0, 1))
    return b"\3" + b"".join(deepest(side, depth + 1) for side in sides) if keys else b"\0"


def oversized():
    names = [f"p{number}" for number in range(300)]
    proof = deepest([key_of(name) for name in names])
    expect(len(proof) < SET_PROOF_MAX_BYTES and 300 * 512 > SET_PROOF_PARTS_MAX, "the bounds moved")
    yield "proof has too many parts", names, proof
    yield "proof is too large", ["a"], bytes(SET_PROOF_MAX_BYTES + 1)
    yield "proof has bytes after its end", ["a"], bytes(SET_PROOF_MAX_BYTES)


def check_active_sets(golden):
    """How many roots and proofs hold, and how many forged and changed proofs are refused."""
    roots, refused = {case["name"]: bytes.fromhex(case["root"]) for case in golden["sets"]}, 0
    for case in golden["sets"]:
        expect(active_set_root(rows_as_set(case["active"])) == roots[case["name"]], f"root of {case['name']}")
    for case in golden["proofs"]:
        proof, root = bytes.fromhex(case["proof"]), roots[case["set"]]
        expect(proof_error(case, proof, root) == "", f"proof of {case['filter']} in {case['set']}")
        if len(proof) > 1024:
            continue  # its bits would take minutes
        for bit in range(len(proof) * 8):
            changed = bytearray(proof)
            changed[bit // 8] ^= 1 << bit % 8
            expect(proof_error(case, bytes(changed), root), f"bit {bit} of the proof of {case['filter']} in {case['set']}")
            refused += 1
    for case in golden["refused"]:
        error = proof_error(case, bytes.fromhex(case["proof"]), bytes.fromhex(case["root"]))
        expect(error == case["text"], f"{case['name']}: {error or 'is taken'}")
    for error, names, proof in oversized():
        case = {"filter": names, "claimed": []}
        expect(proof_error(case, proof, bytes(32)) == error, error)
    return len(golden["sets"]) + len(golden["proofs"]), refused + len(golden["refused"])


def becomes(pinned, statement, store):
    try:
        return "Taken" if pinned.take(statement, store) else "Ignored"
    except Refused:
        return "Refused"


def check_key_statements(golden):
    """How many key statements are taken, and how many refused: forged ones, and honest ones with a bit flipped."""
    taken = refused = 0
    for case in (case for kind in ("followed", "forged", "malformed") for case in golden[kind]):
        pins = read_keys(json.dumps(case["pins"]).encode())
        pinned, restored = PinnedKeys(pins), PinnedKeys(pins)
        for step in case["steps"]:
            is_taken = step["becomes"] in ("Taken", "Ignored")
            found = becomes(pinned, step["statement"], case.get("store"))
            expect(found == (step["becomes"] if is_taken else "Refused"), f"{case['name']}: a statement is {found}")
            taken, refused = taken + is_taken, refused + (not is_taken)
            restored = PinnedKeys(pins, restored.saved)
            becomes(restored, step["statement"], case.get("store"))
        expect(sorted(pinned.trusted) == case["trusted"], f"{case['name']}: trusts {sorted(pinned.trusted)}")
        expect(sorted(pinned.revoked) == case["revoked"], f"{case['name']}: revoked {sorted(pinned.revoked)}")
        expect(sorted(restored.trusted) == case["trusted"], f"{case['name']}: after restarts trusts {sorted(restored.trusted)}")
    first = golden["followed"][0]
    for changed in flips(first["steps"][0]["statement"]):
        pinned = PinnedKeys(read_keys(json.dumps(first["pins"]).encode()))
        expect(becomes(pinned, changed, None) == "Refused", "a key statement with a flipped bit is taken")
        refused += 1
    return taken, refused


def expect(holds, surprise):
    if not holds:
        sys.exit(f"surprise: {surprise}")


def main():
    keys = read_keys((HERE / "jwks.json").read_bytes())
    for jwk in load("jwks.json")["keys"]:
        expect(jwk["kid"] in keys, f"thumbprint of {jwk['kid']}")
    now, cases, refused, flipped = *load("accepted.json").values(), load("refused.json")["tokens"], 0
    for case in cases:
        check_token(case, keys, now)
        for changed in flips(case["token"]):
            expect(refuses(signed_bytes, changed, case["typ"], keys), f"{case['name']}: a flipped bit verifies: {changed}")
            flipped += 1
    for case in refused:
        check_refused(case, keys)
    typs = {case["typ"] for case in cases}
    expect(len(typs) == 4, f"typs {typs}")
    hashes = check_hashes(load("hashes.json"), keys)
    expect(len(keys) and len(cases) and len(refused) and flipped and hashes, "nothing was checked")
    proven, forged = check_active_sets(load("active_sets.json"))
    expect(proven and forged, "no set was checked")
    followed, misled = check_key_statements(load("key_statements.json"))
    expect(followed and misled, "no key statement was checked")
    print(
        f"{len(keys)} keys, {len(cases)} tokens and {hashes} hashes verify; "
        f"{len(refused)} tokens and {flipped} flipped bits are refused; "
        f"{proven} roots and set proofs hold, {forged} forged ones are refused; "
        f"{followed} key statements are followed, {misled} are refused"
    )


if __name__ == "__main__":
    main()
