//! Reading what is whole, and what is not: restore and check over stores that were tampered with.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use bytes::Bytes;
use recoup_core::name::TreePath;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind};
use recoup_repo::check::{CheckOptions, CheckReport, Slice, Subset, check};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::read::glob::Pattern;
use recoup_repo::read::{RestoreOptions, RestoreReport, find_path, read_file, restore};
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::memory::Memory;
use recoup_store::{Key, Store};
use recoup_testkit::env::real;
use recoup_testkit::evil::{self, Evil};
use recoup_testkit::faulty::flip;
use recoup_testkit::restored::{Restored, differences};
use recoup_testkit::tree::{Flat, Tree, seed};
use std::sync::Arc;

fn password() -> Secret {
    Secret::new(b"pw".to_vec())
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

/// A repository in memory with one snapshot of `tree`; gives its root.
async fn stored(tree: &Tree) -> (Memory, Id) {
    let memory = Memory::new();
    let options = InitOptions { password_strength: PasswordStrength::Generated, chunker_polynomial: None };
    let repo = Repository::init(Arc::new(memory.clone()), &password(), &options, &real()).await.unwrap();
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    let report = writer.tree(tree.folder(), None, "test").await.unwrap();
    writer.snapshot(Snapshot::new(repo.env(), report.tree, vec!["/test".into()])).await.unwrap();
    writer.finish().await.unwrap();
    (memory, report.tree)
}

async fn open(memory: &Memory) -> Repository {
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    Repository::open(store, &password(), Limits::default(), &real()).await.unwrap()
}

/// A second copy of a repository, to be harmed.
fn copy(memory: &Memory) -> Memory {
    Memory::from_objects(memory.objects())
}

async fn restored(
    memory: &Memory,
    root: Id,
    options: &RestoreOptions,
) -> Result<(RestoreReport, Restored), Error> {
    let target = Restored::new();
    let report = restore(&open(memory).await, root, options, target.target()).await?;
    Ok((report, target))
}

async fn checked(memory: &Memory, read_data: bool) -> CheckReport {
    check(&open(memory).await, &CheckOptions { read_data, ..CheckOptions::default() }).await.unwrap()
}

fn codes(report: &CheckReport) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.code).collect()
}

/// Objects beneath `folder`, by name.
fn objects(memory: &Memory, folder: &str) -> Vec<(Key, Bytes)> {
    memory.objects().into_iter().filter(|(key, _)| key.as_str().starts_with(folder)).collect()
}

/// What came back is what went in, but for what the report names (I5).
fn assert_honest(expected: &Flat, report: &RestoreReport, target: &Restored) {
    let mut expected = expected.clone();
    for problem in &report.errors {
        expected.retain(|path, _| !path.starts_with(&problem.path));
    }
    let mut actual = target.flat();
    actual.retain(|path, _| !report.errors.iter().any(|problem| path.starts_with(&problem.path)));
    assert_eq!(differences(&expected, &actual), "");
}

fn mixed(seed: u64) -> Tree {
    let zeros = [vec![1; 100_000], vec![0; 700_000], vec![2; 5]].concat();
    Tree::random(seed, 40)
        .file("zeros", zeros)
        .file("one", "content")
        .hard_link("two", "one")
        .dir("empty dir")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_in_comes_out_and_checks_clean() {
    let tree = mixed(seed());
    let (memory, root) = stored(&tree).await;
    let (report, target) = restored(&memory, root, &RestoreOptions::default()).await.unwrap();
    assert!(report.errors.is_empty() && report.warnings.is_empty(), "{report:?}");
    assert_eq!(differences(&tree.flat(), &target.flat()), "");
    let report = checked(&memory, true).await;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.packs, report.packs_read);
    let stored: usize = objects(&memory, "data/").iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(report.bytes_read, stored as u64);
    assert!(report.trees > 1 && report.blobs > 10 && report.snapshots == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_27_to_31_a_flipped_bit_is_found_and_takes_only_its_own_files() {
    let seed = seed();
    let tree = mixed(seed);
    let (memory, root) = stored(&tree).await;
    for (key, bytes) in memory.objects() {
        if key.as_str() == "config" || key.as_str().starts_with("keys/") {
            continue;
        }
        // the first blob, the middle, the header, its length
        for at in [0, bytes.len() / 2, bytes.len().saturating_sub(30), bytes.len() - 1] {
            let harmed = copy(&memory);
            harmed.tamper(&key, |bytes| bytes.map(|bytes| flip(&bytes, at * 8 + (seed as usize + at) % 8)));
            let found = checked(&harmed, true).await;
            assert!(!found.is_sound(), "{key} byte {at}: {:?}", found.problems);
            let (report, target) = restored(&harmed, root, &RestoreOptions::default()).await.unwrap();
            assert_honest(&tree.flat(), &report, &target);
            // whatever a restore misses, the check has named the snapshot and a path for
            let named = found.problems.iter().any(|problem| !problem.affects.is_empty());
            assert!(report.errors.is_empty() || named, "{key} byte {at}: {report:?} {:?}", found.problems);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_32_a_cut_pack_is_found_without_reading_it() {
    let tree = mixed(seed());
    let (memory, root) = stored(&tree).await;
    for (key, bytes) in objects(&memory, "data/") {
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            let harmed = copy(&memory);
            harmed.tamper(&key, |bytes| bytes.map(|bytes| bytes.slice(..length)));
            let found = checked(&harmed, false).await;
            assert!(codes(&found).contains(&"E0424"), "{length}: {:?}", found.problems);
            let (report, target) = restored(&harmed, root, &RestoreOptions::default()).await.unwrap();
            assert_honest(&tree.flat(), &report, &target);
            if length + 1 == bytes.len() {
                assert!(report.errors.is_empty(), "only the trailer is gone: {report:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_36_a_missing_pack_is_named_with_the_files_that_need_it() {
    let tree = mixed(seed());
    let (memory, root) = stored(&tree).await;
    for (key, _) in objects(&memory, "data/") {
        let harmed = copy(&memory);
        harmed.tamper(&key, |_| None);
        let found = checked(&harmed, false).await;
        let problem = found.problems.iter().find(|p| p.code == "E0423").unwrap();
        assert!(problem.object.ends_with(key.file_name()));
        let (report, target) = restored(&harmed, root, &RestoreOptions::default()).await.unwrap();
        assert_honest(&tree.flat(), &report, &target);
        assert!(!report.errors.is_empty() && !problem.affects.is_empty(), "{problem:?} {report:?}");
        for error in report.errors.iter().take(10) {
            let place = format!(": /{}", error.path);
            let linked = error.error.to_string().contains("another name");
            assert!(
                linked || problem.affects.iter().any(|p| p.ends_with(&place)) || problem.affects.len() > 50
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_29_34_37_149_no_index_no_harm() {
    let tree = mixed(seed());
    let (memory, root) = stored(&tree).await;
    let harmed = copy(&memory);
    for (key, _) in objects(&memory, "index/") {
        harmed.tamper(&key, |_| None);
    }
    let garbage = Key::new(format!("index/{}", Id::of(b"garbage"))).unwrap();
    harmed.tamper(&garbage, |_| Some(Bytes::from_static(b"garbage")));
    for stray in ["index/.DS_Store", "data/lost", ".DS_Store", "snapshots/x"] {
        harmed.tamper(&Key::new(stray).unwrap(), |_| Some(Bytes::from_static(b"stray")));
    }
    let (report, target) = restored(&harmed, root, &RestoreOptions::default()).await.unwrap();
    assert!(report.errors.is_empty());
    assert_eq!(differences(&tree.flat(), &target.flat()), "");
    let found = checked(&harmed, true).await;
    let serious: Vec<_> = found.problems.iter().filter(|p| p.is_serious()).map(|p| p.code).collect();
    assert_eq!(serious, ["E0422"]);
    assert_eq!(codes(&found).iter().filter(|code| **code == "W0425").count(), 4, "{:?}", found.problems);
    assert!(codes(&found).contains(&"W0427"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_35_two_packs_under_each_others_name_are_corrupt() {
    let tree = mixed(seed());
    let (memory, root) = stored(&tree).await;
    let packs = objects(&memory, "data/");
    let ((a, first), (b, second)) = (packs[0].clone(), packs[1].clone());
    let harmed = copy(&memory);
    harmed.tamper(&a, |_| Some(second));
    harmed.tamper(&b, |_| Some(first));
    let found = checked(&harmed, true).await;
    assert_eq!(codes(&found).iter().filter(|code| **code == "E0438").count(), 2, "{:?}", found.problems);
    let (report, target) = restored(&harmed, root, &RestoreOptions::default()).await.unwrap();
    assert_honest(&tree.flat(), &report, &target);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_139_a_damaged_file_is_kept_aside_with_its_ranges() {
    let noise: Vec<u8> = (0..800_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tree = Tree::new().file("large", noise).file("fine", "fine");
    let (memory, root) = stored(&tree).await;
    let largest = objects(&memory, "data/").into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    memory.tamper(&largest, |bytes| bytes.map(|bytes| flip(&bytes, 8 * 1000)));
    let options = RestoreOptions { keep_damaged: true, ..RestoreOptions::default() };
    let (report, target) = restored(&memory, root, &options).await.unwrap();
    assert_eq!(report.errors.len(), 1);
    assert_eq!(report.errors[0].error.stable_code(), Some("E0432"));
    assert!(report.errors[0].error.to_string().contains("bytes "), "{}", report.errors[0].error);
    assert_eq!(target.abandoned(), [(path("large"), true)]);
    assert_eq!(target.flat()[&path("fine")].1, b"fine");
    assert_eq!(report.files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_145_a_limit_says_no_before_the_first_byte() {
    let tree = Tree::new().file("a", vec![1; 1000]).file("b", vec![2; 1000]);
    let (memory, root) = stored(&tree).await;
    let options = RestoreOptions { bytes_max: Some(1999), ..RestoreOptions::default() };
    let err = restored(&memory, root, &options).await.map(|_| ()).unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0435")));
    let options = RestoreOptions { bytes_max: Some(2000), ..RestoreOptions::default() };
    assert_eq!(restored(&memory, root, &options).await.unwrap().0.bytes, 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_tree_come_back_alone() {
    let tree =
        Tree::new().file("a/b/c.txt", "1").file("a/b/c.log", "2").file("a/x/y.txt", "3").file("z", "4");
    let (memory, root) = stored(&tree).await;
    let pattern = |text: &str| Pattern::new(text.as_bytes()).unwrap();
    let names = |target: &Restored| {
        target.flat().into_keys().map(|path| path.to_string()).collect::<Vec<_>>().join(" ")
    };
    let with = |include: &[&str], exclude: &[&str], subpath: &str| RestoreOptions {
        include: include.iter().map(|text| pattern(text)).collect(),
        exclude: exclude.iter().map(|text| pattern(text)).collect(),
        subpath: path(subpath),
        ..RestoreOptions::default()
    };
    for (options, expected) in [
        (with(&["*.txt"], &[], ""), "a a/b a/b/c.txt a/x a/x/y.txt"),
        (with(&[], &["*.txt"], ""), "a a/b a/b/c.log a/x z"),
        (with(&["/a/b"], &["*.log"], ""), "a a/b a/b/c.txt"),
        (with(&[], &[], "a/b"), "c.log c.txt"),
        (with(&[], &[], "a/b/c.txt"), "c.txt"),
    ] {
        let (report, target) = restored(&memory, root, &options).await.unwrap();
        assert!(report.errors.is_empty());
        assert_eq!(names(&target), expected);
    }
    let missing = restored(&memory, root, &with(&[], &[], "a/nothing")).await.map(|_| ()).unwrap_err();
    assert_eq!((missing.kind(), missing.stable_code()), (Kind::NotFound, Some("E0436")));

    let repo = open(&memory).await;
    assert_eq!(read_file(&repo, &root, &path("a/b/c.log"), 10).await.unwrap(), b"2");
    assert_eq!(read_file(&repo, &root, &path("a/b/c.log"), 0).await.unwrap_err().kind(), Kind::Refused);
    assert_eq!(read_file(&repo, &root, &path("a/b"), 10).await.unwrap_err().kind(), Kind::NotFound);
    assert!(find_path(&repo, &root, &path("z/deeper")).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_155_a_tree_of_3000_levels_comes_back() {
    let mut evil = Evil::new();
    let data = evil.data(b"far down");
    let mut tree = evil.tree(&[evil::file("bottom", &[data], 8)]);
    for _ in 0..3000 {
        tree = evil.tree(&[evil::dir("d", tree)]);
    }
    evil.snapshot(tree);
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    let repo = Repository::open(store, &Evil::password(), Limits::default(), &real()).await.unwrap();
    let target = Restored::new();
    let report = restore(&repo, tree, &RestoreOptions::default(), target.target()).await.unwrap();
    assert!(report.errors.is_empty() && report.dirs == 3000, "{:?}", report.errors.first());
    let bottom = path(&format!("{}/bottom", vec!["d"; 3000].join("/")));
    assert_eq!(target.flat()[&bottom].1, b"far down");
    assert!(check(&repo, &CheckOptions::default()).await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_together_read_every_pack_once() {
    let tree = mixed(seed());
    let (memory, _) = stored(&tree).await;
    let repo = open(&memory).await;
    let mut packs = 0;
    for part in 1..=3 {
        let options = CheckOptions {
            read_data: true,
            slice: Slice::Part(Subset { part, of: 3 }),
            ..CheckOptions::default()
        };
        let report = check(&repo, &options).await.unwrap();
        assert!(report.is_sound());
        packs += report.packs_read;
    }
    assert_eq!(packs, objects(&memory, "data/").len() as u64);
}
