//! What the console takes for its own site: the Host and Origin of requests, the name of its cookie, and the headers of its answers.
//!
//! Without these a page of another site could send forms in the name of whoever is signed in, or reach a console on loopback under a
//! name of its own (DNS rebinding).

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Everything a page may load, and nothing else: no inline script and no inline style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The headers of every answer. `same-origin`, and not `no-referrer`, because with that a browser sends `Origin: null` with forms of
/// its own site.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// How browsers reach the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteScheme {
    /// Plaintext, on loopback alone.
    Loopback,
    /// TLS, which this server ends.
    Tls,
    /// TLS, which something before this server ends.
    BehindProxy,
}

/// The site of the console.
#[derive(Debug, Clone)]
pub struct Site {
    scheme: SiteScheme,
    cookie_name: String,
    pending_cookie_name: String,
}

/// Why a request is not one of this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignRequest(pub &'static str);

impl Site {
    /// Creates the site of a console at a port. Cookies of one host are shared by its ports, so without TLS the port is in their name.
    /// With TLS the prefix `__Host-` binds the cookie to the host and to TLS (RFC 6265bis §4.1.3.2); browsers take it with `Secure` alone,
    /// which a plaintext console can't have.
    #[must_use]
    pub fn new(scheme: SiteScheme, port: u16) -> Self {
        let name = |what: &str| match scheme {
            SiteScheme::Loopback => format!("policyhub-{what}-{port}"),
            SiteScheme::Tls | SiteScheme::BehindProxy => format!("__Host-policyhub-{what}"),
        };
        Self { scheme, cookie_name: name("console"), pending_cookie_name: name("sign-in") }
    }

    /// Checks the Host header. On loopback it must name loopback: another name is a page of another site that leads there.
    ///
    /// # Errors
    /// There is none, there are two, or it is another site's.
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), ForeignRequest> {
        let host = only(headers, &header::HOST).ok_or(ForeignRequest("the request has not one Host header"))?;
        if self.scheme == SiteScheme::Loopback && !is_loopback(host) {
            return Err(ForeignRequest("the console on loopback answers to localhost, 127.0.0.1 and [::1] alone"));
        }
        Ok(())
    }

    /// Checks that a form was sent by a page of this site.
    ///
    /// # Errors
    /// The browser names another origin, or none.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), ForeignRequest> {
        let foreign = ForeignRequest("the form was not sent by a page of this console");
        let fetched = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if fetched.is_some_and(|site| site != b"same-origin") {
            return Err(foreign);
        }
        let (origin, host) = only(headers, &header::ORIGIN).zip(only(headers, &header::HOST)).ok_or(foreign)?;
        let schemes: &[&str] = match self.scheme {
            SiteScheme::Loopback => &["http"],
            SiteScheme::Tls => &["https"],
            // A browser on this machine reaches it without the proxy.
            SiteScheme::BehindProxy => &["https", "http"],
        };
        let is_own = |scheme: &&str| origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"));
        if schemes.iter().any(is_own) { Ok(()) } else { Err(foreign) }
    }

    /// Returns the value of the session's cookie; none when there is none, or two.
    #[must_use]
    pub fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        only_cookie(headers, &self.cookie_name)
    }

    /// Returns the value of the cookie of a sign-in that has begun; none when there is none, or two.
    #[must_use]
    pub fn pending_cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        only_cookie(headers, &self.pending_cookie_name)
    }

    /// Returns the `Set-Cookie` header of a session; with 0 seconds, one that removes it.
    #[must_use]
    pub fn set_cookie(&self, value: &str, max_age_seconds: i64) -> String {
        self.set_named_cookie(&self.cookie_name, value, max_age_seconds)
    }

    /// Returns the `Set-Cookie` header of a sign-in that has begun; with 0 seconds, one that removes it. `Lax` lets it come along when the
    /// provider sends the browser back.
    #[must_use]
    pub fn set_pending_cookie(&self, value: &str, max_age_seconds: i64) -> String {
        self.set_named_cookie(&self.pending_cookie_name, value, max_age_seconds)
    }

    fn set_named_cookie(&self, name: &str, value: &str, max_age_seconds: i64) -> String {
        let secure = if self.scheme == SiteScheme::Loopback { "" } else { "; Secure" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_seconds}{secure}")
    }
}

/// Returns the value of a cookie that comes once.
fn only_cookie<'a>(headers: &'a HeaderMap, cookie_name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs.filter(|(name, _)| *name == cookie_name).map(|(_, value)| value);
    own.next().filter(|_| own.next().is_none())
}

/// Adds the headers of every answer. An answer that says nothing of caching is not kept by anybody.
pub fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Returns the value of a header that comes once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Returns whether the host of a Host header is this machine, whatever the port: a forwarded port is another one.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    port.bytes().all(|byte| byte.is_ascii_digit())
        && (name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let each = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header")));
        let mut all = HeaderMap::new();
        each.for_each(|(name, value)| {
            all.append(name, value);
        });
        all
    }

    #[test]
    fn a_console_on_loopback_answers_to_loopback_names_alone() {
        let site = Site::new(SiteScheme::Loopback, 7072);
        for own in ["localhost:7072", "LOCALHOST", "127.0.0.1:7072", "127.9.9.9:1", "[::1]:7072", "[::1]"] {
            assert_eq!(site.check_host(&headers(&[("host", own)])), Ok(()), "{own}");
        }
        for other in [
            "",
            "evil.example:7072",
            "127.0.0.1.evil.example",
            "localhost.evil:7072",
            "10.0.0.1:7072",
            "[::2]",
            "localhost:x",
        ] {
            assert!(site.check_host(&headers(&[("host", other)])).is_err(), "{other}");
        }
        assert!(site.check_host(&headers(&[("host", "localhost"), ("host", "localhost")])).is_err(), "two");
        assert!(site.check_host(&headers(&[])).is_err(), "none");
        let far = Site::new(SiteScheme::Tls, 7072);
        assert_eq!(far.check_host(&headers(&[("host", "hub.example")])), Ok(()));
    }

    #[test]
    fn forms_come_from_pages_of_the_site() {
        let check = |scheme, given: &[(&'static str, &str)]| Site::new(scheme, 1).check_origin(&headers(given)).is_ok();
        use SiteScheme::{BehindProxy, Loopback, Tls};
        let host = ("host", "localhost:1");
        assert!(check(Loopback, &[host, ("origin", "http://localhost:1")]));
        assert!(check(Loopback, &[host, ("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(check(Tls, &[("host", "hub.example"), ("origin", "https://hub.example")]));
        assert!(check(BehindProxy, &[("host", "hub.example"), ("origin", "https://hub.example")]));
        for (scheme, origin) in [
            (Loopback, "null"),
            (Loopback, "http://localhost:2"),
            (Loopback, "https://localhost:1"),
            (Loopback, "http://evil.example"),
            (Loopback, "http://localhost:1.evil.example"),
            (Tls, "http://localhost:1"),
        ] {
            assert!(!check(scheme, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!check(Loopback, &[host]), "a browser names the origin of a form");
        for site in ["cross-site", "same-site", "none"] {
            assert!(!check(Loopback, &[host, ("origin", "http://localhost:1"), ("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn the_cookie_is_bound_as_far_as_the_scheme_lets_it() {
        let near = Site::new(SiteScheme::Loopback, 7072);
        let far = Site::new(SiteScheme::Tls, 7072);
        let flags = "Path=/; HttpOnly; SameSite=Lax; Max-Age=9";
        assert_eq!(near.set_cookie("v", 9), format!("policyhub-console-7072=v; {flags}"));
        assert_eq!(far.set_cookie("v", 9), format!("__Host-policyhub-console=v; {flags}; Secure"));
        let sent = |text| headers(&[("cookie", text)]);
        assert_eq!(near.cookie(&sent("a=b; policyhub-console-7072=v;c=d")), Some("v"));
        assert_eq!(near.cookie(&sent("policyhub-console-1=v")), None);
        assert_eq!(near.cookie(&sent("policyhub-console-7072=v; policyhub-console-7072=w")), None, "two");
    }
}
