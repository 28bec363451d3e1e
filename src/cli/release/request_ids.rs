//! Makes the request ids of one run.
//!
//! Each run has its own ids, so that it reports only what it did itself, even if another run does the same. What a killed run did
//! is found by reading the server's state, never from the answer stored under a request id.

use crate::cli::release::git::Commit;
use crate::client::signing::sha256;
use crate::client::{hex, new_request_id};

/// Digits of an id that tell the calls of one commit apart.
const CALL_DIGITS: usize = 16;
/// Digits of the commit in an id: with the others within the 64 characters that an id may have.
const COMMIT_DIGITS: usize = 40;

/// Makes the request ids of a run.
#[derive(Debug)]
pub struct RequestIds {
    commit: Commit,
    run: String,
}

impl RequestIds {
    /// Returns the ids of a new run.
    pub fn new(commit: &Commit) -> Self {
        Self { commit: commit.clone(), run: new_request_id() }
    }

    /// Returns the id of one call: the commit, and a hash that tells this call from the others of the run and from those of other
    /// runs. `call` has full names, since the same commit may be released into several namespaces.
    pub fn of(&self, call: &str) -> String {
        let commit = self.commit.as_str().get(..COMMIT_DIGITS).unwrap_or_default();
        let call = hex(&sha256(&[self.run.as_bytes(), b" ", call.as_bytes()]));
        format!("{commit}-{}", call.get(..CALL_DIGITS).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_each_run_has_an_id_of_its_own() {
        let commit = Commit::parse(&"a".repeat(64)).expect("a commit");
        let (one, other) = (RequestIds::new(&commit), RequestIds::new(&commit));
        let id = one.of("namespaces/n/policies/p/versions/1");
        assert_eq!(id, one.of("namespaces/n/policies/p/versions/1"), "a call that is tried again has one effect");
        assert!(id.len() <= 64 && id.starts_with(&"a".repeat(40)), "{id}");
        assert_ne!(id, one.of("namespaces/m/policies/p/versions/1"));
        assert_ne!(id, other.of("namespaces/n/policies/p/versions/1"));
    }
}
