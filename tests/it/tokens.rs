//! Authentication: every call but health and reflection needs a valid token, and no token is ever logged.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use policyhub::client::{Client, ClientError, pb};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::callers::{grant, issue};
use crate::harness::calls::{NAMESPACE, draft_request, policy, release};
use crate::harness::{Database, Hub};

/// Makes one call of each kind: reads and writes of each service, and the stream.
async fn one_of_each(client: &Client) -> Vec<(&'static str, Result<(), ClientError>)> {
    let name = NAMESPACE.to_owned();
    let create = pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
    let report = pb::ReportStatusRequest { name: format!("{name}/subscribers/s"), ..Default::default() };
    let active = pb::ListActiveRequest { parent: name.clone(), ..Default::default() };
    let watch = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: name.clone(), ..Default::default() }],
        ..Default::default()
    };
    vec![
        ("GetPolicy", client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.map(drop)),
        ("Draft", client.draft(draft_request("p", "a: 9")).await.map(drop)),
        ("ListActive", client.list_active(active).await.map(drop)),
        ("WatchActive", client.watch_active(watch).await.map(drop)),
        ("ReportStatus", client.report_status(report).await.map(drop)),
        ("GetNamespace", client.get_namespace(pb::GetNamespaceRequest { name }).await.map(drop)),
        ("CreateNamespace", client.create_namespace(create).await.map(drop)),
        ("ListSigningKeys", client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.map(drop)),
    ]
}

fn key_pair(hub: &Hub) -> Ed25519KeyPair {
    let pem = std::fs::read_to_string(hub.data_dir().join("keys/issuer.pem")).expect("the issuer's key");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&STANDARD.decode(body).expect("base64")).expect("a key")
}

fn part(token: &str, index: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).expect("a part")).expect("base64url");
    serde_json::from_slice(&bytes).expect("json")
}

/// Rewrites a token with members of its header and claims replaced.
fn forge(good: &str, header: &[(&str, Value)], claims: &[(&str, Value)], sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let replaced = |index: usize, with: &[(&str, Value)]| {
        let mut document = part(good, index);
        for (name, value) in with {
            document[*name] = value.clone();
        }
        URL_SAFE_NO_PAD.encode(document.to_string())
    };
    let message = format!("{}.{}", replaced(0, header), replaced(1, claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Returns some tokens of `src/auth/tests/bad_tokens/`, which are sent through the whole server here.
fn of_the_corpus(good: &str, sign: &impl Fn(&[u8]) -> Vec<u8>) -> Vec<(&'static str, Option<String>, &'static str)> {
    let exp = part(good, 1)["exp"].as_i64().expect("exp");
    let signed = |header: &[(&str, Value)], claims: &[(&str, Value)]| Some(forge(good, header, claims, sign));
    vec![
        ("crit", signed(&[("crit", json!(["exp"]))], &[]), "TOKEN_INVALID"),
        ("its own key", signed(&[("jwk", json!({"kty": "oct", "k": "AAAA"}))], &[]), "TOKEN_INVALID"),
        ("packed", signed(&[("zip", json!("DEF"))], &[]), "TOKEN_INVALID"),
        ("kid a path", signed(&[("kid", json!("../../../dev/null"))], &[]), "TOKEN_INVALID"),
        ("a bundle", signed(&[("typ", json!("policyhub-bundle+jws"))], &[]), "TOKEN_INVALID"),
        ("zeros for a signature", Some(forge(good, &[], &[], |_| vec![0; 64])), "TOKEN_INVALID"),
        ("no signature", Some(forge(good, &[], &[], |_| Vec::new())), "TOKEN_INVALID"),
        ("nobody", signed(&[], &[("sub", json!(""))]), "TOKEN_INVALID"),
        ("look-alike", signed(&[], &[("sub", json!("\u{430}dmin"))]), "TOKEN_INVALID"),
        ("exp a text", signed(&[], &[("exp", json!(exp.to_string()))]), "TOKEN_INVALID"),
        ("for two years", signed(&[], &[("exp", json!(exp + 63_072_000))]), "TOKEN_INVALID"),
        ("bound to a certificate", signed(&[], &[("cnf", json!({"x5t#S256": "A"}))]), "TOKEN_INVALID"),
        ("other audiences", signed(&[], &[("aud", json!(["a", "b"]))]), "TOKEN_AUDIENCE"),
    ]
}

/// A token that expired 20 s ago is refused, unless the permitted clock difference is larger.
#[tokio::test]
async fn clocks_may_differ_by_what_is_configured() {
    for (flags, is_taken) in [(&[][..], false), (&["--clock-leeway-seconds", "60"], true)] {
        let hub = Hub::start_with(Database::Sqlite, flags).await;
        let key = key_pair(&hub);
        let issued = part(&hub.token(), 1)["iat"].as_i64().expect("iat");
        let expired = forge(&hub.token(), &[], &[("exp", json!(issued - 20))], |text| key.sign(text).as_ref().to_vec());
        let client = hub.client_with(Some(expired)).await;
        let answer = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await;
        match answer {
            Ok(_) => assert!(is_taken, "{flags:?}"),
            Err(error) => assert_eq!((error.reason(), is_taken), ("TOKEN_EXPIRED", false), "{flags:?}"),
        }
    }
}

#[tokio::test]
async fn every_call_needs_a_good_token() {
    let hub = Hub::start_with(Database::Sqlite, &["--log-level", "trace"]).await;
    release(&hub.client().await, "p", "a: 1").await;
    let good = hub.token();
    let right = key_pair(&hub);
    let public = right.public_key().as_ref().to_vec();
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let sign = |message: &[u8]| right.sign(message).as_ref().to_vec();
    let same = forge(&good, &[], &[], sign);
    for (call, answer) in one_of_each(&hub.client_with(Some(same.clone())).await).await {
        let refused = answer.err().map(|error| error.code()).filter(|code| *code == tonic::Code::Unauthenticated);
        assert_eq!(refused, None, "{call}: the forge itself must be right, or it proves nothing");
    }

    let hmac = |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message).as_ref().to_vec();
    let exp = part(&good, 1)["exp"].as_i64().expect("exp");
    let (head, body) = good.split_once('.').expect("three parts");
    let mut cases = vec![
        ("none", None, "TOKEN_MISSING"),
        ("garbage", Some("garbage".to_owned()), "TOKEN_MALFORMED"),
        ("over 8 KiB", Some("a".repeat(9_000)), "TOKEN_MALFORMED"),
        (
            "expired",
            Some(forge(&good, &[], &[("iat", json!(1)), ("nbf", json!(1)), ("exp", json!(2))], sign)),
            "TOKEN_EXPIRED",
        ),
        ("not yet", Some(forge(&good, &[], &[("nbf", json!(exp - 60))], sign)), "TOKEN_INVALID"),
        ("other audience", Some(issue(&hub, &["--subject", "a", "--ttl", "1h", "--audience", "x"])), "TOKEN_AUDIENCE"),
        ("other issuer", Some(forge(&good, &[], &[("iss", json!("me"))], sign)), "TOKEN_INVALID"),
        (
            "other key",
            Some(forge(&good, &[], &[], |message| stranger.sign(message).as_ref().to_vec())),
            "TOKEN_INVALID",
        ),
        ("alg none", Some(forge(&good, &[("alg", json!("none"))], &[], |_| Vec::new())), "TOKEN_INVALID"),
        ("HS256", Some(forge(&good, &[("alg", json!("HS256"))], &[], hmac)), "TOKEN_INVALID"),
        ("other typ", Some(forge(&good, &[("typ", json!("JWT"))], &[], sign)), "TOKEN_INVALID"),
        ("other kid", Some(forge(&good, &[("kid", json!("me"))], &[], sign)), "TOKEN_INVALID"),
        ("more in its header", Some(forge(&good, &[("jku", json!("http://127.0.0.1/"))], &[], sign)), "TOKEN_INVALID"),
        ("another head", Some(format!("{}.{body}", &head[..head.len() - 4])), "TOKEN_MALFORMED"),
    ];
    cases.extend(of_the_corpus(&good, &sign));
    let before = crate::harness::watching::head(&hub.client().await).await;
    for (case, token, reason) in &cases {
        let client = hub.client_with(token.clone()).await;
        for (call, answer) in one_of_each(&client).await {
            let error = answer.expect_err(&format!("{call} with {case}"));
            assert_eq!((error.code(), error.reason()), (tonic::Code::Unauthenticated, *reason), "{call} with {case}");
        }
    }
    assert_eq!(crate::harness::watching::head(&hub.client().await).await, before, "a refused call changes nothing");

    let log = hub.log.lock().expect("the log").clone();
    assert!(log.contains("rpc"), "the log of this level must show the calls, or it proves nothing");
    for token in cases.iter().filter_map(|(_, token, _)| token.as_ref()).chain([&good, &same]) {
        for part in token.split('.').filter(|part| part.len() > 12) {
            assert!(!log.contains(part), "the log shows a token");
        }
    }
}

#[tokio::test]
async fn two_tokens_are_one_too_many() {
    let hub = Hub::start(Database::Sqlite).await;
    let channel = Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect().await.expect("a connection");
    let mut client = pb::admin_service_client::AdminServiceClient::new(channel);
    let bearer: MetadataValue<_> = format!("Bearer {}", hub.token()).parse().expect("a header");
    for copies in 0..=2 {
        let mut request = tonic::Request::new(pb::ListSigningKeysRequest::default());
        for _ in 0..copies {
            request.metadata_mut().append("authorization", bearer.clone());
        }
        let answer = client
            .list_signing_keys(request)
            .await
            .map(drop)
            .map_err(|status| ClientError::from(status).reason().to_owned());
        let expected = [Err("TOKEN_MISSING".to_owned()), Ok(()), Err("TOKEN_MALFORMED".to_owned())];
        assert_eq!(answer, expected[copies], "{copies} authorization headers");
    }
    // Other schemes are refused too.
    for header in ["Basic YWRtaW46YWRtaW4=", "Bearer", &hub.token()] {
        let mut request = tonic::Request::new(pb::ListSigningKeysRequest::default());
        request.metadata_mut().insert("authorization", header.parse().expect("a header"));
        let error = client.list_signing_keys(request).await.map(drop).map_err(ClientError::from).expect_err("refused");
        assert_eq!(error.reason(), "TOKEN_MALFORMED");
    }
}

#[tokio::test]
async fn a_token_that_is_issued_is_accepted() {
    let hub = Hub::start(Database::Sqlite).await;
    let binding = grant(&hub.client().await, "ci", pb::Role::Admin, NAMESPACE).await;
    let client = hub.client_with(Some(issue(&hub, &["--subject", "ci", "--ttl", "1h"]))).await;
    release(&client, "p", "a: 1").await;
    let log = crate::harness::watching::log(&client).await;
    let (granted, rest) = log.split_first().expect("events");
    assert_eq!((granted.actor.as_str(), binding.creator.as_str()), ("local:admin", "local:admin"));
    assert!(!rest.is_empty() && rest.iter().all(|event| event.actor == "local:ci"), "{log:?}");
}

#[tokio::test]
async fn a_server_of_another_audience_takes_no_tokens_of_this_one() {
    let hub = Hub::start_with(Database::Sqlite, &["--token-audience", "hub-of-team-a"]).await;
    release(&hub.client().await, "p", "a: 1").await;
    let client = hub.client_with(Some(issue(&hub, &["--subject", "ci", "--ttl", "1h"]))).await;
    let answer = client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await;
    assert_eq!(crate::harness::calls::reason(answer), "TOKEN_AUDIENCE");
}

/// Returns what `List` of the health service answers: tonic's client has no such call yet.
async fn listed(channel: tonic::transport::Channel) -> BTreeMap<String, HealthCheckResponse> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct TokenAnswer {
        #[prost(btree_map = "string, message", tag = "1")]
        statuses: BTreeMap<String, HealthCheckResponse>,
    }
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/List");
    let codec = tonic_prost::ProstCodec::<(), TokenAnswer>::default();
    client.unary(tonic::Request::new(()), path, codec).await.expect("an answer").into_inner().statuses
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    use tokio_stream::StreamExt as _;
    let hub = Hub::start(Database::Sqlite).await;
    let channel = Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect().await.expect("a connection");
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "policyhub.v1.PolicyService", "policyhub.v1.SyncService", "policyhub.v1.AdminService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request.clone()).await.expect("an answer").into_inner();
        assert_eq!(answer.status().as_str_name(), "SERVING", "{service:?}");
        let first = health.watch(request).await.expect("a stream").into_inner().next().await;
        assert_eq!(first.expect("a message").expect("a status").status().as_str_name(), "SERVING");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".to_owned() }).await.expect_err("no such service");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut unknown =
        health.watch(HealthCheckRequest { service: "nobody".to_owned() }).await.expect("a stream").into_inner();
    let first = unknown.next().await.expect("a message").expect("a status");
    assert_eq!(first.status().as_str_name(), "SERVICE_UNKNOWN");
    let listed = listed(channel.clone()).await;
    let names: Vec<&str> = listed.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "policyhub.v1.AdminService", "policyhub.v1.PolicyService", "policyhub.v1.SyncService"]);
    assert!(listed.values().all(|answer| answer.status().as_str_name() == "SERVING"), "{listed:?}");

    macro_rules! services {
        ($version:ident) => {{
            use reflection::server_reflection_request::MessageRequest;
            use reflection::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as reflection;
            let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let ask = reflection::ServerReflectionRequest {
                message_request: Some(MessageRequest::ListServices(String::new())),
                ..Default::default()
            };
            let mut answers =
                client.server_reflection_info(tokio_stream::once(ask)).await.expect("a stream").into_inner();
            match answers.next().await.expect("a message").expect("an answer").message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for name in ["policyhub.v1.PolicyService", "policyhub.v1.SyncService", "policyhub.v1.AdminService"] {
            assert!(services.iter().any(|service| service == name), "{services:?}");
        }
    }
}
