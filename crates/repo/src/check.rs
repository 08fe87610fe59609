//! Is everything there that the snapshots need, and, if asked, is it still what it was.
//!
//! Without reading the data: every object is listed and its name and size compared, every index and
//! snapshot opened, every tree read and every blob it names looked up. With it: every pack is read once,
//! its name compared with its hash, every blob opened and hashed, and the header compared with the index.
//! Nothing is changed, and no damage stops the check (fault rows 27-37). What looks damaged is read a second time
//! before that is said (trap 49).

mod affects;
mod ledger;
mod packs;
mod slice;
mod trees;

pub use ledger::{LedgerPlace, Verified};
pub use slice::{Budget, Slice, Subset};

use crate::blob::BlobHandle;
use crate::documents;
use crate::id::Id;
use crate::index::Index;
use crate::layout::{self, ObjectKind};
use crate::problem::Problem;
use crate::read::{Progress, Total};
use crate::repository::{Repository, SnapshotList};
use ledger::Ledger;
use recoup_core::Result;
use recoup_core::name::escape;
use recoup_store::StoreExt;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How thoroughly to look.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Read every pack.
    pub read_data: bool,
    /// Of these, only some.
    pub slice: Slice,
    /// Where the ledger of what was verified when is kept.
    pub ledger: Option<LedgerPlace>,
    /// What progress events speak of, as in `shop` or a location.
    pub address: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Packs that are there.
    pub packs: u64,
    /// Different directories that were read.
    pub trees: u64,
    /// Copies of blobs that the packs hold.
    pub blobs: u64,
    /// Packs whose bytes were read and hashed.
    pub packs_read: u64,
    /// Bytes of packs that were read and hashed.
    pub bytes_read: u64,
    /// What is known of all packs, this run included, if there is a ledger.
    pub verified: Option<Verified>,
    /// What is wrong, the serious ones first.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Whether nothing is missing, damaged or in doubt. Stray files and packs without an index are
    /// no damage.
    pub fn is_sound(&self) -> bool {
        !self.problems.iter().any(Problem::is_serious)
    }
}

/// Looks at everything. The caller holds a lock if others may delete meanwhile.
///
/// # Errors
/// As the store says, if it cannot be listed or does not answer; damage is never an error here.
pub async fn check(repo: &Repository, options: &CheckOptions) -> Result<CheckReport> {
    let snapshots = repo.snapshots().await?;
    let index = repo.reload_index().await?;
    let (ledger, doubt) = match &options.ledger {
        None => (None, None),
        Some(place) => {
            let (ledger, doubt) = Ledger::load(repo, place.clone()).await;
            (Some(ledger), doubt)
        }
    };
    let mut run = Check::new(repo, &index, options, ledger);
    run.report.problems.extend(doubt);
    run.report.snapshots = snapshots.snapshots.len() as u64;
    run.report.packs = index.packs().iter().filter(|pack| pack.size.is_some()).count() as u64;
    run.report.blobs = index.len() as u64;
    run.report.problems.extend(repo.key_problems().iter().cloned());
    run.report.problems.extend(snapshots.problems.iter().cloned());
    run.report.problems.extend(index.problems().iter().cloned());
    run.strays().await?;
    run.keys().await?;
    if options.read_data {
        run.packs().await?;
    }
    run.settle_ledger().await;
    run.trees(&snapshots).await?;
    run.name_affected(&snapshots).await?;
    run.progress.show(true);
    let mut report = run.report;
    report.problems.sort_by_key(|problem| !problem.is_serious());
    Ok(report)
}

/// Every pack that is missing, has the wrong size, or is not what its name, its header or the index says.
/// All of them are read.
///
/// # Errors
/// As the store says, if it does not answer.
pub(crate) async fn damaged_packs(repo: &Repository) -> Result<BTreeSet<Id>> {
    let index = repo.reload_index().await?;
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let mut run = Check::new(repo, &index, &options, None);
    run.packs().await?;
    let bad = run.report.problems.iter().filter(|problem| problem.is_serious());
    let mut packs: BTreeSet<Id> =
        bad.filter_map(|problem| problem.object.strip_prefix("pack ")?.parse().ok()).collect();
    packs.extend(index.packs().iter().filter(|pack| !pack.sound).map(|pack| pack.id));
    Ok(packs)
}

/// A check under way.
struct Check {
    repo: Repository,
    index: Arc<Index>,
    progress: Arc<Progress>,
    /// Blobs without a single good copy, and the pack that is to blame if it is known.
    bad: BTreeMap<BlobHandle, Option<Id>>,
    report: CheckReport,
    ledger: Option<Ledger>,
    /// Packs to be read, in this order, with their sizes.
    chosen: Vec<(Id, u64)>,
    /// When no further pack is begun, on the clock that only goes forward.
    until: Option<Duration>,
}

impl Check {
    fn new(repo: &Repository, index: &Arc<Index>, options: &CheckOptions, ledger: Option<Ledger>) -> Self {
        let packs = if options.read_data { packs::there(index) } else { Vec::new() };
        let when = |pack: &Id| ledger.as_ref().and_then(|ledger| ledger.when(pack));
        let chosen = options.slice.choose(packs, when, repo.env());
        let total = Total { bytes: chosen.iter().map(|(_, size)| size).sum(), items: chosen.len() as u64 };
        Check {
            repo: repo.clone(),
            index: Arc::clone(index),
            progress: Arc::new(Progress::new(repo, "check", &options.address, total)),
            bad: BTreeMap::new(),
            report: CheckReport::default(),
            until: options.slice.time().map(|time| repo.env().clock.monotonic().saturating_add(time)),
            ledger,
            chosen,
        }
    }

    /// Writes the ledger down. A ledger that cannot be kept takes nothing away from what was found.
    async fn settle_ledger(&mut self) {
        self.save_ledger().await;
        let now = self.repo.env().now();
        let packs = packs::there(&self.index);
        self.report.verified = self.ledger.as_ref().map(|ledger| ledger.sum_up(&packs, now));
    }

    async fn save_ledger(&mut self) {
        let packs = self.index.packs().iter().filter(|pack| pack.size.is_some()).map(|pack| pack.id);
        let Some(ledger) = &mut self.ledger else { return };
        if let Err(err) = ledger.save(&self.repo, &packs.collect()).await {
            let problem = Problem::new("W0488", "ledger", format!("what was verified is not noted: {err}"));
            if !self.report.problems.iter().any(|known| known.code == problem.code) {
                self.report.problems.push(problem);
            }
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.report.problems.push(problem);
    }

    /// Files that do not belong here: reported, never fatal (fault row 34).
    async fn strays(&mut self) -> Result<()> {
        let known: HashSet<String> =
            self.report.problems.iter().map(|problem| problem.object.clone()).collect();
        for meta in self.repo.store().list_all("").await? {
            let name = meta.key.as_str();
            let is_ours = match name.split_once('/').map_or(name, |(folder, _)| folder) {
                "config" | "recoup" => true,
                "keys" => layout::id_of(ObjectKind::Key, &meta.key).is_some(),
                "locks" => layout::id_of(ObjectKind::Lock, &meta.key).is_some(),
                "snapshots" => layout::id_of(ObjectKind::Snapshot, &meta.key).is_some(),
                "index" => layout::id_of(ObjectKind::Index, &meta.key).is_some(),
                "data" => layout::id_of(ObjectKind::Pack, &meta.key).is_some(),
                _ => false,
            };
            let shown = escape(name.as_bytes());
            if !is_ours && !known.contains(&shown) {
                self.problem(Problem::new("W0425", shown, "it does not belong into a repository"));
            }
        }
        Ok(())
    }

    /// A key file that was changed does not have its name any more (fault row 31).
    async fn keys(&mut self) -> Result<()> {
        let store = Arc::clone(self.repo.store());
        for (id, _) in documents::list(&*store, ObjectKind::Key).await?.objects {
            let object = format!("key {id}");
            let bytes = store.get(&layout::key(ObjectKind::Key, &id), None).await?;
            let known = self.report.problems.iter().any(|problem| problem.object == object);
            if Id::of(&bytes) != id && !known {
                self.problem(Problem::new("E0414", object, "its content is not what its name says"));
            }
        }
        Ok(())
    }

    async fn name_affected(&mut self, snapshots: &SnapshotList) -> Result<()> {
        if self.bad.is_empty() {
            return Ok(());
        }
        let affected = affects::find(&self.repo, &self.bad, snapshots).await?;
        for (handle, pack) in std::mem::take(&mut self.bad) {
            let paths = affected.get(&handle).cloned().unwrap_or_default();
            let object = pack.map_or_else(|| format!("blob {handle}"), |pack| format!("pack {pack}"));
            let known = self.report.problems.iter_mut().find(|p| p.object == object && p.is_serious());
            match known {
                Some(problem) => affects::merge(&mut problem.affects, paths),
                None => {
                    let (code, what) = match handle.kind {
                        crate::BlobKind::Tree => ("E0428", "a directory in it cannot be read from any copy"),
                        crate::BlobKind::Data => ("E0432", "content in it cannot be read from any copy"),
                    };
                    let what = if pack.is_some() { what } else { "no pack has it" };
                    self.problem(Problem { affects: paths, ..Problem::new(code, object, what) });
                }
            }
        }
        Ok(())
    }
}
