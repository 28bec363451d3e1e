//! Configures who may call besides holders of local tokens: identity providers, and CAs of client certificates.
//!
//! Identity providers are easiest to write in the file, as `[[issuers]]`. The flag and the variable take the same as one JSON array.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use serde_json::{Value, json};

use super::error::ConfigError;
use super::issuer_list::IssuerSettings;
use super::range::{in_range, invalid};
use super::settings::Settings;
use crate::auth::{CLOCK_LEEWAY, ClockLeeway, IssuerRules, TokenAlgorithm};
use crate::domain::spiffe::is_trust_domain;

/// Most issuers. Each costs a task, and its rules are compared with each new token.
const ISSUERS_MAX: usize = 64;
/// Time between two reads of an issuer's keys.
const JWKS_REFRESH_SECONDS: u64 = 300;

/// The rules by which callers are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// 0 to 60 s. Too high: expired tokens are accepted that much longer. Too low: a fresh token is refused when a clock is behind.
    pub clock_leeway: ClockLeeway,
    /// Identity providers.
    pub issuers: Vec<IssuerConfig>,
    /// CAs of client certificates.
    pub client_cas: Vec<ClientCa>,
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The rules that its tokens must satisfy.
    pub rules: IssuerRules,
    /// Source of its keys.
    pub jwks: JwksSource,
    /// How people sign in to the console there; none: they don't.
    pub sign_in: Option<SignInConfig>,
}

/// This server as a client of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInConfig {
    /// Its id.
    pub client_id: String,
    /// The file of its secret; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that a sign-in asks for.
    pub scope: String,
}

/// Where the keys of an issuer are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// `https`, or `http` on loopback.
    Url {
        /// The address of the key set.
        url: Uri,
        /// CA of that server's certificate; `None`: the CAs of the system.
        ca_cert: Option<PathBuf>,
        /// Time between two reads. Too high: a key that the provider withdrew is trusted longer. Too low: too many requests to the
        /// provider.
        refresh: Duration,
    },
}

/// A CA of client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// The trust domain of the SPIFFE IDs that it may issue.
    pub trust_domain: String,
    /// PEM file.
    pub file: PathBuf,
}

impl Settings {
    pub(super) fn auth(&self) -> Result<AuthConfig, ConfigError> {
        let issuers = self.issuers.clone().unwrap_or_default().0;
        in_range("issuers", issuers.len(), 0..=ISSUERS_MAX)?;
        let issuers = issuers.into_iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
        for (index, issuer) in issuers.iter().enumerate() {
            let earlier = issuers.iter().take(index);
            if earlier
                .clone()
                .any(|other| other.rules.name == issuer.rules.name || other.rules.issuer == issuer.rules.issuer)
            {
                return Err(invalid(
                    "issuers",
                    format!("{:?} has the name or the issuer of another one", issuer.rules.name),
                ));
            }
        }
        let listed = self.tls_client_ca.clone().unwrap_or_default();
        let client_cas: Vec<ClientCa> =
            listed.iter().filter(|entry| !entry.is_empty()).map(|entry| client_ca(entry)).collect::<Result<_, _>>()?;
        let has_tls = self.tls_cert.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
        if !client_cas.is_empty() && !has_tls {
            return Err(invalid("tls_client_ca", "needs tls_cert and tls_key: without TLS nobody shows a certificate"));
        }
        let clock_leeway = match self.clock_leeway_seconds {
            Some(seconds) => ClockLeeway::of_seconds(in_range("clock_leeway_seconds", seconds, 0..=60)?),
            None => CLOCK_LEEWAY,
        };
        Ok(AuthConfig { clock_leeway, issuers, client_cas })
    }
}

impl AuthConfig {
    pub(super) fn summary_of_issuers(&self) -> Value {
        let one = |issuer: &IssuerConfig| {
            let IssuerRules { name, issuer: iss, audience, algorithms, allow_typ_jwt, subject_claim, groups_claim } =
                &issuer.rules;
            let (jwks, ca_cert, refresh) = match &issuer.jwks {
                JwksSource::File(path) => (path.display().to_string(), None, None),
                JwksSource::Url { url, ca_cert, refresh } => {
                    (url.to_string(), ca_cert.as_ref(), Some(refresh.as_secs()))
                }
            };
            json!({
                "name": name,
                "issuer": iss,
                "audience": audience,
                "jwks": jwks,
                "algorithms": algorithms,
                "allow_typ_jwt": allow_typ_jwt,
                "subject_claim": subject_claim,
                "groups_claim": groups_claim,
                "ca_cert": ca_cert.map(|path| path.display().to_string()),
                "jwks_refresh_seconds": refresh,
                "client_id": issuer.sign_in.as_ref().map(|config| &config.client_id),
                "client_secret_file": issuer.sign_in.as_ref().and_then(|config| config.client_secret_file.as_ref()),
                "scope": issuer.sign_in.as_ref().map(|config| &config.scope),
            })
        };
        self.issuers.iter().map(one).collect()
    }

    pub(super) fn summary_of_client_cas(&self) -> Value {
        self.client_cas.iter().map(|ca| format!("{}={}", ca.trust_domain, ca.file.display())).collect()
    }
}

fn issuer(written: IssuerSettings) -> Result<IssuerConfig, ConfigError> {
    let IssuerSettings { name, issuer, audience, jwks, algorithms, allow_typ_jwt, .. } = written;
    let rules = IssuerRules {
        name,
        issuer,
        audience,
        algorithms: algorithms.unwrap_or_else(|| TokenAlgorithm::ALL.to_vec()),
        allow_typ_jwt,
        subject_claim: written.subject_claim.unwrap_or_else(|| "sub".to_owned()),
        groups_claim: written.groups_claim,
    };
    let named = |problem: String| invalid("issuers", format!("{:?}: {problem}", rules.name));
    rules.check().map_err(|error| named(error.message))?;
    let seconds = in_range("issuers", written.jwks_refresh_seconds.unwrap_or(JWKS_REFRESH_SECONDS), 10..=86_400)?;
    let is_url = jwks.contains("://");
    if !is_url && (jwks.is_empty() || written.ca_cert.is_some() || written.jwks_refresh_seconds.is_some()) {
        return Err(named("jwks must be a URL, or a file without ca_cert and jwks_refresh_seconds".to_owned()));
    }
    let jwks = if is_url {
        let url =
            secure_url(&jwks).ok_or_else(|| named("jwks must be https://…, or http:// on loopback".to_owned()))?;
        JwksSource::Url { url, ca_cert: written.ca_cert, refresh: Duration::from_secs(seconds) }
    } else {
        JwksSource::File(PathBuf::from(jwks))
    };
    let sign_in = match written.client_id.filter(|id| !id.is_empty()) {
        None if written.client_secret_file.is_some() || written.scope.is_some() => {
            return Err(named("client_secret_file and scope need client_id".to_owned()));
        }
        None => None,
        Some(_) if secure_url(&rules.issuer).is_none() => {
            return Err(named("client_id needs an issuer that is https://…, or http:// on loopback".to_owned()));
        }
        Some(client_id) => Some(SignInConfig {
            client_id,
            client_secret_file: written.client_secret_file,
            scope: sign_in_scope(written.scope).ok_or_else(|| named("scope must have the word openid".to_owned()))?,
        }),
    };
    Ok(IssuerConfig { rules, jwks, sign_in })
}

/// Returns the scopes of a sign-in. Without `openid` a provider gives no ID token (OpenID Connect Core §3.1.2.1).
fn sign_in_scope(written: Option<String>) -> Option<String> {
    let scope = written.unwrap_or_else(|| "openid".to_owned());
    let is_plain = scope.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (is_plain && scope.split(' ').any(|word| word == "openid")).then_some(scope)
}

/// Parses the address of an identity provider. Plaintext is accepted on loopback only: elsewhere an attacker on the network could replace
/// its keys, or read codes.
pub fn secure_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let authority = url.authority()?;
    let host = authority.host();
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let allowed = match url.scheme_str()? {
        "https" => true,
        "http" => address.is_some_and(|address| address.is_loopback()),
        _ => false,
    };
    (allowed && !host.is_empty() && !authority.as_str().contains('@')).then_some(url)
}

fn client_ca(entry: &str) -> Result<ClientCa, ConfigError> {
    let read = entry.split_once('=').filter(|(domain, file)| is_trust_domain(domain) && !file.is_empty());
    let (trust_domain, file) = read.ok_or_else(|| {
        invalid("tls_client_ca", format!("{entry:?} must be {{trust domain}}={{file}}, as in example.org=ca.pem"))
    })?;
    Ok(ClientCa { trust_domain: trust_domain.to_owned(), file: Path::new(file).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::issuer_list::IssuerList;
    use super::*;

    const CORP: &str = "name = 'corp'\nissuer = 'https://id.example'\naudience = 'hub'\n";

    fn read(text: &str) -> Result<AuthConfig, ConfigError> {
        Ok(Settings::parse(Path::new("hub.toml"), text)?.resolve()?.auth)
    }

    fn refused(text: &str) -> String {
        read(text).expect_err(text).to_string()
    }

    fn with(lines: &str) -> String {
        format!("[[issuers]]\n{CORP}{lines}")
    }

    #[test]
    fn an_issuer_is_read_from_the_file_and_from_json_alike() {
        let file = read(&with("jwks = 'https://id.example/keys'\ngroups_claim = 'roles'\nalgorithms = ['ES256']"));
        let json = r#"[{"name":"corp","issuer":"https://id.example","audience":"hub","groups_claim":"roles",
            "jwks":"https://id.example/keys","algorithms":["ES256"]}]"#;
        let issuers = Some(json.parse().expect("JSON"));
        let flag = Settings { issuers, ..Settings::default() }.resolve().expect("valid").auth;
        let file = file.expect("valid");
        assert_eq!(file, flag);
        let rules = &file.issuers.first().expect("an issuer").rules;
        assert_eq!((rules.subject_claim.as_str(), rules.allow_typ_jwt), ("sub", false));
        assert_eq!(rules.algorithms, [TokenAlgorithm::ES256]);
        assert_eq!("".parse::<IssuerList>(), Ok(IssuerList::default()));
        "[{}]".parse::<IssuerList>().expect_err("nothing is said of it");
    }

    #[test]
    fn keys_come_by_https_by_loopback_or_from_a_file() {
        for jwks in ["https://id.example/keys?x=1", "http://127.0.0.1:8080/keys", "http://[::1]:8080/keys", "keys.json"]
        {
            read(&with(&format!("jwks = '{jwks}'"))).expect(jwks);
        }
        for jwks in [
            "http://id.example/keys",
            "http://localhost/keys",
            "ftp://id.example/keys",
            "https://",
            "",
            "https://user:secret@id.example/keys",
            "http://127.0.0.1.example/keys",
        ] {
            let error = refused(&with(&format!("jwks = '{jwks}'")));
            assert!(error.contains("use config key issuers") && error.contains("corp"), "{error}");
        }
    }

    #[test]
    fn issuers_that_could_be_mistaken_are_refused() {
        for name in ["", "local", "group", "spiffe", "system", "a:b", "Corp", "a b", "a/b", "\u{430}"] {
            let text = with("jwks = 'k.json'").replace("'corp'", &format!("'{name}'"));
            assert!(refused(&text).contains("issuers"), "{name}");
        }
        let keys = "jwks = 'k.json'";
        for lines in [
            "subject_claim = 'aud'",
            "groups_claim = 'sub'",
            "subject_claim = ''",
            "algorithms = []",
            "algorithms = ['HS256']",
            "algorithms = ['none']",
            "unknown = 1",
            "ca_cert = 'ca.pem'",
            "jwks_refresh_seconds = 60",
        ] {
            refused(&with(&format!("{keys}\n{lines}")));
        }
        refused(&with("jwks = 'https://id.example/k'\njwks_refresh_seconds = 9"));
        let twice = format!("{}\n{}", with(keys), with(keys));
        assert!(refused(&twice).contains("another one"));
        assert!(refused(&twice.replacen("'corp'", "'other'", 1)).contains("another one"), "the same iss");
    }

    #[test]
    fn authorities_of_clients_need_tls_and_a_trust_domain() {
        let tls = "tls_cert = 'c'\ntls_key = 'k'\n";
        let text = format!("{tls}tls_client_ca = ['example.org=ca.pem', 'example.org=next=ca.pem']");
        let cas = read(&text).expect("valid").client_cas;
        assert_eq!(cas.last().map(|ca| ca.file.clone()), Some(PathBuf::from("next=ca.pem")));
        assert!(refused("tls_client_ca = ['example.org=ca.pem']").contains("tls_cert"));
        for bad in ["ca.pem", "Example.org=ca.pem", "=ca.pem", "example.org=", "spiffe://example.org=ca.pem"] {
            assert!(refused(&format!("{tls}tls_client_ca = ['{bad}']")).contains("tls_client_ca"), "{bad}");
        }
    }
}
