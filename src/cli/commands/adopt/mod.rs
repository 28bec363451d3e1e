//! `policyhub adopt`: publishes versions that existed before the server did, with their original author and time.
//!
//! From a folder (`folders`) and its authors and times (`provenance`) come drafts, which are published (`versions`). The rules for
//! version folders are those of a release.
//! Invariant: nothing is activated, and existing versions are left alone, so that a run that was killed can be repeated.

mod folders;
mod provenance;
mod report;
mod versions;

use std::path::PathBuf;

use crate::cli::commands::adopt::provenance::{Provenance, TimesFrom};
use crate::cli::commands::adopt::report::AdoptReport;
use crate::cli::commands::adopt::versions::Adopter;
use crate::cli::exit_code::UsageError;
use crate::cli::release::{ChangedPaths, Steps, plan};
use crate::cli::session::Session;
use anyhow::ensure;
use clap::Args;
use futures_util::stream::{self, StreamExt as _};

/// Publish versions that existed before, with who wrote them and when
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub adopt policies --as system --times-from git --dry-run\n\n\
                  The versions have you as their author and now as their time; who wrote them before, and when, stands beside it, in \
                  their manifests and in the log, as your word.\n\
                  Exit codes: 0 done, or nothing to do; 1 failed; 2 usage; 3 partial: run it again.")]
pub struct AdoptArguments {
    /// Folder of the policies: DIR/POLICY/vSEMVER/ with metadata.json and policy-definition.*
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Who wrote them, such as system [default with --times-from git: the author of each commit]
    #[arg(long = "as", value_name = "AUTHOR")]
    author: Option<String>,
    /// When they were written: git (the commit that added the folder), metadata (createTime in metadata.json), mtime (of the file), or
    /// a JSON file such as {"pricing@v1.2.0": "2024-03-01T12:00:00Z"} [default: not known]
    #[arg(long, value_name = "git|metadata|mtime|FILE", value_parser = TimesFrom::parse)]
    times_from: Option<TimesFrom>,
    /// Policies that are adopted at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    jobs: u8,
    /// Check and ask; change nothing
    #[arg(long)]
    dry_run: bool,
}

impl AdoptArguments {
    /// Checks what the parser can't see.
    pub fn check(&self) -> Result<(), UsageError> {
        if self.author.is_none() && self.times_from != Some(TimesFrom::Git) {
            return Err(UsageError("give --as AUTHOR: only --times-from git knows who wrote them".to_owned()));
        }
        Ok(())
    }
}

/// Reads the folder, publishes what the server does not have, and reports each version.
pub async fn run(session: &Session, arguments: AdoptArguments) -> anyhow::Result<()> {
    let folder = arguments.folder.display().to_string();
    let top = folder.trim_end_matches('/');
    let plan = plan(top, &ChangedPaths::All, &folders::entries(&arguments.folder)?, &Default::default());
    let mut results = plan.refusals();
    let total: usize = plan.queues.values().map(Vec::len).sum();
    ensure!(total + results.len() > 0, "{folder} holds no folder such as {top}/pricing/v1.0.0");
    let provenance = Provenance::read(&arguments.folder, arguments.times_from.as_ref(), arguments.author)?;
    let adopter = Adopter::new(session, &arguments.folder, top, &provenance, arguments.dry_run);
    let mut warnings = Vec::new();
    let steps = Steps::of(total, "adopting", "tried");
    {
        let (adopter, steps) = (&adopter, &steps);
        let queues = stream::iter(plan.queues.into_values()).map(async |queue| {
            let mut adopted = Vec::with_capacity(queue.len());
            for planned in queue {
                adopted.push(adopter.adopt(planned).await);
                steps.advance();
            }
            adopted
        });
        let mut queues = queues.buffer_unordered(usize::from(arguments.jobs));
        while let Some(queue) = queues.next().await {
            for (one, warning) in queue {
                results.push(one);
                warnings.extend(warning);
            }
        }
    }
    drop(steps);
    results.sort_by(|one, other| one.name.cmp(&other.name));
    results.iter_mut().for_each(|result| result.fill_commands(&session.commands));
    warnings.sort();
    let next = session.commands.command("activate POLICY@vLABEL");
    AdoptReport { namespace: &session.namespace, dry_run: arguments.dry_run, results, warnings, next }
        .print(session.output)
}
