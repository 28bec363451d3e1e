//! Rows that come with a log, as their bytes: each is what the newest event about it wrote, and none is missing.
//!
//! What a row says needs no signature of its own then: the seal of that event covers its digest.

use super::LogCheck;
use crate::domain::adopted::Adopted;
use crate::domain::annotations::Annotations;
use crate::domain::digest::Digest;
use crate::domain::name::PolicyId;
use crate::domain::row::Row;
use crate::domain::template::TemplateSource;
use crate::domain::version::VersionState;
use crate::signing::payload::Manifest;
use crate::signing::{TYP_BUNDLE, digest_of, jws};

/// Tables whose rows come with a log.
const CARRIED: &[&str] = &["policies", "versions", "reports", "imports"];

/// Says what is wrong with a row: the event that wrote it, the row, the problem.
type Wrong = (i64, String, &'static str);

impl LogCheck {
    /// Returns the row that these bytes are, if they are what the newest event about it wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn proven_row(&self, bytes: &[u8]) -> Result<Row, String> {
        self.named_row(bytes).map(|(row, _)| row).map_err(|(_, place, problem)| format!("{place}: {problem}"))
    }

    fn named_row(&self, bytes: &[u8]) -> Result<(Row, (String, String)), Wrong> {
        let Some((row, key)) = Row::read(bytes).and_then(|row| row.key().map(|key| (row, key))) else {
            return Err((0, "a row".to_owned(), "its bytes are none of an archive"));
        };
        let name = (row.table.clone(), key);
        let written = self.rows.get(&name);
        let revision = written.map_or(0, |written| written.revision);
        let wrong = |problem| (revision, format!("{} {}", name.0, name.1), problem);
        if written.and_then(|written| written.digest.as_ref()) != Some(&digest_of(bytes)) {
            return Err(wrong("the newest event about it wrote something else"));
        }
        if row.text("namespace") != Some(self.namespace.as_str()) {
            return Err(wrong("it is of another namespace"));
        }
        Ok((row, name))
    }

    /// Returns what a manifest says of a version whose row is proven: none when it is not published, and then there is no manifest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn proven_manifest(&self, row: &Row, manifest: &str) -> Result<Option<Manifest>, &'static str> {
        if row.text("state") != Some(VersionState::Published.as_str()) {
            return if manifest.is_empty() { Ok(None) } else { Err("it has a manifest and is not published") };
        }
        let signed = jws::verify(manifest, TYP_BUNDLE, &self.trust.keys).map_err(|_| "its manifest does not verify")?;
        let read = Manifest::from_bytes(&signed.payload).map_err(|_| "its manifest does not verify")?;
        let own = read.store == self.trust.store && read.namespace == self.namespace && says_same(&read, row);
        if own { Ok(Some(read)) } else { Err("its manifest says something else than its row") }
    }

    /// Takes the bytes of a row in. Answers the row, if the log says so.
    pub fn row(&mut self, bytes: &[u8]) -> Option<Row> {
        match self.named_row(bytes) {
            Ok((row, name)) => {
                let place = format!("{} {}", name.0, name.1);
                if !self.carried.insert(name) {
                    self.findings.add(0, &place, "it is there twice");
                }
                Some(row)
            }
            Err((revision, place, problem)) => {
                self.findings.add_found(revision, &place, problem, Some(digest_of(bytes)));
                None
            }
        }
    }

    /// Takes a version in: its row, and the manifest of one that is published. Its content must have come before.
    pub fn version(&mut self, bytes: &[u8], manifest: &str) -> Option<Row> {
        let row = self.row(bytes)?;
        let Some((policy, number)) = version_key(&row) else {
            self.findings.add(0, "", "it is no row of a version");
            return None;
        };
        let place = format!("versions {policy}/{number}");
        let digest = row.text("digest").and_then(|digest| Digest::parse("digest", digest).ok());
        let size = digest.and_then(|digest| self.contents.get(&digest)).and_then(|size| i64::try_from(*size).ok());
        if size.is_none() || size != row.int("size_bytes") {
            self.findings.add_found(0, &place, "its content is not the one that its row names", Some(digest_of(bytes)));
        }
        match self.proven_manifest(&row, manifest) {
            Ok(None) => {}
            Ok(Some(_)) => self.manifest(&policy, number, manifest),
            Err(problem) => self.findings.add_found(0, &place, problem, Some(digest_of(manifest.as_bytes()))),
        }
        Some(row)
    }

    /// Ends the check of the rows: those that should have come and did not are findings. Reports of what is not published may be left out.
    pub fn end_rows(&mut self) {
        let Self { rows, carried, versions, findings, .. } = self;
        let left = rows.iter().filter(|(name, written)| written.digest.is_some() && !carried.contains(name));
        for ((table, key), written) in left.filter(|((table, _), _)| CARRIED.contains(&table.as_str())) {
            if table != "reports" || is_published(versions, key) {
                findings.add(written.revision, &format!("{table} {key}"), "it is not there");
            }
        }
    }

    /// Returns how many rows of a table an archive of this log has.
    #[must_use]
    pub fn carried_rows(&self, of: &str) -> u64 {
        let named = self.rows.iter().filter(|((table, _), written)| table == of && written.digest.is_some());
        named.filter(|((table, key), _)| table != "reports" || is_published(&self.versions, key)).count() as u64
    }

    /// Returns whether a report comes with the log: that of a published version.
    #[must_use]
    pub fn carries_report(&self, key: &str) -> bool {
        is_published(&self.versions, key)
    }
}

fn version_key(row: &Row) -> Option<(PolicyId, i64)> {
    let policy = PolicyId::parse("policy", row.text("policy")?).ok()?;
    (row.table == "versions").then_some((policy, row.int("number")?))
}

fn is_published<T>(versions: &std::collections::BTreeMap<(PolicyId, i64), (VersionState, T)>, key: &str) -> bool {
    let Some((policy, number)) = key.rsplit_once('/') else { return false };
    let Ok(policy) = PolicyId::parse("policy", policy) else { return false };
    let state = number.parse().ok().and_then(|number| versions.get(&(policy, number)));
    state.is_some_and(|(state, _)| *state == VersionState::Published)
}

/// Returns whether a manifest says of a version what its row says.
fn says_same(manifest: &Manifest, row: &Row) -> bool {
    Some(manifest.policy.as_str()) == row.text("policy")
        && Some(manifest.version) == row.int("number")
        && manifest.label.as_deref() == row.text("label")
        && Some(manifest.digest.as_str()) == row.text("digest")
        && i64::try_from(manifest.size).ok() == row.int("size_bytes")
        && Some(manifest.content_type.as_str()) == row.text("content_type")
        && Some(manifest.author.as_str()) == row.text("author")
        && Some(manifest.publisher.as_str()) == row.text("publisher")
        && annotations(row).as_ref() == Some(&manifest.annotations)
        && adopted(row).is_ok_and(|adopted| adopted == manifest.adopted)
        && template(row).is_ok_and(|template| template == manifest.template)
}

/// Returns the annotations of a version as its row has them; none when they can't be read.
fn annotations(row: &Row) -> Option<Annotations> {
    row.text("annotations").map_or_else(|| Some(Annotations::default()), |text| serde_json::from_str(text).ok())
}

/// Returns the adoption of a version as its row has it.
fn adopted(row: &Row) -> serde_json::Result<Option<Adopted>> {
    row.text("adopted").map(serde_json::from_str).transpose()
}

/// Returns the template of a version as its row has it.
fn template(row: &Row) -> serde_json::Result<Option<TemplateSource>> {
    row.text("template").map(serde_json::from_str).transpose()
}
