//! Writes leases and reports: rounds, batches, and retries of a batch that failed.

use std::collections::BTreeSet;
use std::time::Duration;

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

/// Rounds between two searches for leases that last longer than one that is written now, whether or not a jump of the clock was seen: with
/// the rounds of `FLUSH_INTERVAL` that is 10 s. More: a lease that was written while a clock was ahead, and whose holder is gone, is shown
/// online for longer.
const ROUNDS_BETWEEN_SHORTENINGS: u64 = 5;

/// The work of a flush. Each name is in each list at most once.
#[derive(Debug, Default)]
struct Work {
    round: u64,
    /// Streams to announce, each with the value of `opened` that it covers.
    announce: Vec<(Announced, u64)>,
    /// Reports to write, each with the number of reports that it sums up.
    report: Vec<(Reported, u64)>,
    renew: Vec<SubscriberClaim>,
    end: Vec<SubscriberClaim>,
}

/// Whether a list whose last claim is `last` already has this name, for another principal: claims are in order of names, and a statement
/// can write a row only once.
fn is_listed(claim: &SubscriberClaim, last: Option<&SubscriberClaim>) -> bool {
    last.is_some_and(|last| last.name == claim.name)
}

impl Work {
    fn is_empty(&self) -> bool {
        let Self { round: _, announce, report, renew, end } = self;
        announce.is_empty() && report.is_empty() && renew.is_empty() && end.is_empty()
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
        let mut state = self.lock();
        let round = state.round;
        let mut work = Work { round, ..Work::default() };
        for (claim, entry) in &mut state.entries {
            match entry.lease_due(round) {
                Some(LeaseDue::Announce) if is_listed(claim, work.announce.last().map(|(row, _)| &row.claim)) => {}
                Some(LeaseDue::Announce) => {
                    entry.lease_round = Some(round);
                    let announced = Announced { claim: claim.clone(), profile: entry.profile.clone() };
                    work.announce.push((announced, entry.opened));
                }
                Some(LeaseDue::Renew) => work.renew.push(claim.clone()),
                Some(LeaseDue::End) => work.end.push(claim.clone()),
                None => {}
            }
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
        let to_shorten = {
            let mut clock = self.lease_clock();
            // Called for its effect on the clock: a jump is noticed within a round or two.
            clock.judge(now, (self.monotonic)());
            clock.to_shorten()
        };
        if to_shorten.is_some() || work.round.is_multiple_of(ROUNDS_BETWEEN_SHORTENINGS) {
            self.store.shorten_leases(now).await?;
            if let Some(number) = to_shorten {
                self.lease_clock().mark_shortened(number);
            }
        }
        if work.round.is_multiple_of(ROUNDS_BETWEEN_SHORTENINGS) && std::mem::take(&mut self.lock().has_grown) {
            self.store.forget_surplus(now).await?;
        }
        for batch in work.announce.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<Announced> = batch.iter().map(|(announced, _)| announced.clone()).collect();
            let refused = self.store.open_leases(&self.holder, &rows, now).await?;
            let written = batch.iter().map(|(row, opened)| (&row.claim, *opened));
            self.mark_written(written, &refused, work.round, |entry, opened| entry.announced = opened);
        }
        for batch in work.report.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<Reported> = batch.iter().map(|(reported, _)| reported.clone()).collect();
            let refused = self.store.report(&rows, now).await?;
            let written = batch.iter().map(|(row, report_count)| (&row.claim, (*report_count, row.status.rejected)));
            let mark_reports_written = |entry: &mut LeaseEntry, (report_count, rejected)| {
                entry.mark_reports_written(report_count, rejected, work.round)
            };
            self.mark_written(written, &refused, work.round, mark_reports_written);
        }
        for batch in work.renew.chunks(ROWS_PER_STATEMENT) {
            let all = self.store.renew(batch, now).await?;
            self.mark(batch.iter().map(|claim| (claim, ())), |entry, ()| {
                // A lease that was handed over meanwhile stays: this replica must not end it.
                if entry.lease_round.is_some() {
                    entry.lease_round = Some(work.round);
                }
                if !all {
                    entry.announced = 0;
                }
            });
        }
        for batch in work.end.chunks(ROWS_PER_STATEMENT) {
            self.store.end(&self.holder, batch, now).await?;
            self.mark(batch.iter().map(|claim| (claim, ())), |entry, ()| entry.lease_round = None);
        }
        Ok(())
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
