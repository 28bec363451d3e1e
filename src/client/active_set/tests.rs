//! What a subscriber takes of activations, and every lie it must not take.

use super::signed_messages::*;
use super::*;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::Position;
use crate::signing::VerifyError;

/// A set that holds a1 (at revision 3) and b1 (at revision 4), at revision 5.
pub fn level() -> (Signer, ActiveSet) {
    level_with(ActiveSetOptions::default())
}

pub fn level_with(options: ActiveSetOptions) -> (Signer, ActiveSet) {
    let signer = Signer::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), options);
    let parts = vec![signer.active("a", 1, 3), signer.active("b", 1, 4)];
    let parts: Vec<_> = parts.into_iter().filter(|part| set.wants(&policy(id_of(part)))).collect();
    let whole = signer.last_part(parts, 5, &[("a", 1, 3), ("b", 1, 4)]);
    set.apply(&proven(whole, set.wanted(), &[("a", 1, 3), ("b", 1, 4)]), NOW).expect("a snapshot");
    (signer, set)
}

/// A message with the proof of a filter.
pub fn proven(
    mut message: pb::WatchActiveResponse,
    filter: &BTreeSet<PolicyId>,
    set: &[InForce<'_>],
) -> pb::WatchActiveResponse {
    let proof = if filter.is_empty() { Vec::new() } else { tree(set).prove(filter) };
    match &mut message.message {
        Some(Message::Snapshot(part)) => part.set_proof = proof.into(),
        Some(Message::Heartbeat(heartbeat)) => heartbeat.set_proof = proof.into(),
        other => panic!("{other:?} proves nothing"),
    }
    message
}

fn id_of(part: &pb::ActiveBundle) -> &str {
    part.bundle.as_ref().and_then(|bundle| bundle.name.split('/').nth(3)).expect("a name")
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

/// The resume point as it goes back to the server.
fn resumed(set: &ActiveSet) -> pb::Cursor {
    let request = set.request(String::new(), Default::default(), set.resume_point());
    request.resume.expect("a resume point")
}

#[test]
fn a_resume_point_goes_back_with_the_event_it_came_with() {
    let (signer, mut set) = level();
    assert_eq!(resumed(&set), pb::Cursor { epoch: 1, revision: 5, fingerprint: 0 }, "of a server that says none");
    let named = |fingerprint| Some(pb::Cursor { epoch: 1, revision: 6, fingerprint });
    let activation = pb::Activation { cursor: named(7), ..signer.activation(6, &[("a", 2, 1)]) };
    set.apply(&told(activation), NOW).expect("an activation");
    assert_eq!(Some(resumed(&set)), named(7));
    set.remember(Position { cursor: Cursor { epoch: 1, revision: 9 }, event: Fingerprint::from_number(8) }, true);
    assert_eq!(resumed(&set), pb::Cursor { epoch: 1, revision: 9, fingerprint: 8 });
}

#[test]
fn a_snapshot_is_exposed_when_it_is_whole() {
    let signer = Signer::new();
    let mut set = ActiveSet::new(namespace(), signer.keys(), ActiveSetOptions::default());
    let part = set.apply(&first_part(vec![signer.active("a", 1, 3)]), NOW);
    assert_eq!(part, Ok(Change::SnapshotPart { collected: 1 }));
    assert!(held(&set).is_empty() && set.cursor().is_none());
    set.apply(&signer.last_part(vec![signer.active("b", 1, 4)], 5, &[("a", 1, 3), ("b", 1, 4)]), NOW).expect("whole");
    assert_eq!(held(&set), pairs(&[("a", 1), ("b", 1)]));
    assert_eq!(set.cursor(), at(5));
    assert_eq!(set.policies().next().and_then(|active| active.content.clone()), Some(content("a", 1)));
}

#[test]
fn an_activation_changes_all_it_says() {
    let (signer, mut set) = level();
    let moves = [("a", 2, 1), ("b", 0, 1), ("c", 1, 0)];
    let change = set.apply(&told(signer.activation(7, &moves)), NOW).expect("an activation");
    let Change::Activated { changed, removed, actor, .. } = change else { panic!("{change:?}") };
    assert_eq!((changed.len(), removed, actor.as_str()), (2, vec![policy("b")], "carol"));
    assert_eq!(held(&set), pairs(&[("a", 2), ("c", 1)]));
    assert_eq!(set.cursor(), at(7));
}

#[test]
fn replays_are_refused() {
    let (signer, mut set) = level();
    let second = told(signer.activation(7, &[("a", 2, 1)]));
    set.apply(&second, NOW).expect("an activation");
    for old in [second, told(signer.activation(6, &[("a", 1, 2)])), told(signer.activation(5, &[("a", 1, 2)]))] {
        assert!(matches!(refusal(&mut set, &old), Refusal::NotNewer { .. }));
        set.begin_stream();
    }
    let old = [signer.active("a", 1, 3), signer.active("b", 1, 4)];
    let mut moved = signer.last_part(old.to_vec(), 5, &[("a", 1, 3), ("b", 1, 4)]);
    let Some(Message::Snapshot(part)) = &mut moved.message else { panic!("not a snapshot") };
    part.cursor = cursor(1, 8);
    assert!(matches!(refusal(&mut set, &moved), Refusal::OtherPlace { .. }), "an old set at a made-up place");
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
    let (signer, mut set) = level();
    let mut activation = signer.activation(4, &[("a", 2, 1)]);
    activation.cursor = cursor(1, 9);
    assert!(matches!(refusal(&mut set, &told(activation)), Refusal::OtherPlace { .. }));
}

#[test]
fn mixed_and_missing_bundles_are_refused() {
    let (signer, _) = level();
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
        (with(&|it| it.bundles.push(signer.bundle("c", 1))), Refusal::NotStated(policy("c"))),
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
        assert_eq!(refusal(&mut set, &told(activation)), expected);
    }
}

#[test]
fn a_missing_tombstone_is_refused() {
    let (signer, mut set) = level();
    let mut activation = signer.activation(7, &[("a", 0, 1)]);
    activation.tombstones.clear();
    assert_eq!(refusal(&mut set, &told(activation)), Refusal::ChangeMissing(policy("a")));
}

#[test]
fn a_left_out_activation_is_noticed() {
    let (signer, mut set) = level();
    let third = told(signer.activation(9, &[("a", 3, 2)]));
    assert_eq!(refusal(&mut set, &third), Refusal::NotFollowing { policy: policy("a"), stated: 2, held: 1 });
    let (signer, mut latest) = level_with(ActiveSetOptions { latest: true, ..Default::default() });
    let third = told(signer.activation(9, &[("a", 3, 2)]));
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
        let (signer, mut set) = level();
        let mut activation = signer.activation(7, &[("a", 2, 1)]);
        tamper(&mut activation.bundles[0]);
        let found = refusal(&mut set, &told(activation));
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
    crate::signing::digest_of(&content(id, version)).to_string()
}

#[test]
fn strangers_are_refused() {
    let (signer, mut set) = level();
    let unknown = told(Signer::new().activation(7, &[("a", 2, 1)]));
    assert!(matches!(refusal(&mut set, &unknown), Refusal::Signature { error: VerifyError::KeyUnknown, .. }));
    let elsewhere = Signer { store: "store-2".to_owned(), ..signer };
    set.begin_stream();
    assert!(matches!(refusal(&mut set, &told(elsewhere.activation(7, &[("a", 2, 1)]))), Refusal::OtherStore { .. }));
    let tenant = NamespaceId::parse("namespace", "other").expect("an id");
    let neighbour = Signer { store: "store-1".to_owned(), namespace: tenant, ..elsewhere };
    set.begin_stream();
    let message = told(neighbour.activation(7, &[("a", 2, 1)]));
    assert!(matches!(refusal(&mut set, &message), Refusal::OtherNamespace { .. }));
}

#[test]
fn nothing_more_is_taken_after_a_refusal() {
    let (signer, mut set) = level();
    refusal(&mut set, &told(signer.activation(4, &[("a", 1, 1)])));
    let good = told(signer.activation(7, &[("a", 2, 1)]));
    refusal(&mut set, &good);
    set.begin_stream();
    assert!(set.apply(&good, NOW).is_ok());
}

#[test]
fn an_activation_makes_the_set_that_is_signed() {
    let (signer, mut set) = level();
    let after = |moved: &[InForce<'_>]| {
        let mut activation = signer.activation(7, &[("a", 2, 1)]);
        activation.statement = signer.statement_of(1, 7, &[("a", 2, 1)], Some(ActiveSetRoot(tree(moved).root())));
        told(activation)
    };
    // Another policy was activated before, and left out.
    let other = after(&[("a", 2, 7), ("b", 1, 4), ("c", 1, 6)]);
    assert_eq!(refusal(&mut set, &other), Refusal::OtherSet("statement"));
    set.begin_stream();
    set.apply(&after(&[("a", 2, 7), ("b", 1, 4)]), NOW).expect("the set that is signed");
}
