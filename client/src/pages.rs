//! Lists that come in pages, read one item after the other.
//!
//! Invariant: it ends, whatever a server answers: [`super::page_guard`] bounds what it may send.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};

use super::error::ClientError;
use super::page_guard::PageGuard;

/// The items of a list, in order. The next page is asked for when the one before was taken.
///
/// It is a [`Stream`]; [`Pages::next`] reads it without an import. It ends after an error.
#[must_use]
pub struct Pages<T>(BoxStream<'static, Result<T, ClientError>>);

/// Holds what was read and not taken yet, and where the next page begins; none: there is no more.
struct PageReading<T> {
    waiting: VecDeque<T>,
    next: Option<String>,
    guard: PageGuard,
}

impl<T: Send + 'static> Pages<T> {
    /// Reads a list by a call that answers the page of a token, and the token of the next one.
    pub(crate) fn new<F>(read: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(Vec<T>, String), ClientError>> + Send + 'static,
    {
        let begin = PageReading { waiting: VecDeque::new(), next: Some(String::new()), guard: PageGuard::default() };
        let items = stream::try_unfold((begin, read), |(mut reading, read)| async move {
            loop {
                if let Some(item) = reading.waiting.pop_front() {
                    return Ok(Some((item, (reading, read))));
                }
                let Some(token) = reading.next.take() else { return Ok(None) };
                let (items, next) = read(token).await?;
                let leads_on = reading.guard.leads_on(items.len(), &next)?;
                reading.waiting.extend(items);
                reading.next = leads_on.then_some(next);
            }
        });
        Self(items.boxed())
    }

    /// Answers the next item; none after the last one.
    pub async fn next(&mut self) -> Option<Result<T, ClientError>> {
        self.0.next().await
    }

    /// Reads all that are left.
    ///
    /// # Errors
    /// The first error of a call.
    pub async fn all(mut self) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T> Stream for Pages<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}
