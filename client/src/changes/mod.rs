//! Changes of a namespace: each is begun by a method of [`NamespaceClient`], configured by its own methods, and sent.
//!
//! Invariant: each carries a request id, so that a try which may have been carried out can be made again.

mod activation;
mod approval;
mod draft;
mod version;

use std::future::Future;

use tonic::{Request, Response, Status};

use super::channel::RpcClient;
use super::client::Client;
use super::error::ClientError;
use super::namespace::NamespaceClient;
use super::retry::{Repeat, new_request_id};

pub use activation::{ActivateCall, DeactivateCall, Move, RollbackCall};
pub use approval::{ApproveCall, RejectCall};
pub use draft::DraftCall;
pub use version::{AbandonCall, PublishCall, StageCall};

/// A change that is being put together: whom to ask, and the request, or what in it can't be used.
#[derive(Debug, Clone)]
struct Prepared<Q> {
    client: Client,
    request: Result<Q, ClientError>,
}

impl<Q: Clone> Prepared<Q> {
    /// Begins a change by what makes its request from a new request id.
    fn new(namespace: &NamespaceClient, request: impl FnOnce(String) -> Result<Q, ClientError>) -> Self {
        Self { client: namespace.client().clone(), request: request(new_request_id()) }
    }

    /// Begins a change of a policy, by what makes its request from the name of the policy and a new request id.
    fn of_policy(namespace: &NamespaceClient, policy: &str, request: impl FnOnce(String, String) -> Q) -> Self {
        Self::new(namespace, |id| Ok(request(namespace.policy_name(policy)?, id)))
    }

    /// Begins a change of a version, by what makes its request from the name of the version and a new request id.
    fn of_version(
        namespace: &NamespaceClient,
        policy: &str,
        number: i64,
        request: impl FnOnce(String, String) -> Q,
    ) -> Self {
        Self::of_policy(namespace, policy, |policy, id| request(format!("{policy}/versions/{number}"), id))
    }

    fn with(mut self, change: impl FnOnce(&mut Q)) -> Self {
        if let Ok(request) = &mut self.request {
            change(request);
        }
        self
    }

    async fn send<A, F>(
        &self,
        method: &'static str,
        call: impl Fn(RpcClient, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let timeout = self.client.call_timeout();
        self.client.call(method, Repeat::Mutation, timeout, self.request.clone()?, call).await
    }
}

/// Methods that every change has.
macro_rules! every_change {
    ($change:ident) => {
        impl $change {
            /// Uses this request id in place of a new one. The same id again answers what the first call did, for 7 days.
            pub fn with_request_id(self, id: impl Into<String>) -> Self {
                let (id, mut prepared) = (id.into(), self.0);
                if id.is_empty() {
                    // Without one, a change could be made twice.
                    let error = ClientError::local(Code::InvalidArgument, "the request id is empty");
                    prepared.request = Err(error);
                }
                Self(prepared.with(|request| request.request_id = id))
            }

            /// Returns the id that the change is sent with: to ask again after a restart of the program. Empty: the change can't be sent.
            #[must_use]
            pub fn request_id(&self) -> &str {
                self.0.request.as_ref().map_or("", |request| &request.request_id)
            }
        }
    };
}

/// Methods of changes that can be tried without being made.
macro_rules! can_be_validated {
    ($change:ident) => {
        impl $change {
            /// Says what the change would do, and does nothing.
            pub fn validate_only(self) -> Self {
                Self(self.0.with(|request| request.validate_only = true))
            }
        }
    };
}
use {can_be_validated, every_change};
