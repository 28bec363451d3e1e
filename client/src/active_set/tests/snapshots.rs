//! Snapshots, checkpoints and filters: what they prove, and what they must not be taken for.

use super::super::*;
use super::activations::{at, caught_up, caught_up_with, content_digest, held, only, pairs, proven, refusal};
use super::signed_messages::*;

#[test]
fn only_a_whole_snapshot_lets_anything_follow() {
    let signer = MessageSigner::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let activation = activation_message(signer.activation(7, &[("a", 2, 1)]));
    assert_eq!(refusal(&mut set, &activation), Refusal::NoSnapshot("activation"));
    set.begin_stream();
    assert_eq!(refusal(&mut set, &heartbeat(7, signer.checkpoint(1, 7, &[]))), Refusal::NoSnapshot("heartbeat"));
    let mut resumed = set.resume_at(Cursor { epoch: 1, revision: 6 });
    resumed.begin_stream();
    assert!(resumed.apply(&activation, NOW).is_ok(), "a resume point is enough");
}

#[test]
fn a_snapshot_must_be_the_set_of_its_checkpoint() {
    let signer = MessageSigner::new();
    let both = [("a", 1, 3), ("b", 1, 4)];
    for (bundles, what) in [
        (vec![signer.active("a", 1, 3)], "one is left out"),
        (vec![signer.active("a", 1, 3), signer.active("b", 2, 4)], "one is another version"),
        (vec![signer.active("a", 1, 2), signer.active("b", 1, 4)], "one was put in force at another time"),
        (vec![signer.active("a", 1, 3), signer.active("b", 1, 4), signer.active("c", 1, 2)], "one more is there"),
        (vec![], "all are left out"),
    ] {
        let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
        let refused = refusal(&mut set, &signer.last_part(bundles, 5, &both));
        assert_eq!(refused, Refusal::OtherSet("checkpoint"), "{what}");
    }
}

#[test]
fn a_filtered_snapshot_must_be_proven() {
    let signer = MessageSigner::new();
    let both = [("a", 1, 3), ("b", 1, 4)];
    let filter = only(&["a", "c"]);
    let taken = |bundles: Vec<pb::Bundle>, proof: Vec<u8>| {
        let mut set = ActiveSet::new(namespace(), signer.keys(), filter.clone());
        let mut whole = signer.last_part(bundles, 5, &both);
        let Some(Message::Snapshot(part)) = &mut whole.message else { panic!("not a snapshot") };
        part.set_proof = proof.into();
        set.apply(&whole, NOW).map(|_| ())
    };
    let honest = tree(&both).prove(&filter.policies);
    assert_eq!(taken(vec![signer.active("a", 1, 3)], honest.clone()), Ok(()));
    assert_eq!(taken(vec![], honest.clone()), Err(Refusal::OtherSet("checkpoint")), "a is left out");
    let older = vec![signer.active("a", 1, 2)];
    assert_eq!(taken(older, honest), Err(Refusal::OtherSet("checkpoint")), "of another time");
    for proof in [Vec::new(), tree(&[("b", 1, 4)]).prove(&filter.policies), tree(&both).prove(&only(&["b"]).policies)] {
        let refused = taken(vec![signer.active("a", 1, 3)], proof);
        assert!(matches!(refused, Err(Refusal::SetProof(_))), "{refused:?}");
    }
}

#[test]
fn previews_are_never_in_force() {
    let signer = MessageSigner::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let preview = pb::Bundle { preview: true, ..signer.active("a", 1, 3) };
    assert!(matches!(refusal(&mut set, &signer.last_part(vec![preview], 5, &[("a", 1, 3)])), Refusal::Preview(_)));
}

#[test]
fn checkpoints_keep_the_set_fresh_and_move_the_place() {
    let (signer, mut set) = caught_up();
    assert!(set.is_stale(NOW));
    let change = set.apply(&heartbeat(6, signer.checkpoint(1, 6, &BOTH)), NOW);
    assert_eq!(change, Ok(SetChange::Alive { cursor: Cursor { epoch: 1, revision: 6 }, is_newest: true }));
    assert!(!set.is_stale(NOW + 59) && set.is_stale(NOW + 60));
    let earlier = heartbeat(5, signer.checkpoint(1, 5, &BOTH));
    assert_eq!(
        refusal(&mut set, &earlier),
        Refusal::NotNewer { found: Cursor { epoch: 1, revision: 5 }, held: Cursor { epoch: 1, revision: 6 } }
    );
}

#[test]
fn a_place_counts_only_as_it_is_signed() {
    let (signer, mut set) = caught_up();
    for hint in [900, 5] {
        let lie = heartbeat(hint, signer.checkpoint(1, 6, &BOTH));
        assert!(matches!(refusal(&mut set, &lie), Refusal::OtherCursor { .. }));
        set.begin_stream();
    }
    assert_eq!(set.cursor(), at(5));
    assert!(set.apply(&activation_message(signer.activation(7, &[("a", 2, 1)])), NOW).is_ok());
}

#[test]
fn a_replica_that_is_behind_proves_nothing() {
    let (_, mut set) = caught_up();
    let unknown = message(Message::Heartbeat(pb::Heartbeat { resume_unknown: true, ..Default::default() }));
    let alive = SetChange::Alive { cursor: Cursor { epoch: 1, revision: 5 }, is_newest: false };
    assert_eq!(set.apply(&unknown, NOW), Ok(alive));
    assert!(set.is_stale(NOW));
}

#[test]
fn another_set_than_the_checkpoint_says_is_refused() {
    let (signer, mut set) = caught_up();
    let lost = heartbeat(8, signer.checkpoint(1, 8, &[("a", 2, 7), ("b", 1, 4)]));
    set.apply(&heartbeat(5, signer.checkpoint(1, 5, &BOTH)), NOW).expect("fresh until then");
    assert_eq!(refusal(&mut set, &lost), Refusal::OtherSet("checkpoint"), "an activation was dropped");
    assert!(set.is_stale(NOW), "something newer is in force");
    set.begin_stream();
    // What was recorded before does not bring that back.
    let recorded = heartbeat(5, signer.checkpoint(1, 5, &BOTH));
    assert!(matches!(refusal(&mut set, &recorded), Refusal::NotNewer { .. }));
    set.begin_stream();
    let anew = vec![signer.active("a", 2, 7), signer.active("b", 1, 4)];
    set.apply(&signer.last_part(anew, 8, &[("a", 2, 7), ("b", 1, 4)]), NOW).expect("an honest snapshot repairs it");
    assert_eq!(held(&set), pairs(&[("a", 2), ("b", 1)]));
}

#[test]
fn a_filtered_set_is_fresh_by_a_proof_alone() {
    let (signer, mut set) = caught_up_with(only(&["a"]));
    let wanted = set.wanted().clone();
    let bare = heartbeat(6, signer.checkpoint(1, 6, &BOTH));
    assert!(matches!(refusal(&mut set, &bare), Refusal::SetProof(_)));
    set.begin_stream();
    // The activation of a was dropped, and the proof of before is sent again.
    let newer = [("a", 2, 7), ("b", 1, 4)];
    let spliced = proven(heartbeat(8, signer.checkpoint(1, 8, &newer)), &wanted, &BOTH);
    assert!(matches!(refusal(&mut set, &spliced), Refusal::SetProof(_)));
    set.begin_stream();
    let dropped = proven(heartbeat(8, signer.checkpoint(1, 8, &newer)), &wanted, &newer);
    assert_eq!(refusal(&mut set, &dropped), Refusal::OtherSet("checkpoint"));
    set.begin_stream();
    // What was not asked for may change.
    let other = [("a", 1, 3), ("b", 2, 7)];
    let honest = proven(heartbeat(8, signer.checkpoint(1, 8, &other)), &wanted, &other);
    assert!(matches!(set.apply(&honest, NOW), Ok(SetChange::Alive { is_newest: true, .. })));
    assert!(!set.is_stale(NOW));
    // Another activation may have been dropped before this one: only a proof says that none was.
    let (moves, newest) = ([("a", 2, 1)], after(&other, 9, &[("a", 2, 1)]));
    let activation = signer.activation_after(&other, 9, &moves);
    assert!(matches!(refusal(&mut set, &activation_message(activation.clone())), Refusal::SetProof(_)));
    set.begin_stream();
    let spliced = proven(activation_message(activation.clone()), &wanted, &other);
    assert!(matches!(refusal(&mut set, &spliced), Refusal::SetProof(_)));
    set.begin_stream();
    set.apply(&proven(activation_message(activation), &wanted, &newest), NOW).expect("an activation");
    assert!(!set.is_stale(NOW), "as fresh as the checkpoint before");
}

#[test]
fn an_expired_checkpoint_keeps_the_set_and_refreshes_nothing() {
    let (signer, mut set) = caught_up();
    let expired = heartbeat(6, signer.checkpoint(1, 6, &BOTH));
    let before = held(&set);
    let alive = set.apply(&expired, NOW + 60).expect("alive");
    assert!(matches!(alive, SetChange::Alive { is_newest: false, .. }), "{alive:?}");
    assert_eq!(held(&set), before);
    assert!(set.is_stale(NOW + 60));
}

#[test]
fn a_filter_hides_what_was_not_asked_for() {
    let (signer, mut set) = caught_up_with(only(&["a"]));
    assert_eq!(held(&set), pairs(&[("a", 1)]));
    let mut activation = signer.activation(7, &[("a", 2, 1), ("b", 2, 1)]);
    let other = activation.bundles.pop().expect("b");
    let newest = after(&BOTH, 7, &[("a", 2, 1), ("b", 2, 1)]);
    set.apply(&proven(activation_message(activation.clone()), &only(&["a"]).policies, &newest), NOW)
        .expect("the part asked for");
    assert_eq!(held(&set), pairs(&[("a", 2)]));
    let (signer, mut set) = caught_up_with(only(&["a"]));
    let mut activation = signer.activation(7, &[("a", 2, 1), ("b", 2, 1)]);
    activation.bundles.pop();
    activation.bundles.push(signer.bundle("b", 2));
    drop(other);
    assert_eq!(refusal(&mut set, &activation_message(activation)), Refusal::Unexpected(policy("b")));
}

#[test]
fn metadata_alone_is_verified_too() {
    let options = ActiveSetOptions { metadata_only: true, ..Default::default() };
    let (signer, mut set) = caught_up_with(options);
    let mut activation = signer.activation(7, &[("a", 2, 1)]);
    activation.bundles[0].content = bytes::Bytes::new();
    let mut lie = activation.clone();
    lie.bundles[0].digest = content_digest("a", 3);
    assert_eq!(
        refusal(&mut set, &activation_message(lie)),
        Refusal::OtherBundle { policy: policy("a"), field: "digest" }
    );
    set.begin_stream();
    set.apply(&activation_message(activation), NOW).expect("an activation");
    assert!(set.policies().all(|active| active.content.is_none()));
}

#[test]
fn a_raised_epoch_comes_after_every_revision() {
    let (signer, mut set) = caught_up();
    let mut activation = signer.activation(2, &[("a", 2, 1)]);
    (activation.cursor, activation.bundles[0].activation) = (cursor(2, 2), cursor(2, 2));
    let mut moved = tree(&[("b", 1, 4)]);
    let activated_at = Cursor { epoch: 2, revision: 2 };
    let digest = policyhub_core::signing::digest_of(&content("a", 2));
    moved.insert(policyhub_core::signing::ActiveLeaf {
        policy: &policy("a"),
        version: 2,
        digest: &digest,
        activated_at,
    });
    let root = policyhub_core::domain::digest::ActiveSetRoot(moved.root());
    activation.statement = signer.statement_of(2, 2, &[("a", 2, 1)], Some(root));
    assert!(set.apply(&activation_message(activation), NOW).is_ok());
    assert!(matches!(
        refusal(&mut set, &activation_message(signer.activation(99, &[("a", 3, 2)]))),
        Refusal::NotNewer { .. }
    ));
}

/// Returns a snapshot at (2, 5) whose policy is older than the one held, with a checkpoint.
fn after_a_loss(signer: &MessageSigner, checkpoint: String) -> pb::WatchActiveResponse {
    message(Message::Snapshot(pb::Snapshot {
        bundles: vec![signer.active("a", 1, 1)],
        complete: true,
        cursor: cursor(2, 5),
        checkpoint,
        ..Default::default()
    }))
}

#[test]
fn only_a_signed_epoch_brings_back_what_is_older() {
    let (signer, mut set) = caught_up();
    set.apply(&activation_message(signer.activation(7, &[("a", 2, 1)])), NOW).expect("an activation");
    let before = held(&set);
    let older = [("a", 1, 1)];
    for (checkpoint, refused) in [
        (String::new(), "none: a number is no proof"),
        (signer.checkpoint(1, 5, &older), "another place"),
        (signer.checkpoint(2, 6, &older), "another place"),
        (signer.checkpoint(2, 5, &[("a", 2, 7)]), "another set"),
        (MessageSigner::new().checkpoint(2, 5, &older), "an unknown key"),
        ("garbage".to_owned(), "no token"),
    ] {
        set.begin_stream();
        refusal(&mut set, &after_a_loss(&signer, checkpoint));
        assert_eq!(held(&set), before, "{refused}");
    }
    set.begin_stream();
    let lost = after_a_loss(&signer, signer.checkpoint(2, 5, &older));
    let mut later = set;
    later.apply(&lost, NOW + 60).expect("an expired checkpoint proves the order");
    assert_eq!((held(&later), later.cursor()), (pairs(&[("a", 1)]), Some(Cursor { epoch: 2, revision: 5 })));
    assert!(later.is_stale(NOW + 60), "and nothing about now");
    later.begin_stream();
    later.apply(&lost, NOW).expect("the same again");
    assert!(!later.is_stale(NOW), "a snapshot with a valid checkpoint is fresh at once");
}
