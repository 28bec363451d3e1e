//! `policyhub context`

use std::path::PathBuf;

use crate::cli::contexts::{Contexts, NamedServer, context_name, from_everywhere};
use crate::cli::exit_code::UsageError;
use crate::cli::global::Global;
use crate::cli::output::document::{print_text, say};
use crate::cli::output::text;
use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::json;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommands {
    /// Keep a server under a name, or change what is kept: what is given, by flag or variable
    Set(Set),
    /// Use a context from now on, unless a command names another one
    Use(ContextName),
    /// All contexts
    List(ContextList),
    /// Forget a context
    Remove(ContextName),
}

/// Keep a server under a name, or change what is kept: what is given, by flag or variable
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub context set prod --server https://hub.example:7070 --namespace pricing \
                  --token-file ~/prod.token --ca-cert ~/prod-ca.pem\n  policyhub context use prod")]
pub struct Set {
    /// Its name
    #[arg(value_parser = context_name)]
    name: String,
}

/// Use or forget a context
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub context use prod\n  policyhub context remove prod")]
pub struct ContextName {
    /// Its name
    #[arg(value_parser = context_name)]
    name: String,
}

/// All contexts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub context list")]
pub struct ContextList {}

/// Runs the command.
pub fn run(global: &Global, command: ContextCommands) -> anyhow::Result<()> {
    let contexts = Contexts::load()?;
    match command {
        ContextCommands::Set(Set { name }) => set(global, contexts, name),
        ContextCommands::Use(ContextName { name }) => {
            contexts.check_is_there(&name)?;
            Contexts { current: Some(name.clone()), ..contexts }.save()?;
            say(&format!("using context {name}"));
            Ok(())
        }
        ContextCommands::List(ContextList {}) => list(global, &contexts),
        ContextCommands::Remove(ContextName { name }) => remove(contexts, &name),
    }
}

fn set(global: &Global, mut contexts: Contexts, name: String) -> anyhow::Result<()> {
    ensure!(
        global.token.is_none(),
        UsageError(
            "a context names the file of a token and holds none: write it to a file and give --token-file".to_owned()
        )
    );
    let file = |given: &Option<PathBuf>| given.as_deref().map(from_everywhere).transpose();
    let before = contexts.contexts.remove(&name).unwrap_or_default();
    let context = NamedServer {
        server: global.server.clone().unwrap_or(before.server),
        namespace: global.namespace.as_ref().map(ToString::to_string).or(before.namespace),
        token_file: file(&global.token_file)?.or(before.token_file),
        ca_cert: file(&global.ca_cert)?.or(before.ca_cert),
        client_cert: file(&global.client_cert)?.or(before.client_cert),
        client_key: file(&global.client_key)?.or(before.client_key),
        insecure_plaintext: global.insecure_plaintext.or(before.insecure_plaintext),
    };
    ensure!(!context.server.is_empty(), UsageError(format!("say where the server of {name} is, with --server URL")));
    say(&format!("context {name}: {}", described(&context)));
    contexts.contexts.insert(name, context);
    contexts.save()
}

fn described(context: &NamedServer) -> String {
    let path = |path: &PathBuf| path.display().to_string();
    let parts = [
        ("namespace", context.namespace.clone()),
        ("token", context.token_file.as_ref().map(path)),
        ("authority", context.ca_cert.as_ref().map(path)),
        ("certificate", context.client_cert.as_ref().map(path)),
    ];
    let said = parts.into_iter().filter_map(|(what, value)| value.map(|value| format!(", {what} {value}")));
    std::iter::once(context.server.clone()).chain(said).collect()
}

fn list(global: &Global, contexts: &Contexts) -> anyhow::Result<()> {
    let is_current = |name: &String| contexts.current.as_ref() == Some(name);
    if global.output.is_document() {
        let document = json!({"current": contexts.current, "contexts": contexts.contexts});
        return global.output.print_document(&document);
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let rows = contexts.contexts.iter().map(|(name, context)| {
        let used = if is_current(name) { "*" } else { "" };
        let credential = [path(&context.token_file), path(&context.client_cert)].join(" ").trim().to_owned();
        let namespace = context.namespace.clone().unwrap_or_default();
        vec![used.to_owned(), name.clone(), context.server.clone(), namespace, credential]
    });
    print_text(&text::table(&["USED", "NAME", "SERVER", "NAMESPACE", "CREDENTIAL"], &rows.collect::<Vec<_>>()))
}

fn remove(mut contexts: Contexts, name: &str) -> anyhow::Result<()> {
    contexts.check_is_there(name)?;
    contexts.contexts.remove(name);
    let was_used = contexts.current.take_if(|current| current == name).is_some();
    contexts.save()?;
    say(&format!("forgot context {name}{}", if was_used { ", which was in use: none is now" } else { "" }));
    Ok(())
}
