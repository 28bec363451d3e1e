//! The exit codes of the command, and the errors that determine them.

/// A usage error that only shows when arguments are checked together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A part is done, another part is not: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PartialError(pub String);

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
