//! Drafts made from templates: finds the version of the template, and has the content made.

use super::use_cases::Policies;
use crate::domain::command::{Draft, FromTemplate};
use crate::domain::name::VersionRef;
use crate::domain::policy::PolicyKind;
use crate::domain::template::TemplateSource;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::service::log::Write;
use crate::store::ReadTx;

impl Policies {
    /// Returns a draft with the content that its template makes of its parameters, and what it was made from.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `VERSION_NOT_FOUND`, `NO_ACTIVE_VERSION`, `VERSION_NOT_PUBLISHED`, `INVALID_ARGUMENT`, `VALIDATION_FAILED`,
    /// `LIMIT_EXCEEDED`, `CHECKS_UNAVAILABLE`.
    pub(super) async fn make_draft(
        &self,
        tx: ReadTx,
        from: &FromTemplate,
        request: Draft,
    ) -> Result<(Draft, TemplateSource)> {
        let (policy, version) = self.log.resolve_version(&tx, &from.template).await?;
        if policy.kind != PolicyKind::Template {
            let rule = format!("{} is a policy of kind {}, and no template", policy.name, policy.kind.as_str());
            return Err(Error::invalid("from_template.template", rule));
        }
        check_published(&version)?;
        let content = self.log.read_content(&tx, &version).await?;
        drop(tx);
        let namespace = &policy.name.namespace;
        let made = self.checks.contents.make_from_template(namespace, content, from.parameters.clone()).await;
        let made = made.map_err(|error| match error.reason {
            Reason::ValidationFailed | Reason::InvalidArgument => error.about(version.name()),
            _ => error,
        })?;
        let source = TemplateSource::new(policy.name.policy, version.number, version.digest, made.parameters);
        let source = source.map_err(|rule| Error::invalid("from_template.parameters", rule))?;
        if request.kind.is_some_and(|kind| kind != made.kind) {
            let rule = format!("must be {} or unset: that is what the template makes", made.kind.as_str());
            return Err(Error::invalid("kind", rule));
        }
        Ok((Draft { content: made.content, kind: Some(made.kind), ..request }, source))
    }

    /// Checks under the lock that a template which was named by its policy is still the active version of it.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE`.
    pub(super) async fn check_template(
        &self,
        write: &mut Write<'_>,
        from: &FromTemplate,
        source: &TemplateSource,
    ) -> Result<()> {
        if from.template.version != VersionRef::Active {
            return Ok(());
        }
        let policy = write.tx.read().policy(&from.template.policy).await?;
        write.rely_on_pointers([source.policy()]);
        if policy.active_version == source.version() {
            return Ok(());
        }
        let message = format!("another version of {} became active meanwhile; try again", policy.name);
        Err(Error::new(Reason::ConcurrentChange, message).about(&policy.name))
    }
}

fn check_published(version: &Version) -> Result<()> {
    if version.state == VersionState::Published {
        return Ok(());
    }
    let state = version.state.as_str();
    let message = format!("{} is {state}; contents are made from published versions of a template", version.name());
    Err(Error::new(Reason::VersionNotPublished, message).with("state", state).about(version.name()))
}
