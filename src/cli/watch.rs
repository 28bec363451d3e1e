//! `policyhub watch`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::keys;
use super::look::Look;
use super::names::{place, policy_id};
use super::output::{Format, print_json, say, to_json, write_stdout};
use super::session::Session;
use super::text;
use super::watch_text::Teller;
use crate::client::name::PolicyId;
use crate::client::{ActiveSet, ActiveSetOptions, Change, Cursor, WatchOptions, pb, trusted_keys, watch};

/// The active set, and every change of it, verified; one line each
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub watch pricing limits --jwks keys.json --until-revision 42\n\n\
                  Signs of life are shown with --heartbeats, and in --output json, which has every message whole.")]
pub struct Arguments {
    /// Ids of policies [default: all of the namespace]
    #[arg(value_name = "POLICY", value_parser = policy_id)]
    policies: Vec<PolicyId>,
    /// Go on after this place, without a snapshot
    #[arg(long, value_name = "EPOCH:REVISION", value_parser = place)]
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
    /// The keys to trust, as a JWK Set [default: those the server names]
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Stable id of this runtime, shown to operators
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    subscriber_id: String,
    /// Label of this runtime, shown to operators; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, requires = "subscriber_id")]
    labels: Vec<(String, String)>,
    /// Show signs of life too
    #[arg(long)]
    heartbeats: bool,
    /// Tell the server of each change that was applied
    #[arg(long, requires = "subscriber_id")]
    report: bool,
}

/// A label of a runtime, as it is given.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, such as app=shop")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs it, until the revision is reached, a message is refused, or the stream ends.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let (keys, store) = match &arguments.jwks {
        Some(path) => (keys::read_jwks(path)?, None),
        None => {
            say("trusting the keys that this server names; give --jwks to trust only keys you know");
            let response = keys::list(session).await?;
            (trusted_keys(&response)?, Some(response.store).filter(|store| !store.is_empty()))
        }
    };
    let options = WatchOptions {
        namespace: session.namespace.clone(),
        keys,
        learn_keys: arguments.jwks.is_none(),
        set: ActiveSetOptions {
            policies: arguments.policies.into_iter().collect(),
            metadata_only: arguments.metadata_only,
            latest: arguments.latest,
            store,
        },
        resume: arguments.resume,
        subscriber_id: arguments.subscriber_id.clone(),
        labels: arguments.labels.into_iter().collect(),
    };
    let mut stream = watch(&session.client, options).await.context("failed to watch")?;
    let mut teller = Teller::new(arguments.heartbeats, Look::stdout());
    let mut warned = Vec::new();
    while let Some((message, change)) = stream.next().await.context("watch ended")? {
        match session.output {
            Format::Text => {
                let why = teller.why(session, &change).await;
                if let Some(line) = teller.line(&change, why.as_deref()) {
                    write_stdout(format!("{line}\n").as_bytes())?;
                }
            }
            Format::Json => print_json(&to_json(&message)?)?,
        }
        if arguments.report && matches!(change, Change::Replaced { .. } | Change::Activated { .. }) {
            report(session, &arguments.subscriber_id, stream.set()).await?;
        }
        let revoked = stream.set().by_revoked_keys();
        if revoked != warned {
            if !revoked.is_empty() {
                let held: Vec<String> = revoked.iter().map(ToString::to_string).collect();
                say(&format!("held by a key that is revoked now, and not signed again: {}", held.join(", ")));
            }
            warned = revoked;
        }
        let reached = stream.set().cursor().map(|cursor| cursor.revision);
        if arguments.until_revision.is_some_and(|wanted| reached.is_some_and(|reached| reached >= wanted)) {
            return Ok(());
        }
    }
    match stream.set().cursor() {
        Some(held) => anyhow::bail!("server ended the watch; go on with --resume {}", text::at(held)),
        None => anyhow::bail!("server ended the watch before a snapshot was whole"),
    }
}

/// Says that what the set holds is applied. Printing it is all that this command does with it.
async fn report(session: &Session, subscriber_id: &str, set: &ActiveSet) -> anyhow::Result<()> {
    let request = pb::ReportStatusRequest {
        parent: session.namespace.name(),
        subscriber_id: subscriber_id.to_owned(),
        cursor: set.cursor().map(|held| pb::Cursor {
            epoch: held.epoch,
            revision: held.revision,
            ..Default::default()
        }),
        digest: set.digest(),
        status: pb::ApplyStatus::Applied.into(),
        ..Default::default()
    };
    session.client.report_status(request).await.context("failed to report")?;
    Ok(())
}
