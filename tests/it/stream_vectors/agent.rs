//! The stream vectors against `policyhub agent`, checked by its folder, as a runtime reads it.

use std::fs;
use std::path::Path;

use super::format::{StreamCase, StreamVectors};
use super::{StreamStage, each_by_a_process, expected};
use crate::harness::agents::{AgentProcess, AgentSet, in_force, status};
use crate::harness::clock;
use crate::harness::hub::binary;
use crate::harness::signer::now;
use crate::harness::subscribing::eventually;

#[tokio::test]
async fn the_agent_gives_the_verdict_of_each() {
    let (vectors, built) = (StreamVectors::read(), tempfile::tempdir().expect("a directory"));
    clock::build(built.path());
    let count = each_by_a_process(&vectors, async |case| play(&vectors, &case, built.path()).await).await;
    assert_eq!(count, vectors.cases.len());
}

/// Returns whether a folder holds a set of the vectors.
fn is(found: Option<&AgentSet>, expected: Option<&super::VectorSet>) -> bool {
    let (Some(found), Some(expected)) = (found, expected) else { return found.is_none() && expected.is_none() };
    let digests = found.contents.iter().map(|(policy, content)| {
        (policy.clone(), policyhub::client::signing::digest_of(content.as_bytes()).to_string())
    });
    let expected_digests = expected.policies.iter().map(|(policy, held)| (policy.clone(), held.digest.clone()));
    // The folder keeps the cursor at which it was written; heartbeats advance without a new set.
    digests.eq(expected_digests) && found.revision <= expected.revision
}

async fn play(vectors: &StreamVectors, case: &StreamCase, built: &Path) {
    let (stage, what, scratch) =
        (StreamStage::of(vectors, case, true).await, &case.name, tempfile::tempdir().expect("a directory"));
    let (folder, pins) = (scratch.path().join("policies"), scratch.path().join("keys.json"));
    clock::copy(built, scratch.path());
    clock::shift(scratch.path(), case.clock - now());
    fs::write(&pins, vectors.pins.to_string()).expect("written");
    let mut command = binary();
    clock::preload(scratch.path(), &mut command);
    command.env("POLICYHUB_SERVER", &stage.endpoint).env("POLICYHUB_TOKEN", "secret");
    command.args(["agent", "--output", "json", "--every-activation", "--subscriber-id", "shop-1", "--jwks"]).arg(&pins);
    command.arg("--dir").arg(&folder).args(&case.filter);
    let agent = AgentProcess::spawn(command);
    stage.is_over(case).await;
    let then = expected(vectors, case);
    let says = |state: &str| folder.join("status.json").exists() && status(&folder)["state"] == *state;
    eventually(&format!("{what}: {}", case.then.state), async || says(&case.then.state)).await;
    let found = in_force(&folder);
    assert!(is(found.as_ref(), then.as_ref()), "{what}: {found:?}, not {then:?}; {}", status(&folder));

    stage.hostile.become_honest();
    let after = vectors.set(&case.after, &case.filter);
    eventually(&format!("{what}: is repaired"), async || says("READY") && is(in_force(&folder).as_ref(), Some(&after)))
        .await;
    for revision in agent.applied_revisions() {
        let is_place = vectors.sets.values().any(|set| set.revision == revision);
        assert!(is_place, "{what}: applied {revision}, which nobody signed");
    }
}
