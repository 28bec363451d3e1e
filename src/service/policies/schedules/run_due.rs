//! Carries out the schedules that are due. Every replica does, at the same times; `due_run` sees to it that each run happens once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::change::write_schedule;
use super::due_run::DueRun;
use crate::defect::{Defect, planted};
use crate::domain::event::EventKind;
use crate::domain::schedule::{ScheduleName, due, suspends};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::policies::use_cases::Policies;
use crate::store::{DuePage, DueRow};

/// Number of schedules of one query.
const SCHEDULES_PER_QUERY: u64 = 100;
/// Number of schedules that run at once. Fewer: one whose checks are slow holds others up. More: they take the connections of callers.
const RUNS_AT_ONCE_MAX: usize = 4;

impl Policies {
    /// Carries out every schedule that is due. Returns how long it is until the next one, when that is not longer than `ahead`. `now` is
    /// the time of this host; what is due, the clock of the store decides.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `STORE_IN_DOUBT`. An error of one schedule is logged, and it is tried again in a later round.
    pub async fn run_due_schedules(&self, now: Micros, ahead: Duration) -> Result<Option<Duration>> {
        self.log.store.check_no_suspected_loss()?;
        let ahead_micros = i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX);
        let (mut after, mut seen) = (None::<DueRow>, BTreeSet::new());
        loop {
            let tx = self.log.store.read().await?;
            let clock = self.log.store.current_time(&tx).await?;
            let horizon = Micros(clock.0.saturating_add(ahead_micros));
            let DuePage { due: page, last_row } =
                tx.due_schedules(horizon, after.as_ref(), SCHEDULES_PER_QUERY).await?;
            drop(tx);
            let (found, is_last) = (page.len(), last_row.is_none());
            after = last_row;
            let next = page.iter().find(|each| each.time > clock).map(|each| each.time);
            let due: Vec<ScheduleName> =
                page.into_iter().filter(|each| each.time <= clock).map(|each| each.name).collect();
            let mut running = FuturesUnordered::new();
            for name in due.iter().filter(|name| self.schedule_retries.is_tried(name)) {
                if running.len() >= RUNS_AT_ONCE_MAX {
                    running.next().await;
                }
                running.push(self.run_and_log(name.clone(), clock, now));
            }
            while running.next().await.is_some() {}
            let is_all_due = due.len() == found;
            seen.extend(due);
            if is_last || !is_all_due {
                self.schedule_retries.keep(&seen);
                let wait = next.map(|time| u64::try_from(time.0.saturating_sub(clock.0)).unwrap_or(0));
                return Ok(wait.map(Duration::from_micros));
            }
        }
    }

    async fn run_and_log(&self, name: ScheduleName, clock: Micros, now: Micros) {
        match self.run_if_due(&name, clock, now).await {
            Ok(()) => self.schedule_retries.forget(&name),
            Err(error) => {
                self.schedule_counts.add_failure();
                let detail = error.internal.as_deref().unwrap_or_default();
                if self.schedule_retries.note_failure(&name) {
                    tracing::warn!(schedule = %name, %error, detail, "failed to carry out a schedule; it is tried again");
                }
            }
        }
    }

    /// Carries out a schedule, or suspends it; does nothing when it is not due, or another replica does it.
    async fn run_if_due(&self, name: &ScheduleName, clock: Micros, now: Micros) -> Result<()> {
        let tx = self.log.store.read().await?;
        let Some(schedule) = tx.find_schedule(name).await? else { return Ok(()) };
        drop(tx);
        let Some(occurrence) = due(&schedule, clock)? else { return Ok(()) };
        let run = DueRun::new(schedule, occurrence, clock);
        let request = run.activation()?;
        let context = Context::of_schedule(run.request_id(), now);
        let call = self.writer.call(&context, "RunSchedule", &request)?;
        let done = match self.run_activation(&call, &request, Some(&run)).await {
            Ok(_) if !run.is_written() => Ok(()),
            Ok(_) => {
                if planted(Defect::ScheduleMovedOnLater) {
                    self.move_on_later(&run, now).await?;
                }
                self.schedule_counts.add_run();
                tracing::info!(schedule = %name, due_time = %run.occurrence.time, "carried out a schedule");
                Ok(())
            }
            Err(why) if suspends(why.reason) => self.suspend_and_log(&run, &why, now).await,
            Err(error) => Err(error),
        };
        match done {
            // Somebody else was faster, or what it rests on changed; the next round looks again.
            Err(error) if error.reason == Reason::ConcurrentChange => Ok(()),
            done => done,
        }
    }

    /// The planted defect: the row moves on by itself.
    async fn move_on_later(&self, run: &DueRun, now: Micros) -> Result<()> {
        let context = Context::of_server(now);
        let call = self.writer.call(&context, "MoveScheduleOn", &run.schedule)?;
        let done = call.mutate(&run.schedule.name.namespace, async |write| {
            write_schedule(write, EventKind::ResumeSchedule, String::new(), run.after(write)?).await
        });
        done.await.map(drop)
    }

    async fn suspend_and_log(&self, run: &DueRun, why: &Error, now: Micros) -> Result<()> {
        self.suspend_schedule(run, why, now).await?;
        if !run.is_written() {
            return Ok(());
        }
        self.schedule_counts.add_suspension();
        let (name, due_time) = (&run.schedule.name, run.occurrence.time);
        tracing::warn!(schedule = %name, %due_time, reason = why.reason.as_str(), error = %why, "suspended a schedule");
        Ok(())
    }
}
