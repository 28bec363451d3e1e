//! The check `parse`: a content is a document of its policy's kind.

use super::step::Input;
use crate::checks::document::{Document, parse};
use crate::checks::parse_failure::ParseFailure;
use crate::domain::report::{Check, CheckFinding, CheckResult, Severity};

pub(super) const PARSE: &str = "parse";

/// Parses a content whose size is within the limits. Returns the document that later checks look at, if there is one.
pub(super) fn check(input: &Input<'_>) -> (Check, Option<Document>) {
    if let Err(error) = input.kind.check_content_type(input.content_type.unwrap_or_default()) {
        let check = Check::new(PARSE, CheckResult::Failed, error.message);
        return (check.with_hint("draft it again with a media type of the policy's kind"), None);
    }
    match parse(input.kind, input.content) {
        Ok(None) => (skipped("OPAQUE content is not parsed"), None),
        Ok(document) => {
            let several = document.as_ref().and_then(|document| document.stream);
            let found =
                several.map_or("one well-formed document".to_owned(), |count| format!("{count} well-formed documents"));
            (Check::new(PARSE, CheckResult::Passed, found), document)
        }
        Err(ParseFailure { message, line, column, pointer }) => {
            let finding = CheckFinding::new(Severity::Error, message)
                .at_pointer(pointer)
                .at_place(line, column)
                .with_hint("correct it there and draft it again");
            (Check::of(PARSE, CheckResult::Failed, vec![finding]), None)
        }
    }
}

/// Returns the check of a content that is not parsed.
pub(super) fn skipped(why: &str) -> Check {
    Check::new(PARSE, CheckResult::Skipped, why)
}
