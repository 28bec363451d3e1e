//! Every RPC of the contract, called with every role, without a credential, and by a caller of another namespace.
//!
//! It iterates over the descriptor set: an RPC that is missing in the table fails the test, as does one that the server wrongly permits.

use std::collections::{BTreeMap, BTreeSet};

use policyhub::client::pb;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::callers::{caller, grant, issue, namespace};
use crate::harness::raw::{BytesCodec, reason};
use crate::harness::{Hub, on_both_databases};

/// Which roles may call what; "*" means any caller. For RPCs about the whole store, the same roles count when granted on `*`.
const TABLE: &[(&str, &str)] = &[
    ("CreatePolicy", "author"),
    ("GetPolicy", "viewer author approver publisher activator guardrail-admin"),
    ("ListPolicies", "viewer author approver publisher activator guardrail-admin"),
    ("UpdatePolicy", ""),
    ("Draft", "author"),
    ("AbandonDraft", "author"),
    ("Stage", "author"),
    ("Publish", "publisher"),
    ("PublishVersions", "publisher"),
    ("Activate", "activator"),
    ("Rollback", "activator"),
    ("Deactivate", "activator"),
    ("GetVersion", "viewer author approver publisher activator guardrail-admin"),
    ("ListVersions", "viewer author approver publisher activator guardrail-admin"),
    ("DiffVersions", "viewer author approver publisher activator guardrail-admin"),
    ("GetValidationReport", "viewer author approver publisher activator guardrail-admin"),
    ("ApproveVersion", "approver"),
    ("RejectVersion", "approver"),
    ("CreateSchedule", "activator"),
    ("GetSchedule", "viewer author approver publisher activator guardrail-admin"),
    ("ListSchedules", "viewer author approver publisher activator guardrail-admin"),
    ("CancelSchedule", "activator"),
    ("ResumeSchedule", "activator"),
    ("ListEvents", "viewer author approver publisher activator guardrail-admin"),
    ("GetActive", "viewer subscriber author approver publisher activator guardrail-admin"),
    ("ListActive", "viewer subscriber author approver publisher activator guardrail-admin"),
    ("WatchActive", "subscriber"),
    ("ReportStatus", "subscriber"),
    ("ListSubscribers", "viewer author approver publisher activator guardrail-admin"),
    ("GetConvergence", "viewer author approver publisher activator guardrail-admin"),
    ("RecordRun", "subscriber"),
    ("CompleteRun", "subscriber"),
    ("GetRun", "viewer author approver publisher activator guardrail-admin"),
    ("ListRuns", "viewer author approver publisher activator guardrail-admin"),
    ("CreateNamespace", "store"),
    ("GetNamespace", "viewer author approver publisher activator guardrail-admin"),
    ("ListNamespaces", "*"),
    ("UpdateNamespace", "store"),
    ("GetGuardrails", "viewer author approver publisher activator guardrail-admin"),
    ("UpdateGuardrails", "guardrail-admin"),
    ("CreateRoleBinding", ""),
    ("ListRoleBindings", "viewer author approver publisher activator guardrail-admin"),
    ("ListDenials", ""),
    ("DeleteRoleBinding", ""),
    ("ListSigningKeys", "*"),
    ("PrepareSigningKey", "store"),
    ("ActivateSigningKey", "store"),
    ("RevokeSigningKey", "store"),
    ("RevokeToken", "store"),
    ("VerifyLog", "viewer author approver publisher activator guardrail-admin"),
    ("ThawNamespace", ""),
    ("ExportRows", "viewer author approver publisher activator guardrail-admin"),
    ("ImportNamespace", ""),
];

/// Every role, by its name in tables.
pub const ROLES: [(&str, pb::Role); 8] = [
    ("viewer", pb::Role::Viewer),
    ("subscriber", pb::Role::Subscriber),
    ("author", pb::Role::Author),
    ("approver", pb::Role::Approver),
    ("publisher", pb::Role::Publisher),
    ("activator", pb::Role::Activator),
    ("admin", pb::Role::Admin),
    ("guardrail-admin", pb::Role::GuardrailAdmin),
];

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the descriptor set");
    let ours = pool.services().filter(|service| service.package_name() == "policyhub.v1").collect::<Vec<_>>();
    ours.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Returns a request with only the field that names its resource. The resource does not exist and everything else is missing, so a
/// permitted call changes nothing and is refused for another reason.
fn request(method: &MethodDescriptor, place: &str) -> Vec<u8> {
    let mut message = DynamicMessage::new(method.input());
    let (policy, version) = (format!("{place}/policies/absent"), format!("{place}/policies/absent/versions/1"));
    let value = |text: &str| Value::String(text.to_owned());
    match method.name() {
        "CreateNamespace" | "ListNamespaces" | "ListSigningKeys" | "PrepareSigningKey" | "ActivateSigningKey"
        | "RevokeSigningKey" | "RevokeToken" => {}
        "UpdatePolicy" => nested(&mut message, "policy", "name", &policy),
        "UpdateNamespace" => nested(&mut message, "namespace", "name", place),
        "UpdateGuardrails" => nested(&mut message, "guardrails", "name", &format!("{place}/guardrails")),
        "GetGuardrails" => message.set_field_by_name("name", value(&format!("{place}/guardrails"))),
        "DeleteRoleBinding" => message.set_field_by_name("name", value(&format!("{place}/roleBindings/ab"))),
        "DiffVersions" => {
            message.set_field_by_name("base", value(&version));
            message.set_field_by_name("other", value(&version));
        }
        "Draft" | "ListVersions" => message.set_field_by_name("parent", value(&policy)),
        "GetNamespace" | "ImportNamespace" => message.set_field_by_name("name", value(place)),
        "GetPolicy" | "Rollback" | "Deactivate" => message.set_field_by_name("name", value(&policy)),
        // Epoch -1 can't be resumed, so a permitted call ends at once.
        "WatchActive" => {
            nested(&mut message, "targets", "parent", place);
            message.set_field_by_name("subscriber_id", value("no id"));
        }
        _ if method.input().get_field_by_name("parent").is_some() => message.set_field_by_name("parent", value(place)),
        _ => message.set_field_by_name("name", value(&version)),
    }
    message.encode_to_vec()
}

fn nested(message: &mut DynamicMessage, field: &str, inner: &str, text: &str) {
    let descriptor = message.descriptor().get_field_by_name(field).expect(field);
    let mut value = DynamicMessage::new(descriptor.kind().as_message().expect("a message").clone());
    value.set_field_by_name(inner, Value::String(text.to_owned()));
    let value = Value::Message(value);
    message.set_field_by_name(field, if descriptor.is_list() { Value::List(vec![value]) } else { value });
}

/// One caller's connection.
struct RoleCaller {
    grpc: tonic::client::Grpc<tonic::transport::Channel>,
    token: Option<String>,
}

impl RoleCaller {
    async fn new(hub: &Hub, token: Option<String>) -> Self {
        let channel = tonic::transport::Endpoint::from_shared(hub.grpc.clone()).expect("an address");
        Self { grpc: tonic::client::Grpc::new(channel.connect().await.expect("a connection")), token }
    }

    /// Returns the status of a call; OK when it was answered.
    async fn call(&mut self, method: &MethodDescriptor, place: &str) -> Status {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut asked = tonic::Request::new(request(method, place));
        if let Some(token) = &self.token {
            asked.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        self.grpc.ready().await.expect("ready");
        let path = path.parse().expect("a path");
        let answer = self.grpc.server_streaming(asked, path, BytesCodec).await;
        let mut stream = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => return status,
        };
        match stream.message().await {
            Ok(_) => Status::ok(""),
            Err(status) => status,
        }
    }
}

fn may(method: &str, role: &str) -> bool {
    let (_, roles) = TABLE.iter().find(|(name, _)| *name == method).expect("in the table");
    *roles == "*" || role == "admin" && *roles != "store" || roles.split(' ').any(|each| each == role)
}

on_both_databases! {
    /// Given each role in one namespace or in all, exactly the RPCs of the table are permitted there.
    async fn every_rpc_asks_for_its_role(hub: Hub) {
        let named: BTreeSet<String> = methods().iter().map(|method| method.name().to_owned()).collect();
        let known: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named, known, "the table and the contract name the same RPCs");

        let admin = hub.client().await;
        namespace(&admin, "other").await;
        for (name, role) in ROLES {
            grant(&admin, &format!("{name}-here"), role, "namespaces/default").await;
            grant(&admin, &format!("{name}-all"), role, "namespaces/-").await;
        }
        for (name, _) in ROLES {
            let token = |subject: &str| Some(issue(&hub, &["--subject", subject, "--ttl", "1h"]));
            let mut here = RoleCaller::new(&hub, token(&format!("{name}-here"))).await;
            let mut everywhere = RoleCaller::new(&hub, token(&format!("{name}-all"))).await;
            for method in methods() {
                let allowed = may(method.name(), name);
                let status = here.call(&method, "namespaces/default").await;
                let refused = reason(&status) == "PERMISSION_DENIED";
                assert_eq!(refused, !allowed, "{name} calls {}: {status:?}", method.name());
                assert_eq!(refused, status.code() == Code::PermissionDenied, "{status:?}");

                let wide = allowed || name == "admin";
                let status = everywhere.call(&method, "namespaces/other").await;
                let refused = reason(&status) == "PERMISSION_DENIED";
                assert_eq!(refused, !wide, "{name} of all calls {}: {status:?}", method.name());
            }
        }
    }

    /// Given a caller without a role in a namespace, the answer is the same whether it exists or not, whatever else is wrong with the call;
    /// a caller without any role is refused before the request is read.
    async fn hidden_and_absent_look_alike(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "theirs").await;
        namespace(&admin, "hidden").await;
        grant(&admin, "stranger", pb::Role::Admin, "namespaces/theirs").await;
        let of = |subject: &str| Some(issue(&hub, &["--subject", subject, "--ttl", "1h"]));
        let callers = [("nobody", of("nobody")), ("stranger", of("stranger"))];
        for (who, token) in callers {
            let mut answers = BTreeMap::new();
            let mut caller = RoleCaller::new(&hub, token).await;
            for method in methods() {
                let hidden = caller.call(&method, "namespaces/hidden").await;
                let absent = caller.call(&method, "namespaces/absent").await;
                let shown = |status: &Status, id: &str| {
                    let details = status.get_error_details();
                    let info = details.error_info().map(|info| (info.reason.clone(), BTreeMap::from_iter(info.metadata.clone())));
                    let about = details.resource_info().map(|about| about.resource_name.replace(id, "~"));
                    (status.code(), status.message().replace(id, "~"), info, about, status.details().len())
                };
                assert_eq!(shown(&hidden, "hidden"), shown(&absent, "absent"), "{who} calls {}", method.name());
                answers.entry(reason(&hidden)).or_insert_with(BTreeSet::new).insert(method.name().to_owned());
            }
            let has_role = who == "stranger";
            let of_store: BTreeSet<String> =
                TABLE.iter().filter(|(_, roles)| *roles == "store").map(|(name, _)| (*name).to_owned()).collect();
            let open: BTreeSet<String> = ["ListNamespaces", "ListSigningKeys"].map(str::to_owned).into();
            let others = methods().len() - of_store.len() - open.len();
            assert_eq!(answers.get(""), Some(&open), "{who}");
            if has_role {
                assert_eq!(answers.get("PERMISSION_DENIED"), Some(&of_store));
                assert_eq!(answers.get("NAMESPACE_NOT_FOUND").map(BTreeSet::len), Some(others));
            } else {
                assert_eq!(answers.get("PERMISSION_DENIED").map(BTreeSet::len), Some(others + of_store.len()));
            }
            assert_eq!(answers.len(), if has_role { 3 } else { 2 }, "{who}: {answers:?}");
        }
    }

    /// Given no credential, every RPC is refused without any detail.
    async fn nobody_is_told_anything(hub: Hub) {
        let mut caller = RoleCaller::new(&hub, None).await;
        for method in methods() {
            let status = caller.call(&method, "namespaces/default").await;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_MISSING"));
        }
    }

    /// Given a malformed namespace name, a member is told what is wrong with it, and other callers are not.
    async fn a_malformed_name_is_explained_to_members_only(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "viewer", pb::Role::Viewer, "namespaces/default").await;
        for name in ["", "namespace/default", "namespaces/Default", "namespaces//policies/p", "%", "namespaces"] {
            let asked = pb::GetPolicyRequest { name: name.to_owned() };
            let member = caller(&hub, "viewer").await.get_policy(asked.clone()).await.expect_err("no such name");
            assert_eq!((member.code(), member.reason()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{name}");
            let other = caller(&hub, "nobody").await.get_policy(asked).await.expect_err("no such name");
            assert_eq!((other.code(), other.reason()), (Code::PermissionDenied, "PERMISSION_DENIED"), "{name}");
        }
    }
}
