//! Lies to subscribers with a filter: streams of other filters, proofs of other roots, narrowed filters.

use super::lies::{DIVERGED, HELD, LieCases, READY, REJECTED, activation, heartbeat, snapshot};

pub fn add_cases(cases: &mut LieCases<'_>) {
    two_filters(cases);
    narrowed(cases);
    proofs(cases);
    dropped(cases);
}

fn two_filters(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "splice of two filters");
    cases.add("a", kind, "a snapshot of all to one policy", &["all.snapshot.p4"], (held, REJECTED, 1));
    cases.add("a", kind, "an activation of two to one policy", &["ac.activation.p5"], (held, REJECTED, 1));
    cases.add("all", kind, "a snapshot of one policy to all", &["a.snapshot.p4"], (held, DIVERGED, 1));
    let (clock, before) = (cases.recorded.clock, Some("p2"));
    let lie = ["a.activation.p3"];
    cases.tell_at(
        clock,
        ("all", before),
        kind,
        "an activation of one policy of two to all",
        &lie,
        (before, REJECTED, 1),
    );
    let other = cases.heartbeat_of("all.heartbeat.p3");
    let lie = cases.edit("a.heartbeat.p3", "with the proof of no filter", |m| {
        heartbeat(m).set_proof.clone_from(&other.set_proof);
    });
    cases.add("a", kind, "a heartbeat without a proof", &[&lie], (held, REJECTED, 1));
}

fn narrowed(cases: &mut LieCases<'_>) {
    let (clock, held, kind) = (cases.recorded.clock, Some("p5"), "filter narrowed");
    let then = (held, REJECTED, 1);
    cases.tell_at(clock, ("ac", held), kind, "a snapshot of one of two policies", &["a.snapshot.p6"], then);
    cases.tell_at(clock, ("ac", held), kind, "a heartbeat of one of two policies", &["a.heartbeat.p6"], then);
    let lie = cases.edit("ac.snapshot.p6", "without its last policy", |m| drop(snapshot(m).bundles.pop()));
    cases.tell_at(clock, ("ac", held), kind, "one of two policies left out", &[&lie], (held, DIVERGED, 1));
    let lie = cases.edit("a.snapshot.p6", "without a policy", |m| snapshot(m).bundles.clear());
    cases.tell_at(clock, ("a", held), kind, "the one policy left out", &[&lie], (held, DIVERGED, 1));
}

fn proofs(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "proof of another root");
    let earlier = cases.snapshot_of("a.snapshot.p2");
    let lie = cases.edit("a.snapshot.p4", "with the set and the proof of p2", |m| {
        let part = snapshot(m);
        (part.bundles, part.set_proof) = (earlier.bundles.clone(), earlier.set_proof.clone());
    });
    cases.add("a", kind, "an old set and its proof under a new checkpoint", &[&lie], (held, REJECTED, 1));
    let ours = cases.heartbeat_of("a.heartbeat.p3");
    let lie = cases.edit("a.heartbeat.p4", "with the proof of p3", |m| {
        heartbeat(m).set_proof.clone_from(&ours.set_proof);
    });
    cases.add("a", kind, "the proof of what is held under a later checkpoint", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("a.activation.p4", "with the proof of p3", |m| {
        activation(m).set_proof.clone_from(&ours.set_proof);
    });
    cases.add("a", kind, "the proof of what is held for an activation", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("a.activation.p4", "without its proof", |m| activation(m).set_proof.clear());
    cases.add("a", kind, "no proof for an activation", &[&lie], (held, REJECTED, 1));
}

fn dropped(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "drop");
    let then = (held, DIVERGED, 1);
    cases.add("a", kind, "the activation of the policy asked for, then a heartbeat", &["a.heartbeat.p4"], then);
    cases.add("ac", kind, "the first of two activations", &["ac.activation.p5"], then);
    // Changes outside the filter are not sent, and heartbeats advance the cursor.
    let lie = ["a.activation.p4", "a.heartbeat.p5"];
    cases.add("a", "honest", "an activation that does not concern the filter", &lie, (Some("p5"), READY, 0));
    cases.add("a", "replay", "an older snapshot, to a filter", &["a.snapshot.p2"], then);
}
