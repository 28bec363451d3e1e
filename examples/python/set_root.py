"""The root of an active set, and proofs of which policies of a filter are in force.

Standard library only, no I/O and no clock. `active_set_root` and `verify_set_proof` in the Rust library's `signing` define
both byte by byte. A set is a dictionary: policy to (version, digest, epoch, revision), the last two of the activation.
"""

import hashlib

from refused import Contradicted, require

SET_PROOF_MAX_BYTES, SET_PROOF_PARTS_MAX, KEY_BITS = 512 * 1024, 128 * 1024, 256
EMPTY_ROOT = bytes(32)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def sized(text):
    return len(text.encode()).to_bytes(4, "big") + text.encode()


def key_of(policy):
    return sha256(policy.encode())


def value_of(policy, active):
    version, digest, epoch, revision = active
    # Signed integers: an unverified position may be negative, and then is just a different value.
    version, epoch, revision = (number.to_bytes(8, "big", signed=True) for number in (version, epoch, revision))
    return sha256(sized("policyhub-active-policy-v1"), sized(policy), version, sized(digest), epoch, revision)


def bits(key, depth):
    """Returns the first bits of a key, as a number."""
    return int.from_bytes(key, "big") >> (KEY_BITS - depth)


def active_set_root(active):
    def root(leaves, depth):
        if len(leaves) < 2:
            return leaves[0][1] if leaves else EMPTY_ROOT
        sides = [[leaf for leaf in leaves if bits(leaf[0], depth + 1) & 1 == side] for side in (0, 1)]
        return sha256(b"\1", root(sides[0], depth + 1), root(sides[1], depth + 1))

    keyed = [(key_of(policy), value_of(policy, active[policy])) for policy in active]
    return root([(key, sha256(b"\0", key, value)) for key, value in keyed], 0)


def verify_set_proof(proof, root, policies, claimed):
    """Refuses unless, of these policies, exactly the claimed ones are in force under this root. `claimed` is a set.
    `Contradicted`: the proof is valid, and proves something else."""
    require(len(proof) <= SET_PROOF_MAX_BYTES, "proof is too large")
    proven = _ProofReader(proof, {key_of(policy): policy for policy in policies}).read(root)
    for policy, active in claimed.items():
        require(policy in policies, f"policy {policy} is claimed and not in the filter", Contradicted)
        require(policy in proven, f"policy {policy} is claimed and not active", Contradicted)
        require(proven[policy] == value_of(policy, active), f"policy {policy} is active otherwise than claimed", Contradicted)
    for policy in sorted(proven):
        require(policy in claimed, f"policy {policy} is active and not claimed", Contradicted)


class _ProofReader:
    def __init__(self, proof, asked):
        self.proof, self.at, self.parts, self.asked, self.proven = proof, 0, 0, asked, {}

    def read(self, root):
        """Returns the values of the policies that are in force under the root."""
        found, _ = self._subtree(0, 0, sorted(self.asked))
        require(self.at == len(self.proof), "proof has bytes after its end")
        require(found == root, "proof is of another root")
        return self.proven

    def _take(self, length):
        require(self.at + length <= len(self.proof), "proof is truncated")
        self.at += length
        return self.proof[self.at - length : self.at]

    def _subtree(self, path, depth, keys):
        """Returns its hash, and whether it visibly holds one leaf at most. `keys` are those that lead here."""
        require(self.parts < SET_PROOF_PARTS_MAX, "proof has too many parts")
        self.parts += 1
        match self._take(1):
            case b"\0":
                return EMPTY_ROOT, True
            case b"\1":
                key, value = self._take(32), self._take(32)
                require(bits(key, depth) == path, "proof has a leaf where its key does not lead")
                require(keys, "proof opens what nobody asked for")
                if key in keys:
                    self.proven[self.asked[key]] = value
                return sha256(b"\0", key, value), True
            case b"\2":
                found = self._take(32)
                require(found != EMPTY_ROOT, "proof has an empty subtree written as a hash")
                require(not keys, f"proof hides policy {self.asked[keys[0]] if keys else ''}")
                return found, False
            case b"\3":
                require(depth < KEY_BITS, "proof is deeper than a key")  # so the recursion ends
                require(keys, "proof opens what nobody asked for")
                sides = [[key for key in keys if bits(key, depth + 1) & 1 == side] for side in (0, 1)]
                (left, left_lone), (right, right_lone) = (
                    self._subtree(path * 2 + side, depth + 1, sides[side]) for side in (0, 1)
                )
                lone = (left == EMPTY_ROOT and right_lone) or (right == EMPTY_ROOT and left_lone)
                require(not lone, "proof has a node with fewer than two leaves")
                return sha256(b"\1", left, right), False
            case _:
                require(False, "proof has a part of an unknown kind")
