//! `policyhub convergence`

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::cli::names::{revision, short};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::{Cursor, pb};

/// Longest wait of one call; a longer wait takes several calls.
const CALL_WAIT_MAX: Duration = Duration::from_secs(60);
/// Interval between two calls while no subscriber is pending, since offline ones may come back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait of one call while progress is shown on a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How far an activation has come among those who watch; exit code 0 when all of them run with it, somebody does, and nothing later took its place
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub convergence 42 --wait 30s")]
pub struct ConvergenceArguments {
    /// REVISION of the activation, or EPOCH:REVISION
    #[arg(value_name = "REVISION", value_parser = revision)]
    activation: Cursor,
    /// Wait until all of them run with it, at most this long: a number with s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    wait: Option<Duration>,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ConvergenceArguments) -> anyhow::Result<()> {
    let activation = arguments.activation;
    let looked_on = io::stderr().is_terminal();
    let step = if looked_on { PROGRESS_INTERVAL } else { CALL_WAIT_MAX };
    let mut left = arguments.wait.unwrap_or_default();
    let response = loop {
        let wait = left.min(step);
        let request = pb::GetConvergenceRequest {
            parent: session.namespace.name(),
            cursor: Some(activation.into()),
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        let response = session.client.get_convergence(request).await;
        let response = response.with_context(|| format!("failed to ask about revision {}", activation.revision))?;
        // No online subscriber is pending any more: offline ones may still connect.
        let is_awaited = response.settled && why_not_everybody(&response).is_some_and(|why| why.may_pass);
        let waited = if is_awaited { left.min(LOOK_INTERVAL) } else { wait };
        left = left.saturating_sub(waited);
        if left.is_zero() || (response.settled && !is_awaited) || response.superseded_by.is_some() {
            break response;
        }
        if is_awaited {
            tokio::time::sleep(waited).await;
        }
        if looked_on {
            // A failure to print progress is ignored.
            let _ = write!(io::stderr(), "\r{}, {} s left ", counts(&response), left.as_secs());
        }
    };
    if looked_on && arguments.wait.is_some() {
        let _ = writeln!(io::stderr());
    }
    session.output.print(&response, describe)?;
    if let Some(later) = &response.superseded_by {
        let (at, later) = (text::cursor(response.cursor.as_ref()), text::cursor(Some(later)));
        anyhow::bail!("{at} was superseded by {later}: those who applied it may run with what came later");
    }
    match why_not_everybody(&response) {
        Some(why) => anyhow::bail!("{} revision {}", why.text, activation.revision),
        None => Ok(()),
    }
}

/// What keeps an activation from being everywhere.
struct Shortfall {
    text: &'static str,
    /// Whether it may end by itself while no subscriber is pending.
    may_pass: bool,
}

fn why_not_everybody(response: &pb::GetConvergenceResponse) -> Option<Shortfall> {
    let is_everywhere = response.pending == 0 && response.rejected == 0 && response.diverged == 0;
    if !is_everywhere {
        return Some(Shortfall { text: "not every subscriber runs with", may_pass: false });
    }
    if response.gone > 0 {
        return Some(Shortfall {
            text: "subscribers that were here lately are gone, and did not run with",
            may_pass: true,
        });
    }
    (response.applied == 0).then_some(Shortfall { text: "no subscriber runs with", may_pass: true })
}

fn counts(response: &pb::GetConvergenceResponse) -> String {
    let pb::GetConvergenceResponse { applied, rejected, pending, offline, diverged, unconcerned, gone, .. } = response;
    let mut text = format!("{applied} applied, {rejected} rejected, {pending} pending, {offline} offline");
    for (count, what) in [(diverged, "of the applied diverged"), (unconcerned, "unconcerned"), (gone, "gone lately")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn describe(response: &pb::GetConvergenceResponse) -> String {
    let mut text = format!("{} {}\n", text::cursor(response.cursor.as_ref()), counts(response));
    if let Some(later) = &response.superseded_by {
        let _ = writeln!(text, "SUPERSEDED by {}", text::cursor(Some(later)));
    }
    // With a single principal, its counts would repeat the totals.
    for own in response.principals.iter().filter(|_| response.principals.len() > 1) {
        let pb::PrincipalProgress { principal, applied, rejected, pending, gone } = own;
        let who = text::line(principal);
        let _ =
            writeln!(text, "OF {who}: {applied} applied, {rejected} rejected, {pending} pending, {gone} gone lately");
    }
    for subscriber in &response.rejected_subscribers {
        let (id, at) = (text::line(short(&subscriber.name)), text::cursor(subscriber.rejected.as_ref()));
        let _ = writeln!(text, "REJECTED {id} at {at}: {}", text::line(&subscriber.reason));
    }
    for subscriber in &response.pending_subscribers {
        let runs = match &subscriber.applied {
            Some(applied) => format!("runs with {}", text::cursor(Some(applied))),
            None => "has applied nothing yet".to_owned(),
        };
        let _ = writeln!(text, "PENDING {} {runs}", text::line(short(&subscriber.name)));
    }
    for subscriber in &response.gone_subscribers {
        let seen = text::time(subscriber.last_seen_time.as_ref());
        let _ = writeln!(text, "GONE {} since {seen}", text::line(short(&subscriber.name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_needs_no_epoch() {
        assert_eq!(revision("42"), Ok(Cursor { epoch: 0, revision: 42 }));
        assert_eq!(revision("2:42"), Ok(Cursor { epoch: 2, revision: 42 }));
        for bad in ["", "x", "-1", "1:", ":1"] {
            assert!(revision(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_fleet_that_is_there_has_converged() {
        let response =
            |applied, gone, rejected| pb::GetConvergenceResponse { applied, gone, rejected, ..Default::default() };
        assert!(why_not_everybody(&response(2, 0, 0)).is_none());
        for (applied, gone, rejected, may_pass) in [(0, 0, 0, true), (0, 4, 0, true), (3, 1, 0, true), (3, 0, 1, false)]
        {
            let why = why_not_everybody(&response(applied, gone, rejected)).expect("a shortfall");
            assert_eq!(why.may_pass, may_pass, "{applied} {gone} {rejected}: {}", why.text);
        }
    }

    #[test]
    fn who_is_not_there_yet_is_named() {
        let at = |revision| Some(pb::Cursor { epoch: 1, revision, ..Default::default() });
        let subscriber = |id: &str, applied, rejected, reason: &str| pb::Subscriber {
            name: format!("namespaces/default/subscribers/{id}"),
            applied,
            rejected,
            reason: reason.to_owned(),
            ..Default::default()
        };
        let of = |principal: &str, applied, pending| pb::PrincipalProgress {
            principal: principal.to_owned(),
            applied,
            pending,
            ..Default::default()
        };
        let mut response = pb::GetConvergenceResponse {
            applied: 2,
            rejected: 1,
            pending: 2,
            unconcerned: 3,
            cursor: at(8),
            principals: vec![of("local:ghosts", 0, 2), of("local:shop", 2, 0)],
            rejected_subscribers: vec![subscriber("b", at(6), at(8), "no\nway")],
            pending_subscribers: vec![subscriber("c", at(6), None, ""), subscriber("d", None, None, "")],
            ..Default::default()
        };
        assert_eq!(
            describe(&response),
            "1:8 2 applied, 1 rejected, 2 pending, 0 offline, 3 unconcerned\n\
             OF local:ghosts: 0 applied, 0 rejected, 2 pending, 0 gone lately\n\
             OF local:shop: 2 applied, 0 rejected, 0 pending, 0 gone lately\nREJECTED b at 1:8: no way\n\
             PENDING c runs with 1:6\nPENDING d has applied nothing yet\n"
        );
        response.principals.truncate(1);
        assert!(!describe(&response).contains("OF "), "one principal is everybody");
    }
}
