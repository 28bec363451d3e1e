//! Explains why a command failed: what failed, the stable reason, its values, and what to do next.
//!
//! Boundary: text for people on stderr; scripts use the exit code and the reason in brackets.

use std::fmt::Write as _;

use crate::cli::exit_code::{CommandError, CommandReason, PartialError, UsageError};
use crate::cli::next_steps::next_step;
use crate::cli::output::text::line;
use crate::cli::typed_commands::TypedCommands;
use crate::client::name::{PolicyName, VersionName};
use crate::client::{ClientError, Code, ReadError, Refusal, WatchError};
use crate::domain::causes::causes;
use crate::domain::error::FieldViolation;

/// Returns the whole text of an error, with what to do next as `commands` says that it is typed; none: as it is typed anywhere.
#[must_use]
pub fn explain(error: &anyhow::Error, commands: Option<&TypedCommands>) -> String {
    let call = error.chain().find_map(call_of);
    let is_of_server = call.is_some() || error.chain().any(|cause| cause.is::<Refusal>());
    let mut text = format!("error: {}", causes(error.as_ref()));
    if let Some(reason) = local_reason(error) {
        let _ = write!(text, " ({})", reason.as_str());
    }
    text = if is_of_server {
        // One line: otherwise a message could fake a further line, such as one that says what to do next.
        line(&text)
    } else {
        // Names of files may hold what a terminal acts on, its colours too.
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    if let Some(call) = call {
        for violation in shown_violations(call) {
            let _ = write!(text, "\n  {}: {}", line(&violation.field), line(&violation.description));
        }
        for (key, value) in call.metadata() {
            let _ = write!(text, "\n  {} = {}", line(key), line(value));
        }
        if let Some(next) = next_step(call) {
            let next = if call.is_mutation() { next.to_owned() } else { without_request_id(next) };
            let _ = write!(text, "\nnext: {}", filled(&next, call.resource(), commands));
        }
    } else if error.chain().any(|cause| cause.is::<Refusal>()) {
        text.push_str(
            "\nnext: keep what was in force; check that the keys are those of this server, then tell its operator",
        );
    } else if let Some(next) = command_error(error).and_then(|failed| failed.next) {
        let _ = write!(text, "\nnext: {next}");
    }
    text
}

/// Returns the violations that are not said elsewhere: the message has the first precondition, a report those of an open version, and the
/// metadata every broken requirement.
fn shown_violations(call: &ClientError) -> &[FieldViolation] {
    let is_of_published = || call.metadata().get("state").is_some_and(|state| state == "PUBLISHED");
    match call.reason() {
        "VALIDATION_FAILED" if call.violations().len() > 1 && is_of_published() => call.violations(),
        _ if call.code() == Code::FailedPrecondition => &[],
        _ => call.violations(),
    }
}

/// Returns the reason of an error that does not say one by itself: those of a server and of the domain end with theirs.
fn local_reason(error: &anyhow::Error) -> Option<CommandReason> {
    if error.is::<UsageError>() {
        return Some(CommandReason::Usage);
    }
    if error.is::<PartialError>() {
        return Some(CommandReason::Partial);
    }
    if let Some(failed) = command_error(error) {
        return Some(failed.reason);
    }
    if error.chain().any(|cause| cause.is::<Refusal>()) {
        return Some(CommandReason::NotVerified);
    }
    let says_its_own = error.chain().any(|cause| call_of(cause).is_some() || cause.is::<crate::domain::Error>());
    (!says_its_own).then_some(CommandReason::LocalError)
}

fn command_error(error: &anyhow::Error) -> Option<&CommandError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Returns the error of a call, also within that of a watch or a log, which shows the same text and so hides it as a source.
fn call_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a ClientError> {
    match (cause.downcast_ref::<WatchError>(), cause.downcast_ref::<ReadError>()) {
        (Some(WatchError::Call(call)), _) | (_, Some(ReadError::Call(call))) => Some(call),
        _ => cause.downcast_ref::<ClientError>(),
    }
}

/// Fills in a next step with the names of the failed resource, when the server named it and the names are valid.
fn filled(step: &str, resource: &str, commands: Option<&TypedCommands>) -> String {
    let version = VersionName::parse("name", resource).ok();
    let policy = version.as_ref().map(|name| name.policy.clone()).or_else(|| PolicyName::parse("name", resource).ok());
    let mut filled = step.to_owned();
    if let Some(VersionName { policy, version }) = version {
        filled = filled.replace("POLICY@N", &format!("{}@{version}", policy.policy));
    }
    if let Some(policy) = &policy {
        filled = filled.replace("POLICY", policy.policy.as_str());
    }
    let namespace = policy.map(|policy| policy.namespace);
    commands.map_or(filled.clone(), |commands| commands.fill(&filled, namespace.as_ref()))
}

/// Removes the request id from the next step of a call that changes nothing: it can simply be repeated.
fn without_request_id(next: &str) -> String {
    next.replace(", with the same --request-id", "").replace(" with the same --request-id", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use clap::Parser as _;
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
            explain(&failed(Code::AlreadyExists, "LABEL_CONTENT_CONFLICT"), None),
            "error: failed to draft pricing: label has other content (LABEL_CONTENT_CONFLICT)\n  label: is taken\n  \
             label = 1.0.0\nnext: choose another label: that of a published version is never free again"
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
        let text = explain(&Err::<(), _>(error).context("failed to look").unwrap_err(), None);
        assert!(text.lines().all(|line| !line.starts_with("next: run")), "{text}");
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    }

    #[test]
    fn each_finding_of_a_refused_activation_is_said_once() {
        let text = |state: &str, count: usize| {
            let mut details = ErrorDetails::new();
            details.set_error_info("VALIDATION_FAILED", "policyhub", [("state".to_owned(), state.to_owned())]);
            for number in 0..count {
                details.add_precondition_failure_violation("json-schema", "p", format!("p@{number}: is no number"));
            }
            let status = Status::with_error_details(Code::FailedPrecondition, "p@0 fails", details);
            explain(&ClientError::from(status).into(), None)
        };
        assert!(
            text("PUBLISHED", 2).contains("\n  json-schema: p@0: is no number\n  json-schema: p@1: is no number\n")
        );
        assert!(!text("PUBLISHED", 1).contains("json-schema"), "the message has it");
        assert!(!text("DRAFT", 2).contains("json-schema"), "the report has them");
    }

    fn next_after(reason: &str, resource: &str, state: &str) -> String {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, "policyhub", [("state".to_owned(), state.to_owned())])
            .set_resource_info("", resource, "", "");
        let error = ClientError::from(Status::with_error_details(Code::FailedPrecondition, "no", details));
        let global = crate::cli::Cli::try_parse_from(["policyhub", "active", "-n", "default"]).expect("a line").global;
        let text = explain(&error.into(), TypedCommands::after(&global).ok().as_ref());
        text.split_once("\nnext: ").map(|(_, next)| next.to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_next_step_names_what_it_is_about() {
        let version = "namespaces/default/policies/pricing/versions/3";
        let of_team = "namespaces/team-a/policies/pricing";
        for (reason, resource, state, next) in [
            ("VALIDATION_FAILED", version, "", "correct the template, or the parameters"),
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
    fn a_cause_that_an_error_repeats_is_said_once() {
        let refusal = Refusal::Malformed("no cursor");
        let error = anyhow::Error::from(WatchError::Refused { refusal, cursor: None }).context("watch ended");
        let text = explain(&error, None);
        assert!(
            text.starts_with("error: watch ended: message is malformed: no cursor (NOT_VERIFIED)\nnext: keep"),
            "{text}"
        );
    }

    #[test]
    fn every_error_ends_with_a_reason() {
        let io = || anyhow::Error::from(std::io::Error::other("no such file")).context("failed to read p.yaml");
        let domain = crate::domain::Error::new(crate::domain::Reason::ChecksUnavailable, "no worker");
        let signed = Refusal::Malformed("no cursor");
        for (error, reason) in [
            (UsageError("give a file".to_owned()).into(), "USAGE"),
            (io().context(UsageError("give a file".to_owned())), "USAGE"),
            (PartialError("one is left".to_owned()).into(), "PARTIAL"),
            (CommandReason::ValidationFailed.error("a check failed"), "VALIDATION_FAILED"),
            (CommandReason::EditorFailed.error("it failed").context("failed to edit p"), "EDITOR_FAILED"),
            (anyhow::Error::from(signed).context("failed to verify"), "NOT_VERIFIED"),
            (anyhow::Error::from(domain).context("failed to check p.yaml"), "CHECKS_UNAVAILABLE"),
            (failed(Code::AlreadyExists, "LABEL_CONTENT_CONFLICT"), "LABEL_CONTENT_CONFLICT"),
            (io(), "LOCAL_ERROR"),
        ] {
            let text = explain(&error, None);
            let first = text.lines().next().expect("a line");
            assert!(first.ends_with(&format!(" ({reason})")) && first.matches('(').count() == 1, "{text}");
        }
    }

    #[test]
    fn an_export_that_a_draining_server_ended_says_what_to_do() {
        let details = ErrorDetails::with_error_info("SERVER_DRAINING", "policyhub", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "this server stops", details);
        let error = ReadError::Call(ClientError::from(status));
        let text = explain(&anyhow::Error::from(error).context("failed to read the namespace"), None);
        let expected =
            "error: failed to read the namespace: this server stops (SERVER_DRAINING)\nnext: run it again: another";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn what_only_reads_needs_no_request_id() {
        let of = |is_mutation| {
            let error = ClientError::from(Status::deadline_exceeded("too late"));
            explain(&error.with_mutation(is_mutation).into(), None)
        };
        assert!(of(true).ends_with("next: try again later, with the same --request-id"));
        assert!(of(false).ends_with("next: try again later"));
    }

    #[test]
    fn a_port_of_the_other_kind_is_explained() {
        let next = |error: Status| {
            let text = explain(&ClientError::from(error).into(), None);
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
        assert!(explain(&error, None).ends_with("check that the server runs and that --server is its address"));
    }
}
