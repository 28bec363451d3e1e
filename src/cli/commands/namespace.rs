//! `policyhub namespace`

use anyhow::Context as _;
use clap::builder::UnknownArgumentValueParser;
use clap::{Args, Subcommand};

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::quotas;
use crate::cli::commands::quotas::QuotaFlags;
use crate::cli::commands::verify_log::checked_by_server;
use crate::cli::exit_code::UsageError;
use crate::cli::names::short;
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::NamespaceId;
use crate::client::pb;
use crate::domain::counted_noun::counted_noun;

/// What to do with namespaces.
#[derive(Debug, Subcommand)]
pub enum NamespaceCommands {
    /// Make a namespace
    Create(NamespaceCreate),
    /// All namespaces
    List(NamespaceList),
    /// One namespace, with the head of its log
    Show(NamespaceShow),
    /// Change the description or the quotas of a namespace
    Update(NamespaceUpdate),
    /// Let a frozen namespace go on: one whose rows or log did not hold
    Thaw(Thaw),
}

/// Make a namespace
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace create team-a --description 'policies of team A'")]
pub struct NamespaceCreate {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
    /// Shown to people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Other commands ask why; this one says what the namespace is for.
    #[arg(long, hide = true, value_parser = UnknownArgumentValueParser::suggest_arg("--description"))]
    reason: Option<String>,
    #[command(flatten)]
    quotas: QuotaFlags,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// All namespaces
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace list")]
pub struct NamespaceList {
    /// Namespaces at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// One namespace, with the head of its log
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace show team-a")]
pub struct NamespaceShow {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
}

/// Change the description or the quotas of a namespace
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace update team-a --max-policies 200 --writes-per-second 20")]
pub struct NamespaceUpdate {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
    /// Shown to people
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    quotas: QuotaFlags,
    /// Fail unless the namespace is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Let a frozen namespace go on: one whose rows or log did not hold
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub verify --log team-a\n  policyhub namespace thaw team-a --reason 'rows restored' \\\n    --accept 'event 42'"
)]
pub struct Thaw {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
    /// Why it may go on
    #[arg(long)]
    reason: String,
    /// What is found and stays, as `verify --log` names it: `event N`, or the table and key of a row; repeat for several
    #[arg(long, value_name = "PLACE")]
    accept: Vec<String>,
    /// All that is found stays, if it is what `verify --log` printed this digest of
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true, conflicts_with = "accept")]
    accept_all: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

impl NamespaceCommands {
    /// Checks what needs no server.
    pub fn check(&self) -> Result<(), UsageError> {
        match self {
            // An empty mask would mean all fields, and reset those that were not given.
            Self::Update(update) if update.description.is_none() && update.quotas.is_empty() => {
                Err(UsageError("nothing to change: give --description or a quota".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn namespace_id(text: &str) -> Result<NamespaceId, String> {
    NamespaceId::parse("namespace", text).map_err(|error| error.message)
}

/// Runs the command.
pub async fn run(session: &Session, command: NamespaceCommands) -> anyhow::Result<()> {
    match command {
        NamespaceCommands::Create(arguments) => create(session, arguments).await,
        NamespaceCommands::List(arguments) => list(session, &arguments).await,
        NamespaceCommands::Show(arguments) => show(session, &arguments).await,
        NamespaceCommands::Update(arguments) => update(session, arguments).await,
        NamespaceCommands::Thaw(arguments) => thaw(session, arguments).await,
    }
}

async fn create(session: &Session, arguments: NamespaceCreate) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let (quotas, _) = arguments.quotas.read();
    let given = pb::Namespace { description: arguments.description, quotas: Some(quotas), ..Default::default() };
    let request = pb::CreateNamespaceRequest {
        namespace_id: arguments.id.to_string(),
        namespace: Some(given),
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.create_namespace(request).await;
    let response = response.with_context(|| format!("failed to make namespace {}", arguments.id))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let namespace = response.namespace.clone().unwrap_or_default();
        format!("{}{}\n", text::line(short(&namespace.name)), text::at_revision(response.cursor))
    })
}

async fn list(session: &Session, arguments: &NamespaceList) -> anyhow::Result<()> {
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let filter = arguments.narrowed.filter.clone();
        let request = pb::ListNamespacesRequest { page_size, page_token, filter, ..Default::default() };
        let page = session.client.list_namespaces(request).await?;
        Ok((page.namespaces, page.next_page_token))
    });
    let (namespaces, next_page_token) = read.await.context("failed to list namespaces")?;
    let response = pb::ListNamespacesResponse { namespaces, next_page_token };
    session.output.print(&response, |response| table(&response.namespaces))?;
    pages::say_if_cut(session.output, response.namespaces.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

async fn show(session: &Session, arguments: &NamespaceShow) -> anyhow::Result<()> {
    let request = pb::GetNamespaceRequest { name: arguments.id.name() };
    let response = session.client.get_namespace(request).await;
    let response = response.with_context(|| format!("failed to show namespace {}", arguments.id))?;
    session.output.print(&response, |response| {
        let namespace = response.namespace.as_slice();
        table(namespace) + &namespace.iter().flat_map(|namespace| &namespace.imports).map(imported).collect::<String>()
    })
}

/// Returns where an imported history comes from.
fn imported(import: &pb::NamespaceImport) -> String {
    let source = import.source.clone().unwrap_or_default();
    let head = source.head.unwrap_or_default();
    let (place, from, store) = (import.position, text::line(short(&source.namespace)), text::line(&source.store));
    let by = text::line(&import.importer);
    let unfinished = if import.finished { "" } else { ", not finished" };
    format!("imported {place}: {from} of store {store} up to {}:{}, by {by}{unfinished}\n", head.epoch, head.revision)
}

async fn update(session: &Session, arguments: NamespaceUpdate) -> anyhow::Result<()> {
    let (quotas, mut paths) = arguments.quotas.read();
    if arguments.description.is_some() {
        paths.push("description".to_owned());
    }
    let namespace = pb::Namespace {
        name: arguments.id.name(),
        description: arguments.description.unwrap_or_default(),
        quotas: Some(quotas),
        etag: arguments.etag,
        ..Default::default()
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::UpdateNamespaceRequest {
        namespace: Some(namespace),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.update_namespace(request).await;
    let response = response.with_context(|| format!("failed to update namespace {}", arguments.id))?;
    session.output.print_mutation(&response, &request_id, |response| table(response.namespace.as_slice()))
}

/// Returns a finding as `--accept` names it.
fn place(finding: &pb::LogFinding) -> String {
    let revision = finding.cursor.map_or(0, |cursor| cursor.revision);
    if finding.row.is_empty() { format!("event {revision}") } else { finding.row.clone() }
}

async fn thaw(session: &Session, arguments: Thaw) -> anyhow::Result<()> {
    let id = &arguments.id;
    let accepted_findings = if arguments.accept.is_empty() {
        Vec::new()
    } else {
        let found = checked_by_server(session, id).await?;
        let is_accepted = |finding: &pb::LogFinding| arguments.accept.contains(&place(finding));
        found.findings.into_iter().filter(is_accepted).collect()
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::ThawNamespaceRequest {
        name: id.name(),
        reason: arguments.reason,
        accepted_findings,
        accepted_findings_digest: arguments.accept_all,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.thaw_namespace(request).await;
    let response = response.with_context(|| format!("failed to thaw namespace {id}"))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let done = match response.cursor {
            None => format!("{id} would be thawed\n"),
            Some(cursor) => format!("{id} is thawed, at revision {}\n", cursor.revision),
        };
        done + &removed_schedules(id, response)
    })
}

/// Returns a line for each schedule that a thaw removes.
fn removed_schedules(namespace: &NamespaceId, thawed: &pb::ThawNamespaceResponse) -> String {
    let removed = if thawed.cursor.is_some() { "removed" } else { "would be removed" };
    let prefix = format!("{}/schedules/", namespace.name());
    let names = thawed.removed_schedules.iter().map(|name| {
        let id = name.strip_prefix(&prefix).unwrap_or(name);
        format!("schedule {} {removed}\n", text::line(id))
    });
    let others = Some(thawed.removed_schedules_not_listed).filter(|count| *count > 0);
    names
        .chain(others.map(|count| format!("{} {removed}\n", counted_noun(count, "more schedule", "more schedules"))))
        .collect()
}

fn table(namespaces: &[pb::Namespace]) -> String {
    let rows: Vec<Vec<String>> = namespaces
        .iter()
        .map(|namespace| {
            let head = namespace.head.unwrap_or_default();
            vec![
                short(&namespace.name).to_owned(),
                format!("{}:{}", head.epoch, head.revision),
                text::time(namespace.create_time.as_ref()),
                quotas::cell(&namespace.quotas.unwrap_or_default()),
                text::line(&namespace.description),
            ]
        })
        .collect();
    text::table(&["NAMESPACE", "HEAD", "CREATED", "QUOTAS", "DESCRIPTION"], &rows)
}
