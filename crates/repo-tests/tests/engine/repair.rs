//! Repairs: damage in, the best that is left out, and never less than before, whenever it is killed.

use crate::kit::{self, Backup};
use recoup_repo::repair::{self, DamagedFiles, RepairOptions, Repaired, SnapshotOptions};
use recoup_repo::repository::Repository;
use recoup_repo::{BlobKind, Id, ObjectKind, layout};
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_store::{Key, Put, Store};
use recoup_testkit::crash::{Tried, every_crash};
use recoup_testkit::env::real;
use recoup_testkit::faulty::flip;
use recoup_testkit::recording::{CrashState, Recording};
use recoup_testkit::tree::{Flat, Tree, noise, seed};
use std::sync::Arc;

struct Bench {
    memory: Memory,
    tree: Tree,
    backup: Backup,
}

fn apply() -> RepairOptions {
    RepairOptions { apply: true, ..RepairOptions::default() }
}

impl Bench {
    async fn new() -> Bench {
        let memory = Memory::new();
        let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
        let tree = Tree::random(seed(), 20).file("kept/a", "first words").file("kept/b", noise(7, 3_000_000));
        let backup = kit::backup(&repo, &tree, None).await.unwrap();
        Bench { memory, tree, backup }
    }

    async fn open(&self) -> Repository {
        kit::open(Arc::new(self.memory.clone()), &real()).await.unwrap()
    }

    fn keys(&self, kind: ObjectKind) -> Vec<Key> {
        let prefix = format!("{}/", layout::prefix(kind));
        self.memory.objects().into_keys().filter(|key| key.as_str().starts_with(&prefix)).collect()
    }

    async fn pack(&self, kind: BlobKind) -> Id {
        let by_pack = self.open().await.index().await.unwrap().by_pack();
        by_pack.into_iter().find(|(_, entries)| entries[0].handle.kind == kind).unwrap().0
    }

    /// Flips a bit in a large blob, so that one file is hit.
    async fn damage_a_file(&self) -> Id {
        let index = self.open().await.index().await.unwrap();
        let blob = index.iter().filter(|l| l.entry.handle.kind == BlobKind::Data);
        let hit = blob.max_by_key(|l| l.entry.length).unwrap();
        let at = hit.entry.offset as usize + 40;
        self.memory.tamper(&layout::key(ObjectKind::Pack, &hit.pack), |bytes| {
            let mut bytes = bytes.unwrap().to_vec();
            bytes[at] ^= 1;
            Some(bytes.into())
        });
        hit.pack
    }

    fn quarantined(&self) -> usize {
        let objects = self.memory.objects().into_keys();
        objects.filter(|key| key.as_str().starts_with("recoup/quarantine/")).count()
    }

    async fn restic_agrees(&self) {
        let dir = tempfile::tempdir().unwrap();
        crate::interop::write_out(&self.memory, dir.path()).await;
        recoup_testkit::restic::Restic::new(dir.path(), kit::PASSWORD).check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_037_an_index_that_is_gone_or_damaged_is_built_from_the_packs() {
    for (round, read_all) in [(0, false), (1, false), (2, true)] {
        let bench = Bench::new().await;
        let key = bench.keys(ObjectKind::Index).remove(0);
        match round {
            0 => bench.memory.tamper(&key, |_| None),
            1 => bench.memory.tamper(&key, |bytes| Some(flip(&bytes.unwrap(), 333))),
            _ => {}
        }
        let repo = bench.open().await;
        let before = bench.memory.objects();
        let would = repair::index(&repo, read_all, &RepairOptions::default()).await.unwrap();
        assert!(!would.applied && !would.steps.is_empty(), "{would:?}");
        assert_eq!(bench.memory.objects(), before, "a dry run changed something");
        let did = repair::index(&repo, read_all, &apply()).await.unwrap();
        assert!(did.lost.is_empty(), "{did:?}");
        assert_eq!(bench.quarantined(), usize::from(round > 0));
        let again = repair::index(&repo, false, &apply()).await.unwrap();
        assert!(again.steps.is_empty(), "{again:?}");
        assert_eq!(kit::restore_complaint(&repo, bench.backup.tree, &bench.tree.flat()).await, "");
        bench.restic_agrees().await;
    }
}

async fn all(repo: &Repository, options: &RepairOptions) -> [Repaired; 3] {
    let which = SnapshotOptions { forget: true, ..SnapshotOptions::default() };
    [
        repair::index(repo, false, options).await.unwrap(),
        repair::packs(repo, &[], options).await.unwrap(),
        repair::snapshots(repo, &which, options).await.unwrap(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn row_027_what_is_good_in_a_damaged_pack_is_saved() {
    let bench = Bench::new().await;
    let pack = bench.damage_a_file().await;
    let repo = bench.open().await;
    assert!(!kit::serious(&repo).await.is_empty());
    let would = repair::packs(&repo, &[], &RepairOptions::default()).await.unwrap();
    assert_eq!(would.lost.len(), 1, "{would:?}");
    let [_, packs, snapshots] = all(&repo, &apply()).await;
    assert!(packs.steps.iter().any(|step| step.object == format!("pack {pack}")), "{packs:?}");
    assert_eq!(snapshots.lost.len(), 1, "{snapshots:?}");
    assert_eq!(kit::serious(&repo).await, Vec::<String>::new());
    bench.restic_agrees().await;
    let (id, snapshot) = repo.snapshots().await.unwrap().snapshots.pop().unwrap();
    assert_ne!(id, bench.backup.snapshot);
    assert_eq!(snapshot.original, Some(bench.backup.snapshot));
    assert!(snapshot.tags.contains(&"repaired".to_owned()));
    let (report, restored) = kit::restore_tree(&repo, snapshot.tree).await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let (expected, actual) = (bench.tree.flat(), restored.flat());
    assert_eq!(expected.len(), actual.len(), "one file has another name, none is gone");
    for (path, (_, bytes)) in actual {
        if !path.to_string().contains(".recoup-damaged") {
            assert_eq!(expected[&path].1, bytes, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_028_a_lost_root_is_not_made_up_and_a_damaged_file_can_be_dropped() {
    let bench = Bench::new().await;
    bench.damage_a_file().await;
    let repo = bench.open().await;
    repair::packs(&repo, &[], &apply()).await.unwrap();
    let which = SnapshotOptions { damaged: DamagedFiles::Drop, ..SnapshotOptions::default() };
    repair::snapshots(&repo, &which, &apply()).await.unwrap();
    let list = repo.snapshots().await.unwrap().snapshots;
    assert_eq!(list.len(), 2, "the original stays unless it is to be forgotten");
    let tree = list.iter().find(|(id, _)| *id != bench.backup.snapshot).unwrap().1.tree;
    let (report, restored) = kit::restore_tree(&repo, tree).await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(restored.flat().len(), bench.tree.flat().len() - 1);
    // a root that is gone cannot be brought back, and nothing is written for it
    let bench = Bench::new().await;
    let pack = bench.pack(BlobKind::Tree).await;
    bench.memory.tamper(&layout::key(ObjectKind::Pack, &pack), |_| None);
    let [_, _, snapshots] = all(&bench.open().await, &apply()).await;
    assert!(snapshots.steps.is_empty() && !snapshots.lost.is_empty(), "{snapshots:?}");
    assert_eq!(bench.keys(ObjectKind::Snapshot).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_32_a_repair_never_deletes_an_original() {
    let bench = Bench::new().await;
    let pack = bench.damage_a_file().await;
    let damaged = bench.memory.objects();
    let dir = tempfile::tempdir().unwrap();
    let quarantine: Arc<dyn Store> = Arc::new(Local::new(dir.path()));
    let options = RepairOptions { quarantine: Some(Arc::clone(&quarantine)), ..apply() };
    all(&bench.open().await, &options).await;
    assert_eq!(bench.quarantined(), 0);
    let after = bench.memory.objects();
    for (key, bytes) in damaged.into_iter().filter(|(key, _)| !after.contains_key(key)) {
        assert_eq!(quarantine.get(&key, None).await.unwrap(), bytes, "{key} is gone");
    }
    assert!(!after.contains_key(&layout::key(ObjectKind::Pack, &pack)));
    // somebody else at work: nothing happens
    let repo = bench.open().await;
    let lock = repo.lock(recoup_repo::locks::LockMode::Shared).await.unwrap();
    let err = repair::index(&repo, true, &apply()).await.unwrap_err();
    assert_eq!(err.stable_code(), Some("E0411"));
    lock.release().await.unwrap();
}

/// Whatever of the tree could be read with the damage can still be read after a kill, and the next
/// repair ends well.
async fn oracle(state: CrashState, tree: Id, expected: Arc<Flat>) -> Result<(), String> {
    let store: Arc<dyn Store> = Arc::new(state.store());
    let repo = kit::open(Arc::clone(&store), &real()).await.map_err(|e| format!("open: {e:?}"))?;
    for round in 0..2 {
        let (_, restored) = kit::restore_tree(&repo, tree).await.map_err(|e| format!("restore: {e:?}"))?;
        let actual = restored.flat();
        for (path, (_, bytes)) in expected.iter() {
            if actual.get(path).is_none_or(|(_, back)| back != bytes) {
                return Err(format!("round {round}: {path} could be read before the repair"));
            }
        }
        if round == 0 {
            all(&repo, &apply()).await;
        }
    }
    let list = repo.snapshots().await.map_err(|e| format!("snapshots: {e:?}"))?;
    if list.snapshots.is_empty() || !list.problems.is_empty() {
        return Err(format!("snapshots: {list:?}"));
    }
    let serious = kit::serious(&repo).await;
    if serious.is_empty() { Ok(()) } else { Err(format!("check: {}", serious.join("\n"))) }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_003_trap_33_every_crash_of_a_repair_leaves_at_least_what_there_was() {
    let bench = Bench::new().await;
    bench.damage_a_file().await;
    let index = bench.keys(ObjectKind::Index).remove(0);
    bench.memory.tamper(&index, |bytes| Some(flip(&bytes.unwrap(), 99)));
    let (_, restored) = kit::restore_tree(&bench.open().await, bench.backup.tree).await.unwrap();
    let expected = Arc::new(restored.flat());
    let before = bench.memory.objects();
    let recording = Recording::new(Arc::new(bench.memory.clone()));
    let repo = kit::open(Arc::new(recording.clone()), &kit::dead_env()).await.unwrap();
    all(&repo, &apply()).await;
    let Tried { prefixes, states } = every_crash(&before, &recording.log(), seed(), |state| {
        oracle(state, bench.backup.tree, Arc::clone(&expected))
    })
    .await
    .unwrap();
    eprintln!("crash points of repair: {prefixes} prefixes, {states} states");
    assert!(prefixes > 20 && states > 10, "the history is too short to prove anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_in_quarantine_stays_as_it_is() {
    let bench = Bench::new().await;
    bench.damage_a_file().await;
    let store: Arc<dyn Store> = Arc::new(bench.memory.clone());
    // the name in quarantine is taken by something else: both are kept
    let key = bench.keys(ObjectKind::Index).remove(0);
    let taken = Key::new(format!("recoup/quarantine/{key}")).unwrap();
    store.put(&taken, "another".into(), Put::Create).await.unwrap();
    repair::packs(&bench.open().await, &[], &apply()).await.unwrap();
    assert_eq!(store.get(&taken, None).await.unwrap(), "another");
    assert_eq!(bench.quarantined(), 3);
    assert_eq!(kit::serious(&bench.open().await).await.len(), 1, "only the lost file");
}
