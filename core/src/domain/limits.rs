//! Every bound of the product, with its unit last in the name.
//!
//! The server at publish, the server's reader and the client use these same constants: what one side accepts, no other
//! side refuses. Config may lower some of them, never raise them.

use std::time::Duration;

/// Largest content of a version.
pub const CONTENT_MAX_BYTES: usize = 1024 * 1024;
/// Most files of a content. More: each check compares as many paths. Fewer: a library of Rego modules is several policies.
pub const CONTENT_FILES_MAX: usize = 256;
/// Longest path of a file of a content: what the header of a tar holds, at least.
pub const CONTENT_PATH_MAX_BYTES: usize = 200;
/// Largest change note, reason or description.
pub const NOTE_MAX_BYTES: usize = 4 * 1024;
/// Longest label.
pub const LABEL_MAX_CHARS: usize = 64;
/// Longest media type.
pub const CONTENT_TYPE_MAX_CHARS: usize = 128;
/// Longest `request_id`.
pub const REQUEST_ID_MAX_CHARS: usize = 64;
/// Longest member of a role binding: a group of an issuer, or a SPIFFE ID.
pub const MEMBER_MAX_CHARS: usize = 2_048;
/// Most role bindings of a namespace, and of all namespaces together those that hold in all.
pub const ROLE_BINDINGS_PER_NAMESPACE_MAX: usize = 1_000;
/// Longest id of a namespace or policy.
pub const ID_MAX_CHARS: usize = 63;
/// Most versions of one PublishVersions. More: the namespace is locked, and with SQLite every other one waits, for longer than a
/// second. Fewer: a large release takes more calls.
pub const PUBLISH_VERSIONS_MAX: usize = 100;
/// Most content of the versions of one PublishVersions. More: their checks may take longer than a caller waits.
pub const PUBLISH_VERSIONS_CONTENT_MAX_BYTES: i64 = 16 * 1024 * 1024;
/// Most bytes of the published versions in one answer of PublishVersions: with 100 refusals of the largest kind, names included, it
/// stays below `MESSAGE_MAX_BYTES`.
pub const PUBLISH_VERSIONS_ANSWER_MAX_BYTES: usize = 1536 * 1024;
/// Most targets of one activation.
pub const ACTIVATION_TARGETS_MAX: usize = 100;
/// Largest file of an active set: room for the most policies, each with the longest id and label.
pub const ACTIVE_RELEASES_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Most content of one activation: it travels as one message.
pub const ACTIVATION_CONTENT_MAX_BYTES: i64 = 16 * 1024 * 1024;
/// Number of entries of a schedule.
pub const SCHEDULE_ENTRIES_MAX: usize = 8;
/// Number of schedules of a namespace that are pending or suspended.
pub const SCHEDULES_OPEN_PER_NAMESPACE_MAX: u64 = 200;
/// Days until an entry that is due once. More: years that calendars can't tell; fewer: dates that people mean.
pub const SCHEDULE_AHEAD_MAX_DAYS: i64 = 365_000;
/// Longest name of a time zone, in characters. The longest of the IANA database has 32.
pub const TIME_ZONE_MAX_CHARS: usize = 64;
/// Most policies of a namespace.
pub const POLICIES_PER_NAMESPACE_MAX: u64 = 10_000;
/// Most requirements of a version.
pub const REQUIRES_MAX: usize = 64;
/// Most guardrails of a namespace, and of the store.
pub const GUARDRAILS_MAX: usize = 100;
/// Longest expression of a guardrail.
pub const GUARDRAIL_EXPRESSION_MAX_BYTES: usize = 4 * 1024;
/// Most nodes of a guardrail's expression once its macros are expanded.
pub const GUARDRAIL_EXPRESSION_MAX_NODES: usize = 1_000;
/// Deepest nesting of a guardrail's expression.
pub const GUARDRAIL_EXPRESSION_MAX_DEPTH: usize = 200;
/// Longest message of a guardrail.
pub const GUARDRAIL_MESSAGE_MAX_BYTES: usize = 1024;
/// Longest pattern of a guardrail for the values that it looks at.
pub const GUARDRAIL_POINTER_MAX_BYTES: usize = 1024;
/// Most text of a set of guardrails: each check of a version sends it to a worker, and each change writes it to the log.
pub const GUARDRAILS_MAX_BYTES: usize = 128 * 1024;
/// Longest SemVer requirement on another policy. More: the manifest of a version with the most requirements gets large.
pub const VERSION_REQ_MAX_CHARS: usize = 64;
/// Most requirements of other policies that one refusal names; it counts the others. More: the error does not fit into trailers.
pub const BROKEN_REQUIREMENTS_NAMED_MAX: usize = 10;
/// Most names of members that hold references.
pub const REFERENCE_KEYS_MAX: usize = 16;
/// Longest name of a member that holds references.
pub const REFERENCE_KEY_MAX_BYTES: usize = 128;
/// Most references of a content. More: each check takes longer to resolve them.
pub const REFERENCES_MAX: usize = 2_000;
/// Most other policies that a content refers to: the active version of each is read when it is checked.
pub const REFERENCED_POLICIES_MAX: usize = 32;
/// Most content of the other policies that a content refers to. More: each check parses, and holds in memory, as much.
pub const REFERENCED_CONTENT_MAX_BYTES: i64 = 4 * 1024 * 1024;
/// Most annotations of a version.
pub const ANNOTATIONS_MAX: usize = 64;
/// Longest key of an annotation.
pub const ANNOTATION_KEY_MAX_CHARS: usize = 64;
/// Largest value of an annotation.
pub const ANNOTATION_VALUE_MAX_BYTES: usize = 2 * 1024;
/// Most bytes of all keys and values of a version's annotations. More: each manifest, and so each snapshot of a subscriber, gets larger.
pub const ANNOTATIONS_MAX_BYTES: usize = 4 * 1024;
/// Longest name of who wrote an adopted version.
pub const ADOPTED_AUTHOR_MAX_BYTES: usize = 256;
/// Most bytes of the parameters of a template. More: each manifest, and so each snapshot of a subscriber, gets larger.
pub const TEMPLATE_PARAMETERS_MAX_BYTES: usize = 4 * 1024;
/// Most places of a template: each may take parameters of that size, and the result is held in memory before it is measured.
pub const TEMPLATE_SUBSTITUTIONS_MAX: usize = 256;
/// Longest filter of a list.
pub const FILTER_MAX_BYTES: usize = 4 * 1024;
/// Deepest nesting of parentheses and NOT in a filter.
pub const FILTER_MAX_DEPTH: usize = 16;
/// Most comparisons of a filter: each item that is looked at is compared that often.
pub const FILTER_TERMS_MAX: usize = 64;
/// Items that one list looks through for those of its filter where no index finds them: versions, subscribers, namespaces, denials.
/// More: a call may take longer than its caller waits. Fewer: more calls for what is rare.
pub const ITEMS_SCANNED_MAX: usize = 2_000;
/// Policies that one ListPolicies looks through for those of its filter: for annotations the newest published version of each is
/// read. More: a call may take longer than its caller waits. Fewer: more calls for what is rare.
pub const POLICIES_SCANNED_MAX: usize = 2_000;
/// Most approvals of a version that count at once, and the most that a policy may require.
pub const APPROVALS_PER_VERSION_MAX: usize = 64;
/// Sets how long an approval counts: 7 days. Shorter: reviewers of a slow release are asked twice. Longer: what nobody remembers
/// having read is published on their word.
pub const APPROVAL_TTL_SECONDS: i64 = 7 * 24 * 60 * 60;
/// Most findings of one check of a version: the first ones. More: authors are told of errors that those before them made.
pub const CHECK_FINDINGS_MAX: usize = 20;
/// Bytes of findings after which a report keeps only the first finding of each further check; counted before JSON: each check has one at least.
pub const REPORT_MAX_BYTES: usize = 64 * 1024;
/// Largest JSON Schema of a policy.
pub const SCHEMA_MAX_BYTES: usize = 256 * 1024;
/// Largest page of a list.
pub const PAGE_MAX_ITEMS: u32 = 1_000;
/// Largest page of a list that carries content.
pub const PAGE_FULL_MAX_ITEMS: u32 = 100;
/// Page of a list when the caller does not say.
pub const PAGE_DEFAULT_ITEMS: u32 = 50;
/// Largest text of what differs between two versions, of which an answer has two.
pub const DIFFERENCE_MAX_BYTES: usize = 832 * 1024;
/// Deepest nesting of JSON and YAML.
pub const DOCUMENT_MAX_DEPTH: usize = 64;
/// Largest integer of JSON and YAML, either sign: beyond it readers differ (RFC 8259 §6).
pub const DOCUMENT_MAX_INTEGER: i64 = 9_007_199_254_740_991;
/// Largest message of any RPC's answer: gRPC clients take 4 MiB unless they are told otherwise.
pub const MESSAGE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest protected header of a JWS.
pub const JWS_HEADER_MAX_BYTES: usize = 8 * 1024;
/// Largest payload of a statement, checkpoint or manifest.
pub const STATEMENT_MAX_BYTES: usize = 64 * 1024;
/// Largest message a request may be, beside the content, schema, guardrails or history that it brings.
pub const REQUEST_MAX_BYTES: usize = 64 * 1024;
/// Most bytes that a message may decode to for each of its bytes on the wire, beyond the fixed allowance of its kind. Texts
/// are copied once; an element of two bytes may become hundreds.
pub const MESSAGE_DECODED_PER_BYTE_MAX: u64 = 2;
/// Deepest nesting of messages, and of unknown groups.
pub const MESSAGE_DEPTH_MAX: u32 = 64;
/// Most fields of a request: the largest part of an import has about 3,000.
pub const REQUEST_FIELDS_MAX: u32 = 16 * 1024;
/// Bounds what a request may decode to beyond `MESSAGE_DECODED_PER_BYTE_MAX`: 1,000 short ids of policies are 40 KiB.
pub const REQUEST_DECODED_EXTRA_MAX_BYTES: u64 = 1024 * 1024;
/// Most fields of an answer, or of a message of a stream: the largest page of the log has about 500,000.
pub const ANSWER_FIELDS_MAX: u32 = 512 * 1024;
/// Bounds what an answer may decode to beyond `MESSAGE_DECODED_PER_BYTE_MAX`. More: a hostile server makes a client larger. With the
/// largest message that a client takes, 8 MiB, its buffer and what it decodes to stay below 32 MiB.
pub const ANSWER_DECODED_EXTRA_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Namespaces that one stream may watch: with their cursors they fit into the largest request.
pub const WATCH_TARGETS_MAX: usize = 500;
/// Longest time between two heartbeats that a watch can ask for. Longer: what closes silent connections after a minute, as proxies do, closes a
/// stream that missed a single heartbeat.
pub const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Policies that the watch of one namespace may name.
pub const WATCH_POLICIES_MAX: usize = 1_000;
/// Largest set proof. Never reached by the largest filter in the largest namespace: 10,000 hashes of other policies and 1,000
/// leaves are 395,000 bytes, and the rest is room for keys that agree in many bits.
pub const SET_PROOF_MAX_BYTES: usize = 512 * 1024;
/// Most parts of a set proof: nodes, leaves, hashes and empty subtrees. More: a hostile server makes a client hash for longer.
pub const SET_PROOF_PARTS_MAX: usize = 128 * 1024;
/// Longest id of a subscriber.
pub const SUBSCRIBER_ID_MAX_CHARS: usize = 128;
/// Labels of a subscriber.
pub const SUBSCRIBER_ATTRIBUTES_MAX: usize = 16;
/// Longest key or value of a subscriber's label.
pub const SUBSCRIBER_ATTRIBUTE_MAX_CHARS: usize = 64;
/// Most subscribers whose leases one replica keeps.
pub const SUBSCRIBERS_PER_REPLICA_MAX: usize = 50_000;
/// Most subscribers of one namespace whose leases one replica keeps: a tenant does not use up the room of the others.
pub const SUBSCRIBERS_PER_NAMESPACE_MAX: usize = 20_000;
/// Sets how long the id of a subscriber that is not seen stays its principal's: a day. Shorter: another principal speaks for a
/// runtime that is down over night. Longer: a runtime that has another principal now waits longer for its old id.
pub const SUBSCRIBER_ID_KEPT_SECONDS: i64 = 24 * 60 * 60;
/// Subscriber ids that one principal uses in one namespace at one replica, unless the server's config says something else: a
/// service whose replicas share one identity has fewer, and one caller's made-up ids are not most of what operators see.
pub const SUBSCRIBERS_PER_PRINCIPAL_DEFAULT: u32 = 1_000;
/// Subscribers of one principal in one namespace that are remembered while they are offline, the newest of them. More: one caller
/// fills the table with made-up ids. Fewer: a fleet that is replaced often is forgotten before anybody asks.
pub const SUBSCRIBERS_OFFLINE_PER_PRINCIPAL_MAX: i64 = 1_000;
/// Sets how long a lease holds after it was written. Shorter: a replica that stalls makes its subscribers look gone. Longer:
/// those of a replica that crashed look alive.
pub const LEASE_TTL_SECONDS: i64 = 30;
/// Sets how long a subscriber that is offline is remembered: 7 days.
pub const SUBSCRIBER_OFFLINE_TTL_SECONDS: i64 = 7 * 24 * 60 * 60;
/// Sets how long a client gives one try of a call unless its caller says otherwise. Shorter: clients give up before a server has checked a
/// version. Longer: a call to a server that hangs fails later.
pub const CALL_TIMEOUT_DEFAULT_SECONDS: u64 = 30;
/// Longest wait of GetConvergence.
pub const CONVERGENCE_WAIT_MAX_SECONDS: u64 = 60;
/// Subscribers that GetConvergence names, of those that rejected and of those that are pending.
pub const CONVERGENCE_NAMED_MAX: usize = 20;
/// Principals whose subscribers GetConvergence counts by themselves: those with most that is missing.
pub const CONVERGENCE_PRINCIPALS_MAX: usize = 20;
/// Sets how long a subscriber whose lease ended is still expected. Longer: runtimes that were replaced under other ids hold a
/// pipeline up for longer. Shorter: a fleet that stops at an activation is forgotten before anybody asks.
pub const SUBSCRIBER_GONE_SECONDS: i64 = 10 * 60;
/// Longest id of a run.
pub const RUN_ID_MAX_CHARS: usize = 128;
/// Most policies of a run: those of the largest namespace, which an answer of 2 MiB holds with the longest ids and all else that is
/// said of each.
pub const RUN_POLICIES_MAX: usize = 10_000;
/// Longest message of a run that ended.
pub const RUN_MESSAGE_MAX_CHARS: usize = 500;
/// Runs of one outcome that a list of runs counts. More: the count may take longer than a statement may. Fewer: more callers have to
/// narrow down what they ask for.
pub const RUNS_COUNTED_MAX: i64 = 50_000;
/// Counts, each of a version and an outcome, that a list of runs answers beside its page.
pub const RUN_COUNTS_MAX: usize = 1_000;
/// Runs that one ListRuns looks through for those of its filter where no index finds them. More: a call may take longer than its
/// caller waits. Fewer: more calls for what is rare.
pub const RUNS_SCANNED_MAX: usize = 5_000;
/// Sets how long a `request_id` is remembered: 7 days.
pub const IDEMPOTENCY_TTL_SECONDS: i64 = 7 * 24 * 60 * 60;
/// Longest a token may live from now, and so how long a revocation is remembered: 366 days.
pub const TOKEN_LIFETIME_MAX_SECONDS: i64 = 366 * 24 * 60 * 60;
/// Most groups of a token.
pub const TOKEN_GROUPS_MAX: usize = 200;
/// Most revocations that are remembered at once: each replica holds them in memory.
pub const REVOCATIONS_MAX: u64 = 100_000;
/// Events that one ListEvents looks through for those of its filter where no index finds them: each is verified. More: a call may
/// take longer than its caller waits. Fewer: more calls for what is rare.
pub const EVENTS_SCANNED_MAX: usize = 5_000;
/// Sets how long the check of a log may take, its wait for a turn included: an hour. Shorter: the largest logs are never checked as a
/// whole. Longer: the database keeps what it would remove for as long.
pub const LOG_CHECK_MAX_SECONDS: u64 = 60 * 60;
/// Sets how long one export of rows may hold its snapshot of the database: 15 minutes. Shorter: a large namespace can't be exported over
/// a slow link. Longer: PostgreSQL keeps dead rows, and SQLite its write-ahead log, for as long as a reader is slow.
pub const EXPORT_MAX_SECONDS: u64 = 15 * 60;
/// Findings that the answer to a check of a log names; the others are counted.
pub const FINDINGS_MAX: usize = 100;
/// Findings that the check of a log keeps, and the most that one thaw accepts. More: the event that accepts them, which has a
/// digest of 74 bytes of each, gets long.
pub const FINDINGS_KEPT_MAX: usize = 10_000;
/// Longest line of an archive: a content in base64, or an event with the largest schema of a policy in it.
pub const ARCHIVE_LINE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Largest part of an import: the largest line of an archive fits, and its JSON is never asked for.
pub const IMPORT_REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most items of one part of an import. More: the event that names the rows they wrote gets long.
pub const IMPORT_ITEMS_MAX: usize = 200;
/// Stores a namespace may have come through. Each has its events beside those of the others.
pub const IMPORT_POSITIONS_MAX: i64 = 16;
/// Longest text of a finding: what a hand wrote into a row may be of any length.
pub const FINDING_MAX_CHARS: usize = 256;
/// Denials that the record of a namespace keeps, the newest of them, each with a count of equal ones. More: a team of many callers is
/// remembered for longer. Fewer: a burst of many callers hides what was there before.
pub const DENIALS_PER_NAMESPACE_MAX: usize = 1_000;
/// Different denials that one replica holds until they are written, of one namespace and of all of them.
pub const DENIALS_PENDING_PER_NAMESPACE_MAX: usize = 100;
/// See `DENIALS_PENDING_PER_NAMESPACE_MAX`.
pub const DENIALS_PENDING_MAX: usize = 1_000;
/// Rows of denials that one replica writes at once. With one such write per second it is the most that a flood of refusals makes a
/// replica write.
pub const DENIALS_PER_WRITE_MAX: usize = 100;
/// Lifetime of a checkpoint. Shorter: clients call a short outage stale. Longer: a frozen stream goes unnoticed longer.
pub const CHECKPOINT_TTL_SECONDS: i64 = 15 * 60;
/// Most signing keys that are not revoked: as many as a verifier takes in one key set.
pub const SIGNING_KEYS_MAX: usize = 20;
/// Most revoked keys that a key statement names, the latest ones. Higher: the statement grows beyond `STATEMENT_MAX_BYTES`.
pub const STATED_REVOKED_KEYS_MAX: usize = 200;
/// Most key statements that lead from an old key to the newest one: the last of each key that signed one. Higher: whoever
/// begins with an older key can follow, and each answer that carries them is longer.
pub const KEY_STATEMENTS_MAX: usize = 32;
/// Sets how long a change of keys may take to reach every replica, at most. Nothing depends on a replica having heard of it
/// before. Longer: activations and revocations wait as long.
pub const KEY_SPREAD_SECONDS: i64 = 3;
/// Versions that one event signs again.
pub const RESIGN_BATCH_MAX: usize = 100;
/// Versions that the answer to a revocation names.
pub const REVOKED_VERSIONS_NAMED_MAX: usize = 1_000;
/// Versions beside those in force that one call signs again. More: the call may take longer than its caller waits.
pub const RESIGN_CALL_MAX: usize = 10_000;
/// Largest `metadata.json` of a version folder that is released.
pub const RELEASE_METADATA_MAX_BYTES: usize = 64 * 1024;
/// Largest `delivered.json` of a repository: some 200,000 versions.
pub const RELEASE_STATE_MAX_BYTES: u64 = 64 * 1024 * 1024;
