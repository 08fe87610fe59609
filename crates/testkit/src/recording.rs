//! A store that remembers every change in order, so that the state after any crash can be rebuilt.
//!
//! Model: a change is *issued*, and later *acknowledged*. After a crash every acknowledged change is
//! there. A change that was in flight may be there or not; objects are whole or absent, because no
//! location shows half an object (the durable put of `local` and the single PUT of object stores).

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use recoup_core::Result;
use recoup_store::memory::Memory;
use recoup_store::{Capabilities, Key, Meta, Put, Store};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Key, Bytes),
    Delete(Key),
}

/// One line of the log. The number is that of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Issued(usize, Change),
    /// The caller knows that it is durable.
    Acknowledged(usize),
    /// The caller was told that it failed; it may have happened all the same.
    Failed(usize),
    /// A remark of the test, as in "backup 1 returned".
    Mark(String),
}

/// Records the changes made to `inner`.
#[derive(Clone, Debug)]
pub struct Recording {
    inner: Arc<dyn Store>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    changes: usize,
}

impl Recording {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Recording { inner, log: Arc::default() }
    }

    pub fn log(&self) -> Vec<Record> {
        self.log.lock().unwrap().records.clone()
    }

    /// Writes a remark into the log.
    pub fn mark(&self, text: impl Into<String>) {
        self.log.lock().unwrap().records.push(Record::Mark(text.into()));
    }

    fn issue(&self, change: Change) -> usize {
        let mut log = self.log.lock().unwrap();
        let number = log.changes;
        log.changes += 1;
        log.records.push(Record::Issued(number, change));
        number
    }

    fn settle<T>(&self, number: usize, result: &Result<T>) {
        let record = if result.is_ok() { Record::Acknowledged(number) } else { Record::Failed(number) };
        self.log.lock().unwrap().records.push(record);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Recording {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        let number = self.issue(Change::Put(key.clone(), bytes.clone()));
        // Lets others issue theirs, so that changes are in flight together as on a real disk.
        tokio::task::yield_now().await;
        let result = self.inner.put(key, bytes, mode).await;
        self.settle(number, &result);
        result
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        self.inner.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let number = self.issue(Change::Delete(key.clone()));
        tokio::task::yield_now().await;
        let result = self.inner.delete(key).await;
        self.settle(number, &result);
        result
    }

    async fn lock_until(&self, key: &Key, until: Timestamp) -> Result<()> {
        self.inner.lock_until(key, until).await
    }
}

/// What a store may hold after a crash.
#[derive(Clone, Debug)]
pub struct CrashState {
    /// How many records of the log had happened.
    pub at: usize,
    /// Numbers of the changes in flight that came through.
    pub came_through: Vec<usize>,
    /// Numbers of the changes in flight that did not.
    pub lost: Vec<usize>,
    /// The remarks made before the crash: what had been acknowledged to the user.
    pub marks: Vec<String>,
    objects: BTreeMap<Key, Bytes>,
}

impl CrashState {
    /// A store in this state.
    pub fn store(&self) -> Memory {
        Memory::from_objects(self.objects.clone())
    }

    pub fn objects(&self) -> &BTreeMap<Key, Bytes> {
        &self.objects
    }
}

/// The states a crash right after the first `at` records of `log` can leave, starting from `before`.
/// Of `k` changes in flight all 2^k subsets come, or 64 picked by `seed` if they are more.
pub fn crash_states(before: &BTreeMap<Key, Bytes>, log: &[Record], at: usize, seed: u64) -> Vec<CrashState> {
    use rand::{Rng, SeedableRng};
    const EVERY_SUBSET_UP_TO: usize = 6;
    let mut changes = BTreeMap::new();
    let mut settled = Vec::new();
    let mut marks = Vec::new();
    for record in &log[..at] {
        match record {
            Record::Issued(number, change) => drop(changes.insert(*number, change.clone())),
            Record::Acknowledged(number) => settled.push(*number),
            Record::Failed(_) => {}
            Record::Mark(text) => marks.push(text.clone()),
        }
    }
    let in_flight: Vec<usize> = changes.keys().copied().filter(|n| !settled.contains(n)).collect();
    let masks: Vec<u64> = if in_flight.len() <= EVERY_SUBSET_UP_TO {
        (0..1u64 << in_flight.len()).collect()
    } else {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed ^ at as u64);
        (0..1 << EVERY_SUBSET_UP_TO).map(|_| random.next_u64()).collect()
    };
    let chosen =
        |mask: u64| in_flight.iter().enumerate().partition::<Vec<_>, _>(|(i, _)| mask >> (i % 64) & 1 == 1);
    masks
        .into_iter()
        .map(|mask| {
            let (came_through, lost) = chosen(mask);
            let came_through: Vec<usize> = came_through.into_iter().map(|(_, n)| *n).collect();
            let mut objects = before.clone();
            for (number, change) in &changes {
                if settled.contains(number) || came_through.contains(number) {
                    apply(&mut objects, change);
                }
            }
            let lost = lost.into_iter().map(|(_, n)| *n).collect();
            CrashState { at, came_through, lost, marks: marks.clone(), objects }
        })
        .collect()
}

fn apply(objects: &mut BTreeMap<Key, Bytes>, change: &Change) {
    match change {
        Change::Put(key, bytes) => drop(objects.insert(key.clone(), bytes.clone())),
        Change::Delete(key) => drop(objects.remove(key)),
    }
}
