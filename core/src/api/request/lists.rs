//! The lists of `PolicyService`.

use super::collect_errors::collect_errors;
use super::fields::{namespace, policy, version};
use super::sync::optional_position;
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::domain::command::PageRequest;
use crate::domain::limits::PAGE_FULL_MAX_ITEMS;
use crate::domain::listing::{EVENTS, EventFilter, POLICIES, PolicyFilter, VERSIONS, VersionFilter};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName, VersionName};
use crate::domain::{Error, Result};

/// Reads a ListPolicies request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_policies(request: &pb::ListPoliciesRequest) -> Result<PolicyQuery> {
    let wanted = parse_asked(&POLICIES, None, &request.filter, &request.order_by);
    let (namespace, ListQuery { filter, key, .. }) = collect_errors(namespace("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListPolicies", &request.parent, &key]);
    let page = list.page(request.page_size, &request.page_token, |key| PolicyId::parse("key", key).ok())?;
    Ok(PolicyQuery { namespace, list, page, filter: PolicyFilter { wanted: filter } })
}

/// A list of policies.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListPoliciesRequest")]
pub struct PolicyQuery {
    pub namespace: NamespaceId,
    pub list: ListIdentity,
    pub page: PageRequest<PolicyId>,
    pub filter: PolicyFilter,
}

/// A list of versions.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListVersionsRequest")]
pub struct VersionQuery {
    pub policy: PolicyName,
    pub list: ListIdentity,
    pub page: PageRequest<i64>,
    pub filter: VersionFilter,
    pub full: bool,
}

/// Reads a GetVersion request. Returns with the name whether the content is asked for.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn get_version(request: &pb::GetVersionRequest) -> Result<(VersionName, bool)> {
    Ok((version("name", &request.name)?, request.view != pb::VersionView::Basic as i32))
}

/// Reads a ListVersions request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_versions(request: &pb::ListVersionsRequest) -> Result<VersionQuery> {
    let full = request.view == pb::VersionView::Full as i32;
    let wanted = parse_asked(&VERSIONS, None, &request.filter, &request.order_by);
    let (policy, ListQuery { filter, is_descending, key }) = collect_errors(policy("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListVersions", &request.parent, &format!("{full} {key}")]);
    let mut page = list.page(request.page_size, &request.page_token, |key| key.parse().ok())?;
    if full {
        page.size = page.size.min(PAGE_FULL_MAX_ITEMS);
    }
    Ok(VersionQuery { policy, list, page, filter: VersionFilter::new(!is_descending, filter), full })
}

/// A list of events.
#[derive(Debug)]
#[expect(missing_docs, reason = "the parts of ListEventsRequest")]
pub struct EventQuery {
    pub namespace: NamespaceId,
    pub list: ListIdentity,
    pub page: PageRequest<i64>,
    pub filter: EventFilter,
    /// 0: the log of this store; else the position of an imported history.
    pub import_position: i64,
}

/// Reads a ListEvents request, of a namespace or of a policy.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_events(request: &pb::ListEventsRequest) -> Result<EventQuery> {
    let (namespace, policy) = if request.parent.contains("/policies/") {
        let name = policy("parent", &request.parent)?;
        (name.namespace, Some(name.policy))
    } else {
        (namespace("parent", &request.parent)?, None)
    };
    let wanted = parse_asked(&EVENTS, Some(&namespace), &request.filter, &request.order_by);
    let (after, ListQuery { filter, is_descending, key }) =
        collect_errors(optional_position("after", request.after), wanted)?;
    if request.import_position < 0 {
        return Err(Error::invalid("import_position", "must not be negative"));
    }
    if request.import_position > 0 && policy.is_some() {
        return Err(Error::invalid("import_position", "can't be given with a policy as the parent"));
    }
    let part = format!("{} {after:?} {key}", request.import_position);
    let list = ListIdentity::new(["ListEvents", &request.parent, &part]);
    let page = list.page(request.page_size, &request.page_token, |key| key.parse().ok())?;
    let filter = EventFilter::new(policy, after, is_descending, filter);
    Ok(EventQuery { namespace, list, page, filter, import_position: request.import_position })
}
