//! The seam to every location: a small trait, and the comfort on top of it.

use crate::Key;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use recoup_core::{Error, Kind, Result};
use std::fmt;
use std::ops::Range;

/// What `put` does when the name is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Fail with `Kind::Exists`.
    Create,
    /// Replace the old object in one step.
    Replace,
    /// Replace only the version that `head` reported; fail with `Kind::Conflict` otherwise.
    IfMatch(String),
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub key: Key,
    /// Length in bytes.
    pub size: u64,
    /// When it was last written, if the location says.
    pub modified: Option<Timestamp>,
    /// Changes with every write, if the location has such a thing.
    pub version: Option<String>,
}

/// What a location can do. A capability is a value you receive, not an error you hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `Put::Create` is refused by the location itself when the name is taken.
    pub conditional_create: bool,
    /// `Put::IfMatch` is honoured.
    pub if_match: bool,
    /// `lock_until` makes objects undeletable.
    pub lock: bool,
    /// A listing that begins after a put returned shows what was put, whoever lists. Elsewhere it may
    /// take a moment.
    pub current_listing: bool,
    /// Objects outside restic's layout can be kept.
    pub own_objects: bool,
}

/// Objects at a location. `put` returns only when the object is durable and complete.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The location for people, without secrets, as in `local:/srv/recoup/shop`.
    fn location(&self) -> String;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Stores `bytes` under `key`. On error nothing is visible under `key` that was not before.
    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()>;

    /// Reads the whole object, or `range` of it.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Corrupt` if the object ends inside `range`.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes>;

    /// What is known of an object; `None` if there is none.
    async fn head(&self, key: &Key) -> Result<Option<Meta>>;

    /// All objects whose name starts with the folder `prefix` (no trailing slash; empty for all),
    /// in any order. An error in between ends the stream: a listing is whole or it failed.
    /// Names that are no [`Key`] are left out.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>>;

    /// Deletes an object; deleting what is not there is no error.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Makes an object undeletable until `until`.
    ///
    /// # Errors
    /// `Kind::Unsupported` where [`Capabilities::lock`] is false.
    async fn lock_until(&self, key: &Key, _until: Timestamp) -> Result<()> {
        Err(Error::new(Kind::Unsupported, "lock an object against deletion")
            .with("object", key)
            .with("location", self.location()))
    }
}

/// Comfort that every store has.
#[async_trait]
pub trait StoreExt: Store {
    /// [`Store::list`] as a vector, sorted by name.
    async fn list_all(&self, prefix: &str) -> Result<Vec<Meta>> {
        use futures_util::TryStreamExt;
        let mut all: Vec<Meta> = self.list(prefix).try_collect().await?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Whether there is such an object.
    async fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.head(key).await?.is_some())
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
