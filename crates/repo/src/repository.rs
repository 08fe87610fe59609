//! An open repository: its key, its config, its snapshots and its index.

mod open;

pub use open::InitOptions;

use crate::chunk::{LineTables, RabinTables};
use crate::config::Config;
use crate::crypto::MasterKey;
use crate::documents::Documents;
use crate::id::Id;
use crate::index::{self, Index};
use crate::layout::ObjectKind;
use crate::limits::Limits;
use crate::locks::{self, LockGuard, LockInfo, LockMode, Unlocked};
use crate::problem::Problem;
use crate::snapshot::Snapshot;
use futures_util::StreamExt;
use recoup_core::env::Env;
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_store::Store;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Mutex;

/// How many small objects are read at the same time.
const READS_AT_ONCE: usize = 8;

/// An open repository. Clones share everything.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    documents: Documents,
    config: Config,
    rabin: RabinTables,
    lines: OnceLock<LineTables>,
    key_problems: Vec<Problem>,
    /// The key file that took the password.
    key_id: Option<Id>,
    index: Mutex<Option<Arc<Index>>>,
}

/// The snapshots of a repository.
#[derive(Clone, Debug, Default)]
pub struct SnapshotList {
    /// By time, oldest first.
    pub snapshots: Vec<(Id, Snapshot)>,
    /// What could not be read; the others are not affected (fault row 30).
    pub problems: Vec<Problem>,
}

/// Which snapshots are meant. An empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Host names, any of them.
    pub hosts: Vec<String>,
    /// Lists of tags; all tags of any list.
    pub tags: Vec<Vec<String>>,
    /// Absolute paths, all of them.
    pub paths: Vec<String>,
}

impl Repository {
    /// Creates a repository. A half-finished one of the same password is finished; anything else that is
    /// there already is left alone.
    ///
    /// # Errors
    /// `Kind::Exists`, E0460, if there is a repository; `Kind::Refused`, E0462 or E0463, if there are
    /// leftovers of one.
    pub async fn init(
        store: Arc<dyn Store>,
        password: &Secret,
        options: &InitOptions,
        env: &Env,
    ) -> Result<Self> {
        open::init(store, password, options, env).await
    }

    /// Opens a repository. Damaged key files are skipped; see [`Repository::key_problems`].
    ///
    /// # Errors
    /// `Kind::NotFound`, E0410, if there is no repository; `Kind::Denied`, E0412, if no key takes the
    /// password; `Kind::Corrupt` if no key or the config cannot be read.
    pub async fn open(store: Arc<dyn Store>, password: &Secret, limits: Limits, env: &Env) -> Result<Self> {
        open::open(store, password, limits, env).await
    }

    fn new(store: Arc<dyn Store>, key: MasterKey, config: Config, limits: Limits, env: &Env) -> Self {
        let version = config.version;
        let rabin = RabinTables::new(config.polynomial);
        let documents = Documents { store, key, env: env.clone(), limits, version };
        Repository(Arc::new(Inner {
            documents,
            config,
            rabin,
            lines: OnceLock::new(),
            key_problems: Vec::new(),
            key_id: None,
            index: Mutex::new(None),
        }))
    }

    /// The id in its config: 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.0.config.id
    }

    /// Format version, 1 or 2.
    pub fn version(&self) -> u32 {
        self.0.config.version
    }

    /// Where it lies.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.documents.store
    }

    /// The world it was opened in.
    pub fn env(&self) -> &Env {
        &self.0.documents.env
    }

    /// What it may claim.
    pub fn limits(&self) -> &Limits {
        &self.0.documents.limits
    }

    /// Key files that could not be used when it was opened.
    pub fn key_problems(&self) -> &[Problem] {
        &self.0.key_problems
    }

    /// The key file that took the password; `None` if another process made it while we looked.
    pub fn key_id(&self) -> Option<Id> {
        self.0.key_id
    }

    /// What its files are cut with. Two repositories share pieces only if they cut alike.
    pub fn chunker_polynomial(&self) -> u64 {
        self.0.config.polynomial
    }

    /// Stops what would write, where this program only reads.
    pub(crate) fn refuse_version_1(&self) -> Result<()> {
        if self.version() >= 2 {
            return Ok(());
        }
        Err(Error::new(Kind::Unsupported, "write to a repository of format version 1")
            .with("location", self.store().location())
            .code("E0470")
            .effect("nothing was written"))
    }

    pub(crate) fn key(&self) -> &MasterKey {
        &self.0.documents.key
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    pub(crate) fn rabin(&self) -> &RabinTables {
        &self.0.rabin
    }

    /// Computed when somebody asks: few backups cut lines.
    pub(crate) fn lines(&self) -> &LineTables {
        self.0.lines.get_or_init(|| LineTables::new(self.0.config.polynomial))
    }

    /// Takes a lock, at once or not at all. Locks of processes that are provably gone are removed first.
    ///
    /// # Errors
    /// `Kind::Locked`, E0411, if somebody else holds the repository.
    pub async fn lock(&self, mode: LockMode) -> Result<LockGuard> {
        self.lock_within(mode, Duration::ZERO).await
    }

    /// Takes a lock; waits up to `wait` for others to finish.
    ///
    /// # Errors
    /// `Kind::Locked`, E0411, if somebody else holds the repository all the time.
    pub async fn lock_within(&self, mode: LockMode, wait: Duration) -> Result<LockGuard> {
        locks::acquire(self.documents(), mode, wait).await
    }

    /// Every lock that stands in the repository.
    ///
    /// # Errors
    /// As the store says.
    pub async fn locks(&self) -> Result<Vec<LockInfo>> {
        locks::all(self.documents()).await
    }

    /// Removes locks that are dead or were not refreshed for half an hour, or all locks.
    ///
    /// # Errors
    /// As the store says.
    pub async fn unlock(&self, all: bool) -> Result<Unlocked> {
        locks::unlock(self.documents(), all).await
    }

    /// Every snapshot that can be read, and what is wrong with the others.
    ///
    /// # Errors
    /// As the store says when it is asked for the list.
    pub async fn snapshots(&self) -> Result<SnapshotList> {
        let listed = self.documents().list(ObjectKind::Snapshot).await?;
        let loads = listed.objects.into_iter().map(|(id, _)| async move { (id, self.snapshot(&id).await) });
        let mut loads = futures_util::stream::iter(loads).buffer_unordered(READS_AT_ONCE);
        let mut list = SnapshotList::default();
        while let Some((id, result)) = loads.next().await {
            match result {
                Ok(snapshot) => list.snapshots.push((id, snapshot)),
                // Forgotten since the listing.
                Err(err) if err.kind() == Kind::NotFound => {}
                Err(err) => list.problems.push(unreadable_snapshot(&id, &err)),
            }
        }
        list.snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.at, *id));
        list.problems.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(list)
    }

    /// Reads one snapshot.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Corrupt` if it cannot be read.
    pub async fn snapshot(&self, id: &Id) -> Result<Snapshot> {
        let json = self.documents().load(ObjectKind::Snapshot, id).await?;
        Snapshot::decode(&json).map_err(|err| err.with("snapshot", id))
    }

    /// The index, loaded at the first call. Damaged, foreign and missing index files are skipped and
    /// made up for from the headers of the packs; see [`Index::problems`].
    ///
    /// # Errors
    /// As the store says.
    pub async fn index(&self) -> Result<Arc<Index>> {
        let mut cached = self.0.index.lock().await;
        if let Some(index) = &*cached {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(index::load::load(&**self.store(), self.key(), self.limits()).await?);
        *cached = Some(Arc::clone(&index));
        Ok(index)
    }

    /// The index as it is in the store now.
    ///
    /// # Errors
    /// As the store says.
    pub async fn reload_index(&self) -> Result<Arc<Index>> {
        self.forget_index().await;
        self.index().await
    }

    /// Makes the next call of [`Repository::index`] load it again, because it changed.
    pub(crate) async fn forget_index(&self) {
        *self.0.index.lock().await = None;
    }

    /// Finds `latest`, the newest complete one of those that `filter` means, or the one whose id starts with `wanted`; then
    /// `filter` does not matter, as with restic.
    ///
    /// # Errors
    /// `Kind::NotFound`, E0464, if there is none; `Kind::Config`, E0464, if there are several.
    pub async fn find_snapshot(&self, wanted: &str, filter: &SnapshotFilter) -> Result<(Id, Snapshot)> {
        if wanted == "latest" {
            let matching = self.snapshots().await?.snapshots.into_iter().filter(|(_, s)| filter.matches(s));
            let (partial, complete): (Vec<_>, Vec<_>) = matching.partition(|(_, s)| s.is_partial());
            let why = match partial.len() {
                0 => "no snapshot matches",
                _ => "only partial snapshots match, of backups that did not come to their end",
            };
            return complete.into_iter().next_back().ok_or_else(|| no_snapshot(Kind::NotFound, wanted, why));
        }
        if wanted.is_empty() || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(no_snapshot(Kind::NotFound, wanted, "it is neither \"latest\" nor an id"));
        }
        let wanted = wanted.to_ascii_lowercase();
        let listed = self.documents().list(ObjectKind::Snapshot).await?;
        let mut found = listed.objects.iter().filter(|(id, _)| id.to_string().starts_with(&wanted));
        match (found.next(), found.next()) {
            (None, _) => Err(no_snapshot(Kind::NotFound, &wanted, "no snapshot has such an id")),
            (Some(_), Some(_)) => {
                Err(no_snapshot(Kind::Config, &wanted, "several snapshots have such an id"))
            }
            (Some((id, _)), None) => Ok((*id, self.snapshot(id).await?)),
        }
    }
}

impl SnapshotFilter {
    /// Whether `snapshot` is meant.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let has_tags = |tags: &Vec<String>| {
            tags.iter().all(|tag| snapshot.tags.contains(tag) || (tag.is_empty() && snapshot.tags.is_empty()))
        };
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", self.store().location())
    }
}

fn unreadable_snapshot(id: &Id, err: &Error) -> Problem {
    Problem {
        affects: vec![format!("snapshot {}", id.short())],
        ..Problem::new("E0437", format!("snapshot {id}"), err.to_string())
    }
}

fn no_snapshot(kind: Kind, wanted: &str, why: &str) -> Error {
    let shown = escape(wanted.chars().take(80).collect::<String>().as_bytes());
    Error::new(kind, format!("find the snapshot \"{shown}\": {why}")).code("E0464")
}
