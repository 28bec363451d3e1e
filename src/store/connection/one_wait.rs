//! Limits a call to one wait for the database: after a wait that failed, its later statements fail at once, with the same cause.
//!
//! Several steps of a call can continue without the database. Without this limit each of them would wait by itself, and the call would
//! fail after the sum of the waits, long after the 3 s of docs/guarantees.md#g17.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use tokio::task::futures::TaskLocalFuture;

use crate::domain::Result;
use crate::store::error::{Failure, classify, failed};

tokio::task_local! {
    static WAITED: Waited;
}

/// How long a call has waited for the database, and the failure of its wait.
#[derive(Debug, Default)]
pub struct Waited {
    failed: RefCell<Option<DbErr>>,
    /// Total wait for statements, including those that were answered.
    sum: Cell<Duration>,
}

/// The future of a call with this limit.
pub type OneWait<F> = TaskLocalFuture<Waited, F>;

/// Runs a call that may wait for the database only once.
pub fn wait_once<F: Future>(call: F) -> OneWait<F> {
    WAITED.scope(Waited::default(), call)
}

/// Fails when the current call has already waited in vain.
///
/// # Errors
/// The error of the statement for which it waited.
pub fn check_waited() -> Result<()> {
    waited().map_or(Ok(()), |error| Err(failed(error)))
}

/// Returns the error that ended this call's wait; none when no wait failed.
pub(in crate::store) fn waited() -> Option<DbErr> {
    WAITED.try_with(|waited| waited.failed.borrow().clone()).ok().flatten()
}

/// Returns how long this call has waited for the database so far.
pub(in crate::store) fn sum() -> Duration {
    WAITED.try_with(|waited| waited.sum.get()).unwrap_or_default()
}

/// Adds a wait of this call.
pub(in crate::store) fn add(wait: Duration) {
    let _ = WAITED.try_with(|waited| waited.sum.set(waited.sum.get().saturating_add(wait)));
}

/// Records a failure of this call, if a wait caused it.
pub(in crate::store) fn note(error: &DbErr) {
    let had_no_answer = matches!(error, DbErr::Conn(RuntimeErr::Internal(_)));
    if had_no_answer || matches!(classify(error), Failure::Busy | Failure::NoConnection | Failure::Refused) {
        // Outside of a call there is no later statement that should fail early.
        let _ = WAITED.try_with(|waited| *waited.failed.borrow_mut() = Some(error.clone()));
    }
}
