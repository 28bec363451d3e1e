//! What a subscriber takes of activations, and every lie it must not take.

use super::super::*;
use super::signed_messages::*;
use policyhub_core::domain::event::{Head, Position};
use policyhub_core::signing::VerifyError;

/// Returns a set that holds a1 (at revision 3) and b1 (at revision 4), at revision 5.
pub fn caught_up() -> (MessageSigner, ActiveSet) {
    caught_up_with(ActiveSetOptions::default())
}

pub fn caught_up_with(options: ActiveSetOptions) -> (MessageSigner, ActiveSet) {
    let signer = MessageSigner::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), options);
    let parts = vec![signer.active("a", 1, 3), signer.active("b", 1, 4)];
    let parts: Vec<_> = parts.into_iter().filter(|part| set.wants(&policy(id_of(part)))).collect();
    let whole = signer.last_part(parts, 5, &[("a", 1, 3), ("b", 1, 4)]);
    set.apply(&proven(whole, set.wanted(), &[("a", 1, 3), ("b", 1, 4)]), NOW).expect("a snapshot");
    (signer, set)
}

/// Returns a message with the proof of a filter.
pub fn proven(
    mut message: pb::WatchActiveResponse,
    filter: &BTreeSet<PolicyId>,
    set: &[SetInForce<'_>],
) -> pb::WatchActiveResponse {
    let proof = if filter.is_empty() { Vec::new() } else { tree(set).prove(filter) };
    match &mut message.message {
        Some(Message::Snapshot(part)) => part.set_proof = proof.into(),
        Some(Message::Heartbeat(heartbeat)) => heartbeat.set_proof = proof.into(),
        Some(Message::Activation(activation)) => activation.set_proof = proof.into(),
        other => panic!("{other:?} proves nothing"),
    }
    message
}

fn id_of(bundle: &pb::Bundle) -> &str {
    bundle.name.split('/').nth(3).expect("a name")
}

pub fn held(set: &ActiveSet) -> Vec<(String, i64)> {
    set.policies().map(|active| (active.policy.to_string(), active.version)).collect()
}

pub fn pairs(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect()
}

pub fn at(revision: i64) -> Option<Cursor> {
    Some(Cursor { epoch: 1, revision })
}

/// Applies a message that must be refused and must leave everything as it was.
pub fn refusal(set: &mut ActiveSet, message: &pb::WatchActiveResponse) -> Refusal {
    let before = (held(set), set.cursor());
    let refusal = set.apply(message, NOW).expect_err("must be refused");
    assert_eq!((held(set), set.cursor()), before, "a refused message changes nothing: {refusal}");
    refusal
}

pub fn only(ids: &[&str]) -> ActiveSetOptions {
    ActiveSetOptions { policies: ids.iter().map(|id| policy(id)).collect(), ..Default::default() }
}

/// Returns the resume point as it goes back to the server.
fn resumed(set: &ActiveSet) -> pb::Cursor {
    let request = set.request(String::new(), Default::default(), set.resume_point());
    request.targets[0].resume.expect("a resume point")
}

#[test]
fn a_resume_point_goes_back_with_the_event_it_came_with() {
    let (signer, mut set) = caught_up();
    let of_checkpoint = Position::from(Head { cursor: Cursor { epoch: 1, revision: 5 }, hash: [9; 32] });
    assert_eq!(resumed(&set), of_checkpoint.into(), "whatever stands beside the checkpoint");
    let named = |fingerprint| Some(pb::Cursor { epoch: 1, revision: 6, fingerprint });
    let activation = pb::Activation { cursor: named(7), ..signer.activation(6, &[("a", 2, 1)]) };
    set.apply(&activation_message(activation), NOW).expect("an activation");
    assert_eq!(Some(resumed(&set)), named(7));
    set.remember(Position { cursor: Cursor { epoch: 1, revision: 9 }, event: Fingerprint::from_number(8) }, true);
    assert_eq!(resumed(&set), pb::Cursor { epoch: 1, revision: 9, fingerprint: 8 });
}

#[test]
fn a_snapshot_is_exposed_when_it_is_whole() {
    let signer = MessageSigner::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let part = set.apply(&first_part(vec![signer.active("a", 1, 3)]), NOW);
    assert_eq!(part, Ok(SetChange::SnapshotPart { collected: 1 }));
    assert!(held(&set).is_empty() && set.cursor().is_none());
    set.apply(&signer.last_part(vec![signer.active("b", 1, 4)], 5, &[("a", 1, 3), ("b", 1, 4)]), NOW).expect("whole");
    assert_eq!(held(&set), pairs(&[("a", 1), ("b", 1)]));
    assert_eq!(set.cursor(), at(5));
    assert_eq!(set.policies().next().and_then(|active| active.content.clone()), Some(content("a", 1)));
}

#[test]
fn an_activation_changes_all_it_says() {
    let (signer, mut set) = caught_up();
    let moves = [("a", 2, 1), ("b", 0, 1), ("c", 1, 0)];
    let change = set.apply(&activation_message(signer.activation(7, &moves)), NOW).expect("an activation");
    let SetChange::Activated { changed, removed, actor, .. } = change else { panic!("{change:?}") };
    assert_eq!((changed.len(), removed, actor.as_str()), (2, vec![policy("b")], "carol"));
    assert_eq!(held(&set), pairs(&[("a", 2), ("c", 1)]));
    assert_eq!(set.cursor(), at(7));
}

#[test]
fn replays_are_refused() {
    let (signer, mut set) = caught_up();
    let second = activation_message(signer.activation(7, &[("a", 2, 1)]));
    set.apply(&second, NOW).expect("an activation");
    for old in [
        second,
        activation_message(signer.activation(6, &[("a", 1, 2)])),
        activation_message(signer.activation(5, &[("a", 1, 2)])),
    ] {
        assert!(matches!(refusal(&mut set, &old), Refusal::NotNewer { .. }));
        set.begin_stream();
    }
    let old = [signer.active("a", 1, 3), signer.active("b", 1, 4)];
    let mut moved = signer.last_part(old.to_vec(), 5, &[("a", 1, 3), ("b", 1, 4)]);
    let Some(Message::Snapshot(part)) = &mut moved.message else { panic!("not a snapshot") };
    part.cursor = cursor(1, 8);
    assert!(matches!(refusal(&mut set, &moved), Refusal::OtherCursor { .. }), "an old set at a made-up place");
    set.begin_stream();
    part_without_checkpoint(&mut moved);
    assert!(matches!(refusal(&mut set, &moved), Refusal::Signature { .. }), "and without its checkpoint");
    set.begin_stream();
    let stale = signer.last_part(old.to_vec(), 8, &[("a", 2, 7), ("b", 1, 4)]);
    assert_eq!(refusal(&mut set, &stale), Refusal::OtherSet("checkpoint"), "an old bundle under a new checkpoint");
    set.begin_stream();
    let earlier = signer.last_part(vec![signer.active("a", 1, 3)], 6, &[("a", 1, 3)]);
    assert!(matches!(refusal(&mut set, &earlier), Refusal::NotNewer { .. }));
    set.begin_stream();
    let back = heartbeat(6, signer.checkpoint(1, 6, &[("a", 2, 6), ("b", 1, 4)]));
    assert!(matches!(refusal(&mut set, &back), Refusal::NotNewer { .. }));
}

fn part_without_checkpoint(message: &mut pb::WatchActiveResponse) {
    let Some(Message::Snapshot(part)) = &mut message.message else { panic!("not a snapshot") };
    part.checkpoint.clear();
}

#[test]
fn an_old_statement_under_a_new_place_is_refused() {
    let (signer, mut set) = caught_up();
    let mut activation = signer.activation(4, &[("a", 2, 1)]);
    activation.cursor = cursor(1, 9);
    assert!(matches!(refusal(&mut set, &activation_message(activation)), Refusal::OtherCursor { .. }));
}

#[test]
fn mixed_and_missing_bundles_are_refused() {
    let (signer, _) = caught_up();
    let both = [("a", 2, 1), ("b", 2, 1)];
    let honest = || signer.activation(7, &both);
    let with = |change: &dyn Fn(&mut pb::Activation)| {
        let mut activation = honest();
        change(&mut activation);
        activation
    };
    let cases = [
        (with(&|it| it.bundles.truncate(1)), Refusal::ChangeMissing(policy("b"))),
        (with(&|it| it.bundles[1] = signer.bundle("b", 1)), Refusal::NotStated(policy("b"))),
        (with(&|it| it.bundles[0].activation = cursor(1, 6)), Refusal::Malformed("bundle of another activation")),
        (with(&|it| it.bundles[0].activation = None), Refusal::Malformed("bundle of another activation")),
        (with(&|it| it.bundles[0].preview = true), Refusal::Preview(honest().bundles[0].name.clone())),
        (with(&|it| it.bundles.push(signer.bundle("c", 1))), Refusal::Unexpected(policy("c"))),
        (with(&|it| it.bundles.push(signer.bundle("a", 2))), Refusal::Unexpected(policy("a"))),
        (with(&|it| it.tombstones.push("namespaces/default/policies/c".to_owned())), Refusal::Unexpected(policy("c"))),
        (with(&|it| it.tombstones.push("namespaces/default/policies/a".to_owned())), Refusal::Unexpected(policy("a"))),
        (
            with(&|it| it.statement = signer.statement(1, 7, &[("a", 2, 1), ("b", 0, 1)])),
            Refusal::NotStated(policy("b")),
        ),
    ];
    for (activation, expected) in cases {
        let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
        let parts = vec![signer.active("a", 1, 3), signer.active("b", 1, 4)];
        set.apply(&signer.last_part(parts, 5, &[("a", 1, 3), ("b", 1, 4)]), NOW).expect("a snapshot");
        assert_eq!(refusal(&mut set, &activation_message(activation)), expected);
    }
}

#[test]
fn a_missing_tombstone_is_refused() {
    let (signer, mut set) = caught_up();
    let mut activation = signer.activation(7, &[("a", 0, 1)]);
    activation.tombstones.clear();
    assert_eq!(refusal(&mut set, &activation_message(activation)), Refusal::ChangeMissing(policy("a")));
}

#[test]
fn a_left_out_activation_is_noticed() {
    let (signer, mut set) = caught_up();
    let third = activation_message(signer.activation(9, &[("a", 3, 2)]));
    assert_eq!(refusal(&mut set, &third), Refusal::NotFollowing { policy: policy("a"), stated: 2, held: 1 });
    let (signer, mut latest) = caught_up_with(ActiveSetOptions { latest: true, ..Default::default() });
    let third = activation_message(signer.activation(9, &[("a", 3, 2)]));
    assert!(matches!(refusal(&mut latest, &third), Refusal::NotFollowing { .. }), "LATEST skips by a snapshot");
}

#[test]
fn tampered_bundles_are_refused() {
    type Tamper = fn(&mut pb::Bundle);
    let signature = |error| Refusal::Signature { what: "manifest of a".to_owned(), error };
    let other = |field| Refusal::OtherBundle { policy: policy("a"), field };
    let cases: [(Tamper, Refusal); 7] = [
        (|it| it.content = content("a", 3), signature(VerifyError::DigestMismatch)),
        (|it| it.content = "longer than what was signed".into(), signature(VerifyError::SizeMismatch)),
        (|it| it.manifest.insert(60, 'A'), signature(VerifyError::HeaderMalformed)),
        (|it| it.digest = content_digest("a", 3), other("digest")),
        (|it| it.label = "1.0.0".to_owned(), other("label")),
        (|it| it.content_type = "text/plain".to_owned(), other("content type")),
        (|it| it.size_bytes += 1, other("size")),
    ];
    for (tamper, expected) in cases {
        let (signer, mut set) = caught_up();
        let mut activation = signer.activation(7, &[("a", 2, 1)]);
        tamper(&mut activation.bundles[0]);
        let found = refusal(&mut set, &activation_message(activation));
        match (&found, &expected) {
            // Where exactly a damaged token breaks is for the tests of signing.
            (Refusal::Signature { what, .. }, Refusal::Signature { error: VerifyError::HeaderMalformed, .. }) => {
                assert_eq!(what, "manifest of a");
            }
            _ => assert_eq!(found, expected),
        }
    }
}

pub fn content_digest(id: &str, version: i64) -> String {
    policyhub_core::signing::digest_of(&content(id, version)).to_string()
}

#[test]
fn strangers_are_refused() {
    let (signer, mut set) = caught_up();
    let unknown = activation_message(MessageSigner::new().activation(7, &[("a", 2, 1)]));
    assert!(matches!(refusal(&mut set, &unknown), Refusal::Signature { error: VerifyError::KeyUnknown, .. }));
    let elsewhere = MessageSigner { store: "store-2".to_owned(), ..signer };
    set.begin_stream();
    assert!(matches!(
        refusal(&mut set, &activation_message(elsewhere.activation(7, &[("a", 2, 1)]))),
        Refusal::OtherStore { .. }
    ));
    let tenant = NamespaceId::parse("namespace", "other").expect("an id");
    let neighbour = MessageSigner { store: "store-1".to_owned(), namespace: tenant, ..elsewhere };
    set.begin_stream();
    let message = activation_message(neighbour.activation(7, &[("a", 2, 1)]));
    assert!(matches!(refusal(&mut set, &message), Refusal::OtherNamespace { .. }));
}

#[test]
fn nothing_more_is_taken_after_a_refusal() {
    let (signer, mut set) = caught_up();
    refusal(&mut set, &activation_message(signer.activation(4, &[("a", 1, 1)])));
    let good = activation_message(signer.activation(7, &[("a", 2, 1)]));
    refusal(&mut set, &good);
    set.begin_stream();
    assert!(set.apply(&good, NOW).is_ok());
}

#[test]
fn an_activation_makes_the_set_that_is_signed() {
    let (signer, mut set) = caught_up();
    let moves = [("a", 2, 1)];
    // Another policy was activated before, and left out.
    let other = signer.activation_after(&[("b", 1, 4), ("c", 1, 6)], 7, &moves);
    assert_eq!(refusal(&mut set, &activation_message(other)), Refusal::OtherSet("statement"));
    set.begin_stream();
    let rootless = pb::Activation { statement: signer.statement(1, 7, &moves), ..signer.activation(7, &moves) };
    assert_eq!(refusal(&mut set, &activation_message(rootless)), Refusal::Malformed("statement names no root"));
    set.begin_stream();
    set.apply(&activation_message(signer.activation(7, &moves)), NOW).expect("the set that is signed");
}

#[test]
fn a_remembered_cursor_is_nothing_to_build_on() {
    let (signer, mut set) = caught_up();
    // Something newer was verified before a restart, and is not held.
    set.remember(Cursor { epoch: 1, revision: 6 }.into(), false);
    let next = activation_message(signer.activation(7, &[("b", 2, 1)]));
    assert_eq!(refusal(&mut set, &next), Refusal::NoSnapshot("activation"), "it may leave out what was before it");
    set.begin_stream();
    let whole = vec![signer.active("a", 1, 3), signer.active("b", 2, 6)];
    set.apply(&signer.last_part(whole, 6, &[("a", 1, 3), ("b", 2, 6)]), NOW).expect("a snapshot is");
    let moves = [("a", 2, 1)];
    let after = signer.activation_after(&[("a", 1, 3), ("b", 2, 6)], 7, &moves);
    set.apply(&activation_message(after), NOW).expect("and what follows it");
}

/// Returns an activation as it comes in two parts.
fn in_parts(activation: pb::Activation) -> [pb::WatchActiveResponse; 2] {
    let (bundles, tombstones) = (activation.bundles, activation.tombstones);
    let end = pb::Activation { bundles: Vec::new(), tombstones: Vec::new(), ..activation };
    [activation_message(pb::Activation { bundles, tombstones, ..Default::default() }), activation_message(end)]
}

#[test]
fn an_activation_in_parts_changes_nothing_before_the_last() {
    let (signer, mut set) = caught_up();
    let [first, last] = in_parts(signer.activation(7, &[("a", 2, 1), ("b", 0, 1)]));
    assert_eq!(set.apply(&first, NOW), Ok(SetChange::ActivationPart { collected: 2 }));
    assert_eq!((held(&set), set.cursor()), (pairs(&[("a", 1), ("b", 1)]), at(5)));
    let Ok(SetChange::Activated { removed, .. }) = set.apply(&last, NOW) else { panic!("not activated") };
    assert_eq!((held(&set), set.cursor(), removed), (pairs(&[("a", 2)]), at(7), vec![policy("b")]));
}

#[test]
fn parts_of_an_activation_stay_together() {
    let snapshot = |signer: &MessageSigner| {
        let parts = vec![signer.active("a", 1, 3), signer.active("b", 1, 4)];
        signer.last_part(parts, 6, &[("a", 1, 3), ("b", 1, 4)])
    };
    let (signer, mut set) = caught_up();
    let [first, last] = in_parts(signer.activation(7, &[("a", 2, 1)]));
    set.apply(&first, NOW).expect("a part");
    let within = refusal(&mut set, &heartbeat(6, signer.checkpoint(1, 6, &[("a", 1, 3), ("b", 1, 4)])));
    assert_eq!(within, Refusal::Malformed("heartbeat within a message in parts"));
    set.begin_stream();
    assert_eq!(refusal(&mut set, &last), Refusal::ChangeMissing(policy("a")), "a new stream begins anew");
    // A snapshot drops what was collected.
    let (signer, mut set) = caught_up();
    let [first, last] = in_parts(signer.activation(7, &[("a", 2, 1)]));
    set.apply(&first, NOW).expect("a part");
    set.apply(&snapshot(&signer), NOW).expect("a snapshot");
    assert_eq!(refusal(&mut set, &last), Refusal::ChangeMissing(policy("a")));
    set.begin_stream();
    let nothing = activation_message(pb::Activation::default());
    assert_eq!(refusal(&mut set, &nothing), Refusal::Malformed("part of an activation is empty"));
    // More than one activation can have would fill the memory.
    let (_, mut set) = caught_up();
    let name = |number: usize| format!("namespaces/default/policies/p{number}");
    let tombstones = (0..=policyhub_core::domain::limits::ACTIVATION_TARGETS_MAX).map(name).collect();
    let endless = activation_message(pb::Activation { tombstones, ..Default::default() });
    let refused = refusal(&mut set, &endless);
    assert_eq!(refused, Refusal::Malformed("activation has more changes than one can have"));
}

#[test]
fn a_saved_set_is_taken_up_by_its_evidence_alone() {
    let saved = |set: &ActiveSet, signer: &MessageSigner| pb::Snapshot {
        bundles: set
            .policies()
            .map(|held| signer.active(held.policy.as_str(), held.version, held.activated.revision))
            .collect(),
        complete: true,
        cursor: set.cursor().map(|cursor| Position::from(cursor).into()),
        ..Default::default()
    };
    for options in [ActiveSetOptions::default(), only(&["a"])] {
        let (signer, mut set) = caught_up_with(options.clone());
        for step in ["checkpoint", "statement"] {
            if step == "statement" {
                let moves = [("a", 2, 1)];
                let activation = activation_message(signer.activation(7, &moves));
                set.apply(&proven(activation, &options.policies, &after(&BOTH, 7, &moves)), NOW)
                    .expect("an activation");
            }
            let (snapshot, evidence) = (saved(&set, &signer), set.evidence().expect("evidence"));
            let anew = || ActiveSet::new(namespace(), signer.keys(), options.clone());
            let mut restored = anew();
            restored.restore(&snapshot, (*evidence).clone()).expect(step);
            assert_eq!((held(&restored), restored.cursor()), (held(&set), set.cursor()));
            assert!(restored.is_stale(NOW), "nothing proves it to be the newest");
            let older = pb::Snapshot { bundles: vec![signer.active("a", 1, 2)], ..snapshot.clone() };
            assert_eq!(anew().restore(&older, (*evidence).clone()), Err(Refusal::OtherSet("saved set")), "{step}");
            let elsewhere = pb::Snapshot { cursor: cursor(1, 900), ..snapshot };
            assert!(matches!(anew().restore(&elsewhere, (*evidence).clone()), Err(Refusal::OtherCursor { .. })));
        }
    }
}
