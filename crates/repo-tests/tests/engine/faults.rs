//! Disks that fill up, bits that flip, objects that go: found, named, and everything else delivered.

use crate::kit::{self, Backup};
use bytes::Bytes;
use recoup_core::Kind;
use recoup_repo::check::{CheckOptions, CheckReport, check};
use recoup_repo::repository::Repository;
use recoup_repo::{BlobKind, Id, ObjectKind, layout};
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_store::{Key, Put, Store};
use recoup_testkit::env::real;
use recoup_testkit::faulty::{Fault, Faulty, Op, Script, flip};
use recoup_testkit::tree::{Flat, Tree, seed};
use std::sync::Arc;

/// A repository with two snapshots of two trees.
struct Bench {
    memory: Memory,
    one: Backup,
    two: Backup,
    first: Tree,
    second: Tree,
}

impl Bench {
    async fn new() -> Bench {
        let seed = seed();
        let memory = Memory::new();
        let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
        let first = Tree::random(seed, 20).file("kept/a", "first words").file("kept/b", vec![7; 700_000]);
        let second = first.changed(seed + 1);
        let one = kit::backup(&repo, &first, None).await.unwrap();
        let two = kit::backup(&repo, &second, Some(one.tree)).await.unwrap();
        Bench { memory, one, two, first, second }
    }

    async fn open(&self) -> Repository {
        kit::open(Arc::new(self.memory.clone()), &real()).await.unwrap()
    }

    fn keys(&self, kind: ObjectKind) -> Vec<Key> {
        let prefix = format!("{}/", layout::prefix(kind));
        self.memory.objects().into_keys().filter(|key| key.as_str().starts_with(&prefix)).collect()
    }

    /// The packs that hold blobs of `kind`, by id.
    async fn packs(&self, kind: BlobKind) -> Vec<Id> {
        let by_pack = self.open().await.index().await.unwrap().by_pack();
        let mut packs: Vec<Id> = by_pack
            .into_iter()
            .filter(|(_, entries)| entries[0].handle.kind == kind)
            .map(|(id, _)| id)
            .collect();
        packs.sort();
        packs
    }

    fn tamper(&self, key: &Key, change: impl FnOnce(Bytes) -> Option<Bytes>) {
        self.memory.tamper(key, |bytes| change(bytes.unwrap()));
    }

    /// A copy to damage.
    fn copy(&self) -> Bench {
        Bench {
            memory: Memory::from_objects(self.memory.objects()),
            one: clone(&self.one),
            two: clone(&self.two),
            first: self.first.clone(),
            second: self.second.clone(),
        }
    }

    /// Restores the first snapshot: what came is equal, and what did not come stands in the errors.
    async fn restores_or_says_so(&self) -> usize {
        let repo = self.open().await;
        let (report, restored) = kit::restore_tree(&repo, self.one.tree).await.unwrap();
        let (expected, actual) = (self.first.flat(), restored.flat());
        for (path, (_, bytes)) in &actual {
            assert_eq!(&expected[path].1, bytes, "{path} has other bytes and nobody said so");
        }
        for path in expected.keys().filter(|path| !actual.contains_key(*path)) {
            let named = report.errors.iter().any(|problem| path.starts_with(&problem.path));
            assert!(named, "{path} is missing and nobody said so: {:?}", report.errors);
        }
        report.errors.len()
    }

    async fn restores_whole(&self) {
        let repo = self.open().await;
        for (backup, tree) in [(&self.one, &self.first), (&self.two, &self.second)] {
            assert_eq!(kit::restore_complaint(&repo, backup.tree, &tree.flat()).await, "");
        }
    }

    async fn check(&self, read_data: bool) -> CheckReport {
        check(&self.open().await, &CheckOptions { read_data, ..CheckOptions::default() }).await.unwrap()
    }

    /// A backup of the first tree, which must make it whole again.
    async fn heals(&self) {
        let repo = self.open().await;
        let again = kit::backup(&repo, &self.first, Some(self.one.tree)).await.unwrap();
        let repo = self.open().await;
        let flat: Flat = self.first.flat();
        assert_eq!(kit::restore_complaint(&repo, again.tree, &flat).await, "");
    }
}

fn clone(backup: &Backup) -> Backup {
    Backup { snapshot: backup.snapshot, tree: backup.tree, stored_bytes: backup.stored_bytes }
}

fn mentions(report: &CheckReport, object: &str) -> bool {
    report
        .problems
        .iter()
        .any(|p| p.is_serious() && (p.object.contains(object) || p.problem.contains(object)))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_021_trap_04_a_full_disk_at_any_write_loses_nothing_and_the_next_run_works() {
    let bench = Bench::new().await;
    let third = bench.second.changed(seed());
    for nth in 0.. {
        let copy = bench.copy();
        let script = Script { op: Op::Put, prefix: "", nth, times: usize::MAX, fault: Fault::NoSpace };
        let faulty = Faulty::new(Arc::new(copy.memory.clone()), [script]);
        let repo = kit::open(Arc::new(faulty.clone()), &real()).await.unwrap();
        let result = kit::backup(&repo, &third, Some(copy.two.tree)).await;
        copy.restores_whole().await;
        match result {
            Ok(_) => break,
            Err(error) => assert_eq!(error.stable_code(), Some("E0401"), "write {nth}: {error:?}"),
        }
        assert_eq!(copy.open().await.snapshots().await.unwrap().snapshots.len(), 2, "write {nth}");
        let repo = copy.open().await;
        let next = kit::backup(&repo, &third, Some(copy.two.tree)).await.unwrap();
        assert_eq!(kit::restore_complaint(&copy.open().await, next.tree, &third.flat()).await, "");
        assert!(nth < 60, "the backup never ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_021_a_real_full_disk() {
    let Some(disk) = recoup_testkit::disk::Small::mount(6 << 20) else { return };
    let store: Arc<dyn Store> = Arc::new(Local::new(disk.path()));
    let repo = kit::init(Arc::clone(&store), &real()).await.unwrap();
    let small = Tree::new().file("a", "x");
    let one = kit::backup(&repo, &small, None).await.unwrap();
    let noise = recoup_testkit::tree::noise(1, 9 << 20);
    let large = Tree::new().file("large", noise);
    let error = kit::backup(&repo, &large, None).await.unwrap_err();
    assert_eq!(error.stable_code(), Some("E0401"), "{error:?}");
    assert!(error.to_string().contains("bytes free"), "{error}");
    let repo = kit::open(Arc::clone(&store), &real()).await.unwrap();
    assert_eq!(kit::restore_complaint(&repo, one.tree, &small.flat()).await, "");
    kit::backup(&repo, &Tree::new().file("b", "y"), None).await.unwrap();
    assert_eq!(kit::serious(&repo).await, Vec::<String>::new());

    // Not one byte left: a backup ends, and what makes room still works.
    fill(disk.path());
    let error = kit::backup(&repo, &large, None).await.unwrap_err();
    assert_eq!(error.stable_code(), Some("E0401"), "{error:?}");
    reserve_is_back(&repo, disk.path()).await;
    fill(disk.path());
    let ids: Vec<_> = repo.snapshots().await.unwrap().snapshots.into_iter().map(|(id, _)| id).collect();
    let gone = recoup_repo::forget::forget(&repo, &ids[..1], Default::default()).await.unwrap();
    assert_eq!(gone.removed, ids[..1]);
}

/// Waits for what a run that failed does last, in the background: its uploads end and its lock goes. The room
/// that it gave up is kept again by the next who takes a lock; filling the disk before would take that room.
async fn reserve_is_back(repo: &recoup_repo::repository::Repository, dir: &std::path::Path) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::fs::read_dir(dir.join("locks")).unwrap().count() > 0
        || !dir.join(".recoup-tmp-reserve").exists()
    {
        assert!(std::time::Instant::now() < end, "the room that is kept for a lock does not come back");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if let Ok(lock) = repo.lock(recoup_repo::locks::LockMode::Shared).await {
            lock.release().await.unwrap();
        }
    }
}

/// Leaves no room on the disk of `dir`.
fn fill(dir: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("filler")).unwrap();
    for bytes in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1; bytes]).is_ok() {}
    }
}

/// Every class of place in a pack: the first IV, the first byte of content, a MAC, the middle, the
/// header, the length at the end.
fn places(bytes: usize, first_blob: usize) -> Vec<usize> {
    vec![0, 17, first_blob - 1, bytes - 20, bytes - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn row_027_a_bit_flip_in_a_data_pack() {
    let bench = Bench::new().await;
    let pack = bench.packs(BlobKind::Data).await[0];
    let first_blob = bench.open().await.index().await.unwrap().by_pack()[&pack][0].length as usize;
    let key = layout::key(ObjectKind::Pack, &pack);
    let size = bench.memory.objects()[&key].len();
    for at in places(size, first_blob) {
        let copy = bench.copy();
        copy.tamper(&key, |bytes| Some(flip(&bytes, at * 8 + 3)));
        let report = copy.check(true).await;
        assert!(mentions(&report, &pack.to_string()), "byte {at} of {size}: {:?}", report.problems);
        let errors = copy.restores_or_says_so().await;
        assert!(errors <= 3, "byte {at}: one flip takes {errors} files");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_027_what_a_damaged_pack_affects_is_named() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let tree = Tree::new().file("dir/hit", vec![3; 5000]).file("dir/spared", vec![]);
    let backup = kit::backup(&repo, &tree, None).await.unwrap();
    let index = repo.index().await.unwrap();
    let pack = index.iter().find(|l| l.entry.handle.kind == BlobKind::Data).unwrap().pack;
    memory.tamper(&layout::key(ObjectKind::Pack, &pack), |bytes| bytes.map(|b| flip(&b, 200)));
    let report = kit::check_all(&repo).await;
    let affected: Vec<&String> = report.problems.iter().flat_map(|p| &p.affects).collect();
    let short = backup.snapshot.short();
    assert!(affected.iter().any(|a| a.contains("dir/hit")), "{:?}", report.problems);
    assert!(affected.iter().any(|a| a.contains(&short)), "{:?}", report.problems);
    assert!(!affected.iter().any(|a| a.contains("spared")), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_028_a_bit_flip_in_a_tree_pack() {
    let bench = Bench::new().await;
    for pack in bench.packs(BlobKind::Tree).await {
        let first_blob = bench.open().await.index().await.unwrap().by_pack()[&pack][0].length as usize;
        let key = layout::key(ObjectKind::Pack, &pack);
        let size = bench.memory.objects()[&key].len();
        for at in places(size, first_blob) {
            let copy = bench.copy();
            copy.tamper(&key, |bytes| Some(flip(&bytes, at * 8 + 3)));
            let report = copy.check(true).await;
            assert!(mentions(&report, &pack.to_string()), "byte {at} of {size}: {:?}", report.problems);
            let repo = copy.open().await;
            if kit::restore_tree(&repo, copy.one.tree).await.is_ok() {
                copy.restores_or_says_so().await;
            }
            copy.heals().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_029_a_bit_flip_in_an_index() {
    let bench = Bench::new().await;
    for key in bench.keys(ObjectKind::Index) {
        for at in [0, 60] {
            let copy = bench.copy();
            copy.tamper(&key, |bytes| Some(flip(&bytes, at * 8)));
            copy.restores_whole().await;
            let report = copy.check(false).await;
            assert!(mentions(&report, key.file_name()), "{:?}", report.problems);
            copy.heals().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_030_a_bit_flip_in_a_snapshot() {
    let bench = Bench::new().await;
    let key = layout::key(ObjectKind::Snapshot, &bench.one.snapshot);
    bench.tamper(&key, |bytes| Some(flip(&bytes, 300)));
    let repo = bench.open().await;
    let list = repo.snapshots().await.unwrap();
    assert_eq!(list.snapshots.len(), 1);
    assert_eq!(list.problems.len(), 1);
    assert!(list.problems[0].object.contains(key.file_name()), "{:?}", list.problems);
    assert!(mentions(&bench.check(false).await, key.file_name()));
    assert_eq!(kit::restore_complaint(&repo, bench.two.tree, &bench.second.flat()).await, "");
    bench.heals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_032_a_truncated_pack_is_found_by_its_size() {
    let bench = Bench::new().await;
    let kinds = [BlobKind::Data, BlobKind::Tree];
    for kind in kinds {
        let pack = bench.packs(kind).await[0];
        let key = layout::key(ObjectKind::Pack, &pack);
        let size = bench.memory.objects()[&key].len();
        for left in [0, 35, size - 1] {
            let copy = bench.copy();
            copy.tamper(&key, |bytes| Some(bytes.slice(..left)));
            let report = copy.check(false).await;
            assert!(mentions(&report, &pack.to_string()), "{left} of {size}: {:?}", report.problems);
            assert_eq!(report.bytes_read, 0, "no data is read for it");
            copy.heals().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_032_truncated_indexes_and_snapshots_are_no_obstacle() {
    let bench = Bench::new().await;
    let snapshot = layout::key(ObjectKind::Snapshot, &bench.two.snapshot);
    for key in bench.keys(ObjectKind::Index).into_iter().chain([snapshot]) {
        for left in [0, 40] {
            let copy = bench.copy();
            copy.tamper(&key, |bytes| Some(bytes.slice(..left)));
            assert_eq!(copy.restores_or_says_so().await, 0);
            assert!(mentions(&copy.check(false).await, key.file_name()), "{key} {left}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_034_stray_objects_are_reported_and_never_fatal() {
    let bench = Bench::new().await;
    let strays = [
        "data/.DS_Store",
        "data/ab/notes.txt",
        "index/README",
        "snapshots/tmp",
        "keys/old",
        "locks/x",
        "foo/bar",
    ];
    for name in strays {
        bench.memory.put(&Key::new(name).unwrap(), Bytes::from_static(b"stray"), Put::Create).await.unwrap();
    }
    let garbage = layout::key(ObjectKind::Index, &Id::of(b"garbage"));
    bench.memory.put(&garbage, Bytes::from_static(b"garbage"), Put::Create).await.unwrap();
    bench.restores_whole().await;
    let report = bench.check(true).await;
    for name in &strays[..4] {
        assert!(report.problems.iter().any(|p| p.object.contains(name)), "{name}: {:?}", report.problems);
    }
    let serious: Vec<_> = report.problems.iter().filter(|p| p.is_serious()).collect();
    assert_eq!(serious.len(), 1, "the garbage index alone: {serious:?}");
    bench.heals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_035_two_packs_that_changed_places() {
    let bench = Bench::new().await;
    let (a, b) = (bench.packs(BlobKind::Data).await[0], bench.packs(BlobKind::Tree).await[0]);
    let [a, b] = [a, b].map(|id| layout::key(ObjectKind::Pack, &id));
    let objects = bench.memory.objects();
    bench.tamper(&a, |_| Some(objects[&b].clone()));
    bench.tamper(&b, |_| Some(objects[&a].clone()));
    let report = bench.check(true).await;
    assert!(mentions(&report, a.file_name()) && mentions(&report, b.file_name()), "{:?}", report.problems);
    let repo = bench.open().await;
    if kit::restore_tree(&repo, bench.one.tree).await.is_ok() {
        bench.restores_or_says_so().await;
    }
    bench.heals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_036_a_missing_pack_is_listed_and_its_blobs_are_stored_again() {
    let bench = Bench::new().await;
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for pack in bench.packs(kind).await {
            let copy = bench.copy();
            copy.tamper(&layout::key(ObjectKind::Pack, &pack), |_| None);
            let report = copy.check(false).await;
            assert!(mentions(&report, &pack.to_string()), "{:?}", report.problems);
            assert!(report.problems.iter().any(|p| !p.affects.is_empty()), "{:?}", report.problems);
            copy.heals().await;
            // The old snapshot of the same data is whole again too.
            let repo = copy.open().await;
            assert_eq!(kit::restore_complaint(&repo, copy.one.tree, &copy.first.flat()).await, "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_037_missing_indexes_are_rebuilt_from_headers() {
    let bench = Bench::new().await;
    for key in bench.keys(ObjectKind::Index) {
        bench.tamper(&key, |_| None);
    }
    bench.restores_whole().await;
    assert_eq!(kit::serious(&bench.open().await).await, Vec::<String>::new());
    let before = bench.memory.objects();
    let repo = bench.open().await;
    let again = kit::backup(&repo, &bench.second, Some(bench.two.tree)).await.unwrap();
    assert_eq!(again.tree, bench.two.tree);
    assert_eq!(again.stored_bytes, 0, "nothing is stored twice");
    let packs = |keys: Vec<Key>| keys.into_iter().filter(|k| k.as_str().starts_with("data/")).count();
    assert_eq!(packs(bench.memory.objects().into_keys().collect()), packs(before.into_keys().collect()));
    bench.restores_whole().await;
    // Stock restic, which believes nothing but the index, is content with what the run left.
    let dir = tempfile::tempdir().unwrap();
    crate::interop::write_out(&bench.memory, dir.path()).await;
    recoup_testkit::restic::Restic::new(dir.path(), kit::PASSWORD).check();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_139_a_damaged_snapshot_delivers_everything_else() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let noise = recoup_testkit::tree::noise(5, 4 << 20);
    let tree = Tree::new().file("a/large", noise).file("a/small", "whole").file("b/other", vec![9; 70_000]);
    let backup = kit::backup(&repo, &tree, None).await.unwrap();
    let index = repo.index().await.unwrap();
    let entry = index
        .iter()
        .filter(|l| l.entry.handle.kind == BlobKind::Data)
        .max_by_key(|l| l.entry.length)
        .unwrap();
    let key = layout::key(ObjectKind::Pack, &entry.pack);
    memory.tamper(&key, |bytes| bytes.map(|b| flip(&b, (entry.entry.offset as usize + 5000) * 8)));
    let (report, restored) = kit::restore_tree(&repo, backup.tree).await.unwrap();
    let flat = restored.flat();
    let names: Vec<String> = flat.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "a/small", "b", "b/other"]);
    assert_eq!(report.errors.len(), 1);
    let problem = &report.errors[0];
    assert_eq!((problem.path.to_string().as_str(), problem.error.stable_code()), ("a/large", Some("E0432")));
    let text = problem.error.to_string();
    assert!(text.contains("byte"), "the damaged ranges are named: {text}");
    assert_eq!(restored.abandoned().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_06_a_listing_that_breaks_off_is_an_error_and_never_an_empty_repository() {
    let bench = Bench::new().await;
    for prefix in ["snapshots", "index", "data", "keys"] {
        let script = Script::always(Op::List, prefix, Fault::BrokenList(0));
        let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(bench.memory.clone()), [script]));
        let result = match kit::open(Arc::clone(&faulty), &real()).await {
            Err(error) => Err(error),
            Ok(repo) => match repo.snapshots().await {
                Err(error) => Err(error),
                Ok(_) => kit::restore_tree(&repo, bench.one.tree).await.map(|_| ()),
            },
        };
        assert_eq!(result.unwrap_err().kind(), Kind::Unavailable, "{prefix}");
    }
}
