"""Writes the golden vectors of key statements, with none of the code under test: `python make_key_statements.py`.

Each case is a subscriber that begins with pinned keys and is given statements one by one: what becomes of each, and which keys
it trusts in the end. Deterministic: everything is signed by the Ed25519 keys of `make.py`.
"""

import json

import make
from make import EC, ED_1, ED_2, HERE, NOW, STRANGER, compact, digest, token

KEYS = "policyhub-keys+jws"
STORE = "0198a0c2-0000-7000-8000-000000000001"
TIMES = {"PREPARED": 1, "ACTIVE": 2, "RETIRED": 3, "REVOKED": 4}


def stated(key, state, **changes):
    """A key in a state, with a time for each state that it came through."""
    times = ["prepare_time", "activate_time", "retire_time", "revoke_time"][: TIMES[state]]
    jwk = {} if state == "REVOKED" else {"jwk": key.jwk}
    said = {"kid": key.kid, "state": state} | jwk | {time: NOW - 100 + index for index, time in enumerate(times)}
    return {name: value for name, value in (said | changes).items() if value is not ...}


def payload(serial, keys, epoch=1, prev=None, **changes):
    before, made = {} if prev is None else {"prev": digest(prev)}, NOW + (serial if isinstance(serial, int) else 0)
    members = {"store": STORE, "epoch": epoch, "serial": serial, "keys": keys} | before | {"iat": made} | changes
    return compact({name: value for name, value in members.items() if value is not ...})


def history():
    """What an honest store says while it rotates twice and revokes once: the payloads, and who signs each."""
    states = [
        (ED_1, [stated(ED_1, "ACTIVE")]),
        (ED_1, [stated(ED_1, "ACTIVE"), stated(ED_2, "PREPARED")]),
        (ED_1, [stated(ED_1, "RETIRED"), stated(ED_2, "ACTIVE")]),
        (ED_2, [stated(ED_2, "ACTIVE"), stated(ED_1, "REVOKED")]),
        (ED_2, [stated(EC, "PREPARED"), stated(ED_2, "ACTIVE"), stated(ED_1, "REVOKED")]),
        (ED_2, [stated(EC, "ACTIVE"), stated(ED_2, "RETIRED"), stated(ED_1, "REVOKED")]),
    ]
    tokens, prev = [], None
    for serial, (key, keys) in enumerate(states, 1):
        text = payload(serial, keys, prev=prev)
        tokens.append(token(key, KEYS, text))
        prev = text
    return tokens


S1, S2, S3, S4, S5, S6 = history()


def case(name, pins, steps, trusted, revoked=(), store=None):
    said = {} if store is None else {"store": store}
    ids = lambda keys: sorted(key.kid for key in keys)  # noqa: E731
    given = [{"statement": statement, "becomes": becomes} for statement, becomes in steps]
    pinned = {"keys": [key.jwk for key in pins]}
    return {"name": name, "pins": pinned} | said | {"steps": given, "trusted": ids(trusted), "revoked": ids(revoked)}


def followed():
    taken = lambda *statements: [(statement, "Taken") for statement in statements]  # noqa: E731
    yield case("one-by-one", [ED_1], taken(S1, S2, S3, S4, S5, S6), [ED_2, EC], [ED_1])
    yield case("the-last-of-each-key", [ED_1], taken(S3, S6), [ED_2, EC], [ED_1])
    yield case("pinned-to-a-later-key", [ED_2], [(S3, "KeyUnknown"), (S6, "Taken")], [ED_2, EC], [ED_1])
    yield case("pinned-to-both", [ED_1, ED_2], [(S6, "Taken"), (S3, "KeyRevoked")], [ED_2, EC], [ED_1])
    yield case("repeated-and-late", [ED_1], [(S3, "Taken"), (S3, "Ignored"), (S2, "Ignored")], [ED_1, ED_2])
    yield case("pinned-to-none-of-them", [STRANGER], [(S3, "KeyUnknown"), (S6, "KeyUnknown")], [STRANGER])
    other = token(ED_1, KEYS, payload(1, [stated(ED_1, "ACTIVE"), stated(EC, "PREPARED")], epoch=2))
    yield case("a-lower-serial-of-a-later-epoch", [ED_1], [(S2, "Taken"), (other, "Taken"), (S2, "Ignored")], [ED_1, EC])
    yield case("a-key-of-the-file-that-is-not-stated", [ED_1, STRANGER], [(S3, "PinNotStated")], [ED_1, STRANGER])
    yield case("a-file-ahead-of-a-rotation", [ED_1, ED_2], [(S1, "PinNotStated"), (S2, "Taken")], [ED_1, ED_2])
    yield case("a-file-with-a-key-that-was-revoked-since", [ED_1, ED_2, EC], [(S3, "PinNotStated"), (S6, "Taken")], [ED_2, EC], [ED_1])
    fewer = token(ED_2, KEYS, payload(9, [stated(ED_2, "ACTIVE")]))
    yield case("a-later-one-that-does-not-name-a-key-of-the-file", [ED_1], taken(S3, fewer), [ED_1, ED_2])
    yield case("of-the-store-that-is-known", [ED_1], taken(S3), [ED_1, ED_2], store=STORE)
    more = token(ED_1, KEYS, payload(7, [stated(ED_1, "ACTIVE", later={"a": [1]})], later=True))
    yield case("members-of-a-later-version", [ED_1], taken(more), [ED_1])


def forged():
    two = [stated(ED_1, "RETIRED"), stated(ED_2, "ACTIVE")]
    steal = [stated(ED_1, "RETIRED"), stated(STRANGER, "ACTIVE")]
    after_3 = lambda statement, error: [(S3, "Taken"), (statement, error)]  # noqa: E731
    yield case("by-a-stranger", [ED_1], [(token(STRANGER, KEYS, payload(9, steal)), "KeyUnknown")], [ED_1])
    posing = token(STRANGER, KEYS, payload(9, steal), header=compact({"alg": "EdDSA", "kid": ED_1.kid, "typ": KEYS}))
    yield case("by-a-stranger-in-another-name", [ED_1], [(posing, "SignatureInvalid")], [ED_1])
    yield case("by-a-retired-key", [ED_1], after_3(token(ED_1, KEYS, payload(9, steal)), "KeyNotActive"), [ED_1, ED_2])
    later = token(ED_1, KEYS, payload(1, steal, epoch=2))
    yield case("by-a-retired-key-of-a-later-epoch", [ED_1], after_3(later, "KeyNotActive"), [ED_1, ED_2])
    by_revoked = [(S3, "Taken"), (S4, "Taken"), (token(ED_1, KEYS, payload(9, steal)), "KeyRevoked")]
    yield case("by-a-revoked-key", [ED_1], by_revoked, [ED_2], [ED_1])
    prepared = token(ED_2, KEYS, payload(9, [stated(ED_1, "RETIRED"), stated(ED_2, "ACTIVE")]))
    yield case("by-a-prepared-key", [ED_1], [(S2, "Taken"), (prepared, "KeyNotActive")], [ED_1, ED_2])
    again = [stated(EC, "PREPARED"), stated(ED_2, "ACTIVE"), stated(ED_1, "RETIRED")]
    steps = [(S3, "Taken"), (S4, "Taken"), (token(ED_2, KEYS, payload(9, again)), "Taken")]
    yield case("a-revoked-key-is-not-trusted-again", [ED_1], steps, [ED_2, EC], [ED_1])
    leads = token(ED_2, KEYS, payload(9, [stated(ED_1, "ACTIVE"), stated(ED_2, "RETIRED")]))
    yield case("a-revoked-key-does-not-lead-again", [ED_1], [(S3, "Taken"), (S4, "Taken"), (leads, "KeyNotActive")], [ED_2], [ED_1])
    yield case("a-key-of-the-file-is-revoked", [ED_1, ED_2], [(S4, "Taken")], [ED_2], [ED_1])
    # Genuine, and from before ED_1 was stolen and revoked: the file is of later.
    old = token(ED_2, KEYS, payload(4, [stated(ED_2, "ACTIVE"), stated(ED_1, "RETIRED")]))
    steps = [(old, "PinNotStated"), (S6, "Taken"), (old, "Ignored")]
    yield case("an-old-one-by-a-retired-key-of-the-file", [ED_2, EC], steps, [ED_2, EC], [ED_1])
    same = token(ED_1, KEYS, payload(3, two + [stated(STRANGER, "PREPARED")]))
    yield case("another-under-the-same-serial", [ED_1], after_3(same, "SerialReused"), [ED_1, ED_2])
    elsewhere = token(ED_2, KEYS, payload(9, two, store="another"))
    yield case("of-another-store", [ED_1], after_3(elsewhere, "StoreMismatch"), [ED_1, ED_2])
    yield case("of-another-store-than-is-known", [ED_1], [(S3, "StoreMismatch")], [ED_1], store="another")
    for name, keys in [
        ("revokes-its-own-key", [stated(ED_1, "REVOKED"), stated(ED_2, "ACTIVE")]),
        ("leaves-its-own-key-out", [stated(ED_2, "ACTIVE")]),
        ("has-its-own-key-prepared", [stated(ED_1, "PREPARED"), stated(ED_2, "ACTIVE")]),
    ]:
        yield case(name, [ED_1], [(token(ED_1, KEYS, payload(9, keys)), "KeyNotActive")], [ED_1])


def malformed():
    mine = stated(ED_1, "ACTIVE")
    many = [stated(Fake(number), "PREPARED") for number in range(20)]
    revoked = [{"kid": f"k{number}", "state": "REVOKED"} for number in range(201)]
    for name, text in [
        ("no-active-key", payload(9, [stated(ED_1, "RETIRED")])),
        ("two-active-keys", payload(9, [mine, stated(ED_2, "ACTIVE")])),
        ("a-key-twice", payload(9, [mine, stated(ED_2, "PREPARED"), stated(ED_2, "RETIRED")])),
        ("a-key-both-held-and-revoked", payload(9, [mine, stated(ED_2, "PREPARED"), stated(ED_2, "REVOKED")])),
        ("too-many-keys", payload(9, [mine, *many])),
        ("too-many-revoked-keys", payload(9, [mine, *revoked])),
        ("no-keys", payload(9, [])),
        ("keys-as-an-object", payload(9, {ED_1.kid: mine})),
        ("a-key-as-a-list", payload(9, [list(mine.values())])),
        ("a-jwk-as-a-list", payload(9, [mine | {"jwk": list(ED_1.jwk.values())}])),
        ("an-unknown-state", payload(9, [mine, stated(ED_2, "PREPARED") | {"state": "TRUSTED"}])),
        ("a-state-in-lower-case", payload(9, [mine | {"state": "active"}])),
        ("a-time-as-text", payload(9, [mine | {"prepare_time": "1"}])),
        ("serial-0", payload(0, [mine])),
        ("serial-as-text", payload("9", [mine])),
        ("no-serial", payload(..., [mine], iat=NOW)),
        ("epoch-below-0", payload(9, [mine], epoch=-1)),
        ("no-store", payload(9, [mine], store=...)),
        ("no-iat", payload(9, [mine], iat=...)),
        ("prev-is-no-digest", payload(9, [mine], prev=None)[:-1] + b',"prev":"sha256:00"}'),
        ("a-member-twice", payload(9, [mine])[:-1] + b',"serial":10}'),
        ("a-list", b"[1]"),
        ("not-json", b"keys"),
    ]:
        yield case(f"malformed-{name}", [ED_1], [(token(ED_1, KEYS, text), "PayloadMalformed")], [ED_1])
    private = ED_2.jwk | {"d": "AA"}
    for name, key, error in [
        ("kid-of-another", stated(ED_2, "PREPARED", kid=STRANGER.kid, jwk=without_kid(ED_2)), "KeyIdMismatch"),
        ("jwk-with-another-kid", stated(ED_2, "PREPARED", jwk=ED_2.jwk | {"kid": STRANGER.kid}), "KeyIdMismatch"),
        ("without-jwk", stated(ED_2, "PREPARED", jwk=...), "KeyIdMismatch"),
        ("private", stated(ED_2, "PREPARED", jwk=private), "KeyNotPublic"),
        ("symmetric", stated(ED_2, "PREPARED", jwk={"kty": "oct", "k": "AAAA"}), "KeyUnsupported"),
        ("another-algorithm", stated(ED_2, "PREPARED", jwk=ED_2.jwk | {"alg": "ES256"}), "KeyAlgorithmMismatch"),
    ]:
        yield case(f"key-{name}", [ED_1], [(token(ED_1, KEYS, payload(9, [mine, key])), error)], [ED_1])
    text = payload(9, [mine])
    yield case("typ-of-a-checkpoint", [ED_1], [(token(ED_1, make.CHECKPOINT, text), "TypeMismatch")], [ED_1])
    yield case("typ-of-nothing", [ED_1], [(token(ED_1, "JWT", text), "TypeMismatch")], [ED_1])
    yield case("two-parts", [ED_1], [(token(ED_1, KEYS, text).rsplit(".", 1)[0], "TokenMalformed")], [ED_1])


def without_kid(key):
    return make.without(key.jwk, "kid")


class Fake:
    """A key that nobody has: only its form matters."""

    def __init__(self, number):
        members = {"crv": "Ed25519", "kty": "OKP", "x": make.b64(make.sha256(b"fake %d" % number))}
        self.kid = make.b64(make.sha256(compact(members)))
        self.jwk = members | {"kid": self.kid, "alg": "EdDSA", "use": "sig"}


def main():
    vectors = {"followed": list(followed()), "forged": list(forged()), "malformed": list(malformed())}
    (HERE / "key_statements.json").write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")
    print({name: len(cases) for name, cases in vectors.items()})


if __name__ == "__main__":
    main()
