//! The handle by which a test drives its hub.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tonic::transport::server::TcpIncoming;

use super::builder::TestHubBuilder;
use super::error::TestHubError;
use super::log::NamespaceLog;
use super::report::SubscriberReport;
use super::server::serve;
use super::signer::TestSigner;
use super::state::{SharedState, now};
use crate::client::Client;
use crate::connections::ConnectionPool;
use crate::error::ClientError;
use crate::target::Target;
use crate::watcher::{Keys, WatcherBuilder};
use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::domain::time::Micros;
use policyhub_core::signing::KeySet;

/// A value of this type is a handle for one namespace. Clones and handles of other namespaces share one server; what is said of the
/// hub as a whole, such as [`Self::pause`], concerns all of them.
#[derive(Debug, Clone)]
pub struct TestHub {
    server: Arc<HubServer>,
    namespace: NamespaceId,
}

/// The server. It ends with the last handle that holds it.
#[derive(Debug)]
struct HubServer {
    shared: Arc<SharedState>,
    address: SocketAddr,
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.change(|state| state.is_over = true);
    }
}

impl TestHubBuilder {
    /// Starts the hub. Its server is a task of the runtime that this is awaited in.
    ///
    /// # Errors
    /// [`TestHubError::InvalidArgument`] for a setting that can't be taken, [`TestHubError::Listen`], [`TestHubError::Sign`].
    #[expect(clippy::disallowed_methods, reason = "the one task of a hub, which ends with its last handle")]
    pub async fn start(self) -> Result<TestHub, TestHubError> {
        let settings = self.check()?;
        let namespace = settings.namespace.clone();
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        let shared = SharedState::new(settings)?;
        tokio::spawn(serve(Arc::clone(&shared), incoming));
        Ok(TestHub { server: Arc::new(HubServer { shared, address }), namespace })
    }
}

impl TestHub {
    /// Starts a hub with the defaults of [`Self::builder`].
    ///
    /// # Errors
    /// [`TestHubError::Listen`], [`TestHubError::Sign`].
    pub async fn start() -> Result<Self, TestHubError> {
        Self::builder().start().await
    }

    /// Begins to set how a hub is started.
    #[must_use]
    pub fn builder() -> TestHubBuilder {
        TestHubBuilder::new()
    }

    /// Returns a handle to another namespace of the same hub, which is made when it is not there yet. Both handles share the
    /// server: it ends when both are dropped.
    ///
    /// # Errors
    /// [`TestHubError::InvalidArgument`] for what is not the id of a namespace.
    pub fn in_namespace(&self, id: &str) -> Result<Self, TestHubError> {
        let namespace = NamespaceId::parse("namespace", id)?;
        self.shared().add_namespace(namespace.clone());
        Ok(Self { server: Arc::clone(&self.server), namespace })
    }

    /// Returns the URL of the hub, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Returns a client of the hub. No token is needed, and any is taken.
    ///
    /// # Errors
    /// Fails for no reason that a running hub gives.
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::builder().endpoint(self.endpoint()).build()
    }

    /// Begins a watcher of the namespace that trusts the keys of the hub alone, over connections of its own.
    pub fn watcher(&self) -> WatcherBuilder {
        let connections = ConnectionPool::new(Target::new(self.endpoint()));
        WatcherBuilder::over(connections, self.namespace()).keys(Keys::Pinned(self.keys()))
    }

    /// Returns the namespace of this handle.
    #[must_use]
    pub fn namespace(&self) -> NamespaceId {
        self.namespace.clone()
    }

    /// Returns the keys to pin. Every hub is a store of its own, with one key.
    #[must_use]
    pub fn keys(&self) -> KeySet {
        self.shared().signer.keys()
    }

    /// Returns where the log of the namespace stands: at the newest activation, or at revision 1 before the first.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.shared().read(|state| state.log(&self.namespace).map_or(Cursor::NONE, |log| log.newest().head.cursor))
    }

    /// Publishes the next version of each policy, and puts all of them in force by one activation. The bytes are not parsed. A new
    /// policy begins with version 1; the same content again is another version.
    ///
    /// # Errors
    /// [`TestHubError::InvalidArgument`] for what is not the id of a policy, a policy that is named twice, no policy or more than
    /// 100, a content that is empty or above 1 MiB, and contents above 16 MiB together. Nothing changed.
    pub async fn activate<Id: AsRef<str>, Content: AsRef<[u8]>>(
        &self,
        policies: impl IntoIterator<Item = (Id, Content)>,
    ) -> Result<Cursor, TestHubError> {
        let named = policies.into_iter().map(|(id, content)| {
            Ok::<_, TestHubError>((policy(id.as_ref())?, Bytes::copy_from_slice(content.as_ref())))
        });
        let contents = named.collect::<Result<Vec<_>, _>>()?;
        self.append(|log, signer, now| log.activate(signer, contents, &self.shared().content_type, now))
    }

    /// Puts a version in force that was published before, older or newer than the one in force, at a new revision. A version that
    /// is in force already is activated once more.
    ///
    /// # Errors
    /// [`TestHubError::InvalidArgument`] for what is not the id of a policy, [`TestHubError::UnknownVersion`].
    pub async fn activate_version(&self, id: &str, version: i64) -> Result<Cursor, TestHubError> {
        let policy = policy(id)?;
        self.append(|log, signer, now| log.activate_version(signer, policy, version, now))
    }

    /// Takes policies out of force, all by one event. Their versions stay.
    ///
    /// # Errors
    /// [`TestHubError::InvalidArgument`] as for [`Self::activate`], [`TestHubError::NotActive`]. Nothing changed.
    pub async fn deactivate(&self, ids: &[&str]) -> Result<Cursor, TestHubError> {
        let policies = ids.iter().map(|id| policy(id)).collect::<Result<Vec<_>, _>>()?;
        self.append(|log, signer, now| log.deactivate(signer, policies, now))
    }

    /// Returns what subscribers of the namespace reported, in the order in which the reports came.
    #[must_use]
    pub fn reports(&self) -> Vec<SubscriberReport> {
        self.shared().read(|state| {
            let of_namespace = state.reports.iter().filter(|(namespace, _)| *namespace == self.namespace);
            of_namespace.map(|(_, report)| report.clone()).collect()
        })
    }

    /// Waits for a report that satisfies `is_wanted`, and returns the first one: also one that came before this call, so that no
    /// test has to be faster than its runtime. It waits for as long as it takes: use `tokio::time::timeout` for a bound. A watcher
    /// reports from within its own methods, so drive it meanwhile if the report is still to be made.
    pub async fn wait_for_report(&self, is_wanted: impl Fn(&SubscriberReport) -> bool) -> SubscriberReport {
        let mut changes = self.shared().listen();
        loop {
            // Outside the lock: what is asked of a report may ask the hub in turn.
            if let Some(found) = self.reports().into_iter().find(&is_wanted) {
                return found;
            }
            // This handle keeps the sender, so that a change is all that ends the wait.
            let _ = changes.changed().await;
        }
    }

    /// Ends every open stream of the hub with UNAVAILABLE, as a server does that is restarted. Streams that are opened afterwards
    /// are served, and resume where they were.
    pub fn disconnect(&self) {
        self.shared().change(|state| state.disconnects += 1);
    }

    /// Makes the hub silent: connections stay open, and calls and streams hear nothing, not even heartbeats, until
    /// [`Self::resume`]. A watcher gets stale when the lifetime of its last checkpoint is over
    /// ([`TestHubBuilder::checkpoint_lifetime`]). What is activated meanwhile is sent afterwards.
    pub fn pause(&self) {
        self.shared().change(|state| state.is_paused = true);
    }

    /// Lets the hub go on after [`Self::pause`].
    pub fn resume(&self) {
        self.shared().change(|state| state.is_paused = false);
    }

    /// Breaks the signature of the next snapshot or activation that the hub sends, on whichever stream that is, and nothing else. Its
    /// reader must refuse it and keep what it has; the SDK then opens another stream and takes a good snapshot.
    pub fn tamper_next(&self) {
        self.shared().change(|state| state.tampers_next = true);
    }

    fn shared(&self) -> &SharedState {
        &self.server.shared
    }

    /// Appends to the log of the namespace, and wakes the streams.
    fn append(
        &self,
        append: impl FnOnce(&mut NamespaceLog, &TestSigner, Micros) -> Result<Cursor, TestHubError>,
    ) -> Result<Cursor, TestHubError> {
        let shared = self.shared();
        shared.change(|state| {
            let unknown = || TestHubError::from(self.namespace.not_found());
            let log = state.namespaces.get_mut(&self.namespace).ok_or_else(unknown)?;
            append(log, &shared.signer, now())
        })
    }
}

fn policy(id: &str) -> Result<PolicyId, TestHubError> {
    Ok(PolicyId::parse("policy", id)?)
}
