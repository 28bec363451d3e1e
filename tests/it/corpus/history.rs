//! The corpus as files: unpacked, read, and sorted into the order in which its versions were published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use policyhub::domain::digest::hex;
use ring::digest::{SHA256, digest};
use semver::Version as SemVer;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::CorpusTable;

const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/policies.tar.xz");
/// The contents of the archive; a lower count means that it was not read completely.
const POLICIES: usize = 483;
const VERSIONS: usize = 1_469;

/// One version of the history.
#[derive(Debug)]
pub struct CorpusEntry {
    pub policy: String,
    /// The number it must get: its index in the history of its policy, from 1.
    pub number: i64,
    pub label: String,
    pub note: String,
    pub content: Bytes,
    /// Digest of `content`, computed by this test and not by the product.
    pub digest: String,
    /// The commit that added it and its index in the history, which is unique.
    pub request_id: String,
}

/// Every version, in order of publication.
#[derive(Debug)]
pub struct CorpusHistory {
    pub entries: Vec<CorpusEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CorpusMetadata {
    name: String,
    version: String,
    display_name: String,
    description: String,
    category: String,
    source_commit: String,
    create_time: String,
}

impl CorpusHistory {
    /// Unpacks the archive with the system's `tar` and reads every version.
    pub fn unpack() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tar = Command::new("tar").arg("-xf").arg(ARCHIVE).arg("-C").arg(dir.path()).output().expect("tar runs");
        assert!(tar.status.success(), "tar (it needs xz): {}", String::from_utf8_lossy(&tar.stderr));
        Self::read(dir.path())
    }

    fn read(root: &Path) -> Self {
        assert!(root.join("LICENSE").is_file(), "the licence belongs to the copy");
        let mut found = Vec::new();
        for policy in entries_of(&root.join("policies")) {
            for version in entries_of(&policy) {
                found.push(read_version(&version));
            }
        }
        // Sort by publication; within one commit, by name and then by version.
        found.sort_by(|(a, a_time, a_version, _), (b, b_time, b_version, _)| {
            (a_time, &a.name, a_version).cmp(&(b_time, &b.name, b_version))
        });
        let mut numbers = BTreeMap::<String, i64>::new();
        let in_order = found.into_iter().enumerate().map(|(place, (metadata, _, _, content))| {
            let number = numbers.entry(metadata.name.clone()).or_default();
            *number += 1;
            CorpusEntry {
                number: *number,
                label: metadata.version,
                note: format!("{} ({}): {}", metadata.display_name, metadata.category, metadata.description),
                digest: format!("sha256:{}", hex(digest(&SHA256, &content).as_ref())),
                content,
                request_id: format!("{}-{place}", metadata.source_commit),
                policy: metadata.name,
            }
        });
        let history = Self { entries: in_order.collect() };
        assert_eq!((history.newest().len(), history.entries.len()), (POLICIES, VERSIONS), "policies and versions");
        history
    }

    /// Returns the newest version of each policy.
    pub fn newest(&self) -> BTreeMap<&str, &CorpusEntry> {
        // Later entries replace earlier ones.
        self.entries.iter().map(|entry| (entry.policy.as_str(), entry)).collect()
    }

    /// Returns the version of a policy with a number.
    pub fn get(&self, policy: &str, number: i64) -> &CorpusEntry {
        let found = self.entries.iter().find(|entry| entry.policy == policy && entry.number == number);
        found.unwrap_or_else(|| panic!("{policy} has no version {number}"))
    }

    /// Returns the size of all contents, in bytes.
    pub fn content_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.content.len()).sum()
    }

    /// Adds rows about the data to the table.
    pub fn describe(&self, table: &mut CorpusTable) {
        let mut highest = BTreeMap::<&str, SemVer>::new();
        let (mut lower, mut pre_releases) = (0, 0);
        for entry in &self.entries {
            let label = SemVer::parse(&entry.label).expect("a SemVer");
            pre_releases += usize::from(!label.pre.is_empty());
            let before = highest.entry(entry.policy.as_str()).or_insert_with(|| label.clone());
            lower += usize::from(label < *before);
            *before = label.max(before.clone());
        }
        let distinct: BTreeSet<&str> = self.entries.iter().map(|entry| entry.digest.as_str()).collect();
        table.count("policies", self.newest().len());
        table.count("versions, each with a SemVer label", self.entries.len());
        table.count("  labels lower than one before", lower);
        table.count("  labels of pre-releases", pre_releases);
        table.count("  distinct contents", distinct.len());
        table.count("  bytes of content", self.content_bytes());
    }
}

fn read_version(dir: &Path) -> (CorpusMetadata, OffsetDateTime, SemVer, Bytes) {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let metadata: CorpusMetadata = serde_json::from_slice(&read("metadata.json")).expect("metadata.json");
    assert!(dir.ends_with(format!("{}/v{}", metadata.name, metadata.version)), "{}", dir.display());
    let time = OffsetDateTime::parse(&metadata.create_time, &Rfc3339).expect("createTime");
    let version = SemVer::parse(&metadata.version).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    (metadata, time, version, read("policy-definition.yaml").into())
}

fn entries_of(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
