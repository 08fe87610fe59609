//! Faults that stand alone: a panic, many writers, clocks of others, poisoned blobs, replicas with gaps.

use crate::kit;
use bytes::Bytes;
use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::name::NodeName;
use recoup_core::retention::{GroupBy, Keep, Policy};
use recoup_core::{Kind, Result};
use recoup_repo::forget::{ForgetOptions, by_policy};
use recoup_repo::prune::{PruneOptions, Unused, prune};
use recoup_repo::repair::{self, RepairOptions};
use recoup_repo::repository::{Repository, SnapshotFilter};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{BlobHandle, Id, Limits, ObjectKind, layout};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::env::{SeededEntropy, real, scripted};
use recoup_testkit::evil::{Evil, file};
use recoup_testkit::tree::{Tree, dated, noise};
use std::sync::Arc;
use std::time::Duration;

/// Panics when it is listed, or when the file in it is opened.
struct Bomb {
    in_listing: bool,
}

struct Fuse;

impl Folder for Bomb {
    fn list(&self) -> Result<Listing> {
        assert!(!self.in_listing, "this panic is part of the test");
        let name = NodeName::new(&b"f"[..])?;
        let entry = Entry { size: 100, ..Entry::plain(name, EntryKind::File, 0o600, dated()) };
        Ok(Listing { items: vec![Item { entry, body: Body::File(Box::new(Fuse)) }], problems: Vec::new() })
    }
}

impl FileBody for Fuse {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        panic!("this panic is part of the test")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_009_a_panic_in_a_worker_ends_the_run_without_a_snapshot() {
    for in_listing in [true, false] {
        let memory = Memory::new();
        let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
        let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
        let walk = writer.tree(Box::new(Bomb { in_listing }), None, "shop/media");
        let walked = tokio::time::timeout(Duration::from_secs(60), walk).await.expect("it does not hang");
        assert!(walked.is_err(), "in the listing: {in_listing}");
        let _ = writer.finish().await;
        assert!(repo.snapshots().await.unwrap().snapshots.is_empty());
        let backup = kit::backup(&repo, &Tree::new().file("f", "x"), None).await.unwrap();
        assert_eq!(kit::restore_complaint(&repo, backup.tree, &Tree::new().file("f", "x").flat()).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_43_44_fifty_writers_at_once_all_get_their_snapshots() {
    let memory = Memory::new();
    kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let tree = |n: u64| {
        Tree::new()
            .file("all", noise(0, 9000))
            .file("some", noise(n % 7, 9000))
            .file("own", noise(100 + n, 9000))
    };
    let mut writers = Vec::new();
    for n in 0..50_u64 {
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let env = recoup_core::env::Env { entropy: SeededEntropy::new(n), ..real() };
        writers.push(tokio::spawn(async move {
            let repo = kit::open(store, &env).await.unwrap();
            kit::backup(&repo, &tree(n), None).await.unwrap()
        }));
    }
    let mut made = Vec::new();
    for writer in writers {
        made.push(writer.await.unwrap());
    }
    let repo = kit::open(Arc::new(memory), &real()).await.unwrap();
    assert_eq!(repo.snapshots().await.unwrap().snapshots.len(), 50);
    assert_eq!(kit::serious(&repo).await, [""; 0]);
    for (n, backup) in made.iter().enumerate() {
        assert_eq!(
            kit::restore_complaint(&repo, backup.tree, &tree(n as u64).flat()).await,
            "",
            "writer {n}"
        );
    }
    assert!(repo.locks().await.unwrap().is_empty());
}

/// Deletion needs the repository alone, so it waits for every backup that runs, however long that takes.
#[tokio::test(flavor = "multi_thread")]
async fn trap_42_a_backup_that_outlasts_the_grace_period_shuts_the_deletion_out() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (env, clock) = scripted("2027-01-01T00:00:00Z", 5);
    let repo = kit::init(Arc::clone(&store), &env).await.unwrap();
    let tree = Tree::new().file("f", noise(1, 500_000));
    let old = kit::backup(&repo, &tree, None).await.unwrap();
    recoup_repo::forget::forget(&repo, &[old.snapshot], ForgetOptions::default()).await.unwrap();
    kit::backup(&repo, &Tree::new().file("g", "g"), None).await.unwrap();
    let options = PruneOptions { max_unused: Unused::Bytes(0), ..PruneOptions::default() };
    assert!(prune(&repo, &options).await.unwrap().done.packs_marked > 0);

    let theirs = kit::open(Arc::clone(&store), &env).await.unwrap();
    let mut writer = Writer::begin(&theirs, WriteOptions::default()).await.unwrap();
    let report = writer.tree(tree.folder(), None, "shop/media").await.unwrap();
    clock.advance(Duration::from_secs(20 * 60));
    let pruner = kit::open(Arc::clone(&store), &env).await.unwrap();
    let soon = PruneOptions { keep_delete: Duration::from_secs(60), ..options };
    assert_eq!(prune(&pruner, &soon).await.unwrap_err().kind(), Kind::Locked);
    let snapshot = recoup_repo::Snapshot::new(theirs.env(), report.tree, vec!["/shop/media".into()]);
    writer.snapshot(snapshot).await.unwrap();
    writer.finish().await.unwrap();
    prune(&pruner, &soon).await.unwrap();
    let repo = kit::open(store, &env).await.unwrap();
    assert_eq!(kit::restore_complaint(&repo, report.tree, &tree.flat()).await, "");
    assert_eq!(kit::serious(&repo).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_deletion_goes_on_waiting_after_a_repair_of_the_index() {
    for read_all in [true, false] {
        let memory = Memory::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let (env, clock) = scripted("2027-01-01T00:00:00Z", 5);
        let repo = kit::init(Arc::clone(&store), &env).await.unwrap();
        let (old, new) = (Tree::new().file("f", noise(1, 500_000)), Tree::new().file("g", noise(2, 90_000)));
        let first = kit::backup(&repo, &old, None).await.unwrap();
        let second = kit::backup(&repo, &new, None).await.unwrap();
        recoup_repo::forget::forget(&repo, &[first.snapshot], ForgetOptions::default()).await.unwrap();
        let options = PruneOptions { max_unused: Unused::Bytes(0), ..PruneOptions::default() };
        let marked = prune(&repo, &options).await.unwrap().done.packs_marked;
        assert!(marked > 0);
        if !read_all {
            // a pack that went away makes the files that speak of it wrong
            let extra = kit::backup(&repo, &Tree::new().file("h", "h"), None).await.unwrap();
            recoup_repo::forget::forget(&repo, &[extra.snapshot], ForgetOptions::default()).await.unwrap();
        }
        let apply = RepairOptions { apply: true, ..RepairOptions::default() };
        repair::index(&repo, read_all, &apply).await.unwrap();
        let index = repo.reload_index().await.unwrap();
        assert_eq!(index.problems(), [], "nothing is taken for forgotten");
        let waiting = prune(&repo, &options).await.unwrap().done;
        assert_eq!((waiting.packs_waiting, waiting.packs_removed), (marked, 0), "read all: {read_all}");
        clock.advance(Duration::from_secs(24 * 3600));
        assert!(prune(&repo, &options).await.unwrap().done.packs_removed >= marked);
        assert_eq!(kit::restore_complaint(&repo, second.tree, &new.flat()).await, "");
        assert_eq!(kit::serious(&repo).await, [""; 0]);
    }
}

fn last(n: u32) -> Policy {
    Policy { last: Keep::Count(n), ..Policy::default() }
}

#[tokio::test]
async fn row_059_a_clock_ten_years_ahead_stops_forgetting_and_not_backups() {
    let memory = Memory::new();
    let (env, _) = scripted("2026-01-01T00:00:00Z", 1);
    let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    kit::backup(&repo, &Tree::new().file("f", "1"), None).await.unwrap();
    let (late, _) = scripted("2036-01-01T00:00:00Z", 2);
    let theirs = kit::open(Arc::new(memory.clone()), &late).await.unwrap();
    kit::backup(&theirs, &Tree::new().file("f", "2"), None).await.unwrap();
    let filter = SnapshotFilter::default();
    let refused = by_policy(&repo, &filter, &last(1), GroupBy::default(), ForgetOptions::default()).await;
    assert_eq!(refused.unwrap_err().stable_code(), Some("E0475"));
    kit::backup(&repo, &Tree::new().file("f", "3"), None).await.unwrap();
    assert_eq!(repo.snapshots().await.unwrap().snapshots.len(), 3);
}

/// What is forged cannot push out what is good: a date in the future stops every policy, another host or path
/// is another series, and what is protected is out of reach.
#[tokio::test]
async fn row_156_trap_30_forged_snapshots_expire_nothing() {
    let memory = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    let good = kit::backup(&repo, &Tree::new().file("f", "good"), None).await.unwrap();
    let forge = async |time: &str, host: &str| {
        let (mut forged, _) = scripted(time, 3);
        forged.host.hostname = host.into();
        let theirs = kit::open(Arc::new(memory.clone()), &forged).await.unwrap();
        kit::backup(&theirs, &Tree::new(), None).await.unwrap();
    };
    for n in 0..28 {
        forge(&format!("2026-01-01T00:{n:02}:00Z"), "mallory").await;
    }
    clock.advance(Duration::from_secs(3600));
    let filter = SnapshotFilter::default();
    by_policy(&repo, &filter, &last(7), GroupBy::default(), ForgetOptions::default()).await.unwrap();
    let left = repo.snapshots().await.unwrap().snapshots;
    assert_eq!(left.len(), 8, "7 of the other series went on");
    assert!(left.iter().any(|(id, _)| *id == good.snapshot));
    for n in 0..28 {
        forge(&format!("2027-01-01T00:{n:02}:00Z"), "testhost").await;
    }
    let refused = by_policy(&repo, &filter, &last(7), GroupBy::default(), ForgetOptions::default()).await;
    let err = refused.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0475")));
    assert!(repo.snapshots().await.unwrap().snapshots.iter().any(|(id, _)| *id == good.snapshot));
}

async fn open(evil: Evil) -> Repository {
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    Repository::open(store, &Evil::password(), Limits::default(), &real()).await.unwrap()
}

#[tokio::test]
async fn row_150_every_pack_that_an_index_names_for_a_blob_is_tried() {
    for bad_first in [true, false] {
        let mut evil = Evil::new();
        let good = Id::of(b"good");
        for is_bad in [bad_first, !bad_first] {
            evil.claim("data", good, if is_bad { b"evil" } else { b"good" }, None);
            evil.flush(|_| {});
        }
        let tree = evil.tree(&[file("f", &[good], 4)]);
        evil.snapshot(tree);
        let repo = open(evil).await;
        let (report, restored) = kit::restore_tree(&repo, tree).await.unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        assert_eq!(restored.flat().values().next().unwrap().1, b"good");
        assert!(!kit::serious(&repo).await.is_empty(), "the bad copy is named all the same");
    }
}

/// Who has the key of a repository is trusted by all who write to it; what one poisoned is found by the
/// first reading of all data, is never given out, and is stored anew once it was taken away.
#[tokio::test(flavor = "multi_thread")]
async fn row_151_a_poisoned_blob_is_found_never_given_and_stored_again_after_a_repair() {
    let content = noise(1, 4000);
    let mut evil = Evil::new();
    let poisoned = evil.claim("data", Id::of(&content), b"not that", None);
    let tree = evil.tree(&[file("theirs", &[poisoned], 4000)]);
    evil.snapshot(tree);
    let repo = open(evil).await;
    let honest = Tree::new().file("f", content);
    let backup = kit::backup(&repo, &honest, None).await.unwrap();
    let (report, restored) = kit::restore_tree(&repo, backup.tree).await.unwrap();
    assert!(report.errors.len() == 1 && restored.flat().is_empty(), "{:?}", report.errors);
    let found = kit::serious(&repo).await;
    assert!(found[0].contains("E0413") && found[0].contains(": /f"), "who needs it is named: {found:?}");
    let apply = RepairOptions { apply: true, ..RepairOptions::default() };
    let index = repo.index().await.unwrap();
    let pack = index.lookup(&BlobHandle::data(poisoned)).next().unwrap().pack;
    repair::packs(&repo, &[pack], &apply).await.unwrap();
    let again = kit::backup(&repo, &honest, None).await.unwrap();
    assert_eq!(kit::restore_complaint(&repo, again.tree, &honest.flat()).await, "");
}

/// A copy made by another tool may lack any object, or have it empty. It is never called good when a restore
/// from it would fail.
#[tokio::test(flavor = "multi_thread")]
async fn trap_48_a_replica_that_cannot_be_restored_from_is_never_called_good() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let tree = Tree::new().file("a/f", noise(1, 700_000)).file("b", "words").file("empty", "");
    let backup = kit::backup(&repo, &tree, None).await.unwrap();
    let (mut failed, mut survived) = (0, 0);
    for key in memory.objects().into_keys() {
        for damage in [None, Some(Bytes::new())] {
            let replica = Memory::from_objects(memory.objects());
            replica.tamper(&key, |_| damage.clone());
            let Ok(repo) = kit::open(Arc::new(replica), &real()).await else {
                failed += 1;
                continue;
            };
            let listed = repo.snapshots().await.unwrap();
            let is_there = listed.snapshots.iter().any(|(id, _)| *id == backup.snapshot);
            let complaint = kit::restore_complaint(&repo, backup.tree, &tree.flat()).await;
            if is_there && complaint.is_empty() {
                survived += 1;
                continue;
            }
            failed += 1;
            let about = format!("{key}, {damage:?}: {complaint}");
            // A snapshot that is gone without a trace is for the list of points to miss, not for a check.
            let is_gone = key.as_str().starts_with(layout::prefix(ObjectKind::Snapshot)) && damage.is_none();
            assert!(is_gone || !kit::serious(&repo).await.is_empty(), "{about}");
        }
    }
    assert!(failed >= 6 && survived >= 1, "{failed} failed, {survived} survived");
}

/// Only the content tells when neither times nor size do. A run that takes nothing from a parent reads it.
#[tokio::test(flavor = "multi_thread")]
async fn row_041_a_change_that_leaves_no_trace_is_found_by_reading_everything() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let (before, after) = (Tree::new().file("f", "before"), Tree::new().file("f", "after!"));
    let first = kit::backup(&repo, &before, None).await.unwrap();
    let quick = kit::backup(&repo, &after, Some(first.tree)).await.unwrap();
    assert_eq!(quick.tree, first.tree, "times and size are the same, so it is not read");
    let whole = kit::backup(&repo, &after, None).await.unwrap();
    assert_eq!(kit::restore_complaint(&repo, whole.tree, &after.flat()).await, "");
}
