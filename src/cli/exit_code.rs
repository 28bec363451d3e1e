//! The exit codes of the command, and the errors that determine them.

/// A usage error that only shows when arguments are checked together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A part is done, another part is not: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Partial(pub String);

/// Returns the exit code of an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        2
    } else if error.is::<Partial>() {
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
        assert_eq!(exit_code(&Usage("two stdins".to_owned()).into()), 2);
        assert_eq!(exit_code(&Partial("one is left".to_owned()).into()), 3);
    }
}
