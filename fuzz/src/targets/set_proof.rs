//! Set proofs: of all bytes, only one proof is accepted for a filter, and no false claim about what is active.
//!
//! The first two bytes choose the filter and the offered proof: the bytes as they are, or combined with an honest proof.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use policyhub::domain::digest::Digest;
use policyhub::domain::event::Cursor;
use policyhub::domain::name::PolicyId;
use policyhub::signing::{ActiveLeaf, ActiveSetTree, digest_of, verify_set_proof};

/// Policies that a filter may name; those with an even number are active.
const POLICIES: usize = 14;
/// Largest number of policies of a filter: one for each bit of the first byte.
const FILTER_MAX: usize = 8;

static NAMED: LazyLock<Vec<PolicyId>> = LazyLock::new(|| {
    (0..POLICIES).map(|number| PolicyId::parse("policy", &format!("p{number}")).expect("an id")).collect()
});
static DIGEST: LazyLock<Digest> = LazyLock::new(|| digest_of(b"content"));
static TREE: LazyLock<ActiveSetTree> = LazyLock::new(|| active().collect());

fn active() -> impl Iterator<Item = ActiveLeaf<'static>> {
    NAMED.iter().zip(1_i64..).step_by(2).map(|(policy, version)| ActiveLeaf {
        policy,
        version,
        digest: &DIGEST,
        activated_at: Cursor { epoch: 1, revision: version },
    })
}

fn filter(bits: u8) -> BTreeSet<PolicyId> {
    NAMED
        .iter()
        .take(FILTER_MAX)
        .enumerate()
        .filter(|(at, _)| bits >> at & 1 == 1)
        .map(|(_, policy)| policy.clone())
        .collect()
}

pub fn check(input: &[u8]) {
    let [bits, way, rest @ ..] = input else { return };
    let (filter, root) = (filter(*bits), TREE.root());
    let honest = TREE.prove(&filter);
    let mut proof = rest.to_vec();
    if way % 2 == 1 {
        // A byte that is not zero changes the byte of the honest proof.
        proof = honest.iter().zip(rest.iter().chain(std::iter::repeat(&0))).map(|(one, other)| one ^ other).collect();
    }
    let claimed = || active().filter(|leaf| filter.contains(leaf.policy));
    let verdict = verify_set_proof(&proof, &root, &filter, claimed());
    assert_eq!(verdict.is_ok(), proof == honest, "{verdict:?}");
    let verdict = verify_set_proof(&proof, &root, &filter, []);
    assert_eq!(verdict.is_ok(), proof == honest && claimed().next().is_none(), "{verdict:?}");
    if let Err(error) = verdict {
        assert!(!error.contradicts_claim() || proof == honest, "{error} is believed of another proof");
    }
    let lie = claimed().map(|leaf| ActiveLeaf { version: leaf.version + 1, ..leaf });
    let verdict = verify_set_proof(&proof, &root, &filter, lie);
    assert_eq!(verdict.is_ok(), proof == honest && claimed().next().is_none(), "{verdict:?}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |bits: u8, way: u8, proof: &[u8]| [&[bits, way][..], proof].concat();
    let honest = [0, 1, 2, 3, 0b1010_1010, u8::MAX].map(|bits| seed(bits, 0, &TREE.prove(&filter(bits))));
    let over = [1, u8::MAX].map(|bits| seed(bits, 1, &[0]));
    honest.into_iter().chain(over).collect()
}
