//! The address at which identity providers send people back to the console.

use super::auth::{AuthConfig, secure_url};
use super::effective::ListenConfig;
use super::error::ConfigError;
use super::range::invalid;

/// Takes the address at which browsers reach the console: a scheme and an authority, without a slash at the end.
///
/// # Errors
/// It has a path, or is neither https nor on loopback.
pub(super) fn console_url(text: String) -> Result<String, ConfigError> {
    let url = secure_url(&text).filter(|url| {
        let origin = url.authority().map(|authority| format!("{}://{authority}", url.scheme_str().unwrap_or_default()));
        origin.is_some_and(|origin| origin == text)
    });
    match url {
        Some(_) => Ok(text),
        None => Err(invalid(
            "console_url",
            format!("{text:?} must be https://host[:port], or http:// on loopback, and no path"),
        )),
    }
}

/// Checks that an identity provider can send people back to the console.
///
/// # Errors
/// It could not: beyond loopback nobody knows the address but the operator.
pub(super) fn check_sign_in(listen: &ListenConfig, auth: &AuthConfig) -> Result<(), ConfigError> {
    let has_sign_in = listen.console.is_some() && auth.issuers.iter().any(|issuer| issuer.sign_in.is_some());
    let is_local = listen.tls.is_none() && !listen.insecure_plaintext;
    if has_sign_in && !is_local && listen.console_url.is_none() {
        return Err(invalid("console_url", "is needed with TLS or a proxy when an issuer has client_id".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::settings::Settings;

    const CORP: &str = "[[issuers]]\nname = 'corp'\naudience = 'hub'\njwks = 'https://id.example/keys'\n";
    const CLIENT: &str = "issuer = 'https://id.example'\nclient_id = 'console'\n";

    fn refused(text: &str) -> Option<String> {
        let read = Settings::parse(Path::new("hub.toml"), text).and_then(Settings::resolve);
        read.err().map(|error| error.to_string())
    }

    #[test]
    fn people_are_sent_back_over_tls_or_on_loopback() {
        for url in ["https://hub.example", "https://hub.example:8443", "http://127.0.0.1:7072", "http://[::1]:7072"] {
            assert_eq!(refused(&format!("console_url = '{url}'")), None, "{url}");
        }
        for url in ["http://hub.example", "https://hub.example/", "https://hub.example/a", "https://a@hub.example", "x"]
        {
            assert!(refused(&format!("console_url = '{url}'")).expect(url).contains("console_url"), "{url}");
        }
        let behind_proxy = |url: &str| format!("insecure_plaintext = true\n{url}\n{CORP}{CLIENT}");
        assert!(refused(&behind_proxy("")).expect("where to?").contains("console_url"));
        assert_eq!(refused(&behind_proxy("console_url = 'https://hub.example'")), None);
        assert_eq!(refused(&format!("{CORP}{CLIENT}")), None, "on loopback the browser says where");
    }

    #[test]
    fn an_issuer_at_which_people_sign_in_has_an_address_and_a_client() {
        for lines in [
            "issuer = 'corp'\nclient_id = 'console'",
            "issuer = 'http://id.example'\nclient_id = 'console'",
            "issuer = 'https://id.example'\nclient_secret_file = 'secret'",
            "issuer = 'https://id.example'\nclient_id = 'console'\nscope = 'profile'",
        ] {
            assert!(refused(&format!("{CORP}{lines}")).expect(lines).contains("corp"), "{lines}");
        }
    }
}
