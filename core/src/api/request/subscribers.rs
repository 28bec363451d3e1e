//! Requests about subscribers: the lease of a watch, reports, lists and convergence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::collect_errors::collect_errors;
use super::fields::namespace;
use super::sync::optional_position;
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::domain::command::PageRequest;
use crate::domain::digest::Digest;
use crate::domain::error::REQUIRED;
use crate::domain::event::Position;
use crate::domain::filter::Filter;
use crate::domain::limits::{CONVERGENCE_WAIT_MAX_SECONDS, SUBSCRIBER_ATTRIBUTE_MAX_CHARS, SUBSCRIBER_ATTRIBUTES_MAX};
use crate::domain::listing::{SUBSCRIBERS, SeenSubscriber};
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{ReportVerdict, StatusReport, SubscriberId, SubscriberName};
use crate::domain::{Error, Result};

/// Reads who watches, with the attributes given; nobody for an anonymous watch.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn watcher(request: &pb::WatchActiveRequest) -> Result<Option<(SubscriberId, BTreeMap<String, String>)>> {
    let id = &request.subscriber_id;
    let id = if id.is_empty() { Ok(None) } else { SubscriberId::parse("subscriber_id", id).map(Some) };
    let (id, ()) = collect_errors(id, check_attributes(request))?;
    let attributes = request.attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(id.map(|id| (id, attributes)))
}

fn check_attributes(request: &pb::WatchActiveRequest) -> Result<()> {
    let bad =
        |text: &String| text.chars().count() > SUBSCRIBER_ATTRIBUTE_MAX_CHARS || text.chars().any(char::is_control);
    let attributes = &request.attributes;
    if attributes.len() > SUBSCRIBER_ATTRIBUTES_MAX || attributes.iter().any(|(key, value)| bad(key) || bad(value)) {
        let rule = format!(
            "must be at most {SUBSCRIBER_ATTRIBUTES_MAX} of at most {SUBSCRIBER_ATTRIBUTE_MAX_CHARS} characters, none of them \
             a control character"
        );
        return Err(Error::invalid("attributes", rule));
    }
    Ok(())
}

fn cursor(given: Option<pb::Cursor>) -> Result<Position> {
    optional_position("cursor", given)?.ok_or_else(|| Error::invalid("cursor", REQUIRED))
}

/// Reads a ReportStatus request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn report_status(request: pb::ReportStatusRequest) -> Result<StatusReport> {
    let name = SubscriberName::parse("name", &request.name);
    let what = collect_errors(cursor(request.cursor), Digest::parse("digest", &request.digest));
    let verdict = match pb::ApplyStatus::try_from(request.status) {
        Ok(pb::ApplyStatus::Applied) if !request.reason.is_empty() => {
            Err(Error::invalid("reason", "belongs to what was rejected"))
        }
        Ok(pb::ApplyStatus::Applied) => Ok(ReportVerdict::Applied),
        Ok(pb::ApplyStatus::Rejected) => Ok(ReportVerdict::Rejected { reason: request.reason }),
        Ok(pb::ApplyStatus::Unspecified) => Err(Error::invalid("status", REQUIRED)),
        Err(_) => Err(Error::invalid("status", "must be APPLIED or REJECTED")),
    };
    let ((subscriber, (Position { cursor, event }, digest)), verdict) =
        collect_errors(collect_errors(name, what), verdict)?;
    Ok(StatusReport { subscriber, cursor, event, digest, verdict })
}

/// Reads a ListSubscribers request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_subscribers(
    request: &pb::ListSubscribersRequest,
) -> Result<(NamespaceId, ListIdentity, PageRequest<SubscriberId>, Filter<SeenSubscriber>)> {
    let wanted = parse_asked(&SUBSCRIBERS, None, &request.filter, &request.order_by);
    let (namespace, ListQuery { filter, key, .. }) = collect_errors(namespace("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListSubscribers", &request.parent, &key]);
    let page = list.page(request.page_size, &request.page_token, |key| SubscriberId::parse("key", key).ok())?;
    Ok((namespace, list, page, filter))
}

/// Reads a GetConvergence request. The wait is none when the answer is wanted at once.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn get_convergence(request: &pb::GetConvergenceRequest) -> Result<(NamespaceId, Position, Option<Duration>)> {
    // The conversion negates negative numbers, which overflows for the lowest one.
    let wait = request.wait.map(|wait| (wait.seconds >= 0 && wait.nanos >= 0).then(|| Duration::try_from(wait).ok()));
    let wait = match wait.map(Option::flatten) {
        None => Ok(None),
        Some(Some(wait)) if wait <= Duration::from_secs(CONVERGENCE_WAIT_MAX_SECONDS) => Ok(Some(wait)),
        Some(_) => Err(Error::invalid("wait", format!("must be 0 to {CONVERGENCE_WAIT_MAX_SECONDS} s"))),
    };
    let ((namespace, cursor), wait) =
        collect_errors(collect_errors(namespace("parent", &request.parent), cursor(request.cursor)), wait)?;
    Ok((namespace, cursor, wait.filter(|wait| !wait.is_zero())))
}
