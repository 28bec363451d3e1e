//! The check `limits`: the size of a content.

use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::report::{Check, CheckResult, LIMITS_CHECK};

/// Checks the size of a content.
pub(super) fn check(content: &[u8]) -> Check {
    match content.len() {
        0 => Check::new(LIMITS_CHECK, CheckResult::Failed, "content is empty")
            .with_hint("draft it again with its content"),
        size if size > CONTENT_MAX_BYTES => {
            Check::new(LIMITS_CHECK, CheckResult::Failed, format!("content is {size} bytes, over {CONTENT_MAX_BYTES}"))
                .with_hint("make several policies of it")
        }
        size => Check::new(LIMITS_CHECK, CheckResult::Passed, format!("{size} of at most {CONTENT_MAX_BYTES} bytes")),
    }
}
