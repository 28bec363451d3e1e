//! Verification of saved files, without a server: the same proofs as in a watch, short of freshness.

use super::refusal::Refusal;
use policyhub_core::signing::payload::{Manifest, Statement};
use policyhub_core::signing::{self, KeySet};

/// Verifies a bundle, and that the statement, when there is one, puts exactly it in force.
///
/// It says nothing about now: whether it still is in force only a checkpoint can say.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify_saved(
    manifest_jws: &str,
    content: &[u8],
    statement_jws: Option<&str>,
    keys: &KeySet,
) -> Result<(Manifest, Option<Statement>), Refusal> {
    let signature = |what: &str, error| Refusal::Signature { what: what.to_owned(), error };
    let manifest = signing::verify_bundle(manifest_jws, content, keys).map_err(|error| signature("manifest", error))?;
    let Some(jws) = statement_jws else { return Ok((manifest, None)) };
    let statement = signing::verify_statement(jws, keys).map_err(|error| signature("statement", error))?;
    if statement.namespace != manifest.namespace {
        let found = statement.namespace.to_string();
        return Err(Refusal::OtherNamespace { what: "statement".to_owned(), found });
    }
    if statement.store != manifest.store {
        let (found, held) = (statement.store, manifest.store);
        return Err(Refusal::OtherStore { what: "statement".to_owned(), found, held });
    }
    let stated = statement.changes.iter().any(|change| {
        change.policy == manifest.policy
            && change.version == manifest.version
            && change.digest.as_ref() == Some(&manifest.digest)
    });
    if !stated {
        return Err(Refusal::NotStated(manifest.policy));
    }
    Ok((manifest, Some(statement)))
}

#[cfg(test)]
mod tests {
    use super::super::active_set::tests::signed_messages::{MessageSigner, content};
    use super::*;

    #[test]
    fn a_saved_bundle_needs_its_own_statement() {
        let signer = MessageSigner::new();
        let (bundle, keys) = (signer.bundle("a", 2), signer.keys());
        let verify = |content: &[u8], statement: Option<&str>| {
            verify_saved(&bundle.manifest, content, statement, &keys).map(|(_, statement)| statement.is_some())
        };
        let own = signer.statement(1, 7, &[("a", 2, 1)]);
        assert_eq!(verify(&bundle.content, None), Ok(false));
        assert_eq!(verify(&bundle.content, Some(&own)), Ok(true));
        for other in [signer.statement(1, 8, &[("a", 3, 2)]), signer.statement(1, 8, &[("b", 2, 1)])] {
            assert!(matches!(verify(&bundle.content, Some(&other)), Err(Refusal::NotStated(_))));
        }
        assert!(matches!(verify(&content("a", 3), Some(&own)), Err(Refusal::Signature { .. })));
        let stranger = MessageSigner::new().statement(1, 7, &[("a", 2, 1)]);
        assert!(matches!(verify(&bundle.content, Some(&stranger)), Err(Refusal::Signature { .. })));
    }
}
