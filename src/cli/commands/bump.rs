//! Finds the label for `policyhub draft --bump`: the one after the highest published label.

use anyhow::Context as _;
use clap::ValueEnum;

use crate::cli::names::policy_name;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::{Reason, pb};
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
    let parent = policy_name(&session.namespace, policy);
    let read = pages::collect(usize::MAX, async |page_token, page_size| {
        let filter = "state = PUBLISHED".to_owned();
        let request =
            pb::ListVersionsRequest { parent: parent.clone(), page_size, page_token, filter, ..Default::default() };
        let page = session.client.list_versions(request).await?;
        let labels = page.versions.iter().map(|version| Label::parse("label", &version.label).ok());
        Ok((labels.collect(), page.next_page_token))
    });
    let labels: Vec<Option<Label>> = match read.await {
        Ok((labels, _)) => labels,
        Err(error) if error.is(Reason::PolicyNotFound) => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to list the versions of {policy}")),
    };
    match labels
        .into_iter()
        .flatten()
        .reduce(|highest, label| if label.is_higher_than(&highest) { label } else { highest })
    {
        Some(highest) => highest.bumped(part).with_context(|| format!("nothing comes after label {highest}")),
        None => Ok(Label::first(part)),
    }
}
