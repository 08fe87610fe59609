//! Faults as values: a store that misbehaves as the test wrote down.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable::NO_SPACE;
use recoup_store::{Capabilities, Key, Meta, Put, Store};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Which call is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    Get,
    Head,
    List,
    Delete,
}

/// What goes wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens and the call fails with this kind.
    Error(Kind),
    /// No space left: code E0401, nothing happens.
    NoSpace,
    /// The change happens, but the call says it failed.
    LostAnswer,
    /// `put` says it is done, and the object is not there.
    LostAfterOk,
    /// `put` says it is done, and only so many bytes are there.
    Short(usize),
    /// The bytes read have bit `n` flipped (counted from the first byte, modulo the length).
    FlipBit(usize),
    /// The bytes read end after so many, without any error.
    Truncated(usize),
    /// The listing ends after so many objects, without any error.
    ShortList(usize),
    /// The listing breaks with an error after so many objects.
    BrokenList(usize),
}

/// One scripted fault: from the `nth` matching call on (0 is the first), `times` times.
#[derive(Clone, Debug)]
pub struct Script {
    pub op: Op,
    /// Only keys that start with this; empty for all.
    pub prefix: &'static str,
    pub nth: usize,
    pub times: usize,
    pub fault: Fault,
}

impl Script {
    /// `fault` once, at the `nth` call of `op` on a key beneath `prefix`.
    pub fn once(op: Op, prefix: &'static str, nth: usize, fault: Fault) -> Self {
        Script { op, prefix, nth, times: 1, fault }
    }

    /// `fault` at every call of `op` on a key beneath `prefix`.
    pub fn always(op: Op, prefix: &'static str, fault: Fault) -> Self {
        Script { op, prefix, nth: 0, times: usize::MAX, fault }
    }
}

/// A store with scripted faults in front of `inner`.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    scripts: Arc<Mutex<Vec<(Script, usize)>>>,
    calls: Arc<Mutex<Vec<(Op, String)>>>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts = scripts.into_iter().map(|s| (s, 0)).collect();
        Faulty { inner, scripts: Arc::new(Mutex::new(scripts)), calls: Arc::default() }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<(Op, String)> {
        self.calls.lock().unwrap().clone()
    }

    /// The fault for this call, if one is due. Every script that matches counts the call.
    fn due(&self, op: Op, key: &str) -> Option<Fault> {
        self.calls.lock().unwrap().push((op, key.to_owned()));
        let mut due = None;
        for (script, seen) in self.scripts.lock().unwrap().iter_mut() {
            if script.op != op || !key.starts_with(script.prefix) {
                continue;
            }
            if *seen >= script.nth && *seen - script.nth < script.times && due.is_none() {
                due = Some(script.fault.clone());
            }
            *seen += 1;
        }
        due
    }
}

fn error(fault: &Fault) -> Error {
    match fault {
        Fault::Error(kind) => Error::new(*kind, "scripted fault"),
        Fault::NoSpace => Error::new(Kind::Unavailable, "scripted fault: no space").code(NO_SPACE),
        other => Error::new(Kind::Unavailable, format!("scripted fault: {other:?}")),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        match self.due(Op::Put, key.as_str()) {
            None => self.inner.put(key, bytes, mode).await,
            Some(Fault::LostAfterOk) => Ok(()),
            Some(Fault::Short(n)) => self.inner.put(key, bytes.slice(..n.min(bytes.len())), mode).await,
            Some(fault @ Fault::LostAnswer) => {
                self.inner.put(key, bytes, mode).await?;
                Err(error(&fault))
            }
            Some(fault) => Err(error(&fault)),
        }
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        match self.due(Op::Get, key.as_str()) {
            None => self.inner.get(key, range).await,
            Some(Fault::FlipBit(n)) => Ok(flip(&self.inner.get(key, range).await?, n)),
            Some(Fault::Truncated(n)) => {
                let bytes = self.inner.get(key, range).await?;
                Ok(bytes.slice(..n.min(bytes.len())))
            }
            Some(fault) => Err(error(&fault)),
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        match self.due(Op::Head, key.as_str()) {
            None => self.inner.head(key).await,
            Some(fault) => Err(error(&fault)),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        match self.due(Op::List, prefix) {
            None => self.inner.list(prefix),
            Some(Fault::ShortList(n)) => self.inner.list(prefix).take(n).boxed(),
            Some(fault @ Fault::BrokenList(n)) => {
                let end = stream::iter([Err(error(&fault))]);
                self.inner.list(prefix).try_filter(|_| std::future::ready(true)).take(n).chain(end).boxed()
            }
            Some(fault) => stream::iter([Err(error(&fault))]).boxed(),
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        match self.due(Op::Delete, key.as_str()) {
            None => self.inner.delete(key).await,
            Some(fault @ Fault::LostAnswer) => {
                self.inner.delete(key).await?;
                Err(error(&fault))
            }
            Some(Fault::LostAfterOk) => Ok(()),
            Some(fault) => Err(error(&fault)),
        }
    }

    async fn lock_until(&self, key: &Key, until: Timestamp) -> Result<()> {
        self.inner.lock_until(key, until).await
    }
}

/// `bytes` with bit `n` flipped, counted modulo the length.
pub fn flip(bytes: &Bytes, n: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = n / 8 % bytes.len();
        bytes[at] ^= 1 << (n % 8);
    }
    bytes.into()
}
