//! Lies about whole sets: what is left out or added, the proofs, their keys, and lies to a subscriber that holds nothing yet.

use policyhub::client::pb;

use super::lies::{DIVERGED, HELD, LieCases, READY, REJECTED, STALE, activation, heartbeat, snapshot};

pub fn add_cases(cases: &mut LieCases<'_>) {
    left_out(cases);
    false_tombstones(cases);
    checkpoints(cases);
    freshness(cases);
    keys(cases);
    beginnings(cases);
}

fn left_out(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "omitted policy");
    let lie = cases.edit("all.snapshot.p4", "without its last policy", |m| drop(snapshot(m).bundles.pop()));
    cases.add("all", kind, "left out of a snapshot", &[&lie], (held, DIVERGED, 1));
    let lie = cases.edit("all.snapshot.p4", "without a policy", |m| snapshot(m).bundles.clear());
    cases.add("all", kind, "every policy left out of a snapshot", &[&lie], (held, DIVERGED, 1));
    let lie = cases.edit("all.activation.p3", "without its last bundle", |m| drop(activation(m).bundles.pop()));
    let (clock, before) = (cases.recorded.clock, Some("p2"));
    let then = (before, REJECTED, 1);
    cases.tell_at(clock, ("all", before), kind, "left out of an activation", &[&lie], then);
    let lie = cases.edit("all.activation.p6", "without its tombstone", |m| activation(m).tombstones.clear());
    let then = (Some("p5"), REJECTED, 1);
    cases.tell_at(clock, ("all", Some("p5")), kind, "a deactivation left out", &[&lie], then);
}

fn false_tombstones(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "false tombstone");
    let tombstone = "namespaces/default/policies/b".to_owned();
    let named = tombstone.clone();
    let lie = cases.edit("all.activation.p4", "with a tombstone", |m| activation(m).tombstones.push(named));
    cases.add("all", kind, "beside an activation", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("all.activation.p4", "as a tombstone", |m| {
        let part = activation(m);
        part.bundles.clear();
        part.tombstones.push("namespaces/default/policies/a".to_owned());
    });
    cases.add("all", kind, "in place of a bundle", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("all.activation.p4", "unsigned, with a tombstone alone", |m| {
        let part = activation(m);
        part.bundles.clear();
        part.tombstones.push(tombstone);
        part.statement.clear();
    });
    cases.add("all", kind, "without a statement", &[&lie], (held, REJECTED, 1));
}

/// Snapshots without their checkpoint, or with that of another place.
fn checkpoints(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "snapshot without or with an older checkpoint");
    let lie = cases.edit("all.snapshot.p4", "without its checkpoint", |m| snapshot(m).checkpoint.clear());
    cases.add("all", kind, "without one", &[&lie], (held, REJECTED, 1));
    for (place, state) in [("p3", DIVERGED), ("p2", DIVERGED)] {
        let older = cases.snapshot_of(&format!("all.snapshot.{place}"));
        let lie = cases.edit("all.snapshot.p4", &format!("under the checkpoint of {place}"), |m| {
            let part = snapshot(m);
            (part.checkpoint, part.cursor) = (older.checkpoint.clone(), older.cursor);
        });
        cases.add("all", kind, &format!("with that of {place}"), &[&lie], (held, state, 1));
    }
    let older = cases.snapshot_of("all.snapshot.p3");
    let lie = cases.edit("all.snapshot.p4", "under the checkpoint of p3, at its own place", |m| {
        snapshot(m).checkpoint.clone_from(&older.checkpoint);
    });
    cases.add("all", kind, "with an older one at its own place", &[&lie], (held, REJECTED, 1));
    let newer = cases.snapshot_of("all.snapshot.p4");
    let lie = cases.edit("all.snapshot.p2", "under the checkpoint of p4", |m| {
        let part = snapshot(m);
        (part.checkpoint, part.cursor) = (newer.checkpoint.clone(), newer.cursor);
    });
    cases.add("all", kind, "an old set with a new one", &[&lie], (held, DIVERGED, 1));
}

/// Heartbeats ahead of the held set, with another root, or without a set.
fn freshness(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some(HELD), "heartbeat ahead");
    let streams = ["all.heartbeat.p4", "|", "all.heartbeat.p4"];
    cases.add("all", kind, "of a later set, on each stream", &streams, (held, DIVERGED, 2));
    let ahead = cases.heartbeat_of("all.heartbeat.p4");
    let lie = cases.edit("all.heartbeat.p3", "at the place of p4", |m| heartbeat(m).cursor = ahead.cursor);
    cases.add("all", kind, "at a place that its checkpoint is not of", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("all.heartbeat.p3", "without its checkpoint", |m| heartbeat(m).checkpoint.clear());
    cases.add("all", kind, "without a checkpoint", &[&lie], (held, REJECTED, 1));
    let lie = cases.edit("all.heartbeat.p3", "with the statement of an activation", |m| {
        heartbeat(m).checkpoint = "a.b.c".to_owned();
    });
    cases.add("all", kind, "with what is no checkpoint", &[&lie], (held, REJECTED, 1));
    let unknown = cases.edit("all.heartbeat.p3", "that knows no resume point", |m| {
        *heartbeat(m) = pb::Heartbeat { resume_unknown: true, ..Default::default() };
    });
    let late = cases.recorded.late;
    let lie = [unknown.as_str(), unknown.as_str()];
    cases.tell_at(late, ("all", held), kind, "of a server that is behind, for ever", &lie, (held, STALE, 0));
}

/// The key statement of a rotation is dropped or changed, or an older one comes after it.
fn keys(cases: &mut LieCases<'_>) {
    let (held, kind) = (Some("p6"), "key statement");
    let clock = cases.recorded.clock;
    let mut tell = |name: &str, lie: &[&str], then: (Option<&str>, &str, usize)| {
        cases.tell_at(clock, ("all", held), kind, name, lie, then);
    };
    tell("dropped before an activation by the new key", &["all.activation.p7"], (held, REJECTED, 1));
    tell("an older one after it", &["keys.2", "keys.1", "all.activation.p7"], (Some("p7"), READY, 0));
    let forged = cases.edit("keys.2", "with another signature", |m| {
        let Some(pb::watch_active_response::Message::KeyStatement(keys)) = &mut m.message else { panic!("no keys") };
        let cut = keys.statement.rfind('.').expect("a signature");
        keys.statement.replace_range(cut + 1..cut + 5, "AAAA");
    });
    let lie = [forged.as_str(), "all.activation.p7"];
    cases.tell_at(clock, ("all", held), kind, "with another signature", &lie, (held, REJECTED, 1));
}

/// Lies to a subscriber that holds nothing. The only thing it can't detect is an old state that has not expired.
fn beginnings(cases: &mut LieCases<'_>) {
    let (clock, late, nothing) = (cases.recorded.clock, cases.recorded.late, ("all", None));
    let kind = "beginning";
    let old = ["all.snapshot.p1", "all.heartbeat.p1"];
    cases.tell_at(clock, nothing, kind, "an old state that has not expired", &old, (Some("p1"), READY, 0));
    cases.tell_at(late, nothing, kind, "an old state that has expired", &old, (Some("p1"), STALE, 0));
    let lie = ["all.activation.p1"];
    cases.tell_at(clock, nothing, kind, "an activation before a snapshot", &lie, (None, REJECTED, 1));
    cases.tell_at(clock, nothing, kind, "a heartbeat before a snapshot", &["all.heartbeat.p3"], (None, REJECTED, 1));
    let lie = cases.edit("all.snapshot.p7", "without its checkpoint", |m| snapshot(m).checkpoint.clear());
    cases.tell_at(clock, nothing, kind, "a snapshot without a checkpoint", &["keys.2", &lie], (None, REJECTED, 1));
    let streams = ["all.snapshot.p6", "|", "all.snapshot.p1", "|", "all.snapshot.p5", "|", "other.snapshot.p1"];
    cases.tell_at(clock, nothing, kind, "older and older states", &streams, (Some("p6"), REJECTED, 3));
}
