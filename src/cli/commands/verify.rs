//! `policyhub verify`: verifies saved files offline, without a server and a token; or with `--log` a whole log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::commands::keys;
use crate::cli::commands::verify_log::LogArguments;
use crate::cli::content;
use crate::cli::exit_code::{CommandReason, UsageError};
use crate::cli::names::policy_id;
use crate::cli::output::document::{Format, print_text};
use crate::cli::output::text;
use crate::client::name::PolicyId;
use crate::client::now_seconds;
use crate::client::signing::KeySet;
use crate::client::{Cursor, SavedVerdict, verify_saved, verify_set};
use crate::domain::counted_noun::counted_noun;

/// Verify saved files without a server, or the log of a namespace
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub verify out --jwks keys.json\n  policyhub verify one --jwks keys.json --policies pricing\n  \
                        policyhub verify --jwks keys.json --manifest out/pricing/manifest.jws \\\n    \
                        --content out/pricing/content --statement out/pricing/statement.jws\n  \
                        policyhub verify --log team-a --jwks keys.json --seal-jwks seals.json\n  \
                        policyhub verify --log --from team-a.jsonl"
)]
pub struct VerifyArguments {
    #[command(flatten)]
    log: LogArguments,
    /// A folder that `policyhub active --save` wrote: every bundle, and that they are all that was in force
    #[arg(value_name = "DIR", conflicts_with_all = ["log", "manifest", "content", "statement"])]
    folder: Option<PathBuf>,
    /// The policies that DIR must hold, as `policyhub active POLICY --save` was asked for them [default: all of the namespace, so
    /// that a part of a saved set is none]
    #[arg(long, value_name = "ID,…", value_delimiter = ',', requires = "folder", value_parser = policy_id)]
    policies: Vec<PolicyId>,
    /// The manifest, compact JWS
    #[arg(long, value_name = "FILE", required_unless_present_any = ["log", "folder"])]
    manifest: Option<PathBuf>,
    /// The exact content
    #[arg(long, value_name = "FILE", required_unless_present_any = ["log", "folder"])]
    content: Option<PathBuf>,
    /// The statement that put it in force, compact JWS
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
}

impl VerifyArguments {
    /// Returns the arguments for a log, with `--log`.
    pub fn of_log(&self) -> Option<&LogArguments> {
        self.log.log.is_some().then_some(&self.log)
    }
}

/// Runs the command on saved files.
pub fn run(output: Format, arguments: &VerifyArguments) -> anyhow::Result<()> {
    if let Some((folder, jwks)) = arguments.folder.as_deref().zip(arguments.log.jwks.as_deref()) {
        let wanted = arguments.policies.iter().cloned().collect();
        return run_on_set(output, folder, &keys::read_jwks(jwks)?, &wanted);
    }
    let given = arguments.log.jwks.as_deref().zip(arguments.manifest.as_deref()).zip(arguments.content.as_deref());
    let Some(((jwks, manifest), content)) = given else {
        return Err(UsageError("give --jwks with DIR or with --manifest and --content, or --log".to_owned()).into());
    };
    let keys = keys::read_jwks(jwks)?;
    let manifest = read_token(manifest)?;
    let content = content::read(content)?;
    let statement = arguments.statement.as_deref().map(read_token).transpose()?;
    let (manifest, statement) =
        verify_saved(&manifest, &content, statement.as_deref(), &keys).context("failed to verify")?;
    let place = statement.as_ref().map(|statement| (statement.epoch, statement.revision));
    if output.is_document() {
        return output.print_document(&json!({
            "verified": true,
            "store": manifest.store,
            "namespace": manifest.namespace,
            "policy": manifest.policy,
            "version": manifest.version,
            "label": manifest.label.unwrap_or_default(),
            "digest": manifest.digest,
            "author": manifest.author,
            "publisher": manifest.publisher,
            "adopted": manifest.adopted.as_ref().map(|adopted| json!({
                "author": adopted.author(),
                "create_time": adopted.create_time().map(|time| time.to_string()).unwrap_or_default(),
            })),
            "template": manifest.template.as_ref().map(|template| json!({
                "policy": template.policy(),
                "version": template.version(),
                "digest": template.digest(),
                "parameters": template.parameters(),
            })),
            "activated": place.map(|(epoch, revision)| json!({"epoch": epoch, "revision": revision})),
        }));
    }
    let mut line =
        format!("verified {}@{} of {} {}", manifest.policy, manifest.version, manifest.namespace, manifest.digest);
    line.push_str(&format!(", published by {}", text::line(&manifest.publisher)));
    if let Some(adopted) = &manifest.adopted {
        let time = adopted.create_time().map(|time| format!(" at {time}")).unwrap_or_default();
        let (writer, adopter) = (text::line(adopted.author()), text::line(&manifest.author));
        line.push_str(&format!(", written by {writer}{time} as {adopter} says"));
    }
    if let Some(template) = &manifest.template {
        line.push_str(&format!(", made from template {}@{}", template.policy(), template.version()));
    }
    if let Some((epoch, revision)) = place {
        line.push_str(&format!(", in force at {epoch}:{revision}"));
    }
    print_text(&format!("{line}\n"))
}

/// Verifies a saved set as a whole.
fn run_on_set(output: Format, folder: &Path, keys: &KeySet, wanted: &BTreeSet<PolicyId>) -> anyhow::Result<()> {
    let now = now_seconds();
    let verdict =
        verify_set(folder, keys, wanted, now).with_context(|| format!("failed to read {}", folder.display()))?;
    let SavedVerdict { namespace, cursor, count, proven_until_seconds: until, findings, .. } = &verdict;
    let until_text = text::time(Some(&prost_types::Timestamp { seconds: *until, nanos: 0 }));
    if output.is_document() {
        output.print_document(&json!({
            "verified": findings.is_empty(),
            "namespace": namespace,
            "cursor": cursor,
            "policies": verdict.policies,
            "count": count,
            "proven_until": if *until == 0 { String::new() } else { until_text },
            "expired": now >= *until,
            "findings": findings,
        }))?;
    } else if findings.is_empty() {
        let Cursor { epoch, revision } = cursor;
        let expired = if now >= *until { " (expired: something newer may be in force by now)" } else { "" };
        // A part is never called whole: nothing is known of the other policies.
        let policies = counted_noun(*count, "policy", "policies");
        let what = if wanted.is_empty() {
            format!("verified {policies} of {namespace} at {epoch}:{revision}, whole, proven the newest until")
        } else {
            let ids: Vec<&str> = wanted.iter().map(PolicyId::as_str).collect();
            let asked = ids.join(", ");
            format!(
                "verified {policies} of {namespace} at {epoch}:{revision}, all in force of {asked}, proven the newest until"
            )
        };
        print_text(&format!("{what} {until_text}{expired}\n"))?;
    } else {
        let lines: String = findings.iter().map(|finding| format!("{}\n", text::line(finding))).collect();
        print_text(&lines)?;
    }
    if !findings.is_empty() {
        let message =
            format!("{} does not verify: {}", folder.display(), counted_noun(findings.len(), "finding", "findings"));
        return Err(CommandReason::NotVerified.error(message));
    }
    Ok(())
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}
