//! Asks a console for a one-time code, for the command `policyhub console`.

use anyhow::{Context as _, Result, bail};
use http::{StatusCode, Uri};

use super::https::{post_with_token, trust};

/// The path where a console gives codes.
const CODES_PATH: &str = "/sign-in/codes";
/// The largest answer.
const ANSWER_MAX_BYTES: usize = 16 * 1024;

/// Shows a token to the console at `url`, and returns the path that signs a browser in once.
///
/// # Errors
/// The console can't be reached, or does not take the token.
pub async fn sign_in_path(url: &Uri, ca_cert: Option<&[u8]>, token: &str) -> Result<String> {
    let trust = if url.scheme_str() == Some("https") { Some(trust(ca_cert)?) } else { None };
    let authority = url.authority().context("the address has no host")?;
    let scheme = url.scheme_str().unwrap_or("http");
    let url: Uri = format!("{scheme}://{authority}{CODES_PATH}").parse()?;
    let (status, body) = post_with_token(&url, trust.as_ref(), token, ANSWER_MAX_BYTES).await?;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |field: &str| answer.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let path = text("path");
    // Only a path of the console is printed, whatever answered there.
    let is_path = path.starts_with("/sign-in/code?code=") && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    match status {
        StatusCode::OK if is_path => Ok(path),
        StatusCode::OK => bail!("what answers there is no console"),
        status if text("reason").is_empty() => bail!("the answer is {status}"),
        _ => bail!("{} ({})", text("message"), text("reason")),
    }
}
