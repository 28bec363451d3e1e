//! Which published versions new rules would refuse, as lines for a terminal.

use crate::cli::output::text;
use crate::client::pb;

/// What the answer of a change of rules says about published versions.
#[derive(Debug, Clone, Copy)]
pub struct TrialAnswer<'a> {
    /// What was found.
    pub violations: &'a [pb::GuardrailViolation],
    /// The number of violations beside these.
    pub not_listed: i32,
    /// The number of versions that the rules were tried on.
    pub tried: i32,
    /// The number of published versions that they were not tried on.
    pub not_tried: i32,
}

impl TrialAnswer<'_> {
    /// Returns on how many versions the rules were tried, as the end of a line.
    pub fn coverage(&self) -> String {
        let versions = if self.tried == 1 { "version" } else { "versions" };
        let not_tried = match self.not_tried {
            0 => String::new(),
            more => format!("; not looked at: {more}"),
        };
        format!("tried on {} published {versions}{not_tried}", self.tried)
    }

    /// Returns a line for each violation, and what follows from them.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for each in self.violations {
            let severity = text::word(each.severity().as_str_name(), "GUARDRAIL_SEVERITY_");
            let state = if each.active { "active" } else { "published" };
            let label = if each.label.is_empty() { String::new() } else { format!(" v{}", text::line(&each.label)) };
            let place =
                if each.pointer.is_empty() { String::new() } else { format!(" at {}", text::line(&each.pointer)) };
            let version = each.version.strip_prefix("namespaces/").unwrap_or(&each.version);
            let version = version.replacen("/policies/", "/", 1).replacen("/versions/", "@", 1);
            let (version, check, message) = (text::line(&version), text::line(&each.check), text::line(&each.message));
            lines.push_str(&format!("{severity} {version}{label} ({state}) {check}{place}: {message}\n"));
        }
        if self.not_listed > 0 {
            lines.push_str(&format!("and {} more that are not listed\n", self.not_listed));
        }
        if self.violations.iter().any(|each| each.severity() == pb::GuardrailSeverity::Deny) {
            lines.push_str(
                "what is active stays so; versions with DENY are refused when they are activated or rolled back to\n",
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(number: u32, active: bool) -> pb::GuardrailViolation {
        pb::GuardrailViolation {
            version: format!("namespaces/n/policies/p/versions/{number}"),
            label: "1.0.0".to_owned(),
            active,
            check: "json-schema".to_owned(),
            severity: pb::GuardrailSeverity::Deny.into(),
            message: "5 is less than\n10".to_owned(),
            pointer: "/max".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn what_was_left_out_is_said() {
        let violations = [violation(2, true), violation(1, false)];
        let whole = TrialAnswer { violations: &violations, not_listed: 0, tried: 2, not_tried: 0 };
        assert_eq!(whole.coverage(), "tried on 2 published versions");
        let expected = "DENY n/p@2 v1.0.0 (active) json-schema at /max: 5 is less than 10\n\
             DENY n/p@1 v1.0.0 (published) json-schema at /max: 5 is less than 10\n\
             what is active stays so; versions with DENY are refused when they are activated or rolled back to\n";
        assert_eq!(whole.lines(), expected);
        let part = TrialAnswer { violations: &[], not_listed: 7, tried: 1, not_tried: 3 };
        assert_eq!(part.coverage(), "tried on 1 published version; not looked at: 3");
        assert_eq!(part.lines(), "and 7 more that are not listed\n");
    }
}
