//! A location in memory, for tests and for trying things out.

use crate::{Capabilities, Key, Meta, Put, Store};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use recoup_core::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Key, (Bytes, u64)>,
    writes: u64,
}

impl Memory {
    /// An empty location.
    pub fn new() -> Self {
        Memory::default()
    }

    /// A location that holds `objects`.
    pub fn from_objects(objects: BTreeMap<Key, Bytes>) -> Self {
        let objects = objects.into_iter().map(|(key, bytes)| (key, (bytes, 0))).collect();
        Memory(Arc::new(Mutex::new(Inner { objects, writes: 0 })))
    }

    /// All objects, as they are now.
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.inner().objects.iter().map(|(key, (bytes, _))| (key.clone(), bytes.clone())).collect()
    }

    /// Changes one object in place, behind the back of everybody: `None` removes it.
    pub fn tamper(&self, key: &Key, change: impl FnOnce(Option<Bytes>) -> Option<Bytes>) {
        let mut inner = self.inner();
        let old = inner.objects.remove(key);
        let version = old.as_ref().map_or(0, |(_, version)| *version);
        if let Some(bytes) = change(old.map(|(bytes, _)| bytes)) {
            inner.objects.insert(key.clone(), (bytes, version));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No call of ours panics between two changes, so a poisoned map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    fn location(&self) -> String {
        "memory:".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_create: true,
            if_match: true,
            lock: false,
            current_listing: true,
            own_objects: true,
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        let mut inner = self.inner();
        let now = inner.objects.get(key).map(|(_, version)| version.to_string());
        match mode {
            Put::Create if now.is_some() => {
                return Err(Error::new(Kind::Exists, "create an object").with("object", key));
            }
            Put::IfMatch(version) if now.as_ref() != Some(&version) => {
                return Err(
                    Error::new(Kind::Conflict, "replace one version of an object").with("object", key)
                );
            }
            _ => {}
        }
        inner.writes += 1;
        let version = inner.writes;
        inner.objects.insert(key.clone(), (bytes, version));
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        let bytes = self.inner().objects.get(key).map(|(bytes, _)| bytes.clone());
        let bytes = bytes.ok_or_else(|| Error::new(Kind::NotFound, "read an object").with("object", key))?;
        let Some(Range { start, end }) = range else { return Ok(bytes) };
        if start > end || end > bytes.len() as u64 {
            return Err(Error::new(Kind::Corrupt, "read a range of an object: it ends before")
                .with("object", key)
                .with("range", format!("{start}..{end}"))
                .with("bytes", bytes.len()));
        }
        // Both ends are within the length of a slice in memory.
        Ok(bytes.slice(start as usize..end as usize))
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        Ok(self.inner().objects.get(key).map(|(bytes, version)| describe(key, bytes, *version)))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        let below = |key: &Key| {
            prefix.is_empty() || key.as_str().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        let inner = self.inner();
        let objects = inner.objects.iter().filter(|(key, _)| below(key));
        let found: Vec<_> =
            objects.map(|(key, (bytes, version))| Ok(describe(key, bytes, *version))).collect();
        stream::iter(found).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner().objects.remove(key);
        Ok(())
    }
}

fn describe(key: &Key, bytes: &Bytes, version: u64) -> Meta {
    Meta { key: key.clone(), size: bytes.len() as u64, modified: None, version: Some(version.to_string()) }
}
