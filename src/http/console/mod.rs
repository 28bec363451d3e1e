//! The web console: pages that people look at, over the same use cases, permissions and audit as the RPCs (ADR 0079).
//!
//! To add a page: one file in `pages/` with a `show` function and an askama struct that has a [`layout::Layout`] called `layout`, its
//! template beside the others, and a row in `route_table.rs`, which names the RPCs whose permission it needs. To add an action: one
//! file in `actions/` with a function `act`, which makes the request of its RPC and calls [`visit::Visit::mutation`], a row, and a
//! [`form::ActionForm`] on the page that offers it; what it has done is an outcome in `outcome.rs`. To make a part of a page live: a template of its own in `templates/parts/`, a function
//! `render_live`, and a row in `live/live_routes.rs`. Text of callers goes through [`visible_text::VisibleText`]; no template may use the
//! filter `safe`.

mod actions;
mod answer_slots;
pub mod assets;
mod fields;
pub mod form;
mod form_body;
pub mod layout;
mod line_endings;
mod live;
mod next_steps;
mod oidc;
mod outcome;
mod pages;
mod permitted;
mod refusal;
mod rendered;
mod route_table;
mod serve_route;
mod sign_in;
mod sign_in_codes;
mod sign_in_page;
mod site;
mod state;
mod visible_text;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use fields::Fields;
pub use live::{LIVE_ROUTES, LIVE_STREAMS_PER_SESSION_MAX, LiveRoute, LiveSettings};
pub use oidc::{AuthorizationEndpoint, CodeExchange, IssuedTokens, ProviderFuture, SignInProvider};
pub use refusal::http_status;
pub use rendered::{Done, Rendered};
pub use route_table::{Handler, ROUTES, Route};
pub use site::{Site, SiteScheme};
pub use state::{Answered, Clock, Console, ConsoleObserver};
pub use visible_text::VisibleText;
pub use visit::Visit;

/// Makes the routes of the console.
pub fn router(console: Arc<Console>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = match route.handler {
            Handler::Page(_) => router.route(route.path, get(serve_route::serve_route(route))),
            Handler::Action(_) => router.route(route.path, post(serve_route::serve_route(route))),
        };
    }
    for route in LIVE_ROUTES {
        router = router.route(route.path, get(live::serve_live(route)));
    }
    router
        .route("/sign-in", get(sign_in::show_form).post(sign_in::with_token))
        .route("/sign-in/code", get(sign_in::show_code).post(sign_in::with_code))
        .route("/sign-in/codes", post(sign_in::give_code))
        .route("/sign-in/with/{issuer}", get(oidc::begin_sign_in))
        .route("/sign-in/from/{issuer}", get(oidc::end_sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/assets/{file}", get(assets::serve_asset))
        .fallback(|State(console): State<Arc<Console>>| async move { refusal::no_such_page(&console) })
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&console), serve_route::guard))
        .with_state(console)
}
