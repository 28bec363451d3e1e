//! Random lies made from random honest histories, against the library's [`ActiveSet`]: parts of one message put into another, repeated,
//! cut, out of order, for other filters, of another namespace, signed by another key. None needs a signing key.
//!
//! Whatever comes, the held set is the one that was in force at a signed cursor, is never older than what was verified, and is fresh only
//! by a checkpoint of its own root; and an honest snapshot repairs it. `LIES` is the number of messages, `SEED` selects them.

use std::collections::BTreeMap;

use policyhub::client::name::NamespaceId;
use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::{Algorithm, PrivateKey};
use policyhub::client::{ActiveSet, ActiveSetOptions, Cursor, SetChange, hex};

use crate::harness::history::{
    FILTERS, GeneratedHistory, HistorySet, HistoryStep, POLICIES, TTL_SECONDS, True, asked, id, tree,
};
use crate::harness::random::Random;
use crate::harness::signer::{HandSigner, SignedCursor, cursor, message, now};

/// Number of messages of a run that every change runs.
const LIES: usize = 6_000;
const STREAMS_PER_HISTORY: usize = 40;
const MESSAGES_PER_STREAM: usize = 14;
/// Cursors that nobody signed, beside those of the history.
const FAR: [SignedCursor; 4] = [(1, 1_048_577), (1, 1 << 62), (9, 1), (-1, -6)];

/// The number of messages that came, and of those that were accepted, by kind.
#[derive(Debug, Default)]
struct Played {
    messages: usize,
    taken: BTreeMap<&'static str, usize>,
}

/// The sources of messages: the honest history, one of another namespace with the same key, and one with another key.
struct Worlds {
    home: GeneratedHistory,
    away: Vec<GeneratedHistory>,
}

impl Worlds {
    fn random(random: &mut Random) -> Self {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let signer = |store: &str, namespace: &str| HandSigner {
            key: PrivateKey::from_pem(&pem).expect("a key"),
            store: store.to_owned(),
            namespace: namespace.to_owned(),
        };
        let home = GeneratedHistory::random(random, signer("store-1", "default"));
        let away = [signer("store-1", "other"), signer("store-2", "default"), HandSigner::new()];
        Self { home, away: away.map(|signer| GeneratedHistory::random(random, signer)).into() }
    }

    /// Returns an honest message of some source, mostly of the right one.
    fn any<'a>(&'a self, random: &mut Random) -> &'a True {
        let world = if random.once_in(10) { random.one_of(&self.away) } else { &self.home };
        random.one_of(&world.messages)
    }
}

/// Puts a part of another message, or something that nobody signed, into a message.
fn forge(random: &mut Random, worlds: &Worlds, received: &mut pb::WatchActiveResponse) {
    let other = worlds.any(random).message.clone();
    let mut places: Vec<SignedCursor> = worlds.home.steps.iter().map(|step| step.place).collect();
    places.extend(FAR);
    let place = cursor(*random.one_of(&places));
    let Some((received, other)) = received.message.as_mut().zip(other.message) else { return };
    match (received, other) {
        (Message::Snapshot(received), other) => lie_in_snapshot(random, received, other, place),
        (Message::Activation(received), other) => lie_in_activation(random, received, other, place),
        (Message::Heartbeat(received), Message::Heartbeat(other)) => match random.below(3) {
            0 => received.cursor = place,
            1 => (received.checkpoint, received.cursor) = (other.checkpoint, other.cursor),
            _ => received.set_proof = other.set_proof,
        },
        (Message::Heartbeat(received), Message::Snapshot(other)) => {
            (received.checkpoint, received.cursor, received.set_proof) =
                (other.checkpoint, other.cursor, other.set_proof);
        }
        _ => {}
    }
}

fn lie_in_snapshot(random: &mut Random, received: &mut pb::Snapshot, other: Message, place: Option<pb::Cursor>) {
    match (random.below(7), other) {
        (0, _) => received.cursor = place,
        (1, _) => received.complete = !received.complete,
        (2, _) => drop(received.bundles.pop()),
        (3, _) if !received.bundles.is_empty() => {
            let at = random.index(received.bundles.len());
            received.bundles[at].activation = place;
        }
        (4, Message::Snapshot(other)) => received.bundles = other.bundles,
        (5, Message::Snapshot(other)) => received.bundles.extend(other.bundles.into_iter().take(1)),
        (6, Message::Snapshot(other)) => received.set_proof = other.set_proof,
        (_, Message::Snapshot(other)) => (received.checkpoint, received.cursor) = (other.checkpoint, other.cursor),
        (_, Message::Heartbeat(other)) => {
            (received.checkpoint, received.cursor, received.set_proof) =
                (other.checkpoint, other.cursor, other.set_proof);
        }
        _ => received.checkpoint.clear(),
    }
}

fn lie_in_activation(random: &mut Random, received: &mut pb::Activation, other: Message, place: Option<pb::Cursor>) {
    match (random.below(9), other) {
        (0, _) => received.cursor = place,
        (1, _) => received.complete = !received.complete,
        (2, _) => drop(received.bundles.pop()),
        (3, _) => received.tombstones.clear(),
        (4, _) => received.tombstones.push(format!("namespaces/default/policies/{}", random.one_of(&POLICIES))),
        (5, Message::Activation(other)) => received.bundles = other.bundles,
        (6, Message::Activation(other)) => (received.statement, received.cursor) = (other.statement, other.cursor),
        (7, Message::Activation(other)) => received.set_proof = other.set_proof,
        (_, Message::Activation(other)) => {
            (received.statement, received.cursor, received.set_proof) =
                (other.statement, other.cursor, other.set_proof);
        }
        (_, Message::Snapshot(other)) => {
            received.bundles = other.bundles;
        }
        _ => received.statement.clear(),
    }
}

/// Returns the next messages: often acceptable ones, whole or in parts, and often changed.
fn next(random: &mut Random, worlds: &Worlds, filter: &[&str], held: Option<Cursor>) -> Vec<pb::WatchActiveResponse> {
    let place = |each: &&True| Some(worlds.home.steps[each.step].place);
    let held = held.map(|held| (held.epoch, held.revision));
    let is_activation = |each: &&True| matches!(each.message.message, Some(Message::Activation(_)));
    let mut mine = worlds.home.messages.iter().filter(|each| each.filter == filter);
    let follows = mine.clone().find(|each| is_activation(each) && held.is_some() && place(each) > held);
    // Messages that prove that the held set is the newest, or that begin without one.
    let level: Vec<&True> = mine.clone().filter(|each| !is_activation(each) && place(each) >= held).collect();
    let chosen = match (follows, random.below(10)) {
        (Some(follows), 0..5) => follows,
        (_, 0..8) if !level.is_empty() => level[random.index(level.len().min(4))],
        (_, 8) => mine.nth(random.index(mine.clone().count())).expect("a message"),
        _ => worlds.any(random),
    };
    let mut parts = if random.once_in(3) { in_parts(&chosen.message) } else { vec![chosen.message.clone()] };
    if random.once_in(12) {
        parts.remove(random.index(parts.len()));
    }
    for part in &mut parts {
        for _ in 0..*random.one_of(&[0, 0, 0, 0, 1, 1, 2, 3]) {
            forge(random, worlds, part);
        }
    }
    if random.once_in(15) {
        parts.extend(parts.first().cloned());
    }
    parts
}

/// Returns a message in two parts; a message without bundles has one.
fn in_parts(whole: &pb::WatchActiveResponse) -> Vec<pb::WatchActiveResponse> {
    let mut end = whole.clone();
    let first = match &mut end.message {
        Some(Message::Snapshot(end)) if !end.bundles.is_empty() => {
            Message::Snapshot(pb::Snapshot { bundles: vec![end.bundles.remove(0)], ..Default::default() })
        }
        Some(Message::Activation(end)) if !end.bundles.is_empty() => {
            Message::Activation(pb::Activation { bundles: vec![end.bundles.remove(0)], ..Default::default() })
        }
        _ => return vec![end],
    };
    vec![message(first), end]
}

fn held_by(set: &ActiveSet) -> BTreeMap<String, (i64, SignedCursor)> {
    let held = set.policies().map(|held| {
        let at = (held.activated.epoch, held.activated.revision);
        (held.policy.to_string(), (held.version, at))
    });
    held.collect()
}

fn named(set: HistorySet) -> BTreeMap<String, (i64, SignedCursor)> {
    set.into_iter().map(|(policy, held)| (policy.to_owned(), held)).collect()
}

/// Checks that the held set is exactly that of a step, and returns the step.
#[track_caller]
fn check_held<'a>(worlds: &'a Worlds, set: &ActiveSet, filter: &[&str], what: &str) -> Option<&'a HistoryStep> {
    let found = held_by(set);
    let Some(cursor) = set.cursor() else {
        assert!(found.is_empty(), "{what}: holds {found:?} at no place");
        return None;
    };
    let step = worlds.home.at((cursor.epoch, cursor.revision));
    let step = step.unwrap_or_else(|| panic!("{what}: holds {cursor:?}, which nobody signed"));
    assert_eq!(found, named(asked(&step.set, filter)), "{what}: at {cursor:?}");
    Some(step)
}

/// Returns the root and the expiry of a message's checkpoint.
fn claims(message: &pb::WatchActiveResponse) -> Option<(String, i64)> {
    use base64::Engine as _;
    let token = match message.message.as_ref()? {
        Message::Snapshot(part) => &part.checkpoint,
        Message::Heartbeat(heartbeat) => &heartbeat.checkpoint,
        _ => return None,
    };
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some((payload["active_set_root"].as_str()?.to_owned(), payload["exp"].as_i64()?))
}

fn kind(change: &SetChange) -> &'static str {
    match change {
        SetChange::Replaced { .. } => "snapshot",
        SetChange::Activated { .. } => "activation",
        SetChange::Alive { is_newest: true, .. } => "fresh heartbeat",
        SetChange::Alive { .. } => "expired heartbeat",
        _ => "part",
    }
}

/// Plays streams of lies to one subscriber, then the honest one.
fn play(random: &mut Random, worlds: &Worlds, played: &mut Played) {
    let filter = *random.one_of(&FILTERS);
    let policies = filter.iter().map(|policy| id(policy)).collect();
    let namespace = NamespaceId::parse("namespace", "default").expect("an id");
    // One of the other sources is another store with the same key: a subscriber without a pinned store would accept the first one it
    // receives.
    let options = ActiveSetOptions { policies, store: Some("store-1".to_owned()), ..Default::default() };
    let mut set = ActiveSet::new(namespace, worlds.home.signer.keys(), options);
    let mut time = now();
    let mut count = 0;
    while count < MESSAGES_PER_STREAM {
        for received in next(random, worlds, filter, set.cursor()) {
            count += 1;
            if random.once_in(60) {
                time += TTL_SECONDS / 2;
            }
            let before = (held_by(&set), set.cursor(), set.fresh_until_seconds());
            let newest = set.newest_verified();
            let what = format!("{filter:?} {received:?}");
            match set.apply(&received, time) {
                Ok(change) => {
                    *played.taken.entry(kind(&change)).or_default() += 1;
                    assert!(set.cursor() >= before.1, "{what}: goes back");
                    let is_moved = matches!(change, SetChange::Replaced { .. } | SetChange::Activated { .. });
                    assert!(!is_moved || set.cursor() >= Some(newest), "{what}: takes what is older than {newest:?}");
                }
                Err(_) => {
                    assert_eq!((held_by(&set), set.cursor()), (before.0, before.1), "{what}: changes, and is refused");
                    assert!([0, before.2].contains(&set.fresh_until_seconds()), "{what}: is refused, and makes fresh");
                    set.begin_stream();
                }
            }
            assert!(set.newest_verified() >= newest, "{what}: forgets {newest:?}");
            let step = check_held(worlds, &set, filter, &what);
            if set.fresh_until_seconds() > before.2 {
                let root = hex(&tree(&step.expect("a place").set).root());
                let (claimed, end) = claims(&received).unwrap_or_else(|| panic!("{what}: is fresh by nothing"));
                assert!(claimed == root && set.fresh_until_seconds() <= end, "{what}: is fresh by another set");
            }
        }
    }
    played.messages += count;
    set.begin_stream();
    let last = worlds.home.steps.len() - 1;
    let truth = message(Message::Snapshot(worlds.home.snapshot(last, filter, now() - time)));
    set.apply(&truth, time).unwrap_or_else(|refusal| panic!("an honest snapshot does not repair it: {refusal}"));
    check_held(worlds, &set, filter, "the truth");
    assert!(!set.is_stale(time), "an honest snapshot makes fresh");
}

/// Returns a setting for manual runs.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_lie_is_taken() {
    let (lies, seed) = (setting("LIES", LIES), setting("SEED", 1));
    let mut played = Played::default();
    let mut histories = seed;
    while played.messages < lies {
        // Print the seed before the failure: it is enough to repeat this history.
        let shown = std::panic::AssertUnwindSafe(&mut played);
        let run = std::panic::catch_unwind(move || {
            let mut random = Random::new(u64::try_from(histories).expect("a number"));
            let worlds = Worlds::random(&mut random);
            let std::panic::AssertUnwindSafe(played) = { shown };
            for _ in 0..STREAMS_PER_HISTORY {
                play(&mut random, &worlds, played);
            }
        });
        if let Err(panic) = run {
            eprintln!("again with SEED={histories} LIES=1");
            std::panic::resume_unwind(panic);
        }
        histories += 1;
    }
    println!("{} messages of {} histories, taken: {:?}", played.messages, histories - seed, played.taken);
    for kind in ["snapshot", "activation", "fresh heartbeat", "expired heartbeat", "part"] {
        let taken = played.taken.get(kind).copied().unwrap_or_default();
        assert!(lies < 1_000 || taken > played.messages / 200, "{taken} of {kind}: they prove little");
    }
}
