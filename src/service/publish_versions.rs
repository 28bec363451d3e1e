//! PublishVersions: many versions of a namespace, each published or refused by itself.
//!
//! The checks run before the lock, a few at a time, so that only as many contents are in memory. Then all is decided and written under
//! one lock and with one commit, version by version in the order of the request, each with an event of its own; so each one is decided
//! on what those before it left. The answer is kept in the same transaction: either all that was published is there, with the answer
//! that says so, or nothing is (ADR 0064).

use futures_util::StreamExt as _;
use futures_util::stream;

use super::check::{CheckKind, Subject, changed_meanwhile, put_failed_report};
use super::check_slots::NAMESPACE_CHECKS_MAX;
use super::write::{Begun, Write};
use super::{Context, Service};
use crate::checks;
use crate::domain::access::Rpc;
use crate::domain::annotations::Annotations;
use crate::domain::command::{PublishVersions, VersionToPublish};
use crate::domain::etag::Etag;
use crate::domain::event::Position;
use crate::domain::lifecycle::{self, PublishBasis};
use crate::domain::limits::{PUBLISH_VERSIONS_ANSWER_MAX_BYTES, PUBLISH_VERSIONS_CONTENT_MAX_BYTES};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{PublishOutcome, PublishVersionsResult, PublishedVersions};
use crate::domain::policy::Policy;
use crate::domain::report::{LABEL_CHECK, Report};
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

/// Versions whose contents are read together. More: so many contents of a MiB are in memory. Fewer: more views of the database.
const READ_TOGETHER_MAX: usize = 8;
/// What is said of a version in an answer beside the texts of its author: names, digests, times, signature.
const ANSWER_FIXED_BYTES: usize = 2 * 1024;
/// How often a text of its author is in an answer, at most: as it is, and in the manifest, escaped and in base64.
const ANSWER_BYTES_PER_TEXT_BYTE: usize = 4;

/// A version that was checked and is not decided yet.
#[derive(Debug)]
struct Checked {
    policy: Policy,
    version: Version,
    etag: Option<Etag>,
    report: Report,
}

/// Why a version is refused.
#[derive(Debug)]
struct Refused {
    error: Error,
    /// The report of the checks that it failed, for its author.
    failed: Option<Box<(Version, Report)>>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, failed: None }
    }
}

/// What became of one version: only what is about it alone is an outcome.
type Outcome<T> = std::result::Result<T, Refused>;

/// Tells the refusal of one version from the failure of the call.
fn outcome_of<T>(decided: Result<T>) -> Result<Outcome<T>> {
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

/// What a call still has room for.
#[derive(Debug)]
struct Room {
    content_bytes: i64,
    answer_bytes: usize,
}

impl Room {
    /// Takes the room of a version.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`, and then it takes none.
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

/// The most bytes that an answer says of a version once it is published.
fn answer_bytes(version: &Version) -> usize {
    let Version { policy, label, content_type, change_note, requires, author, origin_manifests, .. } = version;
    let mut texts = [policy.namespace.as_str(), policy.policy.as_str(), content_type, change_note, author]
        .map(str::len)
        .iter()
        .sum::<usize>();
    texts += label.as_ref().map_or(0, |label| label.to_string().len());
    texts +=
        requires.iter().map(|each| each.policy.as_str().len() + each.version_req.to_string().len() + 32).sum::<usize>();
    texts += Annotations::iter(&version.annotations).map(|(key, value)| key.len() + value.len() + 16).sum::<usize>();
    texts += version.adopted.as_ref().map_or(0, |adopted| adopted.author().len());
    texts += origin_manifests.iter().map(String::len).sum::<usize>();
    ANSWER_FIXED_BYTES + ANSWER_BYTES_PER_TEXT_BYTE * texts
}

impl Service {
    /// Publishes versions of a namespace, each or not.
    ///
    /// # Errors
    /// What is about no single version: `INVALID_ARGUMENT` of the request itself, `REQUEST_ID_REUSED`, and what a server or a
    /// database can't do; then nothing is published.
    pub async fn publish_versions(&self, context: &Context, request: PublishVersions) -> Result<PublishedVersions> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.call(context, "PublishVersions", &request)?;
        let tx = self.store.read().await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        drop(tx);
        let PublishVersions { namespace, versions, reason } = request;
        let names: Vec<String> = versions.iter().map(|each| each.name.clone()).collect();
        let checked = self.check_each(context, &namespace, versions).await?;
        if checked.iter().all(Outcome::is_err) {
            return self.publish_none(context, &namespace, names, checked.into_iter().filter_map(Outcome::err)).await;
        }
        let mut write = match call.begin(&namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut outcomes = Vec::with_capacity(checked.len());
        for one in checked {
            outcomes.push(match one {
                Ok(checked) => self.publish_one(&mut write, checked, &reason).await?,
                Err(refused) => Err(refused),
            });
        }
        if outcomes.iter().all(Outcome::is_err) {
            drop(write);
            return self.publish_none(context, &namespace, names, outcomes.into_iter().filter_map(Outcome::err)).await;
        }
        if !context.options.validate_only {
            for Refused { failed, .. } in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                if let Some(failed) = failed {
                    put_failed_report(&write.tx, &failed.0, &failed.1).await?;
                }
            }
        }
        write.finish(answer(names, outcomes)).await
    }

    /// Checks versions, a few at a time, and drops each content before the next are read.
    async fn check_each(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        versions: Vec<VersionToPublish>,
    ) -> Result<Vec<Outcome<Checked>>> {
        let mut room =
            Room { content_bytes: PUBLISH_VERSIONS_CONTENT_MAX_BYTES, answer_bytes: PUBLISH_VERSIONS_ANSWER_MAX_BYTES };
        let mut all = Vec::with_capacity(versions.len());
        for several in versions.chunks(READ_TOGETHER_MAX) {
            let tx = self.store.read().await?;
            let mut subjects = Vec::with_capacity(several.len());
            for one in several {
                let is_first = all.is_empty() && subjects.is_empty();
                let admitted = if is_first { Ok(()) } else { self.meter_further(context, namespace) };
                subjects.push(match admitted {
                    Ok(()) => outcome_of(self.subject_to_publish(&tx, one, &mut room).await)?,
                    Err(limited) => Err(limited.into()),
                });
            }
            drop(tx);
            let mut checks = Vec::with_capacity(subjects.len());
            for subject in subjects {
                checks.push(self.check_one(context, subject));
            }
            let mut checks = stream::iter(checks).buffered(NAMESPACE_CHECKS_MAX);
            while let Some(checked) = checks.next().await {
                all.push(checked?);
            }
        }
        Ok(all)
    }

    /// Takes one more version out of the rates of the caller and the namespace; the call itself took the first one.
    fn meter_further(&self, context: &Context, namespace: &NamespaceId) -> Result<()> {
        self.meter_caller(&context.principal, Rpc::PublishVersions, context.now)?;
        self.meters.meter_namespace(namespace, Rpc::PublishVersions.rate(), context.now)
    }

    async fn subject_to_publish(
        &self,
        tx: &ReadTx,
        asked: &VersionToPublish,
        room: &mut Room,
    ) -> Result<(Subject, Option<Etag>)> {
        let (target, etag) = asked.target.clone()?;
        let (policy, version) = self.resolve_target(tx, &target).await?;
        lifecycle::check_stageable(&version, etag.as_ref())?;
        room.take(&version)?;
        Ok((self.subject_of(tx, policy, version).await?, etag))
    }

    /// Runs today's checks. What its label says is decided under the lock, when those before it have theirs.
    async fn check_one(
        &self,
        context: &Context,
        subject: Outcome<(Subject, Option<Etag>)>,
    ) -> Result<Outcome<Checked>> {
        let (subject, etag) = match subject {
            Ok(subject) => subject,
            Err(refused) => return Ok(Err(refused)),
        };
        let (subject, report) = match outcome_of(self.check(subject, CheckKind::First, context.now).await)? {
            Ok(checked) => checked,
            Err(refused) => return Ok(Err(refused)),
        };
        let (policy, version) = (subject.policy, subject.bundle.version);
        Ok(if report.passed_but_for(LABEL_CHECK) {
            Ok(Checked { policy, version, etag, report })
        } else {
            refused_by_checks(version, report)
        })
    }

    /// Publishes one of the versions under the lock, or says why not.
    async fn publish_one(
        &self,
        write: &mut Write<'_>,
        checked: Checked,
        reason: &str,
    ) -> Result<Outcome<(Version, Option<Position>)>> {
        let (version, report, basis) = match self.decide_one(write, checked).await? {
            Ok(decided) => decided,
            Err(refused) => {
                // What was read for it decides nothing of what comes next.
                let _ = (write.tx.take_read(), write.tx.take_settings_read());
                return Ok(Err(refused));
            }
        };
        let (version, change) = self.write_published(write, version, &report, &basis, reason.to_owned()).await?;
        let recorded = write.record(change).await?;
        Ok(Ok((version, recorded.cursor)))
    }

    /// Decides on what is there under the lock. Nothing is written before it has decided.
    async fn decide_one(
        &self,
        write: &Write<'_>,
        checked: Checked,
    ) -> Result<Outcome<(Version, Report, PublishBasis)>> {
        let (policy, version) = match outcome_of(still_what_was_checked(write.tx.read(), &checked).await)? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let report = match outcome_of(label_checked(write.tx.read(), &policy, &version, checked.report).await)? {
            Ok(report) if report.passed() => report,
            Ok(report) => return Ok(refused_by_checks(version, report)),
            Err(refused) => return Ok(Err(refused)),
        };
        let basis = self.basis(write, (&policy, &version), checked.etag.as_ref(), &report, false).await;
        let basis = match outcome_of(basis)? {
            Ok(basis) => basis,
            Err(refused) => return Ok(Err(refused)),
        };
        Ok(outcome_of(self.check_read(&write.tx).await)?.map(|()| (version, report, basis)))
    }

    /// Answers that nothing was published. No answer is kept: the same request is run again.
    async fn publish_none(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        names: Vec<String>,
        refused: impl Iterator<Item = Refused>,
    ) -> Result<PublishedVersions> {
        let mut refused: Vec<Refused> = refused.collect();
        let failed: Vec<_> = refused.iter_mut().filter_map(|each| each.failed.take()).collect();
        if !failed.is_empty() && !context.options.validate_only {
            let tx = self.store.begin(namespace).await?;
            for each in &failed {
                put_failed_report(&tx, &each.0, &each.1).await?;
            }
            tx.commit(|| {}).await?;
        }
        Ok(answer(names, refused.into_iter().map(Err)))
    }
}

/// Reads a version and its policy again under the lock.
///
/// # Errors
/// `VERSION_NOT_OPEN`, also when an earlier version of the same call is this one; `ETAG_MISMATCH`, `CONCURRENT_CHANGE`.
async fn still_what_was_checked(tx: &ReadTx, checked: &Checked) -> Result<(Policy, Version)> {
    let policy = tx.policy(&checked.policy.name).await?;
    let version = tx.version(&checked.policy.name, checked.version.number).await?;
    lifecycle::check_stageable(&version, checked.etag.as_ref())?;
    if policy.edits != checked.policy.edits || version.edits != checked.version.edits {
        return Err(changed_meanwhile(&version));
    }
    Ok((policy, version))
}

/// The report with the label checked on the labels that are published by now, those of this call included.
async fn label_checked(tx: &ReadTx, policy: &Policy, version: &Version, report: Report) -> Result<Report> {
    if version.label.is_none() {
        return Ok(report);
    }
    let labels = tx.version_list(policy).await?.published_labels;
    Ok(report.with(checks::check_label(version.label.as_ref(), &policy.settings, &labels)))
}

/// The refusal of a version whose checks failed.
fn refused_by_checks<T>(version: Version, report: Report) -> Outcome<T> {
    let error = lifecycle::check_report(&version, &report).err();
    let error = error.unwrap_or_else(|| Error::internal("a report without a failure refused a version"));
    Err(Refused { error, failed: Some(Box::new((version, report))) })
}

fn answer(
    names: Vec<String>,
    outcomes: impl IntoIterator<Item = Outcome<(Version, Option<Position>)>>,
) -> PublishedVersions {
    let result = |(name, outcome): (String, Outcome<(Version, Option<Position>)>)| PublishVersionsResult {
        name,
        outcome: match outcome {
            Ok((version, cursor)) => PublishOutcome::Published { version: Box::new(version), cursor },
            Err(Refused { error, .. }) => PublishOutcome::Refused(error.into()),
        },
    };
    PublishedVersions { results: names.into_iter().zip(outcomes).map(result).collect() }
}
