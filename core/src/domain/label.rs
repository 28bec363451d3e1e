//! Labels: the optional SemVer of a version.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::limits::LABEL_MAX_CHARS;

/// A SemVer 2.0.0 without a leading `v`. Kept as it was written; ordered by precedence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(semver::Version);

/// A part of a label that is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelPart {
    /// Something that was relied on is no longer so.
    Major,
    /// Something new.
    Minor,
    /// A correction.
    Patch,
}

impl Label {
    /// Gives the first label of a policy: 1.0.0 for a major one, else 0.1.0.
    #[must_use]
    pub fn first(part: LabelPart) -> Self {
        Self(if part == LabelPart::Major { semver::Version::new(1, 0, 0) } else { semver::Version::new(0, 1, 0) })
    }

    /// Gives the label after this one; none when there is none. A pre-release ends with the release that it announces, when
    /// that is large enough: a patch after 2.0.0-rc.1 is 2.0.0, and so is a major one.
    #[must_use]
    pub fn bumped(&self, part: LabelPart) -> Option<Self> {
        let semver::Version { major, minor, patch, ref pre, .. } = self.0;
        let is_announced = !pre.is_empty();
        let (major, minor, patch) = match part {
            LabelPart::Major if is_announced && minor == 0 && patch == 0 => (major, 0, 0),
            LabelPart::Major => (major.checked_add(1)?, 0, 0),
            LabelPart::Minor if is_announced && patch == 0 => (major, minor, 0),
            LabelPart::Minor => (major, minor.checked_add(1)?, 0),
            LabelPart::Patch if is_announced => (major, minor, patch),
            LabelPart::Patch => (major, minor, patch.checked_add(1)?),
        };
        Some(Self(semver::Version::new(major, minor, patch)))
    }

    /// Takes a SemVer, with or without a leading `v`; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        if bare.len() > LABEL_MAX_CHARS {
            return Err(Error::invalid(field, format!("label is over {LABEL_MAX_CHARS} characters")));
        }
        semver::Version::parse(bare)
            .map(Self)
            .map_err(|error| Error::invalid_text(field, text, format!("label is not a SemVer: {error}")))
    }

    /// Returns whether `self` comes after `other` by SemVer precedence (§11; build metadata does not count).
    #[must_use]
    pub fn is_higher_than(&self, other: &Self) -> bool {
        self.0.cmp_precedence(&other.0).is_gt()
    }

    /// Returns the highest of labels, the first of those that differ in build metadata alone.
    #[must_use]
    pub fn highest<'a>(labels: impl Iterator<Item = &'a Self>) -> Option<&'a Self> {
        labels.reduce(|highest, label| if label.is_higher_than(highest) { label } else { highest })
    }

    /// Returns whether `self` satisfies a SemVer requirement; build metadata does not count. A pre-release satisfies only a requirement
    /// that names a pre-release of the same version.
    #[must_use]
    pub fn satisfies(&self, requirement: &semver::VersionReq) -> bool {
        requirement.matches(&self.0)
    }

    /// Returns whether `self` is exactly one major, minor or patch step after `other`. Pre-releases of that step count as it.
    #[must_use]
    pub fn is_next_after(&self, other: &Self) -> bool {
        let (new, old) = (&self.0, &other.0);
        let step = (new.major, new.minor, new.patch);
        // A label may hold u64::MAX, and then nothing comes next.
        old.major.checked_add(1).is_some_and(|major| step == (major, 0, 0))
            || old.minor.checked_add(1).is_some_and(|minor| step == (old.major, minor, 0))
            || old.patch.checked_add(1).is_some_and(|patch| step == (old.major, old.minor, patch))
            || (step == (old.major, old.minor, old.patch) && !old.pre.is_empty())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Label {
        Label::parse("label", text).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[test]
    fn order_is_semver_precedence() {
        assert!(label("1.10.0").is_higher_than(&label("1.9.0")));
        assert!(label("1.0.0").is_higher_than(&label("1.0.0-preview")));
        assert!(!label("1.0.0+b").is_higher_than(&label("1.0.0+a")));
        let labels = ["1.9.0", "1.10.0+a", "1.10.0+b", "1.10.0-rc.1"].map(label);
        assert_eq!((Label::highest(labels.iter()), Label::highest([].iter())), (Some(&labels[1]), None));
    }

    #[test]
    fn a_bump_is_the_next_label() {
        use LabelPart::{Major, Minor, Patch};
        for (from, bump, to) in [
            ("1.4.2", Patch, Some("1.4.3")),
            ("1.4.2", Minor, Some("1.5.0")),
            ("1.4.2+build", Major, Some("2.0.0")),
            ("2.0.0-rc.1", Major, Some("2.0.0")),
            ("2.0.0-rc.1", Patch, Some("2.0.0")),
            ("2.1.0-rc.1", Minor, Some("2.1.0")),
            ("2.1.0-rc.1", Major, Some("3.0.0")),
            ("2.1.1-rc.1", Minor, Some("2.2.0")),
            ("0.18446744073709551615.0", Minor, None),
        ] {
            let bumped = label(from).bumped(bump);
            assert!(bumped.as_ref().is_none_or(|bumped| bumped.is_higher_than(&label(from))), "{from}");
            assert_eq!(bumped.map(|bumped| bumped.to_string()).as_deref(), to, "{from} {bump:?}");
        }
        assert_eq!([Major, Minor, Patch].map(|bump| Label::first(bump).to_string()), ["1.0.0", "0.1.0", "0.1.0"]);
    }

    #[test]
    fn one_step_is_one_step() {
        for (new, old, next) in [
            ("1.0.1", "1.0.0", true),
            ("1.1.0", "1.0.7", true),
            ("2.0.0", "1.9.9", true),
            ("1.0.0", "1.0.0-rc.1", true),
            ("1.2.0", "1.0.0", false),
            ("1.1.1", "1.0.0", false),
            ("1.0.0", "1.0.0", false),
            ("18446744073709551615.0.0", "18446744073709551615.0.0", false),
            ("18446744073709551615.0.0", "18446744073709551615.5.0", false),
        ] {
            assert_eq!(label(new).is_next_after(&label(old)), next, "{old} to {new}");
        }
    }
}
