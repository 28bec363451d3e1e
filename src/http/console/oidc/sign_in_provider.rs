//! What signing in asks of an identity provider.

use futures_util::future::BoxFuture;

use crate::domain::Result;

/// What a provider answers.
pub type ProviderFuture<'a, T> = BoxFuture<'a, Result<T>>;

/// Where a browser signs in.
#[derive(Debug, Clone)]
pub struct AuthorizationEndpoint {
    /// Its address.
    pub url: String,
    /// Whether its answers always name the issuer (RFC 9207 §3).
    pub names_issuer: bool,
}

/// A code, and what it is exchanged with.
#[derive(Debug, Clone, Copy)]
pub struct CodeExchange<'a> {
    /// The code.
    pub code: &'a str,
    /// The verifier of PKCE.
    pub code_verifier: &'a str,
    /// The address that the code was sent to.
    pub redirect_uri: &'a str,
}

/// The tokens of a sign-in. `Debug` does not show them.
pub struct IssuedTokens {
    /// Is for the audience of the issuer.
    pub access_token: String,
    /// Is for this client.
    pub id_token: String,
}

impl std::fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedTokens").finish_non_exhaustive()
    }
}

/// An identity provider at which people sign in.
pub trait SignInProvider: std::fmt::Debug + Send + Sync {
    /// Returns the name of its issuer.
    fn name(&self) -> &str;
    /// Returns `iss` of its tokens.
    fn issuer(&self) -> &str;
    /// Returns the id of this server as a client of it.
    fn client_id(&self) -> &str;
    /// Returns the scopes to ask for.
    fn scope(&self) -> &str;
    /// Returns where a browser signs in.
    ///
    /// # Errors
    /// `TOKEN_INVALID` when the provider does not answer, or not as it must.
    fn authorization_endpoint(&self) -> ProviderFuture<'_, AuthorizationEndpoint>;
    /// Exchanges a code for tokens.
    ///
    /// # Errors
    /// `TOKEN_INVALID` when the provider refuses, or does not answer as it must.
    fn exchange<'a>(&'a self, exchange: CodeExchange<'a>) -> ProviderFuture<'a, IssuedTokens>;
}
