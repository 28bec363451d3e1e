//! A tree over an active set that is updated in place of being computed anew.
//!
//! Nodes are shared and never change: a clone is one count, and what two heads have in common is held once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::leaf::{ActiveLeaf, EMPTY_ROOT, bit, key_of, leaf_hash, node_hash};
use super::walk::{TAG_EMPTY, TAG_LEAF, TAG_NODE, TAG_OPAQUE};
use crate::domain::digest::Hash;
use crate::domain::name::PolicyId;

/// The tree of an active set, as [`active_set_root`](super::active_set_root) defines it.
///
/// An update hashes one path: some log2(n) nodes. A clone costs nothing and keeps showing the set it was made of.
#[derive(Debug, Clone, Default)]
pub struct ActiveSetTree {
    top: Subtree,
    count: usize,
}

/// A subtree; none when it is empty.
type Subtree = Option<Arc<TreeNode>>;

#[derive(Debug)]
enum TreeNode {
    Leaf(TreeLeaf),
    Branch { left: Subtree, right: Subtree, hash: Hash },
}

#[derive(Debug, Clone, Copy)]
struct TreeLeaf {
    key: Hash,
    value: Hash,
    hash: Hash,
}

impl ActiveSetTree {
    /// Returns the tree of a set without policies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the root.
    #[must_use]
    pub fn root(&self) -> Hash {
        hash_of(self.top.as_ref())
    }

    /// Returns how many policies are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a policy in force, in place of the version that was before.
    pub fn insert(&mut self, active: ActiveLeaf<'_>) {
        let leaf = TreeLeaf::of(active);
        if self.find(&leaf.key).is_none() {
            self.count += 1;
        }
        self.top = Some(inserted(self.top.as_ref(), leaf, 0));
    }

    /// Takes a policy out of force. Says whether it was in.
    pub fn remove(&mut self, policy: &PolicyId) -> bool {
        let key = key_of(policy);
        let found = self.find(&key).is_some();
        if found {
            self.top = removed(self.top.as_ref(), &key, 0);
            self.count -= 1;
        }
        found
    }

    /// Returns whether exactly this is in force: the version, its digest and its activation.
    #[must_use]
    pub fn holds(&self, active: ActiveLeaf<'_>) -> bool {
        self.find(&key_of(active.policy)).is_some_and(|leaf| leaf.value == active.value())
    }

    /// Returns whether any version of a policy is in force.
    #[must_use]
    pub fn contains(&self, policy: &PolicyId) -> bool {
        self.find(&key_of(policy)).is_some()
    }

    /// Proves what is in force of these policies, and which of them are not. The bytes are described at
    /// [`verify_set_proof`](super::verify_set_proof); the same set and policies always give the same.
    ///
    /// For at most `WATCH_POLICIES_MAX` policies out of `POLICIES_PER_NAMESPACE_MAX` it stays below `SET_PROOF_MAX_BYTES`.
    #[must_use]
    pub fn prove(&self, policies: &BTreeSet<PolicyId>) -> Vec<u8> {
        let mut keys: Vec<Hash> = policies.iter().map(key_of).collect();
        keys.sort_unstable();
        let mut proof = Vec::new();
        describe(self.top.as_ref(), &keys, 0, &mut proof);
        proof
    }

    fn find(&self, key: &Hash) -> Option<&TreeLeaf> {
        let (mut at, mut depth) = (self.top.as_deref()?, 0);
        loop {
            match at {
                TreeNode::Leaf(leaf) => return (leaf.key == *key).then_some(leaf),
                TreeNode::Branch { left, right, .. } => {
                    at = if bit(key, depth) { right.as_deref()? } else { left.as_deref()? };
                    depth += 1;
                }
            }
        }
    }
}

impl<'a> FromIterator<ActiveLeaf<'a>> for ActiveSetTree {
    /// Builds the tree of a whole set, in any order, with about two hashes of nodes for each policy. Of two entries for one
    /// policy the last counts.
    fn from_iter<I: IntoIterator<Item = ActiveLeaf<'a>>>(active: I) -> Self {
        let leaves: BTreeMap<Hash, TreeLeaf> =
            active.into_iter().map(TreeLeaf::of).map(|leaf| (leaf.key, leaf)).collect();
        let leaves: Vec<TreeLeaf> = leaves.into_values().collect();
        Self { top: built(&leaves, 0), count: leaves.len() }
    }
}

impl TreeLeaf {
    fn of(active: ActiveLeaf<'_>) -> Self {
        let (key, value) = (key_of(active.policy), active.value());
        Self { key, value, hash: leaf_hash(&key, &value) }
    }
}

impl TreeNode {
    /// Returns what stands one level below. A leaf that gets company goes down on its own side.
    fn below(this: &Arc<Self>, depth: usize) -> (Subtree, Subtree) {
        match &**this {
            Self::Branch { left, right, .. } => (left.clone(), right.clone()),
            Self::Leaf(leaf) if bit(&leaf.key, depth) => (None, Some(Arc::clone(this))),
            Self::Leaf(_) => (Some(Arc::clone(this)), None),
        }
    }
}

fn hash_of(subtree: Option<&Arc<TreeNode>>) -> Hash {
    match subtree.map(|node| &**node) {
        None => EMPTY_ROOT,
        Some(TreeNode::Leaf(leaf)) => leaf.hash,
        Some(TreeNode::Branch { hash, .. }) => *hash,
    }
}

fn branch(left: Subtree, right: Subtree) -> Arc<TreeNode> {
    let hash = node_hash(&hash_of(left.as_ref()), &hash_of(right.as_ref()));
    Arc::new(TreeNode::Branch { left, right, hash })
}

// The recursions below go as deep as two keys of the set agree, which is 255 bits at the most.

fn built(sorted: &[TreeLeaf], depth: usize) -> Subtree {
    match sorted {
        [] => None,
        [leaf] => Some(Arc::new(TreeNode::Leaf(*leaf))),
        _ => {
            let (left, right) = sorted.split_at(sorted.partition_point(|leaf| !bit(&leaf.key, depth)));
            Some(branch(built(left, depth + 1), built(right, depth + 1)))
        }
    }
}

fn inserted(subtree: Option<&Arc<TreeNode>>, leaf: TreeLeaf, depth: usize) -> Arc<TreeNode> {
    let Some(node) = subtree else { return Arc::new(TreeNode::Leaf(leaf)) };
    if matches!(&**node, TreeNode::Leaf(held) if held.key == leaf.key) {
        return Arc::new(TreeNode::Leaf(leaf));
    }
    let (left, right) = TreeNode::below(node, depth);
    if bit(&leaf.key, depth) {
        branch(left, Some(inserted(right.as_ref(), leaf, depth + 1)))
    } else {
        branch(Some(inserted(left.as_ref(), leaf, depth + 1)), right)
    }
}

fn removed(subtree: Option<&Arc<TreeNode>>, key: &Hash, depth: usize) -> Subtree {
    let TreeNode::Branch { left, right, .. } = &**subtree? else { return None };
    let (left, right) = if bit(key, depth) {
        (left.clone(), removed(right.as_ref(), key, depth + 1))
    } else {
        (removed(left.as_ref(), key, depth + 1), right.clone())
    };
    match (left, right) {
        // A leaf without a sibling moves up again.
        (None, lone) | (lone, None) if lone.as_ref().is_none_or(|node| matches!(&**node, TreeNode::Leaf(_))) => lone,
        (left, right) => Some(branch(left, right)),
    }
}

/// Writes a subtree: open where a key goes, a hash elsewhere.
fn describe(subtree: Option<&Arc<TreeNode>>, keys: &[Hash], depth: usize, proof: &mut Vec<u8>) {
    match subtree.map(|node| &**node) {
        None => proof.push(TAG_EMPTY),
        Some(_) if keys.is_empty() => {
            proof.push(TAG_OPAQUE);
            proof.extend(hash_of(subtree));
        }
        Some(TreeNode::Leaf(leaf)) => {
            proof.push(TAG_LEAF);
            proof.extend(leaf.key);
            proof.extend(leaf.value);
        }
        Some(TreeNode::Branch { left, right, .. }) => {
            proof.push(TAG_NODE);
            let (to_left, to_right) = keys.split_at(keys.partition_point(|key| !bit(key, depth)));
            describe(left.as_ref(), to_left, depth + 1, proof);
            describe(right.as_ref(), to_right, depth + 1, proof);
        }
    }
}
