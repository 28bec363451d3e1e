//! Random lies made of random honest histories, against the library's [`ActiveSet`]: parts of one message put into another, repeated, cut,
//! out of order, for other filters, of another namespace, of a stranger. None needs a key.
//!
//! Whatever comes, what is held is the set that was in force at a place that was signed, never goes back behind what verified, and
//! is fresh only by a checkpoint of its very root; and an honest snapshot repairs it. `LIES` says how many messages, `SEED` which.

use std::collections::BTreeMap;

use policyhub::client::name::NamespaceId;
use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::{Algorithm, PrivateKey};
use policyhub::client::{ActiveSet, ActiveSetOptions, Cursor, SetChange, hex};

use crate::harness::history::{FILTERS, History, POLICIES, Set, Step, TTL_SECONDS, True, asked, id, tree};
use crate::harness::random::Random;
use crate::harness::signer::{Place, Signer, cursor, message, now};

/// Messages of a run that every change pays for.
const LIES: usize = 6_000;
const STREAMS_PER_HISTORY: usize = 40;
const MESSAGES_PER_STREAM: usize = 14;
/// Places that nobody signed, beside those of the history.
const FAR: [Place; 4] = [(1, 1_048_577), (1, 1 << 62), (9, 1), (-1, -6)];

/// How many messages came, and how many were taken, by kind.
#[derive(Debug, Default)]
struct Played {
    messages: usize,
    taken: BTreeMap<&'static str, usize>,
}

/// The worlds that messages come from: the honest history, one of another namespace by the same key, and one by a stranger.
struct Worlds {
    home: History,
    away: Vec<History>,
}

impl Worlds {
    fn random(random: &mut Random) -> Self {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let signer = |store: &str, namespace: &str| Signer {
            key: PrivateKey::from_pem(&pem).expect("a key"),
            store: store.to_owned(),
            namespace: namespace.to_owned(),
        };
        let home = History::random(random, signer("store-1", "default"));
        let away = [signer("store-1", "other"), signer("store-2", "default"), Signer::new()];
        Self { home, away: away.map(|signer| History::random(random, signer)).into() }
    }

    /// A true message of some world; mostly of the right one.
    fn any<'a>(&'a self, random: &mut Random) -> &'a True {
        let world = if random.once_in(10) { random.one_of(&self.away) } else { &self.home };
        random.one_of(&world.messages)
    }
}

/// Puts something of another message into one, or something that nobody signed.
fn lie(random: &mut Random, worlds: &Worlds, told: &mut pb::WatchActiveResponse) {
    let other = worlds.any(random).message.clone();
    let mut places: Vec<Place> = worlds.home.steps.iter().map(|step| step.place).collect();
    places.extend(FAR);
    let place = cursor(*random.one_of(&places));
    let Some((told, other)) = told.message.as_mut().zip(other.message) else { return };
    match (told, other) {
        (Message::Snapshot(told), other) => lie_in_snapshot(random, told, other, place),
        (Message::Activation(told), other) => lie_in_activation(random, told, other, place),
        (Message::Heartbeat(told), Message::Heartbeat(other)) => match random.below(3) {
            0 => told.cursor = place,
            1 => (told.checkpoint, told.cursor) = (other.checkpoint, other.cursor),
            _ => told.set_proof = other.set_proof,
        },
        (Message::Heartbeat(told), Message::Snapshot(other)) => {
            (told.checkpoint, told.cursor, told.set_proof) = (other.checkpoint, other.cursor, other.set_proof);
        }
        _ => {}
    }
}

fn lie_in_snapshot(random: &mut Random, told: &mut pb::Snapshot, other: Message, place: Option<pb::Cursor>) {
    match (random.below(7), other) {
        (0, _) => told.cursor = place,
        (1, _) => told.complete = !told.complete,
        (2, _) => drop(told.bundles.pop()),
        (3, _) if !told.bundles.is_empty() => {
            let at = random.index(told.bundles.len());
            told.bundles[at].activation = place;
        }
        (4, Message::Snapshot(other)) => told.bundles = other.bundles,
        (5, Message::Snapshot(other)) => told.bundles.extend(other.bundles.into_iter().take(1)),
        (6, Message::Snapshot(other)) => told.set_proof = other.set_proof,
        (_, Message::Snapshot(other)) => (told.checkpoint, told.cursor) = (other.checkpoint, other.cursor),
        (_, Message::Heartbeat(other)) => {
            (told.checkpoint, told.cursor, told.set_proof) = (other.checkpoint, other.cursor, other.set_proof);
        }
        _ => told.checkpoint.clear(),
    }
}

fn lie_in_activation(random: &mut Random, told: &mut pb::Activation, other: Message, place: Option<pb::Cursor>) {
    match (random.below(9), other) {
        (0, _) => told.cursor = place,
        (1, _) => told.complete = !told.complete,
        (2, _) => drop(told.bundles.pop()),
        (3, _) => told.tombstones.clear(),
        (4, _) => told.tombstones.push(format!("namespaces/default/policies/{}", random.one_of(&POLICIES))),
        (5, Message::Activation(other)) => told.bundles = other.bundles,
        (6, Message::Activation(other)) => (told.statement, told.cursor) = (other.statement, other.cursor),
        (7, Message::Activation(other)) => told.set_proof = other.set_proof,
        (_, Message::Activation(other)) => {
            (told.statement, told.cursor, told.set_proof) = (other.statement, other.cursor, other.set_proof);
        }
        (_, Message::Snapshot(other)) => {
            told.bundles = other.bundles;
        }
        _ => told.statement.clear(),
    }
}

/// The next thing that is said: often what can be taken, whole or in parts, and often changed.
fn next(random: &mut Random, worlds: &Worlds, filter: &[&str], held: Option<Cursor>) -> Vec<pb::WatchActiveResponse> {
    let place = |each: &&True| Some(worlds.home.steps[each.step].place);
    let held = held.map(|held| (held.epoch, held.revision));
    let is_activation = |each: &&True| matches!(each.message.message, Some(Message::Activation(_)));
    let mut mine = worlds.home.messages.iter().filter(|each| each.filter == filter);
    let follows = mine.clone().find(|each| is_activation(each) && held.is_some() && place(each) > held);
    // What proves that what is held is the newest, or goes on from nothing.
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
            lie(random, worlds, part);
        }
    }
    if random.once_in(15) {
        parts.extend(parts.first().cloned());
    }
    parts
}

/// A message in two parts; what brings nothing has one.
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

fn held_by(set: &ActiveSet) -> BTreeMap<String, (i64, Place)> {
    let held = set.policies().map(|held| {
        let at = (held.activated.epoch, held.activated.revision);
        (held.policy.to_string(), (held.version, at))
    });
    held.collect()
}

fn named(set: Set) -> BTreeMap<String, (i64, Place)> {
    set.into_iter().map(|(policy, held)| (policy.to_owned(), held)).collect()
}

/// The step of what is held, which must be exactly its set.
#[track_caller]
fn check_held<'a>(worlds: &'a Worlds, set: &ActiveSet, filter: &[&str], what: &str) -> Option<&'a Step> {
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

/// What a checkpoint that came says: its root and its end.
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

/// Streams of lies to one subscriber, then the truth.
fn play(random: &mut Random, worlds: &Worlds, played: &mut Played) {
    let filter = *random.one_of(&FILTERS);
    let policies = filter.iter().map(|policy| id(policy)).collect();
    let namespace = NamespaceId::parse("namespace", "default").expect("an id");
    // One of the other worlds is another store by the same key: who did not know the store would take the first that it hears.
    let options = ActiveSetOptions { policies, store: Some("store-1".to_owned()), ..Default::default() };
    let mut set = ActiveSet::new(namespace, worlds.home.signer.keys(), options);
    let mut time = now();
    let mut count = 0;
    while count < MESSAGES_PER_STREAM {
        for told in next(random, worlds, filter, set.cursor()) {
            count += 1;
            if random.once_in(60) {
                time += TTL_SECONDS / 2;
            }
            let before = (held_by(&set), set.cursor(), set.fresh_until_seconds());
            let newest = set.newest_verified();
            let what = format!("{filter:?} {told:?}");
            match set.apply(&told, time) {
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
                let (claimed, end) = claims(&told).unwrap_or_else(|| panic!("{what}: is fresh by nothing"));
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

/// A setting of a run by hand.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_lie_is_taken() {
    let (lies, seed) = (setting("LIES", LIES), setting("SEED", 1));
    let mut played = Played::default();
    let mut histories = seed;
    while played.messages < lies {
        // Said before it fails: the seed of this history alone is enough to see it again.
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
