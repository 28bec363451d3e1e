//! WatchActive begins: each namespace is authorized and opened by itself, and what one of them is refused stops no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{Empty, empty, iter};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::authority::Authority;
use super::connection::Connection;
use super::frames;
use super::sync::SyncHandler;
use super::watch_stream::{self, AdmittedWatch, NamespaceWatch};
use crate::api::pb;
use crate::api::request;
use crate::api::status::status;
use crate::domain::command::StartWatch;
use crate::domain::subscriber::{Profile, SubscriberId, SubscriberName};
use crate::domain::{Error, Reason, Result};
use crate::service::{Context, SentKeyStatements};

/// Namespaces of one stream that are opened at once. More: one caller has the connections to the database to itself.
const OPENED_AT_ONCE: usize = 4;

/// What the namespaces of one stream share.
struct StreamOptions {
    /// The id of the subscriber, and its attributes.
    watcher: Option<(SubscriberId, BTreeMap<String, String>)>,
    keys: Option<Arc<SentKeyStatements>>,
}

/// A namespace that a watch asked for, by its name, and why it is not watched.
pub(super) type NotWatched = (String, Error);

impl SyncHandler {
    /// Opens a watch. Its messages travel in the body that is left with the response.
    pub(super) async fn open_watch(
        &self,
        asked: Request<pb::WatchActiveRequest>,
    ) -> Result<Response<Empty<Result<pb::WatchActiveResponse, Status>>>, Status> {
        request::watch_size(asked.get_ref()).map_err(status)?;
        let (contexts, mut not_watched) = self.authorize_targets(&asked).await.map_err(status)?;
        let permitted = contexts.iter().flatten().count();
        let mut namespaces = Vec::new();
        if permitted > 0 {
            let watches = request::watch(asked.get_ref()).map_err(status)?;
            let stream = StreamOptions {
                watcher: request::watcher(asked.get_ref()).map_err(status)?,
                keys: request::key_cursor(asked.get_ref())
                    .map_err(status)?
                    .map(|at| Arc::new(SentKeyStatements::up_to(at))),
            };
            let mut slots = self.watch.slots_for(permitted).map_err(status)?;
            let each = watches.into_iter().zip(contexts);
            let each = each.filter_map(|(watch, context)| Some((watch, context?, slots.split(1)?)));
            let opened =
                iter(each).map(|(watch, context, slot)| self.open_namespace(&asked, watch, (context, slot), &stream));
            for opened in opened.buffered(OPENED_AT_ONCE).collect::<Vec<_>>().await {
                match opened {
                    Ok(watch) => namespaces.push(watch),
                    Err(refused) => not_watched.push(refused),
                }
            }
        }
        // The watch of one namespace that can't begin is a call that fails.
        if asked.get_ref().targets.len() <= 1
            && let Some((_, error)) = not_watched.pop()
        {
            return Err(status(error));
        }
        let open = self.watch.open(&asked).map_err(status)?;
        let mut response = Response::new(empty());
        let watch = AdmittedWatch { namespaces, not_watched, open, settings: self.watch.clone() };
        frames::leave(&mut response, watch_stream::messages(watch), None);
        Ok(response)
    }

    /// Authorizes each namespace by itself. Answers a context for each that may be watched, in the order of the request, and the
    /// others with why not. A name that is none fails the call.
    async fn authorize_targets(
        &self,
        asked: &Request<pb::WatchActiveRequest>,
    ) -> Result<(Vec<Option<Context>>, Vec<NotWatched>)> {
        let (mut contexts, mut not_watched) = (Vec::new(), Vec::new());
        for (index, (field, parent)) in request::watch_scopes(asked.get_ref()).enumerate() {
            if index > 0 {
                // Otherwise one call would try hundreds of namespaces for the rate of one.
                self.handler.meter_caller(asked)?;
            }
            match self.handler.permit(asked, (&field, parent)).await {
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
        asked: &Request<pb::WatchActiveRequest>,
        watch: StartWatch,
        (context, slot): (Context, OwnedSemaphorePermit),
        stream: &StreamOptions,
    ) -> Result<NamespaceWatch, NotWatched> {
        let parent = watch.namespace.name();
        let opened = async {
            let service = &self.handler.service;
            let quota = service.open_stream(&context.principal, &watch.namespace)?;
            let authority = Authority::of(asked, &parent, service.clone(), self.recheck.clone(), self.handler.clock)?;
            let subscription = service.watch(&watch, stream.keys.clone()).await?;
            let lease = stream.watcher.as_ref().map(|(id, attributes)| {
                let name = SubscriberName { namespace: watch.namespace.clone(), id: id.clone() };
                let profile = Profile { attributes: attributes.clone(), policies: watch.policies.clone() };
                service.lease(&context.principal, name, profile)
            });
            let lease = lease.transpose()?;
            let connection = Connection::of(asked);
            Ok(NamespaceWatch {
                parent: parent.clone(),
                subscription,
                lease,
                authority,
                connection,
                _quota: quota,
                _slot: slot,
            })
        };
        opened.await.map_err(|error| (parent, error))
    }
}
