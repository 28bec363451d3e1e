//! `policyhub watch`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::cli::commands::keys;
use crate::cli::names::{parse_cursor, policy_id};
use crate::cli::output::document::{Format, print_text, say, show_warnings, to_json};
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::text;
use crate::cli::output::watch::WatchPrinter;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb::watch_active_response::Message;
use crate::client::{
    ActiveSet, ActiveSetOptions, Client, ClientError, Cursor, Reason, SetChange, WatchOptions, missing_policies, pb,
    trusted_keys, watch, watch_pinned,
};
use crate::client::{StoreState, clocks_differ};
use crate::client::{Watch, WatchError};

/// Longest wait in JSON (`google/protobuf/duration.proto`).
const WAIT_MAX_SECONDS: i64 = 315_576_000_000;

/// The active set, and every change of it, verified; one line each
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub watch pricing limits --jwks keys.json --until-revision 42\n\n\
                  Signs of life are shown with --heartbeats, and in --output json, which has every message whole.")]
pub struct WatchArguments {
    /// Ids of policies [default: all of the namespace]
    #[arg(value_name = "POLICY", value_parser = policy_id)]
    policies: Vec<PolicyId>,
    /// Go on after this cursor, without a snapshot: each activation is verified, and nothing proves that none is left out
    #[arg(long, value_name = "EPOCH:REVISION", value_parser = parse_cursor)]
    resume: Option<Cursor>,
    /// Only the newest state: activations in between may be left out
    #[arg(long)]
    latest: bool,
    /// End once this revision is reached
    #[arg(long, value_name = "N")]
    until_revision: Option<i64>,
    /// Manifests and statements without contents
    #[arg(long)]
    metadata_only: bool,
    /// The keys to trust, as a JWK Set; read again when it changes [default: those the server names]
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Trust the keys of --jwks alone: leave aside the key statements by which a rotation is followed
    #[arg(long, requires = "jwks")]
    pin_strict: bool,
    /// Take nothing but what this store signed, from the first message on: its id, as `keys list` shows it [default: the store of
    /// the first message that is taken over]
    #[arg(long, value_name = "ID")]
    store: Option<String>,
    /// Stable id of this runtime, shown to operators
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    subscriber_id: String,
    /// Attribute of this runtime, shown to operators; may be given again
    #[arg(long = "attribute", alias = "label", value_name = "KEY=VALUE", value_parser = label, requires = "subscriber_id")]
    attributes: Vec<(String, String)>,
    /// Show signs of life too
    #[arg(long)]
    heartbeats: bool,
    /// Tell the server of each change that was applied
    #[arg(long, requires = "subscriber_id")]
    report: bool,
}

/// Parses a label of a runtime.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, such as app=shop")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Watches until the revision is reached, a message is refused, or the server refuses to go on. A drain, an outage or a broken
/// connection ends a stream and not the watch.
pub async fn run(session: &Session, arguments: WatchArguments) -> anyhow::Result<()> {
    show_warnings();
    let pinned = arguments.jwks.as_ref().map(|path| keys::pinned_file(path, arguments.pin_strict)).transpose()?;
    let (keys, store) = match &pinned {
        Some(file) => (file.keys().clone(), None),
        None => {
            say("trusting the keys that this server names; give --jwks to trust only keys you know");
            let response = keys::list(session).await?;
            (trusted_keys(&response)?, Some(response.store).filter(|store| !store.is_empty()))
        }
    };
    let options = WatchOptions {
        namespace: session.namespace.clone(),
        keys,
        learn_keys: pinned.is_none(),
        set: ActiveSetOptions {
            policies: arguments.policies.iter().cloned().collect(),
            metadata_only: arguments.metadata_only,
            latest: arguments.latest,
            store: arguments.store.or(store),
            heartbeat_interval: None,
        },
        resume: arguments.resume,
        subscriber_id: arguments.subscriber_id.clone(),
        attributes: arguments.attributes.into_iter().collect(),
    };
    let stream = match pinned {
        Some(file) => watch_pinned(&session.client, options, file).await,
        None => watch(&session.client, options).await,
    };
    let stream = stream.context("failed to watch")?;
    let printer = WatchPrinter::new(arguments.heartbeats, TerminalStyle::stdout());
    let report_as = Some(arguments.subscriber_id).filter(|_| arguments.report);
    let client = session.client.clone();
    warn_of_missing(session, &arguments.policies).await;
    if let Some(place) = arguments.resume {
        say(&format!(
            "going on from {} without the policies there: nothing proves that no activation is left out, and nothing is reported; \
             without --resume both are",
            text::at(place)
        ));
    }
    let mut printer = Printer {
        session,
        client,
        printer,
        report_as,
        resume: arguments.resume,
        is_reported: true,
        warned: Vec::new(),
        clocks_differ: false,
        store: StoreState::default(),
    };
    printer.follow(stream, arguments.until_revision).await
}

/// Reports which policies do not exist: otherwise a typo would look like an inactive policy.
async fn warn_of_missing(session: &Session, policies: &[PolicyId]) {
    for policy in missing_policies(&session.client, &session.namespace, policies.iter().cloned()).await {
        say(&text::missing(&policy));
    }
}

/// Returns whether a watch that worked so far may go on after this error. Its token or certificate was valid: a wrong clock will be
/// corrected, or it expired, and its file is read again for the next stream.
fn may_go_on(error: &ClientError) -> bool {
    let passing = [Reason::TokenInvalid, Reason::TokenExpired, Reason::CertificateInvalid];
    error.may_reconnect() || passing.iter().any(|reason| reason.as_str() == error.reason())
}

/// Limits waits to the range of JSON, so that an invalid value from the server does not end the watch.
fn with_waits_of_json(message: &pb::WatchActiveResponse) -> pb::WatchActiveResponse {
    let mut message = message.clone();
    let wait = match &mut message.message {
        Some(Message::Opened(opened)) => opened.heartbeat_interval.as_mut(),
        Some(Message::Reconnect(reconnect)) => reconnect.backoff.as_mut(),
        _ => None,
    };
    if let Some(wait) = wait {
        wait.seconds = wait.seconds.clamp(0, WAIT_MAX_SECONDS);
        wait.nanos = if wait.seconds == WAIT_MAX_SECONDS { 0 } else { wait.nanos.clamp(0, 999_999_999) };
    }
    message
}

/// Prints the messages of a watch, over any number of streams.
struct Printer<'a> {
    session: &'a Session,
    /// Client of the server that streams.
    client: Client,
    printer: WatchPrinter,
    /// The id to report under; `None`: nothing is reported.
    report_as: Option<String>,
    /// The cursor that the first stream was asked to resume from.
    resume: Option<Cursor>,
    /// Whether everything that was printed has been reported.
    is_reported: bool,
    warned: Vec<PolicyId>,
    clocks_differ: bool,
    store: StoreState,
}

impl Printer<'_> {
    /// Prints until the revision is reached. When a stream ends, the next one goes on after the last message.
    async fn follow(&mut self, mut stream: Watch, until_revision: Option<i64>) -> anyhow::Result<()> {
        loop {
            let (ended, asked) = match stream.next().await {
                Ok(Some((message, change))) => {
                    self.note_store(&message);
                    self.print(&message, &change).await?;
                    self.is_reported &= !matches!(change, SetChange::Replaced { .. } | SetChange::Activated { .. });
                    self.report(stream.set()).await;
                    self.warn(stream.set());
                    let reached = stream.set().cursor().map(|cursor| cursor.revision);
                    if until_revision.is_some_and(|wanted| reached.is_some_and(|reached| reached >= wanted)) {
                        return Ok(());
                    }
                    let SetChange::Reconnect { reason, backoff } = change else { continue };
                    (format!("server says {}", text::line(&reason)), backoff)
                }
                Ok(None) => ("server ended the stream".to_owned(), Duration::ZERO),
                Err(WatchError::Call(error)) if may_go_on(&error) => {
                    (error.to_string(), error.retry_after().unwrap_or_default())
                }
                Err(WatchError::Call(error)) if self.may_begin_afresh(&stream, &error) => {
                    stream.begin_afresh();
                    (error.to_string(), Duration::ZERO)
                }
                Err(error) => return Err(error).context("watch ended"),
            };
            let from = stream.resume_point().map_or_else(|| "a snapshot".to_owned(), text::at);
            say(&format!("{}; going on from {from}", text::line(&ended)));
            self.client = self.reconnect(&mut stream, asked).await?;
            // Report again: the server may have lost the report, since no answer to one is signed.
            self.is_reported = false;
        }
    }

    /// Returns whether a snapshot may follow when no stream can resume: the store lost its tail, and a signed, higher epoch proves
    /// it. When the user's own cursor is gone, the error is reported instead.
    fn may_begin_afresh(&self, stream: &Watch, error: &ClientError) -> bool {
        let place = stream.resume_point();
        error.reason() == Reason::ResumePointGone.as_str() && place.is_some() && place != self.resume
    }

    /// Prints the state of the store when it changed.
    fn note_store(&mut self, message: &pb::WatchActiveResponse) {
        if let Some(store) = StoreState::of(message).filter(|store| *store != self.store) {
            self.store = store;
            say(store.problem().unwrap_or("the store is well again"));
        }
    }

    /// Retries until a stream is open, or the server refuses it for good.
    async fn reconnect(&self, stream: &mut Watch, mut asked: Duration) -> anyhow::Result<Client> {
        let mut said = String::new();
        loop {
            match stream.reconnect(&self.session.target.clone().into(), asked).await {
                Ok(client) => return Ok(client),
                Err(error) if may_go_on(&error) => {
                    asked = error.retry_after().unwrap_or_default();
                    let text = text::line(&error.to_string());
                    if said != text {
                        say(&text);
                    }
                    said = text;
                }
                Err(error) if self.may_begin_afresh(stream, &error) => {
                    say(&format!("{}; going on from a snapshot", text::line(&error.to_string())));
                    stream.begin_afresh();
                }
                Err(error) => return Err(error).context("failed to watch again"),
            }
        }
    }

    async fn print(&mut self, message: &pb::WatchActiveResponse, change: &SetChange) -> anyhow::Result<()> {
        match self.session.output {
            Format::Text => {
                let why = self.printer.why(&self.client, &self.session.namespace, change).await;
                match self.printer.line(change, why.as_deref()) {
                    Some(line) => print_text(&format!("{line}\n")),
                    None => Ok(()),
                }
            }
            Format::Json | Format::Yaml | Format::Sarif => {
                self.session.output.print_document(&to_json(&with_waits_of_json(message))?)
            }
        }
    }

    /// Reports the set as applied: printing it is all that this command does with it. When the server is unreachable, the next
    /// message reports it.
    async fn report(&mut self, set: &ActiveSet) {
        // After a resume without the policies it is unknown whether everything was printed, so it does not count as applied.
        let is_whole = set.resume_point().is_some();
        let Some(subscriber_id) = self.report_as.as_ref().filter(|_| is_whole && !self.is_reported) else {
            return;
        };
        let request = pb::ReportStatusRequest {
            name: format!("{}/subscribers/{subscriber_id}", self.session.namespace.name()),
            cursor: set.position().map(pb::Cursor::from),
            digest: set.digest(),
            status: pb::ApplyStatus::Applied.into(),
            ..Default::default()
        };
        match self.client.report_status(request).await {
            Ok(_) => self.is_reported = true,
            Err(error) => {
                say(&format!("failed to report: {}", text::line(&error.to_string())));
                // After a permanent refusal the next stream reports again.
                self.is_reported = !may_go_on(&error);
            }
        }
    }

    /// Warns once about policies signed by revoked keys, and about clocks that differ.
    fn warn(&mut self, set: &ActiveSet) {
        let revoked = set.by_revoked_keys();
        if revoked != self.warned && !revoked.is_empty() {
            let held: Vec<String> = revoked.iter().map(ToString::to_string).collect();
            say(&format!("held by a key that is revoked now, and not signed again: {}", held.join(", ")));
        }
        self.warned = revoked;
        let ahead = set.clock_ahead_seconds();
        if ahead.is_some() != self.clocks_differ {
            self.clocks_differ = ahead.is_some();
            say(&ahead.map_or_else(|| "the clocks agree again".to_owned(), clocks_differ));
        }
    }
}
