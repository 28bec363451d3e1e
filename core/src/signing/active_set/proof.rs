//! Checks a set proof: that a root, and it alone, has exactly what is claimed of the policies of a filter.

use std::collections::{BTreeMap, BTreeSet};

use super::leaf::{ActiveLeaf, key_of};
use super::proof_error::SetProofError;
use super::walk::{ProofPart, ProofPosition, walk};
use crate::domain::digest::Hash;
use crate::domain::name::PolicyId;

/// Verifies that under `root` exactly `claimed` is in force of the policies in `filter`: each with this version, digest and
/// activation, and no other policy of the filter.
///
/// A proof is the tree of [`active_set_root`](super::active_set_root), written from the root, each node before its left
/// subtree and that before its right one:
///
/// ```text
/// 00                          an empty subtree
/// 01 ‖ key (32) ‖ value (32)  a leaf
/// 02 ‖ hash (32)              a subtree that is not empty, of which only the hash is shown
/// 03 ‖ left ‖ right           a node
/// ```
///
/// Each policy of the filter leads along the bits of its key to an empty subtree or to a leaf, its own or another that
/// stands in its way. What some policy leads to is open, everything else is a hash. So a set and a filter have one proof,
/// and of other policies only hashes show. To verify one elsewhere, in this order:
///
/// 1. At most `SET_PROOF_MAX_BYTES`. Then part by part, at most `SET_PROOF_PARTS_MAX`: known tags, no hash of 32 zero bytes;
/// 2. no node at depth 256, and each leaf's key begins with the bits of the way to it;
/// 3. no policy of the filter leads to a hash, and some policy of the filter leads to each node and leaf;
/// 4. no node has two empty children, or an empty one and a leaf;
/// 5. nothing follows the tree, and its root is `root`;
/// 6. each claimed policy is in the filter, is one of the leaves, and makes the value of that leaf; and each policy of the
///    filter that is one of the leaves is claimed.
///
/// # Errors
/// The first thing that does not hold. When [`SetProofError::contradicts_claim`], the proof itself holds.
pub fn verify_set_proof<'a>(
    proof: &[u8],
    root: &Hash,
    filter: &BTreeSet<PolicyId>,
    claimed: impl IntoIterator<Item = ActiveLeaf<'a>>,
) -> Result<(), SetProofError> {
    let proven = open(proof, root, filter)?;
    let mut unclaimed: BTreeSet<&PolicyId> = proven.keys().copied().collect();
    for active in claimed {
        let policy = || active.policy.clone();
        if !filter.contains(active.policy) {
            return Err(SetProofError::NotInFilter(policy()));
        }
        let value = proven.get(active.policy).ok_or_else(|| SetProofError::NotActive(policy()))?;
        if *value != active.value() {
            return Err(SetProofError::Differs(policy()));
        }
        unclaimed.remove(active.policy);
    }
    unclaimed.first().map_or(Ok(()), |policy| Err(SetProofError::NotClaimed((*policy).clone())))
}

/// Returns the values of those policies of the filter that are in force under `root`.
fn open<'f>(
    proof: &[u8],
    root: &Hash,
    filter: &'f BTreeSet<PolicyId>,
) -> Result<BTreeMap<&'f PolicyId, Hash>, SetProofError> {
    let asked: BTreeMap<Hash, &PolicyId> = filter.iter().map(|policy| (key_of(policy), policy)).collect();
    // Keys with the bits of a position follow one another, and begin at its path.
    let first_through = |position: &ProofPosition| {
        let first = asked.range(position.path..).next();
        first.filter(|(key, _)| position.is_on_way_to(key)).map(|(_, policy)| *policy)
    };
    let mut proven = BTreeMap::new();
    let found = walk(proof, |position, part| {
        match (part, first_through(position)) {
            (ProofPart::Empty, _) | (ProofPart::Node, Some(_)) | (ProofPart::Opaque { .. }, None) => {}
            (ProofPart::Opaque { .. }, Some(policy)) => return Err(SetProofError::Hidden(policy.clone())),
            (ProofPart::Node | ProofPart::Leaf { .. }, None) => return Err(SetProofError::OpenedUnasked),
            (ProofPart::Leaf { key, value }, Some(_)) => {
                if let Some(policy) = asked.get(key) {
                    proven.insert(*policy, *value);
                }
            }
        }
        Ok(())
    })?;
    if found == *root { Ok(proven) } else { Err(SetProofError::RootMismatch) }
}
