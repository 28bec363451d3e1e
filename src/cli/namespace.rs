//! `policyhub namespace`

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::args::Mutation;
use super::names::short;
use super::pages;
use super::session::Session;
use super::text;
use crate::client::name::NamespaceId;
use crate::client::pb;

/// What to do with namespaces.
#[derive(Debug, Subcommand)]
pub enum Commands {
    /// Make a namespace
    Create(Create),
    /// All namespaces
    List(List),
    /// One namespace, with the head of its log
    Show(Show),
}

/// Make a namespace
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace create team-a --description 'policies of team A'")]
pub struct Create {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
    /// Shown to people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    mutation: Mutation,
}

/// All namespaces
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace list")]
pub struct List {
    /// Namespaces at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
}

/// One namespace, with the head of its log
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub namespace show team-a")]
pub struct Show {
    /// Its id
    #[arg(value_parser = namespace_id)]
    id: NamespaceId,
}

fn namespace_id(text: &str) -> Result<NamespaceId, String> {
    NamespaceId::parse("namespace", text).map_err(|error| error.message)
}

/// Runs it.
pub async fn run(session: &Session, command: Commands) -> anyhow::Result<()> {
    match command {
        Commands::Create(arguments) => create(session, arguments).await,
        Commands::List(arguments) => list(session, &arguments).await,
        Commands::Show(arguments) => show(session, &arguments).await,
    }
}

async fn create(session: &Session, arguments: Create) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let request = pb::CreateNamespaceRequest {
        namespace_id: arguments.id.to_string(),
        namespace: Some(pb::Namespace { description: arguments.description, ..Default::default() }),
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.create_namespace(request).await;
    let response = response.with_context(|| format!("failed to make namespace {}", arguments.id))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let namespace = response.namespace.clone().unwrap_or_default();
        format!("{}{}\n", short(&namespace.name), text::at_revision(response.revision))
    })
}

async fn list(session: &Session, arguments: &List) -> anyhow::Result<()> {
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let page = session.client.list_namespaces(pb::ListNamespacesRequest { page_size, page_token }).await?;
        Ok((page.namespaces, page.next_page_token))
    });
    let (namespaces, next_page_token) = read.await.context("failed to list namespaces")?;
    let response = pb::ListNamespacesResponse { namespaces, next_page_token };
    session.output.print(&response, |response| table(&response.namespaces))
}

async fn show(session: &Session, arguments: &Show) -> anyhow::Result<()> {
    let request = pb::GetNamespaceRequest { name: arguments.id.name() };
    let response = session.client.get_namespace(request).await;
    let response = response.with_context(|| format!("failed to show namespace {}", arguments.id))?;
    session.output.print(&response, |response| table(response.namespace.as_slice()))
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
                text::line(&namespace.description),
            ]
        })
        .collect();
    text::table(&["NAMESPACE", "HEAD", "CREATED", "DESCRIPTION"], &rows)
}
