//! `policyhub role`

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::arguments::RequestIdArgument;
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::pb;

/// What to do with roles.
#[derive(Debug, Subcommand)]
pub enum RoleCommands {
    /// Grant a role
    Grant(Grant),
    /// Who has which role
    List(RoleList),
    /// Take a role away
    Revoke(RoleRevoke),
}

/// A role, as it is written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleArgument {
    /// Reads everything but secrets
    Viewer,
    /// Syncs the active set
    Subscriber,
    /// Writes, stages and abandons drafts
    Author,
    /// Approves and rejects versions
    Approver,
    /// Publishes
    Publisher,
    /// Activates, rolls back, deactivates
    Activator,
    /// All of it
    Admin,
    /// Changes guardrails
    GuardrailAdmin,
}

/// Grant a role
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub role grant author local:ann --namespace team-a\n  \
    policyhub role grant subscriber spiffe://example.org/billing --reason 'new service'\n  \
    policyhub role grant viewer group:corp:auditors --all-namespaces")]
pub struct Grant {
    /// The role
    role: RoleArgument,
    /// Who: {issuer}:{subject}, group:{issuer}:{group}, or a SPIFFE ID
    member: String,
    #[command(flatten)]
    place: RoleScope,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    request_id: RequestIdArgument,
}

/// Who has which role
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub role list\n  policyhub role list --all-namespaces --output json")]
pub struct RoleList {
    #[command(flatten)]
    place: RoleScope,
    /// Bindings at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Take a role away
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub role revoke namespaces/-/roleBindings/0192f3c8-0000-7000-8000-000000000000 --reason 'left the team'"
)]
pub struct RoleRevoke {
    /// Name of the binding, as `role list` shows it
    id: String,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    request_id: RequestIdArgument,
}

/// Where a role holds.
#[derive(Debug, Clone, Args)]
struct RoleScope {
    /// In all namespaces, instead of the one of --namespace
    #[arg(long)]
    all_namespaces: bool,
}

impl RoleScope {
    fn name(&self, session: &Session) -> String {
        if self.all_namespaces { "namespaces/-".to_owned() } else { session.namespace.name() }
    }
}

/// Runs the command.
pub async fn run(session: &Session, command: RoleCommands) -> anyhow::Result<()> {
    match command {
        RoleCommands::Grant(arguments) => grant(session, arguments).await,
        RoleCommands::List(arguments) => list(session, &arguments).await,
        RoleCommands::Revoke(arguments) => revoke(session, arguments).await,
    }
}

async fn grant(session: &Session, arguments: Grant) -> anyhow::Result<()> {
    let request_id = arguments.request_id.given_or_new();
    let request = pb::CreateRoleBindingRequest {
        parent: arguments.place.name(session),
        role_binding: Some(pb::RoleBinding {
            role: role(arguments.role).into(),
            member: arguments.member.clone(),
            ..Default::default()
        }),
        reason: arguments.reason,
        request_id: request_id.clone(),
    };
    let response = session.client.create_role_binding(request).await;
    let response = response.with_context(|| format!("failed to grant a role to {}", arguments.member))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let id = response.role_binding.as_ref().map_or("", |binding| &binding.name);
        format!("{}{}\n", text::line(id), text::at_revision(response.cursor))
    })
}

async fn list(session: &Session, arguments: &RoleList) -> anyhow::Result<()> {
    let parent = arguments.place.name(session);
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), arguments.narrowed.filter.clone());
        let request = pb::ListRoleBindingsRequest { parent, page_size, page_token, filter, ..Default::default() };
        let page = session.client.list_role_bindings(request).await?;
        Ok((page.role_bindings, page.next_page_token))
    });
    let (role_bindings, next_page_token) = read.await.context("failed to list role bindings")?;
    let response = pb::ListRoleBindingsResponse { role_bindings, next_page_token };
    session.output.print(&response, |response| {
        let rows: Vec<Vec<String>> = response.role_bindings.iter().map(row).collect();
        text::table(&["ROLE", "MEMBER", "NAMESPACE", "GRANTED", "BY", "NAME"], &rows)
    })?;
    pages::say_if_cut(session.output, response.role_bindings.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

fn row(binding: &pb::RoleBinding) -> Vec<String> {
    vec![
        text::word(binding.role().as_str_name(), "ROLE_").to_owned(),
        text::line(&binding.member),
        place_of(&binding.name),
        text::time(binding.create_time.as_ref()),
        text::line(&binding.creator),
        text::line(&binding.name),
    ]
}

/// Returns the scope of a binding, from its name.
fn place_of(name: &str) -> String {
    match name.split('/').nth(1) {
        Some("-") => "all".to_owned(),
        namespace => text::line(namespace.unwrap_or_default()),
    }
}

async fn revoke(session: &Session, arguments: RoleRevoke) -> anyhow::Result<()> {
    let request_id = arguments.request_id.given_or_new();
    let (id, reason) = (arguments.id.clone(), arguments.reason);
    let request = pb::DeleteRoleBindingRequest { name: id, reason, request_id: request_id.clone() };
    let response = session.client.delete_role_binding(request).await;
    let response = response.with_context(|| format!("failed to take {} away", arguments.id))?;
    session.output.print_mutation(&response, &request_id, |response| {
        format!("{}{}\n", text::line(&arguments.id), text::at_revision(response.cursor))
    })
}

fn role(role: RoleArgument) -> pb::Role {
    match role {
        RoleArgument::Viewer => pb::Role::Viewer,
        RoleArgument::Subscriber => pb::Role::Subscriber,
        RoleArgument::Author => pb::Role::Author,
        RoleArgument::Approver => pb::Role::Approver,
        RoleArgument::Publisher => pb::Role::Publisher,
        RoleArgument::Activator => pb::Role::Activator,
        RoleArgument::Admin => pb::Role::Admin,
        RoleArgument::GuardrailAdmin => pb::Role::GuardrailAdmin,
    }
}
