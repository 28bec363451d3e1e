//! Every lie of the stream vectors, made from recorded messages: none of them needs a key.
//!
//! Invariant: messages are cut, mixed, renamed and left out; nothing is signed here.

use std::collections::BTreeMap;

use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;

use super::format::{StreamCase, StreamVerdict};
use super::record::RecordedMessages;
use super::{lies_filtered, lies_whole};

/// The last place of the history.
pub const NEWEST: &str = "p7";
/// The place that most subscribers hold before a lie.
pub const HELD: &str = "p3";
pub const READY: &str = "READY";
pub const STALE: &str = "STALE";
pub const REJECTED: &str = "REJECTED";
pub const DIVERGED: &str = "DIVERGED";
/// A revision that is never reached.
pub const FAR: i64 = 1 << 62;

/// The cases, and the messages that were made for them.
pub struct LieCases<'a> {
    pub recorded: &'a RecordedMessages,
    made: BTreeMap<String, Vec<pb::WatchActiveResponse>>,
    cases: Vec<StreamCase>,
}

pub fn snapshot(message: &mut pb::WatchActiveResponse) -> &mut pb::Snapshot {
    let Some(Message::Snapshot(part)) = &mut message.message else { panic!("no snapshot") };
    part
}

pub fn activation(message: &mut pb::WatchActiveResponse) -> &mut pb::Activation {
    let Some(Message::Activation(part)) = &mut message.message else { panic!("no activation") };
    part
}

pub fn heartbeat(message: &mut pb::WatchActiveResponse) -> &mut pb::Heartbeat {
    let Some(Message::Heartbeat(heartbeat)) = &mut message.message else { panic!("no heartbeat") };
    heartbeat
}

pub fn cursor(epoch: i64, revision: i64) -> Option<pb::Cursor> {
    Some(pb::Cursor { epoch, revision, ..Default::default() })
}

impl<'a> LieCases<'a> {
    /// Returns all cases and their messages.
    pub fn of(recorded: &'a RecordedMessages) -> (Vec<StreamCase>, BTreeMap<String, Vec<pb::WatchActiveResponse>>) {
        let mut cases = Self { recorded, made: BTreeMap::new(), cases: Vec::new() };
        cases.honest();
        cases.order();
        cases.parts();
        cases.splices();
        cases.places();
        lies_whole::add_cases(&mut cases);
        lies_filtered::add_cases(&mut cases);
        (cases.cases, cases.made)
    }

    /// Adds a changed copy of a message and returns its name.
    pub fn edit(&mut self, of: &str, what: &str, change: impl FnOnce(&mut pb::WatchActiveResponse)) -> String {
        let mut message = self.recorded.message(of);
        change(&mut message);
        let name = format!("lie: {of}, {what}");
        assert!(self.made.insert(name.clone(), vec![message]).is_none(), "{name} is there twice");
        name
    }

    /// Returns the snapshot of a message.
    pub fn snapshot_of(&self, name: &str) -> pb::Snapshot {
        snapshot(&mut self.recorded.message(name)).clone()
    }

    pub fn activation_of(&self, name: &str) -> pb::Activation {
        activation(&mut self.recorded.message(name)).clone()
    }

    pub fn heartbeat_of(&self, name: &str) -> pb::Heartbeat {
        heartbeat(&mut self.recorded.message(name)).clone()
    }

    /// Adds a case of a subscriber with a filter that holds a place. Streams after the first one begin after `|`.
    pub fn add(&mut self, filter: &str, kind: &str, name: &str, lie: &[&str], then: (Option<&str>, &str, usize)) {
        self.tell_at(self.recorded.clock, (filter, Some(HELD)), kind, name, lie, then);
    }

    pub fn tell_at(
        &mut self,
        clock: i64,
        (filter, held): (&str, Option<&str>),
        kind: &str,
        name: &str,
        lie: &[&str],
        (holds, state, refused): (Option<&str>, &str, usize),
    ) {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let of = |what: &str, place: &str| format!("{filter}.{what}.{place}");
        let opened = || vec!["opened".to_owned(), "keys.1".to_owned()];
        let begins = held.map(|place| vec![of("snapshot", place), of("heartbeat", place)]).unwrap_or_default();
        let mut lies: Vec<Vec<String>> = lie.split(|name| *name == "|").map(owned).collect();
        for later in lies.iter_mut().skip(1) {
            later.splice(0..0, opened());
        }
        let place = if clock == self.recorded.clock { NEWEST } else { "late" };
        let repair = ["opened".to_owned(), "keys.1".to_owned(), "keys.2".to_owned(), of("snapshot", place)];
        // A contradiction makes a fresh set stale; a late message never made it fresh.
        let is_later =
            |name: &&str| ["p4", "p5", "p6"].iter().any(|place| name.contains(&format!(".heartbeat.{place}")));
        let is_gap = state == DIVERGED && lie.iter().any(is_later);
        let stale = clock != self.recorded.clock || holds.is_none() || is_gap;
        self.cases.push(StreamCase {
            name: name.to_owned(),
            kind: kind.to_owned(),
            filter: match filter {
                "a" => owned(&["a"]),
                "ac" => owned(&["a", "c"]),
                _ => Vec::new(),
            },
            clock,
            before: opened().into_iter().chain(begins).collect(),
            lie: lies,
            then: StreamVerdict { holds: holds.map(str::to_owned), state: state.to_owned(), stale, refused },
            repair: repair.into_iter().chain([of("heartbeat", place)]).collect(),
            after: NEWEST.to_owned(),
        });
    }

    /// No lies: the messages of the real server, to the end.
    fn honest(&mut self) {
        let all: Vec<String> = ["all.heartbeat.p3".to_owned()]
            .into_iter()
            .chain((4..=6).flat_map(|place| [format!("all.activation.p{place}"), format!("all.heartbeat.p{place}")]))
            .chain(["keys.2".to_owned(), "all.activation.p7".to_owned(), "all.heartbeat.p7".to_owned()])
            .collect();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        self.add("all", "honest", "a history to its end", &names, (Some(NEWEST), READY, 0));
        let filtered = [
            "a.activation.p4",
            "a.heartbeat.p4",
            "a.heartbeat.p5",
            "a.heartbeat.p6",
            "keys.2",
            "a.activation.p7",
            "a.heartbeat.p7",
        ];
        self.add("a", "honest", "a history of one policy", &filtered, (Some(NEWEST), READY, 0));
        let filtered = ["ac.activation.p4", "ac.activation.p5", "ac.heartbeat.p5", "ac.heartbeat.p6"];
        self.add("ac", "honest", "a history of two policies", &filtered, (Some("p6"), READY, 0));
        let beginning =
            ["all.snapshot.p0", "all.activation.p1", "all.activation.p2", "all.activation.p3", "all.heartbeat.p3"];
        let clock = self.recorded.clock;
        let then = (Some("p3"), READY, 0);
        self.tell_at(clock, ("all", None), "honest", "a history from nothing on", &beginning, then);
    }

    /// Dropped, reordered and repeated messages.
    fn order(&mut self) {
        let (held, gap) = (Some(HELD), |refused| (Some(HELD), DIVERGED, refused));
        self.add("all", "drop", "an activation is dropped, the next one comes", &["all.activation.p5"], gap(1));
        self.add("all", "drop", "an activation is dropped, a heartbeat comes", &["all.heartbeat.p4"], gap(1));
        let old = ["all.heartbeat.p3", "all.heartbeat.p3"];
        self.add("all", "drop", "everything is dropped, and heartbeats come again", &old, (held, READY, 0));
        let late = self.recorded.late;
        let then = (held, STALE, 0);
        self.tell_at(late, ("all", held), "drop", "the same, until they have expired", &old, then);
        let swapped = ["all.activation.p5", "all.activation.p4"];
        self.add("all", "reorder", "two activations in the other order", &swapped, gap(1));
        let swapped = ["all.heartbeat.p4", "all.activation.p4"];
        self.add("all", "reorder", "a heartbeat before its activation", &swapped, gap(1));
        for (name, lie) in [
            ("the last activation again", "all.activation.p3"),
            ("an older activation", "all.activation.p1"),
            ("an older heartbeat", "all.heartbeat.p2"),
            ("an older snapshot", "all.snapshot.p2"),
        ] {
            self.add("all", "replay", name, &[lie], gap(1));
        }
        let streams = ["all.heartbeat.p4", "|", "all.snapshot.p3"];
        self.add("all", "replay", "what was held, after something newer verified", &streams, gap(2));
        let streams = ["all.heartbeat.p4", "|", "all.snapshot.p3", "|", "all.snapshot.p2", "|", "all.heartbeat.p3"];
        self.add("all", "replay", "older and older, after something newer verified", &streams, gap(4));
    }

    /// Incomplete messages, and parts of several.
    fn parts(&mut self) {
        let held = Some(HELD);
        let first = self.edit("all.snapshot.p4", "its first part", |m| {
            let part = snapshot(m);
            part.bundles.truncate(1);
            (part.complete, part.cursor, part.checkpoint) = (false, None, String::new());
        });
        let rest = self.edit("all.snapshot.p4", "its last part", |m| drop(snapshot(m).bundles.remove(0)));
        let other = self.edit("all.snapshot.p2", "its first part", |m| {
            let part = snapshot(m);
            part.bundles.truncate(1);
            (part.complete, part.cursor, part.checkpoint) = (false, None, String::new());
        });
        self.add("all", "honest", "a snapshot in two parts", &[&first, &rest], (Some("p4"), READY, 0));
        self.add("all", "truncate", "half a snapshot", &[&first], (held, READY, 0));
        self.add("all", "truncate", "the last part of a snapshot alone", &[&rest], (held, DIVERGED, 1));
        self.add("all", "splice of two times", "parts of two snapshots", &[&other, &rest], (held, DIVERGED, 1));
        // As a server splits an activation that is larger than a message.
        let first = self.edit("all.activation.p3", "its first part", |m| {
            let part = activation(m);
            part.bundles.truncate(1);
            (part.complete, part.cursor, part.statement) = (false, None, String::new());
        });
        let rest = self.edit("all.activation.p3", "its last part", |m| drop(activation(m).bundles.remove(0)));
        let clock = self.recorded.clock;
        for (kind, name, lie, then) in [
            ("honest", "an activation in two parts", vec![first.as_str(), &rest], (Some("p3"), READY, 0)),
            ("truncate", "half an activation", vec![&first], (Some("p2"), READY, 0)),
            ("truncate", "the last part of an activation alone", vec![&rest], (Some("p2"), REJECTED, 1)),
            (
                "truncate",
                "half an activation, and a heartbeat",
                vec![&first, "all.heartbeat.p2"],
                (Some("p2"), REJECTED, 1),
            ),
            (
                "truncate",
                "half an activation, and another one",
                vec![&first, "all.activation.p4"],
                (Some("p2"), REJECTED, 1),
            ),
        ] {
            self.tell_at(clock, ("all", Some("p2")), kind, name, &lie, then);
        }
    }

    /// Parts of two times or two namespaces in one message.
    fn splices(&mut self) {
        let (held, times, namespaces) = (Some(HELD), "splice of two times", "splice of two namespaces");
        let before = self.snapshot_of("all.snapshot.p2");
        let lie = self.edit("all.snapshot.p4", "with a policy of an older one", |m| {
            snapshot(m).bundles[1] = before.bundles[1].clone();
        });
        self.add("all", times, "a policy of an older snapshot", &[&lie], (held, DIVERGED, 1));
        let earlier = self.activation_of("all.activation.p3");
        let lie = self.edit("all.activation.p4", "with the bundles of an older one", |m| {
            activation(m).bundles = earlier.bundles.clone();
        });
        self.add("all", times, "bundles of an older activation", &[&lie], (held, REJECTED, 1));
        self.add("all", namespaces, "a snapshot of another namespace", &["other.snapshot.p1"], (held, REJECTED, 1));
        self.add(
            "all",
            namespaces,
            "an activation of another namespace",
            &["other.activation.p1"],
            (held, REJECTED, 1),
        );
        self.add("all", namespaces, "a heartbeat of another namespace", &["other.heartbeat.p1"], (held, REJECTED, 1));
        let other = self.snapshot_of("other.snapshot.p1");
        let lie = self.edit("all.snapshot.p4", "with a policy of another namespace", |m| {
            snapshot(m).bundles[0] = other.bundles[0].clone();
        });
        self.add("all", namespaces, "a policy of another namespace", &[&lie], (held, REJECTED, 1));
        let lie = self.edit("all.snapshot.p4", "with the checkpoint of another namespace", |m| {
            snapshot(m).checkpoint.clone_from(&other.checkpoint);
        });
        self.add("all", namespaces, "a checkpoint of another namespace", &[&lie], (held, REJECTED, 1));
        let lie = self.edit("all.activation.p4", "with the content of another", |m| {
            let bundle = &mut activation(m).bundles[0];
            bundle.content = other.bundles[0].content.clone();
        });
        self.add("all", namespaces, "a content of another namespace", &[&lie], (held, REJECTED, 1));
    }

    /// Cursors that nobody signed.
    fn places(&mut self) {
        let held = Some(HELD);
        let old = self.snapshot_of("all.snapshot.p1");
        let lie =
            self.edit("all.snapshot.p4", "with an old bundle", |m| snapshot(m).bundles[0] = old.bundles[0].clone());
        self.add("all", "old bundle at a new place", "in a snapshot", &[&lie], (held, DIVERGED, 1));
        let lie = self.edit("all.snapshot.p4", "with an old bundle at its place", |m| {
            let at = snapshot(m).bundles[0].activation;
            snapshot(m).bundles[0] = pb::Bundle { activation: at, ..old.bundles[0].clone() };
        });
        // Exactly the set of that place: a rollback to this bundle.
        self.add("all", "honest", "the old bundle that was put back", &[&lie], (Some("p4"), READY, 0));
        let older = self.activation_of("all.activation.p1");
        let lie =
            self.edit("all.activation.p7", "with an old bundle", |m| activation(m).bundles = older.bundles.clone());
        let seen = ["keys.2", lie.as_str()];
        self.add("all", "old bundle at a new place", "in an activation", &seen, (held, REJECTED, 1));
        let empty = self.edit("all.snapshot.p0", "at a made-up place", |m| {
            let part = snapshot(m);
            (part.cursor, part.checkpoint) = (cursor(1, 1_048_576), String::new());
        });
        let made_up = self.edit("all.snapshot.p1", "at a made-up place", |m| {
            let part = snapshot(m);
            (part.cursor, part.checkpoint) = (cursor(1, 1_048_577), String::new());
        });
        let streams = [&empty, "|", made_up.as_str(), "|", "all.heartbeat.p3"];
        let (kind, name) = ("old bundle at a new place", "nothing, then an old snapshot, then a true heartbeat");
        self.add("all", kind, name, &streams, (held, READY, 2));
        for (name, of) in [
            ("an activation", "all.activation.p4"),
            ("a snapshot", "all.snapshot.p4"),
            ("a heartbeat", "all.heartbeat.p3"),
        ] {
            let lie = self.edit(of, "at 2^62", |m| match &mut m.message {
                Some(Message::Activation(part)) => part.cursor = cursor(1, FAR),
                Some(Message::Snapshot(part)) => part.cursor = cursor(1, FAR),
                Some(Message::Heartbeat(heartbeat)) => heartbeat.cursor = cursor(1, FAR),
                _ => {}
            });
            self.add("all", "place of 2^62", name, &[&lie], (held, REJECTED, 1));
        }
    }
}
