//! `policyhub policy`

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::annotations::{annotation, once_each};
use crate::cli::commands::policy_settings::{SettingsFlags, settings_line};
use crate::cli::exit_code::UsageError;
use crate::cli::names::{policy_id, policy_name, short};
use crate::cli::narrowed::Narrowed;
use crate::cli::output::rule_trial::TrialAnswer;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::{Conditions, PolicyKind, pb, quoted};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommands {
    /// Make a policy
    Create(PolicyCreate),
    /// The policies of the namespace
    List(PolicyListArguments),
    /// One policy, with its active pointer
    Show(PolicyShow),
    /// Change the description, settings or kind of a policy
    Update(PolicyUpdate),
}

/// Make a policy
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub policy create pricing --kind yaml --json-schema schema.json")]
pub struct PolicyCreate {
    /// Its id
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The language of its versions; fixed once one is published
    #[arg(long, value_enum, default_value = "opaque")]
    kind: PolicyKindArgument,
    /// Shown to people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    settings: SettingsFlags,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// The policies of the namespace
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub policy list -n team-a --annotation owner=pricing")]
pub struct PolicyListArguments {
    /// Only those whose newest published version has this annotation, or a list separated by commas with this item; all of them
    /// when it is given more than once
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// Policies at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// One policy, with its active pointer
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub policy show pricing --output json")]
pub struct PolicyShow {
    /// Its id
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
}

/// Change the description, settings or kind of a policy
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub policy update pricing --max-open-drafts 1 --bump-rule next")]
pub struct PolicyUpdate {
    /// Its id
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The language of its versions, while none is published
    #[arg(long, value_enum)]
    kind: Option<PolicyKindArgument>,
    /// Shown to people
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    settings: SettingsFlags,
    /// Fail unless the policy is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// The language of a policy's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyKindArgument {
    /// One JSON document, or a directory of them
    Json,
    /// One YAML document, or a stream of them
    Yaml,
    /// A Cedar policy set, or a directory of policies and their schema
    Cedar,
    /// A Rego module, or a directory of modules, their tests and data
    Rego,
    /// Any bytes
    Opaque,
    /// A document from which `draft --from-template` makes contents of other policies
    Template,
}

impl From<PolicyKindArgument> for PolicyKind {
    fn from(kind: PolicyKindArgument) -> Self {
        match kind {
            PolicyKindArgument::Json => Self::Json,
            PolicyKindArgument::Yaml => Self::Yaml,
            PolicyKindArgument::Cedar => Self::Cedar,
            PolicyKindArgument::Rego => Self::Rego,
            PolicyKindArgument::Opaque => Self::Opaque,
            PolicyKindArgument::Template => Self::Template,
        }
    }
}

impl From<PolicyKindArgument> for pb::PolicyKind {
    fn from(kind: PolicyKindArgument) -> Self {
        match kind {
            PolicyKindArgument::Json => Self::Json,
            PolicyKindArgument::Yaml => Self::Yaml,
            PolicyKindArgument::Cedar => Self::Cedar,
            PolicyKindArgument::Rego => Self::Rego,
            PolicyKindArgument::Opaque => Self::Opaque,
            PolicyKindArgument::Template => Self::Template,
        }
    }
}

impl PolicyUpdate {
    fn is_empty(&self) -> bool {
        self.kind.is_none() && self.description.is_none() && self.settings.is_empty()
    }
}

impl PolicyCommands {
    /// Checks what needs no server.
    pub fn check(&self) -> Result<(), UsageError> {
        match self {
            // An empty mask would mean all fields, and reset those that were not given.
            Self::Update(update) if update.is_empty() => {
                Err(UsageError("nothing to change: give --kind, --description or a setting".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Runs the command.
pub async fn run(session: &Session, command: PolicyCommands) -> anyhow::Result<()> {
    match command {
        PolicyCommands::Create(arguments) => create(session, arguments).await,
        PolicyCommands::List(arguments) => list(session, &arguments).await,
        PolicyCommands::Show(arguments) => show(session, &arguments).await,
        PolicyCommands::Update(arguments) => update(session, arguments).await,
    }
}

async fn create(session: &Session, arguments: PolicyCreate) -> anyhow::Result<()> {
    let (settings, _) = arguments.settings.read()?;
    let policy = pb::Policy {
        kind: pb::PolicyKind::from(arguments.kind).into(),
        description: arguments.description,
        settings: Some(settings),
        ..Default::default()
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::CreatePolicyRequest {
        parent: session.namespace.name(),
        policy_id: arguments.policy.to_string(),
        policy: Some(policy),
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.create_policy(request).await;
    let response = response.with_context(|| format!("failed to make policy {}", arguments.policy))?;
    session.output.print_mutation(&response, &request_id, |response| with_settings(response.policy.as_ref()))
}

async fn list(session: &Session, arguments: &PolicyListArguments) -> anyhow::Result<()> {
    let parent = session.namespace.name();
    once_each(&arguments.annotations)?;
    let mut conditions = Conditions::default();
    for (key, value) in &arguments.annotations {
        conditions.add_text(&format!("annotations.{}", quoted(key)), ":", value);
    }
    conditions.add_filter(&arguments.narrowed.filter);
    let filter = conditions.to_string();
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), filter.clone());
        let request = pb::ListPoliciesRequest { parent, page_size, page_token, filter, ..Default::default() };
        let page = session.client.list_policies(request).await?;
        Ok((page.policies, page.next_page_token))
    });
    let (policies, next_page_token) = read.await.context("failed to list policies")?;
    let response = pb::ListPoliciesResponse { policies, next_page_token };
    session.output.print(&response, |response| table(&response.policies))?;
    pages::say_if_cut(session.output, response.policies.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

async fn show(session: &Session, arguments: &PolicyShow) -> anyhow::Result<()> {
    let request = pb::GetPolicyRequest { name: policy_name(&session.namespace, &arguments.policy) };
    let response = session.client.get_policy(request).await;
    let response = response.with_context(|| format!("failed to show policy {}", arguments.policy))?;
    session.output.print(&response, |response| with_settings(response.policy.as_ref()))
}

async fn update(session: &Session, arguments: PolicyUpdate) -> anyhow::Result<()> {
    let (settings, mut paths) = arguments.settings.read()?;
    if arguments.description.is_some() {
        paths.push("description".to_owned());
    }
    if arguments.kind.is_some() {
        paths.push("kind".to_owned());
    }
    let policy = pb::Policy {
        name: policy_name(&session.namespace, &arguments.policy),
        kind: arguments.kind.map_or(pb::PolicyKind::Unspecified, Into::into).into(),
        description: arguments.description.unwrap_or_default(),
        settings: Some(settings),
        etag: arguments.etag,
        ..Default::default()
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.update_policy(request).await;
    let response = response.with_context(|| format!("failed to update policy {}", arguments.policy))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let what = if arguments.mutation.validate_only { "nothing was changed; it would be:\n" } else { "" };
        what.to_owned() + &updated(response)
    })
}

/// Returns the policy as it is now, and which published versions its new settings would refuse.
fn updated(response: &pb::UpdatePolicyResponse) -> String {
    let trial = TrialAnswer {
        violations: &response.violations,
        not_listed: response.violations_not_listed,
        tried: response.versions_tried,
        not_tried: response.versions_not_tried,
    };
    let mut shown = with_settings(response.policy.as_ref());
    // Without a change that decides about versions, none was tried.
    if trial.tried > 0 || trial.not_tried > 0 {
        shown.push_str(&format!("{}\n{}", trial.coverage(), trial.lines()));
    }
    shown
}

/// Returns one policy, with what is set for it.
fn with_settings(policy: Option<&pb::Policy>) -> String {
    let settings = policy.and_then(|policy| policy.settings.as_ref()).map(settings_line).unwrap_or_default();
    table(&policy.cloned().into_iter().collect::<Vec<_>>()) + &settings
}

fn table(policies: &[pb::Policy]) -> String {
    let number = |version: i64| if version == 0 { "none".to_owned() } else { version.to_string() };
    let rows: Vec<Vec<String>> = policies
        .iter()
        .map(|policy| {
            vec![
                short(&policy.name).to_owned(),
                text::policy_kind(policy.kind).to_owned(),
                number(policy.active_version),
                number(policy.latest_version),
                text::line(&policy.description),
            ]
        })
        .collect();
    text::table(&["POLICY", "KIND", "ACTIVE", "LATEST", "DESCRIPTION"], &rows)
}
