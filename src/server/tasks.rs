//! The background tasks, all spawned in `wiring`, and the tokens of the local issuer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::{Interval, MissedTickBehavior};

use super::clock;
use super::denials::{DENIALS_INTERVAL, Denials};
use super::keys::existing_issuer;
use super::metrics::Metrics;
use super::private_file;
use super::tls_files::PortTls;
use crate::auth::{LocalIssuer, Verifier};
use crate::domain::Reason;
use crate::service::{AuditPosition, AuditStep, FIRST_ADMIN, Service};
use crate::store::Store;

/// Lifetime of the admin's token in seconds. It is rewritten daily, so only a server that was down longer leaves an expired one.
const ADMIN_TOKEN_TTL_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Time between two rounds of housekeeping.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Time between two saves of the high-water marks, and between two checks of a store with a suspected data loss. Too high: after a
/// power loss, a lost tail of that length is not noticed, and writes resume later after a bump.
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a save that does not end is logged.
const SAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two polls of quotas that another replica may have changed. Too high: they take effect late here. Too low: more queries.
const QUOTAS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two polls whether a frozen namespace was thawed elsewhere: two queries for each frozen one. Too high: an idle
/// replica reports longer that it is degraded.
const THAWS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two polls of the TLS files. Too high: a CA that was removed is trusted longer.
const TLS_INTERVAL: Duration = Duration::from_secs(2);

/// Time between two writes of refusals, of at most `limits::DENIALS_PER_WRITE_MAX` rows. Too high: a replica that is killed loses
/// more of them. Too low: a flood of refusals becomes a flood of writes.
const DENIALS_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two polls of the signing keys: one query each. Too high: writes poll first, see `limits::KEY_SPREAD_SECONDS`.
const KEYS_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks for schedules that are due: two queries each. Too high: one that was made meanwhile runs late, and so does
/// each when the clock of the database is put forward.
const SCHEDULES_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after each step of the check of a log, as a multiple of the time it took: it uses a tenth of one core at most.
const AUDIT_REST_FACTOR: u32 = 9;

/// Writes the admin's token, mode 0600.
pub(super) fn write_admin_token(issuer: &LocalIssuer, path: &Path) -> Result<()> {
    let token = issuer.issue(FIRST_ADMIN, ADMIN_TOKEN_TTL_SECONDS, clock::now().seconds())?;
    Ok(private_file::write(path, &token)?)
}

/// Deletes old idempotent answers and subscribers and renews the admin's token, until it is cancelled.
pub(super) async fn housekeeping(service: Arc<Service>, issuer: LocalIssuer, admin_token: PathBuf) {
    let mut round = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        round.tick().await;
        match service.forget_answers(clock::now()).await {
            Ok(forgotten) => tracing::debug!(forgotten, "forgot answers past their time"),
            Err(error) => tracing::warn!(%error, "failed to forget old answers"),
        }
        match service.sync.forget_subscribers().await {
            Ok(forgotten) => tracing::debug!(forgotten, "forgot subscribers that are offline for long"),
            Err(error) => tracing::warn!(%error, "failed to forget old subscribers"),
        }
        match service.access.forget_revocations(clock::now()).await {
            Ok(forgotten) => tracing::debug!(forgotten, "forgot revocations that end nothing any more"),
            Err(error) => tracing::warn!(%error, "failed to forget old revocations"),
        }
        if let Err(error) = write_admin_token(&issuer, &admin_token) {
            tracing::warn!(%error, "failed to renew the admin's token");
        }
    }
}

/// Returns an interval that ticks at once and then repeatedly; after a late round, it waits the whole time.
fn rounds(interval: Duration) -> Interval {
    let mut round = tokio::time::interval(interval);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    round
}

/// Reloads the TLS files when they change, until it is cancelled.
pub(super) async fn watch_tls_files(tls: Arc<PortTls>, verifier: Arc<Verifier>, metrics: Metrics) {
    let mut round = rounds(TLS_INTERVAL);
    loop {
        round.tick().await;
        let reading = tls.clone();
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(Ok(None)) => tls.warn_of_time(),
            Ok(Ok(Some(authorities))) => {
                tls.warn_of_time();
                verifier.trust(authorities);
                tracing::info!("took the new TLS files");
                metrics.reloaded("tls", true);
            }
            Ok(Err(error)) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "failed to take the new TLS files; those before stay in force"
                );
                metrics.reloaded("tls", false);
            }
            Err(_) => tracing::error!("the reading of the TLS files ended early"),
        }
    }
}

/// Saves the high-water marks, and returns whether that succeeded. The first failure after a success is logged. Blocks for a sync
/// of the disk.
fn save_high_water_marks(store: &Store, is_last: bool, was_saved: bool) -> bool {
    let saved = store.save_high_water_marks(is_last);
    if let Err(error) = &saved
        && was_saved
    {
        tracing::error!(%error, "failed to save what was seen of the logs in high-water.json; it is tried again every second");
    }
    saved.is_ok()
}

/// Saves the high-water marks of the logs until it is cancelled. It is a separate task, because a hanging disk may block it.
pub(super) async fn keep_memory(store: Store) {
    let mut round = rounds(STORE_INTERVAL);
    let mut is_saved = true;
    loop {
        round.tick().await;
        let saving = store.clone();
        let mut save = tokio::task::spawn_blocking(move || save_high_water_marks(&saving, false, is_saved));
        let done = match tokio::time::timeout(SAVE_TIMEOUT, &mut save).await {
            Ok(done) => done,
            Err(_) => {
                tracing::error!(
                    "what was seen of the logs is not saved in high-water.json, since the disk of the data directory does not \
                     answer: after a restart a loss may go unseen"
                );
                let done = save.await;
                tracing::info!("the disk of the data directory answers again");
                done
            }
        };
        is_saved = done.unwrap_or_else(|_| {
            tracing::error!("the saving of what was seen of the logs ended early");
            false
        });
    }
}

/// Saves the high-water marks once more before the server ends, without waiting for a disk that hangs.
pub(super) async fn save_memory_at_end(store: &Store) {
    let saving = store.clone();
    let save = tokio::task::spawn_blocking(move || save_high_water_marks(&saving, true, true));
    if tokio::time::timeout(SAVE_TIMEOUT, save).await.is_err() {
        tracing::error!(
            "ending without what was seen last of the logs in high-water.json: the disk of the data directory does not answer"
        );
    }
}

/// Checks whether the database accepts writes, and whether a suspected data loss has ended, until it is cancelled.
pub(super) async fn monitor_store(store: Store, service: Arc<Service>) {
    let mut round = rounds(STORE_INTERVAL);
    let mut was_in_doubt = store.suspected_loss().is_some();
    loop {
        round.tick().await;
        store.check_writability().await;
        store.look_at_checkpoints().await;
        let is_in_doubt = store.suspected_loss().is_some();
        if !(is_in_doubt || was_in_doubt) || store.is_degraded() {
            continue;
        }
        match store.check_for_loss().await {
            Ok(_) if store.suspected_loss().is_some() => was_in_doubt = true,
            // Skipped by a start with a suspected data loss, so it is done here.
            Ok(_) => {
                was_in_doubt = false;
                if let Err(error) = service.access.bootstrap(clock::now()).await {
                    tracing::warn!(%error, "failed to make the default namespace");
                }
            }
            Err(error) => tracing::warn!(%error, "failed to look whether the store is still in doubt"),
        }
    }
}

/// Refreshes quotas that other replicas changed, until it is cancelled.
pub(super) async fn follow_quotas(service: Arc<Service>) {
    let mut round = rounds(QUOTAS_INTERVAL);
    loop {
        round.tick().await;
        if let Err(error) = service.access.refresh_quotas().await {
            tracing::debug!(%error, "failed to look whether quotas changed");
        }
    }
}

/// Polls for namespaces that other replicas thawed, until it is cancelled.
pub(super) async fn follow_thaws(service: Arc<Service>) {
    let mut round = rounds(THAWS_INTERVAL);
    loop {
        round.tick().await;
        if let Err(error) = service.archive.follow_thaws().await {
            tracing::debug!(%error, "failed to look whether a namespace was thawed");
        }
    }
}

/// Follows the signing keys in the log until it is cancelled. A failure is logged, and the former keys stay.
pub(super) async fn follow_keys(service: Arc<Service>) {
    let mut round = rounds(KEYS_INTERVAL);
    let mut said = None;
    loop {
        round.tick().await;
        let failed = service.keys.follow_keys(clock::now()).await.err();
        // Outages and suspected losses are logged where they are found, any other error once here.
        let failed = failed.filter(|error| !error.reason.is_of_the_database() && error.reason != Reason::StoreInDoubt);
        if let Some(error) = failed.as_ref().filter(|error| said.as_ref() != Some(&error.reason)) {
            tracing::error!(%error, detail = error.internal, "failed to follow the signing keys");
        }
        said = failed.map(|error| error.reason);
    }
}

/// Writes refusals to the database until it is cancelled.
pub(super) async fn write_denials(service: Arc<Service>) {
    let mut round = rounds(DENIALS_WRITE_INTERVAL);
    loop {
        round.tick().await;
        if let Err(error) = service.access.write_denials().await {
            tracing::debug!(%error, "failed to write down who was refused");
        }
        let left_out = service.access.left_out_denials();
        if left_out > 0 {
            tracing::warn!(target: "policyhub::denied", left_out, "denied more than the record has room for");
        }
    }
}

/// Carries out schedules that are due, until it is cancelled.
pub(super) async fn run_schedules(service: Arc<Service>) {
    loop {
        let next = match service.policies.run_due_schedules(clock::now(), SCHEDULES_INTERVAL).await {
            Ok(next) => next,
            Err(error) => {
                tracing::debug!(%error, detail = error.internal, "failed to look which schedules are due");
                None
            }
        };
        tokio::time::sleep(next.unwrap_or(SCHEDULES_INTERVAL)).await;
    }
}

/// Logs how many refusals had no line of their own, until it is cancelled.
pub(super) async fn sum_up_denials(denials: Arc<Denials>) {
    let mut round = tokio::time::interval(DENIALS_INTERVAL);
    loop {
        round.tick().await;
        denials.sum_up();
    }
}

/// Verifies one log after the other until it is cancelled, so that an edited row is found even without requests.
pub(super) async fn audit(service: Arc<Service>, interval: Duration) {
    let begun = Instant::now();
    let mut position = AuditPosition::at_start();
    loop {
        let started = Instant::now();
        let step = service.archive.check_next(&mut position, begun.elapsed()).await;
        if let Err(error) = &step {
            tracing::debug!(%error, detail = error.internal, "failed to check a log");
        }
        // After the last log it starts again with the first, and never uses more than its share of CPU.
        let rest = started.elapsed() * AUDIT_REST_FACTOR;
        tokio::time::sleep(if matches!(step, Ok(AuditStep::More)) { rest } else { interval.max(rest) }).await;
    }
}

/// Issues a token of the local issuer whose key is in `keys_dir`.
///
/// # Errors
/// There is no such key, or the subject is not valid.
pub fn issue_token(keys_dir: &Path, audience: &str, subject: &str, groups: &[String], ttl: Duration) -> Result<String> {
    let issuer = existing_issuer(keys_dir, audience)?;
    let ttl_seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    Ok(issuer.issue_in(subject, groups, ttl_seconds, clock::now().seconds())?)
}
