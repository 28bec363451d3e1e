//! Every page and every action of the console, with the RPCs whose permission it needs.
//!
//! A test calls each with every role: a row is the whole truth about who may see it.

use std::future::Future;
use std::pin::Pin;

use super::pages;
use super::rendered::{Done, Rendered};
use super::visit::Visit;
use crate::domain::Result;
use crate::domain::access::Rpc;

/// What a page or an action returns once it is polled to its end.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What answers a request.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Shows something, on GET.
    Page(for<'a> fn(&'a Visit) -> Answer<'a, Rendered>),
    /// Changes something, on POST.
    Action(for<'a> fn(&'a Visit) -> Answer<'a, Done>),
}

/// A page or an action.
#[derive(Clone, Copy)]
pub struct Route {
    /// Its name in metrics and logs.
    pub name: &'static str,
    /// Its path.
    pub path: &'static str,
    /// The calls that it makes. Each asks for the permission of its RPC, and counts as one against rates.
    pub calls: &'static [Rpc],
    /// What answers.
    pub handler: Handler,
}

/// Writes the table.
macro_rules! pages {
    ($($name:literal $path:literal [$($rpc:ident),*] $page:ident;)*) => {
        &[$(Route {
            name: $name,
            path: $path,
            calls: &[$(Rpc::$rpc),*],
            handler: Handler::Page(|visit| Box::pin(pages::$page::show(visit))),
        }),*]
    };
}

/// Every page and every action.
pub const ROUTES: &[Route] = pages! {
    "namespaces" "/" [ListNamespaces] namespaces;
    "namespace" "/namespaces/{namespace}" [ListPolicies, ListActive, ListEvents, ListSchedules, ListSubscribers] namespace;
    "policy" "/namespaces/{namespace}/policies/{policy}" [GetPolicy, ListVersions, ListEvents] policy;
    "version" "/namespaces/{namespace}/policies/{policy}/versions/{version}" [GetVersion, GetValidationReport] version;
    "diff" "/namespaces/{namespace}/policies/{policy}/diff" [DiffVersions] diff;
    "log" "/namespaces/{namespace}/log" [ListEvents] log;
    "fleet" "/namespaces/{namespace}/fleet" [ListSubscribers] fleet;
    "activation" "/namespaces/{namespace}/activations/{revision}" [GetConvergence, ListEvents] activation;
    "approvals" "/namespaces/{namespace}/approvals" [ListVersions] approvals;
    "runs" "/namespaces/{namespace}/runs" [ListRuns] runs;
    "roles" "/namespaces/{namespace}/roles" [ListRoleBindings] roles;
    "keys" "/keys" [ListSigningKeys] keys;
    "content" "/namespaces/{namespace}/policies/{policy}/versions/{version}/content" [GetVersion] content;
};
