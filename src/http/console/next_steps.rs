//! What somebody in a browser does next after a refusal, by its reason: a sentence, and a link to the page where it is done.
//!
//! Boundary: the commands that do the same are in the next steps of the command line, which says them after an error of a call.

use askama::Template;

use super::layout::{Crumb, Layout};
use crate::domain::{Error, Reason};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "parts/next_step.html")]
pub struct NextStep {
    text: &'static str,
    link: Option<Crumb>,
}

impl askama::filters::HtmlSafe for NextStep {}

/// A page that a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// None: the step is elsewhere, or the message says where.
    Nowhere,
    /// The page that was asked for, or that has the form which was sent.
    Same,
    /// The policy.
    Policy,
    /// A page of the namespace, by the end of its path.
    OfNamespace(&'static str),
    /// The namespaces.
    Namespaces,
    /// The keys.
    Keys,
}

/// Returns what to do after a refusal; none when its message says all. `layout` has the way to the page that it is about.
#[must_use]
pub fn next_step(error: &Error, layout: &Layout) -> Option<NextStep> {
    let reason = error.reason;
    let (text, page) = of_state(error)
        .or_else(|| of_version(error))
        .or_else(|| of_request(error))
        .or_else(|| of_name(reason))
        .or_else(|| of_server(reason))?;
    Some(NextStep { text, link: link(page, layout) })
}

/// Returns the next step when somebody was faster, or the state has to change first.
fn of_state(error: &Error) -> Option<(&'static str, Page)> {
    let state = error.metadata.get("state").map(String::as_str);
    Some(match error.reason {
        // Of a draft, the refusal names its base: nobody need have been faster.
        Reason::ExpectedActiveMismatch if error.metadata.contains_key("base_version") => {
            ("Keep your text elsewhere, begin with what is active now, and change that.", Page::Same)
        }
        Reason::ExpectedActiveMismatch | Reason::EtagMismatch | Reason::ConcurrentChange => {
            ("Somebody was faster. Look at what they changed, then decide again.", Page::Same)
        }
        Reason::DigestMismatch => ("Read the version again, then decide about what it has now.", Page::Same),
        Reason::RequirementBroken => (
            "Activate first what fits, or what no longer requires this; `policyhub activate` takes several versions at once.",
            Page::OfNamespace(""),
        ),
        Reason::ApprovalsMissing => {
            ("Ask an approver to read it. It waits among the approvals.", Page::OfNamespace("/approvals"))
        }
        Reason::SelfApproval => (
            "Ask somebody else: nobody approves their own version. It waits among the approvals.",
            Page::OfNamespace("/approvals"),
        ),
        Reason::LastAdmin => {
            ("Make somebody else admin of all namespaces first: `policyhub role grant`.", Page::OfNamespace("/roles"))
        }
        Reason::KeyNotReady => ("Wait until the time at which it may sign: runtimes may not know it yet.", Page::Keys),
        Reason::KeyStateWrong | Reason::KeyNotFound => ("See where each key stands.", Page::Keys),
        Reason::ScheduleStateWrong if state == Some("PENDING") => {
            ("Nothing is to be done: it runs at its time.", Page::OfNamespace("/schedules"))
        }
        Reason::ScheduleStateWrong => {
            ("Make another one, under the same id if you like.", Page::OfNamespace("/schedules"))
        }
        Reason::ScheduleNotFound | Reason::ScheduleExists => {
            ("See which schedules there are.", Page::OfNamespace("/schedules"))
        }
        _ => return None,
    })
}

/// Returns the next step when a version is not in the state that was asked for.
fn of_version(error: &Error) -> Option<(&'static str, Page)> {
    let value = |name: &str| error.metadata.get(name).map(String::as_str);
    let is_open = matches!(value("state"), Some("DRAFT" | "STAGED"));
    Some(match error.reason {
        Reason::ValidationFailed if value("check") == Some("requires") => (
            "Activate the version that it requires first, or both at once with `policyhub activate`.",
            Page::OfNamespace(""),
        ),
        Reason::ValidationFailed if is_open => {
            ("Correct it in a new draft. The report of the version has every finding.", Page::Same)
        }
        Reason::ValidationFailed => ("Choose another version, or publish a corrected one.", Page::Policy),
        Reason::LabelContentConflict if is_open => {
            ("Choose another label, or abandon the version that has this one.", Page::Policy)
        }
        Reason::LabelContentConflict => {
            ("Choose another label: that of a published version is never free again.", Page::Policy)
        }
        Reason::VersionStaged => ("Publish or abandon the version that is staged first.", Page::Policy),
        Reason::TooManyOpenDrafts => ("Publish or abandon an open one first.", Page::Policy),
        Reason::VersionNotOpen | Reason::AlreadyActive => ("See where it stands now.", Page::Same),
        Reason::VersionNotStaged => ("Stage it first.", Page::Same),
        Reason::VersionNotPublished => ("Choose a version that is published.", Page::Policy),
        Reason::NoActiveVersion => ("Activate a version first.", Page::Policy),
        Reason::NoPreviousVersion => ("Choose the version to return to.", Page::Policy),
        Reason::VersionNotFound | Reason::NoOpenDraft | Reason::SeveralOpenDrafts => {
            ("See which versions there are.", Page::Policy)
        }
        Reason::ReportNotFound => ("Stage the version first: then it is checked.", Page::Same),
        Reason::KindFixed => ("Make another policy: the kind of one never changes.", Page::OfNamespace("")),
        _ => return None,
    })
}

/// Returns the next step when the request, or who sends it, is not what the server takes.
fn of_request(error: &Error) -> Option<(&'static str, Page)> {
    Some(match error.reason {
        // Otherwise it is a form of another session or site, and the message says what to do.
        Reason::PermissionDenied if error.metadata.contains_key("permission") => {
            ("Ask an admin for a role that allows it. They are among the roles.", Page::OfNamespace("/roles"))
        }
        Reason::InvalidArgument if !error.violations.is_empty() => {
            ("Correct it. After a form, go back: your browser keeps what you wrote.", Page::Same)
        }
        Reason::InvalidPageToken => ("Begin with the first page of the list again.", Page::OfNamespace("")),
        Reason::InvalidSchema => ("Correct the schema.", Page::Policy),
        Reason::ContentEmpty => ("Write a content.", Page::Nowhere),
        Reason::ContentTooLarge | Reason::MessageTooLarge | Reason::MessageTooComplex => {
            ("Take something out of it, or make several of it.", Page::Nowhere)
        }
        Reason::RequestIdReused => ("It was sent before with other values: see what was done.", Page::Same),
        Reason::LimitExceeded | Reason::QuotaExceeded => {
            ("Make room, or ask an admin of the namespace for more.", Page::OfNamespace(""))
        }
        Reason::RateLimited | Reason::RequestBudgetExhausted | Reason::TooManyStreams => {
            ("Wait a moment, then try again. Nothing was done.", Page::Same)
        }
        _ => return None,
    })
}

/// Returns the next step when what a page is about is not there, or is there already.
fn of_name(reason: Reason) -> Option<(&'static str, Page)> {
    Some(match reason {
        Reason::NamespaceNotFound => ("See in which namespaces you have a role.", Page::Namespaces),
        Reason::PolicyNotFound | Reason::PolicyExists => ("See which policies there are.", Page::OfNamespace("")),
        Reason::BindingNotFound | Reason::BindingExists => ("See who has which role.", Page::OfNamespace("/roles")),
        Reason::RunNotFound | Reason::RunConflict => ("See which runs there are.", Page::OfNamespace("/runs")),
        _ => return None,
    })
}

/// Returns the next step when the server can't do it now.
fn of_server(reason: Reason) -> Option<(&'static str, Page)> {
    Some(match reason {
        Reason::OutcomeUnknown | Reason::DeadlineExceeded | Reason::RequestTimeout => {
            ("See whether it was done before you send it again.", Page::Same)
        }
        Reason::DatabaseUnavailable | Reason::LockTimeout | Reason::ServerDraining => {
            ("Try again in a moment.", Page::Same)
        }
        Reason::DatabaseConnectionLimit
        | Reason::DatabaseReadOnly
        | Reason::DatabaseNotDurable
        | Reason::DatabaseAccessDenied
        | Reason::SigningUnavailable
        | Reason::ChecksUnavailable => ("Tell the operator of the server, and try again later.", Page::Same),
        Reason::StoreInDoubt | Reason::DataLoss | Reason::Internal => {
            ("Tell the operator of the server; its log has the details.", Page::Nowhere)
        }
        _ => return None,
    })
}

fn link(page: Page, layout: &Layout) -> Option<Crumb> {
    let crumb = |text: &str, href: String| Some(Crumb { text: text.to_owned(), href });
    let first = |part: &str| layout.crumbs.iter().find(|each| each.href.contains(part));
    match page {
        Page::Nowhere => None,
        Page::Same => crumb("Open the page again", layout.crumbs.last()?.href.clone()),
        Page::Policy => crumb("The versions of the policy", first("/policies/")?.href.clone()),
        Page::OfNamespace(end) => {
            let text = match end {
                "/approvals" => "Approvals",
                "/roles" => "Roles",
                "/schedules" => "Schedules",
                "/runs" => "Runs",
                _ => "Policies",
            };
            crumb(text, format!("{}{end}", first("/namespaces/")?.href))
        }
        Page::Namespaces => crumb("Namespaces", "/".to_owned()),
        Page::Keys => crumb("Keys", "/keys".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasons that nothing in a browser meets, or whose message says what to do: tokens are asked for on a page of their own.
    const WITHOUT_STEP: &[Reason] = &[
        Reason::InvalidArgument,
        Reason::PermissionDenied,
        Reason::DuplicateTarget,
        Reason::ImportRefused,
        Reason::TokenMissing,
        Reason::TokenMalformed,
        Reason::TokenExpired,
        Reason::TokenAudience,
        Reason::TokenInvalid,
        Reason::TokenRevoked,
        Reason::CertificateInvalid,
        Reason::SubscriberIdTaken,
        Reason::NamespaceExists,
        Reason::NamespaceNotEmpty,
        Reason::ImportUnfinished,
        Reason::FindingsRemain,
        Reason::ResumePointGone,
        Reason::Unimplemented,
    ];

    #[test]
    fn every_reason_of_a_browser_has_a_next_step() {
        let layout = Layout::anonymous("Refused");
        for reason in Reason::ALL {
            let step = next_step(&Error::new(*reason, "no"), &layout);
            assert_eq!(step.is_none(), WITHOUT_STEP.contains(reason), "{reason:?}");
        }
    }

    #[test]
    fn a_step_links_to_the_page_where_it_is_done() {
        let page = "/namespaces/n/policies/p/versions/2";
        let layout = Layout::anonymous("Refused").below("n", "/namespaces/n").below("p", "/namespaces/n/policies/p");
        let layout = layout.below("2", page);
        let href = |error: Error| {
            next_step(&error, &layout).and_then(|step| step.link).map(|link| link.href).unwrap_or_default()
        };
        let of = |reason| Error::new(reason, "no");
        assert_eq!(href(of(Reason::EtagMismatch)), page);
        assert_eq!(href(of(Reason::NoActiveVersion)), "/namespaces/n/policies/p");
        assert_eq!(href(of(Reason::ApprovalsMissing)), "/namespaces/n/approvals");
        assert_eq!(href(of(Reason::PolicyNotFound)), "/namespaces/n");
        assert_eq!(href(of(Reason::PermissionDenied).with("permission", "publish")), "/namespaces/n/roles");
        assert_eq!(href(of(Reason::ValidationFailed).with("state", "STAGED")), page);
        assert_eq!(href(of(Reason::ValidationFailed).with("state", "PUBLISHED")), "/namespaces/n/policies/p");
        assert_eq!(href(of(Reason::ValidationFailed).with("check", "requires")), "/namespaces/n");
        assert_eq!(href(of(Reason::Internal)), "");
    }
}
