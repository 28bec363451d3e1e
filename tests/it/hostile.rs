//! A hostile server that sends forged messages to the SDK's watcher: what is in force stays the last verified set, the state says what is
//! wrong, and honest messages are accepted as soon as they come again.
//!
//! Each case is one stream that begins with honest messages and ends with a lie. Lies about snapshots and freshness are in
//! `hostile_whole`, bad ends in `hostile_ends`, endless streams in `hostile_endless`.

use policyhub::client::State;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::pb::{self, Activation};
use policyhub::client::signing::{TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, digest_of};
use serde_json::{Value, json};

use crate::harness::hostile_server::{Act, HostileServer, send};
use crate::harness::signer::{HandSigner, LOG, SignedCursor, SignedMove, content_of, cursor, with};
use crate::harness::watcher_fixture::{PausedClock, WatcherFixture};

/// A lie: its name, the state it leads to, and a part of the status.
pub type HostileCase = (&'static str, State, &'static str, Vec<Act>);

pub const FAR: i64 = i64::MAX;
const BOTH: (SignedCursor, &[SignedMove]) = LOG[2];
/// The only lie with a valid signature: a checkpoint of another set proves that the held set is not the newest.
pub const CONTRADICTED: &str = "a heartbeat of another set";
pub const DIVERGED: State = State::Diverged;
pub const REJECTED: State = State::Rejected;

pub fn activated(activation: Activation) -> Vec<Act> {
    vec![send(Message::Activation(activation))]
}

/// Returns the next activation with a change.
fn forgery(signer: &HandSigner, change: impl FnOnce(&mut Activation)) -> Vec<Act> {
    let mut activation = signer.logged(8);
    change(&mut activation);
    activated(activation)
}

/// Returns the next activation with a changed statement.
fn states(signer: &HandSigner, typ: &str, members: &Value) -> Vec<Act> {
    let statement = signer.token(typ, &with(signer.statement(BOTH.0, BOTH.1), members));
    forgery(signer, |activation| activation.statement = statement)
}

/// Returns the next activation with a changed header.
fn heads(signer: &HandSigner, members: &Value) -> Vec<Act> {
    let key = signer.key.public();
    let header = json!({ "alg": key.algorithm().as_str(), "kid": key.key_id(), "typ": TYP_ACTIVATION });
    let statement = signer.token_with(&with(header, members), &signer.statement(BOTH.0, BOTH.1));
    forgery(signer, |activation| activation.statement = statement)
}

/// Returns the next activation with another first bundle.
fn shows(signer: &HandSigner, bundle: pb::Bundle) -> Vec<Act> {
    forgery(signer, |activation| activation.bundles[0] = bundle)
}

/// Lies about order: repeated messages, and messages that come too early.
fn order(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    vec![
        ("an activation that was applied before", DIVERGED, "is not after 1:6", activated(signer.logged(4))),
        ("the last activation again", DIVERGED, "is not after 1:6", activated(signer.logged(6))),
        ("an activation left out", DIVERGED, "follows version 2", activated(signer.logged(10))),
        (
            "activations in another order",
            DIVERGED,
            "follows version 2",
            [activated(signer.logged(10)), activated(signer.logged(8))].concat(),
        ),
        ("a revision out of reach", REJECTED, "is signed for 1:8", forgery(signer, |m| m.cursor = cursor((1, FAR)))),
        ("an epoch out of reach", REJECTED, "is signed for 1:8", forgery(signer, |m| m.cursor = cursor((FAR, 8)))),
        ("a revision below zero", REJECTED, "is signed for 1:8", forgery(signer, |m| m.cursor = cursor((1, -8)))),
        ("an epoch below zero", REJECTED, "is signed for 1:8", forgery(signer, |m| m.cursor = cursor((-1, 8)))),
        ("no place", REJECTED, "cursor is absent", forgery(signer, |m| m.cursor = None)),
        (
            "another place beside the statement",
            REJECTED,
            "signed for 1:8, not 1:9",
            forgery(signer, |m| m.cursor = cursor((1, 9))),
        ),
        (
            "a raised epoch beside the statement",
            REJECTED,
            "signed for 1:8, not 2:8",
            forgery(signer, |m| m.cursor = cursor((2, 8))),
        ),
    ]
}

/// Lies about groups: missing, added and exchanged parts.
fn groups(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let tombstone = |name: &'static str| forgery(signer, |m| m.tombstones.push(name.to_owned()));
    let other = signer.activation((1, 8), &[("c", 0, 1), ("b", 1, 2)]);
    vec![
        ("half of a group", REJECTED, "change of b is missing", forgery(signer, |m| drop(m.bundles.pop()))),
        ("nothing of a group", REJECTED, "is missing", forgery(signer, |m| m.bundles.clear())),
        ("halves of two groups", REJECTED, "change of a is missing", shows(signer, other.bundles[0].clone())),
        (
            "the statement of another group",
            REJECTED,
            "change of c is missing",
            forgery(signer, |m| m.statement = other.statement),
        ),
        (
            "a policy beside the group",
            REJECTED,
            "c is there twice, or was not asked for",
            forgery(signer, |m| m.bundles.push(signer.bundle("c", 1))),
        ),
        ("a policy twice", REJECTED, "there twice", forgery(signer, |m| m.bundles.push(m.bundles[0].clone()))),
        ("a tombstone beside the group", REJECTED, "not asked for", tombstone("namespaces/default/policies/c")),
        (
            "a tombstone instead of a bundle",
            REJECTED,
            "is missing",
            forgery(signer, |m| {
                m.bundles.remove(0);
                m.tombstones.push("namespaces/default/policies/a".to_owned());
            }),
        ),
        ("a tombstone of another namespace", REJECTED, "namespace other", tombstone("namespaces/other/policies/a")),
        ("a tombstone that is no name", REJECTED, "name of a tombstone", tombstone("../../a")),
        (
            "a thousand tombstones",
            REJECTED,
            "more changes than one can have",
            forgery(signer, |m| {
                m.tombstones.extend((0..1_000).map(|number| format!("namespaces/default/policies/p{number}")));
            }),
        ),
    ]
}

/// Lies in bundles: other bytes, other fields, other owners.
fn bundles(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let (stranger, content) = (HandSigner::new(), content_of("a", 3));
    let elsewhere = HandSigner { store: "store-2".to_owned(), ..HandSigner::new() };
    let signed = |members: Value| {
        let bundle = signer.bundle_with("a", 2, &with(signer.manifest("a", 2), &members));
        shows(signer, bundle)
    };
    let beside = |change: fn(&mut pb::Bundle)| forgery(signer, |m| change(&mut m.bundles[0]));
    let swapped = forgery(signer, |m| {
        let first = m.bundles[0].content.clone();
        m.bundles[0].content = std::mem::replace(&mut m.bundles[1].content, first);
    });
    let other = with(signer.manifest("a", 2), &json!({ "digest": digest_of(&content).to_string() }));
    let mut consistent = signer.bundle_with("a", 2, &other);
    (consistent.digest, consistent.content) = (digest_of(&content).to_string(), content);
    let not_stated = "does not put this version of a in force";
    vec![
        (
            "a content with one bit flipped",
            REJECTED,
            "signed digest",
            beside(|b| {
                let mut bytes = b.content.to_vec();
                bytes[3] ^= 4;
                b.content = bytes.into();
            }),
        ),
        ("a longer content", REJECTED, "signed size", beside(|b| b.content = [&b.content[..], b" "].concat().into())),
        ("no content", REJECTED, "signed size", beside(|b| b.content.clear())),
        ("a content over the limit", REJECTED, "too large", beside(|b| b.content = vec![0; 2 << 20].into())),
        ("contents swapped", REJECTED, "signed digest", swapped),
        ("another content, signed, of the same version", REJECTED, not_stated, shows(signer, consistent)),
        ("an older version", REJECTED, not_stated, shows(signer, signer.bundle("a", 1))),
        ("a newer version", REJECTED, not_stated, shows(signer, signer.bundle("a", 3))),
        (
            "another name beside the manifest",
            REJECTED,
            "policy of b is not",
            beside(|b| b.name = b.name.replace("/a/", "/b/")),
        ),
        ("another label beside the manifest", REJECTED, "label of a is not", beside(|b| b.label = "9.0.0".to_owned())),
        (
            "another type beside the manifest",
            REJECTED,
            "content type of a",
            beside(|b| b.content_type = "text/html".to_owned()),
        ),
        (
            "another digest beside the manifest",
            REJECTED,
            "digest of a is not",
            beside(|b| b.digest = digest_of(b"").to_string()),
        ),
        ("another size beside the manifest", REJECTED, "size of a is not", beside(|b| b.size_bytes = -1)),
        ("another version beside the manifest", REJECTED, "version of a bundle", beside(|b| b.version = FAR)),
        ("a name that is no name", REJECTED, "name of a bundle", beside(|b| b.name = "\u{1b}[31m".to_owned())),
        ("a manifest of another namespace", REJECTED, "namespace other", signed(json!({ "namespace": "other" }))),
        ("a manifest of another store", DIVERGED, "store store-2", signed(json!({ "store": "store-2" }))),
        ("a manifest by a stranger", REJECTED, "key is not known", shows(signer, stranger.bundle("a", 2))),
        ("all of it by another store's key", REJECTED, "key is not known", activated(elsewhere.logged(8))),
        (
            "a statement as a manifest",
            REJECTED,
            "typ is not",
            forgery(signer, |m| m.bundles[0].manifest.clone_from(&m.statement)),
        ),
        ("a manifest that is no token", REJECTED, "three parts", beside(|b| b.manifest = "x".repeat(1 << 20))),
    ]
}

/// Lies in statements: other keys, other headers, other claims.
fn statements(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let stranger = HandSigner::new();
    let forged = stranger.token_with(
        &json!({ "alg": "EdDSA", "kid": signer.key.public().key_id(), "typ": TYP_ACTIVATION }),
        &signer.statement(BOTH.0, BOTH.1),
    );
    let statement = signer.logged(8).statement;
    let (head, signature) = (statement.split_once('.').expect("parts").0, statement.rsplit_once('.').expect("parts").1);
    let payload_swapped =
        format!("{head}.{}.{signature}", signer.logged(10).statement.split('.').nth(1).expect("a payload"));
    let giant = format!("{head}.{}.{signature}", "A".repeat(1 << 20));
    let token = |text: String| forgery(signer, |m| m.statement = text);
    let mut cases = vec![
        ("a statement by a stranger", REJECTED, "key is not known", token(stranger.logged(8).statement)),
        ("a stranger's signature under our kid", REJECTED, "signature does not verify", token(forged)),
        ("another payload under the signature", REJECTED, "signature does not verify", token(payload_swapped)),
        ("no statement", REJECTED, "three parts", token(String::new())),
        ("a giant payload", REJECTED, "payload is too large", token(giant)),
        ("a giant header", REJECTED, "header is too large", token(format!("{}.x.y", "A".repeat(1 << 20)))),
        ("a million dots", REJECTED, "three parts", token(".".repeat(1 << 20))),
        ("alg none", REJECTED, "algorithm is not supported", heads(signer, &json!({ "alg": "none" }))),
        ("alg HS256", REJECTED, "algorithm is not supported", heads(signer, &json!({ "alg": "HS256" }))),
        ("alg of another kind of key", REJECTED, "not that of the key", heads(signer, &json!({ "alg": "ES256" }))),
        ("a kid that is a path", REJECTED, "key is not known", heads(signer, &json!({ "kid": "../../keys/1" }))),
        ("typ of a checkpoint", REJECTED, "typ is not", states(signer, TYP_CHECKPOINT, &json!({}))),
        ("typ of a manifest", REJECTED, "typ is not", states(signer, TYP_BUNDLE, &json!({}))),
        (
            "a statement of another namespace",
            REJECTED,
            "namespace other",
            states(signer, TYP_ACTIVATION, &json!({ "namespace": "other" })),
        ),
        (
            "a statement of another store",
            DIVERGED,
            "store store-2",
            states(signer, TYP_ACTIVATION, &json!({ "store": "store-2" })),
        ),
        (
            "a statement without changes",
            REJECTED,
            "a is there twice, or was not asked for",
            states(signer, TYP_ACTIVATION, &json!({ "changes": [] })),
        ),
    ];
    for member in ["crit", "b64", "zip", "jku", "jwk", "x5u", "x5c", "cty"] {
        let name = Box::leak(format!("{member} in the header").into_boxed_str());
        cases.push((name, REJECTED, "header is not exactly", heads(signer, &json!({ member: "x" }))));
    }
    cases
}

/// Plays each lie of a family and returns their number.
pub async fn play(family: impl Fn(&HostileServer) -> Vec<HostileCase>) -> usize {
    let clock = PausedClock::stopped();
    let count = family(&HostileServer::listen().await.0).len();
    for index in 0..count {
        let mut case = None;
        let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
            let (name, state, says, acts) = family(hostile).swap_remove(index);
            case = Some((name, state, says));
            acts
        })
        .await;
        let (name, state, says) = case.expect("a case");
        let status = fixture.until(name, |status| !status.is_connected).await;
        assert_eq!(status.state, state, "{name}: {status:?}");
        assert!(status.problem.contains(says), "{name}: {status:?}");
        assert_eq!(status.is_stale, name == CONTRADICTED, "{name}: a lie takes nothing away");
        fixture.holds(6);
        fixture.idle().await;
        assert_eq!(fixture.asked().0, 1, "{name}: no second stream before its time");
        fixture.converges(name).await;
        assert_eq!(fixture.asked(), (2, true), "{name}: after a refusal comes a snapshot");
    }
    count
}

#[tokio::test(start_paused = true)]
async fn lies_about_order() {
    assert_eq!(play(order).await, 11);
}

#[tokio::test(start_paused = true)]
async fn lies_about_groups() {
    assert_eq!(play(groups).await, 11);
}

#[tokio::test(start_paused = true)]
async fn lies_about_bundles() {
    assert_eq!(play(bundles).await, 21);
}

#[tokio::test(start_paused = true)]
async fn lies_about_statements() {
    assert_eq!(play(statements).await, 24);
}
