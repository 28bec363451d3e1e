//! Writing leases and reports: rounds, batches, and what becomes of a batch that fails.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Leases;
use super::entry::{LeaseDue, LeaseEntry};
use crate::domain::Result;
use crate::domain::subscriber::SubscriberClaim;
use crate::domain::time::Micros;
use crate::store::{Announced, ROWS_PER_STATEMENT, Reported};

/// Between two rounds. Longer: a stream that opened or ended is seen later. Shorter: more statements.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// How long reports are gathered before they are written together. Longer: who reports waits longer. Shorter: a fleet that
/// reports at once is written in more statements.
const GATHER: Duration = Duration::from_millis(50);
/// How long a flush may take: a database that stopped answers nothing for ever.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(8);

/// Rounds between two looks for leases that hold for longer than one that is written now, whether or not a jump of the clock
/// was seen: with the rounds of `FLUSH_INTERVAL` that is 10 s. More: one that a clock wrote which was ahead for a moment, and
/// whose holder is gone, is seen as online for longer.
const ROUNDS_BETWEEN_SHORTENINGS: u64 = 5;

/// What a flush writes. Each name is in each list at most once.
#[derive(Debug, Default)]
struct Work {
    round: u64,
    /// With the opening that it tells of.
    announce: Vec<(Announced, u64)>,
    /// With the number of reports that it adds up.
    report: Vec<(Reported, u64)>,
    renew: Vec<SubscriberClaim>,
    end: Vec<SubscriberClaim>,
}

/// Whether a list whose last claim is `last` holds this name already, for another principal: claims are in order of their names, and
/// a statement can write a row once only.
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
    /// Writes until it is dropped. A flush that fails is logged, and done again in the next round.
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

    /// Writes what is due; with `last` everything.
    pub async fn flush(&self, last: bool) {
        let work = self.work(last);
        let is_idle = work.is_empty();
        match tokio::time::timeout(FLUSH_TIMEOUT, self.write(work)).await {
            Ok(Ok(())) => {}
            // Nothing waits for it.
            Ok(Err(error)) if is_idle => {
                tracing::debug!(%error, detail = error.internal, "failed to read the clock of leases");
            }
            Ok(Err(error)) => tracing::warn!(%error, detail = error.internal, "failed to write leases and reports"),
            Err(_) => tracing::warn!("the database did not answer in time; writing leases and reports again"),
        }
        self.flushed.send_modify(|count| *count += 1);
    }

    /// What is due. From here on the database may hold the leases that are announced.
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
        // Without work too: leases of a replica that is gone are judged here.
        let now: Micros = self.wall().await?;
        let to_shorten = {
            let mut clock = self.lease_clock();
            // Judged for its effect on the clock: a jump is seen within a round or two of its happening.
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
                // One that was handed over meanwhile stays so: it is not this replica's to end.
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

    /// Notes what was written of a batch, and which of its claims were refused.
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
