//! Checks the ID token of a sign-in (OpenID Connect Core §3.1.3.7): signature, issuer, client, time and nonce.
//!
//! It says that this sign-in is the one that was begun; which caller it is, the verifier says of the token that the session keeps.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::claims::expired;
use super::token::{TOKEN_MAX_BYTES, invalid};
use super::verifier::Verifier;
use crate::domain::Result;
use crate::domain::limits::TOKEN_LIFETIME_MAX_SECONDS;

/// The header of an ID token. Providers write other members too, of which none asks for more than `crit` does.
#[derive(Deserialize)]
struct IdTokenHeader {
    alg: String,
    kid: String,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct IdTokenClaims {
    iss: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Verifier {
    /// Checks the ID token that an issuer gave to `client_id` for the sign-in with this nonce.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXPIRED`.
    pub fn check_id_token(
        &self,
        issuer_name: &str,
        token: &str,
        (client_id, nonce): (&str, &str),
        now_seconds: i64,
    ) -> Result<()> {
        let unreadable = || invalid("the ID token is not a signed JWT with alg and kid");
        let split: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = split.as_slice() else { return Err(unreadable()) };
        if token.len() > TOKEN_MAX_BYTES {
            return Err(invalid("the ID token is over 8 KiB"));
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| unreadable());
        let header: IdTokenHeader = serde_json::from_slice(&decode(header)?).map_err(|_| unreadable())?;
        if header.crit.is_some() {
            return Err(invalid("the ID token asks for more than is known here"));
        }
        let message = token.rsplit_once('.').map_or("", |(message, _)| message);
        let issuer = self.check_signature(issuer_name, (&header.alg, &header.kid), message, signature)?;
        let claims: IdTokenClaims = serde_json::from_slice(&decode(payload)?)
            .map_err(|_| invalid("the ID token must have iss, aud and exp, once each"))?;
        if claims.iss != issuer {
            return Err(invalid("the ID token is from another issuer"));
        }
        let (is_own, is_alone) = match &claims.aud {
            Audience::One(one) => (one == client_id, true),
            Audience::Many(many) => (many.iter().any(|each| each == client_id), many.len() == 1),
        };
        if !is_own || claims.azp.as_deref().map_or(!is_alone, |azp| azp != client_id) {
            return Err(invalid("the ID token is for another client"));
        }
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(invalid("the ID token is of another sign-in: its nonce is another one"));
        }
        if claims.exp > now_seconds.saturating_add(TOKEN_LIFETIME_MAX_SECONDS) {
            return Err(invalid("the ID token would live for more than 366 days"));
        }
        if self.is_over(claims.exp, now_seconds) {
            return Err(expired(claims.exp));
        }
        Ok(())
    }
}
