//! Changes of a namespace: each is begun by a method of [`Namespace`], configured by its own methods, and sent.
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
use super::namespace::Namespace;
use policyhub_core::domain::name::PolicyId;

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
    fn new(namespace: &Namespace, request: Result<Q, ClientError>) -> Self {
        Self { client: namespace.client().clone(), request }
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
        let answer = self.client.change(method, self.request.clone()?, call).await;
        answer.map_err(|error| error.with_mutation(true))
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

/// The name of a policy of a namespace.
fn policy_name(namespace: &Namespace, policy: &str) -> Result<String, ClientError> {
    let policy = PolicyId::parse("policy", policy).map_err(|error| ClientError::invalid(&error))?;
    Ok(format!("{}/policies/{policy}", namespace.id().name()))
}

/// The name of a version of a policy of a namespace.
fn version_name(namespace: &Namespace, policy: &str, number: i64) -> Result<String, ClientError> {
    Ok(format!("{}/versions/{number}", policy_name(namespace, policy)?))
}
