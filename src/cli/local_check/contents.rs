//! The contents of a call, each read, or with the reason why it is not.

use bytes::Bytes;

use crate::checks::OtherPolicy;
use crate::client::name::PolicyId;
use crate::client::signing::digest_of;
use crate::client::{PolicyKind, pb};
use crate::domain::annotations::Annotations;
use crate::domain::label::Label;
use crate::domain::policy::is_of_several_files;
use crate::domain::report::PARSE_CHECK;
use crate::domain::version::Requirement;

/// A content of this machine: one to check, or why it can't be.
#[derive(Debug)]
pub struct LocalContent {
    /// The path of the file or directory that holds it, as it was given.
    pub path: String,
    pub policy: PolicyId,
    /// The language that somebody said, which must be that of the policy.
    pub said_kind: Option<PolicyKind>,
    /// The language by the name of the content; `None`: only the policy says it.
    pub kind: Option<PolicyKind>,
    pub content_type: String,
    pub content: Bytes,
    pub label: Option<Label>,
    pub annotations: Annotations,
    pub requires: Vec<Requirement>,
    /// Why there is no content to check.
    pub fault: Option<ContentFault>,
}

/// Why a content can't be checked. It is a finding of its path, so that one of them does not hide what is found in others.
#[derive(Debug, Clone, Default)]
pub struct ContentFault {
    /// The check that it is a finding of.
    pub check: &'static str,
    /// The file in the content; empty: the content itself.
    pub file: String,
    /// Line from 1; 0 when unknown.
    pub line: u32,
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Whether the command line is wrong.
    pub is_usage: bool,
}

impl ContentFault {
    /// Returns a fault of a content that can't be read.
    pub fn unreadable(message: impl Into<String>) -> Self {
        Self { check: PARSE_CHECK, message: message.into(), ..Self::default() }
    }

    /// Returns the report with the fault as its one finding.
    pub fn report(&self) -> pb::ValidationReport {
        let line = i32::try_from(self.line).unwrap_or_default();
        let found = pb::Finding {
            severity: pb::finding::Severity::Error.into(),
            message: self.message.clone(),
            file: self.file.clone(),
            line,
            column: line.min(1),
            hint: self.hint.clone(),
            ..Default::default()
        };
        let (id, result) = (self.check.to_owned(), pb::check::Result::Failed.into());
        let check = pb::Check { id, result, findings: vec![found] };
        pb::ValidationReport { passed: false, checks: vec![check], ..Default::default() }
    }
}

impl LocalContent {
    /// Returns a content that can't be checked.
    pub fn at_fault(path: String, policy: PolicyId, label: Option<Label>, fault: ContentFault) -> Self {
        Self {
            path,
            policy,
            said_kind: None,
            kind: None,
            content_type: String::new(),
            content: Bytes::new(),
            label,
            annotations: Annotations::default(),
            requires: Vec::new(),
            fault: Some(fault),
        }
    }
}

/// All contents of a call.
#[derive(Debug, Default)]
pub struct Contents {
    pub all: Vec<LocalContent>,
}

impl Contents {
    /// Returns the content of a policy, as if it were active: the one with the highest label.
    pub fn of_policy(&self, policy: &PolicyId) -> Option<OtherPolicy> {
        let order = |one: &&LocalContent, other: &&LocalContent| match (&one.label, &other.label) {
            (Some(one), Some(other)) if one.is_higher_than(other) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) if other.is_higher_than(one) => std::cmp::Ordering::Less,
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        let readable = self.all.iter().filter(|content| content.fault.is_none());
        let found = readable.filter(|content| content.policy == *policy).max_by(order)?;
        Some(OtherPolicy {
            kind: found.kind.unwrap_or(PolicyKind::Opaque),
            has_several_files: is_of_several_files(&found.content_type),
            version: 1,
            label: found.label.clone(),
            digest: digest_of(&found.content),
            content: Some(found.content.clone()),
        })
    }

    /// Returns the lower labels of a policy: a release publishes them first.
    pub fn labels_below<'a>(&'a self, policy: &'a PolicyId, label: &'a Label) -> impl Iterator<Item = Label> + 'a {
        let of_policy = self.all.iter().filter(move |content| content.policy == *policy);
        of_policy.filter_map(|content| content.label.clone()).filter(move |other| label.is_higher_than(other))
    }
}
