//! A URL that may carry a password, which is never shown.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

const HIDDEN: &str = "***";

/// A URL of a database or a collector. `Debug` and `Display` hide its user, password and query; only [`ConnectionUrl::expose`]
/// returns all of it. The text is not validated here, because a parser's error would repeat it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ConnectionUrl(String);

impl ConnectionUrl {
    /// Returns a URL from any text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the whole URL, to open the connection. Must not be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the part before `://`, if any.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.0.split_once("://").map(|(scheme, _)| scheme)
    }

    /// Returns the URL without secrets. Passwords with an unescaped `/`, `?` or `@` are common and must not leak in part, so
    /// everything up to the last `@` is hidden, with the query and the fragment; text that is no URL is hidden completely.
    #[must_use]
    pub fn redacted(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return HIDDEN.to_owned() };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((_, rest)) => ("***@", rest),
            None => ("", rest),
        };
        match rest.split_once(['?', '#']) {
            Some((place, _)) => format!("{scheme}://{credentials}{place}?{HIDDEN}"),
            None => format!("{scheme}://{credentials}{rest}"),
        }
    }
}

/// Returns whether a `%` does not begin a percent-encoded byte (RFC 3986, section 2.1).
#[must_use]
pub fn has_stray_percent(text: &str) -> bool {
    let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).any(|after| {
        let mut bytes = after.bytes();
        !is_hex(bytes.next()) || !is_hex(bytes.next())
    })
}

impl FromStr for ConnectionUrl {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionUrl({})", self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_however_they_are_written() {
        for (url, shown) in [
            ("sqlite://./policyhub-data/policyhub.db", "sqlite://./policyhub-data/policyhub.db"),
            ("postgres://db:5432/hub", "postgres://db:5432/hub"),
            ("postgres://hub:canary@db:5432/hub", "postgres://***@db:5432/hub"),
            ("postgres://hub:can@canary@db/hub", "postgres://***@db/hub"),
            ("postgres://hub:can/canary@db/hub", "postgres://***@db/hub"),
            ("postgres://hub:can?canary@db/hub", "postgres://***@db/hub"),
            ("postgres://hub:can:canary@db/hub", "postgres://***@db/hub"),
            ("https://canary@collector:4317", "https://***@collector:4317"),
            ("postgres://db/hub?user=hub&password=canary", "postgres://db/hub?***"),
            ("postgres://db/hub?password=canary@x", "postgres://***@x"),
            ("postgres://hub:canary@db/hub?sslkey=canary", "postgres://***@db/hub?***"),
            ("postgres://db/hub#canary", "postgres://db/hub?***"),
            ("host=db password=canary", "***"),
            ("canary", "***"),
            ("", "***"),
        ] {
            let url = ConnectionUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?} {url:#?}").contains("canary"), "{}", url.expose());
        }
    }
}
