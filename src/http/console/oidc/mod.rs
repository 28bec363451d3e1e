//! Signing in at an identity provider: OpenID Connect, authorization code with PKCE (RFC 6749 §4.1, RFC 7636).
//!
//! Boundary: what a provider is asked over the network is behind [`SignInProvider`]. Invariants: an answer is taken only in the browser
//! that asked, for the issuer that was asked, once within ten minutes; and the session keeps a token that the verifier takes.

mod begin_sign_in;
mod end_sign_in;
mod sign_in_provider;

pub use begin_sign_in::begin_sign_in;
pub use end_sign_in::end_sign_in;
pub use sign_in_provider::{AuthorizationEndpoint, CodeExchange, IssuedTokens, ProviderFuture, SignInProvider};
