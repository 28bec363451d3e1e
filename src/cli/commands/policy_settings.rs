//! The flags of a policy's settings. Each flag is one path of UpdatePolicy's mask.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cli::output::text;
use crate::client::pb;

/// What an owner decides. A flag that is not given changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct SettingsFlags {
    /// Open drafts at once; 0: no limit, 1: a new draft replaces the open one unless it is staged
    #[arg(long, value_name = "N")]
    max_open_drafts: Option<u16>,
    /// File with a JSON Schema that content must satisfy
    #[arg(long, value_name = "FILE", conflicts_with = "no_json_schema")]
    json_schema: Option<PathBuf>,
    /// Remove the JSON Schema
    #[arg(long)]
    no_json_schema: bool,
    /// Whether a label may be lower than one already published
    #[arg(long, value_name = "BOOL")]
    allow_backport: Option<bool>,
    /// How a label must follow the highest published one
    #[arg(long, value_enum)]
    bump_rule: Option<BumpRuleArgument>,
    /// Whether a draft is served, marked as a preview, while nothing is active
    #[arg(long, value_name = "BOOL")]
    allow_draft_fallback: Option<bool>,
    /// Approvals that publishing needs
    #[arg(long, value_name = "N")]
    required_approvals: Option<u16>,
    /// Whether a draft needs a note that says what changed
    #[arg(long, value_name = "BOOL")]
    require_change_note: Option<bool>,
    /// Whether a draft must start from the version that is active then (--base-version, or `policyhub edit`)
    #[arg(long, value_name = "BOOL")]
    require_base_active: Option<bool>,
    /// Name of the members of the content that hold references, such as source_pointer; more than once for more
    #[arg(long = "reference-key", value_name = "NAME", conflicts_with = "default_reference_keys")]
    reference_keys: Vec<String>,
    /// Let references be held by source_pointer alone again
    #[arg(long)]
    default_reference_keys: bool,
}

/// How a label must follow the highest published one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BumpRuleArgument {
    /// Any higher one
    Any,
    /// Exactly one step
    Next,
}

impl SettingsFlags {
    /// Returns whether no setting is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Returns the given settings and their paths.
    ///
    /// # Errors
    /// A schema file can't be read.
    pub fn read(&self) -> anyhow::Result<(pb::PolicySettings, Vec<String>)> {
        let mut settings = pb::PolicySettings::default();
        let mut paths = Vec::new();
        let mut given = |field: &str| paths.push(format!("settings.{field}"));
        if let Some(number) = self.max_open_drafts {
            settings.max_open_drafts = i32::from(number);
            given("max_open_drafts");
        }
        if let Some(path) = &self.json_schema {
            settings.json_schema =
                std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        }
        if self.json_schema.is_some() || self.no_json_schema {
            given("json_schema");
        }
        if let Some(allowed) = self.allow_backport {
            settings.allow_backport = allowed;
            given("allow_backport");
        }
        if let Some(rule) = self.bump_rule {
            let rule = match rule {
                BumpRuleArgument::Any => pb::BumpRule::Unspecified,
                BumpRuleArgument::Next => pb::BumpRule::Next,
            };
            settings.bump_rule = rule.into();
            given("bump_rule");
        }
        if let Some(allowed) = self.allow_draft_fallback {
            settings.allow_draft_fallback = allowed;
            given("allow_draft_fallback");
        }
        if let Some(number) = self.required_approvals {
            settings.required_approvals = i32::from(number);
            given("required_approvals");
        }
        if let Some(required) = self.require_change_note {
            settings.require_change_note = required;
            given("require_change_note");
        }
        if let Some(required) = self.require_base_active {
            settings.require_base_active = required;
            given("require_base_active");
        }
        if !self.reference_keys.is_empty() || self.default_reference_keys {
            settings.reference_keys.clone_from(&self.reference_keys);
            given("reference_keys");
        }
        Ok((settings, paths))
    }
}

/// Returns the settings that are not as by default, as a line for a terminal; empty when all are.
pub fn settings_line(settings: &pb::PolicySettings) -> String {
    let pb::PolicySettings {
        max_open_drafts,
        json_schema,
        allow_backport,
        bump_rule,
        allow_draft_fallback,
        required_approvals,
        require_change_note,
        require_base_active,
        reference_keys,
    } = settings;
    let number = |name: &str, value: i32| (value != 0).then(|| format!("{name} {value}"));
    let flag = |name: &str, is_set: bool| is_set.then(|| name.to_owned());
    let keys: Vec<String> = reference_keys.iter().map(|key| text::line(key)).collect();
    let set = [
        number("max_open_drafts", *max_open_drafts),
        (!json_schema.is_empty()).then(|| format!("json_schema of {} bytes", json_schema.len())),
        flag("allow_backport", *allow_backport),
        flag("bump_rule next", *bump_rule == i32::from(pb::BumpRule::Next)),
        flag("allow_draft_fallback", *allow_draft_fallback),
        number("required_approvals", *required_approvals),
        flag("require_change_note", *require_change_note),
        flag("require_base_active", *require_base_active),
        (!keys.is_empty()).then(|| format!("reference_keys {}", keys.join(" "))),
    ];
    let set: Vec<String> = set.into_iter().flatten().collect();
    if set.is_empty() { String::new() } else { format!("settings: {}\n", set.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_not_as_by_default_are_shown() {
        assert_eq!(settings_line(&pb::PolicySettings::default()), "");
        let settings = pb::PolicySettings {
            json_schema: "{}".to_owned(),
            required_approvals: 2,
            require_base_active: true,
            reference_keys: vec!["see".to_owned(), "a\nb".to_owned()],
            ..Default::default()
        };
        let expected =
            "settings: json_schema of 2 bytes, required_approvals 2, require_base_active, reference_keys see a b\n";
        assert_eq!(settings_line(&settings), expected);
    }

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        let flags = SettingsFlags { max_open_drafts: Some(1), allow_backport: Some(false), ..Default::default() };
        let (settings, paths) = flags.read().expect("settings");
        assert_eq!(settings.max_open_drafts, 1);
        assert_eq!(paths, ["settings.max_open_drafts", "settings.allow_backport"]);
        assert!(SettingsFlags::default().is_empty() && !flags.is_empty());
        assert!(SettingsFlags::default().read().expect("settings").1.is_empty());
        let removed = SettingsFlags { no_json_schema: true, ..Default::default() }.read().expect("settings");
        assert_eq!((removed.0.json_schema.as_str(), removed.1), ("", vec!["settings.json_schema".to_owned()]));
    }
}
