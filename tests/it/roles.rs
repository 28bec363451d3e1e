//! Role bindings: granted, removed, in effect at once, and accepted only when the log proves them (docs/guarantees.md#g18, #g19,
//! docs/security.md#t23).

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::callers::{caller, grant, issue, namespace, take_away, try_grant};
use crate::harness::calls::{NAMESPACE, events, publish, refused, refused_fields, release, rollback_request, version};
use crate::harness::http::metric;
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub, on_both_databases};
use crate::tamper_older_rows::QUIET;
use crate::watch_many::two_servers;

/// Repeats a call until it is refused, and returns the reason: a replica sees another replica's change within a second.
async fn until_refused(client: &Client) -> String {
    let asked = async {
        loop {
            match client.get_policy(pb::GetPolicyRequest { name: format!("{NAMESPACE}/policies/p") }).await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                Err(error) => return error.reason().to_owned(),
            }
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("a refusal before the deadline").to_owned()
}

async fn listed(admin: &Client, place: &str) -> Vec<(String, i32)> {
    let request = pb::ListRoleBindingsRequest { parent: place.to_owned(), ..Default::default() };
    let found = admin.list_role_bindings(request).await.expect("bindings").role_bindings;
    found.into_iter().map(|binding| (binding.member, binding.role)).collect()
}

/// Given many callers who come at once, with a token each and a role by their group, the database is not asked once for each of them.
#[tokio::test]
async fn callers_of_a_group_cost_no_statement_each() {
    const CALLERS: usize = 60;
    let hub = Hub::start(Database::Sqlite).await;
    let admin = hub.client().await;
    release(&admin, "p", "a: 1").await;
    try_grant(&admin, "group:local:fleet", pb::Role::Subscriber, NAMESPACE).await.expect("a grant");
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let subject = format!("s-{number}");
        let token = issue(&hub, &["--subject", &subject, "--group", "fleet", "--ttl", "1h"]);
        callers.push(hub.client_with(Some(token)).await);
    }
    let ask = |client: Client| async move {
        let request = pb::GetActiveRequest { name: format!("{NAMESPACE}/policies/p"), ..Default::default() };
        client.get_active(request).await.expect("an answer")
    };
    ask(callers[0].clone()).await;
    let statements = || metric(&hub.http, "policyhub_database_statements_total").expect("a count") as usize;
    let before = statements();
    futures_util::future::join_all(callers.into_iter().map(ask)).await;
    let made = statements() - before;
    assert!(made < CALLERS / 2, "{made} statements for {CALLERS} callers");
}

on_both_databases! {
    /// Given a binding that is granted and removed, each is in effect at once, and each is an event of the namespace's log.
    async fn a_role_is_what_the_last_event_says(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        let ann = caller(&hub, "ann").await;
        assert_eq!(until_refused(&ann).await, "PERMISSION_DENIED");

        let before = crate::harness::calls::head(&admin).await;
        let binding = grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        assert_eq!((binding.member.as_str(), binding.creator.as_str()), ("local:ann", "local:admin"));
        assert_eq!((binding.role(), binding.name.starts_with(&format!("{NAMESPACE}/roleBindings/"))), (pb::Role::Viewer, true));
        ann.get_policy(pb::GetPolicyRequest { name: format!("{NAMESPACE}/policies/p") }).await.expect("at once");
        let denied = refused(
            ann.deactivate(pb::DeactivateRequest { name: format!("{NAMESPACE}/policies/p"), ..Default::default() }).await,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        );
        assert_eq!(denied.metadata().get("permission").map(String::as_str), Some("activate"), "{denied:?}");
        assert_eq!(listed(&admin, NAMESPACE).await, [("local:ann".to_owned(), pb::Role::Viewer.into())]);

        take_away(&admin, &binding.name).await.expect("taken away");
        assert_eq!(until_refused(&ann).await, "PERMISSION_DENIED");
        assert_eq!(listed(&admin, NAMESPACE).await, []);
        refused(take_away(&admin, &binding.name).await, Code::NotFound, "BINDING_NOT_FOUND");

        let kinds: Vec<_> = events(&admin, NAMESPACE, before).await.iter().map(pb::Event::kind).collect();
        assert_eq!(kinds, [pb::EventKind::CreateRoleBinding, pb::EventKind::DeleteRoleBinding]);
        // Roles still follow the log after this event.
        grant(&admin, "ann", pb::Role::Publisher, NAMESPACE).await;
        release(&admin, "p", "a: 2").await;
        publish(&admin, "q", "a: 1").await;
        assert_eq!(listed(&admin, NAMESPACE).await, [("local:ann".to_owned(), pb::Role::Publisher.into())]);
    }

    /// An admin of one namespace can grant roles only there, and the store always keeps an admin.
    async fn nobody_grants_what_is_not_theirs(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        grant(&admin, "lead", pb::Role::Admin, "namespaces/team").await;
        let lead = caller(&hub, "lead").await;
        grant(&lead, "dev", pb::Role::Author, "namespaces/team").await;
        refused(try_grant(&lead, "local:dev", pb::Role::Admin, "namespaces/-").await, Code::PermissionDenied, "PERMISSION_DENIED");
        refused(try_grant(&lead, "local:dev", pb::Role::Viewer, NAMESPACE).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let again = refused(
            try_grant(&lead, "local:dev", pb::Role::Author, "namespaces/team").await,
            Code::AlreadyExists,
            "BINDING_EXISTS",
        );
        assert!(again.metadata().get("id").is_some_and(|id| id.starts_with("namespaces/team/roleBindings/")), "{again:?}");
        for (member, role, place, field) in [
            ("dev", pb::Role::Author, NAMESPACE, "role_binding.member"),
            ("local:dev", pb::Role::Unspecified, NAMESPACE, "role_binding.role"),
            ("local:dev", pb::Role::Author, "namespaces/system", "parent"),
        ] {
            refused_fields(try_grant(&admin, member, role, place).await, &[field]);
        }

        let request = pb::ListRoleBindingsRequest { parent: "namespaces/-".to_owned(), ..Default::default() };
        let first = admin.list_role_bindings(request).await.expect("bindings").role_bindings.remove(0);
        assert_eq!((first.member.as_str(), first.name.starts_with("namespaces/-/")), ("local:admin", true));
        refused(take_away(&lead, &first.name).await, Code::PermissionDenied, "PERMISSION_DENIED");
        refused(take_away(&admin, &first.name).await, Code::FailedPrecondition, "LAST_ADMIN");
        grant(&admin, "second", pb::Role::Admin, "namespaces/-").await;
        take_away(&admin, &first.name).await.expect("there is another");
        refused(try_grant(&admin, "local:me", pb::Role::Admin, "namespaces/-").await, Code::PermissionDenied, "PERMISSION_DENIED");
    }

    /// Given a call that needs a permission beyond that of the RPC: to activate, to publish, to skip a check.
    async fn one_call_may_need_two_roles(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        release(&admin, "p", "a: 2").await;
        let draft = crate::harness::calls::draft(&admin, "p", "a: 3").await;
        grant(&admin, "pub", pb::Role::Publisher, NAMESPACE).await;
        grant(&admin, "act", pb::Role::Activator, NAMESPACE).await;
        let (publisher, activator) = (caller(&hub, "pub").await, caller(&hub, "act").await);

        let both = pb::PublishRequest {
            name: draft.name.clone(),
            activate: true,
            reason: "now".to_owned(),
            ..Default::default()
        };
        refused(publisher.publish(both).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1) };
        refused(activator.rollback(copy).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let skip = pb::RollbackRequest { skip_validation: true, ..rollback_request("p", 1) };
        refused(activator.rollback(skip).await, Code::PermissionDenied, "PERMISSION_DENIED");
        publisher.publish(pb::PublishRequest { name: draft.name, ..Default::default() }).await.expect("its own");
        activator.rollback(rollback_request("p", 1)).await.expect("its own");
    }

    /// Names inside a request are limited to the request's namespace.
    async fn a_request_reaches_one_namespace(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "secret: 1").await;
        namespace(&admin, "team").await;
        grant(&admin, "lead", pb::Role::Admin, "namespaces/team").await;
        let lead = caller(&hub, "lead").await;
        let own = "namespaces/team/policies/p/versions/1".to_owned();
        let request = pb::DiffVersionsRequest { base: own.clone(), other: version("p", 1) };
        refused(lead.diff_versions(request).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let request = pb::DiffVersionsRequest { base: version("p", 1), other: own };
        refused(lead.diff_versions(request).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let target = pb::ActivateTarget { policy: format!("{NAMESPACE}/policies/p"), to: Some(pb::activate_target::To::Version(1)), expected_active: None };
        let request = pb::ActivateRequest {
            parent: "namespaces/team".to_owned(),
            targets: vec![target],
            reason: "theirs".to_owned(),
            ..Default::default()
        };
        refused(lead.activate(request).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        let target = pb::WatchTarget {
            parent: "namespaces/team".to_owned(),
            policies: vec![format!("{NAMESPACE}/policies/p")],
            ..Default::default()
        };
        let request = pb::WatchActiveRequest { targets: vec![target], ..Default::default() };
        refused(lead.watch_active(request).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        let listed = lead.list_namespaces(pb::ListNamespacesRequest::default()).await.expect("namespaces").namespaces;
        assert_eq!(listed.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(), ["namespaces/team"]);
    }

}

on_both_databases! {
    with QUIET;
    /// Given a new, edited or deleted row in the database, it grants nothing.
    async fn a_row_without_its_event_is_never_obeyed(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        let gone = grant(&admin, "eve", pb::Role::Admin, NAMESPACE).await;
        let row = "namespace = 'default' AND member = 'local:eve'";
        hub.tamper(&format!("CREATE TABLE kept AS SELECT * FROM role_bindings WHERE {row}"));
        take_away(&admin, &gone.name).await.expect("taken away");
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        let request = pb::GetPolicyRequest { name: format!("{NAMESPACE}/policies/p") };

        let edits = [
            ("put back", "INSERT INTO role_bindings SELECT * FROM kept"),
            ("forged", "UPDATE role_bindings SET member = 'local:eve', role = 'ADMIN' WHERE namespace = 'default'"),
            ("deleted", "DELETE FROM role_bindings WHERE namespace = 'default'"),
            ("an older state named", "UPDATE namespaces SET access_revision = access_revision - 1 WHERE id = 'default'"),
            ("no state named", "UPDATE namespaces SET access_revision = 0 WHERE id = 'default'"),
        ];
        hub.tamper("CREATE TABLE bindings_were AS SELECT * FROM role_bindings");
        hub.tamper("CREATE TABLE namespaces_were AS SELECT id, access_revision FROM namespaces");
        let mut hub = hub;
        for (what, sql) in edits {
            hub.tamper(sql);
            // With empty caches: whatever is accepted is read from the database.
            hub = hub.restart_in_order().await;
            let admin = hub.client().await;
            let eve = caller(&hub, "eve").await.get_policy(request.clone()).await.expect_err(what);
            assert!(["DATA_LOSS", "PERMISSION_DENIED"].contains(&eve.reason()), "{what}: {eve:?}");
            let ann = caller(&hub, "ann").await.get_policy(request.clone()).await;
            refused_or_true(what, ann);
            let more = try_grant(&admin, "local:bob", pb::Role::Viewer, NAMESPACE).await;
            assert_eq!(more.expect_err(what).reason(), "DATA_LOSS", "{what}: the next event would confirm it");
            hub.tamper("DELETE FROM role_bindings");
            hub.tamper("INSERT INTO role_bindings SELECT * FROM bindings_were");
            hub.tamper("UPDATE namespaces SET access_revision = (SELECT w.access_revision FROM namespaces_were w WHERE w.id = namespaces.id)");
        }
        let hub = hub.restart_in_order().await;
        caller(&hub, "ann").await.get_policy(request).await.expect("as it was");
        try_grant(&hub.client().await, "local:bob", pb::Role::Viewer, NAMESPACE).await.expect("as it was");
    }
}

fn refused_or_true(what: &str, answer: Result<pb::GetPolicyResponse, policyhub::client::ClientError>) {
    if let Err(error) = answer {
        // A caller whose only row was deleted has no role; the check of the log finds the deletion.
        assert!(["DATA_LOSS", "PERMISSION_DENIED"].contains(&error.reason()), "{what}: {error:?}");
    }
}

/// Settings with which watches are authorized again often.
const ASKED_OFTEN: &[&str] =
    &["--recheck-interval-ms", "100", "--heartbeat-interval-ms", "100", "--poll-interval-ms", "50"];

on_both_databases! {
    with ASKED_OFTEN;
    /// A watch ends when its caller loses the role; other watches stay.
    async fn a_watch_ends_with_the_role(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        let ann = grant(&admin, "ann", pb::Role::Subscriber, NAMESPACE).await;
        grant(&admin, "bob", pb::Role::Subscriber, NAMESPACE).await;
        let mut hers = watching::raw(&caller(&hub, "ann").await, None).await.expect("a watch");
        let mut his = watching::raw(&caller(&hub, "bob").await, None).await.expect("a watch");
        hers.message().await.expect("a snapshot");
        take_away(&admin, &ann.name).await.expect("taken away");
        let ended = async { loop { if let Err(status) = hers.message().await { return status } } };
        let status = tokio::time::timeout(DEADLINE, ended).await.expect("an end before the deadline");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        let revision = release(&admin, "p", "a: 2").await.version;
        assert_eq!(revision, 2);
        let received = async {
            loop {
                let message = his.message().await.expect("a watch that goes on").expect("a message").message;
                if let Some(pb::watch_active_response::Message::Activation(activation)) = message {
                    return activation.bundles.len();
                }
            }
        };
        assert_eq!(tokio::time::timeout(DEADLINE, received).await.expect("an activation before the deadline"), 1);
    }

    /// A watch ends when its token expires.
    async fn a_watch_ends_with_its_token(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "ann", pb::Role::Subscriber, NAMESPACE).await;
        let client = hub.client_with(Some(issue(&hub, &["--subject", "ann", "--ttl", "1s"]))).await;
        let mut watch = watching::raw(&client, None).await.expect("a watch");
        let ended = async { loop { if let Err(status) = watch.message().await { return status } } };
        let status = tokio::time::timeout(DEADLINE, ended).await.expect("an end before the deadline");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
}

/// A role removed at one replica is refused by the other a second later.
#[tokio::test]
async fn a_role_taken_away_at_one_replica_counts_at_no_other() {
    let (one, two, keys) = two_servers().await;
    let admin = one.client().await;
    release(&admin, "p", "a: 1").await;
    let binding = grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
    let keys = keys.path().join("keys").display().to_string();
    let token = issue(&one, &["--subject", "ann", "--ttl", "1h", "--keys-dir", &keys]);
    let ann = two.client_with(Some(token)).await;
    ann.get_policy(pb::GetPolicyRequest { name: format!("{NAMESPACE}/policies/p") }).await.expect("granted");
    take_away(&admin, &binding.name).await.expect("taken away");
    // Which of the two the other replica reads again first is not determined.
    let reason = until_refused(&ann).await;
    assert!(["PERMISSION_DENIED", "NAMESPACE_NOT_FOUND"].contains(&reason.as_str()), "{reason}");
}

/// Given a retry that is answered from the stored answer and says that the role is gone, that replica refuses the role from then on.
#[tokio::test]
async fn a_retry_that_says_a_role_is_gone_is_obeyed_where_it_is_said() {
    let (one, two, keys) = two_servers().await;
    let (admin, other_admin) = (one.client().await, two.client().await);
    release(&admin, "p", "a: 1").await;
    let keys = keys.path().join("keys").display().to_string();
    let token = issue(&one, &["--subject", "ann", "--ttl", "1h", "--keys-dir", &keys]);
    let ann = two.client_with(Some(token)).await;
    let asked = pb::GetPolicyRequest { name: format!("{NAMESPACE}/policies/p") };
    for number in 0..5 {
        let binding = grant(&other_admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        ann.get_policy(asked.clone()).await.expect("granted, and remembered");
        let request_id = format!("take-{number}");
        let request = pb::DeleteRoleBindingRequest { name: binding.name, request_id, ..Default::default() };
        admin.delete_role_binding(request.clone()).await.expect("taken away");
        other_admin.delete_role_binding(request).await.expect("the same answer");
        refused(ann.get_policy(asked.clone()).await, Code::PermissionDenied, "PERMISSION_DENIED");
    }
}
