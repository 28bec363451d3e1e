//! Builds the tree of an active set from the pointers of its policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, PointerChange};
use crate::domain::name::PolicyId;
use crate::signing::{ActiveLeaf, ActiveSetTree};
use crate::watch::SetTree;

/// Where policies point after a move: none for a policy that points to nothing.
pub type SetMoves = [(PolicyId, Option<ActiveEntry>)];

pub fn leaf<'a>(policy: &'a PolicyId, entry: &'a ActiveEntry) -> ActiveLeaf<'a> {
    let ActiveEntry { version, digest, activation } = entry;
    ActiveLeaf { policy, version: *version, digest, activated_at: *activation }
}

pub fn apply_moves(tree: &mut ActiveSetTree, moves: &SetMoves) {
    for (policy, entry) in moves {
        match entry {
            Some(entry) => {
                tree.insert(leaf(policy, entry));
            }
            None => {
                tree.remove(policy);
            }
        }
    }
}

/// Returns the moves of an event at `cursor`.
pub fn moves_of(pointers: &[PointerChange], cursor: Cursor) -> Vec<(PolicyId, Option<ActiveEntry>)> {
    pointers.iter().map(|change| (change.policy.clone(), ActiveEntry::after(change, cursor))).collect()
}

/// Returns the tree of a whole set.
pub fn tree_of(pointed: &SetMoves) -> ActiveSetTree {
    let mut tree = ActiveSetTree::new();
    apply_moves(&mut tree, pointed);
    tree
}

impl SetTree for ActiveSetTree {
    fn root(&self) -> ActiveSetRoot {
        ActiveSetRoot(self.root())
    }

    fn with(&self, moves: &SetMoves) -> Arc<dyn SetTree> {
        let mut tree = self.clone();
        apply_moves(&mut tree, moves);
        Arc::new(tree)
    }

    fn prove(&self, policies: &BTreeSet<PolicyId>) -> Vec<u8> {
        self.prove(policies)
    }
}
