"""Writes active_sets.json: roots of active sets, set proofs, and forged ones with why each is refused.

Standard library only, and none of the code under test: the tree is built here as nested tuples out of texts of bits, proofs
are those tuples cut short, and forgeries are other tuples. Deterministic. Run it only when the format changes on purpose.
"""

import hashlib
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def key(policy):
    return h(policy.encode())


def bits(hash_):
    return "".join(f"{byte:08b}" for byte in hash_)


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def row(policy, version=1, content="1", epoch=1, revision=1):
    return {"policy": policy, "version": version, "digest": digest(content), "epoch": epoch, "revision": revision}


def value(active):
    domain, policy, of = b"policyhub-active-policy-v1", active["policy"].encode(), active["digest"].encode()
    return h(
        struct.pack(">I", len(domain)), domain, struct.pack(">I", len(policy)), policy, struct.pack(">q", active["version"]),
        struct.pack(">I", len(of)), of, struct.pack(">qq", active["epoch"], active["revision"]),
    )  # fmt: skip


# A tree: ("empty",), ("leaf", key, value), ("opaque", hash), ("node", left, right).
EMPTY = ("empty",)


def tree(rows, way=""):
    here = [active for active in rows if bits(key(active["policy"])).startswith(way)]
    if len(here) < 2:
        return ("leaf", key(here[0]["policy"]), value(here[0])) if here else EMPTY
    return ("node", tree(here, way + "0"), tree(here, way + "1"))


def root(of):
    match of:
        case ("empty",):
            return bytes(32)
        case ("leaf", k, v):
            return h(b"\0", k, v)
        case ("opaque", hash_):
            return hash_
        case ("node", left, right):
            return h(b"\1", root(left), root(right))


def cut(of, policies, way=""):
    """The tree with only that open which one of the policies leads to."""
    if of == EMPTY:
        return of
    if not any(bits(key(policy)).startswith(way) for policy in policies):
        return ("opaque", root(of))
    return ("node", cut(of[1], policies, way + "0"), cut(of[2], policies, way + "1")) if of[0] == "node" else of


def written(of):
    match of:
        case ("empty",):
            return b"\0"
        case ("leaf", k, v):
            return b"\1" + k + v
        case ("opaque", hash_):
            return b"\2" + hash_
        case ("node", left, right):
            return b"\3" + written(left) + written(right)


def replace(of, way, put):
    """The tree with what stands at the end of a way of bits replaced by what `put` makes of it."""
    if not way:
        return put(of)
    left, right = of[1:]
    return ("node", replace(left, way[1:], put), right) if way[0] == "0" else ("node", left, replace(right, way[1:], put))


def way_to(of, policy):
    """The bits to where a policy leads."""
    way = bits(key(policy))
    depth = 0
    while of[0] == "node":
        of, depth = of[1 + int(way[depth])], depth + 1
    return way[:depth]


def at(of, way):
    return at(of[1 + int(way[0])], way[1:]) if way else of


def near(count, least):
    """Two ids whose keys agree in at least so many bits."""
    seen = {}
    for number in range(count):
        policy = f"deep-{number}"
        other = seen.setdefault(bits(key(policy)[:8])[:least], policy)
        if other != policy:
            return other, policy
    raise SystemExit(f"no two of {count} ids agree in {least} bits")


DEEP = near(1_000_000, 34)
ONE = [row("refund-limits", 3, "limits", 1, 42)]
SMALL = ONE + [row("tone", 1, "kind", 1, 40), row("a", 12, "1", 1, 7), row("a-b", 9007199254740993, "2", 2, 1 << 62)]
LARGE = [row(f"policy-{number}", number, f"content {number}", 1 + number % 3, 1000 - number) for number in range(1, 101)]
SETS = {
    "empty": [], "one": ONE, "small": SMALL, "deep": [row(policy, 2, "deep", 1, 5) for policy in DEEP] + SMALL, "large": LARGE,
    # Every policy at once in force again, and none of what was.
    "small-later": [active | {"revision": active["revision"] + 1} for active in SMALL],
}  # fmt: skip
FILTERS = {
    "empty": [[], ["tone"]], "one": [[], ["refund-limits"], ["tone"], ["refund-limits", "tone"]],
    "small": [["a"], ["a", "a-b", "refund-limits", "tone"], ["absent"], ["a", "absent", "nowhere"]],
    "deep": [[DEEP[0]], list(DEEP), ["tone", DEEP[1]]],
    "large": [["policy-1"], ["policy-101"], [f"policy-{number}" for number in range(1, 102, 10)], [f"policy-{number}" for number in range(1, 121)]],
    "small-later": [["a"]],
}  # fmt: skip


def claimed(rows, policies):
    return sorted((active for active in rows if active["policy"] in policies), key=lambda active: active["policy"])


def sets():
    for name, rows in SETS.items():
        shown = [active | {"key": key(active["policy"]).hex(), "value": value(active).hex()} for active in rows]
        yield {"name": name, "root": root(tree(rows)).hex(), "active": shown}


def proofs():
    for name, filters in FILTERS.items():
        for policies in filters:
            proof = written(cut(tree(SETS[name]), policies))
            yield {"set": name, "filter": policies, "claimed": claimed(SETS[name], policies), "proof": proof.hex()}


class Forgeries:
    """Out of one honest proof. Unless a case says otherwise, its claim says that nothing of the filter is active."""

    def __init__(self):
        self.cases = []

    def add(self, name, error, text, rows, policies, proof, claim=()):
        self.cases.append({
            "name": name, "error": error, "text": text, "root": root(tree(rows)).hex(), "filter": policies,
            "claimed": list(claim), "proof": (proof if isinstance(proof, bytes) else written(proof)).hex(),
        })  # fmt: skip


ROOT, HIDDEN = ("RootMismatch", "proof is of another root"), lambda policy: ("Hidden", f"proof hides policy {policy}")
UNASKED = ("OpenedUnasked", "proof opens what nobody asked for")
MISPLACED = ("LeafMisplaced", "proof has a leaf where its key does not lead")
LONE = ("NodeNotCanonical", "proof has a node with fewer than two leaves")
AS_HASH = ("EmptyAsHash", "proof has an empty subtree written as a hash")


def forged_absence(add):
    """An active policy is claimed absent."""
    whole, mine = tree(LARGE), ["policy-7"]
    honest, way = cut(whole, mine), way_to(whole, "policy-7")
    add("absent-by-empty", *ROOT, LARGE, mine, replace(honest, way, lambda _: EMPTY))
    add("absent-by-its-own-hash", *HIDDEN("policy-7"), LARGE, mine, replace(honest, way, lambda leaf: ("opaque", root(leaf))))
    add("absent-by-a-hash-higher-up", *HIDDEN("policy-7"), LARGE, mine, replace(honest, way[:2], lambda node: ("opaque", root(node))))
    add("absent-by-the-root-alone", *HIDDEN("policy-7"), LARGE, mine, ("opaque", root(whole)))
    add("absent-by-an-empty-tree", *ROOT, LARGE, mine, EMPTY)
    other = next(active for active in LARGE if way_to(whole, active["policy"])[: len(way)] != way)
    leaf = ("leaf", key(other["policy"]), value(other))
    add("absent-by-a-leaf-of-elsewhere", *MISPLACED, LARGE, mine, replace(honest, way, lambda _: leaf))
    fitting = int((way + "01" * 128)[:256], 2).to_bytes(32, "big")
    add("absent-by-a-made-up-key", *ROOT, LARGE, mine, replace(honest, way, lambda found: ("leaf", fitting, found[2])))
    add("absent-by-the-way-of-another", *HIDDEN("policy-7"), LARGE, mine, cut(whole, [other["policy"]]))
    add("absent-by-swapped-sides", *HIDDEN("policy-7"), LARGE, mine, replace(honest, way[:-1], lambda node: ("node", node[2], node[1])))
    # Hashes of a node's children offered as the key and value of a leaf, and the other way round.
    add("node-offered-as-leaf", *ROOT, LARGE, mine, ("leaf", root(whole[1]), root(whole[2])))
    parts = lambda found: ("node", ("opaque", found[1]), ("opaque", found[2]))  # noqa: E731
    add("leaf-offered-as-node", *HIDDEN("policy-7"), LARGE, mine, replace(honest, way, parts))
    older = [active for active in LARGE if active["policy"] != "policy-7"]
    add("proof-of-another-set", *ROOT, LARGE, mine, cut(tree(older), mine))


def forged_forms(add):
    """The same said in another form: refused, though nothing would follow from it."""
    whole, mine = tree(SMALL), ["a"]
    honest, way, claim = cut(whole, mine), way_to(whole, "a"), claimed(SMALL, mine)
    sibling = way[:-1] + "10"[int(way[-1])]

    def alone(leaf, side):
        return ("node", leaf, EMPTY) if side == "0" else ("node", EMPTY, leaf)

    next_bit = bits(key("a"))[len(way)]
    add("leaf-one-level-down", *LONE, SMALL, mine, replace(honest, way, lambda leaf: alone(leaf, next_bit)), claim)
    add("node-of-nothing", *LONE, SMALL, mine, ("node", EMPTY, EMPTY))
    add("sibling-opened", *UNASKED, SMALL, mine, replace(honest, sibling, lambda _: at(whole, sibling)), claim)
    large, far = tree(LARGE), "10"[int(bits(key("policy-7"))[0])]
    halves = ("node", *(("opaque", root(half)) for half in at(large, far)[1:]))
    add("sibling-opened-to-hashes", *UNASKED, LARGE, ["policy-7"], replace(cut(large, ["policy-7"]), far, lambda _: halves),
        claimed(LARGE, ["policy-7"]))  # fmt: skip
    add("everything-opened", *UNASKED, SMALL, mine, whole, claim)
    add("sibling-misplaced", *MISPLACED, SMALL, mine, replace(honest, sibling, lambda _: at(whole, way)), claim)
    add("sibling-made-up", *ROOT, SMALL, mine, replace(honest, sibling, lambda _: ("opaque", h(b"made up"))), claim)
    add("sibling-left-out", *LONE, SMALL, mine, replace(honest, sibling, lambda _: EMPTY), claim)
    add("sibling-as-empty-hash", *AS_HASH, SMALL, mine, replace(honest, sibling, lambda _: ("opaque", bytes(32))), claim)
    add("empty-set-as-hash", *AS_HASH, [], mine, ("opaque", bytes(32)))
    deep = tree(SETS["deep"])
    beside = bits(key(DEEP[0]))[:30]
    beside = beside[:-1] + "10"[int(beside[-1])]
    add("empty-on-a-long-way-as-hash", *AS_HASH, SETS["deep"], [DEEP[0]],
        replace(cut(deep, [DEEP[0]]), beside, lambda _: ("opaque", bytes(32))))  # fmt: skip
    down = b"".join(b"\3" + (b"\0" if bit == "1" else b"") for bit in bits(key("a"))) + b"\3"
    add("deeper-than-a-key", "TooDeep", "proof is deeper than a key", SMALL, mine, down)
    text = written(honest)
    for name, error, why, proof in [
        ("nothing", "Truncated", "proof is truncated", b""),
        ("cut-in-a-hash", "Truncated", "proof is truncated", text[:-1]),
        ("cut-between-parts", "Truncated", "proof is truncated", b"\3"),
        ("one-byte-more", "TrailingBytes", "proof has bytes after its end", text + b"\0"),
        ("twice", "TrailingBytes", "proof has bytes after its end", text * 2),
        ("unknown-tag", "TagUnknown", "proof has a part of an unknown kind", b"\4" + text),
        ("high-tag", "TagUnknown", "proof has a part of an unknown kind", b"\x83" + text[1:]),
    ]:
        add(name, error, why, SMALL, mine, proof, claim)


def forged_claims(add):
    """Honest proofs that something else is claimed by, and proofs of other roots and filters."""
    whole, mine = tree(SMALL), ["a", "absent", "tone"]
    honest, (a, tone) = cut(whole, mine), claimed(SMALL, mine)
    for name, claim in [
        ("version", [a | {"version": 11}, tone]), ("digest", [a | {"digest": digest("2")}, tone]),
        ("epoch", [a | {"epoch": 2}, tone]), ("revision", [a | {"revision": 6}, tone]),
        ("place-of-another", [a | {"epoch": tone["epoch"], "revision": tone["revision"]}, tone]),
        ("content-of-another", [tone | {"policy": "a"}, tone]),
    ]:
        add(f"claim-of-another-{name}", "Differs", "policy a is active otherwise than claimed", SMALL, mine, honest, claim)
    add("claim-without-one", "NotClaimed", "policy a is active and not claimed", SMALL, mine, honest, [tone])
    add("claim-of-nothing", "NotClaimed", "policy a is active and not claimed", SMALL, mine, honest)
    absent = row("absent")
    add("claim-of-one-that-is-absent", "NotActive", "policy absent is claimed and not active", SMALL, mine, honest, [a, absent, tone])
    beyond = claimed(SMALL, ["refund-limits"])
    add("claim-beyond-the-filter", "NotInFilter", "policy refund-limits is claimed and not in the filter", SMALL, mine, honest, beyond)
    add("proof-of-a-narrower-filter", *HIDDEN("tone"), SMALL, ["a", "tone"], cut(whole, ["a"]), [a, tone])
    add("proof-of-a-wider-filter", *UNASKED, SMALL, ["a"], honest, [a])
    add("proof-of-a-later-root", *ROOT, SMALL, mine, cut(tree(SETS["small-later"]), mine), [a, tone])
    add("proof-under-a-later-root", *ROOT, SETS["small-later"], mine, honest, [a, tone])
    add("proof-under-the-empty-root", *ROOT, [], mine, honest, [a, tone])


def main():
    forgeries = Forgeries()
    for forged in (forged_absence, forged_forms, forged_claims):
        forged(forgeries.add)
    vectors = {"sets": list(sets()), "proofs": list(proofs()), "refused": forgeries.cases}
    (HERE / "active_sets.json").write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")
    print({name: len(cases) for name, cases in vectors.items()})


if __name__ == "__main__":
    main()
