//! What moving the pointer of a policy would change: what it names now, and which runtimes it concerns.

use crate::api::pb;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::name::{VersionName, VersionRef};
use crate::domain::policy::Policy;
use crate::domain::policy_runtimes::{AttributeCount, PolicyRuntimes};
use crate::domain::version::Version;
use crate::http::console::layout::release_of;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::Context;

/// Longest name or value of an attribute that is shown.
const ATTRIBUTE_MAX_CHARS: usize = 40;

/// The pointer of a policy.
#[derive(Debug)]
pub struct PointerFacts {
    /// The version that it names; none when it names nothing.
    pub active: Option<Version>,
    /// The runtimes that it concerns.
    runtimes: PolicyRuntimes,
}

impl PointerFacts {
    /// Reads them. `context` is that of a GetVersion or a ListVersions.
    ///
    /// # Errors
    /// Errors of authorization and of the reads.
    pub async fn read(visit: &Visit, context: &Context, policy: &Policy) -> Result<Self> {
        let asked = pb::ListSubscribersRequest { parent: visit.namespace_name(), ..Default::default() };
        visit.read(Rpc::ListSubscribers, &asked).await?;
        let runtimes = visit.service().sync.count_runtimes(&policy.name).await?;
        let active = match policy.active_version {
            0 => None,
            number => {
                let name = VersionName { policy: policy.name.clone(), version: VersionRef::Number(number) };
                Some(visit.service().policies.get_version(context, &name, false).await?.version)
            }
        };
        Ok(Self { active, runtimes })
    }

    /// Says what becomes of the pointer, whom it concerns, and how many of them run the version already; `to` is none when the pointer is
    /// to name nothing.
    #[must_use]
    pub fn moved(&self, policy: &Policy, to: Option<&Version>) -> String {
        let release = |version: Option<&Version>| version.map_or_else(|| "nothing".to_owned(), release_of);
        let (from, runtimes) = (release(self.active.as_ref()), runtimes_text(&self.runtimes));
        let said = format!("{}: {from} → {}, for {runtimes}.", policy.name.policy, release(to));
        let Some(version) = to.filter(|_| self.runtimes.live > 0) else { return said };
        match self.runtimes.running.get(&version.number).copied().unwrap_or_default() {
            0 => format!("{said} None of them runs it yet."),
            1 => format!("{said} 1 of them runs it already."),
            count => format!("{said} {count} of them run it already."),
        }
    }
}

fn runtimes_text(runtimes: &PolicyRuntimes) -> String {
    let count = match runtimes.live {
        1 => "1 live runtime that watches it".to_owned(),
        live => format!("{live} live runtimes that watch it"),
    };
    let shown = |text: &str| VisibleText::bounded(text, ATTRIBUTE_MAX_CHARS).to_string();
    let each = |each: &AttributeCount| format!("{}={}: {}", shown(&each.name), shown(&each.value), each.runtimes);
    let attributes: Vec<String> = runtimes.attributes.iter().map(each).collect();
    let of_which = if runtimes.described < runtimes.live {
        format!("of the first {}: ", runtimes.described)
    } else {
        String::new()
    };
    if attributes.is_empty() { count } else { format!("{count} ({of_which}{})", attributes.join(", ")) }
}
