//! Reads and writes an active set as a file for version control: a JSON object from the id of each policy to its active version,
//! `"1.5.0"` for a label (`"v1.5.0"` and the tag `"pricing/v1.5.0"` are read too), `3` for the number of a version without a label.
//!
//! Invariant: one set has one text: sorted, one policy per line, with a newline at the end. Reading refuses duplicates and reports
//! all errors at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::cli::content;
use crate::cli::names::policy_of;
use crate::cli::output::json::escaped;
use crate::cli::output::text::Release;
use crate::cli::output::text::line;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::{ACTIVE_RELEASES_MAX_BYTES, pb};

/// Most errors of a file that are shown; the others are counted.
const SHOWN_MAX: usize = 20;

/// The wanted active versions, by policy: a label or a number.
pub type Releases = BTreeMap<PolicyId, VersionRef>;

/// Returns the text of the file.
#[must_use]
pub fn write(active: &BTreeMap<PolicyId, Release>) -> String {
    let mut text = String::from("{");
    for (index, (policy, release)) in active.iter().enumerate() {
        let value = escaped(&value(release).to_string());
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&format!("  \"{policy}\": {value}"));
    }
    text.push_str(if active.is_empty() { "}\n" } else { "\n}\n" });
    text
}

/// Returns the same as a part of a JSON document.
#[must_use]
pub fn json(active: &BTreeMap<PolicyId, Release>) -> Value {
    active.iter().map(|(policy, release)| (policy.to_string(), value(release))).collect()
}

fn value(release: &Release) -> Value {
    if release.label.is_empty() { Value::from(release.version) } else { Value::from(release.label.as_str()) }
}

/// Reads a file, or stdin for `-`.
pub fn read(path: &Path) -> anyhow::Result<Releases> {
    let bytes = content::read_at_most(path, ACTIVE_RELEASES_MAX_BYTES, "the file")?;
    parse(&bytes).with_context(|| format!("{} is no file of active releases", path.display()))
}

fn parse(bytes: &[u8]) -> anyhow::Result<Releases> {
    let Entries(entries) = serde_json::from_slice(bytes)?;
    let mut releases = Releases::new();
    let mut wrong = Vec::new();
    for (policy, value) in entries {
        let shown = line(&policy);
        match PolicyId::parse("policy", &policy) {
            Err(error) => wrong.push(format!("{shown:?}: {}", error.message)),
            Ok(policy) if releases.contains_key(&policy) => wrong.push(format!("{shown}: is named twice")),
            Ok(policy) => match release(&policy, &value) {
                None => wrong.push(format!("{shown}: must be a label such as \"1.5.0\", or the number of a version")),
                Some(release) => drop(releases.insert(policy, release)),
            },
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", listed(&wrong));
    Ok(releases)
}

fn release(policy: &PolicyId, value: &Value) -> Option<VersionRef> {
    match value {
        Value::String(label) => policy.parse_label("label", label).ok().map(VersionRef::Label),
        Value::Number(number) => number.as_i64().filter(|number| *number > 0).map(VersionRef::Number),
        _ => None,
    }
}

/// Returns the errors, each on a line of its own.
#[must_use]
pub fn listed(wrong: &[String]) -> String {
    let mut text = format!("{} of its entries can't be", wrong.len());
    for each in wrong.iter().take(SHOWN_MAX) {
        text.push_str(&format!("\n  {each}"));
    }
    if wrong.len() > SHOWN_MAX {
        text.push_str(&format!("\n  and {} more", wrong.len() - SHOWN_MAX));
    }
    text
}

/// Returns the versions in force from the answer of GetActive. A preview is not in force.
///
/// # Errors
/// A name is not valid.
pub fn of_active(bundles: &[pb::Bundle]) -> anyhow::Result<BTreeMap<PolicyId, Release>> {
    let in_force = bundles.iter().filter(|bundle| !bundle.preview);
    in_force
        .map(|bundle| {
            let policy = PolicyId::parse("policy", policy_of(&bundle.name)).context("answer names no policy")?;
            Ok((policy, Release { version: bundle.version, label: bundle.label.clone() }))
        })
        .collect()
}

/// The members of an object in written order, duplicates included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"pricing\": \"1.5.0\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = members.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::text::Release;

    fn policy(id: &str) -> PolicyId {
        PolicyId::parse("policy", id).expect("an id")
    }

    #[test]
    fn one_set_has_one_text_which_reads_back() {
        let release = |version, label: &str| Release { version, label: label.to_owned() };
        let active = BTreeMap::from([
            (policy("pricing"), release(7, "1.5.0")),
            (policy("limits"), release(3, "")),
            (policy("a"), release(1, "2.0.0-rc.1+build.7")),
        ]);
        let text = write(&active);
        assert_eq!(text, "{\n  \"a\": \"2.0.0-rc.1+build.7\",\n  \"limits\": 3,\n  \"pricing\": \"1.5.0\"\n}\n");
        let read = parse(text.as_bytes()).expect("it reads back");
        let wanted: Vec<String> = read.iter().map(|(policy, release)| format!("{policy}@{release}")).collect();
        assert_eq!(wanted, ["a@v2.0.0-rc.1+build.7", "limits@3", "pricing@v1.5.0"]);
        assert_eq!(write(&BTreeMap::new()), "{}\n");
        assert_eq!(parse(b" {} ").expect("nothing"), Releases::new());
        let read = parse(br#"{"a": "v1.0.0", "b": "b/v1.0.0"}"#).expect("as they are written elsewhere");
        assert!(read.values().all(|version| version.to_string() == "v1.0.0"), "{read:?}");
        assert!(parse(br#"{"a": "b/v1.0.0"}"#).is_err(), "a tag of another policy");
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let text = br#"{"a": "1.0.0", "B": 1, "c": "x", "d": 0, "e": 1.5, "f": null, "g": "vv1.0.0", "a": "1.0.0",
            "h": -1, "i": 9223372036854775808, "j": {"k": 1}, "l\u001b[2J": 1, "m": "latest"}"#;
        let error = parse(text).expect_err("refused").to_string();
        let told: Vec<&str> = error.lines().skip(1).map(|line| line.trim().split(':').next().unwrap_or("")).collect();
        assert_eq!(told, ["\"B\"", "c", "d", "e", "f", "g", "a", "h", "i", "j", "\"l [2J\"", "m"]);
        assert!(error.starts_with("12 of its entries can't be\n") && error.contains("a: is named twice"), "{error}");
        let many: Vec<String> = (0..25).map(|index| format!("\"p{index}\": 0")).collect();
        let error = parse(format!("{{{}}}", many.join(",")).as_bytes()).expect_err("refused").to_string();
        assert_eq!((error.lines().count(), error.lines().last()), (SHOWN_MAX + 2, Some("  and 5 more")));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in
            ["", "[]", "3", "\"a\"", "null", "{\"a\": 1", "{\"a\": 1} {}", "{a: 1}", "\u{feff}{}", &"[".repeat(9_999)]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:.20}");
        }
        let deep = format!("{{\"a\": {}}}", "[".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }
}
