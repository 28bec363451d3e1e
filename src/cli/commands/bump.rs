//! Finds the label for `policyhub draft --bump`: the one after the highest published label.

use anyhow::Context as _;
use clap::ValueEnum;

use crate::cli::published_labels::published_labels;
use crate::cli::session::Session;
use crate::client::Reason;
use crate::client::name::PolicyId;
use crate::domain::label::{Label, LabelPart};

/// Which part of the label is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BumpPart {
    /// Something that was relied on is no longer so
    Major,
    /// Something new
    Minor,
    /// A correction
    Patch,
}

/// Returns the label after the highest published one of a policy; the first label when none is published, or the policy does not exist.
pub async fn next_label(session: &Session, policy: &PolicyId, part: BumpPart) -> anyhow::Result<Label> {
    let part = match part {
        BumpPart::Major => LabelPart::Major,
        BumpPart::Minor => LabelPart::Minor,
        BumpPart::Patch => LabelPart::Patch,
    };
    let labels = match published_labels(&session.client, &session.namespace, policy).await {
        Ok(labels) => labels,
        Err(error) if error.is(Reason::PolicyNotFound) => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to list the versions of {policy}")),
    };
    match Label::highest(labels.iter()) {
        Some(highest) => highest.bumped(part).with_context(|| format!("nothing comes after label {highest}")),
        None => Ok(Label::first(part)),
    }
}
