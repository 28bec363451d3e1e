//! What to do next after a call that failed, by the reason of its error.
//!
//! Boundary: texts for people. `POLICY` and `POLICY@N` in them are replaced by what the call was about (`failure.rs`).

use crate::client::name::INEXACT_VERSION;
use crate::client::{ClientError, Code};

/// Returns what to do after a call that failed; none when nothing is known of the reason.
pub fn next_step(error: &ClientError) -> Option<&'static str> {
    let reason = error.reason();
    Some(match reason {
        "SCHEDULE_STATE_WRONG" => ended_schedule(error),
        "VERSION_NOT_OPEN" => closed(error),
        "VERSION_NOT_PUBLISHED" => unpublished(error),
        "EXPECTED_ACTIVE_MISMATCH" => other_active(error),
        "INVALID_ARGUMENT" => invalid(error),
        "VALIDATION_FAILED" => checks_failed(error),
        "LABEL_CONTENT_CONFLICT" => label_taken(error),
        "" => return unreached(error),
        _ => {
            return of_request(reason)
                .or_else(|| of_name(reason))
                .or_else(|| of_state(reason))
                .or_else(|| of_server(reason));
        }
    })
}

/// Returns the next step when the request, or who sends it, is not what the server takes.
fn of_request(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "CONTENT_EMPTY" => "give a file that has something in it",
        "CONTENT_TOO_LARGE" => "take something out of the content, or make several policies of it",
        "MESSAGE_TOO_LARGE" | "MESSAGE_TOO_COMPLEX" => "send less in one call",
        "INVALID_PAGE_TOKEN" => "begin with the first page again",
        "INVALID_SCHEMA" => "correct the schema, then try it with --validate-only",
        "TOKEN_MISSING" => "give a token with --token-file, POLICYHUB_TOKEN_FILE or POLICYHUB_TOKEN",
        "TOKEN_EXPIRED" => "get a new token, for example with `policyhub token issue`",
        "TOKEN_MALFORMED" | "TOKEN_AUDIENCE" | "TOKEN_INVALID" => "check that the token is one of this server",
        "TOKEN_REVOKED" => "get another token: this one was ended before its time",
        "CERTIFICATE_INVALID" => "use a certificate with exactly one URI, a SPIFFE ID that the server knows",
        "PERMISSION_DENIED" => "ask an admin for a role: `policyhub role grant ROLE MEMBER`",
        "SUBSCRIBER_ID_TAKEN" => "use another subscriber id: this one belongs to somebody else",
        "IMPORT_REFUSED" => "check the archive with `policyhub verify --log --from FILE`, or export it again",
        "DUPLICATE_TARGET" => "name each policy once",
        "REQUEST_ID_REUSED" => "use another --request-id: this one belongs to another request",
        _ => return None,
    })
}

/// Returns the next step when what the request names is not there, or is there already.
fn of_name(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "NAMESPACE_NOT_FOUND" => "see `policyhub namespace list`, or ask its admin for a role",
        "POLICY_NOT_FOUND" => "see `policyhub policy list`, or make it with `policyhub draft … --create`",
        "VERSION_NOT_FOUND" => "see `policyhub history POLICY`",
        "NAMESPACE_EXISTS" => "see `policyhub namespace list`, or choose another id",
        "POLICY_EXISTS" => "see `policyhub policy show POLICY`, or choose another id",
        "BINDING_EXISTS" => "nothing is to be done: see `policyhub role list`",
        "SCHEDULE_NOT_FOUND" => "see `policyhub schedule list`",
        "SCHEDULE_EXISTS" => "see `policyhub schedule list`: cancel the one of this id, or choose another id",
        "RUN_NOT_FOUND" => "record it first: `policyhub run record RUN`",
        "RUN_CONFLICT" => "see what stands with `policyhub run get RUN`, or choose another id",
        "REPORT_NOT_FOUND" => "stage the version first: `policyhub stage POLICY@N`",
        "BINDING_NOT_FOUND" => "see `policyhub role list`",
        "KEY_NOT_FOUND" | "KEY_STATE_WRONG" => "see `policyhub keys list`",
        _ => return None,
    })
}

/// Returns the next step when the state has to change first, or has changed.
fn of_state(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "KEY_NOT_READY" => "wait until its ready_time: subscribers may not know it yet",
        "NAMESPACE_NOT_EMPTY" => "import into a new namespace: `policyhub import FILE --into NAMESPACE --create`",
        "FINDINGS_REMAIN" => "repair the rows, or accept what stays: --accept 'event N', --accept 'TABLE KEY'",
        "IMPORT_UNFINISHED" => "finish it: run `policyhub import` with the same file again",
        "NO_ACTIVE_VERSION" => "activate one: `policyhub activate POLICY@N --reason …`",
        "NO_PREVIOUS_VERSION" => "name the version: `policyhub rollback POLICY --to N --reason …`",
        "NO_OPEN_DRAFT" => "write one first: `policyhub draft POLICY FILE`",
        "SEVERAL_OPEN_DRAFTS" => "name the version: POLICY@N; see `policyhub history POLICY`",
        "KIND_FIXED" => "make another policy: `policyhub policy create … --kind …`",
        "TOO_MANY_OPEN_DRAFTS" => "publish or abandon an open one first",
        "VERSION_STAGED" => {
            "`policyhub publish POLICY@N` or `policyhub abandon POLICY@N`, or draft with --supersede-staged"
        }
        "REQUIREMENT_BROKEN" => {
            "activate versions that fit together in one call, or first one that no longer requires this"
        }
        "APPROVALS_MISSING" => "ask for them: `policyhub approve POLICY@N --digest …`",
        "SELF_APPROVAL" => "ask somebody else: nobody approves their own version",
        "DIGEST_MISMATCH" => "review the version again: `policyhub show POLICY@N`",
        "LAST_ADMIN" => "first: `policyhub role grant admin MEMBER --all-namespaces`",
        "VERSION_NOT_STAGED" => "stage it first: `policyhub stage POLICY@N`",
        "ALREADY_ACTIVE" => "nothing is to be done, or name another version: `policyhub history POLICY`",
        "ETAG_MISMATCH" => "somebody was faster: look again, with --output json if you give an --etag, then decide",
        "CONCURRENT_CHANGE" => "look again, then try again",
        _ => return None,
    })
}

/// Returns the next step when the server can't do it now.
fn of_server(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "STORE_IN_DOUBT" => "tell the operator of the server: nothing is written until the loss is looked into",
        "RESUME_POINT_GONE" => "watch again without --resume",
        "OUTCOME_UNKNOWN" => "run it again with the same --request-id: it has one effect in all",
        "DATABASE_UNAVAILABLE" => "try again later, with the same --request-id",
        "LOCK_TIMEOUT" => "somebody holds a lock: try again later, with the same --request-id",
        "DATABASE_CONNECTION_LIMIT" | "DATABASE_READ_ONLY" | "DATABASE_NOT_DURABLE" | "DATABASE_ACCESS_DENIED" => {
            "tell the operator of the server, and try again later with the same --request-id"
        }
        "SIGNING_UNAVAILABLE" | "CHECKS_UNAVAILABLE" => {
            "tell the operator of the server, and try again later with the same --request-id"
        }
        "DEADLINE_EXCEEDED" => "look whether it was done, or run it again with the same --request-id",
        "TOO_MANY_STREAMS" => "end another watch, or try again a little later",
        "REQUEST_BUDGET_EXHAUSTED" => "try again a little later, with the same --request-id",
        "UNIMPLEMENTED" => "ask a server that has it: of another version, or built with it",
        "SERVER_DRAINING" => "run it again: another replica answers, or this server once it has started again",
        "REQUEST_TIMEOUT" => "run it again, from nearer to the server if it reads much",
        "LIMIT_EXCEEDED" => "ask for less, or later",
        "QUOTA_EXCEEDED" => "make room, or ask an admin for more: `policyhub namespace update`",
        "RATE_LIMITED" => "try again a little later, and slower, with the same --request-id",
        "DATA_LOSS" | "INTERNAL" => "tell the operator of the server; its log has the details",
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

/// Returns the next step for a version whose checks failed.
fn checks_failed(error: &ClientError) -> &'static str {
    let value = |key: &str| error.metadata().get(key).map(String::as_str);
    match (value("check"), value("state")) {
        (Some("requires"), Some("DRAFT" | "STAGED")) => {
            "publish it alone, then activate it together with what it requires: `policyhub publish POLICY@N`, then \
             `policyhub activate POLICY@N OTHER@M --reason …`"
        }
        (Some("requires"), _) => {
            "activate the version that it requires first, or both in one call: `policyhub activate POLICY@N OTHER@M --reason …`"
        }
        // The report of a published version is that of its publication.
        (_, Some("PUBLISHED")) => {
            "choose another version: `policyhub history POLICY`; or publish a corrected one, from `policyhub edit POLICY`"
        }
        // A draft from a template: there is no version yet that could be abandoned or reported.
        (None, _) => "correct the template, or the parameters",
        _ => {
            "correct it in a new draft; to use the label again, first `policyhub abandon POLICY@N`. All findings: \
             `policyhub report POLICY@N`"
        }
    }
}

/// Returns the next step for a label that another version has.
fn label_taken(error: &ClientError) -> &'static str {
    match error.metadata().get("state").map(String::as_str) {
        Some("DRAFT" | "STAGED") => {
            "choose another label, or free this one with `policyhub abandon POLICY@N`, then run it again"
        }
        _ => "choose another label: that of a published version is never free again",
    }
}

/// Returns the next step for a version that is not published: only an open one can be.
fn unpublished(error: &ClientError) -> &'static str {
    match error.metadata().get("state").map(String::as_str) {
        Some("DRAFT" | "STAGED") => "publish it first: `policyhub publish POLICY@N`",
        _ => "choose one that is published: `policyhub history POLICY`",
    }
}

/// Returns the next step when another version is active than the caller said. A refused draft has `base_version` in its metadata (its
/// policy has `require_base_active`): that base may be wrong although nobody changed anything meanwhile.
fn other_active(error: &ClientError) -> &'static str {
    let number = |name: &str| error.metadata().get(name).map(String::as_str);
    match (number("base_version"), number("current_active")) {
        (None, _) => "somebody was faster: see `policyhub active` and `policyhub events --newest`, then decide again",
        (Some(_), Some("0")) => "draft it without --base-version: nothing is active to start from",
        (Some("0"), _) => "name the active version as its base: --base-version active, or `policyhub edit POLICY`",
        (Some(_), _) => {
            "another version is active than its base: see `policyhub history POLICY`, then draft from the active one with \
             --base-version active"
        }
    }
}

/// Returns the next step for a schedule that is in another state.
fn ended_schedule(error: &ClientError) -> &'static str {
    match error.metadata().get("state").map(String::as_str) {
        Some("PENDING") => "nothing is to be done: it runs at its time, see `policyhub schedule list`",
        _ => "make another one, under the same id if you like: one that ended never changes",
    }
}

/// Returns the next step for a request that can't be taken, by the first field that is wrong.
fn invalid(error: &ClientError) -> &'static str {
    let is_inexact = error.violations().iter().any(|violation| violation.description == INEXACT_VERSION);
    let field = error.violations().first().map_or("", |violation| violation.field.as_str());
    match field.split(['.', '[']).next() {
        _ if is_inexact => "name it as POLICY@N or POLICY@vLABEL: `policyhub history POLICY` lists them",
        Some("from_template") => "see the parameters that the template takes: `policyhub show POLICY@N`",
        Some("guardrails") => "correct it, and try it without the server: `policyhub guardrail test FILE`",
        Some("schedule" | "schedule_id") => "correct it: `policyhub schedule create --help` has examples",
        Some("") | None => "correct what is said above, then run it again",
        Some(_) => "correct the fields above, then run it again",
    }
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
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    fn failed(reason: &str, metadata: &[(&str, &str)], field: &str) -> ClientError {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "policyhub", metadata.collect::<std::collections::HashMap<_, _>>());
        if !field.is_empty() {
            details.add_bad_request_violation(field, "is wrong");
        }
        ClientError::from(Status::with_error_details(Code::FailedPrecondition, "no", details))
    }

    #[test]
    fn every_reason_has_a_next_step() {
        for reason in crate::client::Reason::ALL {
            let next = next_step(&failed(&reason.as_str(), &[], ""));
            assert!(next.is_some(), "{reason:?} says nothing of what to do");
        }
    }

    #[test]
    fn a_draft_is_told_what_its_base_is() {
        let next = |base, active| {
            let said = failed("EXPECTED_ACTIVE_MISMATCH", &[("base_version", base), ("current_active", active)], "");
            next_step(&said).expect("a next step")
        };
        assert!(next("0", "3").starts_with("name the active version as its base"), "{}", next("0", "3"));
        assert!(next("2", "0").starts_with("draft it without --base-version"), "{}", next("2", "0"));
        assert!(next("2", "3").starts_with("another version is active"), "{}", next("2", "3"));
        let moved =
            next_step(&failed("EXPECTED_ACTIVE_MISMATCH", &[("current_active", "3")], "")).expect("a next step");
        assert!(moved.starts_with("somebody was faster"), "{moved}");
    }

    #[test]
    fn what_is_wrong_decides_what_to_do() {
        let next = |field| next_step(&failed("INVALID_ARGUMENT", &[], field)).expect("a next step");
        assert!(next("from_template.parameters").contains("show POLICY@N"));
        assert!(next("guardrails.guardrails[1].expression").contains("guardrail test"));
        assert!(next("schedule.entries[0].targets").contains("schedule create --help"));
        assert_eq!(next("label"), "correct the fields above, then run it again");
        assert_eq!(next(""), "correct what is said above, then run it again");
        let state = |state| next_step(&failed("SCHEDULE_STATE_WRONG", &[("state", state)], "")).expect("a next step");
        assert!(state("DONE").starts_with("make another one"));
        assert!(state("PENDING").starts_with("nothing is to be done"));
    }

    #[test]
    fn what_failed_and_where_it_stands_decide_what_to_do() {
        let next = |metadata: &[(&str, &str)]| next_step(&failed("VALIDATION_FAILED", metadata, "")).expect("a step");
        assert!(next(&[("check", "requires"), ("state", "PUBLISHED")]).starts_with("activate the version"));
        assert!(next(&[("check", "label"), ("state", "STAGED")]).contains("abandon POLICY@N"));
        assert!(next(&[("check", "guardrails"), ("state", "DRAFT")]).contains("report POLICY@N"));
        assert!(next(&[("check", "guardrails"), ("state", "PUBLISHED")]).starts_with("choose another version"));
        assert!(next(&[]).starts_with("correct the template"));
        let label = |state| next_step(&failed("LABEL_CONTENT_CONFLICT", &[("state", state)], "")).expect("a step");
        assert!(label("DRAFT").contains("abandon POLICY@N") && !label("PUBLISHED").contains("abandon"));
    }

    #[test]
    fn every_hint_is_for_a_reason_that_exists() {
        let known: Vec<String> = crate::client::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let source = include_str!("next_steps.rs");
        let (table, _) = source.split_once("fn closed").expect("the end of the tables");
        let words = table
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
        let mut count = 0;
        for word in words {
            count += 1;
            assert!(known.iter().any(|reason| reason == word), "{word} is no reason");
        }
        assert!(count > 25);
    }

    #[test]
    fn every_command_in_a_next_step_is_one() {
        let source = include_str!("next_steps.rs");
        let (source, _) = source.split_once("fn unreached").expect("the end of the table");
        let mut count = 0;
        for said in source.split("`policyhub ").skip(1) {
            let line = said.split('`').next().expect("its end");
            let mut command = crate::cli::overview::command();
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
}
