//! Writes leases and reports: rounds, batches, and retries of a batch that failed.
//!
//! Invariant: what is written grows with the streams that begin or end and with reports, never with those that are open.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Leases;
use super::entry::{LeaseDue, LeaseEntry};
use crate::domain::Result;
use crate::domain::subscriber::SubscriberClaim;
use crate::domain::time::Micros;
use crate::store::{Announced, ROWS_PER_STATEMENT, Reported};

/// Pause between two rounds. Longer: a stream that opened or ended is seen later. Shorter: more statements.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// How long reports are gathered before they are written together. Longer: a report takes longer. Shorter: a fleet that reports at once
/// takes more statements.
const GATHER: Duration = Duration::from_millis(50);
/// Timeout of a flush: a database that hangs never answers.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(8);

/// The work of a flush. Each name is in each list at most once.
#[derive(Debug, Default)]
struct Work {
    round: u64,
    /// Streams to announce, each with the value of `opened` that it covers.
    announce: Vec<(Announced, u64)>,
    /// Reports to write, each with the number of reports that it sums up.
    report: Vec<(Reported, u64)>,
    end: Vec<SubscriberClaim>,
    hand_over: Vec<SubscriberClaim>,
    /// The time at which this work was found, when the lease of the replica is due as well.
    renewal: Option<Instant>,
    /// Whether the database may have leases of this replica.
    holds: bool,
}

/// Whether a list whose last claim is `last` already has this name, for another principal: claims are in order of names, and a statement
/// can write a row only once.
fn is_listed(claim: &SubscriberClaim, last: Option<&SubscriberClaim>) -> bool {
    last.is_some_and(|last| last.name == claim.name)
}

impl Work {
    fn is_empty(&self) -> bool {
        let Self { round: _, announce, report, end, hand_over, renewal: _, holds: _ } = self;
        let has_rows = !(announce.is_empty() && report.is_empty() && end.is_empty() && hand_over.is_empty());
        !has_rows && !self.renews()
    }

    /// Whether the lease of the replica is due, and covers something.
    fn renews(&self) -> bool {
        self.holds && self.renewal.is_some()
    }
}

impl Leases {
    /// Writes until it is dropped. A flush that fails is logged, and retried in the next round.
    pub async fn keep(&self) {
        let mut rounds = tokio::time::interval(FLUSH_INTERVAL);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let mut state = self.lock();
                    state.round += 1;
                    state.forget_idle();
                    drop(state);
                    self.note_database();
                }
                () = self.urgent.notified() => tokio::time::sleep(GATHER).await,
            }
            self.flush(false).await;
        }
    }

    /// Writes what is due, or everything with `last`.
    pub async fn flush(&self, last: bool) {
        let work = self.work(last);
        let is_idle = work.is_empty();
        match tokio::time::timeout(FLUSH_TIMEOUT, self.write(work)).await {
            Ok(Ok(())) => {}
            // Nothing is waiting to be written.
            Ok(Err(error)) if is_idle => {
                tracing::debug!(%error, detail = error.internal, "failed to read the clock of leases");
            }
            Ok(Err(error)) => tracing::warn!(%error, detail = error.internal, "failed to write leases and reports"),
            Err(_) => tracing::warn!("the database did not answer in time; writing leases and reports again"),
        }
        self.flushed.send_modify(|count| *count += 1);
    }

    /// Returns what is due. From here on the database may have the leases that are announced.
    fn work(&self, last: bool) -> Work {
        let now = (self.monotonic)();
        let mut state = self.lock();
        let round = state.round;
        let renewal = state.is_renewal_due(now).then_some(now);
        let mut work = Work { round, renewal, ..Work::default() };
        for (claim, entry) in &mut state.entries {
            match entry.lease_due() {
                Some(LeaseDue::Announce) if is_listed(claim, work.announce.last().map(|(row, _)| &row.claim)) => {}
                Some(LeaseDue::Announce) => {
                    entry.is_held = true;
                    let announced = Announced { claim: claim.clone(), profile: entry.profile.clone() };
                    work.announce.push((announced, entry.opened));
                }
                Some(LeaseDue::End) => work.end.push(claim.clone()),
                Some(LeaseDue::HandOver) => work.hand_over.push(claim.clone()),
                None => {}
            }
            work.holds |= entry.is_held;
            if entry.report_due(round, last) && !is_listed(claim, work.report.last().map(|(row, _)| &row.claim)) {
                work.report
                    .push((Reported { claim: claim.clone(), status: entry.unwritten.clone() }, entry.report_count));
            }
        }
        work
    }

    async fn write(&self, work: Work) -> Result<()> {
        // Do this without work too: it also judges leases of a replica that is gone.
        let now: Micros = self.wall().await?;
        let (judged, to_shorten) = {
            let mut clock = self.lease_clock();
            // Also called for its effect on the clock: a jump is noticed within a round or two.
            (clock.judge(now, (self.monotonic)()), clock.to_shorten())
        };
        // Before what is announced: a subscriber is online only while the lease of its replica holds.
        let renews = !work.announce.is_empty() || work.renews();
        let is_new = renews && !self.store.renew_replica(&self.holder, now).await?;
        if to_shorten.is_some() || work.renewal.is_some() {
            self.store.shorten_leases(now).await?;
            self.store.shorten_replica_leases(now).await?;
            if let Some(number) = to_shorten {
                self.lease_clock().mark_shortened(number);
            }
        }
        if work.renewal.is_some() {
            self.end_lapsed(judged).await?;
            if std::mem::take(&mut self.lock().has_grown) {
                self.store.forget_surplus(now).await?;
            }
        }
        self.write_streams(&work, now).await?;
        self.write_reports(&work, now).await?;
        if is_new || work.renews() {
            self.reconcile(now).await?;
        }
        if let Some(renewed_at) = work.renewal {
            self.lock().renewed_at = Some(renewed_at);
        }
        Ok(())
    }

    /// Ends the leases of subscribers whose replicas did not renew their own.
    async fn end_lapsed(&self, judged: Micros) -> Result<()> {
        for lapsed in self.store.lapsed_replicas(judged).await? {
            // Each step may be repeated. A replica that renews in between finds that its leases are ended, and announces them again.
            let subscribers = self.store.end_leases_of(&lapsed).await?;
            self.store.forget_replica(&lapsed).await?;
            if subscribers > 0 {
                let replica = lapsed.id;
                tracing::warn!(
                    replica,
                    subscribers,
                    "a replica no longer renews its lease; its subscribers are offline"
                );
            }
        }
        Ok(())
    }

    /// Writes which streams opened and ended.
    async fn write_streams(&self, work: &Work, now: Micros) -> Result<()> {
        for batch in work.announce.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<Announced> = batch.iter().map(|(announced, _)| announced.clone()).collect();
            let refused = self.store.open_leases(&self.holder, &rows, now).await?;
            let written = batch.iter().map(|(row, opened)| (&row.claim, *opened));
            self.mark_written(written, &refused, work.round, LeaseEntry::mark_announced);
        }
        for batch in work.end.chunks(ROWS_PER_STATEMENT) {
            self.store.end(&self.holder, batch, now).await?;
            self.mark(batch.iter().map(|claim| (claim, ())), |entry, ()| entry.mark_let_go());
        }
        for batch in work.hand_over.chunks(ROWS_PER_STATEMENT) {
            self.store.hand_over(&self.holder, batch, now).await?;
            self.mark(batch.iter().map(|claim| (claim, ())), |entry, ()| entry.mark_let_go());
        }
        Ok(())
    }

    async fn write_reports(&self, work: &Work, now: Micros) -> Result<()> {
        for batch in work.report.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<Reported> = batch.iter().map(|(reported, _)| reported.clone()).collect();
            let refused = self.store.report(&rows, now).await?;
            let written = batch.iter().map(|(row, report_count)| (&row.claim, (*report_count, row.status.rejected)));
            let mark_reports_written = |entry: &mut LeaseEntry, (report_count, rejected)| {
                entry.mark_reports_written(report_count, rejected, work.round)
            };
            self.mark_written(written, &refused, work.round, mark_reports_written);
        }
        Ok(())
    }

    /// Compares the leases that the database has of this replica with those that it holds, and mends what differs: rows may have been
    /// deleted, restored, or ended by a replica that took this one for dead. Reads one number when nothing differs.
    async fn reconcile(&self, now: Micros) -> Result<()> {
        let (count, mut missing) = self.count_held();
        if self.store.count_held(&self.holder).await? != count {
            let here = self.held();
            let stored = self.store.held(&self.holder).await?;
            let strays: Vec<SubscriberClaim> = stored.difference(&here).cloned().collect();
            for batch in strays.chunks(ROWS_PER_STATEMENT) {
                self.store.end(&self.holder, batch, now).await?;
            }
            missing.extend(here.difference(&stored).cloned());
        }
        for batch in missing.chunks(ROWS_PER_STATEMENT) {
            let elsewhere = self.store.held_elsewhere(&self.holder, batch, now).await?;
            let found = batch.iter().map(|claim| (claim, elsewhere.contains(claim)));
            self.mark(found, LeaseEntry::mark_not_found);
            if elsewhere.len() < batch.len() {
                // Announce them at once: they are shown offline.
                self.urgent.notify_one();
            }
        }
        Ok(())
    }

    /// Returns how many leases are this replica's in the database, and the claims whose leases another one wrote later.
    fn count_held(&self) -> (u64, Vec<SubscriberClaim>) {
        let state = self.lock();
        let held = || state.entries.iter().filter(|(_, entry)| entry.is_held);
        let elsewhere = held().filter(|(_, entry)| entry.is_elsewhere).map(|(claim, _)| claim.clone()).collect();
        (held().filter(|(_, entry)| !entry.is_elsewhere).count() as u64, elsewhere)
    }

    /// Returns the claims whose leases are this replica's in the database.
    fn held(&self) -> BTreeSet<SubscriberClaim> {
        let state = self.lock();
        let here = state.entries.iter().filter(|(_, entry)| entry.is_held && !entry.is_elsewhere);
        here.map(|(claim, _)| claim.clone()).collect()
    }

    /// Records what was written of a batch, and which of its claims were refused.
    fn mark_written<'a, T>(
        &self,
        batch: impl Iterator<Item = (&'a SubscriberClaim, T)>,
        refused: &BTreeSet<SubscriberClaim>,
        round: u64,
        change: impl Fn(&mut LeaseEntry, T),
    ) {
        if let Some(SubscriberClaim { name, owner }) = refused.first() {
            let (count, subscriber) = (refused.len(), name.id.as_str());
            tracing::warn!(
                count,
                subscriber,
                principal = owner,
                "ids of subscribers were claimed that are another principal's"
            );
        }
        self.mark(refused.iter().map(|claim| (claim, ())), |entry, ()| entry.refuse(round));
        self.mark(batch.filter(|(claim, _)| !refused.contains(*claim)), change);
    }

    fn mark<'a, T>(
        &self,
        written: impl Iterator<Item = (&'a SubscriberClaim, T)>,
        change: impl Fn(&mut LeaseEntry, T),
    ) {
        let mut state = self.lock();
        for (claim, what) in written {
            if let Some(entry) = state.entries.get_mut(claim) {
                change(entry, what);
            }
        }
    }
}
