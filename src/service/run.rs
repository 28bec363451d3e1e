//! Runs: which version was in force when a unit of work started, looked up in the verified log and provable later.
//!
//! A run changes nothing of its namespace: no lock, no event.

use super::{Context, Service};
use crate::domain::event::Cursor;
use crate::domain::lifecycle;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::run::{RecordRun, Run, RunId};
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

fn run_not_found(namespace: &NamespaceId, id: &RunId) -> Error {
    let name = id.name(namespace);
    Error::new(Reason::RunNotFound, format!("{name} does not exist")).about(name)
}

impl Service {
    /// Records a run, which belongs to who records it. The same run again answers its recorder what was recorded.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `RUN_CONFLICT`, `INVALID_ARGUMENT` for a cursor that is no place of the log, `RESUME_POINT_GONE` for one of another
    /// event, `POLICY_NOT_FOUND`, `REQUEST_ID_REUSED`.
    pub async fn record_run(&self, context: &Context, request: RecordRun) -> Result<Run> {
        let call = self.call(context, "RecordRun", &request)?;
        let namespace = &request.policy.namespace;
        let (tx, found) = self.look(namespace).await?;
        if let Some(answer) = call.replayed(&tx).await? {
            return Ok(answer);
        }
        let asked = request.cursor.unwrap_or(found.cursor.into());
        let event = self.event_at(&tx, &found, asked).await?;
        if let Some(recorded) = tx.run(namespace, &request.id).await? {
            request.check_same(&context.actor(), &recorded)?;
            return Ok(recorded);
        }
        tx.policy(&request.policy).await?;
        // Nothing is in force before the first event.
        let cursor = event.map(|(event, _)| event.cursor).ok_or_else(|| lifecycle::no_active(&request.policy))?;
        let run = self.run_at(&tx, &found, request.id.clone(), &request.policy, cursor).await?;
        let run = Run { recorder: context.actor(), create_time: context.now, ..run };
        drop(tx);
        let kept = call.kept(&run)?;
        if self.store.insert_run(&run, kept).await? {
            return Ok(run);
        }
        // Somebody else recorded it meanwhile.
        let recorded = self.store.read().await?.run(namespace, &request.id).await?;
        let recorded = recorded.ok_or_else(|| run_not_found(namespace, &request.id))?;
        request.check_same(&context.actor(), &recorded)?;
        Ok(recorded)
    }

    /// A recorded run, compared with the log it speaks of.
    ///
    /// # Errors
    /// `RUN_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS` when the log says something else.
    pub async fn get_run(&self, namespace: &NamespaceId, id: &RunId) -> Result<Run> {
        let (tx, found) = self.look(namespace).await?;
        let recorded = tx.run(namespace, id).await?.ok_or_else(|| run_not_found(namespace, id))?;
        let proven = self.run_at(&tx, &found, recorded.id.clone(), &recorded.policy, recorded.cursor).await;
        let same = |proven: &Run| {
            (proven.version, &proven.digest, proven.active_revision)
                == (recorded.version, &recorded.digest, recorded.active_revision)
        };
        let event = tx.event(namespace, recorded.cursor.revision).await?;
        self.signer.event(&event)?;
        match proven {
            Ok(proven) if same(&proven) && event.cursor == recorded.cursor => Ok(recorded),
            Err(error) if error.reason != Reason::NoActiveVersion => Err(error),
            _ => Err(Error::data_loss(format!("{}: the log says something else", id.name(namespace)))),
        }
    }

    /// What a run at a place of the log ran under, proven.
    async fn run_at(
        &self,
        tx: &ReadTx,
        found: &Namespace,
        id: RunId,
        policy: &PolicyName,
        cursor: Cursor,
    ) -> Result<Run> {
        let row = self.in_force_at(tx, found, policy, cursor).await?.ok_or_else(|| lifecycle::no_active(policy))?;
        let active = self.signer.active_bundle(row)?;
        let version = &active.bundle.version;
        Ok(Run {
            id,
            policy: policy.clone(),
            version: version.number,
            digest: version.digest.clone(),
            cursor,
            active_revision: active.activation.revision,
            recorder: String::new(),
            create_time: Default::default(),
        })
    }
}
