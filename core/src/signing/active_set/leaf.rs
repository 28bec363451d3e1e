//! The leaves of an active set and the root over all of them: the definition of the tree.

use std::collections::BTreeMap;

use crate::domain::digest::{Digest, Hash};
use crate::domain::event::Cursor;
use crate::domain::name::PolicyId;
use crate::signing::hash::sha256;

/// The root of a set without policies, and the hash of every empty subtree.
pub const EMPTY_ROOT: Hash = [0; 32];

/// Bits of a key, and so the depth that no leaf is below.
pub(super) const KEY_BITS: usize = 256;

/// First byte under the hash of a leaf. It differs from that of a node, so that neither passes as the other.
const LEAF_PREFIX: &[u8] = &[0];
/// First byte under the hash of a node.
const NODE_PREFIX: &[u8] = &[1];
/// Prefixes the value of a leaf when it is hashed (domain separation). Nothing else that is hashed begins so, and a later form gets another number.
const VALUE_DOMAIN: &[u8] = b"policyhub-active-policy-v1";

/// An active policy as the root covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveLeaf<'a> {
    /// The policy.
    pub policy: &'a PolicyId,
    /// Its version in force, from 1.
    pub version: i64,
    /// Digest of that version's content.
    pub digest: &'a Digest,
    /// The activation that put it in force.
    pub activated_at: Cursor,
}

impl ActiveLeaf<'_> {
    /// Returns the value of the leaf, see [`active_set_root`].
    pub(super) fn value(&self) -> Hash {
        let (policy, digest) = (self.policy.as_str().as_bytes(), self.digest.as_str().as_bytes());
        sha256(&[
            &length(VALUE_DOMAIN),
            VALUE_DOMAIN,
            &length(policy),
            policy,
            &self.version.to_be_bytes(),
            &length(digest),
            digest,
            &self.activated_at.epoch.to_be_bytes(),
            &self.activated_at.revision.to_be_bytes(),
        ])
    }
}

/// Computes the root of an active set, in any order. Of two entries for one policy the last counts.
///
/// The tree is a compact sparse Merkle tree with SHA-256, written `H` here; `‖` joins bytes. To implement it elsewhere:
///
/// ```text
/// key(policy)   = H(policy id, as its ASCII bytes)
/// value(policy) = H( 00 00 00 1a ‖ "policyhub-active-policy-v1"
///                  ‖ length of the policy id   (4 bytes) ‖ policy id
///                  ‖ version                   (8 bytes)
///                  ‖ length of the digest      (4 bytes) ‖ digest, as text: "sha256:" and 64 lower-case hex digits
///                  ‖ epoch of the activation   (8 bytes)
///                  ‖ revision of the activation(8 bytes) )
///                  every length and number is big-endian; lengths count bytes; numbers are from 0 to 2^63 - 1
/// leaf          = H(00 ‖ key ‖ value)
/// node          = H(01 ‖ left ‖ right)
/// root(leaves, depth), called with depth 0:
///     no leaf:   32 zero bytes
///     one leaf:  the hash of that leaf, whatever the depth
///     more:      node(root(leaves whose key has bit `depth` 0, depth + 1), root(the others, depth + 1))
///                bit 0 is the highest bit of the first byte of a key, bit 255 the lowest of its last byte
/// ```
///
/// So a leaf stands at the shallowest depth where it is alone. A node has at least two leaves below it: never two empty
/// children, and never an empty one beside a leaf. Two long keys that agree in many bits stand below a chain of nodes,
/// each with one empty child.
#[must_use]
pub fn active_set_root<'a>(active: impl IntoIterator<Item = ActiveLeaf<'a>>) -> Hash {
    let leaves: BTreeMap<Hash, Hash> = active
        .into_iter()
        .map(|active| {
            let key = key_of(active.policy);
            (key, leaf_hash(&key, &active.value()))
        })
        .collect();
    root_of(&leaves.into_iter().collect::<Vec<_>>(), 0)
}

/// Returns the root of sorted (key, leaf hash) pairs that agree in their first `depth` bits. Keys differ, so `depth` is at most 256.
fn root_of(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [(_, leaf)] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, depth)));
            node_hash(&root_of(left, depth + 1), &root_of(right, depth + 1))
        }
    }
}

/// Returns the key of a policy.
pub(super) fn key_of(policy: &PolicyId) -> Hash {
    sha256(&[policy.as_str().as_bytes()])
}

/// Returns the hash of a leaf.
pub(super) fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    sha256(&[LEAF_PREFIX, key, value])
}

/// Returns the hash of a node.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[NODE_PREFIX, left, right])
}

/// Returns whether a key goes right at this depth.
pub(super) fn bit(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// Returns the length of a part, before the part. Ids and digests are some bytes long: it always fits.
fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}
