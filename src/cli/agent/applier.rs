//! Applies a verified set: writes it, runs the check, puts it in force, runs the hook, and accepts the set or reverts it.
//!
//! Boundary: the folder and the commands; `agent.rs` receives the sets and reports. Invariants: the set in force is complete and
//! not older than the one before; a command that fails leaves the former set in force.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::agent::folder::{Folder, Held};
use crate::cli::agent::hook::{Hook, HookEnd};
use crate::cli::agent::set::Candidate;
use crate::cli::output::document::say;
use crate::cli::output::text::at;
use crate::client::name::{NamespaceId, PolicyId};

/// Most bytes of ids of changed policies in the environment of a command: the kernel allows 128 KiB for one variable.
const CHANGED_MAX_BYTES: usize = 64 * 1024;

/// The result of applying a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyVerdict {
    /// The set was in force already.
    Unchanged,
    /// The same contents with newer proofs are in force; runtimes need not be notified.
    Renewed,
    /// The set is in force; these policies changed.
    Applied(Vec<PolicyId>),
    /// The set is not in force, for this reason.
    Rejected(String),
}

/// The operator's commands, and when they run.
#[derive(Debug)]
pub struct ApplierCommands {
    /// Runs before a set is in force.
    pub check: Option<Hook>,
    /// Runs after a set came in force.
    pub hook: Option<Hook>,
    /// Whether they run for each activation, also when the same versions were activated again.
    pub for_each_activation: bool,
}

/// Applies sets to a folder and runs the operator's commands.
#[derive(Debug)]
pub struct Applier {
    folder: Folder,
    commands: ApplierCommands,
    /// The set in force, when it was accepted and its files are unchanged.
    accepted: Option<Held>,
}

impl Applier {
    /// Resumes from the state of a folder.
    ///
    /// # Errors
    /// The folder holds sets of another namespace.
    pub async fn open(folder: Folder, namespace: &NamespaceId, commands: ApplierCommands) -> anyhow::Result<Self> {
        let mut applier = Self { folder, commands, accepted: None };
        let current = match applier.blocking(|folder| folder.current()).await {
            Ok(current) => current,
            Err(error) => {
                say(&format!("{error:#}; it is written again from a verified set"));
                None
            }
        };
        let Some(current) = current else { return Ok(applier) };
        let theirs = &current.index.namespace;
        anyhow::ensure!(
            theirs == namespace,
            "{} holds sets of namespace {theirs}: give the agent a folder of its own",
            applier.folder.root().display()
        );
        let accepted = applier.folder.accepted();
        if accepted.as_ref() == Some(&current.name) {
            applier.accepted = Some(current);
            return Ok(applier);
        }
        say(&format!("{} was put in force, but not accepted before the end: once more", at(current.index.cursor)));
        applier.accepted = match accepted {
            Some(name) => applier.blocking(move |folder| Ok(folder.held(&name))).await?,
            None => None,
        };
        if let ApplyVerdict::Rejected(reason) = applier.announce(current).await? {
            say(&format!("rejected: {reason}"));
        }
        Ok(applier)
    }

    /// Returns the set in force.
    pub fn accepted(&self) -> Option<&Held> {
        self.accepted.as_ref()
    }

    /// Applies a verified set. `remembered`: it comes from this machine's disk, so it may be older than the set in force.
    ///
    /// # Errors
    /// The disk fails: the former set stays in force, and the same set may be applied again.
    pub async fn take(&mut self, set: Candidate, remembered: bool) -> anyhow::Result<ApplyVerdict> {
        let set = Arc::new(set);
        let is_activated_again = !remembered && self.is_activated_again(&set);
        if let Some(held) = &self.accepted {
            let (held, new) = (held.clone(), Arc::clone(&set));
            let (before, now) = (held.index.cursor, set.index.cursor);
            if !is_activated_again && self.blocking(move |folder| Ok(folder.is_same(&held, &new))).await? {
                return Ok(ApplyVerdict::Unchanged);
            }
            if now < before {
                // The watcher's directory is behind the folder when the process ended between the two writes.
                let older = format!("{} is older than {}, which is in force", at(now), at(before));
                return Ok(if remembered { ApplyVerdict::Unchanged } else { ApplyVerdict::Rejected(older) });
            }
        }
        let former = self.accepted.as_ref().map(|held| held.name.clone());
        let (new, from) = (Arc::clone(&set), former.clone());
        let name = self.blocking(move |folder| folder.write(&new, from.as_deref())).await?;
        let candidate = Held { name, index: set.index.clone() };
        let is_same = self.accepted.as_ref().is_some_and(|held| held.index.digest == candidate.index.digest);
        if is_same && !is_activated_again {
            self.point_at(Some(&candidate)).await?;
            self.accept(candidate).await?;
            return Ok(ApplyVerdict::Renewed);
        }
        if let Some(refused) = self.run(self.commands.check.as_ref(), &candidate).await.refused {
            if former.as_ref() != Some(&candidate.name) {
                self.blocking(move |folder| folder.discard(&candidate.name)).await?;
            }
            return Ok(ApplyVerdict::Rejected(refused));
        }
        self.point_at(Some(&candidate)).await?;
        self.announce(candidate).await
    }

    /// Returns whether the commands run although the set's contents are in force: the same versions, by a newer activation.
    fn is_activated_again(&self, set: &Candidate) -> bool {
        let is_newer =
            |held: &Held| held.index.cursor < set.index.cursor && !held.index.is_of_same_activations(&set.index);
        self.commands.for_each_activation && self.accepted.as_ref().is_some_and(is_newer)
    }

    /// Runs the hook on a set that was put in force, then accepts or reverts it.
    async fn announce(&mut self, candidate: Held) -> anyhow::Result<ApplyVerdict> {
        let Some(refused) = self.run(self.commands.hook.as_ref(), &candidate).await.refused else {
            let former = self.accepted.as_ref().map(|held| &held.index);
            let changed = candidate.index.changes_from(former);
            self.accept(candidate).await?;
            return Ok(ApplyVerdict::Applied(changed));
        };
        let former = self.accepted.clone();
        self.point_at(former.as_ref()).await?;
        if let Some(former) = &former {
            // The runtime may have applied a part of what it refused: run the hook again for the set in force.
            let again = self.announce_again(former, &candidate).await;
            if let Some(refused) = again.refused {
                say(&format!("and on {}, which is in force again: {refused}", at(former.index.cursor)));
            }
        }
        // A runtime that found the set while it was in force may still read it: it is removed when newer ones come.
        let held = former.into_iter().chain([candidate]).map(|held| held.name).collect();
        self.tidy(held).await;
        Ok(ApplyVerdict::Rejected(refused))
    }

    async fn accept(&mut self, candidate: Held) -> anyhow::Result<()> {
        let name = candidate.name.clone();
        self.blocking(move |folder| folder.accept(&name)).await?;
        self.tidy(vec![candidate.name.clone()]).await;
        self.accepted = Some(candidate);
        Ok(())
    }

    /// Removes old sets. A failure only costs disk space.
    async fn tidy(&self, held: Vec<String>) {
        if let Err(error) = self.blocking(move |folder| folder.tidy(&held)).await {
            say(&format!("{error:#}"));
        }
    }

    async fn point_at(&self, held: Option<&Held>) -> anyhow::Result<()> {
        let name = held.map(|held| held.name.clone());
        self.blocking(move |folder| folder.put_in_force(name.as_deref())).await
    }

    /// Runs a command, if configured, on a set that comes after the accepted one.
    async fn run(&self, hook: Option<&Hook>, candidate: &Held) -> HookEnd {
        self.run_on(hook, candidate, self.accepted.as_ref()).await
    }

    async fn announce_again(&self, former: &Held, refused: &Held) -> HookEnd {
        self.run_on(self.commands.hook.as_ref(), former, Some(refused)).await
    }

    async fn run_on(&self, hook: Option<&Hook>, set: &Held, before: Option<&Held>) -> HookEnd {
        let Some(hook) = hook else { return HookEnd::default() };
        let ended = hook.run(&self.variables(set, before)).await;
        for line in &ended.said {
            say(&format!("{}: {line}", hook.what));
        }
        ended
    }

    /// Returns the environment variables of a command.
    fn variables(&self, set: &Held, before: Option<&Held>) -> Vec<(&'static str, OsString)> {
        let place = |held: &Held| self.folder.place(&held.name).into_os_string();
        let changed = set.index.changes_from(before.map(|held| &held.index));
        let changed: Vec<String> = changed.iter().map(ToString::to_string).collect();
        let changed = Some(changed.join(" ")).filter(|ids| ids.len() <= CHANGED_MAX_BYTES);
        vec![
            ("POLICYHUB_DIR", self.folder.root().as_os_str().to_owned()),
            ("POLICYHUB_SET", place(set)),
            ("POLICYHUB_PREVIOUS_SET", before.map(place).unwrap_or_default()),
            ("POLICYHUB_NAMESPACE", set.index.namespace.to_string().into()),
            ("POLICYHUB_EPOCH", set.index.cursor.epoch.to_string().into()),
            ("POLICYHUB_REVISION", set.index.cursor.revision.to_string().into()),
            ("POLICYHUB_CHANGED", changed.unwrap_or_else(|| "*".to_owned()).into()),
        ]
    }

    /// Runs `work` on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || work(&folder)).await.context("work on the folder was cut off")?
    }
}

#[cfg(test)]
mod tests;
