//! The messages of VerifyLog.

use super::cursor;
use crate::api::pb;
use crate::api::pb::verify_log_response::Message;
use crate::domain::audit::{Finding, LogCheckPhase, LogCheckProgress, LogVerdict};

/// Returns how far the check of a log is.
#[must_use]
pub fn log_progress(from: LogCheckProgress) -> pb::VerifyLogResponse {
    let phase = match from.phase {
        LogCheckPhase::Waiting => pb::VerifyLogPhase::Waiting,
        LogCheckPhase::Events => pb::VerifyLogPhase::Events,
        LogCheckPhase::Rows => pb::VerifyLogPhase::Rows,
    };
    let progress = pb::VerifyLogProgress { phase: phase.into(), events: from.events, total_events: from.total_events };
    pb::VerifyLogResponse { message: Some(Message::Progress(progress)) }
}

/// Returns the verdict on a log, the last message.
#[must_use]
pub fn verdict(from: LogVerdict) -> pb::VerifyLogResponse {
    let broken = from.broken().cloned();
    let finding = |found: &Finding| pb::LogFinding {
        cursor: from.position(found).map(cursor),
        row: found.row.clone(),
        message: found.message.clone(),
        digest: found.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let result = pb::VerifyLogResult {
        valid: from.holds(),
        events: from.events,
        broken: broken.as_ref().and_then(|found| from.position(found)).map(cursor),
        message: broken.map(|found| found.message).unwrap_or_default(),
        head: Some(cursor(from.head)),
        head_hash: from.head.hash.to_vec().into(),
        manifests: from.manifests,
        rows: from.rows,
        findings: from.findings.named().map(finding).collect(),
        findings_count: i64::try_from(from.findings.count).unwrap_or(i64::MAX),
        findings_digest: from.findings_digest.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    pb::VerifyLogResponse { message: Some(Message::Result(result)) }
}
