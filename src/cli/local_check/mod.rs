//! Runs the checks of versions in this program, by the rules of a file or of a server: for `check`, and for what a release rehearses.
//!
//! Boundary: contents come read, or with the reason why they are not; this module reads no files but that of the rules.

mod contents;
mod printed;
mod rules;
mod server_rules;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

pub use self::contents::{ContentFault, Contents, LocalContent};
pub use self::printed::{document, sarif, text};
use self::rules::PreparedContent;
pub use self::rules::RuleSource;
use crate::client::pb;
use crate::server::local_checks::{LOCAL_CHECKS_AT_ONCE_MAX, LocalChecks};

/// What became of one content.
#[derive(Debug)]
pub struct LocalReport {
    /// What the checks found; empty for a version that is published.
    pub report: pb::ValidationReport,
    /// Whether the server has published this version: its checks are history.
    pub is_published: bool,
    /// Whether it can't be checked because the command line is wrong.
    pub is_usage: bool,
}

impl LocalReport {
    fn of(report: pb::ValidationReport) -> Self {
        Self { report, is_published: false, is_usage: false }
    }

    fn of_fault(fault: &ContentFault) -> Self {
        Self { is_usage: fault.is_usage, ..Self::of(fault.report()) }
    }

    fn published() -> Self {
        Self { is_published: true, ..Self::of(pb::ValidationReport { passed: true, ..Default::default() }) }
    }
}

/// Runs the checks of contents, a few at a time, and returns what became of each, in their order. `advance` is called after each.
///
/// # Errors
/// A check can't be run, or the server can't be asked.
pub async fn check_all(
    rules: &RuleSource,
    contents: &Contents,
    advance: impl Fn(),
) -> anyhow::Result<Vec<LocalReport>> {
    let (checks, advance) = (&LocalChecks::default(), &advance);
    let reports = stream::iter(&contents.all).map(async |content| {
        let report = check(checks, rules, contents, content).await;
        advance();
        report
    });
    reports.buffered(LOCAL_CHECKS_AT_ONCE_MAX).try_collect().await
}

async fn check(
    checks: &LocalChecks,
    rules: &RuleSource,
    contents: &Contents,
    content: &LocalContent,
) -> anyhow::Result<LocalReport> {
    if let Some(fault) = &content.fault {
        return Ok(LocalReport::of_fault(fault));
    }
    let version = match rules.version(content, contents).await? {
        PreparedContent::Version(version) => *version,
        PreparedContent::Published => return Ok(LocalReport::published()),
        PreparedContent::Fault(fault) => return Ok(LocalReport::of_fault(&fault)),
    };
    let parsed = checks.parse(version).await?;
    let active = rules.active(parsed.other_policies(), contents).await?;
    Ok(LocalReport::of(checks.finish(parsed, active).await?))
}
