//! An identity provider at which people sign in to the console: its metadata (OpenID Connect Discovery 1.0), and the exchange of codes.
//!
//! Invariants: its addresses are https, or on loopback; what it answers is bounded, and every text of it is shown as text; whoever is not
//! signed in causes one request for its metadata in 10 s at most.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{IssuerConfig, JwksSource, SignInConfig, secure_url};
use super::https;
use crate::domain::{Error, Reason};
use crate::http::console::{AuthorizationEndpoint, CodeExchange, IssuedTokens, ProviderFuture, SignInProvider};

/// The largest answer of a provider.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// How long metadata is used. Longer: an address that the provider moved is asked in vain for longer.
const METADATA_TTL: Duration = Duration::from_secs(10 * 60);
/// How long a failure is used.
const FAILURE_TTL: Duration = Duration::from_secs(10);
/// The largest secret of a client.
const SECRET_MAX_BYTES: usize = 4_096;
/// Letters that need no encoding in a form (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A provider.
pub(super) struct OidcProvider {
    name: String,
    issuer: String,
    config: SignInConfig,
    secret: Option<String>,
    trust: Option<Arc<ClientConfig>>,
    known: Mutex<Option<KnownMetadata>>,
}

impl std::fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What was read last, or why it could not be read.
struct KnownMetadata {
    until: Instant,
    metadata: Result<ProviderMetadata, String>,
}

/// The members of the metadata that are used.
#[derive(Debug, Clone, Deserialize)]
struct ProviderMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    id_token: Option<String>,
    token_type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRefusal {
    error: String,
    error_description: String,
}

impl OidcProvider {
    /// Creates the provider of an issuer; none when nobody signs in there.
    ///
    /// # Errors
    /// The secret or the CA can't be read.
    pub(super) fn start(issuer: &IssuerConfig) -> Result<Option<Self>> {
        let Some(config) = issuer.sign_in.clone() else { return Ok(None) };
        let name = issuer.rules.name.clone();
        let secret = config.client_secret_file.as_ref().map(|path| {
            let failed = || format!("failed to read the client secret of {name} in {}", path.display());
            let text = std::fs::read_to_string(path).with_context(failed)?;
            ensure!(text.len() <= SECRET_MAX_BYTES, "{} is over 4096 bytes", path.display());
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        });
        let ca_cert = match &issuer.jwks {
            JwksSource::Url { ca_cert: Some(path), .. } => {
                Some(std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?)
            }
            JwksSource::Url { ca_cert: None, .. } | JwksSource::File(_) => None,
        };
        // Only a provider on loopback needs no authority.
        let trust = match https::trust(ca_cert.as_deref()) {
            Ok(trust) => Some(trust),
            Err(_) if issuer.rules.issuer.starts_with("http://") => None,
            Err(error) => return Err(error.context(format!("failed to trust anybody for signing in at {name}"))),
        };
        let issuer = issuer.rules.issuer.clone();
        Ok(Some(Self { name, issuer, config, secret: secret.transpose()?, trust, known: Mutex::default() }))
    }

    async fn metadata(&self) -> Result<ProviderMetadata> {
        let mut known = self.known.lock().await;
        if let Some(KnownMetadata { until, metadata }) = &*known
            && *until > Instant::now()
        {
            return metadata.clone().map_err(anyhow::Error::msg);
        }
        let metadata = self.read_metadata().await;
        let ttl = if metadata.is_ok() { METADATA_TTL } else { FAILURE_TTL };
        if let Err(error) = &metadata {
            let (issuer, error) = (&self.name, format!("{error:#}"));
            tracing::warn!(issuer, error, "failed to read the metadata of an identity provider");
        }
        let kept = metadata.as_ref().map(Clone::clone).map_err(|error| format!("{error:#}"));
        *known = Some(KnownMetadata { until: Instant::now() + ttl, metadata: kept });
        metadata
    }

    async fn read_metadata(&self) -> Result<ProviderMetadata> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = secure_url(&url).context("the issuer is no https address")?;
        let body = https::get(&url, self.trust_for(&url)?, ANSWER_MAX_BYTES).await?;
        let metadata: ProviderMetadata = serde_json::from_slice(&body).context("the metadata can't be read")?;
        ensure!(metadata.issuer == self.issuer, "the metadata is of another issuer");
        for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint] {
            ensure!(secure_url(endpoint).is_some() && !endpoint.contains('#'), "an endpoint is no https address");
        }
        let has_s256 = |methods: &Vec<String>| methods.iter().any(|method| method == "S256");
        let methods = metadata.code_challenge_methods_supported.as_ref();
        ensure!(methods.is_none_or(has_s256), "the provider does not know PKCE with S256");
        Ok(metadata)
    }

    fn trust_for(&self, url: &Uri) -> Result<Option<&Arc<ClientConfig>>> {
        if url.scheme_str() != Some("https") {
            return Ok(None);
        }
        Ok(Some(self.trust.as_ref().context("there is no certificate authority to trust")?))
    }

    async fn exchange_code(&self, exchange: CodeExchange<'_>) -> Result<IssuedTokens> {
        let metadata = self.metadata().await?;
        let url = secure_url(&metadata.token_endpoint).context("the token endpoint is no https address")?;
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", exchange.code),
            ("redirect_uri", exchange.redirect_uri),
            ("code_verifier", exchange.code_verifier),
        ];
        // RFC 8414 §2: without a list, it is Basic.
        let methods = metadata.token_endpoint_auth_methods_supported.unwrap_or_default();
        let takes_basic = methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic");
        let mut basic = None;
        match &self.secret {
            // RFC 6749 §2.3.1: each is encoded as in a form first.
            Some(secret) if takes_basic => {
                basic = Some(STANDARD.encode(format!("{}:{}", encode(&self.config.client_id), encode(secret))));
            }
            Some(secret) => fields.extend([("client_id", self.config.client_id.as_str()), ("client_secret", secret)]),
            None => fields.push(("client_id", &self.config.client_id)),
        }
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let sent = (form.join("&"), basic);
        let (status, body) = https::post_form(&url, self.trust_for(&url)?, sent, ANSWER_MAX_BYTES).await?;
        if status != StatusCode::OK {
            let refusal: TokenRefusal = serde_json::from_slice(&body).unwrap_or_default();
            anyhow::bail!("it refused the code with {status}: {} {}", refusal.error, refusal.error_description);
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).context("its answer can't be read")?;
        ensure!(answer.token_type.eq_ignore_ascii_case("bearer"), "it gave no bearer token");
        let id_token = answer.id_token.context("it gave no ID token")?;
        Ok(IssuedTokens { access_token: answer.access_token, id_token })
    }

    fn failed(&self, error: &anyhow::Error) -> Error {
        Error::new(Reason::TokenInvalid, format!("failed to sign in at {}: {error:#}", self.name))
    }
}

impl SignInProvider for OidcProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn client_id(&self) -> &str {
        &self.config.client_id
    }

    fn scope(&self) -> &str {
        &self.config.scope
    }

    fn authorization_endpoint(&self) -> ProviderFuture<'_, AuthorizationEndpoint> {
        Box::pin(async {
            let metadata = self.metadata().await.map_err(|error| self.failed(&error))?;
            let names_issuer = metadata.authorization_response_iss_parameter_supported;
            Ok(AuthorizationEndpoint { url: metadata.authorization_endpoint, names_issuer })
        })
    }

    fn exchange<'a>(&'a self, exchange: CodeExchange<'a>) -> ProviderFuture<'a, IssuedTokens> {
        Box::pin(async move { self.exchange_code(exchange).await.map_err(|error| self.failed(&error)) })
    }
}
