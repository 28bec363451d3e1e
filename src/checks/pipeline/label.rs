//! The check `label`: a label may follow the published ones.

use super::step::{CheckSubject, Step};
use crate::domain::label::Label;
use crate::domain::policy::{BumpRule, PolicySettings};
use crate::domain::report::{Check, CheckResult, LABEL_CHECK};

/// Checks the label of a version.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let input = subject.input;
    Step::Done(check_label(input.label, input.settings, input.published_labels))
}

/// Runs only the `label` check: it needs no content, so it can run under the lock, after the labels changed.
#[must_use]
pub fn check_label(label: Option<&Label>, settings: &PolicySettings, published_labels: &[Label]) -> Check {
    let Some(label) = label else {
        return Check::new(LABEL_CHECK, CheckResult::Skipped, "the version has no label");
    };
    let failed = |message: String, hint: &str| Check::new(LABEL_CHECK, CheckResult::Failed, message).with_hint(hint);
    let highest = Label::highest(published_labels.iter());
    if let Some(highest) = highest
        && !label.is_higher_than(highest)
        && !settings.allow_backport
    {
        let hint = "draft it again with a higher label, or have an admin set allow_backport of the policy";
        return failed(format!("label {label} is not higher than {highest}, the highest published label"), hint);
    }
    // A backport is compared with the highest label below it; any other label with the highest of all.
    let before = Label::highest(published_labels.iter().filter(|published| label.is_higher_than(published)));
    match (settings.bump_rule, before) {
        (BumpRule::Next, Some(before)) if !label.is_next_after(before) => {
            let rank =
                if Some(before) == highest { "the highest published label" } else { "the published label below it" };
            let hint =
                "draft it again with the next major, minor or patch, or have an admin change bump_rule of the policy";
            failed(format!("label {label} is not one step after {before}, {rank}"), hint)
        }
        (BumpRule::Any | BumpRule::Next, _) => {
            Check::new(LABEL_CHECK, CheckResult::Passed, format!("label {label} may follow"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckResult::{Failed, Passed};

    fn label_check(settings: &PolicySettings, label: &str, published: &[&str]) -> Check {
        let parse = |text: &str| Label::parse("label", text).unwrap();
        let published: Vec<Label> = published.iter().map(|text| parse(text)).collect();
        check_label(Some(&parse(label)), settings, &published)
    }

    #[test]
    fn a_label_is_higher_than_every_published_one() {
        let settings = PolicySettings::default();
        assert_eq!(label_check(&settings, "0.1.0", &[]).result, Passed);
        assert_eq!(label_check(&settings, "1.10.0", &["1.2.0", "1.9.0", "1.3.0"]).result, Passed);
        for label in ["1.8.0", "1.9.0", "1.9.0+build", "1.9.0-rc.1"] {
            let check = label_check(&settings, label, &["1.2.0", "1.9.0", "1.3.0"]);
            let message = format!("label {label} is not higher than 1.9.0, the highest published label");
            assert_eq!(check.findings[0].message, message);
            assert_eq!(check.result, Failed);
        }
        let settings = PolicySettings { allow_backport: true, ..Default::default() };
        assert_eq!(label_check(&settings, "1.8.0", &["1.9.0"]).result, Passed);
    }

    #[test]
    fn the_next_rule_takes_one_step() {
        let settings = PolicySettings { bump_rule: BumpRule::Next, ..Default::default() };
        assert_eq!(label_check(&settings, "7.3.1", &[]).result, Passed);
        assert_eq!(label_check(&settings, "1.3.0", &["1.0.0", "1.2.5"]).result, Passed);
        let check = label_check(&settings, "1.4.0", &["1.0.0", "1.2.5"]);
        assert_eq!(check.findings[0].message, "label 1.4.0 is not one step after 1.2.5, the highest published label");
        assert_eq!(check.result, Failed);
        let settings = PolicySettings { allow_backport: true, ..settings };
        assert_eq!(label_check(&settings, "1.2.6", &["1.2.5", "2.0.0"]).result, Passed);
        let check = label_check(&settings, "1.2.7", &["1.2.5", "2.0.0"]);
        assert_eq!(check.findings[0].message, "label 1.2.7 is not one step after 1.2.5, the published label below it");
    }
}
