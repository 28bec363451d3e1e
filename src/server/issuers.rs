//! Reads the keys of identity providers: at the start and then periodically; the last valid keys are kept whatever happens.
//!
//! Invariant: a provider that is unreachable, slow or hostile delays neither the start nor a call, and tokens of others cause at
//! most one request to it in 30 s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Uri;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior};

use super::config::{IssuerConfig, JwksSource};
use super::metrics::Metrics;
use super::{https, private_file};
use crate::auth::jwks::JWKS_MAX_BYTES;
use crate::auth::{IssuerKeys, IssuerRules, Verifier};

/// Time between two polls of a file, and of the flag that a token named an unknown key.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two requests because of unknown keys. Shorter: anybody who invents key ids causes requests. Longer: tokens of a new
/// key are refused for longer, if it was not published beforehand.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);
/// Longest pause after a failed request.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Refreshes the keys of one issuer.
#[derive(Debug)]
pub(super) struct JwksRefresher {
    rules: IssuerRules,
    source: JwksOrigin,
    /// The key set in force, or the last invalid one; the same bytes again are ignored.
    last: Vec<u8>,
}

#[derive(Debug)]
enum JwksOrigin {
    File(PathBuf),
    Url { url: Uri, trust: Option<Arc<ClientConfig>>, refresh: Duration, copy: PathBuf },
}

/// The last valid key set on disk, with its issuer and URL, so that keys of another one are not used.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CachedJwks {
    issuer: String,
    url: String,
    jwks: String,
}

impl JwksRefresher {
    /// Creates a refresher, and returns the first keys: those of the file, which must exist, or those that the last run cached.
    ///
    /// # Errors
    /// The file is not valid.
    pub(super) fn start(config: &IssuerConfig, data_dir: &Path) -> Result<(Self, IssuerKeys)> {
        let rules = config.rules.clone();
        let (source, last) = match &config.jwks {
            JwksSource::File(path) => (JwksOrigin::File(path.clone()), read(path)?),
            JwksSource::Url { url, ca_cert, refresh } => {
                let pem = ca_cert.as_ref().map(|path| read(path)).transpose()?;
                let secure = url.scheme_str() == Some("https");
                let trust = secure.then(|| https::trust(pem.as_deref())).transpose();
                let trust = trust.with_context(|| format!("failed to trust anybody for the keys of {}", rules.name))?;
                let copy = data_dir.join(format!("jwks-{}.json", rules.name));
                let (url, refresh) = (url.clone(), *refresh);
                let last = read_cached(&copy, &rules, &url).unwrap_or_default();
                (JwksOrigin::Url { url, trust, refresh, copy }, last)
            }
        };
        let keys = match &source {
            JwksOrigin::Url { .. } if last.is_empty() => IssuerKeys::default(),
            JwksOrigin::File(path) => IssuerKeys::parse(&last, &rules.algorithms)
                .with_context(|| format!("failed to use the keys in {}", path.display()))?,
            JwksOrigin::Url { .. } => IssuerKeys::parse(&last, &rules.algorithms).unwrap_or_default(),
        };
        Ok((Self { rules, source, last }, keys))
    }

    /// Refreshes the keys until it is cancelled. A failure keeps the former keys.
    pub(super) async fn run(mut self, verifier: Arc<Verifier>, metrics: Metrics) {
        let mut times = RefreshSchedule::new(Instant::now());
        // The last error of reading the keys.
        let mut failing: Option<String> = None;
        let mut round = tokio::time::interval(POLL_INTERVAL);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            // Also taken for a file, so that the flag does not stay set.
            let unknown = verifier.take_unknown_key(&self.rules.name);
            let now = Instant::now();
            let refresh = match &self.source {
                JwksOrigin::File(_) => None,
                JwksOrigin::Url { refresh, .. } if times.is_due(now, unknown) => Some(*refresh),
                JwksOrigin::Url { .. } => continue,
            };
            let read = self.read().await;
            let done = read.and_then(|jwks| self.take(jwks, &verifier));
            if let Some(refresh) = refresh {
                times.asked(Instant::now(), refresh, done.is_ok());
            }
            match done {
                Ok(changed) => {
                    failing = None;
                    if changed || refresh.is_some() {
                        metrics.reloaded(&self.rules.name, true);
                    }
                }
                Err(error) => {
                    if refresh.is_some() || failing.is_none() {
                        metrics.reloaded(&self.rules.name, false);
                    }
                    let error = format!("{error:#}");
                    if failing.as_ref() != Some(&error) {
                        let (issuer, keys) = (&self.rules.name, verifier.key_count(&self.rules.name));
                        tracing::error!(issuer, keys, error, "failed to read an issuer's keys; those known stay");
                    }
                    failing = Some(error);
                }
            }
        }
    }

    async fn read(&self) -> Result<Vec<u8>> {
        match &self.source {
            JwksOrigin::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read(&path)).await?
            }
            JwksOrigin::Url { url, trust, .. } => https::get(url, trust.as_ref(), JWKS_MAX_BYTES).await,
        }
    }

    /// Puts a key set in force. Returns whether it differs from the one before.
    fn take(&mut self, jwks: Vec<u8>, verifier: &Verifier) -> Result<bool> {
        if jwks == self.last && verifier.key_count(&self.rules.name) > 0 {
            return Ok(false);
        }
        let keys = IssuerKeys::parse(&jwks, &self.rules.algorithms)?;
        tracing::info!(issuer = self.rules.name, keys = keys.len(), "took an issuer's keys");
        verifier.replace_keys(&self.rules.name, keys);
        // The unknown key may be in the new set; if it is not, the next token sets the flag again.
        verifier.take_unknown_key(&self.rules.name);
        self.last = jwks;
        self.write_cached();
        Ok(true)
    }

    fn write_cached(&self) {
        let JwksOrigin::Url { url, copy, .. } = &self.source else { return };
        let jwks = String::from_utf8_lossy(&self.last).into_owned();
        let kept = CachedJwks { issuer: self.rules.issuer.clone(), url: url.to_string(), jwks };
        let written = serde_json::to_string(&kept).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| private_file::write(copy, &text)) {
            tracing::warn!(issuer = self.rules.name, %error, "failed to keep a copy of an issuer's keys");
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = || format!("failed to read {}", path.display());
    let size = std::fs::metadata(path).with_context(failed)?.len();
    ensure!(size <= JWKS_MAX_BYTES as u64, "{} is over 64 KiB", path.display());
    std::fs::read(path).with_context(failed)
}

fn read_cached(path: &Path, rules: &IssuerRules, url: &Uri) -> Option<Vec<u8>> {
    let kept: CachedJwks = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (kept.issuer == rules.issuer && kept.url == url.to_string()).then(|| kept.jwks.into_bytes())
}

/// Decides when an issuer may be asked for its keys.
#[derive(Debug)]
struct RefreshSchedule {
    next: Instant,
    /// The earliest time of a request because of an unknown key.
    unknown_from: Instant,
    because_unknown: bool,
}

impl RefreshSchedule {
    fn new(now: Instant) -> Self {
        Self { next: now, unknown_from: now, because_unknown: false }
    }

    fn is_due(&mut self, now: Instant, unknown: bool) -> bool {
        // An unknown key that was seen too early is requested when it is time.
        self.because_unknown |= unknown;
        now >= self.next || (self.because_unknown && now >= self.unknown_from)
    }

    fn asked(&mut self, now: Instant, refresh: Duration, well: bool) {
        let pause = if well { refresh } else { refresh.min(RETRY_INTERVAL) };
        self.next = now + pause;
        if self.because_unknown {
            self.unknown_from = now + UNKNOWN_KEY_INTERVAL;
        }
        self.because_unknown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(300);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn unknown_keys_make_one_request_in_30_seconds() {
        let start = Instant::now();
        let mut times = RefreshSchedule::new(start);
        assert!(times.is_due(start, false), "at the start");
        times.asked(start, REFRESH, true);
        let mut asked = Vec::new();
        // Given a new unknown key every second, for 10 minutes.
        for second in 1..=600 {
            let now = start + seconds(second);
            if times.is_due(now, true) {
                asked.push(second);
                times.asked(now, REFRESH, true);
            }
        }
        assert_eq!(asked.first(), Some(&1), "the first one at once: it may be a new key");
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{asked:?}");
        assert_eq!(asked.len(), 20);
    }

    #[test]
    fn an_unknown_key_is_not_forgotten_while_it_is_too_early() {
        let start = Instant::now();
        let mut times = RefreshSchedule::new(start);
        assert!(times.is_due(start, true));
        times.asked(start, REFRESH, true);
        assert!(!times.is_due(start + seconds(10), true));
        assert!(!times.is_due(start + seconds(29), false));
        assert!(times.is_due(start + seconds(30), false));
    }

    #[test]
    fn a_request_that_failed_is_made_again_soon_and_not_all_the_time() {
        let start = Instant::now();
        let mut times = RefreshSchedule::new(start);
        times.asked(start, REFRESH, false);
        assert!(!times.is_due(start + seconds(14), false));
        assert!(times.is_due(start + RETRY_INTERVAL, false));
        times.asked(start, REFRESH, true);
        assert!(!times.is_due(start + seconds(299), false) && times.is_due(start + REFRESH, false));
    }

    #[test]
    fn a_copy_of_another_place_or_issuer_is_not_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jwks-corp.json");
        let rules = IssuerRules {
            name: "corp".to_owned(),
            issuer: "https://id.example".to_owned(),
            audience: "hub".to_owned(),
            algorithms: Vec::new(),
            allow_typ_jwt: false,
            subject_claim: "sub".to_owned(),
            groups_claim: None,
        };
        let url = Uri::from_static("https://id.example/keys");
        let write = |issuer: &str, url: &str| {
            let copy = CachedJwks { issuer: issuer.to_owned(), url: url.to_owned(), jwks: "{}".to_owned() };
            private_file::write(&path, &serde_json::to_string(&copy).expect("json")).expect("written");
        };
        assert_eq!(read_cached(&path, &rules, &url), None, "there is none");
        write("https://id.example", "https://id.example/keys");
        assert_eq!(read_cached(&path, &rules, &url), Some(b"{}".to_vec()));
        write("https://other.example", "https://id.example/keys");
        assert_eq!(read_cached(&path, &rules, &url), None, "of another issuer");
        write("https://id.example", "https://other.example/keys");
        assert_eq!(read_cached(&path, &rules, &url), None, "of another place");
        std::fs::write(&path, "{").expect("written");
        assert_eq!(read_cached(&path, &rules, &url), None, "half of one");
    }
}
