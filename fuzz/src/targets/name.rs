//! Names, labels and digests: an accepted one prints as it was written, and follows its grammar.

use policyhub::domain::digest::Digest;
use policyhub::domain::label::Label;
use policyhub::domain::limits::{ID_MAX_CHARS, LABEL_MAX_CHARS};
use policyhub::domain::name::{NamespaceId, PolicyId, PolicyName, VersionName, VersionRef};

use super::texts;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(id) = NamespaceId::parse("f", text) {
        assert_eq!(id.as_str(), text);
        assert_eq!(NamespaceId::parse_name("f", &id.name()).ok(), Some(id.clone()));
        assert!(text.len() <= ID_MAX_CHARS && !text.contains(['/', '.', '@', ' ']) && text.is_ascii());
        assert_eq!(PolicyId::parse_within("f", &id, text).ok().as_ref().map(PolicyId::as_str), Some(text));
    }
    if let Ok(id) = NamespaceId::parse_name("f", text) {
        assert_eq!(id.name(), text);
    }
    if let Ok(name) = PolicyName::parse("f", text) {
        assert_eq!(name.to_string(), text);
        assert_eq!(PolicyId::parse_within("f", &name.namespace, text).ok(), Some(name.policy));
    }
    if let Ok(name) = VersionName::parse("f", text) {
        assert_eq!(name.to_string(), text, "two names of one version");
        if let VersionRef::Number(number) = name.version {
            assert!(number > 0);
            assert_eq!(name.policy.version(number), text);
        }
    }
    if let Ok(label) = Label::parse("f", text) {
        let written = label.to_string();
        assert!(written.len() <= LABEL_MAX_CHARS);
        assert_eq!(text.strip_prefix('v').unwrap_or(text), written);
        assert!(!label.is_higher_than(&label), "higher than itself");
        // A pre-release may be followed by another of the same step; a release is never the step after itself.
        assert!(!label.is_next_after(&label) || written.contains('-'), "a step after itself");
    }
    if let Ok(digest) = Digest::parse("f", text) {
        assert_eq!((digest.as_str(), text.len()), (text, 71));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "default",
        "namespaces/default",
        "namespaces/default/policies/checkout-limits",
        "namespaces/a_b/policies/project_discovery",
        "namespaces/default/policies/p/versions/17",
        "namespaces/default/policies/p/versions/active",
        "namespaces/default/policies/p/versions/latest",
        "namespaces/default/policies/p/versions/v1.5.0-rc.1+build",
        "namespaces/default/policies/p/versions/9223372036854775807",
        "namespaces/default/policies/p/versions/vv1.0.0",
        "v1.2.3",
        "1.0.0-alpha.1",
        "18446744073709551615.0.0",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ])
}
