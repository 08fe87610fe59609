//! Random histories against a model: backups of two writers at once, runs that die, forgetting, pruning,
//! objects that go bad, and stock restic looking at the end of some. The model knows which snapshot holds which tree; after every step the repository must
//! agree with it, and what it cannot give back it must name.

use crate::interop::write_out;
use crate::kit;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use recoup_core::Kind;
use recoup_repo::Id;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::prune::{PruneOptions, Unused, prune};
use recoup_repo::read::RestoreReport;
use recoup_store::memory::Memory;
use recoup_store::{Key, Store};
use recoup_testkit::env::real;
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::{Flat, Tree, seed};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// One thing that happens to a repository. Numbers choose among what is there, modulo its count.
#[derive(Clone, Debug)]
enum Step {
    /// A writer stores its tree after a day's work.
    Backup {
        writer: usize,
        day: u64,
    },
    /// Both writers at the same time.
    Together {
        day: u64,
    },
    /// A backup whose store fails for good at its `puts`-th write.
    Dies {
        writer: usize,
        day: u64,
        puts: usize,
    },
    Forget {
        nr: usize,
    },
    /// Gives space back, at once or in two phases; the store may fail for good at its `writes`-th change.
    Prune {
        at_once: bool,
        writes: usize,
    },
    LoseIndex {
        nr: usize,
    },
    GarbleIndex {
        nr: usize,
        bit: usize,
    },
    GarbleSnapshot {
        nr: usize,
        bit: usize,
    },
    /// From here on restores may fail, but never with wrong bytes and never in silence.
    GarblePack {
        nr: usize,
        bit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let number = any::<usize>;
    prop_oneof![
        6 => (0..2usize, any::<u64>()).prop_map(|(writer, day)| Step::Backup { writer, day }),
        2 => any::<u64>().prop_map(|day| Step::Together { day }),
        3 => (0..2usize, any::<u64>(), 0..6usize)
            .prop_map(|(writer, day, puts)| Step::Dies { writer, day, puts }),
        3 => number().prop_map(|nr| Step::Forget { nr }),
        3 => (any::<bool>(), 0..24usize).prop_map(|(at_once, writes)| Step::Prune { at_once, writes }),
        1 => number().prop_map(|nr| Step::LoseIndex { nr }),
        1 => (number(), number()).prop_map(|(nr, bit)| Step::GarbleIndex { nr, bit }),
        1 => (number(), number()).prop_map(|(nr, bit)| Step::GarbleSnapshot { nr, bit }),
        1 => (number(), number()).prop_map(|(nr, bit)| Step::GarblePack { nr, bit }),
    ]
}

/// What must be true of the repository.
struct Model {
    store: Memory,
    /// What each writer has on its disk.
    disks: [Tree; 2],
    /// The content of every snapshot that was acknowledged and not forgotten.
    snapshots: BTreeMap<Id, Flat>,
    /// Snapshots whose object was garbled: they must be named.
    garbled: Vec<Id>,
    /// A pack was garbled.
    is_data_in_doubt: bool,
    /// An index was lost or garbled; a later run may have mended that.
    is_index_in_doubt: bool,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let store = Memory::new();
        kit::init(Arc::new(store.clone()), &kit::dead_env()).await.unwrap();
        let disks = [Tree::random(seed, 8), Tree::random(seed ^ 1, 8)];
        Model {
            store,
            disks,
            snapshots: BTreeMap::new(),
            garbled: Vec::new(),
            is_data_in_doubt: false,
            is_index_in_doubt: false,
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Backup { writer, day } => self.backup(writer, day).await,
            Step::Together { day } => self.together(day).await,
            Step::Dies { writer, day, puts } => self.dies(writer, day, puts).await,
            Step::Forget { nr } => self.forget(nr).await,
            Step::Prune { at_once, writes } => self.prune(at_once, writes).await,
            Step::LoseIndex { nr } => {
                self.is_index_in_doubt |= self.tamper("index/", nr, |_| None).is_some();
                Ok(())
            }
            Step::GarbleIndex { nr, bit } => {
                let key = self.tamper("index/", nr, |bytes| Some(flip(&bytes, bit)));
                self.is_index_in_doubt |= key.is_some();
                Ok(())
            }
            Step::GarbleSnapshot { nr, bit } => {
                if let Some(key) = self.tamper("snapshots/", nr, |bytes| Some(flip(&bytes, bit))) {
                    let id: Id = key.as_str().trim_start_matches("snapshots/").parse().unwrap();
                    self.snapshots.remove(&id);
                    self.garbled.push(id);
                }
                Ok(())
            }
            Step::GarblePack { nr, bit } => {
                let key = self.tamper("data/", nr, |bytes| Some(flip(&bytes, bit)));
                self.is_data_in_doubt |= key.is_some();
                Ok(())
            }
        }
    }

    async fn backup(&mut self, writer: usize, day: u64) -> Result<(), String> {
        self.disks[writer] = self.disks[writer].changed(day);
        let repo = self.open(Arc::new(self.store.clone())).await?;
        let done =
            kit::backup(&repo, &self.disks[writer], None).await.map_err(|e| format!("backup: {e:?}"))?;
        self.snapshots.insert(done.snapshot, self.disks[writer].flat());
        Ok(())
    }

    async fn together(&mut self, day: u64) -> Result<(), String> {
        self.disks = [self.disks[0].changed(day), self.disks[1].changed(day ^ 7)];
        let one = self.open(Arc::new(self.store.clone())).await?;
        let two = self.open(Arc::new(self.store.clone())).await?;
        let runs =
            tokio::join!(kit::backup(&one, &self.disks[0], None), kit::backup(&two, &self.disks[1], None));
        for (done, disk) in [runs.0, runs.1].into_iter().zip(&self.disks) {
            let done = done.map_err(|e| format!("one of two backups: {e:?}"))?;
            self.snapshots.insert(done.snapshot, disk.flat());
        }
        Ok(())
    }

    /// The run dies, or was through before it could; both must be told truly.
    async fn dies(&mut self, writer: usize, day: u64, puts: usize) -> Result<(), String> {
        let disk = self.disks[writer].changed(day);
        let fault = Script { nth: puts, ..Script::always(Op::Put, "", Fault::Error(Kind::Unavailable)) };
        // A dead process does not take its lock away either.
        let stays = Script { nth: 0, ..Script::always(Op::Delete, "", Fault::Error(Kind::Unavailable)) };
        let faulty = Faulty::new(Arc::new(self.store.clone()), [fault, stays]);
        let repo = self.open(Arc::new(faulty)).await?;
        if let Ok(done) = kit::backup(&repo, &disk, None).await {
            self.snapshots.insert(done.snapshot, disk.flat());
        }
        // A snapshot that is there although nobody was told is as good as any other.
        let repo = self.open(Arc::new(self.store.clone())).await?;
        for (id, _) in repo.snapshots().await.map_err(|e| format!("{e:?}"))?.snapshots {
            self.snapshots.entry(id).or_insert_with(|| disk.flat());
        }
        Ok(())
    }

    async fn forget(&mut self, nr: usize) -> Result<(), String> {
        let Some(id) = pick(self.snapshots.keys(), nr).copied() else { return Ok(()) };
        let repo = self.open(Arc::new(self.store.clone())).await?;
        let done =
            forget(&repo, &[id], ForgetOptions::default()).await.map_err(|e| format!("forget: {e:?}"))?;
        if done.removed != [id] {
            return Err(format!("forget {id}: {done:?}"));
        }
        self.snapshots.remove(&id);
        Ok(())
    }

    /// It may refuse, and it may die; what it did until then must not show.
    async fn prune(&mut self, at_once: bool, writes: usize) -> Result<(), String> {
        let dies = |op| Script { nth: writes, ..Script::always(op, "", Fault::Error(Kind::Unavailable)) };
        let faulty = Faulty::new(Arc::new(self.store.clone()), [dies(Op::Put), dies(Op::Delete)]);
        let repo = self.open(Arc::new(faulty)).await?;
        let keep_delete = if at_once { Duration::ZERO } else { PruneOptions::default().keep_delete };
        let max_unused = Unused::Bytes(0);
        let options = PruneOptions { keep_delete, max_unused, ..PruneOptions::default() };
        match prune(&repo, &options).await {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), Kind::Refused | Kind::Unavailable) => Ok(()),
            Err(e) => Err(format!("prune: {e:?}")),
        }
    }

    fn tamper(&self, prefix: &str, nr: usize, change: impl FnOnce(Bytes) -> Option<Bytes>) -> Option<Key> {
        let objects = self.store.objects();
        let key = pick(objects.keys().filter(|key| key.as_str().starts_with(prefix)), nr)?;
        self.store.tamper(key, |bytes| bytes.and_then(change));
        Some(key.clone())
    }

    /// Every process of this history is dead by the time the next one looks.
    async fn open(&self, store: Arc<dyn Store>) -> Result<recoup_repo::repository::Repository, String> {
        kit::open(store, &kit::dead_env()).await.map_err(|e| format!("open: {e:?}"))
    }

    async fn agrees(&self) -> Result<(), String> {
        let repo =
            kit::open(Arc::new(self.store.clone()), &real()).await.map_err(|e| format!("open: {e:?}"))?;
        let list = repo.snapshots().await.map_err(|e| format!("snapshots: {e:?}"))?;
        let listed: BTreeMap<Id, Id> = list.snapshots.iter().map(|(id, s)| (*id, s.tree)).collect();
        if !listed.keys().eq(self.snapshots.keys()) {
            let (have, want): (Vec<_>, Vec<_>) = (listed.keys().collect(), self.snapshots.keys().collect());
            return Err(format!("listed {have:?}, expected {want:?}"));
        }
        for id in &self.garbled {
            if !list.problems.iter().any(|p| p.object.contains(&id.to_string())) {
                return Err(format!("nobody says that snapshot {id} is damaged"));
            }
        }
        for (id, flat) in &self.snapshots {
            let done = kit::restore_tree(&repo, listed[id]).await;
            self.restored(flat, done).map_err(|e| format!("snapshot {id}: {e}"))?;
        }
        Ok(())
    }

    /// Stock restic on a copy of what is there. It has no way around damage, so it is asked only while there
    /// is none, and its own opinion of packs that wait for deletion is that they are superfluous.
    async fn restic_agrees(&self) -> Result<bool, String> {
        if self.is_data_in_doubt || !self.garbled.is_empty() || self.is_index_in_doubt {
            return Ok(false);
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        write_out(&self.store, folder.path()).await;
        let restic = Restic::new(folder.path(), kit::PASSWORD);
        // the dead leave locks, and restic takes them for living ones of this host
        restic.run(&["unlock", "--remove-all"]);
        let checked = restic.try_run(&["check", "--read-data"]);
        if !checked.status.success() {
            return Err(format!("restic check: {}", String::from_utf8_lossy(&checked.stderr)));
        }
        let listed = restic.snapshots().len();
        if listed != self.snapshots.len() {
            return Err(format!("restic lists {listed} snapshots, the model {}", self.snapshots.len()));
        }
        Ok(true)
    }

    fn restored(
        &self,
        flat: &Flat,
        done: recoup_core::Result<(RestoreReport, recoup_testkit::restored::Restored)>,
    ) -> Result<(), String> {
        match done {
            Err(_) if self.is_data_in_doubt => Ok(()),
            Err(e) => Err(format!("restore: {e:?}")),
            Ok((report, restored)) if report.errors.is_empty() => {
                let complaint = recoup_testkit::restored::differences(flat, &restored.flat());
                if complaint.is_empty() { Ok(()) } else { Err(complaint) }
            }
            Ok((report, _)) if !self.is_data_in_doubt => Err(format!("restore: {:?}", report.errors)),
            Ok((report, restored)) => wrong_bytes(flat, &restored.flat(), &report),
        }
    }
}

/// After damage a file is right, or it is missing or named.
fn wrong_bytes(expected: &Flat, actual: &Flat, report: &RestoreReport) -> Result<(), String> {
    for (path, (_, bytes)) in actual {
        let named = report.errors.iter().any(|problem| problem.path == *path);
        let right = expected.get(path).is_some_and(|(_, want)| want == bytes);
        if !right && !named {
            return Err(format!("{path} has wrong bytes and no error names it"));
        }
    }
    Ok(())
}

fn pick<'a, T>(mut all: impl Iterator<Item = &'a T> + Clone, nr: usize) -> Option<&'a T> {
    let count = all.clone().count();
    all.nth(nr.checked_rem(count)?)
}

fn flip(bytes: &Bytes, bit: usize) -> Bytes {
    let mut copy = bytes.to_vec();
    let at = bit / 8 % copy.len().max(1);
    if let Some(byte) = copy.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
    copy.into()
}

/// Restic takes most of a second, so that it sees the end of one history in so many.
const RESTIC_EVERY: u32 = 4;

#[test]
fn a_repository_agrees_with_its_model_whatever_happens() {
    let is_full = std::env::var_os("RECOUP_TEST_FULL").is_some();
    let seed = seed();
    let cases = if is_full { 2_000 } else { 60 };
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (ended, asked) = (AtomicU32::new(0), AtomicU32::new(0));
    TestRunner::new(config)
        .run(&proptest::collection::vec(step(), 1..14), |steps| {
            let done = runtime.block_on(async {
                let mut model = Model::new(seed).await;
                for (nr, step) in steps.into_iter().enumerate() {
                    let text = format!("step {nr}, {step:?}");
                    model.take(step).await.map_err(|e| format!("{text}: {e}"))?;
                    model.agrees().await.map_err(|e| format!("after {text}: {e}"))?;
                }
                if ended.fetch_add(1, Relaxed).is_multiple_of(RESTIC_EVERY) && model.restic_agrees().await? {
                    asked.fetch_add(1, Relaxed);
                }
                Ok::<_, String>(())
            });
            done.map_err(TestCaseError::fail)
        })
        .unwrap();
    let asked = asked.into_inner();
    eprintln!("{cases} histories agreed with the model, {asked} of them with restic too");
    assert!(asked > 0);
}
