//! Adoption: who wrote a version before it came here, and when, as the one who brought it says.
//!
//! It is a claim: the version's own author and time stay those of the call that brought it, so that nothing pretends to have been
//! made here. Nothing is decided by it. Invariant: it is within the bounds of `limits`, wherever it was read from.

use serde::{Deserialize, Serialize};

use super::limits::ADOPTED_AUTHOR_MAX_BYTES;
use super::time::Micros;
use super::{Error, Result};

/// Holds what is said of a version that existed before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Adopted {
    author: String,
    /// Seconds since the Unix epoch, as manifests count.
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<i64>,
}

/// Holds the text as it was read.
#[derive(Deserialize)]
struct Unchecked {
    author: String,
    #[serde(default)]
    create_time: Option<i64>,
}

impl Adopted {
    /// Takes an adoption from a request, its time cut to seconds.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: no author, one out of bounds, or a time before 1970.
    pub fn new(author: String, create_time: Option<Micros>) -> Result<Self> {
        check_author(&author).map_err(|rule| Error::invalid("adopted.author", rule))?;
        let create_time = create_time.map(Micros::seconds);
        check_time(create_time).map_err(|rule| Error::invalid("adopted.create_time", rule))?;
        Ok(Self { author, create_time })
    }

    /// Returns who wrote it, in the words of who brought it: no principal of this store.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Returns when it was written; none: not known.
    #[must_use]
    pub fn create_time(&self) -> Option<Micros> {
        self.create_time.map(|seconds| Micros(seconds.saturating_mul(1_000_000)))
    }

    /// Refuses what was not written yet.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn check_is_past(&self, now: Micros) -> Result<()> {
        match self.create_time {
            Some(seconds) if seconds > now.seconds() => {
                Err(Error::invalid("adopted.create_time", format!("is in the future: it is {now} now")))
            }
            _ => Ok(()),
        }
    }
}

fn check_author(author: &str) -> std::result::Result<(), String> {
    if author.trim().is_empty() {
        return Err("is required: who wrote the version".to_owned());
    }
    if author.len() > ADOPTED_AUTHOR_MAX_BYTES {
        return Err(format!("is over {ADOPTED_AUTHOR_MAX_BYTES} bytes"));
    }
    if author.chars().any(char::is_control) {
        return Err("holds a control character".to_owned());
    }
    Ok(())
}

fn check_time(seconds: Option<i64>) -> std::result::Result<(), String> {
    if seconds.is_some_and(|seconds| seconds < 0) { Err("is before 1970".to_owned()) } else { Ok(()) }
}

impl TryFrom<Unchecked> for Adopted {
    type Error = String;

    fn try_from(Unchecked { author, create_time }: Unchecked) -> std::result::Result<Self, String> {
        check_author(&author)?;
        check_time(create_time)?;
        Ok(Self { author, create_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adoption_is_written_and_read_within_its_bounds() {
        let of = |author: &str, time| Adopted::new(author.to_owned(), time);
        let adopted = of("system", Some(Micros(1_709_251_200_999_999))).expect("an adoption");
        let text = serde_json::to_string(&adopted).expect("JSON");
        assert_eq!(text, r#"{"author":"system","create_time":1709251200}"#);
        assert_eq!(serde_json::from_str::<Adopted>(&text).ok(), Some(adopted));
        let timeless = of("Zoë <zoe@example.com>", None).expect("without a time");
        assert_eq!(serde_json::to_string(&timeless).expect("JSON"), r#"{"author":"Zoë <zoe@example.com>"}"#);
        let long = "a".repeat(ADOPTED_AUTHOR_MAX_BYTES + 1);
        for author in ["", "  ", "a\nb", "\u{9b}", long.as_str()] {
            of(author, None).expect_err(author);
            let text = serde_json::json!({ "author": author }).to_string();
            assert!(serde_json::from_str::<Adopted>(&text).is_err(), "{text}");
        }
        of("system", Some(Micros(-1))).expect_err("before 1970");
        for text in [
            "{}",
            r#"{"author":"a","author":"b"}"#,
            r#"{"author":"a","create_time":-1}"#,
            r#"{"author":"a","create_time":1.5}"#,
            r#"{"author":"a","create_time":"1"}"#,
            "null",
        ] {
            assert!(serde_json::from_str::<Adopted>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_future_was_not_written_yet() {
        let adopted = Adopted::new("system".to_owned(), Some(Micros(2_000_000))).expect("an adoption");
        adopted.check_is_past(Micros(2_000_000)).expect("now");
        adopted.check_is_past(Micros(1_999_999)).expect_err("a moment before");
    }
}
