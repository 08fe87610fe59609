//! Asks again where asking again can help.

use crate::local::durable::NO_SPACE;
use crate::{Capabilities, Key, Meta, Put, Store, StoreExt};
use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use recoup_core::event::{Event, Finding, Severity, Sink};
use recoup_core::{Error, Kind, Result};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Retries after the first attempt.
    pub retries_max: usize,
    /// Wait before the first retry; it doubles each time.
    pub wait_first: Duration,
    /// Longest wait before one retry.
    pub wait_max: Duration,
}

impl Default for Policy {
    /// Five retries over about 15 seconds.
    fn default() -> Self {
        Policy { retries_max: 5, wait_first: Duration::from_millis(500), wait_max: Duration::from_secs(10) }
    }
}

/// Whether the same call may succeed if it is made again. A full disk does not empty itself while
/// we wait, so it ends the matter at once (fault row 21).
pub fn can_help(error: &Error) -> bool {
    error.kind().is_retryable() && error.stable_code() != Some(NO_SPACE)
}

/// A location whose passing failures are tried again.
#[derive(Clone)]
pub struct Retry {
    inner: Arc<dyn Store>,
    policy: Policy,
    events: Arc<dyn Sink>,
    retries: Arc<AtomicU64>,
}

impl Retry {
    /// Retries calls of `inner` by `policy`; each retry is reported to `events` as W0481.
    pub fn new(inner: Arc<dyn Store>, policy: Policy, events: Arc<dyn Sink>) -> Self {
        Retry { inner, policy, events, retries: Arc::default() }
    }

    /// How many retries there were so far.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.policy.wait_first)
            .with_max_delay(self.policy.wait_max)
            .with_max_times(self.policy.retries_max)
            .build()
    }

    fn note(&self, error: &Error) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.events.emit(Event::Finding(Finding::new(
            "W0481",
            Severity::Info,
            self.inner.location(),
            format!("tried again after: {error}"),
            "nothing, unless it happens often: then look at the disk, the network or the server",
        )));
    }

    async fn again<T, F: Future<Output = Result<T>>>(&self, call: impl FnMut() -> F) -> Result<T> {
        call.retry(self.backoff()).when(can_help).notify(|error, _| self.note(error)).await
    }

    /// Whether `key` holds `bytes`: then an earlier attempt, whose answer got lost, put them there.
    async fn arrived(&self, key: &Key, bytes: &Bytes) -> Result<bool> {
        match self.inner.head(key).await? {
            Some(meta) if meta.size == bytes.len() as u64 => {
                Ok(self.inner.get(key, None).await.is_ok_and(|there| there == bytes))
            }
            _ => Ok(false),
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retry({:?})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Retry {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        let doubtful = AtomicBool::new(false);
        let attempt = || async {
            let result = self.inner.put(key, bytes.clone(), mode.clone()).await;
            match result {
                Err(e) if can_help(&e) => {
                    doubtful.store(true, Ordering::Relaxed);
                    Err(e)
                }
                Err(e)
                    if matches!(e.kind(), Kind::Exists | Kind::Conflict)
                        && doubtful.load(Ordering::Relaxed) =>
                {
                    if self.arrived(key, &bytes).await? {
                        Ok(())
                    } else {
                        Err(e)
                    }
                }
                other => other,
            }
        };
        self.again(attempt).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.again(|| self.inner.get(key, range.clone())).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        self.again(|| self.inner.head(key)).await
    }

    /// Retries a listing as a whole: half of one listing and half of a later one make no listing.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        let prefix = prefix.to_owned();
        let whole = async move { self.again(|| self.inner.list_all(&prefix)).await };
        stream::once(whole)
            .flat_map(|listing| match listing {
                Ok(all) => stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(e) => stream::iter(vec![Err(e)]),
            })
            .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.again(|| self.inner.delete(key)).await
    }

    async fn lock_until(&self, key: &Key, until: Timestamp) -> Result<()> {
        self.again(|| self.inner.lock_until(key, until)).await
    }
}
