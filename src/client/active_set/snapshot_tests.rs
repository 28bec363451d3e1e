//! Snapshots, checkpoints and filters: what they prove, and what they must not be taken for.

use super::signed_messages::*;
use super::tests::{at, content_digest, held, level, level_with, only, pairs, refusal};
use super::*;

#[test]
fn only_a_whole_snapshot_lets_anything_follow() {
    let signer = Signer::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let activation = told(signer.activation(7, &[("a", 2, 1)]));
    assert_eq!(refusal(&mut set, &activation), Refusal::NoSnapshot("activation"));
    set.begin_stream();
    assert_eq!(refusal(&mut set, &heartbeat(7, signer.checkpoint(1, 7, &[]))), Refusal::NoSnapshot("heartbeat"));
    let mut resumed = set.resume_at(Cursor { epoch: 1, revision: 6 });
    resumed.begin_stream();
    assert!(resumed.apply(&activation, NOW).is_ok(), "a resume point is enough");
}

#[test]
fn a_snapshot_of_two_moments_is_refused() {
    let signer = Signer::new();
    let group = signer.statement(1, 4, &[("a", 2, 1), ("b", 2, 1)]);
    let newer = pb::ActiveBundle { statement: group, ..signer.active("b", 2, 4) };
    let mixed = vec![signer.active("a", 1, 3), newer];
    let mut set = ActiveSet::new(namespace(), signer.keys(), only(&["a", "b"]));
    let message = last_part(mixed, 5, &[]);
    assert_eq!(refusal(&mut set, &message), Refusal::Mixed(policy("a")));
}

#[test]
fn a_snapshot_must_have_its_digest() {
    let signer = Signer::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let message = last_part(vec![signer.active("a", 1, 3)], 5, &[("a", 1), ("b", 1)]);
    assert_eq!(refusal(&mut set, &message), Refusal::OtherSet("snapshot"));
}

#[test]
fn previews_are_never_in_force() {
    let signer = Signer::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let preview = pb::ActiveBundle { preview: true, ..signer.active("a", 1, 3) };
    assert!(matches!(refusal(&mut set, &last_part(vec![preview], 5, &[("a", 1)])), Refusal::Preview(_)));
}

#[test]
fn checkpoints_keep_the_set_fresh_and_move_the_place() {
    let (signer, mut set) = level();
    assert!(set.is_stale(NOW));
    let change = set.apply(&heartbeat(6, signer.checkpoint(1, 6, &[("a", 1), ("b", 1)])), NOW);
    assert_eq!(change, Ok(Change::Alive { cursor: Cursor { epoch: 1, revision: 6 }, behind: false }));
    assert!(!set.is_stale(NOW + 59) && set.is_stale(NOW + 60));
    // A head that this stream has not sent proves nothing about what is held.
    let ahead = heartbeat(6, signer.checkpoint(1, 9, &[("a", 2)]));
    let change = set.apply(&ahead, NOW + 30);
    assert_eq!(change, Ok(Change::Alive { cursor: Cursor { epoch: 1, revision: 6 }, behind: true }));
    assert_eq!(
        refusal(&mut set, &heartbeat(6, signer.checkpoint(1, 6, &[("a", 1), ("b", 1)]))),
        Refusal::NotNewer { found: Cursor { epoch: 1, revision: 6 }, held: Cursor { epoch: 1, revision: 9 } }
    );
}

#[test]
fn an_unsigned_place_counts_only_as_far_as_the_checkpoint() {
    let (signer, mut set) = level();
    set.apply(&heartbeat(900, signer.checkpoint(1, 6, &[("a", 1), ("b", 1)])), NOW).expect("alive");
    assert_eq!(set.cursor(), at(6));
    assert!(set.apply(&told(signer.activation(7, &[("a", 2, 1)])), NOW).is_ok());
}

#[test]
fn another_set_than_the_checkpoint_says_is_refused() {
    let (signer, mut set) = level();
    let lost = heartbeat(8, signer.checkpoint(1, 8, &[("a", 2), ("b", 1)]));
    assert_eq!(refusal(&mut set, &lost), Refusal::OtherSet("checkpoint"));
}

#[test]
fn an_expired_checkpoint_keeps_the_set_and_refreshes_nothing() {
    let (signer, mut set) = level();
    let expired = heartbeat(6, signer.checkpoint(1, 6, &[("a", 1), ("b", 1)]));
    let before = held(&set);
    let alive = set.apply(&expired, NOW + 60).expect("alive");
    assert!(matches!(alive, Change::Alive { behind: true, .. }), "{alive:?}");
    assert_eq!(held(&set), before);
    assert!(set.is_stale(NOW + 60));
}

#[test]
fn a_filter_hides_what_was_not_asked_for() {
    let (signer, mut set) = level_with(only(&["a"]));
    assert_eq!(held(&set), pairs(&[("a", 1)]));
    let mut activation = signer.activation(7, &[("a", 2, 1), ("b", 2, 1)]);
    let other = activation.bundles.pop().expect("b");
    set.apply(&told(activation.clone()), NOW).expect("the part asked for");
    assert_eq!(held(&set), pairs(&[("a", 2)]));
    let (signer, mut set) = level_with(only(&["a"]));
    let mut activation = signer.activation(7, &[("a", 2, 1), ("b", 2, 1)]);
    activation.bundles.pop();
    activation.bundles.push(signer.bundle("b", 2));
    drop(other);
    assert_eq!(refusal(&mut set, &told(activation)), Refusal::Unexpected(policy("b")));
}

#[test]
fn metadata_alone_is_verified_too() {
    let options = ActiveSetOptions { metadata_only: true, ..Default::default() };
    let (signer, mut set) = level_with(options);
    let mut activation = signer.activation(7, &[("a", 2, 1)]);
    activation.bundles[0].content = bytes::Bytes::new();
    let mut lie = activation.clone();
    lie.bundles[0].digest = content_digest("a", 3);
    assert_eq!(refusal(&mut set, &told(lie)), Refusal::OtherBundle { policy: policy("a"), field: "digest" });
    set.begin_stream();
    set.apply(&told(activation), NOW).expect("an activation");
    assert!(set.policies().all(|active| active.content.is_none()));
}

#[test]
fn a_raised_epoch_comes_after_every_revision() {
    let (signer, mut set) = level();
    let mut activation = signer.activation(2, &[("a", 2, 1)]);
    activation.cursor = cursor(2, 2);
    activation.statement = signer.statement(2, 2, &[("a", 2, 1)]);
    assert!(set.apply(&told(activation), NOW).is_ok());
    assert!(matches!(refusal(&mut set, &told(signer.activation(99, &[("a", 3, 2)]))), Refusal::NotNewer { .. }));
}

/// A snapshot at (2, 5) whose policy is older than the one held, with a checkpoint.
fn after_a_loss(signer: &Signer, checkpoint: String) -> pb::WatchActiveResponse {
    let Some(Message::Snapshot(part)) = last_part(vec![signer.active("a", 1, 1)], 5, &[("a", 1)]).message else {
        panic!("a snapshot");
    };
    message(Message::Snapshot(pb::Snapshot { cursor: cursor(2, 5), checkpoint, ..part }))
}

#[test]
fn only_a_signed_epoch_brings_back_what_is_older() {
    let (signer, mut set) = level();
    set.apply(&told(signer.activation(7, &[("a", 2, 1)])), NOW).expect("an activation");
    let before = held(&set);
    let unsigned = after_a_loss(&signer, String::new());
    assert!(matches!(refusal(&mut set, &unsigned), Refusal::NotNewer { .. }), "a number is no proof");
    for (checkpoint, refused) in [
        (signer.checkpoint(1, 5, &[("a", 1)]), "another place"),
        (signer.checkpoint(2, 6, &[("a", 1)]), "another place"),
        (signer.checkpoint(2, 5, &[("a", 2)]), "another set"),
        (Signer::new().checkpoint(2, 5, &[("a", 1)]), "an unknown key"),
        ("garbage".to_owned(), "no token"),
    ] {
        set.begin_stream();
        refusal(&mut set, &after_a_loss(&signer, checkpoint));
        assert_eq!(held(&set), before, "{refused}");
    }
    set.begin_stream();
    let stale = after_a_loss(&signer, signer.checkpoint(2, 5, &[("a", 1)]));
    assert!(matches!(set.apply(&stale, NOW + 60), Err(Refusal::NotNewer { .. })), "old news prove nothing");
    set.begin_stream();
    set.apply(&stale, NOW).expect("the store lost its tail, and says so");
    assert_eq!((held(&set), set.cursor()), (pairs(&[("a", 1)]), Some(Cursor { epoch: 2, revision: 5 })));
    assert!(!set.is_stale(NOW), "a snapshot with its checkpoint is fresh at once");
}
