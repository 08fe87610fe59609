//! Lets nothing be changed.

use crate::{Capabilities, Key, Meta, Put, Store};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use recoup_core::{Error, Kind, Result};
use std::ops::Range;
use std::sync::Arc;

/// A location that can only be read.
#[derive(Clone, Debug)]
pub struct ReadOnly(Arc<dyn Store>);

impl ReadOnly {
    /// Guards `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        ReadOnly(inner)
    }

    fn refuse<T>(&self, key: &Key) -> Result<T> {
        Err(Error::new(Kind::Refused, "change a location that is only to be read")
            .with("object", key)
            .with("location", self.0.location())
            .effect("nothing was changed"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for ReadOnly {
    fn location(&self) -> String {
        self.0.location()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn put(&self, key: &Key, _bytes: Bytes, _mode: Put) -> Result<()> {
        self.refuse(key)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        self.0.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        self.0.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.refuse(key)
    }

    async fn lock_until(&self, key: &Key, _until: Timestamp) -> Result<()> {
        self.refuse(key)
    }
}
