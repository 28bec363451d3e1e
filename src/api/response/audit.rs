//! What the check of a log found.

use super::cursor;
use crate::api::pb;
use crate::domain::audit::{Finding, LogVerdict};

fn finding(from: Finding) -> pb::Finding {
    let digest = from.digest.map(|digest| digest.to_string()).unwrap_or_default();
    pb::Finding { revision: from.revision, row: from.row, message: from.message, digest }
}

/// The verdict on a log.
#[must_use]
pub fn verdict(from: LogVerdict) -> pb::VerifyLogResponse {
    let broken = from.broken().cloned();
    pb::VerifyLogResponse {
        valid: from.holds(),
        events: from.events,
        broken_revision: broken.as_ref().map_or(0, |finding| finding.revision),
        message: broken.map(|finding| finding.message).unwrap_or_default(),
        head: Some(cursor(from.head.cursor)),
        head_hash: from.head.hash.to_vec().into(),
        manifests: from.manifests,
        rows: from.rows,
        findings: from.findings.named().cloned().map(finding).collect(),
        findings_count: i64::try_from(from.findings.count).unwrap_or(i64::MAX),
        findings_digest: from.findings_digest.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}
