//! What needs somebody's eyes in a namespace, the worst first, and where it is dealt with.

use askama::Template;

use crate::domain::fleet::FleetCounts;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::schedule::Schedule;
use crate::domain::version::LabelInForce;
use crate::http::console::layout::{activation_path, menu_page_path, policy_path};
use crate::http::console::visible_text::VisibleText;
use crate::service::InForce;

/// Most alarms that are listed.
const ALARMS_MAX: usize = 20;

/// What needs somebody's eyes.
#[derive(Template)]
#[template(path = "parts/alarms.html")]
pub struct AlarmsPart {
    alarms: Vec<Alarm>,
}

/// Something that needs somebody's eyes, and where more is said of it.
struct Alarm {
    text: VisibleText,
    /// Empty: nothing here says more.
    href: String,
    link: &'static str,
}

impl Alarm {
    fn new(text: &str, href: String, link: &'static str) -> Self {
        Self { text: VisibleText::line(text), href, link }
    }
}

impl askama::filters::HtmlSafe for AlarmsPart {}

impl AlarmsPart {
    /// Says it. `fleet` has at least the pointers that somebody rejects.
    #[must_use]
    pub fn of(namespace: &NamespaceId, in_force: &InForce, fleet: &FleetCounts, suspended: &[Schedule]) -> Self {
        let mut alarms = Vec::new();
        if in_force.staleness.degraded {
            let text = "The database does not answer: this is what was verified last.";
            alarms.push(Alarm::new(text, String::new(), ""));
        }
        if in_force.staleness.in_doubt {
            let text = "The store may have lost its newest changes: see `policyhub epoch show` on its server.";
            alarms.push(Alarm::new(text, String::new(), ""));
        }
        alarms.extend(rejected(namespace, in_force, fleet).take(ALARMS_MAX));
        alarms.extend(broken_requirements(namespace, in_force).take(ALARMS_MAX));
        alarms.extend(suspended.iter().take(ALARMS_MAX).map(|each| {
            let text = format!("The schedule {} is suspended: {}", each.name.id, each.problem);
            Alarm::new(&text, menu_page_path(namespace, "schedules"), "Resume or cancel")
        }));
        alarms.truncate(ALARMS_MAX);
        Self { alarms }
    }
}

/// Says which activations runtimes reject.
fn rejected(namespace: &NamespaceId, in_force: &InForce, fleet: &FleetCounts) -> impl Iterator<Item = Alarm> {
    fleet.pointers.iter().filter_map(|(policy, progress)| {
        let active = in_force.view.get(policy).filter(|_| progress.rejected > 0)?;
        let text =
            format!("{policy}: {} of {} runtimes reject what is active.", progress.rejected, progress.concerned());
        Some(Alarm::new(&text, activation_path(namespace, active.activation.revision), "Why, and roll back"))
    })
}

/// Says which requirement of an active version does not hold among the others.
fn broken_requirements(namespace: &NamespaceId, in_force: &InForce) -> impl Iterator<Item = Alarm> {
    in_force.view.bundles().flat_map(move |active| {
        let version = &active.bundle.version;
        let unmet = version.requires.iter().filter(|required| {
            let other = in_force.view.get(&required.policy);
            !required.is_satisfied_by(other.map(|other| LabelInForce::from(&other.bundle.version)))
        });
        unmet.map(move |required| {
            let policy = &version.policy.policy;
            let text = format!("{policy} requires {} {}.", required.policy, required.version_req);
            let policy = PolicyName { namespace: namespace.clone(), policy: policy.clone() };
            Alarm::new(&text, policy_path(&policy), "Its versions")
        })
    })
}
