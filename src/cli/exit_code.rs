//! The exit codes of the command, and the errors that determine them.

/// A usage error that only shows when arguments are checked together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A part is done, another part is not: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PartialError(pub String);

/// A command failed for a reason that no server told: exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// Is the stable reason.
    pub reason: CommandReason,
    /// Holds what failed, as a lower-case fragment.
    pub message: String,
    /// Says what to do next, if that is known.
    pub next: Option<&'static str>,
}

/// Why a command failed, when neither a server nor the domain says it: a word for scripts, as docs/errors.md explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandReason {
    /// The command line, or a file of rules that it names, is wrong.
    Usage,
    /// A part is done, and another part is not.
    Partial,
    /// A check refuses a content.
    ValidationFailed,
    /// A test of guardrails fails.
    TestFailed,
    /// A draft is to start from the active version, and none is active.
    NoActiveVersion,
    /// What was signed, or what it covers, does not hold.
    NotVerified,
    /// Nothing of a release or an adoption is delivered.
    NotDelivered,
    /// The editor failed.
    EditorFailed,
    /// A content of several files is not edited.
    SeveralFiles,
    /// Anything else on this machine: a file, git, a program.
    LocalError,
}

impl CommandReason {
    /// Returns the stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "USAGE",
            Self::Partial => "PARTIAL",
            Self::ValidationFailed => "VALIDATION_FAILED",
            Self::TestFailed => "TEST_FAILED",
            Self::NoActiveVersion => "NO_ACTIVE_VERSION",
            Self::NotVerified => "NOT_VERIFIED",
            Self::NotDelivered => "NOT_DELIVERED",
            Self::EditorFailed => "EDITOR_FAILED",
            Self::SeveralFiles => "SEVERAL_FILES",
            Self::LocalError => "LOCAL_ERROR",
        }
    }

    /// Returns an error for this reason.
    #[must_use]
    pub fn error(self, message: impl Into<String>) -> anyhow::Error {
        CommandError { reason: self, message: message.into(), next: None }.into()
    }
}

/// Returns the exit code of an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        2
    } else if error.is::<PartialError>() {
        3
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        assert_eq!(exit_code(&anyhow::anyhow!("no server")), 1);
        assert_eq!(exit_code(&UsageError("two stdins".to_owned()).into()), 2);
        assert_eq!(exit_code(&PartialError("one is left".to_owned()).into()), 3);
    }
}
