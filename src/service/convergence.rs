//! GetConvergence: how far an activation has come, now or once nothing is pending.
//!
//! All who wait for a namespace share one look at the database per second.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Service;
use crate::domain::convergence::Convergence;
use crate::domain::event::{Cursor, Position};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::subscriber::Subscriber;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};

/// Between two looks at the database, for all who wait for a namespace.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How far an activation has come.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the proto's GetConvergenceResponse")]
pub struct Converged {
    pub cursor: Cursor,
    pub counts: Convergence,
    pub offline: u64,
    pub rejected: Vec<Subscriber>,
    pub pending: Vec<Subscriber>,
    pub gone: Vec<Subscriber>,
    /// The time by which leases count.
    pub now: Micros,
}

/// The subscribers of a namespace that are live or were lately, and how many are offline.
#[derive(Debug)]
struct Survey {
    recent: Vec<Subscriber>,
    offline: u64,
    /// The time by which leases count.
    now: Micros,
}

/// The looks that those who wait for a namespace share.
#[derive(Debug, Default)]
struct Looks {
    /// Whoever has it looks next.
    turn: tokio::sync::Mutex<()>,
    newest: watch::Sender<Option<Arc<Survey>>>,
}

/// The looks of every namespace that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<NamespaceId, Arc<Looks>>>);

impl Waits {
    fn of(&self, namespace: &NamespaceId) -> Arc<Looks> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody but this map holds is done.
        waits.retain(|_, looks| Arc::strong_count(looks) > 1);
        Arc::clone(waits.entry(namespace.clone()).or_default())
    }
}

impl Service {
    /// How far an activation has come: once nothing is pending, or as it is when `enough` ends; at once without it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a cursor that is no activation of the log, `RESUME_POINT_GONE` for one of another event,
    /// `NAMESPACE_NOT_FOUND`.
    pub async fn get_convergence(
        &self,
        namespace: &NamespaceId,
        at: Position,
        enough: Option<impl Future<Output = ()>>,
    ) -> Result<Converged> {
        let (cursor, moved) = self.activation_at(namespace, at).await?;
        let mut counted = self.count(namespace, cursor, &moved, &*self.survey(namespace).await?);
        if let Some(enough) = enough {
            let mut enough = std::pin::pin!(enough);
            let looks = self.waits.of(namespace);
            let mut newest = looks.newest.subscribe();
            while !counted.0.is_settled() {
                let (survey, is_last) = tokio::select! {
                    biased;
                    () = &mut enough => (self.survey(namespace).await?, true),
                    survey = self.next_survey(namespace, &looks, &mut newest) => (survey?, false),
                };
                counted = self.count(namespace, cursor, &moved, &survey);
                if is_last {
                    break;
                }
            }
        }
        let (counts, offline) = counted;
        let (tx, _) = self.look(namespace).await?;
        let rejected = tx.subscribers_named(namespace, &counts.rejected_ids).await?;
        let pending = tx.subscribers_named(namespace, &counts.pending_ids).await?;
        let gone = tx.subscribers_named(namespace, &counts.gone_ids).await?;
        let [rejected, pending, gone] = [rejected, pending, gone].map(|named| self.as_known_here(namespace, named));
        Ok(Converged { cursor, counts, offline, rejected, pending, gone, now: self.leases.now().await? })
    }

    /// The place of an activation, with its epoch, and the policies it moved.
    async fn activation_at(&self, namespace: &NamespaceId, at: Position) -> Result<(Cursor, BTreeSet<PolicyId>)> {
        let (tx, found) = self.look(namespace).await?;
        match self.event_at(&tx, &found, ("cursor", at)).await? {
            Some((event, payload)) if !payload.changes.is_empty() => {
                Ok((event.cursor, payload.changes.into_iter().map(|change| change.policy).collect()))
            }
            Some((_, payload)) => {
                let what = format!("is no activation: {} moved no pointer", payload.kind.as_str());
                Err(Error::invalid("cursor", what).with("kind", payload.kind.as_str()))
            }
            None => Err(Error::invalid("cursor", "is no activation: the log begins at revision 1")),
        }
    }

    async fn survey(&self, namespace: &NamespaceId) -> Result<Arc<Survey>> {
        // What is due here comes first: a process that was held up may have let its own leases lapse.
        self.leases.settle().await;
        let now = self.leases.now().await?;
        let (tx, _) = self.look(namespace).await?;
        let (recent, offline) = tx.recent_subscribers(namespace, now).await?;
        Ok(Arc::new(Survey { recent, offline, now }))
    }

    /// The next look, this call's own or another one's.
    async fn next_survey(
        &self,
        namespace: &NamespaceId,
        looks: &Looks,
        newest: &mut watch::Receiver<Option<Arc<Survey>>>,
    ) -> Result<Arc<Survey>> {
        loop {
            tokio::select! {
                biased;
                // The sender is held by this call.
                _ = newest.changed() => {
                    let survey = newest.borrow_and_update().clone();
                    if let Some(survey) = survey {
                        return Ok(survey);
                    }
                }
                _turn = looks.turn.lock() => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    let survey = self.survey(namespace).await?;
                    looks.newest.send_replace(Some(Arc::clone(&survey)));
                    newest.mark_unchanged();
                    return Ok(survey);
                }
            }
        }
    }

    /// Counts, with what was reported here and is not written yet.
    fn count(
        &self,
        namespace: &NamespaceId,
        cursor: Cursor,
        moved: &BTreeSet<PolicyId>,
        survey: &Survey,
    ) -> (Convergence, u64) {
        let recent = self.as_known_here(namespace, survey.recent.clone());
        (Convergence::count(&recent, cursor, moved, survey.now), survey.offline)
    }

    fn as_known_here(&self, namespace: &NamespaceId, mut subscribers: Vec<Subscriber>) -> Vec<Subscriber> {
        let mut unwritten = self.leases.unwritten(namespace);
        for subscriber in &mut subscribers {
            if let Some(said) = unwritten.remove(&(subscriber.id.clone(), subscriber.owner.clone())) {
                subscriber.status = std::mem::take(&mut subscriber.status).then(said);
            }
        }
        subscribers
    }
}
