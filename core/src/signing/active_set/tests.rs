//! Properties of the tree and of set proofs. Named forgeries are vectors: `tests/vectors/active_sets.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::leaf::{KEY_BITS, bit, key_of};
use super::walk::{TAG_EMPTY, TAG_LEAF, TAG_NODE, TAG_OPAQUE};
use super::{ActiveLeaf, ActiveSetTree, EMPTY_ROOT, SetProofError, active_set_root, verify_set_proof};
use crate::domain::digest::{Digest, Hash};
use crate::domain::event::Cursor;
use crate::domain::limits::{SET_PROOF_MAX_BYTES, SET_PROOF_PARTS_MAX};
use crate::domain::name::PolicyId;
use crate::signing::digest_of;

/// Policies that sets and filters are made of.
const POOL: usize = 24;
/// Ids among which two are looked for whose keys agree in many bits.
const SEARCHED: usize = 20_000;

#[derive(Debug, Clone, PartialEq)]
struct TestActive {
    version: i64,
    digest: Digest,
    activated_at: Cursor,
}

type TestSet = BTreeMap<PolicyId, TestActive>;

fn id(number: usize) -> PolicyId {
    PolicyId::parse("policy", &format!("p{number}")).expect("an id")
}

/// The policies: most have keys by chance, the first two agree in more than twenty bits.
static POLICIES: LazyLock<Vec<PolicyId>> = LazyLock::new(|| {
    let mut keyed: Vec<(Hash, PolicyId)> = (0..SEARCHED).map(|number| (key_of(&id(number)), id(number))).collect();
    keyed.sort();
    let near = |pair: &&[(Hash, PolicyId)]| {
        (0..KEY_BITS).take_while(|at| bit(&pair[0].0, *at) == bit(&pair[1].0, *at)).count()
    };
    let nearest = keyed.windows(2).max_by_key(near).expect("a pair");
    assert!(near(&nearest) > 20, "the pool has no deep leaves");
    let others = (SEARCHED..SEARCHED + POOL - 2).map(id);
    nearest.iter().map(|(_, policy)| policy.clone()).chain(others).collect()
});

fn active(version: i64) -> TestActive {
    let digest = digest_of(&version.to_be_bytes());
    TestActive { version, digest, activated_at: Cursor { epoch: 1 + version % 2, revision: version * 7 } }
}

fn leaf<'a>((policy, active): (&'a PolicyId, &'a TestActive)) -> ActiveLeaf<'a> {
    ActiveLeaf { policy, version: active.version, digest: &active.digest, activated_at: active.activated_at }
}

fn tree(set: &TestSet) -> ActiveSetTree {
    set.iter().map(leaf).collect()
}

/// Returns what of a set a filter asks for.
fn within(set: &TestSet, filter: &BTreeSet<PolicyId>) -> TestSet {
    set.iter()
        .filter(|(policy, _)| filter.contains(policy))
        .map(|(policy, active)| (policy.clone(), active.clone()))
        .collect()
}

fn verify(proof: &[u8], root: &Hash, filter: &BTreeSet<PolicyId>, claimed: &TestSet) -> Result<(), SetProofError> {
    verify_set_proof(proof, root, filter, claimed.iter().map(leaf))
}

fn any_set() -> impl Strategy<Value = TestSet> {
    proptest::collection::btree_map(0..POOL, 1..9_i64, 0..POOL)
        .prop_map(|picked| picked.into_iter().map(|(at, version)| (POLICIES[at].clone(), active(version))).collect())
}

fn any_filter() -> impl Strategy<Value = BTreeSet<PolicyId>> {
    proptest::collection::btree_set(0..POOL, 0..POOL)
        .prop_map(|picked| picked.into_iter().map(|at| POLICIES[at].clone()).collect())
}

/// Returns where each part of a proof begins.
fn parts(proof: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut parts) = (proof, Vec::new());
    while let Some(tag) = rest.first() {
        let length = match *tag {
            TAG_LEAF => 65,
            TAG_OPAQUE => 33,
            _ => 1,
        };
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}

/// Returns every claim that differs from a true one in one thing.
fn wrong_claims(claim: &TestSet) -> Vec<TestSet> {
    let changed = |policy: &PolicyId, active: TestActive| {
        let mut changed = claim.clone();
        changed.insert(policy.clone(), active);
        changed
    };
    let mut wrong = Vec::new();
    for (policy, held) in claim {
        wrong.push(
            claim.iter().filter(|(other, _)| *other != policy).map(|(id, of)| (id.clone(), of.clone())).collect(),
        );
        for bit in (0..63).step_by(7) {
            let Cursor { epoch, revision } = held.activated_at;
            wrong.push(changed(policy, TestActive { version: held.version ^ 1 << bit, ..held.clone() }));
            for activated_at in
                [Cursor { epoch: epoch ^ 1 << bit, revision }, Cursor { epoch, revision: revision ^ 1 << bit }]
            {
                wrong.push(changed(policy, TestActive { activated_at, ..held.clone() }));
            }
        }
        wrong.push(changed(policy, TestActive { digest: digest_of(b"other"), ..held.clone() }));
    }
    wrong
}

proptest! {
    #[test]
    fn any_order_of_updates_makes_the_root_of_the_set(
        updates in proptest::collection::vec((0..POOL, 0..9_i64), 0..60),
    ) {
        let (mut kept, mut tree, mut set) = (Vec::new(), ActiveSetTree::new(), TestSet::new());
        for (at, version) in updates {
            kept.push((tree.clone(), tree.root()));
            let policy = &POLICIES[at];
            if version == 0 {
                prop_assert_eq!(tree.remove(policy), set.remove(policy).is_some());
            } else {
                set.insert(policy.clone(), active(version));
                tree.insert(leaf((policy, &set[policy])));
                prop_assert!(tree.holds(leaf((policy, &set[policy]))));
                prop_assert!(!tree.holds(leaf((policy, &active(version + 1)))));
            }
            let root = active_set_root(set.iter().rev().map(leaf));
            prop_assert_eq!(tree.root(), root);
            prop_assert_eq!((tree.len(), tree.is_empty()), (set.len(), set.is_empty()));
            let built: ActiveSetTree = set.iter().map(leaf).collect();
            prop_assert_eq!((built.root(), built.len()), (root, set.len()));
        }
        for (earlier, root) in kept {
            prop_assert_eq!(earlier.root(), root, "a clone changed");
        }
    }

    #[test]
    fn sets_that_differ_have_different_roots(one in any_set(), other in any_set()) {
        let roots = [&one, &other].map(|set| active_set_root(set.iter().map(leaf)));
        prop_assert_eq!(roots[0] == roots[1], one == other);
        prop_assert_eq!(roots[0] == EMPTY_ROOT, one.is_empty());
    }

    #[test]
    fn the_proof_of_a_filter_verifies_and_no_other_does(
        set in any_set(),
        filter in any_filter(),
        asked in any_filter(),
        later in any_set(),
    ) {
        let (tree, claimed) = (tree(&set), within(&set, &filter));
        let proof = tree.prove(&filter);
        prop_assert_eq!(verify(&proof, &tree.root(), &filter, &claimed), Ok(()));
        // The proof of one filter is that of another only when both lead to the same leaves.
        let of_another = tree.prove(&asked);
        prop_assert_eq!(verify(&of_another, &tree.root(), &filter, &claimed).is_ok(), of_another == proof);
        let root = active_set_root(later.iter().map(leaf));
        prop_assert_eq!(verify(&proof, &root, &filter, &claimed).is_ok(), root == tree.root());
    }

    #[test]
    fn a_proof_shows_hashes_of_others_alone(set in any_set(), filter in any_filter()) {
        let proof = tree(&set).prove(&filter);
        for policy in set.keys() {
            let id = policy.as_str().as_bytes();
            prop_assert!(!proof.windows(id.len()).any(|window| window == id), "{} shows", policy);
        }
    }

    #[test]
    fn parts_in_any_other_arrangement_are_refused(
        set in any_set(),
        filter in any_filter(),
        changes in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let (tree, claimed) = (tree(&set), within(&set, &filter));
        let proof = tree.prove(&filter);
        let everything = tree.prove(&POLICIES.iter().cloned().collect());
        let (mut forged, others) = (parts(&proof), parts(&everything));
        for (change, one, other) in changes {
            let (at, from) = (one.index(forged.len().max(1)), other.index(others.len()));
            match change {
                0 if !forged.is_empty() => drop(forged.remove(at)),
                1 => forged.insert(at, others[from]),
                2 if !forged.is_empty() => forged[at] = others[from],
                _ if !forged.is_empty() => {
                    let to = other.index(forged.len());
                    forged.swap(at, to);
                }
                _ => {}
            }
        }
        let forged = forged.concat();
        prop_assert_eq!(verify(&forged, &tree.root(), &filter, &claimed).is_ok(), forged == proof);
        // The lie that pays: what is active is claimed absent.
        if !claimed.is_empty() {
            prop_assert!(verify(&forged, &tree.root(), &filter, &TestSet::new()).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..400),
        filter in any_filter(),
    ) {
        prop_assert!(verify(&bytes, &[7; 32], &filter, &TestSet::new()).is_err());
    }
}

proptest! {
    // Each case tries some thousand proofs or claims.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_wrong_claim_is_refused_as_one(set in any_set(), filter in any_filter()) {
        let (tree, claimed) = (tree(&set), within(&set, &filter));
        let proof = tree.prove(&filter);
        for wrong in wrong_claims(&claimed) {
            let refused = verify(&proof, &tree.root(), &filter, &wrong);
            prop_assert!(refused.as_ref().is_err_and(SetProofError::contradicts_claim), "{:?}", refused);
        }
        for policy in POLICIES.iter().filter(|policy| !claimed.contains_key(policy)) {
            let mut more = claimed.clone();
            more.insert(policy.clone(), active(1));
            let error = if filter.contains(policy) { SetProofError::NotActive } else { SetProofError::NotInFilter };
            prop_assert_eq!(verify(&proof, &tree.root(), &filter, &more), Err(error(policy.clone())));
        }
    }

    #[test]
    fn a_claim_made_twice_must_hold_twice(set in any_set(), filter in any_filter()) {
        let (tree, claimed) = (tree(&set), within(&set, &filter));
        let proof = tree.prove(&filter);
        for wrong in wrong_claims(&claimed).iter().filter(|wrong| wrong.len() == claimed.len()) {
            let both = wrong.iter().chain(&claimed).map(leaf);
            prop_assert!(verify_set_proof(&proof, &tree.root(), &filter, both).is_err());
            let both = claimed.iter().chain(wrong).map(leaf);
            prop_assert!(verify_set_proof(&proof, &tree.root(), &filter, both).is_err());
        }
    }

    #[test]
    fn every_change_of_a_bit_or_of_the_length_is_refused(set in any_set(), filter in any_filter()) {
        let (tree, claimed) = (tree(&set), within(&set, &filter));
        let (root, proof) = (tree.root(), tree.prove(&filter));
        for at in 0..proof.len() * 8 {
            let mut changed = proof.clone();
            changed[at / 8] ^= 1 << (at % 8);
            for claim in [&claimed, &TestSet::new()] {
                prop_assert!(verify(&changed, &root, &filter, claim).is_err(), "bit {} of {}", at, proof.len() * 8);
            }
        }
        for end in 0..proof.len() {
            prop_assert_eq!(verify(&proof[..end], &root, &filter, &claimed), Err(SetProofError::Truncated));
        }
        for more in 0..4_u8 {
            let longer = [&proof[..], &[more]].concat();
            prop_assert_eq!(verify(&longer, &root, &filter, &claimed), Err(SetProofError::TrailingBytes));
        }
        for at in 0..256 {
            let mut other = root;
            other[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(verify(&proof, &other, &filter, &claimed), Err(SetProofError::RootMismatch));
        }
    }
}

#[test]
fn the_smallest_sets_are_as_defined() {
    let (set, filter) = (TestSet::from([(id(1), active(3))]), BTreeSet::from([id(1), id(2)]));
    let key = key_of(&id(1));
    let value = leaf((&id(1), &active(3))).value();
    let root = super::leaf::leaf_hash(&key, &value);
    assert_eq!(active_set_root(set.iter().map(leaf)), root, "a leaf alone is the root");
    assert_eq!(tree(&set).prove(&filter), [&[TAG_LEAF][..], &key, &value].concat());
    assert_eq!(ActiveSetTree::new().prove(&filter), [TAG_EMPTY]);
    assert_eq!(verify(&[TAG_EMPTY], &EMPTY_ROOT, &filter, &TestSet::new()), Ok(()));
    assert_eq!(tree(&set).prove(&BTreeSet::new()), [&[TAG_OPAQUE][..], &root].concat());
    let twice = [(id(1), active(1)), (id(1), active(3))];
    assert_eq!(active_set_root(twice.iter().map(|(policy, active)| leaf((policy, active)))), root, "the last counts");
}

/// Writes a proof that goes down to the last bit for each of these keys, with a made-up hash beside each leaf.
fn deepest(keys: &[Hash], depth: usize, proof: &mut Vec<u8>) {
    match keys {
        [] if depth == KEY_BITS => proof.extend([&[TAG_OPAQUE][..], &[1; 32]].concat()),
        [] => proof.push(TAG_EMPTY),
        [key, ..] if depth == KEY_BITS => proof.extend([&[TAG_LEAF][..], key, &[0; 32]].concat()),
        _ => {
            proof.push(TAG_NODE);
            let (left, right) = keys.split_at(keys.partition_point(|key| !bit(key, depth)));
            deepest(left, depth + 1, proof);
            deepest(right, depth + 1, proof);
        }
    }
}

#[test]
fn hostile_sizes_end_at_their_bounds() {
    let refused = |proof: &[u8], filter: &BTreeSet<PolicyId>| verify(proof, &[7; 32], filter, &TestSet::new());
    let deep = |count: usize| {
        let filter: BTreeSet<PolicyId> = (0..count).map(id).collect();
        let mut keys: Vec<Hash> = filter.iter().map(key_of).collect();
        keys.sort_unstable();
        let mut proof = Vec::new();
        deepest(&keys, 0, &mut proof);
        (proof, filter)
    };
    let (proof, one) = deep(1);
    assert_eq!(refused(&proof, &one), Err(SetProofError::RootMismatch), "the deepest tree is read");
    let (proof, many) = deep(300);
    assert!(parts(&proof).len() > SET_PROOF_PARTS_MAX && proof.len() < SET_PROOF_MAX_BYTES);
    assert_eq!(refused(&proof, &many), Err(SetProofError::TooManyParts));
    assert_eq!(refused(&vec![TAG_EMPTY; SET_PROOF_MAX_BYTES + 1], &one), Err(SetProofError::TooLarge));
    assert_eq!(refused(&vec![TAG_EMPTY; SET_PROOF_MAX_BYTES], &one), Err(SetProofError::TrailingBytes));
    // Down the way of a key there is always somebody who asked for it; one level below its last bit nothing can stand.
    let key = key_of(&id(0));
    let mut down = Vec::new();
    for depth in 0..=KEY_BITS {
        down.push(TAG_NODE);
        if depth < KEY_BITS && bit(&key, depth) {
            down.push(TAG_EMPTY);
        }
    }
    assert_eq!(refused(&down, &one), Err(SetProofError::TooDeep));
    assert!(refused(&vec![TAG_NODE; SET_PROOF_MAX_BYTES], &one).is_err());
}

#[test]
fn the_largest_filter_of_the_largest_namespace_fits() {
    use crate::domain::limits::{POLICIES_PER_NAMESPACE_MAX, WATCH_POLICIES_MAX};
    let most = usize::try_from(POLICIES_PER_NAMESPACE_MAX).expect("a count");
    let set: TestSet = (0..most).map(|number| (id(number), active(1))).collect();
    let filter: BTreeSet<PolicyId> = set.keys().step_by(most / WATCH_POLICIES_MAX).cloned().collect();
    let tree = tree(&set);
    let proof = tree.prove(&filter);
    assert_eq!(filter.len(), WATCH_POLICIES_MAX);
    assert!(proof.len() < SET_PROOF_MAX_BYTES / 2, "{} bytes", proof.len());
    assert_eq!(verify(&proof, &tree.root(), &filter, &within(&set, &filter)), Ok(()));
}
