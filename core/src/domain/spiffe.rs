//! SPIFFE IDs, read as strictly as the standard allows them to be written (SPIFFE-ID §2).
//!
//! One spelling each: nothing is lower-cased, decoded or resolved, so no two IDs mean one workload.

/// Longest ID (SPIFFE-ID §2.3).
pub const SPIFFE_ID_MAX_BYTES: usize = 2_048;
/// Longest trust domain (the same section).
pub const TRUST_DOMAIN_MAX_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The ID of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId<'a> {
    /// Its trust domain.
    pub trust_domain: &'a str,
    /// Everything after `spiffe:`, which together with the issuer `spiffe` is the ID again.
    pub subject: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// Reads an ID with a path; that of a trust domain alone names no workload (X509-SVID §2).
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > SPIFFE_ID_MAX_BYTES {
            return None;
        }
        let (trust_domain, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
        let subject = text.strip_prefix("spiffe:")?;
        (is_trust_domain(trust_domain) && path.split('/').all(is_segment)).then_some(Self { trust_domain, subject })
    }
}

/// Returns whether a text can be a trust domain: lower case, no port, no user.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    (1..=TRUST_DOMAIN_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

/// Returns whether a text may be a segment: not empty, not `.` or `..`, and without percent-encoding.
fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_workloads_are_read() {
        let longest = format!("spiffe://a/{}", "p".repeat(SPIFFE_ID_MAX_BYTES - 11));
        for (text, trust_domain) in [
            ("spiffe://example.org/ns/shop/sa/web", "example.org"),
            ("spiffe://a-b_c.9/Web.1_x-y/...", "a-b_c.9"),
            (longest.as_str(), "a"),
        ] {
            let id = SpiffeId::parse(text).expect(text);
            assert_eq!((id.trust_domain, format!("spiffe:{}", id.subject).as_str()), (trust_domain, text));
        }
    }

    #[test]
    fn whatever_is_spelt_otherwise_is_none() {
        let too_long = format!("spiffe://a/{}", "p".repeat(SPIFFE_ID_MAX_BYTES - 10));
        let long_domain = format!("spiffe://{}/p", "d".repeat(TRUST_DOMAIN_MAX_BYTES + 1));
        for bad in [
            "",
            "spiffe",
            "spiffe:",
            "spiffe://",
            "spiffe:///p",
            "spiffe://example.org",
            "spiffe://example.org/",
            "SPIFFE://example.org/p",
            "Spiffe://example.org/p",
            "https://example.org/p",
            "spiffe:/example.org/p",
            "spiffe://Example.org/p",
            "spiffe://example.org:443/p",
            "spiffe://user@example.org/p",
            "spiffe://example.org/p/",
            "spiffe://example.org//p",
            "spiffe://example.org/p//q",
            "spiffe://example.org/.",
            "spiffe://example.org/../p",
            "spiffe://example.org/p/..",
            "spiffe://example.org/%70",
            "spiffe://example.org/p?q",
            "spiffe://example.org/p#f",
            "spiffe://example.org/p q",
            "spiffe://exa%6dple/p",
            "spiffe://example.org/\u{430}",
            "spiffe://ex\u{430}mple.org/p",
            "spiffe://example.org/p\n",
            " spiffe://example.org/p",
            "spiffe://example.org\\p",
            "spiffe://[::1]/p",
            "spiffe://example.org/p:q",
            too_long.as_str(),
            long_domain.as_str(),
        ] {
            assert_eq!(SpiffeId::parse(bad), None, "{bad:?}");
        }
    }
}
