//! The golden vectors of key statements: subscribers that begin with pinned keys, the result of each statement, and the keys that are
//! trusted at the end. Forged statements are included.
//!
//! They are made by `tests/vectors/make_key_statements.py`, which is independent code, and are used to test the Python example too.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policyhub::signing::{KeySet, PinnedKeys, SavedPins};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct KeyStatementVectors {
    followed: Vec<KeyStatementCase>,
    forged: Vec<KeyStatementCase>,
    malformed: Vec<KeyStatementCase>,
}

#[derive(Deserialize)]
struct KeyStatementCase {
    name: String,
    pins: Value,
    store: Option<String>,
    steps: Vec<StatementStep>,
    trusted: Vec<String>,
    revoked: Vec<String>,
}

#[derive(Deserialize)]
struct StatementStep {
    statement: String,
    becomes: String,
}

fn vectors() -> KeyStatementVectors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/key_statements.json");
    serde_json::from_slice(&fs::read(path).expect("the file")).expect("vectors")
}

fn pins(case: &KeyStatementCase) -> KeySet {
    KeySet::parse_jwks(case.pins.to_string().as_bytes()).expect("a key set")
}

fn trusted(keys: &PinnedKeys) -> Vec<String> {
    keys.trusted().keys().map(|key| key.key_id().to_owned()).collect()
}

fn becomes(keys: &mut PinnedKeys, step: &StatementStep, store: Option<&str>) -> String {
    match keys.take(&step.statement, store) {
        Ok(true) => "Taken".to_owned(),
        Ok(false) => "Ignored".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn each_statement_is_taken_or_refused_as_the_vectors_say() {
    let KeyStatementVectors { followed, forged, malformed } = vectors();
    assert!(followed.len() >= 10 && forged.len() >= 10 && malformed.len() >= 20);
    for case in followed.iter().chain(&forged).chain(&malformed) {
        let mut keys = PinnedKeys::new(pins(case));
        // The same with a restart before each statement.
        let mut restarted = PinnedKeys::new(pins(case));
        for step in &case.steps {
            let before = keys.saved();
            assert_eq!(becomes(&mut keys, step, case.store.as_deref()), step.becomes, "{}", case.name);
            assert_eq!(
                keys.saved() != before,
                step.becomes == "Taken",
                "{}: what is refused changes nothing",
                case.name
            );
            let saved: SavedPins =
                serde_json::from_value(serde_json::to_value(restarted.saved()).expect("JSON")).expect("what was saved");
            restarted = PinnedKeys::restore(pins(case), saved, None);
            becomes(&mut restarted, step, case.store.as_deref());
        }
        assert_eq!(trusted(&keys), case.trusted, "{}", case.name);
        assert_eq!(trusted(&restarted), case.trusted, "{}, over restarts", case.name);
        for key_id in &case.revoked {
            assert!(keys.trusted().is_revoked(key_id), "{}", case.name);
        }
    }
}

#[test]
fn no_bit_of_a_statement_can_be_changed() {
    let case = vectors().followed.into_iter().next().expect("a case");
    let parts: Vec<Vec<u8>> =
        case.steps[0].statement.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
    for (at, part) in parts.iter().enumerate() {
        for bit in 0..part.len() * 8 {
            let mut changed = parts.clone();
            changed[at][bit / 8] ^= 1 << (bit % 8);
            let token: Vec<String> = changed.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
            assert!(PinnedKeys::new(pins(&case)).take(&token.join("."), None).is_err(), "bit {bit} of part {at}");
        }
    }
}

/// Given a changed file, it takes precedence over every statement: keys that it no longer has are not restored by one.
#[test]
fn a_file_that_changes_wins() {
    let KeyStatementVectors { followed, .. } = vectors();
    let case = |name: &str| followed.iter().find(|case| case.name == name).expect("a case");
    let (first, later) = (case("one-by-one"), case("pinned-to-a-later-key"));
    let [rotation, revocation] = [2, 3].map(|at: usize| first.steps[at].statement.as_str());
    let (old, new) = (pins(first), pins(later));
    let old_id = old.keys().next().expect("a key").key_id().to_owned();

    let mut keys = PinnedKeys::new(old.clone());
    assert_eq!(keys.take(rotation, None), Ok(true));
    keys.replace(new.clone());
    assert_eq!(trusted(&keys), later.pins_ids(), "the file alone");
    assert!(keys.trusted().is_revoked(&old_id) && keys.newest().is_none());
    // Signed by the new key; it says that the old one is only retired.
    let replayed = case("one-by-one").steps[4].statement.as_str();
    assert_eq!(keys.take(replayed, None), Ok(true));
    assert!(keys.trusted().get(&old_id).is_none());
    let saved = keys.saved();
    assert!(
        PinnedKeys::restore(new.clone(), saved.clone(), None).trusted().get(&old_id).is_none(),
        "nor after a restart"
    );

    // While the process was stopped, the operator put the old key back into the file: it is trusted.
    let back = PinnedKeys::restore(old.clone(), saved, None);
    assert!(back.trusted().get(&old_id).is_some() && back.newest().is_none());
    // A revocation by a statement is overridden by a changed file.
    let both = KeySet::from_keys(old.keys().chain(new.keys()).cloned().collect());
    let mut keys = PinnedKeys::new(both.clone());
    assert_eq!(keys.take(revocation, None), Ok(true));
    assert!(keys.trusted().get(&old_id).is_none());
    keys.replace(both);
    assert!(keys.trusted().get(&old_id).is_none(), "the same file says nothing new");
    keys.replace(old);
    assert!(keys.trusted().get(&old_id).is_some());
}

impl KeyStatementCase {
    fn pins_ids(&self) -> Vec<String> {
        pins(self).keys().map(|key| key.key_id().to_owned()).collect()
    }
}
