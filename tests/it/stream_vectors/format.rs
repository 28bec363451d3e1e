//! The format of the stream vectors; `tests/vectors/streams/README.md` describes it for readers in any language.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policyhub::client::pb;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file of vectors.
#[derive(Debug, Serialize, Deserialize)]
pub struct StreamVectors {
    /// Id of the store.
    pub store: String,
    /// The keys to pin: those from before the rotation in the middle.
    pub pins: Value,
    /// What was really in force, by the name of the place.
    pub sets: BTreeMap<String, VectorSet>,
    /// By name: each part of a message, a `WatchActiveResponse` in base64.
    pub messages: BTreeMap<String, Vec<String>>,
    /// The cases to play.
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
    /// Epoch of its activation.
    pub epoch: i64,
    pub revision: i64,
}

/// The streams of a case, and the expected result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamCase {
    pub name: String,
    /// The kind of lie; `honest`: none.
    pub kind: String,
    /// The requested policies; empty means all.
    pub filter: Vec<String>,
    /// The time, in seconds since the Unix epoch.
    pub clock: i64,
    /// The honest messages that come first.
    pub before: Vec<String>,
    /// The messages that come then: the rest of that stream, and the streams after it.
    pub lie: Vec<Vec<String>>,
    /// The expected result after them.
    pub then: StreamVerdict,
    /// An honest stream.
    pub repair: Vec<String>,
    /// The place that it leads to, with state READY.
    pub after: String,
}

/// The expected result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamVerdict {
    /// The place of the set in force; `None` when nothing is.
    pub holds: Option<String>,
    /// READY, STALE, REJECTED or DIVERGED.
    pub state: String,
    /// Whether nothing proves that the set is the newest.
    pub stale: bool,
    /// Number of streams that are refused.
    pub refused: usize,
}

/// Returns the path of the file.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/streams/streams.json")
}

impl StreamVectors {
    pub fn read() -> Self {
        serde_json::from_slice(&fs::read(path()).expect("the file")).expect("vectors")
    }

    /// Returns the parts of a message in wire format.
    pub fn message(&self, name: &str) -> Vec<Vec<u8>> {
        let parts = self.messages.get(name).unwrap_or_else(|| panic!("no message {name}"));
        parts.iter().map(|part| STANDARD.decode(part).expect("base64")).collect()
    }

    /// Returns the set in force at a place, reduced to the policies of a filter.
    pub fn set(&self, place: &str, filter: &[String]) -> VectorSet {
        let mut set = self.sets.get(place).unwrap_or_else(|| panic!("no place {place}")).clone();
        set.policies.retain(|policy, _| filter.is_empty() || filter.contains(policy));
        set
    }

    /// Returns whether this set was in force at some place.
    pub fn is_true(&self, found: &VectorSet, filter: &[String]) -> bool {
        self.sets.keys().any(|place| self.set(place, filter) == *found)
    }
}

/// Returns a message in the file's encoding.
pub fn written(parts: &[pb::WatchActiveResponse]) -> Vec<String> {
    parts.iter().map(|part| STANDARD.encode(part.encode_to_vec())).collect()
}
