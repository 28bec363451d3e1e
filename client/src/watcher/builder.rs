//! What a watcher is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Keys, Watcher, WatcherOptions};
use crate::active_set::ActiveSetOptions;
use crate::connections::ConnectionPool;
use crate::source::StreamSource;
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::domain::subscriber::SubscriberId;

/// Holds what a watcher is made of: begun by [`crate::NamespaceClient::watcher`].
#[derive(Debug)]
#[must_use = "nothing is watched before it is opened"]
pub struct WatcherBuilder {
    options: WatcherOptions,
    /// The first id that is not valid.
    invalid: Option<String>,
}

impl WatcherBuilder {
    pub(crate) fn over(connections: ConnectionPool, namespace: NamespaceId) -> Self {
        let options = WatcherOptions {
            source: StreamSource::Shared(connections),
            namespace,
            keys: Keys::Learned,
            set: ActiveSetOptions { latest: true, ..ActiveSetOptions::default() },
            every_activation: false,
            subscriber_id: String::new(),
            attributes: BTreeMap::new(),
            directory: None,
        };
        Self { options, invalid: None }
    }

    fn with(mut self, change: impl FnOnce(&mut WatcherOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Trusts these keys. Unless said, those that the server names are trusted, which is only as good as TLS to it.
    pub fn keys(self, keys: Keys) -> Self {
        self.with(|options| options.keys = keys)
    }

    /// Watches these policies alone. Unless said, all of the namespace.
    pub fn policies<I: AsRef<str>>(mut self, policies: impl IntoIterator<Item = I>) -> Self {
        let mut ids = BTreeSet::new();
        for id in policies {
            match PolicyId::parse("policy", id.as_ref()) {
                Ok(id) => drop(ids.insert(id)),
                Err(error) => drop(self.invalid.get_or_insert(error.message)),
            }
        }
        self.with(|options| options.set.policies = ids)
    }

    /// Leaves the contents out: what is in force, without its bytes.
    pub fn metadata_only(self) -> Self {
        self.with(|options| options.set.metadata_only = true)
    }

    /// Offers the set after each activation, in order. Unless said, a runtime that is behind is offered the newest one alone.
    pub fn every_activation(self) -> Self {
        self.with(|options| (options.every_activation, options.set.latest) = (true, false))
    }

    /// Reports what the runtime does with each set, under this stable id. Unless said, nothing is reported.
    pub fn subscriber_id(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        if let Err(error) = SubscriberId::parse("subscriber_id", &id) {
            self.invalid.get_or_insert(error.message);
        }
        self.with(|options| options.subscriber_id = id)
    }

    /// Says something of the runtime to those who look at the list of subscribers, such as its zone.
    pub fn attribute(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|options| drop(options.attributes.insert(key.into(), value.into())))
    }

    /// Asks the server for a heartbeat as often as this, up to 30 s: for fleets of many runtimes in which little changes. Unless said, each 10 s,
    /// or as the server is configured. A dead stream is noticed after three of them, and until the next one nothing proves that the set is still
    /// the newest.
    pub fn heartbeat_interval(self, interval: Duration) -> Self {
        self.with(|options| options.set.heartbeat_interval = Some(interval))
    }

    /// Keeps the last known good set in a directory of its own, over restarts and outages. Unless said, it is not kept.
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.with(|options| options.directory = Some(path.into()))
    }

    /// Opens the watcher, with the set of its directory verified and waiting. It needs no server and does not wait for one; it reads the
    /// disk in place.
    ///
    /// # Errors
    /// `InvalidInput` for an id that is none; otherwise as [`Watcher::open`].
    pub fn open(self) -> io::Result<Watcher> {
        match self.invalid {
            Some(message) => Err(io::Error::new(io::ErrorKind::InvalidInput, message)),
            None => Watcher::open(self.options),
        }
    }
}
