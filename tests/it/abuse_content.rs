//! Hostile contents, schemas and texts through the API: each is refused with a clear reason or accepted, in time, and the server keeps
//! working.
//!
//! Inputs that make a parser fail are in `src/checks/`; these tests show that the whole server handles all of them.

use std::future::Future;

use policyhub::client::pb::PolicyKind::{self, Json, Yaml};
use policyhub::client::{CONTENT_MAX_BYTES, Client, ClientError, pb};
use tonic::Code;

use crate::abuse::{resident_kib, unharmed};
use crate::harness::calls::{
    NAMESPACE, create, draft, draft_of_its_kind, draft_request, policy, publish_request, refusal, release,
    rollback_request, try_activate, version,
};
use crate::harness::on_both_databases;
use crate::harness::watching::DEADLINE;

const MIB: usize = CONTENT_MAX_BYTES;
/// The largest answer of a diff: a MiB of lines removed, a MiB added, and the new document. It is the default limit of a client.
const DIFFERENCE_MAX_BYTES: usize = 4 * MIB;

/// How much a table of cases may make a server grow, in KiB. Checking a MiB of small values takes tens of MiB, in several threads at once,
/// and an allocator returns little of it.
const GROWTH_MAX_KIB: u64 = 192 * 1024;

/// Awaits a call and fails after the deadline of the tests. Checks that take over 10 s end by themselves, and then fail the case.
async fn ends<T>(name: &str, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| panic!("{name} hangs"))
}

/// Returns a MiB of one repeated text.
fn full(unit: &str) -> Vec<u8> {
    unit.repeat(MIB / unit.len()).into_bytes()
}

type Content = (&'static str, PolicyKind, Vec<u8>, bool);

fn numbered(line: &dyn Fn(usize) -> String, count: usize) -> Vec<u8> {
    (0..count).map(line).collect::<String>().into_bytes()
}

/// Returns JSON contents, and whether each passes its check.
fn json_contents() -> Vec<Content> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let object = |key: &str, value: &str| format!("{{\"{key}\":{value}}}").into_bytes();
    vec![
        ("a MiB of [", Json, full("["), false),
        ("a MiB of {", Json, full("{\"a\":"), false),
        ("lists 64 deep", Json, nested(64), true),
        ("lists 65 deep", Json, nested(65), false),
        ("a number of a MiB", Json, full("9"), false),
        ("a fraction of 500 KiB", Json, format!("0.{}", "3".repeat(MIB / 2)).into_bytes(), true),
        ("an exponent without end", Json, b"1e999999999999999999".to_vec(), false),
        ("an exponent of nothing", Json, b"1e-999999999999999999".to_vec(), true),
        ("a key of a MiB", Json, object(&"k".repeat(MIB - 10), "1"), true),
        ("a key of escapes", Json, object(&"\\u00e9".repeat(MIB / 7), "1"), true),
        (
            "90,000 keys",
            Json,
            [b"{".to_vec(), numbered(&|at| format!("\"{at:x}\":1,"), 90_000), b"\"z\":1}".to_vec()].concat(),
            true,
        ),
        (
            "a key twice, far apart",
            Json,
            [b"{\"z\":1,".to_vec(), numbered(&|at| format!("\"{at:x}\":1,"), 90_000), b"\"z\":1}".to_vec()].concat(),
            false,
        ),
        ("bytes that are not UTF-8", Json, [b"{\"a\":\"".to_vec(), vec![0xff; 1_000], b"\"}".to_vec()].concat(), false),
        ("NUL", Json, b"{\"a\":\"\0\"}".to_vec(), false),
        ("a byte order mark", Json, b"\xef\xbb\xbf{}".to_vec(), false),
        ("half a surrogate", Json, br#"{"a":"\ud800"}"#.to_vec(), false),
        ("a MiB of space", Json, full(" "), false),
        ("a MiB of quotes", Json, full("\""), false),
        ("a MiB of backslashes", Json, full("\\"), false),
        ("half a million elements", Json, [b"[".to_vec(), b"1,".repeat(MIB / 2 - 2), b"1]".to_vec()].concat(), true),
    ]
}

/// Returns YAML contents, and whether each passes its check.
fn yaml_contents() -> Vec<Content> {
    let doubling = |levels: usize| {
        let first = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        let level = |at: usize| format!("l{at}: &l{at} [{}]\n", vec![format!("*l{}", at - 1); 9].join(", "));
        (first + &(1..levels).map(level).collect::<String>()).into_bytes()
    };
    vec![
        ("aliases of aliases", Yaml, doubling(10), false),
        ("an alias of itself", Yaml, b"a: &a [*a]\n".to_vec(), false),
        (
            "an alias of a MiB, many times",
            Yaml,
            format!("a: &a {}\nb: [{}*a]\n", "x".repeat(MIB / 2), "*a, ".repeat(1_000)).into_bytes(),
            false,
        ),
        ("90,000 anchors", Yaml, numbered(&|at| format!("- &{at:x} x\n"), 90_000), true),
        ("90,000 aliases", Yaml, [b"- &a x\n".to_vec(), b"- *a\n".repeat(90_000)].concat(), true),
        ("a merge key", Yaml, b"a: &a {b: 1}\nc: {<<: *a}\n".to_vec(), false),
        ("a MiB of - ", Yaml, full("- "), false),
        ("a MiB of ? ", Yaml, full("? "), false),
        ("a MiB of [", Yaml, full("["), false),
        ("a MiB of &", Yaml, full("&"), false),
        ("a MiB of *", Yaml, full("*"), false),
        ("a MiB of !", Yaml, full("!"), false),
        ("a MiB of tabs", Yaml, full("\t"), false),
        ("a MiB of a: ", Yaml, full("a: "), false),
        ("a MiB of comments", Yaml, full("#\n"), false),
        ("a MiB of documents", Yaml, full("---\n"), false),
        ("a MiB of directives", Yaml, full("%TAG !a! tag:a:\n"), false),
        ("indents that grow", Yaml, numbered(&|at| format!("{}a:\n", " ".repeat(at)), 1_400), false),
        ("a block of a MiB", Yaml, [b"a: |\n".to_vec(), b"  x\n".repeat(MIB / 4 - 2)].concat(), true),
        ("a folded text of a MiB", Yaml, [b"a: >\n".to_vec(), b"  x\n\n".repeat(MIB / 5 - 2)].concat(), true),
        ("a tag of a language", Yaml, b"!!python/object/apply:os.system ['true']\n".to_vec(), false),
        ("YAML that begins with a mark", Yaml, b"\xef\xbb\xbfa: 1\n".to_vec(), true),
        ("YAML that is not UTF-8", Yaml, b"a: \xff\xfe\n".to_vec(), false),
        ("YAML in UTF-16", Yaml, b"\xff\xfea\0:\0 \x001\0".to_vec(), false),
    ]
}

/// Returns schemas and contents, and whether the content passes; the schema may be refused instead.
fn schemas() -> Vec<(&'static str, String, Vec<u8>)> {
    let chain = |of: &dyn Fn(usize) -> String, levels: usize| -> String {
        (1..levels).map(|at| format!(",\"d{at}\":{}", of(at - 1))).collect()
    };
    let refs = |at| format!("{{\"$ref\":\"#/$defs/d{at}\"}}");
    let defs = |more: String, last: usize| format!("{{\"$defs\":{{\"d0\":{{}}{more}}},\"$ref\":\"#/$defs/d{last}\"}}");
    let long = format!("\"{}!\"", "a".repeat(500_000)).into_bytes();
    let keys = |count: usize| {
        let members: Vec<String> = (0..count).map(|at| format!("\"k{at}\":1")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    };
    let patterns: Vec<String> = (0..100).map(|at| format!("\"^k.*{at}$\":{{}}")).collect();
    let objects = (0..40_000).map(|at| format!("{{\"a\":{at}}}")).collect::<Vec<_>>().join(",");
    vec![
        ("nested repeats", r#"{"pattern":"^(a+)+$"}"#.to_owned(), long.clone()),
        ("alternatives that overlap", r#"{"pattern":"^(a|a|aa)*$"}"#.to_owned(), long.clone()),
        ("repeats of repeats", r#"{"pattern":"((a{100}){100}){100}"}"#.to_owned(), b"\"a\"".to_vec()),
        ("look-around", r#"{"pattern":"(?=(a+))\\1"}"#.to_owned(), b"\"a\"".to_vec()),
        ("a reference to itself", r##"{"$ref":"#"}"##.to_owned(), b"1".to_vec()),
        ("a reference to itself within all", r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##.to_owned(), b"1".to_vec()),
        ("references 3,000 deep", defs(chain(&refs, 3_000), 2_999), b"1".to_vec()),
        ("a dynamic reference to itself", r##"{"$dynamicRef":"#"}"##.to_owned(), b"[1]".to_vec()),
        ("a reference out", r#"{"$ref":"http://127.0.0.1:1/x"}"#.to_owned(), b"1".to_vec()),
        ("a reference to a file", r#"{"$ref":"file:///etc/passwd"}"#.to_owned(), b"1".to_vec()),
        ("lists 60 deep", format!("{}{{}}{}", "{\"items\":".repeat(60), "}".repeat(60)), b"[[[[1]]]]".to_vec()),
        ("100 patterns over 1,000 keys", format!("{{\"patternProperties\":{{{}}}}}", patterns.join(",")), keys(1_000)),
        ("unique among 40,000", r#"{"uniqueItems":true}"#.to_owned(), format!("[{objects}]").into_bytes()),
        ("a schema of 250 KiB", format!("{{\"enum\":[{}1]}}", "1,".repeat(125_000)), b"2".to_vec()),
        ("a schema over its size", format!("{{\"$comment\":\"{}\"}}", "x".repeat(260_000)), b"1".to_vec()),
        ("a schema twice", r#"{"type":"object","type":"array"}"#.to_owned(), b"1".to_vec()),
    ]
}

/// Returns pairs of contents that differ as much as possible, each in another way.
fn differences() -> Vec<(&'static str, PolicyKind, Vec<u8>, Vec<u8>)> {
    let list = |element: &str, count: usize| format!("[{}{element}]", format!("{element},").repeat(count)).into_bytes();
    let counted = |from: usize| {
        let elements: Vec<String> = (from..from + 50_000).map(|at| at.to_string()).collect();
        format!("[{}]", elements.join(",")).into_bytes()
    };
    let key = |letter: &str| format!("{{\"{}\":1}}", letter.repeat(MIB / 2)).into_bytes();
    let lines = |letter: &str| numbered(&|at| format!("{letter}{at}: {}\n", "x".repeat(44)), 19_000);
    let half = |unit: &str| unit.repeat(MIB / 2 / unit.len()).into_bytes();
    vec![
        ("no line in common", Yaml, lines("a"), lines("b")),
        ("no short line in common", Yaml, half("# a\n"), half("# b\n")),
        (
            "lines in another order",
            Yaml,
            numbered(&|at| format!("a{at}: 1\n"), 20_000),
            numbered(&|at| format!("a{}: 1\n", 19_999 - at), 20_000),
        ),
        ("every other line", Yaml, half("#\n#a\n"), half("#\n#b\n")),
        ("one line", Json, list("1", 200_000), list("2", 200_000)),
        ("nothing but line ends", Yaml, half("\n"), half("\r\n")),
        ("keys of half a MiB", Json, key("k"), key("l")),
        ("an element less at the front", Json, list("1", 100_000), list("1", 99_999)),
        ("other elements", Json, counted(0), counted(1)),
    ]
}

/// Checks that a call is answered, or refused with a clear reason.
async fn answered<T: std::fmt::Debug>(what: &str, call: impl Future<Output = Result<T, ClientError>>) {
    let answer = ends(what, call).await;
    if answer.is_err() {
        let error = refusal(answer);
        assert!(!matches!(error.code(), Code::Unavailable | Code::DataLoss), "{what}: {error:?}");
    }
}

/// Sends a number wherever a request takes a cursor.
async fn places(client: &Client, number: i64) {
    let at = pb::get_active_request::At::Cursor(pb::Cursor::of_revision(number));
    let get = pb::GetActiveRequest { name: policy("p"), at: Some(at), ..Default::default() };
    answered(&format!("at revision {number}"), client.get_active(get)).await;
    for page_size in [i32::MIN, -1, i32::MAX] {
        let parent = NAMESPACE.to_owned();
        let list = pb::ListEventsRequest {
            parent,
            after: Some(pb::Cursor::of_revision(number)),
            page_size,
            ..Default::default()
        };
        answered(&format!("{page_size} events after {number}"), client.list_events(list)).await;
    }
    for epoch in [i64::MIN, -1, 0, 1, i64::MAX] {
        let resume = Some(pb::Cursor { epoch, revision: number, ..Default::default() });
        let watch = pb::WatchActiveRequest {
            targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), resume, ..Default::default() }],
            ..Default::default()
        };
        let opened = async { client.watch_active(watch).await.map(drop) };
        answered(&format!("resume at ({epoch}, {number})"), opened).await;
    }
}

/// Sends a number wherever a request takes a version or an etag.
async fn numbers(client: &Client, number: i64) {
    answered(&format!("version {number}"), try_activate(client, "p", number, Some(number))).await;
    let draft = pb::DraftRequest { base_version: number, validate_only: true, ..draft_request("p", "a: 1") };
    answered(&format!("base version {number}"), client.draft(draft)).await;
    let rollback = pb::RollbackRequest { validate_only: true, ..rollback_request("p", number) };
    answered(&format!("roll back to {number}"), client.rollback(rollback)).await;
    for etag in [number.to_string(), format!("{number}0000000000"), format!("+{number}")] {
        let stage = pb::StageRequest { name: version("p", 1), etag, validate_only: true, ..Default::default() };
        answered(&format!("etag {number}"), client.stage(stage)).await;
    }
}

async fn times(client: &Client, time: prost_types::Timestamp) {
    let at = Some(pb::get_active_request::At::Time(time));
    let get = pb::GetActiveRequest { name: policy("p"), at, ..Default::default() };
    answered(&format!("at {time:?}"), client.get_active(get)).await;
    let filter = format!("time >= \"{time}\"");
    let list = pb::ListEventsRequest { parent: NAMESPACE.to_owned(), filter, ..Default::default() };
    answered(&format!("events from {time:?}"), client.list_events(list)).await;
}

on_both_databases! {
    /// Given hostile contents, a failed check has a position, nothing is INTERNAL, and the server's memory stays bounded.
    async fn hostile_contents(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        draft(&client, "good", "a: 1").await;
        let before = resident_kib(&hub);
        for (at, (name, kind, content, passes)) in [json_contents(), yaml_contents()].concat().into_iter().enumerate() {
            let id = format!("p-{at}");
            create(&client, &id, kind, pb::PolicySettings::default()).await;
            let request = pb::DraftRequest { content: content.into(), ..draft_of_its_kind(&id, "") };
            ends(name, client.draft(request)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let stage = pb::StageRequest { name: version(&id, 1), ..Default::default() };
            let staged = ends(name, client.stage(stage)).await;
            if passes {
                staged.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            } else {
                let error = refusal(staged);
                assert_eq!((error.code(), error.reason()), (Code::FailedPrecondition, "VALIDATION_FAILED"), "{name}");
                assert_eq!(error.metadata()["check"], "parse", "{name}: {error:?}");
            }
        }
        draft(&client, "good", "a: 2").await;
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
    }

    /// Given hostile schemas, each is refused when it is set, or ends in time as a check.
    async fn hostile_schemas(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        draft(&client, "good", "a: 1").await;
        let before = resident_kib(&hub);
        for (at, (name, json_schema, content)) in schemas().into_iter().enumerate() {
            let id = format!("p-{at}");
            let settings = pb::PolicySettings { json_schema, ..Default::default() };
            let given = pb::Policy { kind: Json.into(), settings: Some(settings), ..Default::default() };
            let request = pb::CreatePolicyRequest { parent: NAMESPACE.to_owned(), policy_id: id.clone(), policy: Some(given), ..Default::default() };
            if let Err(error) = ends(name, client.create_policy(request)).await {
                let error = refusal::<()>(Err(error));
                assert_eq!((error.code(), error.reason()), (Code::InvalidArgument, "INVALID_SCHEMA"), "{name}: {error:?}");
                continue;
            }
            let request = pb::DraftRequest { content: content.into(), ..draft_of_its_kind(&id, "") };
            client.draft(request).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            if let Err(error) = ends(name, client.publish(publish_request(&id, 1))).await {
                let error = refusal::<()>(Err(error));
                assert_eq!(error.reason(), "VALIDATION_FAILED", "{name}: {error:?}");
            }
        }
        draft(&client, "good", "a: 2").await;
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
    }

    /// Given contents that differ as much as possible, a diff ends and fits into the answer that any client accepts.
    async fn hostile_differences(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        draft(&client, "good", "a: 1").await;
        let before = resident_kib(&hub);
        for (at, (name, kind, from, to)) in differences().into_iter().enumerate() {
            let id = format!("p-{at}");
            create(&client, &id, kind, pb::PolicySettings::default()).await;
            for content in [from, to] {
                let request = pb::DraftRequest { content: content.into(), ..draft_of_its_kind(&id, "") };
                client.draft(request).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            }
            let request = pb::DiffVersionsRequest { base: version(&id, 1), other: version(&id, 2) };
            let found = ends(name, client.diff_versions(request)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let size = found.unified.len() + found.json_patch.len();
            assert!((size > 0 || found.too_large) && size < DIFFERENCE_MAX_BYTES, "{name}: {size} bytes");
        }
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
    }

    /// Given extreme numbers in every numeric field, each call is answered or refused.
    async fn numbers_at_their_ends(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        for number in [i64::MIN, i64::MIN + 1, -1, 0, 1, 1 << 53, i64::MAX - 1, i64::MAX] {
            places(&client, number).await;
            numbers(&client, number).await;
            for nanos in [i32::MIN, -1, 0, 999_999_999, i32::MAX] {
                times(&client, prost_types::Timestamp { seconds: number, nanos }).await;
            }
        }
    }

    /// Given malformed texts in every text field, each call is answered or refused.
    async fn words_that_are_none(hub: Hub) {
        let client = hub.client().await;
        let long = "x".repeat(60_000);
        for word in ["\0", "\u{202e}", &long, "%00", "' OR 1=1; --", "${jndi:ldap://x}", "../../etc/passwd"] {
            let draft = |word: &str| pb::DraftRequest { label: word.to_owned(), ..draft_request("p", "a: 1") };
            refusal(ends("draft", client.draft(draft(word))).await);
            let draft = pb::DraftRequest { request_id: format!("{word} "), ..draft_request("p", "a: 1") };
            refusal(ends("draft", client.draft(draft)).await);
            let get = pb::GetPolicyRequest { name: word.to_owned() };
            refusal(ends("get", client.get_policy(get)).await);
            let list = pb::ListPoliciesRequest {
                parent: NAMESPACE.to_owned(),
                page_token: word.to_owned(),
                ..Default::default()
            };
            refusal(ends("list", client.list_policies(list)).await);
            let get =
                pb::GetActiveRequest { name: policy("p"), if_digest: word.to_owned(), ..Default::default() };
            refusal(ends("get", client.get_active(get)).await);
            let stage = pb::StageRequest { name: version("p", 1), etag: word.to_owned(), ..Default::default() };
            refusal(ends("stage", client.stage(stage)).await);
            let note = pb::DraftRequest { change_note: word.to_owned(), ..draft_request("p", "a: 1") };
            answered(word, client.draft(note)).await;
        }
    }
}
