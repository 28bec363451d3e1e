//! One stream of many namespaces: each is served and authorized as if it were watched alone, and none of them ends another.

use std::collections::{BTreeMap, BTreeSet};

use policyhub::client::name::NamespaceId;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::KeySet;
use policyhub::client::{ActiveSet, ActiveSetOptions, Client, ClientError, pb};
use tonic::{Code, Streaming};

use crate::harness::calls::{draft_request, refused, refused_fields};
use crate::harness::keys::{AT_ONCE, rotate};
use crate::harness::subscribing::eventually;
use crate::harness::watching::{DEADLINE, LIVELY, keys};
use crate::harness::{callers, on_both_databases};

/// Number of namespaces in the large test.
const MANY: usize = 300;
/// Largest number of namespaces of one stream.
const TARGETS_MAX: usize = 500;
/// Settings with which watches are authorized again at least twice a second.
const ASKED_OFTEN: &[&str] = &[LIVELY[0], LIVELY[1], LIVELY[2], LIVELY[3], "--recheck-interval-ms", "100"];

fn name(id: &str) -> String {
    format!("namespaces/{id}")
}

fn targets(ids: &[&str]) -> Vec<pb::WatchTarget> {
    ids.iter().map(|id| pb::WatchTarget { parent: name(id), ..Default::default() }).collect()
}

/// Publishes and activates the next version of `p` in a namespace.
async fn release(client: &Client, id: &str, content: &str) {
    let parent = format!("{}/policies/p", name(id));
    let drafted = client.draft(pb::DraftRequest { parent, ..draft_request("p", content) }).await.expect("a draft");
    let version = drafted.version.expect("a version");
    let request =
        pb::PublishRequest { name: version.name, activate: true, reason: "a test".to_owned(), ..Default::default() };
    client.publish(request).await.expect("a publication");
}

async fn namespaces(client: &Client, ids: &[&str]) {
    for id in ids {
        callers::namespace(client, id).await;
    }
}

/// What a stream of several namespaces delivered, every message verified.
struct NamespaceStreams {
    stream: Streaming<pb::WatchActiveResponse>,
    sets: BTreeMap<String, ActiveSet>,
    ended: BTreeMap<String, pb::Refusal>,
    key_statements: Vec<String>,
}

impl NamespaceStreams {
    async fn open(client: &Client, keys: KeySet, request: pb::WatchActiveRequest) -> Result<Self, ClientError> {
        let set = |target: &pb::WatchTarget| {
            let id = NamespaceId::parse_name("parent", &target.parent).expect("a name");
            (target.parent.clone(), ActiveSet::new(id, keys.clone(), ActiveSetOptions::default()))
        };
        let sets = request.targets.iter().map(set).collect();
        let stream = client.watch_active(request).await?;
        Ok(Self { stream, sets, ended: BTreeMap::new(), key_statements: Vec::new() })
    }

    /// Applies the next message; the error is the one that ends the stream.
    async fn take(&mut self) -> Result<(), ClientError> {
        let next = tokio::time::timeout(DEADLINE, self.stream.message()).await.expect("a message before the deadline");
        let message = next?.expect("a stream that goes on");
        match &message.message {
            Some(Message::Opened(_)) => assert_eq!(message.parent, "", "about the whole stream"),
            Some(Message::KeyStatement(keys)) => {
                assert_eq!(message.parent, "", "about the whole stream");
                self.key_statements.push(keys.statement.clone());
            }
            Some(Message::Ended(ended)) => {
                assert!(self.ended.insert(message.parent.clone(), ended.clone()).is_none(), "ends once");
            }
            _ => {
                let set = self.sets.get_mut(&message.parent).expect("a namespace that was asked for");
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
                set.apply(&message, i64::try_from(now.as_secs()).expect("seconds")).expect("a message that verifies");
            }
        }
        Ok(())
    }

    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.take().await.expect("a stream that goes on");
        }
    }

    /// Applies everything until the end and returns the error that ends the stream.
    async fn end(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.take().await {
                return error;
            }
        }
    }

    /// Returns the version of `p` that is held for a namespace.
    fn version(&self, id: &str) -> Option<i64> {
        self.sets[&name(id)].policies().next().map(|policy| policy.version)
    }

    fn has_begun(&self, id: &str) -> bool {
        self.sets[&name(id)].cursor().is_some()
    }
}

on_both_databases! {
    with LIVELY;

    /// Given a relay of three hundred tenants, one stream delivers the set of each, its changes, and its namespace.
    async fn three_hundred_namespaces_are_one_stream(hub: Hub) {
        let client = hub.client().await;
        let ids: Vec<String> = (0..MANY).map(|number| format!("tenant-{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        namespaces(&client, &ids).await;
        for id in ids.iter().step_by(MANY / 3) {
            release(&client, id, "a: 1").await;
        }
        let request = pb::WatchActiveRequest { targets: targets(&ids), subscriber_id: "relay-1".to_owned(), ..Default::default() };
        let mut watched = NamespaceStreams::open(&client, keys(&client).await, request).await.expect("a watch");
        watched.until(|watched| ids.iter().all(|id| watched.has_begun(id))).await;
        let held: Vec<&str> = ids.iter().copied().filter(|id| watched.version(id) == Some(1)).collect();
        assert_eq!(held, ["tenant-0", "tenant-100", "tenant-200"]);

        release(&client, "tenant-100", "a: 2").await;
        release(&client, "tenant-299", "a: 1").await;
        watched.until(|watched| watched.version("tenant-100") == Some(2) && watched.version("tenant-299") == Some(1)).await;
        assert_eq!((watched.version("tenant-0"), watched.version("tenant-1")), (Some(1), None), "nobody else's");
        for id in ["tenant-0", "tenant-299"] {
            let listed = pb::ListSubscribersRequest { parent: name(id), ..Default::default() };
            let listed = client.list_subscribers(listed).await.expect("subscribers").subscribers;
            assert!(listed.iter().any(|one| one.name.ends_with("/relay-1") && one.online), "{id}: {listed:?}");
        }
        // It counts as one watch of the connection.
        let policy = pb::GetPolicyRequest { name: format!("{}/policies/p", name("tenant-0")) };
        client.get_policy(policy).await.expect("a call beside the watch");
    }

    /// Given a lost cursor, the error is sent for its namespace only; a request for nothing, for a namespace twice, or for too many is
    /// refused at once.
    async fn what_is_wrong_with_one_is_told_of_that_one(hub: Hub) {
        let client = hub.client().await;
        namespaces(&client, &["a", "b"]).await;
        release(&client, "b", "a: 1").await;
        let mut asked = targets(&["a", "b"]);
        asked[0].resume = Some(pb::Cursor { epoch: 9, revision: 9, ..Default::default() });
        let request = pb::WatchActiveRequest { targets: asked.clone(), ..Default::default() };
        let mut watched = NamespaceStreams::open(&client, keys(&client).await, request).await.expect("a watch");
        watched.until(|watched| watched.version("b") == Some(1) && watched.ended.len() == 1).await;
        let ended = &watched.ended[&name("a")];
        assert_eq!((ended.code, ended.reason.as_str()), (Code::OutOfRange.into(), "RESUME_POINT_GONE"), "{ended:?}");
        assert!(ended.metadata.contains_key("current_epoch"), "{ended:?}");

        let refuse = async |targets: Vec<pb::WatchTarget>, fields: &[&str]| {
            let request = pb::WatchActiveRequest { targets, ..Default::default() };
            refused_fields(client.watch_active(request).await, fields);
        };
        refuse(Vec::new(), &["targets"]).await;
        refuse(targets(&["a", "b", "a"]), &["targets[2].parent"]).await;
        refuse(targets(&["a", "B"]), &["targets[1].parent"]).await;
        let ids: Vec<String> = (0..=TARGETS_MAX).map(|number| format!("n{number}")).collect();
        refuse(targets(&ids.iter().map(String::as_str).collect::<Vec<_>>()), &["targets"]).await;
        let both = asked.iter().map(|target| pb::WatchTarget { resume: asked[0].resume, ..target.clone() }).collect();
        let request = pb::WatchActiveRequest { targets: both, ..Default::default() };
        let mut nothing = NamespaceStreams::open(&client, keys(&client).await, request).await.expect("a stream of refusals");
        let end = nothing.end().await;
        assert_eq!((end.code(), end.reason(), nothing.ended.len()), (Code::OutOfRange, "RESUME_POINT_GONE", 1));
    }
}

mod authorized {
    use super::*;

    on_both_databases! {
        with ASKED_OFTEN;

        /// Given a caller who may watch one of two namespaces, it gets that one; one who loses a role keeps the other namespace; one
        /// without any role gets the error of a single watch.
        async fn each_is_authorized_by_itself(hub: Hub) {
            let admin = hub.client().await;
            namespaces(&admin, &["a", "b", "c", "elsewhere"]).await;
            for id in ["a", "b", "c"] {
                release(&admin, id, "a: 1").await;
            }
            let relay = callers::caller(&hub, "relay").await;
            let request = pb::WatchActiveRequest { targets: targets(&["a", "b", "c"]), ..Default::default() };
            let keys = keys(&admin).await;
            let nobody = NamespaceStreams::open(&relay, keys.clone(), request.clone()).await.map(drop);
            refused(nobody, Code::PermissionDenied, "PERMISSION_DENIED");
            callers::grant(&admin, "relay", pb::Role::Subscriber, &name("elsewhere")).await;
            let mut nothing = NamespaceStreams::open(&relay, keys.clone(), request.clone()).await.expect("a stream of refusals");
            let end = nothing.end().await;
            assert_eq!((end.code(), end.reason()), (Code::NotFound, "NAMESPACE_NOT_FOUND"), "{end:?}");
            let ended: Vec<&String> = nothing.ended.keys().collect();
            assert_eq!(ended, [&name("a"), &name("b")], "the last one is the end of the stream");
            let one = pb::WatchActiveRequest { targets: targets(&["a"]), ..Default::default() };
            refused(relay.watch_active(one).await, Code::NotFound, "NAMESPACE_NOT_FOUND");

            let of_a = callers::grant(&admin, "relay", pb::Role::Subscriber, &name("a")).await;
            let of_b = callers::grant(&admin, "relay", pb::Role::Subscriber, &name("b")).await;
            let mut watched = NamespaceStreams::open(&relay, keys, request).await.expect("a watch");
            watched.until(|watched| watched.version("a").is_some() && watched.version("b").is_some()).await;
            let ended = &watched.ended[&name("c")];
            assert_eq!((ended.code, ended.reason.as_str()), (Code::NotFound.into(), "NAMESPACE_NOT_FOUND"), "{ended:?}");
            assert_eq!(watched.version("c"), None);

            callers::take_away(&admin, &of_a.name).await.expect("taken away");
            watched.until(|watched| watched.ended.contains_key(&name("a"))).await;
            assert_eq!(watched.ended[&name("a")].reason, "NAMESPACE_NOT_FOUND");
            release(&admin, "a", "a: 2").await;
            release(&admin, "b", "a: 2").await;
            watched.until(|watched| watched.version("b") == Some(2)).await;
            assert_eq!(watched.version("a"), Some(1), "nothing of it is told any more");

            callers::take_away(&admin, &of_b.name).await.expect("taken away");
            let end = watched.end().await;
            assert_eq!((end.code(), end.reason()), (Code::NotFound, "NAMESPACE_NOT_FOUND"), "{end:?}");
        }
    }
}

mod keys_of_several {
    use super::*;

    on_both_databases! {
        with AT_ONCE;

        /// Given a rotation, the key statement is sent once per stream, before the first message that its key signs.
        async fn a_rotation_is_told_once(hub: Hub) {
            let client = hub.client().await;
            let ids = ["a", "b", "c"];
            namespaces(&client, &ids).await;
            let request = pb::WatchActiveRequest {
                targets: targets(&ids),
                key_cursor: Some(pb::Cursor::default()),
                ..Default::default()
            };
            let trusted = keys(&client).await;
            let mut watched = NamespaceStreams::open(&client, trusted, request).await.expect("a watch");
            watched.until(|watched| ids.iter().all(|id| watched.has_begun(id))).await;
            rotate(&client).await;
            let keys = keys(&client).await;
            for set in watched.sets.values_mut() {
                set.trust(keys.clone());
            }
            for id in ids {
                release(&client, id, "a: 1").await;
            }
            watched.until(|watched| ids.iter().all(|id| watched.version(id) == Some(1))).await;
            let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys").key_statements;
            let newest = listed.last().expect("a statement").clone();
            watched.until(|watched| watched.key_statements.contains(&newest)).await;
            assert_eq!(watched.key_statements.last(), Some(&newest), "nothing after the newest one");
            let distinct: BTreeSet<&String> = watched.key_statements.iter().collect();
            assert_eq!(distinct.len(), watched.key_statements.len(), "none comes twice");
        }

        /// Given a removed namespace, its watch and the lease of the subscriber id end with the stream.
        async fn its_leases_end_with_it(hub: Hub) {
            let client = hub.client().await;
            namespaces(&client, &["a", "b"]).await;
            let request = pb::WatchActiveRequest {
                targets: targets(&["a", "b"]),
                subscriber_id: "s".to_owned(),
                ..Default::default()
            };
            let mut watched = NamespaceStreams::open(&client, keys(&client).await, request).await.expect("a watch");
            watched.until(|watched| watched.has_begun("a") && watched.has_begun("b")).await;
            let online = async |wanted: bool| {
                for id in ["a", "b"] {
                    let listed = pb::ListSubscribersRequest { parent: name(id), ..Default::default() };
                    let listed = client.list_subscribers(listed).await.expect("subscribers").subscribers;
                    if listed.iter().any(|one| one.online) != wanted {
                        return false;
                    }
                }
                true
            };
            eventually("both are online", async || online(true).await).await;
            drop(watched);
            eventually("neither is online", async || online(false).await).await;
        }
    }
}
