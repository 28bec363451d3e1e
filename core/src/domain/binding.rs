//! Role bindings: which member has which role, in one namespace or in all.
//!
//! A member is written as in the log: `{issuer}:{subject}`, `group:{issuer}:{group}`, or a SPIFFE ID.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::access::Role;
use super::limits::MEMBER_MAX_CHARS;
use super::name::NamespaceId;
use super::principal::{Principal, SPIFFE_ISSUER_NAME};
use super::spiffe::SpiffeId;
use super::time::Micros;
use super::{Error, Reason, Result};

/// The id that stands for all namespaces (AIP-159).
pub const ALL_NAMESPACES: &str = "-";
/// Precedes the id of a binding in its name.
const COLLECTION: &str = "roleBindings";

/// A role of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleBinding {
    /// Its name.
    pub name: BindingName,
    /// The role.
    pub role: Role,
    /// Says who has it.
    pub member: String,
    /// Says who granted it.
    pub creator: String,
    /// Says when.
    pub create_time: Micros,
}

/// The name of a binding: the log it is an event of, and its id there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BindingName {
    /// The namespace where it holds; `system` for one that holds in all.
    pub namespace: NamespaceId,
    /// Unique there.
    pub id: String,
}

/// Holds what an event says of the bindings of its log: which one changed, and all that are there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessChange {
    /// The one that was made or taken away.
    pub binding: RoleBinding,
    /// Digest of all bindings of the log after it, in order of their ids.
    pub bindings_digest: super::digest::Digest,
}

/// Takes where a binding holds: `namespaces/{namespace}`, or `namespaces/-` for all. Returns the log it belongs to.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn parse_scope(field: &str, text: &str) -> Result<NamespaceId> {
    if text == scope(&NamespaceId::system()) {
        return Ok(NamespaceId::system());
    }
    match NamespaceId::parse_name(field, text) {
        Ok(namespace) if namespace.is_system() => {
            Err(Error::invalid(field, "the namespace system has no bindings of its own; use namespaces/- for all"))
        }
        Ok(namespace) => Ok(namespace),
        Err(_) => Err(Error::invalid_text(field, text, "must be namespaces/{namespace}, or namespaces/- for all")),
    }
}

/// Returns where a binding holds, as callers read it.
#[must_use]
pub fn scope(namespace: &NamespaceId) -> String {
    if namespace.is_system() { format!("namespaces/{ALL_NAMESPACES}") } else { namespace.name() }
}

/// Takes a member.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn parse_member(field: &str, text: &str) -> Result<String> {
    let rule = "must be {issuer}:{subject}, group:{issuer}:{group} or spiffe://{trust domain}/{path}";
    let named = |issuer: &str, name: &str| Principal::is_issuer_name(issuer) && Principal::is_subject(name);
    let well_formed = match text.split_once(':') {
        Some((SPIFFE_ISSUER_NAME, _)) => SpiffeId::parse(text).is_some(),
        Some(("group", rest)) => rest.split_once(':').is_some_and(|(issuer, name)| named(issuer, name)),
        Some((issuer, name)) => named(issuer, name),
        None => false,
    };
    if well_formed && text.len() <= MEMBER_MAX_CHARS {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid_text(field, text, format!("{rule}, at most {MEMBER_MAX_CHARS} printable ASCII characters")))
    }
}

impl BindingName {
    /// Takes `namespaces/{namespace}/roleBindings/{id}`, with the namespace `-` for one that holds in all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let (scope, id) = text.split_once(&format!("/{COLLECTION}/")).ok_or_else(|| {
            Error::invalid_text(
                field,
                text,
                "must be namespaces/{namespace}/roleBindings/{binding}, or namespaces/-/roleBindings/{binding}",
            )
        })?;
        let namespace = parse_scope(field, scope)?;
        let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_id {
            Ok(Self { namespace, id: id.to_owned() })
        } else {
            Err(Error::invalid(field, "is no id of a binding"))
        }
    }

    /// Returns the error for a binding that is not there.
    #[must_use]
    pub fn not_found(&self) -> Error {
        Error::new(Reason::BindingNotFound, format!("{self} does not exist")).about(self)
    }
}

impl fmt::Display for BindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{COLLECTION}/{}", scope(&self.namespace), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_three_forms() {
        let good =
            ["local:admin", "okta:auth0|12", "group:okta:ops team", "spiffe://example.org/ns/prod/sa/ci", "a:b:c"];
        for text in good {
            assert_eq!(parse_member("member", text).expect(text), text);
        }
        let long = format!("local:{}", "a".repeat(MEMBER_MAX_CHARS));
        for text in [
            "",
            "admin",
            ":admin",
            "local:",
            "group:okta",
            "group:okta:",
            "group::x",
            "local:a\nb",
            " local: a",
            " local:ann",
            "local:ann ",
            "lo cal:ann",
            "\tlocal:ann",
            "group: okta:ops",
            " group:okta:ops",
            "Local:ann",
            "LOCAL:ann",
            "group:Okta:ops",
            "group:group",
            "spiffe:ann",
            "spiffe://a b/c",
            "spiffe://example.org",
            "spiffe://example.org/../root",
            "spiffe://EXAMPLE.org/web",
            "SPIFFE://example.org/web",
            "spiffe://example.org/%77eb",
            "spiffe://example.org/web/",
            &long,
        ] {
            let error = parse_member("member", text).err().map(|error| error.reason);
            assert_eq!(error, Some(Reason::InvalidArgument), "{text:?}");
        }
    }

    #[test]
    fn names_and_places_read_as_they_are_written() {
        for text in ["namespaces/default/roleBindings/0192-ab", "namespaces/-/roleBindings/0192-ab"] {
            assert_eq!(BindingName::parse("name", text).expect(text).to_string(), text);
        }
        for text in [
            "",
            "roleBindings/1",
            "namespaces/-/roleBindings/",
            "namespaces/-/roleBindings/../x",
            "namespaces/Default/roleBindings/1",
            "x/1",
            "namespaces/system/roleBindings/1",
            "namespaces/-/roleBindings/1/2",
        ] {
            assert!(BindingName::parse("name", text).is_err(), "{text:?}");
        }
        assert_eq!(scope(&parse_scope("namespace", "namespaces/-").expect("all")), "namespaces/-");
        assert_eq!(scope(&parse_scope("namespace", "namespaces/a").expect("one")), "namespaces/a");
        assert!(parse_scope("namespace", "namespaces/system").is_err());
    }
}
