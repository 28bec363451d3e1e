//! Asks the user at the terminal for confirmation.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Returns whether a user is there to answer.
#[must_use]
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; only yes counts as yes.
///
/// # Errors
/// The terminal can't be read or written.
pub fn ask(question: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in
            [("y\n", true), (" YES \n", true), ("\n", false), ("n\n", false), ("", false), ("yy", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
