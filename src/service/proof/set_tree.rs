//! The tree of an active set, made of where each policy points.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, PointerChange};
use crate::domain::name::PolicyId;
use crate::signing::{ActiveLeaf, ActiveSetTree};
use crate::watch::SetTree;

/// What pointers make of a set: none for a policy that points nowhere.
pub type Moves = [(PolicyId, Option<ActiveEntry>)];

pub fn leaf<'a>(policy: &'a PolicyId, entry: &'a ActiveEntry) -> ActiveLeaf<'a> {
    let ActiveEntry { version, digest, activation } = entry;
    ActiveLeaf { policy, version: *version, digest, activated_at: *activation }
}

pub fn moved(tree: &mut ActiveSetTree, moves: &Moves) {
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

/// What an event makes of the set, when it stands at `cursor`.
pub fn moves_of(pointers: &[PointerChange], cursor: Cursor) -> Vec<(PolicyId, Option<ActiveEntry>)> {
    pointers.iter().map(|change| (change.policy.clone(), ActiveEntry::after(change, cursor))).collect()
}

/// The tree of a whole set, of where each policy points.
pub fn tree_of(pointed: &Moves) -> ActiveSetTree {
    let mut tree = ActiveSetTree::new();
    moved(&mut tree, pointed);
    tree
}

impl SetTree for ActiveSetTree {
    fn root(&self) -> ActiveSetRoot {
        ActiveSetRoot(self.root())
    }

    fn with(&self, moves: &Moves) -> Arc<dyn SetTree> {
        let mut tree = self.clone();
        moved(&mut tree, moves);
        Arc::new(tree)
    }

    fn prove(&self, policies: &BTreeSet<PolicyId>) -> Vec<u8> {
        self.prove(policies)
    }
}
