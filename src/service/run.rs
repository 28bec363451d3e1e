//! Runs: which versions were in force when a unit of work started, looked up in the verified log and provable later, and how it ended.
//!
//! A run changes nothing of its namespace: no lock, no event.

use std::collections::BTreeSet;

use super::page_reader::PageReader;
use super::{Context, Service};
use crate::domain::bundle::ActiveEntry;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::event::Cursor;
use crate::domain::lifecycle;
use crate::domain::limits::{RUN_COUNTS_MAX, RUNS_SCANNED_MAX};
use crate::domain::listing::RunFilter;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::run::{CompleteRun, RecordRun, Run, RunCount, RunEnd, RunId, RunKey, RunPolicy};
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Policies that are looked up one by one. More: each takes some queries. Fewer: the whole active set is read for a few of them.
const POLICIES_ONE_BY_ONE_MAX: usize = 8;
/// What a run may take in an answer beside its message and its recorder, roughly.
const RUN_BYTES: usize = 512;

impl Service {
    /// Records a run, which belongs to who records it. The same run again answers its recorder what was recorded.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `RUN_CONFLICT`, `INVALID_ARGUMENT` for a cursor that is no place of the log, `RESUME_POINT_GONE` for
    /// one of another event, `POLICY_NOT_FOUND`, `LIMIT_EXCEEDED`, `REQUEST_ID_REUSED`, `RUN_NOT_FOUND` for a request that was
    /// answered with a run that was deleted since.
    pub async fn record_run(&self, context: &Context, request: RecordRun) -> Result<Run> {
        let call = self.call(context, "RecordRun", &request)?;
        let RecordRun { namespace, id, policies, cursor } = &request;
        let (tx, found) = self.look(namespace).await?;
        // The answer is not kept itself: it may be as large as an answer can be, and a run stays as it was recorded.
        if let Some(id) = call.replayed::<RunId>(&tx).await? {
            return tx.run(namespace, &id).await?.ok_or_else(|| id.not_found(namespace));
        }
        let event = self.event_at(&tx, &found, ("cursor", cursor.unwrap_or(found.cursor.into()))).await?;
        if let Some(recorded) = tx.run(namespace, id).await? {
            request.check_same(&context.actor(), &recorded)?;
            return Ok(recorded);
        }
        // Nothing is in force before the first event.
        let cursor = event.map_or(Cursor { revision: 0, ..found.cursor }, |(event, _)| event.cursor);
        let active = self.run_policies_at(&tx, &found, policies, cursor).await?;
        request.check_size(active.len())?;
        drop(tx);
        let run = Run {
            namespace: namespace.clone(),
            id: id.clone(),
            policy_count: active.len(),
            policies: active,
            is_whole_set: policies.is_empty(),
            cursor,
            recorder: context.actor(),
            create_time: context.now,
            end: None,
        };
        let kept = call.kept(id)?;
        if self.store.insert_run(&run, kept).await? {
            return Ok(run);
        }
        // Somebody else recorded it meanwhile.
        let recorded = self.store.read().await?.run(namespace, id).await?;
        let recorded = recorded.ok_or_else(|| id.not_found(namespace))?;
        request.check_same(&context.actor(), &recorded)?;
        Ok(recorded)
    }

    /// Ends a run, which only its recorder may. The same end again is answered as the first. The answer has the first policy alone.
    ///
    /// # Errors
    /// `RUN_NOT_FOUND`, `PERMISSION_DENIED` for another principal, `RUN_CONFLICT` when it ended in another way, `REQUEST_ID_REUSED`.
    pub async fn complete_run(&self, context: &Context, request: CompleteRun) -> Result<Run> {
        let call = self.call(context, "CompleteRun", &request)?;
        let (namespace, id) = (&request.namespace, &request.id);
        let (tx, _) = self.look(namespace).await?;
        let recorded = |found: Option<Run>| found.ok_or_else(|| id.not_found(namespace));
        let run = recorded(tx.run_summary(namespace, id).await?)?;
        if call.replayed::<RunId>(&tx).await?.is_some() || request.is_done(&context.actor(), &run)? {
            return Ok(run);
        }
        drop(tx);
        let end = RunEnd {
            outcome: request.outcome,
            message: request.message.clone(),
            // Two hosts may disagree about the time: nothing ends before it was recorded.
            complete_time: context.now.max(run.create_time),
        };
        let kept = call.kept(id)?;
        if self.store.end_run(&run, &end, kept).await? {
            return Ok(Run { end: Some(end), ..run });
        }
        // It ended meanwhile, or was deleted.
        let run = recorded(self.store.read().await?.run_summary(namespace, id).await?)?;
        if request.is_done(&context.actor(), &run)? {
            return Ok(run);
        }
        Err(Error::new(Reason::ConcurrentChange, "the run changed meanwhile; try again"))
    }

    /// A recorded run, compared with the log it speaks of.
    ///
    /// # Errors
    /// `RUN_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS` when the log says something else.
    pub async fn get_run(&self, namespace: &NamespaceId, id: &RunId) -> Result<Run> {
        let (tx, found) = self.look(namespace).await?;
        let recorded = tx.run(namespace, id).await?.ok_or_else(|| id.not_found(namespace))?;
        let named = recorded.policies.iter().map(|each| each.policy.clone());
        let asked = if recorded.is_whole_set { BTreeSet::new() } else { named.collect() };
        let proven = self.run_policies_at(&tx, &found, &asked, recorded.cursor).await;
        let event = tx.event(namespace, recorded.cursor.revision).await?;
        self.signer.event(&event)?;
        match proven {
            Ok(proven) if proven == recorded.policies && event.cursor == recorded.cursor => Ok(recorded),
            Err(error) if error.reason != Reason::NoActiveVersion => Err(error),
            _ => Err(Error::data_loss(format!("{}: the log says something else", id.name(namespace)))),
        }
    }

    /// A page of runs, newest first, each with one policy; with the first page of a policy's runs, how many there are of each version
    /// and outcome, newest version first. No counts: there are too many runs to count, or too many counts, or no index counts them.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_runs(
        &self,
        filter: &RunFilter,
        page: &PageRequest<RunKey>,
    ) -> Result<(ListPage<RunKey, Run>, Option<Vec<RunCount>>)> {
        let (tx, _) = self.look(&filter.namespace).await?;
        let mut counts = Some(Vec::new());
        if let Some(policy) = &filter.policy {
            tx.policy(&PolicyName { namespace: filter.namespace.clone(), policy: policy.clone() }).await?;
            if filter.is_search {
                counts = None;
            } else if page.after.is_none() {
                counts = tx.run_counts(filter, policy).await?.filter(|counts| counts.len() <= RUN_COUNTS_MAX);
            }
        }
        if let Some(counts) = &mut counts {
            counts.sort_by_key(|count| (std::cmp::Reverse(count.version), count.outcome));
        }
        let mut reader = PageReader::searching(page, filter.is_search, RUNS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.runs(filter, &asked).await?;
            let bytes =
                |run: &Run| RUN_BYTES + run.recorder.len() + run.end.as_ref().map_or(0, |end| end.message.len());
            reader.add(&asked, found, |run| (run.key(), bytes(run)), |run| filter.wanted.keeps(run));
        }
        Ok((reader.done(), counts))
    }

    /// What a run at a place of the log ran under, proven, in byte order of the policies; without policies the whole active set.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `POLICY_NOT_FOUND`, `DATA_LOSS`.
    async fn run_policies_at(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        policies: &BTreeSet<PolicyId>,
        cursor: Cursor,
    ) -> Result<Vec<RunPolicy>> {
        if (1..=POLICIES_ONE_BY_ONE_MAX).contains(&policies.len()) {
            return self.run_policies_one_by_one(tx, found, policies, cursor).await;
        }
        let mut active = self.set_in_force_at(tx, found, cursor).await?;
        if !policies.is_empty() {
            active.retain(|(policy, _)| policies.contains(policy));
            let there: BTreeSet<PolicyId> = active.iter().map(|(policy, _)| policy.clone()).collect();
            if let Some(missing) = policies.difference(&there).next() {
                return Err(not_active(tx, found, missing).await);
            }
        } else if active.is_empty() {
            let name = found.id.name();
            return Err(Error::new(Reason::NoActiveVersion, format!("nothing is active in {name} there")).about(name));
        }
        let policy = |(policy, entry): (PolicyId, ActiveEntry)| RunPolicy {
            policy,
            version: entry.version,
            digest: entry.digest,
            activation_revision: entry.activation.revision,
        };
        Ok(active.into_iter().map(policy).collect())
    }

    async fn run_policies_one_by_one(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        policies: &BTreeSet<PolicyId>,
        cursor: Cursor,
    ) -> Result<Vec<RunPolicy>> {
        let mut active = Vec::with_capacity(policies.len());
        for policy in policies {
            let name = PolicyName { namespace: found.id.clone(), policy: policy.clone() };
            let Some(row) = self.in_force_at(tx, found, &name, cursor).await? else {
                return Err(not_active(tx, found, policy).await);
            };
            let bundle = self.signer.active_bundle(row)?;
            let version = &bundle.bundle.version;
            active.push(RunPolicy {
                policy: policy.clone(),
                version: version.number,
                digest: version.digest.clone(),
                activation_revision: bundle.activation.revision,
            });
        }
        Ok(active)
    }
}

/// Why a run can't be under a policy: it does not exist, or is not active.
async fn not_active(tx: &ReadTx, found: &Namespace, policy: &PolicyId) -> Error {
    let name = PolicyName { namespace: found.id.clone(), policy: policy.clone() };
    tx.policy(&name).await.err().unwrap_or_else(|| lifecycle::no_active(&name))
}
