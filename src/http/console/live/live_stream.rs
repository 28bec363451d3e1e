//! The stream of one open page.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use askama::filters::{Html, escape};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{Stream, unfold};
use tokio::time::{Sleep, sleep, timeout};

use super::events::{first_event, over_event, part_event};
use super::live_routes::LiveRoute;
use super::live_settings::LiveSettings;
use super::live_slots::LiveSlot;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::http::console::visit::Visit;
use crate::service::{NamespaceStamp, wait_once};

/// The age at which a stream ends: before its connection does, which would cut an event.
const STREAM_AGE_MAX: Duration = Duration::from_secs(50);
/// The time that a stream waits before it tries again what the database or a rate did not let it do.
const AGAIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a part may take to render.
const RENDER_TIMEOUT: Duration = Duration::from_secs(30);

/// A page that is open.
pub struct LiveStream {
    route: &'static LiveRoute,
    visit: Visit,
    namespace: NamespaceId,
    settings: LiveSettings,
    stamp: NamespaceStamp,
    /// The part as it was sent last.
    sent: String,
    age: Pin<Box<Sleep>>,
    recheck: Pin<Box<Sleep>>,
    /// The check that is running.
    check: Option<BoxFuture<'static, Result<()>>>,
    /// The wait that is running. It goes on beside a check: begun anew each time, it might never reach its poll; and left alone
    /// meanwhile, it might keep from others, or from the check itself, what it holds of the database.
    waiting: Option<BoxFuture<'static, Result<NamespaceStamp>>>,
    step: Step,
    _slot: LiveSlot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Follow,
    Over,
}

impl LiveStream {
    /// Opens the stream of a page, which renders its first part.
    ///
    /// # Errors
    /// Those of the page.
    pub async fn open(route: &'static LiveRoute, visit: Visit, settings: LiveSettings, slot: LiveSlot) -> Result<Self> {
        // What a caller may not see is refused before a feed of its namespace is read.
        visit.authorize_first().await?;
        let namespace = visit.namespace()?;
        let stamp = visit.service().sync.namespace_stamp(&namespace).await?;
        let sent = (route.render)(&visit).await?;
        // Pages that were opened together must not be checked together.
        let recheck = Box::pin(sleep(settings.recheck_interval.mul_f64(fastrand::f64())));
        Ok(Self {
            route,
            visit,
            namespace,
            settings,
            stamp,
            sent,
            age: Box::pin(sleep(STREAM_AGE_MAX)),
            recheck,
            check: None,
            waiting: None,
            step: Step::Begin,
            _slot: slot,
        })
    }

    /// Returns the events. Each is made when the connection asks for it, so a reader that takes none costs one part.
    pub fn into_events(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        unfold(self, |mut stream| async move {
            let event = stream.next_event().await?;
            Some((Ok(event), stream))
        })
    }

    async fn next_event(&mut self) -> Option<Bytes> {
        match self.step {
            Step::Begin => {
                self.step = Step::Follow;
                Some(first_event(&self.sent))
            }
            Step::Follow => self.follow().await,
            Step::Over => None,
        }
    }

    /// Waits until the part differs. Returns none when the stream ends and the browser may come again.
    async fn follow(&mut self) -> Option<Bytes> {
        loop {
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                None => self.waiting.insert(wait_for_change(&self.visit, &self.namespace, self.stamp)),
            };
            let changed = tokio::select! {
                biased;
                () = self.settings.draining.cancelled() => return None,
                () = self.age.as_mut() => return None,
                checked = next_check(&mut self.recheck, &mut self.check, &self.visit, self.settings.recheck_interval) => {
                    match checked {
                        Ok(()) => continue,
                        Err(error) => return Some(self.end(&error)),
                    }
                }
                changed = waiting => changed,
            };
            self.waiting = None;
            if self.check.take().is_some() {
                // It would stand still while the part is rendered, so it begins anew afterwards.
                self.recheck = Box::pin(sleep(Duration::ZERO));
            }
            let rendered = match changed {
                Ok(stamp) => self.render().await.map(|html| (stamp, html)),
                Err(error) => Err(error),
            };
            match rendered {
                Ok((stamp, html)) => {
                    self.stamp = stamp;
                    if html != self.sent {
                        self.sent = html;
                        return Some(part_event(&self.sent));
                    }
                }
                // The stamp stays, so the change is seen again.
                Err(error) if may_pass(&error) => sleep(AGAIN_INTERVAL).await,
                Err(error) => return Some(self.end(&error)),
            }
        }
    }

    async fn render(&mut self) -> Result<String> {
        self.visit.now = self.visit.clock_now();
        let late = |_| Error::new(Reason::DeadlineExceeded, "the part was not ready in 30 s");
        let rendering = async {
            let _slot = self.visit.answer_slot().await?;
            (self.route.render)(&self.visit).await
        };
        timeout(RENDER_TIMEOUT, wait_once(rendering)).await.map_err(late)?
    }

    fn end(&mut self, error: &Error) -> Bytes {
        self.step = Step::Over;
        let message = crate::http::console::VisibleText::line(&error.message).to_string();
        over_event(&format!("{} <code>{}</code>", escape_html(&message), error.reason.as_str()))
    }
}

/// Waits for the next check and its result. Cancel-safe: a running check goes on with the next call.
async fn next_check(
    recheck: &mut Pin<Box<Sleep>>,
    check: &mut Option<BoxFuture<'static, Result<()>>>,
    visit: &Visit,
    interval: Duration,
) -> Result<()> {
    let running = match check {
        Some(running) => running,
        None => {
            recheck.as_mut().await;
            *recheck = Box::pin(sleep(interval));
            check.insert(Box::pin(check_again(visit.clone())))
        }
    };
    let checked = running.await;
    *check = None;
    checked
}

async fn check_again(visit: Visit) -> Result<()> {
    visit.verify_again()?;
    match wait_once(visit.authorize_again()).await {
        // During an outage it is unknown who lost a role, so what was permitted stays (docs/guarantees.md#g17).
        Err(error) if error.reason.is_of_the_database() || error.reason == Reason::DataLoss => Ok(()),
        checked => checked,
    }
}

fn wait_for_change(
    visit: &Visit,
    namespace: &NamespaceId,
    seen: NamespaceStamp,
) -> BoxFuture<'static, Result<NamespaceStamp>> {
    let (service, namespace) = (visit.shared_service(), namespace.clone());
    Box::pin(async move { service.sync.namespace_changed(&namespace, seen).await })
}

/// Returns whether what failed may work a second later.
fn may_pass(error: &Error) -> bool {
    error.reason.is_of_the_database() || matches!(error.reason, Reason::RateLimited | Reason::DeadlineExceeded)
}

fn escape_html(text: &str) -> String {
    escape(text, Html).map_or_else(|never| match never {}, |safe| safe.to_string())
}
