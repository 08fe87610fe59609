//! Prune: space comes back, and what is needed stays, whatever happens in between.

use crate::interop::write_out;
use crate::kit;
use recoup_core::Kind;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::prune::{Numbers, PruneOptions, Pruned, Unused, prune};
use recoup_repo::repository::Repository;
use recoup_repo::{Id, Limits};
use recoup_store::memory::Memory;
use recoup_store::{Store, StoreExt};
use recoup_testkit::env::{real, scripted};
use recoup_testkit::evil::{Evil, dir, file};
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::{Tree, noise};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Everything unused goes, at once.
pub(crate) fn at_once() -> PruneOptions {
    PruneOptions { max_unused: Unused::Bytes(0), keep_delete: Duration::ZERO, ..PruneOptions::default() }
}

fn in_two_steps() -> PruneOptions {
    PruneOptions { max_unused: Unused::Bytes(0), ..PruneOptions::default() }
}

async fn bytes_in(store: &dyn Store, prefix: &str) -> u64 {
    store.list_all(prefix).await.unwrap().iter().map(|meta| meta.size).sum()
}

async fn names_in(store: &dyn Store, prefix: &str) -> BTreeSet<String> {
    store.list_all(prefix).await.unwrap().iter().map(|meta| meta.key.as_str().to_owned()).collect()
}

/// Two snapshots that share some files; half of the packs' bytes belong to the first alone.
async fn history(store: &Arc<dyn Store>) -> (Repository, [(Id, Id, Tree); 2]) {
    let repo = kit::init(Arc::clone(store), &real()).await.unwrap();
    let shared = || {
        Tree::new()
            .file("text", "again and again ".repeat(9000))
            .file("noise", noise(1, 700_000))
            .file("both/f", "f")
    };
    let first = shared().file("old/noise", noise(2, 900_000)).file("old/text", "some text ".repeat(9999));
    let second = shared().file("new/noise", noise(3, 500_000)).file("new/text", "other text ".repeat(9999));
    let one = kit::backup(&repo, &first, None).await.unwrap();
    let two = kit::backup(&repo, &second, Some(one.tree)).await.unwrap();
    (repo, [(one.snapshot, one.tree, first), (two.snapshot, two.tree, second)])
}

async fn is_whole(repo: &Repository, tree: Id, expected: &Tree) {
    assert_eq!(kit::restore_complaint(repo, tree, &expected.flat()).await, "");
    assert_eq!(kit::serious(repo).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_goes_and_restic_is_content() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (repo, [one, two]) = history(&store).await;
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    let before = bytes_in(&*store, "data").await;
    let dry = prune(&repo, &PruneOptions { dry_run: true, ..at_once() }).await.unwrap();
    assert_eq!(bytes_in(&*store, "data").await, before);
    let Pruned { planned, done, packs_written } = prune(&repo, &at_once()).await.unwrap();
    assert_eq!(dry.planned, planned);
    assert!(packs_written > 0 && done.packs_removed > 0 && planned.bytes_unused > 900_000);
    let after = bytes_in(&*store, "data").await;
    assert!(after < before - 900_000, "{before} bytes became {after}");
    is_whole(&repo, two.1, &two.2).await;
    let again = prune(&repo, &at_once()).await.unwrap();
    assert_eq!((again.packs_written, again.done.packs_removed, again.done.bytes_unused), (0, 0, 0));
    let folder = tempfile::tempdir().unwrap();
    write_out(&*store, folder.path()).await;
    let restic = Restic::new(folder.path(), kit::PASSWORD);
    restic.check();
    restic.run(&["prune", "--max-unused", "0"]);
    restic.check();
    let local = recoup_store::local::Local::new(folder.path());
    let repo = kit::open(Arc::new(local), &real()).await.unwrap();
    is_whole(&repo, two.1, &two.2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_stored_and_forgot_is_pruned_by_us() {
    let folder = tempfile::tempdir().unwrap();
    let restic = Restic::new(folder.path().join("repo"), kit::PASSWORD);
    restic.init();
    let live = folder.path().join("live");
    std::fs::create_dir(&live).unwrap();
    std::fs::write(live.join("stays"), noise(4, 800_000)).unwrap();
    std::fs::write(live.join("goes"), noise(5, 3_000_000)).unwrap();
    let first = restic.backup(&live);
    std::fs::remove_file(live.join("goes")).unwrap();
    let second = restic.backup(&live);
    restic.run(&["forget", &first]);
    let store: Arc<dyn Store> = Arc::new(recoup_store::local::Local::new(restic.repository()));
    let before = bytes_in(&*store, "data").await;
    let repo = kit::open(Arc::clone(&store), &real()).await.unwrap();
    prune(&repo, &at_once()).await.unwrap();
    assert!(bytes_in(&*store, "data").await < before - 2_900_000);
    restic.check();
    restic.restore(&second, &folder.path().join("out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_42_packs_are_marked_first_and_deleted_after_their_time() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (_, [one, two]) = history(&store).await;
    let (env, clock) = scripted("2027-01-01T00:00:00Z", 5);
    let repo = kit::open(Arc::clone(&store), &env).await.unwrap();
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    let before = names_in(&*store, "data").await;
    let done = prune(&repo, &in_two_steps()).await.unwrap().done;
    assert!(done.packs_marked > 0 && done.packs_removed == 0);
    assert!(names_in(&*store, "data").await.is_superset(&before), "nothing is deleted yet");
    is_whole(&repo, two.1, &two.2).await;
    // A backup does not take the marked packs for forgotten ones, and stores what it needs again.
    let back = kit::backup(&repo, &one.2, Some(two.1)).await.unwrap();
    assert!(back.stored_bytes > 900_000);
    let waiting = prune(&repo, &in_two_steps()).await.unwrap().done;
    assert_eq!((waiting.packs_waiting, waiting.packs_removed), (done.packs_marked, 0));
    clock.advance(Duration::from_secs(24 * 3600));
    let gone = prune(&repo, &in_two_steps()).await.unwrap().done;
    assert_eq!(gone.packs_removed, done.packs_marked);
    assert!(names_in(&*store, "data").await.is_disjoint(&before) || gone.packs_kept > 0);
    is_whole(&repo, two.1, &two.2).await;
    is_whole(&repo, back.tree, &one.2).await;
}

/// A writer that takes no lock put a snapshot that needs what was given up.
#[tokio::test(flavor = "multi_thread")]
async fn trap_42_a_marked_pack_that_is_needed_is_taken_back() {
    let memory = Memory::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let (repo, [one, _]) = history(&store).await;
    let key = recoup_repo::layout::key(recoup_repo::ObjectKind::Snapshot, &one.0);
    let snapshot = store.get(&key, None).await.unwrap();
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    assert!(prune(&repo, &in_two_steps()).await.unwrap().done.packs_marked > 0);
    memory.tamper(&key, |_| Some(snapshot));
    let whole_packs = PruneOptions { max_unused: Unused::Unlimited, ..in_two_steps() };
    let done = prune(&repo, &whole_packs).await.unwrap().done;
    assert!(done.packs_recovered > 0, "{done:?}");
    is_whole(&repo, one.1, &one.2).await;
}

async fn evil_prune(evil: Evil) -> (Repository, Memory, Numbers) {
    let memory = evil.finish();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let repo = Repository::open(store, &Evil::password(), Limits::default(), &real()).await.unwrap();
    let done = prune(&repo, &at_once()).await.unwrap().done;
    (repo, memory, done)
}

async fn reads(repo: &Repository, tree: Id, names: &[&str]) {
    let (report, restored) = kit::restore_tree(repo, tree).await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let flat = restored.flat();
    let found: Vec<String> = flat.keys().map(ToString::to_string).filter(|name| !name.is_empty()).collect();
    assert_eq!(found, names);
    assert_eq!(kit::serious(repo).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_01_of_several_copies_exactly_one_stays() {
    let mut evil = Evil::new();
    let blob = evil.data(b"twice in one pack");
    evil.data(b"twice in one pack");
    evil.flush(|_| {});
    evil.data(b"twice in one pack");
    evil.data(b"nobody needs this");
    evil.flush(|_| {});
    let tree = evil.tree(&[file("f", &[blob], 17)]);
    evil.snapshot(tree);
    let (repo, _, done) = evil_prune(evil).await;
    assert_eq!((done.packs_recovered, done.bytes_unused_after), (0, 0));
    let index = repo.index().await.unwrap();
    assert_eq!(index.lookup(&recoup_repo::BlobHandle::data(blob)).count(), 1);
    reads(&repo, tree, &["f"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_02_plain_and_compressed_data_and_trees_are_copied_as_they_are() {
    // Plain ones, trees too.
    let mut evil = Evil::new();
    let (good, _) = (evil.data(b"plain"), evil.data(b"unused"));
    let inner = evil.tree(&[file("inner", &[good], 5)]);
    evil.tree(&[file("unused", &[good], 5)]);
    let tree = evil.tree(&[dir("d", inner)]);
    evil.snapshot(tree);
    let (repo, _, done) = evil_prune(evil).await;
    assert_eq!(done.bytes_unused_after, 0);
    reads(&repo, tree, &["d", "d/inner"]).await;
    // Compressed ones of both kinds and plain data are in `history`; the sealed bytes do not change.
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (repo, [one, two]) = history(&store).await;
    let sealed = async |repo: &Repository| {
        let mut all = std::collections::BTreeMap::new();
        for copy in repo.reload_index().await.unwrap().iter() {
            let key = recoup_repo::layout::key(recoup_repo::ObjectKind::Pack, &copy.pack);
            let range = u64::from(copy.entry.offset)..copy.entry.end();
            let bytes = repo.store().get(&key, Some(range)).await.unwrap();
            all.insert(copy.entry.handle, (copy.entry.uncompressed, bytes));
        }
        all
    };
    let before = sealed(&repo).await;
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    assert!(prune(&repo, &at_once()).await.unwrap().packs_written >= 2);
    let after = sealed(&repo).await;
    assert!(after.values().any(|(n, _)| n.is_some()) && after.values().any(|(n, _)| n.is_none()));
    assert!(after.iter().all(|(handle, blob)| before[handle] == *blob));
    is_whole(&repo, two.1, &two.2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_06_and_07_a_listing_that_fails_or_ends_early_costs_nothing() {
    let memory = Memory::new();
    let inner: Arc<dyn Store> = Arc::new(memory.clone());
    let (_, [one, two]) = history(&inner).await;
    let objects = memory.objects();
    let mut faults = Vec::new();
    for prefix in ["snapshots", "index", "data"] {
        for nth in 0..2 {
            for fault in [
                Fault::Error(Kind::Unavailable),
                Fault::BrokenList(1),
                Fault::ShortList(0),
                Fault::ShortList(1),
            ] {
                faults.push(Script::once(Op::List, prefix, nth, fault));
            }
        }
    }
    faults.push(Script::always(Op::List, "snapshots", Fault::ShortList(0)));
    faults.push(Script::always(Op::List, "snapshots", Fault::Error(Kind::Unavailable)));
    faults.push(Script::always(Op::Get, "snapshots", Fault::FlipBit(77)));
    faults.push(Script::always(Op::Get, "index", Fault::FlipBit(77)));
    for fault in faults {
        let memory = Memory::from_objects(objects.clone());
        let inner: Arc<dyn Store> = Arc::new(memory.clone());
        let store = Arc::new(Faulty::new(Arc::clone(&inner), [fault.clone()]));
        let repo = kit::open(store, &real()).await.unwrap();
        let result = prune(&repo, &at_once()).await;
        let repo = kit::open(inner, &real()).await.unwrap();
        for (_, tree, expected) in [&one, &two] {
            let complaint = kit::restore_complaint(&repo, *tree, &expected.flat()).await;
            assert_eq!(complaint, "", "after {fault:?}, which gave {result:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_06_no_snapshots_and_protected_ones_that_are_gone_are_refused() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (repo, [one, two]) = history(&store).await;
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    let err = prune(&repo, &PruneOptions { protect: vec![one.0], ..at_once() }).await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0477")));
    forget(&repo, &[two.0], ForgetOptions::default()).await.unwrap();
    let err = prune(&repo, &at_once()).await.unwrap_err();
    assert_eq!(err.stable_code(), Some("E0477"));
    assert!(store.list_all("locks").await.unwrap().is_empty());
    prune(&repo, &PruneOptions { allow_no_snapshots: true, ..at_once() }).await.unwrap();
    assert_eq!(bytes_in(&*store, "data").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_08_a_pack_in_two_index_files_keeps_all_its_blobs() {
    let mut evil = Evil::new();
    let blobs: Vec<Id> = (0..6_u8).map(|n| evil.data(&[n; 40])).collect();
    evil.data(b"nobody needs this");
    let nodes: Vec<_> = blobs.iter().enumerate().map(|(n, id)| file(&format!("f{n}"), &[*id], 40)).collect();
    let tree = evil.tree(&nodes);
    evil.flush(|_| {});
    evil.split_index();
    evil.snapshot(tree);
    let (repo, _, _) = evil_prune(evil).await;
    reads(&repo, tree, &["f0", "f1", "f2", "f3", "f4", "f5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_or_index_is_refused_before_anything_changes() {
    let memory = Memory::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let (repo, [one, _]) = history(&store).await;
    forget(&repo, &[one.0], ForgetOptions::default()).await.unwrap();
    let objects = memory.objects();
    for meta in store.list_all("").await.unwrap() {
        let name = meta.key.as_str();
        if !["data", "index", "snapshots"].iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        let memory = Memory::from_objects(objects.clone());
        memory.tamper(&meta.key, |bytes| bytes.map(|bytes| recoup_testkit::faulty::flip(&bytes, 90 * 8)));
        let damaged = memory.objects();
        let repo = kit::open(Arc::new(memory.clone()), &real()).await.unwrap();
        if prune(&repo, &at_once()).await.is_err() {
            let after = memory.objects();
            let lost: Vec<_> = damaged.keys().filter(|key| !after.contains_key(*key)).collect();
            assert!(lost.is_empty(), "damage of {name}: {lost:?} went");
        }
    }
}
