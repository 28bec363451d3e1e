//! PublishVersions: many versions of a namespace, each published or refused by itself.
//!
//! The checks run before the lock, a few at a time, so that only that many contents are in memory. Then all is decided and written under
//! one lock and with one commit, version by version in the order of the request, each with its own event and based on the state after
//! those before it. The answer is stored in the same transaction: either everything was published and the answer reports it, or nothing
//! was (ADR 0064).

use futures_util::{StreamExt as _, stream};

use super::use_cases::Policies;
use crate::checks;
use crate::domain::access::Rpc;
use crate::domain::annotations::Annotations;
use crate::domain::command::{PublishVersions, VersionToPublish};
use crate::domain::etag::Etag;
use crate::domain::event::Position;
use crate::domain::lifecycle;
use crate::domain::lifecycle::PublishBasis;
use crate::domain::limits::{PUBLISH_VERSIONS_ANSWER_MAX_BYTES, PUBLISH_VERSIONS_CONTENT_MAX_BYTES};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{PublishOutcome, PublishVersionsResult, PublishedVersions};
use crate::domain::policy::Policy;
use crate::domain::report::{LABEL_CHECK, Report};
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::service::checking::{
    CheckInput, CheckKind, NAMESPACE_CHECKS_MAX, changed_meanwhile, guardrails_in_force, has_todays_rules,
    put_failed_report,
};
use crate::service::context::Context;
use crate::service::log::{Conclusion, Write};
use crate::store::ReadTx;

/// Number of versions whose contents are read together. More: that many contents of 1 MiB are in memory. Fewer: more views of the
/// database.
const READ_TOGETHER_MAX: usize = 8;
/// The size of a version in an answer besides the texts of its author: names, digests, times, signature.
const ANSWER_FIXED_BYTES: usize = 2 * 1024;
/// What a requirement, an annotation and a template have in an answer besides their texts: names of fields, and a digest.
const REQUIREMENT_FIXED_BYTES: usize = 32;
const ANNOTATION_FIXED_BYTES: usize = 16;
const TEMPLATE_FIXED_BYTES: usize = 256;
/// Maximum of copies of an author's text in an answer: itself, and in the manifest, escaped and in base64.
const ANSWER_BYTES_PER_TEXT_BYTE: usize = 4;

/// A version that was checked and not decided yet.
#[derive(Debug)]
struct CheckedVersion {
    policy: Policy,
    version: Version,
    etag: Option<Etag>,
    report: Report,
}

/// A version that is refused.
#[derive(Debug)]
struct RefusedVersion {
    error: Error,
    /// The report of the checks that it failed, for its author.
    failed: Option<Box<(Version, Report)>>,
}

impl From<Error> for RefusedVersion {
    fn from(error: Error) -> Self {
        Self { error, failed: None }
    }
}

/// The result for one version. Only a reason that concerns this version alone refuses it.
type VersionAttempt<T> = std::result::Result<T, RefusedVersion>;

/// Separates the refusal of one version from the failure of the call.
fn separate_refusal<T>(decided: Result<T>) -> Result<VersionAttempt<T>> {
    match decided {
        Ok(decided) => Ok(Ok(decided)),
        Err(error) if error.reason.is_of_what_was_asked() => {
            if let Some(internal) = &error.internal {
                tracing::error!(reason = error.reason.as_str(), internal, "one of several versions was refused");
            }
            Ok(Err(error.into()))
        }
        Err(error) => Err(error),
    }
}

/// The remaining limits of a call.
#[derive(Debug)]
struct RequestBudget {
    content_bytes: i64,
    answer_bytes: usize,
}

impl RequestBudget {
    /// Subtracts the size of a version from the budget.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`; then nothing is subtracted.
    fn take(&mut self, version: &Version) -> Result<()> {
        let content = self.content_bytes.checked_sub(version.size_bytes).filter(|left| *left >= 0);
        let answer = self.answer_bytes.checked_sub(answer_bytes(version));
        if let (Some(content_bytes), Some(answer_bytes)) = (content, answer) {
            *self = Self { content_bytes, answer_bytes };
            return Ok(());
        }
        let (what, limit) = match content {
            None => ("content", PUBLISH_VERSIONS_CONTENT_MAX_BYTES.to_string()),
            Some(_) => ("answer", PUBLISH_VERSIONS_ANSWER_MAX_BYTES.to_string()),
        };
        let name = version.name();
        let message =
            format!("{name} has no room beside the versions before it: one call takes {limit} bytes of {what}");
        Err(Error::new(Reason::LimitExceeded, message).with("limit_bytes", limit).about(name))
    }
}

/// Returns the maximal size of a version in an answer once it is published.
fn answer_bytes(version: &Version) -> usize {
    let Version { policy, label, content_type, change_note, requires, author, origin_manifests, .. } = version;
    let mut texts = [policy.namespace.as_str(), policy.policy.as_str(), content_type, change_note, author]
        .map(str::len)
        .iter()
        .sum::<usize>();
    texts += label.as_ref().map_or(0, |label| label.to_string().len());
    let required = requires.iter().map(|each| each.policy.as_str().len() + each.version_req.to_string().len());
    texts += required.map(|length| length + REQUIREMENT_FIXED_BYTES).sum::<usize>();
    let annotated = Annotations::iter(&version.annotations).map(|(key, value)| key.len() + value.len());
    texts += annotated.map(|length| length + ANNOTATION_FIXED_BYTES).sum::<usize>();
    texts += version.adopted.as_ref().map_or(0, |adopted| adopted.author().len());
    texts += version.template.as_ref().map_or(0, |template| template.parameters().len() + TEMPLATE_FIXED_BYTES);
    texts += origin_manifests.iter().map(String::len).sum::<usize>();
    ANSWER_FIXED_BYTES + ANSWER_BYTES_PER_TEXT_BYTE * texts
}

impl Policies {
    /// Publishes versions of a namespace, each by itself.
    ///
    /// # Errors
    /// Errors that concern no single version: `INVALID_ARGUMENT` of the request itself, `REQUEST_ID_REUSED`, and failures of the server or
    /// the database; then nothing is published.
    pub async fn publish_versions(&self, context: &Context, request: PublishVersions) -> Result<PublishedVersions> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "PublishVersions", &request)?;
        let tx = self.log.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        drop(tx);
        let PublishVersions { namespace, versions, reason } = request;
        let names: Vec<String> = versions.iter().map(|each| each.name.clone()).collect();
        let checked = self.check_each(context, &namespace, versions).await?;
        if checked.iter().all(VersionAttempt::is_err) {
            return self
                .publish_none(context, &namespace, names, checked.into_iter().filter_map(VersionAttempt::err))
                .await;
        }
        let published = call.try_mutate(&namespace, async |write| {
            let mut outcomes = Vec::with_capacity(checked.len());
            for one in checked {
                outcomes.push(match one {
                    Ok(checked) => self.publish_one(write, checked, &reason).await?,
                    Err(refused) => Err(refused),
                });
            }
            if outcomes.iter().all(VersionAttempt::is_err) {
                return Ok(Conclusion::RollBack(outcomes));
            }
            if !context.options.validate_only {
                for RefusedVersion { failed, .. } in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                    if let Some(failed) = failed {
                        put_failed_report(&write.tx, &failed.0, &failed.1).await?;
                    }
                }
            }
            Ok(Conclusion::Commit(build_answer(names.clone(), outcomes)))
        });
        match published.await? {
            Conclusion::Commit(published) => Ok(published),
            Conclusion::RollBack(outcomes) => {
                self.publish_none(context, &namespace, names, outcomes.into_iter().filter_map(VersionAttempt::err))
                    .await
            }
        }
    }

    /// Checks versions, a few at a time, and drops each content before the next are read.
    async fn check_each(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        versions: Vec<VersionToPublish>,
    ) -> Result<Vec<VersionAttempt<CheckedVersion>>> {
        let mut budget = RequestBudget {
            content_bytes: PUBLISH_VERSIONS_CONTENT_MAX_BYTES,
            answer_bytes: PUBLISH_VERSIONS_ANSWER_MAX_BYTES,
        };
        let mut all = Vec::with_capacity(versions.len());
        for several in versions.chunks(READ_TOGETHER_MAX) {
            let tx = self.log.store.read().await?;
            let mut inputs = Vec::with_capacity(several.len());
            for one in several {
                let is_first = all.is_empty() && inputs.is_empty();
                let admitted = if is_first { Ok(()) } else { self.meter_further(context, namespace) };
                inputs.push(match admitted {
                    Ok(()) => separate_refusal(self.input_to_publish(&tx, one, &mut budget).await)?,
                    Err(limited) => Err(limited.into()),
                });
            }
            drop(tx);
            let mut checks = Vec::with_capacity(inputs.len());
            for input in inputs {
                checks.push(self.check_one(context, input));
            }
            let mut checks = stream::iter(checks).buffered(NAMESPACE_CHECKS_MAX);
            while let Some(checked) = checks.next().await {
                all.push(checked?);
            }
        }
        Ok(all)
    }

    /// Counts one more version against the rates of the caller and the namespace; the call itself counted as the first one.
    fn meter_further(&self, context: &Context, namespace: &NamespaceId) -> Result<()> {
        self.meters.meter_principal(&context.principal, Rpc::PublishVersions.rate(), context.now)?;
        self.meters.meter_namespace(namespace, Rpc::PublishVersions.rate(), context.now)
    }

    async fn input_to_publish(
        &self,
        tx: &ReadTx,
        asked: &VersionToPublish,
        budget: &mut RequestBudget,
    ) -> Result<(CheckInput, Option<Etag>)> {
        let (target, etag) = asked.target.clone()?;
        let (policy, version) = self.resolve_target(tx, &target).await?;
        lifecycle::check_stageable(&version, etag.as_ref())?;
        budget.take(&version)?;
        Ok((self.check_input_of(tx, policy, version).await?, etag))
    }

    /// Runs every check by the current rules. The label is decided again under the lock, after the versions before this one got theirs.
    async fn check_one(
        &self,
        context: &Context,
        input: VersionAttempt<(CheckInput, Option<Etag>)>,
    ) -> Result<VersionAttempt<CheckedVersion>> {
        let (input, etag) = match input {
            Ok(input) => input,
            Err(refused) => return Ok(Err(refused)),
        };
        let (input, report) =
            match separate_refusal(self.checks.check(input, CheckKind::BeforePublish, context.now).await)? {
                Ok(checked) => checked,
                Err(refused) => return Ok(Err(refused)),
            };
        let (policy, version) = (input.policy, input.bundle.version);
        Ok(if report.passed_but_for(LABEL_CHECK) {
            Ok(CheckedVersion { policy, version, etag, report })
        } else {
            refuse_by_checks(version, report)
        })
    }

    /// Publishes one of the versions under the lock, or returns why not.
    async fn publish_one(
        &self,
        write: &mut Write<'_>,
        checked: CheckedVersion,
        reason: &str,
    ) -> Result<VersionAttempt<(Version, Option<Position>)>> {
        let (version, report, basis) = match self.decide_one(write, checked).await? {
            Ok(decided) => decided,
            Err(refused) => {
                // Rows read for the refused version must not affect the decision about the next one.
                write.tx.forget_read();
                return Ok(Err(refused));
            }
        };
        let (version, change) = self.write_published(write, version, &report, &basis, reason.to_owned()).await?;
        let recorded = write.record(change).await?;
        Ok(Ok((version, recorded.cursor)))
    }

    /// Decides by the state under the lock. Nothing is written before the decision.
    async fn decide_one(
        &self,
        write: &Write<'_>,
        checked: CheckedVersion,
    ) -> Result<VersionAttempt<(Version, Report, PublishBasis)>> {
        let (policy, version) = match separate_refusal(read_unchanged(write.tx.read(), &checked).await)? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let report = match separate_refusal(recheck_label(write.tx.read(), &policy, &version, checked.report).await)? {
            Ok(report) if report.passed() => report,
            Ok(report) => return Ok(refuse_by_checks(version, report)),
            Err(refused) => return Ok(Err(refused)),
        };
        let basis = self.basis(write, &policy, &version, checked.etag.as_ref(), &report, false).await;
        let basis = match separate_refusal(basis)? {
            Ok(basis) => basis,
            Err(refused) => return Ok(Err(refused)),
        };
        Ok(separate_refusal(write.check_read().await)?.map(|()| (version, report, basis)))
    }

    /// Returns that nothing was published. No answer is stored: the same request runs again.
    async fn publish_none(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        names: Vec<String>,
        refused: impl Iterator<Item = RefusedVersion>,
    ) -> Result<PublishedVersions> {
        let mut refused: Vec<RefusedVersion> = refused.collect();
        let failed: Vec<_> = refused.iter_mut().filter_map(|each| each.failed.take()).collect();
        if !failed.is_empty() && !context.options.validate_only {
            let tx = self.log.store.begin(namespace).await?;
            for each in &failed {
                put_failed_report(&tx, &each.0, &each.1).await?;
            }
            tx.commit(|| {}).await?;
        }
        Ok(build_answer(names, refused.into_iter().map(Err)))
    }
}

/// Reads a version and its policy again under the lock.
///
/// # Errors
/// `VERSION_NOT_OPEN`, also when an earlier entry of the same call is this version; `ETAG_MISMATCH`, `CONCURRENT_CHANGE`.
async fn read_unchanged(tx: &ReadTx, checked: &CheckedVersion) -> Result<(Policy, Version)> {
    let policy = tx.policy(&checked.policy.name).await?;
    let version = tx.version(&checked.policy.name, checked.version.number).await?;
    lifecycle::check_stageable(&version, checked.etag.as_ref())?;
    let guardrails = guardrails_in_force(tx, &policy.name.namespace).await?;
    let is_unchanged = policy.edits == checked.policy.edits && version.edits == checked.version.edits;
    if !is_unchanged || !has_todays_rules(&checked.report, &policy, &version, &guardrails) {
        return Err(changed_meanwhile(&version));
    }
    Ok((policy, version))
}

/// Checks the label again, against the labels published by now, including those of this call.
async fn recheck_label(tx: &ReadTx, policy: &Policy, version: &Version, report: Report) -> Result<Report> {
    if version.label.is_none() {
        return Ok(report);
    }
    let labels = tx.version_list(policy).await?.published_labels;
    Ok(report.with(checks::check_label(version.label.as_ref(), &policy.settings, &labels)))
}

/// Refuses a version whose checks failed.
fn refuse_by_checks<T>(version: Version, report: Report) -> VersionAttempt<T> {
    let error = lifecycle::check_report(&version, &report).err();
    let error = error.unwrap_or_else(|| Error::internal("a report without a failure refused a version"));
    Err(RefusedVersion { error, failed: Some(Box::new((version, report))) })
}

fn build_answer(
    names: Vec<String>,
    outcomes: impl IntoIterator<Item = VersionAttempt<(Version, Option<Position>)>>,
) -> PublishedVersions {
    let result = |(name, outcome): (String, VersionAttempt<(Version, Option<Position>)>)| PublishVersionsResult {
        name,
        outcome: match outcome {
            Ok((version, cursor)) => PublishOutcome::Published { version: Box::new(version), cursor },
            Err(RefusedVersion { error, .. }) => PublishOutcome::Refused(error.into()),
        },
    };
    PublishedVersions { results: names.into_iter().zip(outcomes).map(result).collect() }
}
