//! How the stream vectors are written: `tests/vectors/streams/README.md` says it for readers in any language.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policyhub::client::pb;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub struct StreamVectors {
    /// Id of the store.
    pub store: String,
    /// The keys to pin: those of before the rotation in the middle.
    pub pins: Value,
    /// Holds what was really in force, by the name of the place.
    pub sets: BTreeMap<String, VectorSet>,
    /// By name: each part of a message, a `WatchActiveResponse` in base64.
    pub messages: BTreeMap<String, Vec<String>>,
    /// Holds what is played.
    pub cases: Vec<StreamCase>,
}

/// An active set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorSet {
    pub epoch: i64,
    pub revision: i64,
    pub policies: BTreeMap<String, ExpectedSet>,
}

/// A policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedSet {
    pub version: i64,
    pub digest: String,
    /// Since when.
    pub epoch: i64,
    pub revision: i64,
}

/// Streams, and what must hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamCase {
    pub name: String,
    /// Says which of the lies it is; `honest`: none.
    pub kind: String,
    /// The policies asked for; empty: all.
    pub filter: Vec<String>,
    /// The time, in seconds since the Unix epoch.
    pub clock: i64,
    /// What is true and comes first.
    pub before: Vec<String>,
    /// Holds what comes then: the rest of that stream, and of the streams after it.
    pub lie: Vec<Vec<String>>,
    /// Holds what must hold then.
    pub then: StreamVerdict,
    /// An honest stream.
    pub repair: Vec<String>,
    /// The place that it leads to, READY.
    pub after: String,
}

/// Holds what must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamVerdict {
    /// The place of what is in force; none: nothing is.
    pub holds: Option<String>,
    /// READY, STALE, REJECTED or DIVERGED.
    pub state: String,
    /// Says whether nothing proves that it is the newest.
    pub stale: bool,
    /// Says how many of the streams are refused.
    pub refused: usize,
}

/// Returns where the file is.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/streams/streams.json")
}

impl StreamVectors {
    pub fn read() -> Self {
        serde_json::from_slice(&fs::read(path()).expect("the file")).expect("vectors")
    }

    /// Returns the parts of a message as they are on the wire.
    pub fn message(&self, name: &str) -> Vec<Vec<u8>> {
        let parts = self.messages.get(name).unwrap_or_else(|| panic!("no message {name}"));
        parts.iter().map(|part| STANDARD.decode(part).expect("base64")).collect()
    }

    /// Returns what is in force at a place of those that a case asks for.
    pub fn set(&self, place: &str, filter: &[String]) -> VectorSet {
        let mut set = self.sets.get(place).unwrap_or_else(|| panic!("no place {place}")).clone();
        set.policies.retain(|policy, _| filter.is_empty() || filter.contains(policy));
        set
    }

    /// Returns whether this was in force at some place.
    pub fn is_true(&self, found: &VectorSet, filter: &[String]) -> bool {
        self.sets.keys().any(|place| self.set(place, filter) == *found)
    }
}

/// Returns a message as the file has it.
pub fn written(parts: &[pb::WatchActiveResponse]) -> Vec<String> {
    parts.iter().map(|part| STANDARD.encode(part.encode_to_vec())).collect()
}
