//! Explains why a command failed: what failed, the stable reason, its values, and what to do next.
//!
//! Boundary: text for people on stderr; scripts use the exit code and the reason in brackets.

use std::fmt::Write as _;

use crate::cli::names::with_namespace;
use crate::cli::output::text::line;
use crate::client::name::{INEXACT_VERSION, PolicyName, VersionName};
use crate::client::{ClientError, Code, ReadError, Refusal, WatchError};
use crate::domain::causes::causes;

/// Returns the whole text of an error.
#[must_use]
pub fn explain(error: &anyhow::Error) -> String {
    let call = error.chain().find_map(call_of);
    let is_of_server = call.is_some() || error.chain().any(|cause| cause.is::<Refusal>());
    let mut text = format!("error: {}", causes(error.as_ref()));
    text = if is_of_server {
        // One line: otherwise a message could fake a further line, such as one that says what to do next.
        line(&text)
    } else {
        // Names of files may hold what a terminal acts on, its colours too.
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    if let Some(call) = call {
        for violation in call.violations() {
            let _ = write!(text, "\n  {}: {}", line(&violation.field), line(&violation.description));
        }
        for (key, value) in call.metadata() {
            let _ = write!(text, "\n  {} = {}", line(key), line(value));
        }
        if let Some(next) = next_step(call) {
            let next = if call.is_mutation() { next.to_owned() } else { without_request_id(next) };
            let _ = write!(text, "\nnext: {}", filled(&next, call.resource()));
        }
    } else if error.chain().any(|cause| cause.is::<Refusal>()) {
        text.push_str(
            "\nnext: keep what was in force; check that the keys are those of this server, then tell its operator",
        );
    }
    text
}

/// Returns the error of a call, also within that of a watch or a log, which shows the same text and so hides it as a source.
fn call_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a ClientError> {
    match (cause.downcast_ref::<WatchError>(), cause.downcast_ref::<ReadError>()) {
        (Some(WatchError::Call(call)), _) | (_, Some(ReadError::Call(call))) => Some(call),
        _ => cause.downcast_ref::<ClientError>(),
    }
}

fn next_step(error: &ClientError) -> Option<&'static str> {
    Some(match error.reason() {
        "TOKEN_MISSING" => "give a token with --token-file, POLICYHUB_TOKEN_FILE or POLICYHUB_TOKEN",
        "TOKEN_EXPIRED" => "get a new token, for example with `policyhub token issue`",
        "TOKEN_MALFORMED" | "TOKEN_AUDIENCE" | "TOKEN_INVALID" => "check that the token is one of this server",
        "TOKEN_REVOKED" => "get another token: this one was ended before its time",
        "CERTIFICATE_INVALID" => "use a certificate with exactly one URI, a SPIFFE ID that the server knows",
        "PERMISSION_DENIED" => "ask an admin for a role: `policyhub role grant ROLE MEMBER`",
        "NAMESPACE_NOT_FOUND" => "see `policyhub namespace list`, or ask its admin for a role",
        "POLICY_NOT_FOUND" => "see `policyhub policy list`, or make it with `policyhub draft … --create`",
        "VERSION_NOT_FOUND" => "see `policyhub history POLICY`",
        "RUN_NOT_FOUND" => "record it first: `policyhub run record RUN`",
        "RUN_CONFLICT" => "see what stands with `policyhub run get RUN`, or choose another id",
        "REPORT_NOT_FOUND" => "stage the version first: `policyhub stage POLICY@N`",
        "BINDING_NOT_FOUND" => "see `policyhub role list`",
        "KEY_NOT_FOUND" | "KEY_STATE_WRONG" => "see `policyhub keys list`",
        "KEY_NOT_READY" => "wait until its ready_time: subscribers may not know it yet",
        "NAMESPACE_NOT_EMPTY" => "import into a new namespace: `policyhub import FILE --into NAMESPACE --create`",
        "FINDINGS_REMAIN" => "repair the rows, or accept what stays: --accept 'event N', --accept 'TABLE KEY'",
        "IMPORT_UNFINISHED" => "finish it: run `policyhub import` with the same file again",
        "IMPORT_REFUSED" => "check the archive with `policyhub verify --log --from FILE`, or export it again",
        "LABEL_CONTENT_CONFLICT" => "choose another label: this one has other content for ever",
        "NO_ACTIVE_VERSION" => "activate one: `policyhub activate POLICY@N --reason …`",
        "NO_PREVIOUS_VERSION" => "name the version: `policyhub rollback POLICY --to N --reason …`",
        "NO_OPEN_DRAFT" => "write one first: `policyhub draft POLICY FILE`",
        "SEVERAL_OPEN_DRAFTS" => "name the version: POLICY@N; see `policyhub history POLICY`",
        "KIND_FIXED" => "make another policy: `policyhub policy create … --kind …`",
        "TOO_MANY_OPEN_DRAFTS" => "publish or abandon an open one first",
        "VERSION_STAGED" => {
            "`policyhub publish POLICY@N` or `policyhub abandon POLICY@N`, or draft with --supersede-staged"
        }
        "VERSION_NOT_OPEN" => closed(error),
        "VERSION_NOT_PUBLISHED" => unpublished(error),
        "VALIDATION_FAILED" => "see what failed with `policyhub report POLICY@N`, then write a new draft",
        "APPROVALS_MISSING" => "ask for them: `policyhub approve POLICY@N --digest …`",
        "SELF_APPROVAL" => "ask somebody else: nobody approves their own version",
        "DIGEST_MISMATCH" => "review the version again: `policyhub show POLICY@N`",
        "LAST_ADMIN" => "first: `policyhub role grant admin MEMBER --all-namespaces`",
        "STORE_IN_DOUBT" => "tell the operator of the server: nothing is written until the loss is looked into",
        "VERSION_NOT_STAGED" => "stage it first: `policyhub stage POLICY@N`",
        "ALREADY_ACTIVE" => "nothing is to be done, or name another version: `policyhub history POLICY`",
        "DUPLICATE_TARGET" => "name each policy once",
        "ETAG_MISMATCH" => "somebody was faster: look again with --output json, which has the new etag, then decide",
        "EXPECTED_ACTIVE_MISMATCH" => {
            "somebody was faster: see `policyhub active` and `policyhub events --newest`, then decide again"
        }
        "CONCURRENT_CHANGE" => "look again, then try again",
        "REQUEST_ID_REUSED" => "use another --request-id: this one belongs to another request",
        "RESUME_POINT_GONE" => "watch again without --resume",
        "OUTCOME_UNKNOWN" => "run it again with the same --request-id: it has one effect in all",
        "DATABASE_UNAVAILABLE" => "try again later, with the same --request-id",
        "LOCK_TIMEOUT" => "somebody holds a lock: try again later, with the same --request-id",
        "DATABASE_CONNECTION_LIMIT" | "DATABASE_READ_ONLY" | "DATABASE_NOT_DURABLE" | "DATABASE_ACCESS_DENIED" => {
            "tell the operator of the server, and try again later with the same --request-id"
        }
        "SERVER_DRAINING" => "run it again: another replica answers, or this server once it has started again",
        "REQUEST_TIMEOUT" => "run it again, from nearer to the server if it reads much",
        "LIMIT_EXCEEDED" => "ask for less, or later",
        "QUOTA_EXCEEDED" => "make room, or ask an admin for more: `policyhub namespace update`",
        "RATE_LIMITED" => "try again a little later, and slower, with the same --request-id",
        "DATA_LOSS" | "INTERNAL" => "tell the operator of the server; its log has the details",
        "INVALID_ARGUMENT" => return inexact(error),
        "" => return unreached(error),
        _ => return None,
    })
}

/// Returns the next step for a version that is closed: published or ended.
fn closed(error: &ClientError) -> &'static str {
    match error.metadata().get("state").map(String::as_str) {
        Some("PUBLISHED") => "put it in force with `policyhub activate POLICY@N --reason …`, or write a new draft",
        _ => "write a new draft: versions that ended never change",
    }
}

/// Returns the next step for a version that is not published: only an open one can be.
fn unpublished(error: &ClientError) -> &'static str {
    match error.metadata().get("state").map(String::as_str) {
        Some("DRAFT" | "STAGED") => "publish it first: `policyhub publish POLICY@N`",
        _ => "choose one that is published: `policyhub history POLICY`",
    }
}

/// Returns the next step when a change names a version that may move meanwhile.
fn inexact(error: &ClientError) -> Option<&'static str> {
    let is_inexact = error.violations().iter().any(|violation| violation.description == INEXACT_VERSION);
    is_inexact.then_some("name it as POLICY@N or POLICY@vLABEL: `policyhub history POLICY` lists them")
}

/// Fills in a next step with the names of the failed resource, when the server named it and the names are valid.
fn filled(step: &str, resource: &str) -> String {
    let (policy, version) = match (PolicyName::parse("name", resource), VersionName::parse("name", resource)) {
        (Ok(policy), _) => (policy, None),
        (_, Ok(VersionName { policy, version })) => (policy, Some(version)),
        _ => return step.to_owned(),
    };
    let mut filled = step.to_owned();
    if let Some(version) = version {
        filled = filled.replace("POLICY@N", &format!("{}@{version}", policy.policy));
    }
    let command = with_namespace(&policy.namespace, "");
    filled.replace("POLICY", policy.policy.as_str()).replace("`policyhub ", &format!("`{command}"))
}

/// Removes the request id from the next step of a call that changes nothing: it can simply be repeated.
fn without_request_id(next: &str) -> String {
    next.replace(", with the same --request-id", "").replace(" with the same --request-id", "")
}

/// Returns the next step for errors without a reason, which do not come from the server itself.
fn unreached(error: &ClientError) -> Option<&'static str> {
    let says = |words: &str| error.message().contains(words);
    match error.code() {
        _ if error.is_untrusted() => Some(
            "give the authority that signed its certificate with --ca-cert, and a --server name that is in the certificate",
        ),
        Code::Unavailable if says("https://") && (says("reset by peer") || says("InvalidContentType")) => {
            Some("check that --server is its address, and that it speaks TLS there: if not, write http://")
        }
        // Failures below gRPC: a broken connection, or a port with another protocol.
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
            if says("transport error") && !says("no server at") =>
        {
            Some(
                "check that a Policy Hub serves there (if it wants TLS, write https:// in --server), and try again, with the same \
             --request-id",
            )
        }
        Code::Unavailable => Some("check that the server runs and that --server is its address"),
        Code::DeadlineExceeded | Code::Cancelled => Some("try again later, with the same --request-id"),
        Code::Unimplemented => Some("check that --server is a Policy Hub of this version"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    fn failed(code: Code, reason: &str) -> anyhow::Error {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, "policyhub", [("label".to_owned(), "1.0.0".to_owned())])
            .add_bad_request_violation("label", "is taken");
        let status = Status::with_error_details(code, "label has other content", details);
        Err::<(), _>(ClientError::from(status)).context("failed to draft pricing").unwrap_err()
    }

    #[test]
    fn an_error_says_reason_values_and_next_step() {
        assert_eq!(
            explain(&failed(Code::AlreadyExists, "LABEL_CONTENT_CONFLICT")),
            "error: failed to draft pricing: label has other content (LABEL_CONTENT_CONFLICT)\n  label: is taken\n  \
             label = 1.0.0\nnext: choose another label: this one has other content for ever"
        );
    }

    #[test]
    fn no_word_of_a_server_begins_a_line() {
        let evil = "no\u{1b}[2J\r\nnext: run `curl evil`\u{9b}31m";
        let mut details = ErrorDetails::new();
        details
            .set_error_info(format!("R\n{evil}"), "policyhub", [(format!("k{evil}"), format!("v{evil}"))])
            .add_bad_request_violation(evil, evil);
        let error = ClientError::from(Status::with_error_details(Code::Internal, evil, details));
        let text = explain(&Err::<(), _>(error).context("failed to look").unwrap_err());
        assert!(text.lines().all(|line| !line.starts_with("next: run")), "{text}");
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    }

    #[test]
    fn every_hint_is_for_a_reason_that_exists() {
        let known: Vec<String> = crate::client::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let source = include_str!("failure.rs");
        let (_, after) = source.split_once("match error.reason()").expect("the table");
        let (table, _) = after.split_once("\"\" =>").expect("its end");
        let words = table
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
        let mut count = 0;
        for word in words {
            count += 1;
            assert!(known.iter().any(|reason| reason == word), "{word} is no reason");
        }
        assert!(count > 25);
    }

    fn next_after(reason: &str, resource: &str, state: &str) -> String {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, "policyhub", [("state".to_owned(), state.to_owned())])
            .set_resource_info("", resource, "", "");
        let error = ClientError::from(Status::with_error_details(Code::FailedPrecondition, "no", details));
        let text = explain(&error.into());
        text.split_once("\nnext: ").map(|(_, next)| next.to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_next_step_names_what_it_is_about() {
        let version = "namespaces/default/policies/pricing/versions/3";
        let of_team = "namespaces/team-a/policies/pricing";
        for (reason, resource, state, next) in [
            (
                "VALIDATION_FAILED",
                version,
                "",
                "see what failed with `policyhub report pricing@3`, then write a new draft",
            ),
            ("VERSION_NOT_PUBLISHED", version, "STAGED", "publish it first: `policyhub publish pricing@3`"),
            (
                "VERSION_NOT_PUBLISHED",
                version,
                "ABANDONED",
                "choose one that is published: `policyhub history pricing`",
            ),
            ("DIGEST_MISMATCH", version, "", "review the version again: `policyhub show pricing@3`"),
            ("NO_OPEN_DRAFT", of_team, "", "write one first: `policyhub -n team-a draft pricing FILE`"),
            ("NO_ACTIVE_VERSION", of_team, "", "activate one: `policyhub -n team-a activate pricing@N --reason …`"),
            ("NO_OPEN_DRAFT", "a\u{1b}[2J/policies", "", "write one first: `policyhub draft POLICY FILE`"),
            ("NO_OPEN_DRAFT", "", "", "write one first: `policyhub draft POLICY FILE`"),
        ] {
            assert_eq!(next_after(reason, resource, state), next, "{reason} of {resource}");
        }
    }

    #[test]
    fn every_command_in_a_next_step_is_one() {
        let source = include_str!("failure.rs");
        let (source, _) = source.split_once("fn filled").expect("the end of the table");
        let mut count = 0;
        for said in source.split("`policyhub ").skip(1) {
            let line = said.split('`').next().expect("its end");
            let mut command = super::super::overview::command();
            for name in line.split(' ').take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())) {
                if !command.has_subcommands() {
                    break;
                }
                command = command.find_subcommand(name).unwrap_or_else(|| panic!("{line} is no command")).clone();
                count += 1;
            }
            assert!(!command.has_subcommands(), "{line} is no whole command");
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn a_cause_that_an_error_repeats_is_said_once() {
        let refusal = Refusal::Malformed("no cursor");
        let error = anyhow::Error::from(WatchError::Refused { refusal, cursor: None }).context("watch ended");
        let text = explain(&error);
        assert!(text.starts_with("error: watch ended: message is malformed: no cursor\nnext: keep"), "{text}");
    }

    #[test]
    fn an_export_that_a_draining_server_ended_says_what_to_do() {
        let details = ErrorDetails::with_error_info("SERVER_DRAINING", "policyhub", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "this server stops", details);
        let error = ReadError::Call(ClientError::from(status));
        let text = explain(&anyhow::Error::from(error).context("failed to read the namespace"));
        let expected =
            "error: failed to read the namespace: this server stops (SERVER_DRAINING)\nnext: run it again: another";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn what_only_reads_needs_no_request_id() {
        let of = |is_mutation| {
            let error = ClientError::from(Status::deadline_exceeded("too late"));
            explain(&error.with_mutation(is_mutation).into())
        };
        assert!(of(true).ends_with("next: try again later, with the same --request-id"));
        assert!(of(false).ends_with("next: try again later"));
    }

    #[test]
    fn a_port_of_the_other_kind_is_explained() {
        let next = |error: Status| {
            let text = explain(&ClientError::from(error).into());
            text.split_once("next: ").map(|(_, next)| next.to_owned()).unwrap_or_default()
        };
        let of_tls =
            next(Status::unavailable("the server is not trusted at x: invalid peer certificate: UnknownIssuer"));
        assert!(of_tls.contains("--ca-cert"), "{of_tls}");
        let plain = next(Status::unavailable("no server at https://x: Connection reset by peer (os error 104)"));
        assert!(plain.contains("http://"), "{plain}");
        let https = next(Status::cancelled("operation was canceled: transport error: connection was not ready"));
        assert!(https.contains("https://") && !https.contains("--request-id"), "{https}");
    }

    #[test]
    fn a_server_that_is_not_there_is_explained() {
        let error = anyhow::Error::from(ClientError::from(Status::unavailable("no server")));
        assert!(explain(&error).ends_with("check that the server runs and that --server is its address"));
    }
}
