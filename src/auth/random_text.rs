//! Random texts of URL-safe letters: ids, codes, states and nonces.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::domain::{Error, Result};

/// Random bytes of a code: nobody guesses 256 bits.
const CODE_BYTES: usize = 32;

/// Returns a code that nobody can guess.
///
/// # Errors
/// `INTERNAL` when the system has no randomness.
pub fn random_code() -> Result<String> {
    random_text(CODE_BYTES)
}

/// Returns a text of so many random bytes.
///
/// # Errors
/// `INTERNAL` when the system has no randomness.
pub(super) fn random_text(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::internal("the system gave no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
