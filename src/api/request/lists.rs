//! The lists of `PolicyService`.

use super::both::both;
use super::fields::{namespace, policy};
use super::sync::optional_position;
use crate::api::page::List;
use crate::api::response::event_kind;
use crate::api::{pb, time};
use crate::domain::annotations::Annotations;
use crate::domain::command::{EventFilter, Page, PolicyFilter, VersionFilter};
use crate::domain::event::EventKind;
use crate::domain::limits::PAGE_FULL_MAX_ITEMS;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::version::VersionState;
use crate::domain::{Error, Result};

/// ListPolicies.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_policies(request: &pb::ListPoliciesRequest) -> Result<PolicyList> {
    let entries = request.annotations.iter().map(|(key, value)| (key.clone(), value.clone()));
    let (namespace, annotations) =
        both(namespace("parent", &request.parent), Annotations::new("annotations", entries))?;
    let filter = PolicyFilter { annotations };
    let list = List::new(["ListPolicies", &request.parent, &format!("{filter:?}")]);
    let page = list.page(request.page_size, &request.page_token, |key| PolicyId::parse("key", key).ok())?;
    Ok(PolicyList { namespace, list, page, filter })
}

/// A list of policies.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListPoliciesRequest")]
pub struct PolicyList {
    pub namespace: NamespaceId,
    pub list: List,
    pub page: Page<PolicyId>,
    pub filter: PolicyFilter,
}

/// A list of versions.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListVersionsRequest")]
pub struct VersionList {
    pub policy: PolicyName,
    pub list: List,
    pub page: Page<i64>,
    pub filter: VersionFilter,
    pub full: bool,
}

fn state(value: i32) -> Result<VersionState> {
    match pb::VersionState::try_from(value) {
        Ok(pb::VersionState::Draft) => Ok(VersionState::Draft),
        Ok(pb::VersionState::Staged) => Ok(VersionState::Staged),
        Ok(pb::VersionState::Published) => Ok(VersionState::Published),
        Ok(pb::VersionState::Superseded) => Ok(VersionState::Superseded),
        Ok(pb::VersionState::Abandoned) => Ok(VersionState::Abandoned),
        Ok(pb::VersionState::Rejected) => Ok(VersionState::Rejected),
        Ok(pb::VersionState::Unspecified) | Err(_) => Err(Error::invalid("states", "holds no state of a version")),
    }
}

/// ListVersions.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_versions(request: &pb::ListVersionsRequest) -> Result<VersionList> {
    let full = request.view == pb::VersionView::Full as i32;
    let mut states = Vec::new();
    for value in &request.states {
        let state = state(*value)?;
        // A state given twice says nothing more.
        if !states.contains(&state) {
            states.push(state);
        }
    }
    let list = List::new(["ListVersions", &request.parent, &format!("{full} {states:?}")]);
    let mut page = list.page(request.page_size, &request.page_token, |key| key.parse().ok())?;
    if full {
        page.size = page.size.min(PAGE_FULL_MAX_ITEMS);
    }
    Ok(VersionList { policy: policy("parent", &request.parent)?, list, page, filter: VersionFilter { states }, full })
}

/// A list of events.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListEventsRequest")]
pub struct EventList {
    pub namespace: NamespaceId,
    pub list: List,
    pub page: Page<i64>,
    pub filter: EventFilter,
    /// 0: the log of this store; else the position of an imported history.
    pub import_position: i64,
}

/// The kinds asked for, each once.
fn event_kinds(values: &[i32]) -> Result<Vec<EventKind>> {
    let mut kinds = Vec::new();
    for value in values {
        let known = EventKind::ALL.iter().find(|kind| event_kind(**kind) as i32 == *value);
        let kind = known.ok_or_else(|| Error::invalid("kinds", "holds no kind of an event"))?;
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    Ok(kinds)
}

/// ListEvents, of a namespace or of a policy.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_events(request: &pb::ListEventsRequest) -> Result<EventList> {
    let (namespace, policy) = if request.parent.contains("/policies/") {
        let name = policy("parent", &request.parent)?;
        (name.namespace, Some(name.policy))
    } else {
        (namespace("parent", &request.parent)?, None)
    };
    let after = optional_position("after", request.after)?;
    let start_time = request.start_time.map(|from| time::micros("start_time", from)).transpose()?;
    if request.import_position < 0 {
        return Err(Error::invalid("import_position", "must not be negative"));
    }
    let end_time = request.end_time.map(|until| time::micros("end_time", until)).transpose()?;
    let kinds = event_kinds(&request.kinds)?;
    let actor = (!request.actor.is_empty()).then(|| request.actor.clone());
    let is_filtered =
        policy.is_some() || start_time.is_some() || end_time.is_some() || actor.is_some() || !kinds.is_empty();
    if request.import_position > 0 && is_filtered {
        let rule = "can't be given with a policy, a start_time, an end_time, an actor or kinds";
        return Err(Error::invalid("import_position", rule));
    }
    let newest_first = request.newest_first;
    let filter = EventFilter { policy, after, newest_first, start_time, end_time, actor, kinds };
    let list = List::new(["ListEvents", &request.parent, &format!("{} {filter:?}", request.import_position)]);
    let page = list.page(request.page_size, &request.page_token, |key| key.parse().ok())?;
    Ok(EventList { namespace, list, page, filter, import_position: request.import_position })
}
