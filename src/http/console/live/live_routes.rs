//! Every live part of the console, with the RPCs whose permission it needs: those of its page.

use crate::domain::access::Rpc;
use crate::http::console::pages;
use crate::http::console::route_table::Answer;
use crate::http::console::visit::Visit;

/// A live part of a page in a namespace.
#[derive(Clone, Copy)]
pub struct LiveRoute {
    /// Its name in metrics and logs.
    pub name: &'static str,
    /// Its path: that of its page, and `/live`.
    pub path: &'static str,
    /// The calls that each rendering makes.
    pub calls: &'static [Rpc],
    /// Renders the part.
    pub render: for<'a> fn(&'a Visit) -> Answer<'a, String>,
}

/// Every live part.
pub const LIVE_ROUTES: &[LiveRoute] = &[
    LiveRoute {
        name: "namespace-live",
        path: "/namespaces/{namespace}/live",
        calls: &[Rpc::ListPolicies, Rpc::ListActive, Rpc::ListEvents, Rpc::ListSchedules, Rpc::ListSubscribers],
        render: |visit| Box::pin(pages::namespace::render_live(visit)),
    },
    LiveRoute {
        name: "activation-live",
        path: "/namespaces/{namespace}/activations/{revision}/live",
        calls: &[Rpc::GetConvergence, Rpc::ListEvents],
        render: |visit| Box::pin(pages::activation::render_live(visit)),
    },
];
