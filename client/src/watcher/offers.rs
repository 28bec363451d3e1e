//! A watcher as a stream: each item is a set to be taken or rejected.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use tokio::sync::oneshot;

use super::{Update, View, Watcher};

/// The sets that a runtime should take, one after the other. The stream does not end, and does not fail.
///
/// The answer to an offer takes effect when the stream is polled next, and the next offer comes after this one was answered or
/// dropped. Polling is what drives the watcher: what comes while nobody polls waits.
#[must_use = "streams do nothing unless polled"]
pub struct Offers {
    offers: BoxStream<'static, Offer>,
    view: View,
}

/// A set that the runtime should take: answer it by [`Offer::accept`] or [`Offer::reject`]. One that is dropped was neither taken
/// nor rejected, and is not offered again.
#[derive(Debug)]
#[must_use = "a set that is not accepted is not in force"]
pub struct Offer {
    /// The set.
    pub update: Update,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Watcher {
    /// Turns the watcher into a stream of its sets.
    pub fn into_stream(self) -> Offers {
        let view = self.view();
        let offers = stream::unfold((self, None), |(mut watcher, answered): (Self, Option<OfferAnswer>)| async move {
            if let Some(answered) = answered {
                // While the runtime decides, what comes is verified, and what is newer makes it BEHIND.
                match watcher.drive(answered).await {
                    Ok(Ok(())) => watcher.accept().await,
                    Ok(Err(reason)) => watcher.reject(&reason).await,
                    Err(_) => {}
                }
            }
            let update = watcher.next().await;
            let (answer, answered) = oneshot::channel();
            Some((Offer { update, answer }, (watcher, Some(answered))))
        });
        Offers { offers: offers.boxed(), view }
    }
}

type OfferAnswer = oneshot::Receiver<Result<(), String>>;

impl Offer {
    /// Puts the set in force when the stream is polled next. When the stream is dropped before, it does not.
    pub fn accept(self) {
        // Without a stream there is no server to report to.
        let _ = self.answer.send(Ok(()));
    }

    /// Says that the runtime can't use the set and keeps the one before, when the stream is polled next.
    pub fn reject(self, reason: impl Into<String>) {
        let _ = self.answer.send(Err(reason.into()));
    }
}

impl Offers {
    /// Returns a view for other parts of the process.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }
}

impl Stream for Offers {
    type Item = Offer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Offer>> {
        self.offers.poll_next_unpin(context)
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offers")
    }
}
