//! Every page and every action of the console, with the RPCs whose permission it needs.
//!
//! A test calls each with every role: a row is the whole truth about who may see it.

use std::future::Future;
use std::pin::Pin;

use super::rendered::{Done, Rendered};
use super::visit::Visit;
use super::{actions, pages};
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

/// Returns what answers a row.
macro_rules! handler {
    (page $module:ident) => {
        Handler::Page(|visit| Box::pin(pages::$module::show(visit)))
    };
    (action $module:ident) => {
        Handler::Action(|visit| Box::pin(actions::$module::act(visit)))
    };
}

/// Writes the table.
macro_rules! routes {
    ($($kind:ident $module:ident $name:literal $path:literal [$($rpc:ident),*];)*) => {
        &[$(Route {
            name: $name,
            path: $path,
            calls: &[$(Rpc::$rpc),*],
            handler: handler!($kind $module),
        }),*]
    };
}

/// Every page and every action.
pub const ROUTES: &[Route] = routes! {
    page namespaces "namespaces" "/" [ListNamespaces];
    page namespace "namespace" "/namespaces/{namespace}" [ListPolicies, ListActive, ListEvents, ListSchedules, ListSubscribers];
    page policy "policy" "/namespaces/{namespace}/policies/{policy}" [GetPolicy, ListVersions, ListEvents, ListSubscribers, ListSchedules];
    page version "version" "/namespaces/{namespace}/policies/{policy}/versions/{version}" [GetVersion, GetValidationReport, GetPolicy, ListSubscribers, ListSchedules];
    page content "content" "/namespaces/{namespace}/policies/{policy}/versions/{version}/content" [GetVersion];
    page draft "draft" "/namespaces/{namespace}/policies/{policy}/draft" [GetPolicy, GetVersion];
    page diff "diff" "/namespaces/{namespace}/policies/{policy}/diff" [DiffVersions];
    page log "log" "/namespaces/{namespace}/log" [ListEvents, VerifyLog];
    page archive "archive" "/namespaces/{namespace}/archive" [ListEvents, ExportRows];
    page active "active" "/namespaces/{namespace}/active" [ListActive, ListEvents];
    page fleet "fleet" "/namespaces/{namespace}/fleet" [ListSubscribers];
    page activation "activation" "/namespaces/{namespace}/activations/{revision}" [GetConvergence, ListEvents];
    page approvals "approvals" "/namespaces/{namespace}/approvals" [ListVersions];
    page runs "runs" "/namespaces/{namespace}/runs" [ListRuns];
    page roles "roles" "/namespaces/{namespace}/roles" [ListRoleBindings];
    page keys "keys" "/keys" [ListSigningKeys];
    page guardrails "guardrails" "/namespaces/{namespace}/guardrails" [GetGuardrails];
    page schedules "schedules" "/namespaces/{namespace}/schedules" [ListSchedules];
    action draft "write-draft" "/namespaces/{namespace}/policies/{policy}/draft" [Draft, GetPolicy, GetVersion];
    action stage "stage" "/namespaces/{namespace}/policies/{policy}/versions/{version}/stage" [Stage];
    action abandon "abandon" "/namespaces/{namespace}/policies/{policy}/versions/{version}/abandon" [AbandonDraft];
    action approve "approve" "/namespaces/{namespace}/policies/{policy}/versions/{version}/approve" [ApproveVersion];
    action reject "reject" "/namespaces/{namespace}/policies/{policy}/versions/{version}/reject" [RejectVersion];
    action publish "publish" "/namespaces/{namespace}/policies/{policy}/versions/{version}/publish" [Publish];
    action activate "activate" "/namespaces/{namespace}/policies/{policy}/activate" [Activate];
    action roll_back "roll-back" "/namespaces/{namespace}/policies/{policy}/roll-back" [Rollback];
    action deactivate "deactivate" "/namespaces/{namespace}/policies/{policy}/deactivate" [Deactivate];
    action set_guardrail "set-guardrail" "/namespaces/{namespace}/guardrails/set" [UpdateGuardrails, GetGuardrails];
    action delete_guardrail "delete-guardrail" "/namespaces/{namespace}/guardrails/delete" [UpdateGuardrails, GetGuardrails];
    action create_schedule "create-schedule" "/namespaces/{namespace}/schedules/create" [CreateSchedule];
    action cancel_schedule "cancel-schedule" "/namespaces/{namespace}/schedules/{schedule}/cancel" [CancelSchedule];
    action resume_schedule "resume-schedule" "/namespaces/{namespace}/schedules/{schedule}/resume" [ResumeSchedule];
    action grant "grant" "/namespaces/{namespace}/roles/grant" [CreateRoleBinding];
    action revoke "revoke" "/namespaces/{namespace}/roles/{binding}/revoke" [DeleteRoleBinding];
    action prepare_key "prepare-key" "/keys/prepare" [PrepareSigningKey];
    action activate_key "activate-key" "/keys/{key}/activate" [ActivateSigningKey];
    action revoke_key "revoke-key" "/keys/{key}/revoke" [RevokeSigningKey];
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::console::layout::{MENU_PAGES, PAGES_BELOW};

    /// Given the table, the menu leads to each page that stands right below a namespace and to nothing else.
    #[test]
    fn the_menu_has_the_pages_below_a_namespace() {
        let pages = ROUTES.iter().filter(|route| matches!(route.handler, Handler::Page(_)));
        let below = pages.filter_map(|route| route.path.strip_prefix("/namespaces/{namespace}"));
        let below = below.map(|end| end.trim_start_matches('/')).filter(|end| !end.contains('/'));
        let mut expected: Vec<&str> = below.filter(|end| !PAGES_BELOW.iter().any(|(page, _)| page == end)).collect();
        let mut menu: Vec<&str> = MENU_PAGES.iter().map(|(end, _)| *end).collect();
        expected.sort_unstable();
        menu.sort_unstable();
        assert_eq!(menu, expected);
        for (_, from) in PAGES_BELOW {
            assert!(menu.contains(&from), "{from}");
        }
    }
}
