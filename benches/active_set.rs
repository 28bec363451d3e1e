//! Measures the cost of an active set's root and of proofs under it, and prints a table. Asserts nothing.
//!
//! Times are medians. A proof is verified before its size counts. A heartbeat is its whole message with the five bytes of gRPC's prefix;
//! its checkpoint is that of the vectors.

#![expect(clippy::indexing_slicing, reason = "a bench that stops with a message is one that failed")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Instant;

use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::domain::digest::Digest;
use policyhub::domain::event::Cursor;
use policyhub::domain::name::PolicyId;
use policyhub::signing::{ActiveLeaf, ActiveSetTree, active_set_root, digest_of, verify_set_proof};

/// Numbers of policies of a set.
const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// Numbers of policies of a filter.
const FILTERS: [usize; 2] = [1, 10];
/// Number of updates and proofs for a median.
const ROUNDS: usize = 1_001;

/// Size of gRPC's prefix of a message.
const MESSAGE_PREFIX_BYTES: usize = 5;

struct BenchPolicies {
    ids: Vec<PolicyId>,
    digests: [Digest; 2],
}

impl BenchPolicies {
    fn leaf(&self, at: usize, version: i64) -> Option<ActiveLeaf<'_>> {
        let digest = if version % 2 == 0 { &self.digests[0] } else { &self.digests[1] };
        let activated_at = Cursor { epoch: 1, revision: version };
        self.ids.get(at).map(|policy| ActiveLeaf { policy, version, digest, activated_at })
    }

    fn all(&self) -> impl Iterator<Item = ActiveLeaf<'_>> {
        (0..self.ids.len()).filter_map(|at| self.leaf(at, 1))
    }
}

fn median_us(mut of: impl FnMut(usize), rounds: usize) -> f64 {
    let mut taken: Vec<f64> = (0..rounds)
        .map(|round| {
            let begun = Instant::now();
            of(round);
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken.get(rounds / 2).copied().unwrap_or_default()
}

fn main() {
    println!("{:>8} {:>12} {:>12} {:>12}", "policies", "update us", "recompute us", "build us");
    for size in SIZES {
        let policies = policies(size);
        let mut tree: ActiveSetTree = policies.all().collect();
        // A clone is held, as by a replica that serves a view of the previous head.
        let update = |round: usize| {
            let before = tree.clone();
            // A prime far from the sizes, so that the updates are spread over the tree.
            if let Some(leaf) = policies.leaf(round * 7_919 % size, 2) {
                tree.insert(leaf);
            }
            black_box((before.root(), tree.root()));
        };
        let update = median_us(update, ROUNDS);
        let recompute = median_us(|_| _ = black_box(active_set_root(policies.all())), 11);
        let build = median_us(|_| _ = black_box(policies.all().collect::<ActiveSetTree>()), 11);
        println!("{size:>8} {update:>12.1} {recompute:>12.1} {build:>12.1}");
    }
    println!(
        "\n{:>8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "policies", "filter", "bytes", "most bytes", "heartbeat", "prove us", "verify us"
    );
    println!("{:>8} {:>8} {:>12} {:>12} {:>12}", "any", "none", 0, 0, heartbeat_bytes(Vec::new()));
    for size in SIZES {
        let policies = policies(size);
        let tree: ActiveSetTree = policies.all().collect();
        for count in FILTERS {
            proofs(&policies, &tree, count);
        }
    }
}

/// Returns the size of a heartbeat with a proof of this size.
fn heartbeat_bytes(proof: Vec<u8>) -> usize {
    let heartbeat = pb::Heartbeat {
        cursor: Some(pb::Cursor { epoch: 1, revision: 10_000, fingerprint: 1 << 56 }),
        checkpoint: checkpoint(),
        set_proof: proof.into(),
        ..Default::default()
    };
    let message = pb::WatchActiveResponse { message: Some(Message::Heartbeat(heartbeat)), ..Default::default() };
    prost::Message::encoded_len(&message) + MESSAGE_PREFIX_BYTES
}

/// Returns a checkpoint as servers sign it.
fn checkpoint() -> String {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../tests/vectors/accepted.json")).unwrap_or_default();
    let mut tokens = vectors["tokens"].as_array().into_iter().flatten();
    let found = tokens.find(|token| token["name"] == "checkpoint-ed25519-v1");
    found.and_then(|token| token["token"].as_str()).unwrap_or_default().to_owned()
}

fn policies(size: usize) -> BenchPolicies {
    let ids = (0..size).filter_map(|number| PolicyId::parse("policy", &format!("policy-{number}")).ok()).collect();
    BenchPolicies { ids, digests: [digest_of(b"even"), digest_of(b"odd")] }
}

fn proofs(policies: &BenchPolicies, tree: &ActiveSetTree, count: usize) {
    let filters: Vec<BTreeSet<PolicyId>> = (0..ROUNDS)
        .map(|round| {
            (0..count).map(|at| policies.ids[(round * 7_919 + at * 104_729) % policies.ids.len()].clone()).collect()
        })
        .collect();
    let proofs: Vec<Vec<u8>> = filters.iter().map(|filter| tree.prove(filter)).collect();
    let prove = median_us(|round| _ = black_box(tree.prove(&filters[round])), ROUNDS);
    let (root, mut refused) = (tree.root(), 0);
    let verify = |round: usize| {
        let claimed = filters[round].iter().filter_map(|policy| {
            let at = policy.as_str().trim_start_matches("policy-").parse().ok()?;
            policies.leaf(at, 1)
        });
        refused += usize::from(verify_set_proof(&proofs[round], &root, &filters[round], claimed).is_err());
    };
    let verify = median_us(verify, ROUNDS);
    let mut bytes: Vec<usize> = proofs.iter().map(Vec::len).collect();
    bytes.sort_unstable();
    let (median, most) = (bytes[ROUNDS / 2], bytes[ROUNDS - 1]);
    let heartbeat = heartbeat_bytes(vec![0; median]);
    let size = policies.ids.len();
    println!("{size:>8} {count:>8} {median:>12} {most:>12} {heartbeat:>12} {prove:>12.1} {verify:>12.1}");
    if refused > 0 {
        println!("{refused} proofs were refused: the figures are of no use");
    }
}
