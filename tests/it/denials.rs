//! The record of denials: who was refused what, where and how often. It is bounded, readable by admins only, and survives a restart.

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::epochs::epoch;
use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{NAMESPACE, policy, refused, release, rollback_request, try_activate};
use crate::harness::on_both_databases;
use crate::harness::subscribing::eventually;

const ACTIVATE: &str = "/policyhub.v1.PolicyService/Activate";
const GET_POLICY: &str = "/policyhub.v1.PolicyService/GetPolicy";

fn request(parent: &str, principal: &str) -> pb::ListDenialsRequest {
    let filter = if principal.is_empty() { String::new() } else { format!("principal = {principal:?}") };
    pb::ListDenialsRequest { parent: parent.to_owned(), filter, ..Default::default() }
}

/// Returns who was refused what, the missing permission and the count, in order.
async fn recorded(client: &Client, parent: &str) -> Vec<(String, String, String, i64)> {
    let found = client.list_denials(request(parent, "")).await.expect("denials").denials;
    let mut rows: Vec<_> = found
        .into_iter()
        .map(|denial| {
            let seconds = |time: Option<prost_types::Timestamp>| time.map(|time| time.seconds);
            assert!(denial.last_time.is_some(), "{denial:?}");
            assert!(seconds(denial.first_time) <= seconds(denial.last_time), "{denial:?}");
            (denial.principal, denial.method, denial.permission, denial.count)
        })
        .collect();
    rows.sort();
    rows
}

fn row(who: &str, method: &str, permission: &str, count: i64) -> (String, String, String, i64) {
    (format!("local:{who}"), method.to_owned(), permission.to_owned(), count)
}

async fn get(client: &Client, name: &str) -> Result<pb::GetPolicyResponse, policyhub::client::ClientError> {
    client.get_policy(pb::GetPolicyRequest { name: name.to_owned() }).await
}

on_both_databases! {
    /// Equal refusals are one row with a count, in the namespace of the call; also for permissions that a call needed beyond its RPC.
    async fn a_refusal_is_recorded_where_it_was(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        release(&admin, "p", "a: 1").await;
        release(&admin, "p", "a: 2").await;
        // A caller who may activate elsewhere is refused in this namespace only.
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        grant(&admin, "ann", pb::Role::Activator, "namespaces/team").await;
        grant(&admin, "act", pb::Role::Activator, NAMESPACE).await;
        let (ann, act) = (caller(&hub, "ann").await, caller(&hub, "act").await);
        for _ in 0..3 {
            refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        }
        let skip = pb::RollbackRequest { skip_validation: true, ..rollback_request("p", 1) };
        refused(act.rollback(skip).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let rollback = "/policyhub.v1.PolicyService/Rollback";
        let expected = [row("act", rollback, "administer", 1), row("ann", ACTIVATE, "activate", 3)];
        assert_eq!(recorded(&admin, NAMESPACE).await, expected);
        refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        assert_eq!(recorded(&admin, NAMESPACE).await[1], row("ann", ACTIVATE, "activate", 4), "it goes on counting");
        assert_eq!(recorded(&admin, "namespaces/team").await, []);

        let only = admin.list_denials(request(NAMESPACE, "local:act")).await.expect("denials").denials;
        assert!(only.len() == 1 && only[0].principal == "local:act" && only[0].reason == "PERMISSION_DENIED", "{only:?}");
        let pages = pb::ListDenialsRequest { page_size: 1, ..request(NAMESPACE, "") };
        let first = admin.list_denials(pages.clone()).await.expect("a page");
        let next = pb::ListDenialsRequest { page_token: first.next_page_token.clone(), ..pages };
        let second = admin.list_denials(next.clone()).await.expect("a page");
        assert!(first.denials.len() == 1 && second.denials.len() == 1 && first.denials != second.denials);
        let other = pb::ListDenialsRequest { filter: "count > 0".to_owned(), ..next };
        refused(admin.list_denials(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }

    /// Given a request that was refused unread, it is recorded in the namespace where its caller has roles, if that is only one; otherwise
    /// in `system`.
    async fn a_request_that_was_not_read_has_a_place(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        let (ann, nobody) = (caller(&hub, "ann").await, caller(&hub, "nobody").await);
        refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        refused(get(&nobody, &policy("p")).await, Code::PermissionDenied, "PERMISSION_DENIED");
        assert_eq!(recorded(&admin, NAMESPACE).await, [row("ann", ACTIVATE, "activate", 1)]);
        assert_eq!(recorded(&admin, "namespaces/system").await, [row("nobody", GET_POLICY, "read", 1)]);
        assert_eq!(recorded(&admin, "namespaces/system").await.len(), 1);
    }

    /// An existing namespace records callers who were told that it does not exist; a missing namespace has no record, and tokens that do
    /// not verify have no subject.
    async fn strangers_make_nothing_grow(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        let ann = caller(&hub, "ann").await;
        refused(get(&ann, "namespaces/team/policies/p").await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        for number in 0..20 {
            let name = format!("namespaces/none{number}/policies/p");
            refused(get(&ann, &name).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        }
        let forged = hub.client_with(Some("not.a.token".to_owned())).await;
        get(&forged, &policy("p")).await.expect_err("a refusal");
        assert_eq!(recorded(&admin, "namespaces/team").await, [row("ann", GET_POLICY, "", 1)]);
        assert_eq!(recorded(&admin, NAMESPACE).await, []);
        assert_eq!(recorded(&admin, "namespaces/system").await, []);
        assert_eq!(hub.tamper("SELECT count(*) FROM denials"), "1");
        refused(
            admin.list_denials(request("namespaces/none1", "")).await,
            Code::NotFound,
            "NAMESPACE_NOT_FOUND",
        );
    }

    /// Given a namespace that a restore removed, the others are still recorded.
    async fn a_namespace_that_is_gone_is_left_out(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        grant(&admin, "bob", pb::Role::Viewer, "namespaces/team").await;
        let (ann, bob) = (caller(&hub, "ann").await, caller(&hub, "bob").await);
        let past_triggers =
            if hub.database_url.starts_with("sqlite:") { "" } else { "SET session_replication_role = replica; " };
        hub.tamper(&format!("{past_triggers}DELETE FROM namespaces WHERE id = 'team'"));
        for denied in [&bob, &ann] {
            refused(try_activate(denied, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        }
        let (code, said) = epoch(&hub, &["bump", "--accept-loss"]);
        assert_eq!(code, 0, "{said}");
        let expected = [row("ann", ACTIVATE, "activate", 1)];
        eventually("the record of the others", async || recorded(&admin, NAMESPACE).await == expected).await;
    }

    /// Only admins may read the record, and only of their namespace; refused readers are recorded too.
    async fn admins_alone_read_it(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        grant(&admin, "lead", pb::Role::Admin, "namespaces/team").await;
        grant(&admin, "dev", pb::Role::Author, "namespaces/team").await;
        let (lead, dev) = (caller(&hub, "lead").await, caller(&hub, "dev").await);
        refused(
            dev.list_denials(request("namespaces/team", "")).await,
            Code::PermissionDenied,
            "PERMISSION_DENIED",
        );
        refused(lead.list_denials(request("namespaces/system", "")).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let list = "/policyhub.v1.AdminService/ListDenials";
        assert_eq!(recorded(&lead, "namespaces/team").await, [row("dev", list, "administer", 1)]);
        let output = hub.cli().args(["denials", "-n", "team"]).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.starts_with("LAST ") && text.contains("local:dev  ListDenials  administer"), "{text}");
    }

    /// The newest thousand rows of a namespace are kept.
    async fn the_record_is_bounded(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        let ann = caller(&hub, "ann").await;
        let old: Vec<String> = (0..1_100)
            .map(|number| format!("('default', 'x{number:04}', 'p{number}', 'm', 'r', '', 1, {number}, {number})"))
            .collect();
        hub.tamper(&format!("INSERT INTO denials VALUES {}", old.join(", ")));
        refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        admin.list_denials(request(NAMESPACE, "")).await.expect("denials");
        assert_eq!(hub.tamper("SELECT count(*) FROM denials WHERE namespace = 'default'"), "1000");
        assert_eq!(hub.tamper("SELECT count(*) FROM denials WHERE principal = 'local:ann'"), "1");
        assert_eq!(hub.tamper("SELECT min(last_time) FROM denials"), "101");
    }

    /// Refusals from before a restart are kept and counted on.
    async fn the_record_outlives_the_server(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "ann", pb::Role::Viewer, NAMESPACE).await;
        let ann = caller(&hub, "ann").await;
        refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let hub = hub.restart_in_order().await;
        let (admin, ann) = (hub.client().await, caller(&hub, "ann").await);
        assert_eq!(recorded(&admin, NAMESPACE).await, [row("ann", ACTIVATE, "activate", 1)]);
        refused(try_activate(&ann, "p", 1, None).await, Code::PermissionDenied, "PERMISSION_DENIED");
        assert_eq!(recorded(&admin, NAMESPACE).await, [row("ann", ACTIVATE, "activate", 2)]);
    }
}
