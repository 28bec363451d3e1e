//! The frame of every page, and the small parts that pages share: times, digests, states.

use askama::Template;

use super::assets::AssetAddresses;
use super::visible_text::VisibleText;
use crate::domain::digest::Digest;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};

/// Characters of a digest that are shown.
const DIGEST_SHOWN_CHARS: usize = 12;

/// The pages that the menu of a namespace leads to: the end of their path, and their names.
pub const MENU_PAGES: [(&str, &str); 8] = [
    ("", "Policies"),
    ("approvals", "Approvals"),
    ("fleet", "Fleet"),
    ("log", "Log"),
    ("runs", "Runs"),
    ("guardrails", "Guardrails"),
    ("schedules", "Schedules"),
    ("roles", "Roles"),
];

/// Pages below a namespace that no link of the menu leads to, and which page of the menu leads to them.
pub const PAGES_BELOW: [(&str, &str); 3] = [("activations", "log"), ("active", "log"), ("archive", "log")];

/// The frame of a page.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Title of the page.
    pub title: String,
    /// Who is signed in; empty: nobody.
    pub caller: VisibleText,
    /// The token of forms; empty when nobody is signed in.
    pub form_token: String,
    /// Addresses of style and scripts.
    pub assets: AssetAddresses,
    /// The namespace of the page, for its navigation.
    pub namespace: Option<NamespaceId>,
    /// Which of the [`MENU_PAGES`] it is or stands below.
    pub menu_page: &'static str,
    /// The way to the page, the outermost first.
    pub crumbs: Vec<Crumb>,
    /// The command that shows the same.
    pub command: String,
    /// What an action has just done; empty when none led here.
    pub done: String,
}

/// A link of the menu of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuLink {
    /// What is read.
    pub name: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether the page is that one, or stands below it.
    pub is_current: bool,
}

/// A link of the way to a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crumb {
    /// What is read.
    pub text: String,
    /// Where it leads.
    pub href: String,
}

impl Layout {
    /// Returns the frame of a page that nobody has to be signed in for.
    #[must_use]
    pub fn anonymous(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            caller: VisibleText::default(),
            form_token: String::new(),
            assets: AssetAddresses::current(),
            namespace: None,
            menu_page: "",
            crumbs: Vec::new(),
            command: String::new(),
            done: String::new(),
        }
    }

    /// Adds the namespace, its link in the way to the page, and the command that shows the same, without `policyhub` and namespace;
    /// empty when none does.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &NamespaceId, command: &str) -> Self {
        self.crumbs.push(Crumb { text: namespace.to_string(), href: namespace_path(namespace) });
        self.command = if command.is_empty() { String::new() } else { command_line(namespace, command) };
        self.namespace = Some(namespace.clone());
        self
    }

    /// Returns the id of the namespace of the page; empty when it has none.
    #[must_use]
    pub fn namespace_id(&self) -> &str {
        self.namespace.as_ref().map_or("", NamespaceId::as_str)
    }

    /// Returns the links of the menu of a namespace.
    #[must_use]
    pub fn menu(&self, namespace: &NamespaceId) -> Vec<MenuLink> {
        let link =
            |(page, name)| MenuLink { name, href: menu_page_path(namespace, page), is_current: page == self.menu_page };
        MENU_PAGES.map(link).into()
    }

    /// Adds a link to the way to the page.
    #[must_use]
    pub fn below(mut self, text: impl Into<String>, href: impl Into<String>) -> Self {
        self.crumbs.push(Crumb { text: text.into(), href: href.into() });
        self
    }
}

/// Returns a command as it is typed.
#[must_use]
pub fn command_line(namespace: &NamespaceId, command: &str) -> String {
    format!("policyhub {command} -n {namespace}")
}

/// Returns the path of a namespace.
#[must_use]
pub fn namespace_path(namespace: &NamespaceId) -> String {
    format!("/namespaces/{namespace}")
}

/// Returns which of the [`MENU_PAGES`] has this end of its path, or leads to the page that has; of any other the first.
#[must_use]
pub fn menu_page(end: &str) -> &'static str {
    let end = PAGES_BELOW.iter().find(|(page, _)| *page == end).map_or(end, |(_, above)| above);
    MENU_PAGES.iter().map(|(page, _)| *page).find(|page| *page == end).unwrap_or_default()
}

/// Returns the path of one of the [`MENU_PAGES`] of a namespace.
#[must_use]
pub fn menu_page_path(namespace: &NamespaceId, page: &str) -> String {
    let path = namespace_path(namespace);
    if page.is_empty() { path } else { format!("{path}/{page}") }
}

/// Returns the path of the activation at a revision.
#[must_use]
pub fn activation_path(namespace: &NamespaceId, revision: i64) -> String {
    format!("{}/activations/{revision}", namespace_path(namespace))
}

/// Returns the path of a policy.
#[must_use]
pub fn policy_path(policy: &PolicyName) -> String {
    format!("/namespaces/{}/policies/{}", policy.namespace, policy.policy)
}

/// Returns the path of a version.
#[must_use]
pub fn version_path(policy: &PolicyName, number: i64) -> String {
    format!("{}/versions/{number}", policy_path(policy))
}

/// A time: relative to now, and exact for who points at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Template)]
#[template(path = "parts/moment.html")]
pub struct Moment {
    at: Micros,
    now: Micros,
}

impl askama::filters::HtmlSafe for Moment {}

impl Moment {
    /// Returns a time as it is seen from now.
    #[must_use]
    pub fn new(at: Micros, now: Micros) -> Self {
        Self { at, now }
    }

    fn relative(&self) -> String {
        let seconds = self.now.seconds().saturating_sub(self.at.seconds());
        let span = match seconds.unsigned_abs() {
            seconds @ 0..60 => format!("{seconds} s"),
            seconds @ 60..3_600 => format!("{} min", seconds / 60),
            seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
            seconds => format!("{} d", seconds / 86_400),
        };
        if seconds < 0 { format!("in {span}") } else { format!("{span} ago") }
    }
}

/// A digest: its beginning, and the whole of it for who points at it or copies it.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "parts/digest.html")]
pub struct ShortDigest {
    whole: String,
    short: String,
}

impl askama::filters::HtmlSafe for ShortDigest {}

impl From<&Digest> for ShortDigest {
    fn from(digest: &Digest) -> Self {
        let whole = digest.to_string();
        let short = whole.trim_start_matches("sha256:").chars().take(DIGEST_SHOWN_CHARS).collect();
        Self { whole, short }
    }
}

/// The state of a version, by shape and word as well as by colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Template)]
#[template(path = "parts/state.html")]
pub struct StateMark {
    class: &'static str,
    word: &'static str,
}

impl askama::filters::HtmlSafe for StateMark {}

impl StateMark {
    /// Returns the mark of a version.
    #[must_use]
    pub fn of(version: &Version, is_active: bool) -> Self {
        let (class, word) = match version.state {
            _ if is_active => ("active", "active"),
            VersionState::Draft => ("draft", "draft"),
            VersionState::Staged => ("staged", "staged"),
            VersionState::Published => ("published", "published"),
            VersionState::Superseded => ("ended", "superseded"),
            VersionState::Abandoned => ("ended", "abandoned"),
            VersionState::Rejected => ("ended", "rejected"),
        };
        Self { class, word }
    }
}

/// Returns how people name a version: its number, and its label if it has one.
#[must_use]
pub fn release_of(version: &Version) -> String {
    match &version.label {
        Some(label) => format!("{} ({label})", version.number),
        None => version.number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_relative_and_exact() {
        let now = Micros(1_700_000_000_000_000);
        let ago = |seconds: i64| Moment::new(Micros(now.0 - seconds * 1_000_000), now).relative();
        let said: Vec<String> = [0, 59, 60, 3_599, 3_600, 86_399, 86_400 * 3, -90].map(ago).into();
        assert_eq!(
            said,
            ["0 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "3 d ago", "in 1 min"]
        );
        let html = Moment::new(now, now).render().expect("HTML");
        assert!(html.contains("2023-11-14T22:13:20Z"), "{html}");
    }
}
