//! The golden vectors of active sets: roots, set proofs, and forged proofs with the reason why each is refused.
//!
//! They are made by `tests/vectors/make_active_sets.py`, which is independent code, and are used to test the Python example too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use policyhub::domain::digest::{Digest, Hash, hex, unhex};
use policyhub::domain::event::Cursor;
use policyhub::domain::name::PolicyId;
use policyhub::signing::{
    ActiveLeaf, ActiveSetTree, SetProofError, active_set_root, digest_of, sha256, verify_set_proof,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct ActiveSetVectors {
    sets: Vec<GoldenSet>,
    proofs: Vec<GoldenProof>,
    refused: Vec<Forgery>,
}

#[derive(Deserialize)]
struct GoldenSet {
    name: String,
    root: String,
    active: Vec<LeafRow>,
}

#[derive(Deserialize)]
struct GoldenProof {
    set: String,
    filter: BTreeSet<PolicyId>,
    claimed: Vec<LeafRow>,
    proof: String,
}

#[derive(Deserialize)]
struct Forgery {
    name: String,
    error: String,
    text: String,
    root: String,
    filter: BTreeSet<PolicyId>,
    claimed: Vec<LeafRow>,
    proof: String,
}

#[derive(Deserialize)]
struct LeafRow {
    policy: PolicyId,
    version: i64,
    digest: Digest,
    epoch: i64,
    revision: i64,
    #[serde(default)]
    key: String,
}

impl LeafRow {
    fn leaf(&self) -> ActiveLeaf<'_> {
        let activated_at = Cursor { epoch: self.epoch, revision: self.revision };
        ActiveLeaf { policy: &self.policy, version: self.version, digest: &self.digest, activated_at }
    }
}

fn vectors() -> ActiveSetVectors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/active_sets.json");
    serde_json::from_slice(&fs::read(&path).expect("the vectors")).expect("vectors")
}

fn hash(digits: &str) -> Hash {
    bytes(digits).try_into().expect("32 bytes")
}

fn bytes(digits: &str) -> Vec<u8> {
    unhex(digits).expect("hex")
}

fn verify(proof: &[u8], root: &Hash, filter: &BTreeSet<PolicyId>, claimed: &[LeafRow]) -> Result<(), SetProofError> {
    verify_set_proof(proof, root, filter, claimed.iter().map(LeafRow::leaf))
}

#[test]
fn golden_roots_are_made_whichever_way_a_set_is_come_by() {
    let vectors = vectors();
    assert!(vectors.sets.len() >= 6, "only {} sets", vectors.sets.len());
    for set in &vectors.sets {
        assert_eq!(hex(&active_set_root(set.active.iter().map(LeafRow::leaf))), set.root, "{}", set.name);
        let mut tree: ActiveSetTree = set.active.iter().map(LeafRow::leaf).collect();
        assert_eq!(hex(&tree.root()), set.root, "{}", set.name);
        for row in &set.active {
            assert_eq!(hex(&sha256(&[row.policy.as_str().as_bytes()])), row.key, "{}", row.policy);
            let other = digest_of(b"another version");
            tree.insert(ActiveLeaf { version: row.version + 1, digest: &other, ..row.leaf() });
        }
        assert_eq!(hex(&tree.root()) == set.root, set.active.is_empty(), "{}", set.name);
        for row in set.active.iter().rev() {
            assert!(tree.remove(&row.policy), "{}", row.policy);
            tree.insert(row.leaf());
        }
        assert_eq!(hex(&tree.root()), set.root, "{} put back", set.name);
    }
}

#[test]
fn golden_proofs_are_made_byte_for_byte_and_verify() {
    let vectors = vectors();
    assert!(vectors.proofs.len() >= 18, "only {} proofs", vectors.proofs.len());
    let sets: BTreeMap<&str, &GoldenSet> = vectors.sets.iter().map(|set| (set.name.as_str(), set)).collect();
    for case in &vectors.proofs {
        let (set, proof) = (sets[case.set.as_str()], bytes(&case.proof));
        let tree: ActiveSetTree = set.active.iter().map(LeafRow::leaf).collect();
        assert_eq!(hex(&tree.prove(&case.filter)), case.proof, "{} of {}", case.filter.len(), case.set);
        assert_eq!(verify(&proof, &hash(&set.root), &case.filter, &case.claimed), Ok(()), "{}", case.set);
        for other in vectors.sets.iter().filter(|other| other.root != set.root) {
            let refused = verify(&proof, &hash(&other.root), &case.filter, &case.claimed);
            assert_eq!(refused, Err(SetProofError::RootMismatch), "{} as {}", case.set, other.name);
        }
    }
}

#[test]
fn forged_proofs_are_refused_for_the_named_reason() {
    let vectors = vectors();
    assert!(vectors.refused.len() >= 46, "only {} forgeries", vectors.refused.len());
    for case in &vectors.refused {
        let Err(error) = verify(&bytes(&case.proof), &hash(&case.root), &case.filter, &case.claimed) else {
            panic!("{} is taken", case.name)
        };
        let variant = format!("{error:?}");
        let variant = variant.split('(').next().unwrap_or_default();
        assert_eq!((variant, error.to_string()), (case.error.as_str(), case.text.clone()), "{}", case.name);
        let of_the_claim = matches!(case.error.as_str(), "NotInFilter" | "NotActive" | "Differs" | "NotClaimed");
        assert_eq!(error.contradicts_claim(), of_the_claim, "{}", case.name);
    }
}
