//! `--activate`: one call activates everything that was published, all or none.
//!
//! Invariant: a release never activates a version that was active before, so that it never undoes a rollback, nor a version lower
//! than the active one. Versions that are not activated yet stay pending in `delivered.json`.

use std::collections::BTreeMap;

use crate::cli::names::{policy_name, version_name};
use crate::cli::release::delivered_file::{Delivered, DeliveredActivation, DeliveredVersion};
use crate::cli::release::folder::FolderVersion;
use crate::cli::release::git::Commit;
use crate::cli::release::outcome::ReleaseActivation;
use crate::cli::release::request_ids::RequestIds;
use crate::client::name::{NamespaceId, PolicyId, VersionRef};
use crate::client::pb::activate_target::To;
use crate::client::{Client, ClientError, PageGuard, pb};
use crate::domain::label::Label;
use crate::domain::limits::{ACTIVATION_CONTENT_MAX_BYTES, ACTIVATION_TARGETS_MAX};

/// How often the pointers are read again after another client moved them first.
const ATTEMPTS_MAX: usize = 4;
/// Events per page, newest first: the wanted one is usually among the first few.
const EVENTS_PER_PAGE: i32 = 100;

/// Reasons of a refusal that mean that a pointer moved meanwhile.
const CONFLICTS: &[&str] = &["EXPECTED_ACTIVE_MISMATCH", "ALREADY_ACTIVE", "CONCURRENT_CHANGE"];

/// Reads pointers and moves them.
#[derive(Debug)]
pub struct Activator<'a> {
    pub client: &'a Client,
    pub namespace: &'a NamespaceId,
    pub commit: &'a Commit,
    pub ids: &'a RequestIds,
    pub reason: &'a str,
}

/// Returns why one activation can't carry these versions, if so; `sizes` has the version of each policy that would be activated.
pub fn refusal(sizes: &BTreeMap<PolicyId, u64>) -> Option<String> {
    let (count, bytes) = (sizes.len(), sizes.values().sum::<u64>());
    let bytes_max = u64::try_from(ACTIVATION_CONTENT_MAX_BYTES).unwrap_or(u64::MAX);
    let (what, limit) = if count > ACTIVATION_TARGETS_MAX {
        (format!("{count} policies"), ACTIVATION_TARGETS_MAX.to_string())
    } else if bytes > bytes_max {
        (format!("contents of {bytes} bytes"), format!("{bytes_max} bytes"))
    } else {
        return None;
    };
    Some(format!(
        "{what} would be activated, and one activation takes at most {limit}: nothing was published; split the release into \
         commits of fewer policies and release each, or release without --activate and then activate in parts with \
         `policyhub activate POLICY@vLABEL … --reason …`"
    ))
}

/// Returns the highest pending version of each policy.
pub fn highest_pending(delivered: &Delivered) -> BTreeMap<PolicyId, (FolderVersion, i64)> {
    let mut highest: BTreeMap<PolicyId, (FolderVersion, i64)> = BTreeMap::new();
    for (name, entry) in delivered {
        let pending = entry.activation == Some(DeliveredActivation::Pending);
        let Some(key) = FolderVersion::parse_written(name).filter(|_| pending) else { continue };
        match highest.get(&key.policy) {
            Some((other, _)) if other.order(&key).is_ge() => {}
            _ => {
                highest.insert(key.policy.clone(), (key, entry.version));
            }
        }
    }
    highest
}

/// Returns the pending entries for which `is_done` holds, marked as settled.
pub fn settled(delivered: &Delivered, is_done: impl Fn(&FolderVersion) -> bool) -> Delivered {
    let pending = delivered.iter().filter(|(_, entry)| entry.activation.is_some());
    let done = pending.filter(|(name, _)| FolderVersion::parse_written(name).is_some_and(|key| is_done(&key)));
    done.map(|(name, entry)| (name.clone(), DeliveredVersion { activation: None, ..entry.clone() })).collect()
}

impl Activator<'_> {
    /// Returns whether a pointer ever led to a version.
    pub async fn was_in_force(&self, policy: &PolicyId, version: i64) -> Result<bool, ClientError> {
        let parent = policy_name(self.namespace, policy);
        let order_by = "revision desc".to_owned();
        let mut request = pb::ListEventsRequest { parent, page_size: EVENTS_PER_PAGE, order_by, ..Default::default() };
        let name = version_name(self.namespace, policy, &VersionRef::Number(version));
        let mut pages = PageGuard::default();
        loop {
            let page = self.client.list_events(request.clone()).await?;
            let count = page.events.len();
            for event in page.events {
                if event.changes.iter().any(|change| change.policy == request.parent && change.version == version) {
                    return Ok(true);
                }
                // No pointer leads to a version before it is published.
                let published = |change: &pb::VersionChange| {
                    change.version_name == name && change.state() == pb::VersionState::Published
                };
                if event.versions.iter().any(published) {
                    return Ok(false);
                }
            }
            if !pages.leads_on(count, &page.next_page_token)? {
                return Ok(false);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Activates versions; none when none is higher than the active one, also because another release was faster. Adds to `notes`
    /// what is not activated.
    pub async fn activate(
        &self,
        highest: &BTreeMap<PolicyId, (FolderVersion, i64)>,
        notes: &mut Vec<String>,
    ) -> Result<Option<ReleaseActivation>, ClientError> {
        for left in (0..ATTEMPTS_MAX).rev() {
            let mut said = Vec::new();
            match self.attempt(highest, &mut said).await {
                Err(error) if left > 0 && CONFLICTS.contains(&error.reason()) => {}
                ended => {
                    notes.extend(said);
                    return ended;
                }
            }
        }
        Ok(None)
    }

    async fn attempt(
        &self,
        highest: &BTreeMap<PolicyId, (FolderVersion, i64)>,
        notes: &mut Vec<String>,
    ) -> Result<Option<ReleaseActivation>, ClientError> {
        let (mut targets, mut call) = (Vec::new(), self.namespace.name());
        let mut moved = Vec::new();
        for (policy, (key, number)) in highest {
            let active = self.active(policy).await?;
            let in_force = active.as_ref().map_or(0, |version| version.version);
            let label = active.and_then(|version| Label::parse("label", &version.label).ok());
            if in_force == *number {
                continue;
            }
            if let Some(label) = label.filter(|label| label.is_higher_than(&key.label)) {
                notes.push(format!("{key} was not activated: v{label} is in force, and higher"));
                continue;
            }
            call.push_str(&format!(" {key} after {in_force}"));
            targets.push(pb::ActivateTarget {
                policy: policy.to_string(),
                to: Some(To::Version(*number)),
                expected_active: Some(in_force),
            });
            moved.push((key.clone(), *number));
        }
        if targets.is_empty() {
            return Ok(None);
        }
        let request = pb::ActivateRequest {
            parent: self.namespace.name(),
            targets,
            reason: self.reason.to_owned(),
            request_id: self.ids.of(&call),
            ..Default::default()
        };
        let response = self.client.activate(request).await?;
        Ok(Some(ReleaseActivation { revision: response.cursor.map_or(0, |cursor| cursor.revision), targets: moved }))
    }

    /// Returns the active version, without its content.
    async fn active(&self, policy: &PolicyId) -> Result<Option<pb::Version>, ClientError> {
        let name = version_name(self.namespace, policy, &VersionRef::Active);
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
        match self.client.get_version(request).await {
            Ok(response) => Ok(response.version),
            Err(error) if error.reason() == "NO_ACTIVE_VERSION" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a version by its label, without its content.
    pub async fn version(&self, key: &FolderVersion) -> Result<pb::Version, ClientError> {
        let name = version_name(self.namespace, &key.policy, &VersionRef::Label(key.label.clone()));
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
        Ok(self.client.get_version(request).await?.version.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;

    fn entry(version: i64, activation: Option<DeliveredActivation>) -> DeliveredVersion {
        let (commit, tree) = ("a".repeat(40), "b".repeat(40));
        DeliveredVersion {
            version,
            digest: Digest::from_sha256(&[0; 32]),
            commit,
            tree,
            time: String::new(),
            activation,
        }
    }

    #[test]
    fn the_highest_that_waits_is_taken_and_settles_the_others() {
        let waits = Some(DeliveredActivation::Pending);
        let entries = [
            ("p@v1.10.0", entry(3, waits)),
            ("p@v1.9.0", entry(2, waits)),
            ("p@v2.0.0", entry(4, None)),
            ("q@v1.0.0", entry(1, waits)),
            ("r@v1.0.0", entry(1, None)),
        ];
        let delivered: Delivered = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect();
        let highest: Vec<String> = highest_pending(&delivered).values().map(|(key, _)| key.to_string()).collect();
        assert_eq!(highest, ["p@v1.10.0", "q@v1.0.0"]);
        let settled = settled(&delivered, |key| key.policy.as_str() == "p");
        assert_eq!(settled.keys().collect::<Vec<_>>(), ["p@v1.10.0", "p@v1.9.0"]);
        assert!(settled.values().all(|entry| entry.activation.is_none()));
    }

    #[test]
    fn an_activation_has_the_bounds_of_the_server() {
        let sizes = |count: usize, size: u64| -> BTreeMap<PolicyId, u64> {
            let id = |number| PolicyId::parse("policy", &format!("p{number}")).expect("an id");
            (0..count).map(|number| (id(number), size)).collect()
        };
        assert_eq!((refusal(&sizes(100, 1)), refusal(&sizes(16, 1024 * 1024))), (None, None));
        assert!(refusal(&sizes(101, 1)).is_some() && refusal(&sizes(16, 1024 * 1024 + 1)).is_some());
    }
}
