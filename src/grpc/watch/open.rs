//! Opens watches. Each namespace is authorized and opened by itself, and a refused one does not prevent the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::{Request, Status};

use super::authority::{Recheck, WatchAuthorization};
use super::settings::WatchSettings;
use super::stream::{AdmittedWatch, NamespaceWatch, NotWatched, messages};
use crate::api::status::status;
use crate::api::{pb, request};
use crate::domain::command::StartWatch;
use crate::domain::subscriber::{Profile, SubscriberId, SubscriberName};
use crate::domain::{Reason, Result};
use crate::grpc::handler::Handler;
use crate::service::{Context, SentKeyStatements, StreamContext};
use crate::transport::{ConnectionHandle, MessageBody, StreamProgress};

/// Number of namespaces of one stream that are opened at once. More: one caller uses all connections to the database.
const OPENED_AT_ONCE: usize = 4;

/// The options that the namespaces of one stream share.
struct StreamOptions {
    /// The id of the subscriber and its attributes; none for an anonymous one.
    watcher: Option<(SubscriberId, BTreeMap<String, String>)>,
    keys: Option<Arc<SentKeyStatements>>,
    /// How many heartbeat intervals of the server are one of this stream.
    heartbeat_multiple: u32,
}

/// Handles WatchActive.
#[derive(Debug, Clone)]
pub struct WatchHandler {
    /// Authorizes calls.
    pub handler: Handler,
    /// Limits of watches.
    pub settings: WatchSettings,
    /// The settings for the repeated authorization of open watches.
    pub recheck: Recheck,
}

impl WatchHandler {
    /// Opens a watch and returns the body of its response.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, the errors of exceeded limits, and the error of a single namespace that can't be watched.
    pub(in crate::grpc) async fn watch_active(&self, request: Request<pb::WatchActiveRequest>) -> Result<Body, Status> {
        request::watch_size(request.get_ref()).map_err(status)?;
        let heartbeat_interval = request::heartbeat_interval(request.get_ref()).map_err(status)?;
        let heartbeat_multiple = self.settings.heartbeat_multiple(heartbeat_interval);
        let (contexts, mut not_watched) = self.authorize_targets(&request).await.map_err(status)?;
        let permitted = contexts.iter().flatten().count();
        let mut namespaces = Vec::new();
        if permitted > 0 {
            let watches = request::watch(request.get_ref()).map_err(status)?;
            let stream = StreamOptions {
                watcher: request::watcher(request.get_ref()).map_err(status)?,
                keys: request::key_cursor(request.get_ref())
                    .map_err(status)?
                    .map(|at| Arc::new(SentKeyStatements::up_to(at))),
                heartbeat_multiple,
            };
            let mut slots = self.settings.slots_for(permitted).map_err(status)?;
            let each = watches.into_iter().zip(contexts);
            let each = each.filter_map(|(watch, context)| Some((watch, context?, slots.split(1)?)));
            // Boxed: `buffered` moves the future several times before it runs.
            let open =
                |(watch, context, slot)| Box::pin(self.open_namespace(&request, watch, (context, slot), &stream));
            let opened = iter(each).map(open);
            for opened in opened.buffered(OPENED_AT_ONCE).collect::<Vec<_>>().await {
                match opened {
                    Ok(watch) => namespaces.push(watch),
                    Err(refused) => not_watched.push(refused),
                }
            }
        }
        // A watch of a single namespace that can't start fails the call.
        if request.get_ref().targets.len() <= 1
            && let Some((_, error)) = not_watched.pop()
        {
            return Err(status(error));
        }
        let open = self.settings.open_on_connection(&request).map_err(status)?;
        let watch =
            AdmittedWatch { namespaces, not_watched, open, heartbeat_multiple, settings: self.settings.clone() };
        Ok(Body::new(MessageBody::new(messages(watch), None)))
    }

    /// Authorizes each namespace by itself. Returns a context for each that may be watched, in the order of the request, and the reason
    /// for each of the others. An invalid name fails the call.
    async fn authorize_targets(
        &self,
        request: &Request<pb::WatchActiveRequest>,
    ) -> Result<(Vec<Option<Context>>, Vec<NotWatched>)> {
        let (mut contexts, mut not_watched) = (Vec::new(), Vec::new());
        for (index, (field, parent)) in request::watch_scopes(request.get_ref()).enumerate() {
            if index > 0 {
                // Otherwise one call could try hundreds of namespaces at the price of one.
                self.handler.meter_caller(request)?;
            }
            match self.handler.permit(request, (&field, parent)).await {
                Ok(context) => contexts.push(Some(context)),
                Err(error) if error.reason == Reason::InvalidArgument => return Err(error),
                Err(error) => {
                    contexts.push(None);
                    not_watched.push((parent.to_owned(), error));
                }
            }
        }
        Ok((contexts, not_watched))
    }

    async fn open_namespace(
        &self,
        request: &Request<pb::WatchActiveRequest>,
        watch: StartWatch,
        (context, slot): (Context, OwnedSemaphorePermit),
        stream: &StreamOptions,
    ) -> Result<NamespaceWatch, NotWatched> {
        let parent = watch.namespace.name();
        let opened = async {
            let service = &self.handler.service;
            let quota = service.access.open_stream(&context.principal, &watch.namespace)?;
            let authorization = WatchAuthorization::new(
                request,
                &parent,
                service.clone(),
                (self.recheck.clone(), self.settings.heartbeat_interval_of(stream.heartbeat_multiple)),
                self.handler.clock,
            )?;
            let connection = ConnectionHandle::of_request(request);
            let shared = StreamContext {
                connection: connection.number(),
                heartbeat_multiple: stream.heartbeat_multiple,
                keys: stream.keys.clone(),
            };
            let subscription = service.sync.watch(&watch, shared).await?;
            let lease = stream.watcher.as_ref().map(|(id, attributes)| {
                let name = SubscriberName { namespace: watch.namespace.clone(), id: id.clone() };
                let profile = Profile { attributes: attributes.clone(), policies: watch.policies.clone() };
                service.sync.lease(&context.principal, name, profile)
            });
            let lease = lease.transpose()?;
            let progress = StreamProgress::of(request.extensions());
            Ok(NamespaceWatch {
                parent: parent.clone(),
                subscription,
                lease,
                authorization,
                connection,
                progress,
                _quota: quota,
                _slot: slot,
            })
        };
        opened.await.map_err(|error| (parent, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest future of a call that opens a watch. Thousands are open at once, and each has the size of all that it may await, unless that is
    /// boxed.
    const CALL_STATE_MAX_BYTES: usize = 4 * 1024;

    /// Takes the function for the type of its future only.
    fn output_bytes<A, B, R>(_: fn(A, B) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn opening_a_watch_holds_little_memory() {
        let bytes = output_bytes(WatchHandler::watch_active);
        assert!(bytes <= CALL_STATE_MAX_BYTES, "{bytes} bytes");
    }
}
