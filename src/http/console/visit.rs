//! A request of somebody who is signed in: who, what for, and what they may.
//!
//! Invariant: a permission is asked for in the order of the RPC's own: rate of the caller, a role anywhere, the role here, rate of the
//! namespace. Refusals are noted as those of calls are.

use std::sync::Arc;

use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::fields::Fields;
use super::layout::{Layout, activation_path, menu_page, namespace_path, policy_path, version_path};
use super::outcome::{OUTCOME_FIELD, outcome_text};
use super::state::Console;
use super::visible_text::VisibleText;
use crate::api::request::{Mutation, Scoped, namespace, policy};
use crate::auth::ConsoleSession;
use crate::domain::access::Rpc;
use crate::domain::command::RequestOptions;
use crate::domain::error::REQUIRED;
use crate::domain::event::Position;
use crate::domain::key::SIGNING_KEYS;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::principal::Caller;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::{AuthorizedBy, Context, Service};

/// A request of somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Visit {
    console: Arc<Console>,
    caller: Caller,
    session: ConsoleSession,
    route: &'static str,
    /// The pattern of its path.
    path: &'static str,
    calls: &'static [Rpc],
    arguments: Vec<(String, String)>,
    /// The fields of the query of a page, and of the form of an action.
    pub fields: Fields,
    /// The time at which the request came.
    pub now: Micros,
}

impl Visit {
    /// Verifies the session of a request, and the token in it.
    ///
    /// # Errors
    /// `TOKEN_MISSING` without a session, `TOKEN_EXPIRED` for one that has ended, and the errors of the verifier.
    pub fn verify(console: &Console, headers: &http::HeaderMap, now: Micros) -> Result<(Caller, ConsoleSession)> {
        let cookie = console.site.cookie(headers);
        let session = cookie.and_then(|cookie| console.sessions.open(cookie));
        let session = session.ok_or_else(|| Error::new(Reason::TokenMissing, "nobody is signed in"))?;
        Ok((verify_session(console, &session, now)?, session))
    }

    /// Creates a request for a route, which may make these calls.
    #[must_use]
    pub fn new(
        console: Arc<Console>,
        (caller, session): (Caller, ConsoleSession),
        (route, path, calls): (&'static str, &'static str, &'static [Rpc]),
        arguments: Vec<(String, String)>,
        fields: Fields,
        now: Micros,
    ) -> Self {
        Self { console, caller, session, route, path, calls, arguments, fields, now }
    }

    /// Verifies the token of the session once more, for a page that stays open.
    ///
    /// # Errors
    /// `TOKEN_EXPIRED` for a session that has ended, and the errors of the verifier.
    pub fn verify_again(&self) -> Result<()> {
        verify_session(&self.console, &self.session, self.clock_now()).map(|_| ())
    }

    /// Asks whether the caller may make every call of a page in the namespace of the path, in the order in which the page does.
    ///
    /// # Errors
    /// Errors of authorization, and `RATE_LIMITED`.
    pub async fn authorize_first(&self) -> Result<()> {
        if let Some(first) = self.calls.first() {
            self.console.service.access.admit(&self.caller.principal, *first, self.now).await?;
        }
        self.authorize_again().await
    }

    /// Asks whether the caller may still make every call of a page in the namespace of the path. It counts against no rate.
    ///
    /// # Errors
    /// Errors of authorization.
    pub async fn authorize_again(&self) -> Result<()> {
        let scope = self.namespace_name();
        for rpc in self.calls {
            let access = &self.console.service.access;
            access.authorize(&self.caller.principal, *rpc, ("parent", &scope), self.clock_now()).await?;
        }
        Ok(())
    }

    /// Returns what is cancelled when the server drains.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.console.live.draining.clone()
    }

    /// Returns the current time.
    #[must_use]
    pub fn clock_now(&self) -> Micros {
        (self.console.clock)()
    }

    /// Waits for a slot among the requests that are answered at once.
    ///
    /// # Errors
    /// `INTERNAL` when the console ends.
    pub async fn answer_slot(&self) -> Result<SemaphorePermit<'_>> {
        self.console.slots.of(true, self.path).acquire().await.map_err(|error| Error::internal(error.to_string()))
    }

    /// Returns the use cases.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.console.service
    }

    /// Returns the use cases, for what outlives the request.
    #[must_use]
    pub fn shared_service(&self) -> Arc<Service> {
        Arc::clone(&self.console.service)
    }

    /// Returns the name of the caller, as in events.
    #[must_use]
    pub fn actor(&self) -> String {
        self.caller.principal.actor()
    }

    /// Returns a part of the path by its name.
    #[must_use]
    pub fn argument(&self, name: &str) -> &str {
        self.arguments.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
    }

    /// Returns the name of the namespace in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn namespace_name(&self) -> String {
        format!("namespaces/{}", self.argument("namespace"))
    }

    /// Returns the name of the policy in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn policy_name(&self) -> String {
        format!("{}/policies/{}", self.namespace_name(), self.argument("policy"))
    }

    /// Returns the name of the version in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn version_name(&self) -> String {
        format!("{}/versions/{}", self.policy_name(), self.argument("version"))
    }

    /// Returns the namespace in the path.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn namespace(&self) -> Result<NamespaceId> {
        namespace("namespace", &self.namespace_name())
    }

    /// Returns the policy in the path.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn policy(&self) -> Result<PolicyName> {
        policy("policy", &self.policy_name())
    }

    /// Returns the name of the guardrails of the namespace in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn guardrails_name(&self) -> String {
        format!("{}/guardrails", self.namespace_name())
    }

    /// Returns the name of the key in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{SIGNING_KEYS}/{}", self.argument("key"))
    }

    /// Returns the name of a resource of the namespace in the path, as RPCs take it, whatever it holds.
    #[must_use]
    pub fn name_below_namespace(&self, collection: &str, argument: &str) -> String {
        format!("{}/{collection}/{}", self.namespace_name(), self.argument(argument))
    }

    /// Returns the path of a page of the namespace in the path.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn page_below_namespace(&self, page: &str) -> Result<String> {
        self.namespace().map(|namespace| format!("{}/{page}", namespace_path(&namespace)))
    }

    /// Returns the request id of the form, by which it has one effect however often it is sent.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.fields.get("request_id").to_owned()
    }

    /// Returns the path of the page that follows an activation to the runtimes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, and `INTERNAL` for one without an event.
    pub fn activation_page(&self, position: Option<Position>) -> Result<String> {
        let position = position.ok_or_else(|| Error::internal("an activation without an event"))?;
        Ok(activation_path(&self.namespace()?, position.cursor.revision))
    }

    /// Returns the path of the page of the version in the path.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn version_page(&self) -> Result<String> {
        let number = self.argument("version").parse().map_err(|_| Error::invalid("version", "must be a number"))?;
        self.policy().map(|policy| version_path(&policy, number))
    }

    /// Asks whether the caller may make a read, and returns its context.
    ///
    /// # Errors
    /// Errors of authorization, and `RATE_LIMITED`.
    pub async fn read(&self, rpc: Rpc, request: &impl Scoped) -> Result<Context> {
        let context = self.permit(rpc, request.scope()).await?;
        if let Some(other) = request.other_scope() {
            self.permit(rpc, other).await?;
        }
        Ok(context)
    }

    /// Asks whether the caller may make a change, and returns its context.
    ///
    /// # Errors
    /// As `read`, and for an invalid request id.
    pub async fn mutation(&self, rpc: Rpc, request: &impl Mutation) -> Result<Context> {
        let context = self.read(rpc, request).await?;
        let options = request.request_options()?;
        if options.request_id.is_empty() {
            // Sent twice, the form would have two effects.
            return Err(Error::invalid("request_id", REQUIRED));
        }
        Ok(Context { options, ..context })
    }

    async fn permit(&self, rpc: Rpc, scope: (&str, &str)) -> Result<Context> {
        // The table is what tests walk: a call that is not in it would be one whose permission nobody tests.
        if !self.calls.contains(&rpc) {
            return Err(Error::internal(format!("the route {} does not name {rpc:?}", self.route)));
        }
        let (principal, access) = (&self.caller.principal, &self.console.service.access);
        access.admit(principal, rpc, self.now).await?;
        let generation = self.console.service.store_generation();
        let grants = access.authorize(principal, rpc, scope, self.now).await?;
        access.meter_scope(scope.1, rpc, self.now)?;
        let Caller { principal, credential } = self.caller.clone();
        let authorized_by = Some(AuthorizedBy { credential, generation });
        Ok(Context { principal, authorized_by, grants, options: RequestOptions::default(), now: self.now })
    }

    /// Returns the link to the page after this one, with the same values of these fields.
    #[must_use]
    pub fn next_page(&self, token: &str, fields: &[&str]) -> String {
        self.page_with(("page_token", token), fields)
    }

    /// Returns the link to this page with another value of one field, and the same values of these.
    #[must_use]
    pub fn page_with(&self, (name, value): (&str, &str), fields: &[&str]) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let kept = fields.iter().map(|field| format!("{field}={}&", encode(self.fields.get(field))));
        format!("?{}{name}={}", kept.collect::<String>(), encode(value))
    }

    /// Returns whether a form that carries this token is one of the session.
    #[must_use]
    pub fn is_form_token(&self, given: &str) -> bool {
        self.console.sessions.is_form_token(&self.session, given)
    }

    /// Returns the frame of the page that says why something was refused, with the way back to what it was about.
    #[must_use]
    pub fn layout_of_refusal(&self) -> Layout {
        let mut layout = layout_of(&self.console, (&self.caller, &self.session), "Refused");
        if let Ok(namespace) = self.namespace() {
            layout = layout.below(namespace.to_string(), namespace_path(&namespace));
        }
        if let Ok(policy) = self.policy() {
            layout = layout.below(policy.policy.to_string(), policy_path(&policy));
        }
        // The page that the form is on.
        layout = match self.path_below_namespace().filter(|page| !["policies", "activations"].contains(page)) {
            Some(page) => match self.page_below_namespace(page) {
                Ok(way) => layout.below(page, way),
                Err(_) => layout,
            },
            None if self.path.starts_with("/keys/") => layout.below("keys", "/keys"),
            None => layout,
        };
        match self.version_page() {
            Ok(page) => layout.below(self.argument("version"), page),
            Err(_) => layout,
        }
    }

    /// Returns the frame of a page, with what the action has done that led to it.
    #[must_use]
    pub fn layout(&self, title: impl Into<String>) -> Layout {
        let number = self.argument("version").parse::<i64>().ok();
        let version = self.policy().ok().zip(number).map(|(name, number)| format!("{}@{number}", name.policy));
        let done = outcome_text(self.route, self.fields.get(OUTCOME_FIELD), version.as_deref());
        let menu_page = menu_page(self.path_below_namespace().unwrap_or_default());
        Layout { done, menu_page, ..layout_of(&self.console, (&self.caller, &self.session), &title.into()) }
    }

    /// Returns the first part of the path below that of a namespace.
    fn path_below_namespace(&self) -> Option<&str> {
        self.path.strip_prefix("/namespaces/{namespace}/").and_then(|rest| rest.split('/').next())
    }
}

/// Returns the parts of a path by their names.
///
/// # Errors
/// `INVALID_ARGUMENT` for one that is not UTF-8.
pub fn path_arguments(given: Result<RawPathParams, RawPathParamsRejection>) -> Result<Vec<(String, String)>> {
    let given = given.map_err(|_| Error::invalid("path", "is not UTF-8"))?;
    Ok(given.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn verify_session(console: &Console, session: &ConsoleSession, now: Micros) -> Result<Caller> {
    if session.ends_at_seconds() <= now.seconds() {
        return Err(Error::new(Reason::TokenExpired, "the session has ended"));
    }
    console.verifier.verify(Some(&session.authorization_header()), now.seconds())
}

/// Returns the frame of a page for somebody who is signed in.
pub fn layout_of(console: &Console, (caller, session): (&Caller, &ConsoleSession), title: &str) -> Layout {
    Layout {
        caller: VisibleText::line(&caller.principal.actor()),
        form_token: console.sessions.form_token(session),
        ..Layout::anonymous(title)
    }
}
