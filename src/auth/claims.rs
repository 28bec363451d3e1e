//! Reads and checks the claims of a token whose signature is valid: strictly, each at most once, bounded.
//!
//! Invariant: the config decides which claims name the caller and the groups, never the token. Unknown claims are skipped without
//! recursion, so that depth uses no stack (RFC 7519 §4).

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use super::rules::IssuerRules;
use super::token::invalid;
use crate::domain::limits::{TOKEN_GROUPS_MAX, TOKEN_LIFETIME_MAX_SECONDS};
use crate::domain::principal::Principal;
use crate::domain::{Error, Reason, Result};

/// How far the issuer's clock and ours may differ, unless configured. Longer: an expired token is accepted that much longer.
/// Shorter: a token that is used at once on a host whose clock is behind is refused.
pub const CLOCK_LEEWAY: ClockLeeway = ClockLeeway { seconds: 5 };

/// How far clocks may differ, in whole seconds (RFC 7519 §4.1.4: a few minutes at most).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockLeeway {
    seconds: i64,
}

impl ClockLeeway {
    /// Creates a leeway of this many seconds.
    #[must_use]
    pub fn of_seconds(seconds: u8) -> Self {
        Self { seconds: seconds.into() }
    }

    /// Returns the number of seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns whether an expiry time has passed.
    pub(super) fn is_over(self, expires_at_seconds: i64, now_seconds: i64) -> bool {
        self.latest_end(expires_at_seconds) <= now_seconds
    }

    /// Returns the last second at which something that expires is accepted.
    pub(super) fn latest_end(self, expires_at_seconds: i64) -> i64 {
        expires_at_seconds.saturating_add(self.seconds)
    }

    /// Returns the latest time that another clock may show.
    fn latest_now(self, now_seconds: i64) -> i64 {
        now_seconds.saturating_add(self.seconds)
    }
}

/// The claims that are read.
#[derive(Debug, Default)]
pub(super) struct Claims {
    iss: Option<String>,
    aud: Option<OneOrMany>,
    subject: Option<String>,
    groups: Vec<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
    cnf: Option<Confirmation>,
}

/// The claims of a token that was accepted.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) principal: Principal,
    /// `jti`, empty when there is none.
    pub(super) id: String,
    pub(super) issued_at_seconds: i64,
    pub(super) expires_at_seconds: i64,
    /// Digest of the client certificate that the token is bound to, base64url.
    pub(super) bound_to: Option<String>,
}

/// The `cnf` claim (RFC 8705 §3.1). Other proofs of possession than a certificate's can't be checked here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    x5t_s256: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Reads the claims, and checks them against the rules of the issuer and the time.
///
/// # Errors
/// `TOKEN_INVALID`, `TOKEN_AUDIENCE`, `TOKEN_EXPIRED`.
pub(super) fn believe(payload: &[u8], rules: &IssuerRules, now_seconds: i64, leeway: ClockLeeway) -> Result<Believed> {
    let unreadable =
        |_| invalid("token must have iss, aud and its subject as text and exp as a whole number, once each");
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let claims = Reader(rules).deserialize(&mut reader).map_err(unreadable)?;
    reader.end().map_err(unreadable)?;

    let Claims { iss, aud, subject, groups, exp, nbf, iat, jti, cnf } = claims;
    let (Some(iss), Some(aud), Some(subject), Some(exp)) = (iss, aud, subject, exp) else {
        return Err(invalid("token must have iss, aud, exp and the claim that says who"));
    };
    if iss != rules.issuer {
        return Err(invalid("token is from another issuer"));
    }
    if !aud.into_vec().contains(&rules.audience) {
        return Err(Error::new(Reason::TokenAudience, "token is for another audience"));
    }
    if !Principal::is_subject(&subject) {
        return Err(invalid("token subject is not 1 to 255 printable ASCII characters"));
    }
    if jti.as_ref().is_some_and(|jti| !Principal::is_subject(jti)) {
        return Err(invalid("token jti is not 1 to 255 printable ASCII characters"));
    }
    check_times(exp, nbf, iat, now_seconds, leeway)?;
    Ok(Believed {
        principal: Principal {
            groups: usable_groups(groups, &rules.name, &subject),
            ..Principal::new(&rules.name, &subject)
        },
        id: jti.unwrap_or_default(),
        issued_at_seconds: iat.unwrap_or(0),
        expires_at_seconds: exp,
        bound_to: cnf.map(|confirmation| confirmation.x5t_s256),
    })
}

/// Returns the groups that a role binding can name: printable ASCII, and the first `TOKEN_GROUPS_MAX` of them in byte order. Others
/// are left out and logged: otherwise one group in another script would lock every user of a directory out, and fewer groups only
/// mean fewer rights.
fn usable_groups(groups: Vec<String>, issuer: &str, subject: &str) -> Vec<String> {
    let given = groups.len();
    let mut usable: Vec<String> = groups.into_iter().filter(|group| Principal::is_subject(group)).collect();
    let unreadable = given - usable.len();
    usable.sort();
    usable.dedup();
    let surplus = usable.len().saturating_sub(TOKEN_GROUPS_MAX);
    usable.truncate(TOKEN_GROUPS_MAX);
    if unreadable > 0 || surplus > 0 {
        tracing::warn!(
            issuer,
            subject,
            unreadable,
            surplus,
            "left groups of a token out: unreadable are not 1 to 255 printable ASCII characters, surplus are over {TOKEN_GROUPS_MAX}"
        );
    }
    usable
}

pub(super) fn expired(at_seconds: i64) -> Error {
    Error::new(Reason::TokenExpired, "token is expired").with("expired_at_seconds", at_seconds)
}

/// Checks the times (RFC 7519 §4.1.4 to §4.1.6), with leeway.
fn check_times(exp: i64, nbf: Option<i64>, iat: Option<i64>, now_seconds: i64, leeway: ClockLeeway) -> Result<()> {
    if exp < 0 {
        return Err(invalid("token exp is before 1970"));
    }
    if leeway.is_over(exp, now_seconds) {
        return Err(expired(exp));
    }
    let latest = leeway.latest_now(now_seconds);
    if exp > latest.saturating_add(TOKEN_LIFETIME_MAX_SECONDS) {
        // Otherwise a revocation would have to be kept forever.
        return Err(invalid("token would live for more than 366 days"));
    }
    if nbf.is_some_and(|nbf| nbf > latest) || iat.is_some_and(|iat| iat > latest) {
        return Err(invalid("token is not valid yet: its nbf or iat is in the future"));
    }
    Ok(())
}

/// Reads claims under the names that an issuer's rules give them.
struct Reader<'a>(&'a IssuerRules);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Claims;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Claims, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims::default();
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                name if name == self.0.subject_claim => claims.subject = Some(map.next_value()?),
                name if Some(name) == self.0.groups_claim.as_deref() => {
                    claims.groups = map.next_value::<OneOrMany>()?.into_vec();
                }
                "iss" => claims.iss = Some(map.next_value()?),
                "aud" => claims.aud = Some(map.next_value()?),
                "exp" => claims.exp = Some(map.next_value()?),
                "nbf" => claims.nbf = Some(map.next_value()?),
                "iat" => claims.iat = Some(map.next_value()?),
                "jti" => claims.jti = Some(map.next_value()?),
                "cnf" => claims.cnf = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            // Known or unknown, no claim may repeat: a reader of the first and a reader of the last would see different tokens.
            if !seen.insert(name) {
                return Err(A::Error::custom("a claim stands there twice"));
            }
        }
        Ok(claims)
    }
}
