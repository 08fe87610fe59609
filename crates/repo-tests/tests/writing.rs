//! The writing half against real stores, stock restic and scripted faults.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "a test touches the world")]

use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::env::Env;
use recoup_core::name::{NodeName, TreePath};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{TreeReport, WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::Store;
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_testkit::env::{SeededEntropy, real};
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::{Tree, seed};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const PASSWORD: &str = "correct horse";

fn password() -> Secret {
    Secret::new(PASSWORD.as_bytes().to_vec())
}

fn options() -> InitOptions {
    InitOptions { password_strength: PasswordStrength::Generated, chunker_polynomial: None }
}

async fn fresh(store: Arc<dyn Store>) -> Repository {
    Repository::init(store, &password(), &options(), &real()).await.unwrap()
}

/// One run with one tree and its snapshot.
async fn back_up(
    repository: &Repository,
    folder: Box<dyn Folder>,
    parent: Option<Id>,
) -> Result<(Id, TreeReport)> {
    let mut writer = Writer::begin(repository, WriteOptions::default()).await?;
    let report = writer.tree(folder, parent, "test/files").await?;
    let snapshot = Snapshot::new(repository.env(), report.tree, vec!["/test".into()]);
    let id = writer.snapshot(snapshot).await?;
    writer.finish().await?;
    Ok((id, report))
}

/// Every file and link that restic gave back, against what went in.
fn assert_restored(tree: &Tree, target: &std::path::Path) {
    use std::os::unix::ffi::OsStrExt;
    for (path, (entry, bytes)) in tree.flat() {
        let path = target.join(std::ffi::OsStr::from_bytes(&path.to_bytes()));
        match &entry.kind {
            EntryKind::File => assert!(std::fs::read(&path).unwrap() == bytes, "{path:?} differs"),
            EntryKind::Dir => assert!(path.is_dir(), "{path:?}"),
            EntryKind::Symlink { target } => {
                // Restic 0.14 knows targets as Unicode only and replaces what is none.
                let known = String::from_utf8_lossy(target);
                assert_eq!(std::fs::read_link(&path).unwrap().to_string_lossy(), known);
            }
            _ => assert!(std::fs::symlink_metadata(&path).is_ok(), "{path:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_09_stock_restic_checks_and_restores_what_was_written() {
    let seed = seed();
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("repository");
    let repository = fresh(Arc::new(Local::create(&root).await.unwrap())).await;
    let tree = Tree::random(seed, 100).file("large", noise(seed, 17 << 20)).file("holes", holey());
    let (first, report) = back_up(&repository, tree.folder(), None).await.unwrap();
    assert!(report.errors.is_empty() && report.files_unmodified == 0 && report.files_new > 50);

    let changed = tree.changed(seed ^ 1);
    let (second, report) = back_up(&repository, changed.folder(), Some(report.tree)).await.unwrap();
    assert!(report.files_unmodified > 0 && report.files_changed > 0 && report.files_new == 1, "{report:?}");
    assert!(repository.locks().await.unwrap().is_empty());

    let restic = Restic::new(&root, PASSWORD);
    restic.check();
    assert_eq!(restic.snapshots().len(), 2);
    for (id, tree) in [(first, &tree), (second, &changed)] {
        let target = tempfile::tempdir().unwrap();
        restic.restore(&id.to_string(), target.path());
        assert_restored(tree, target.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_cut_where_restic_cuts_them() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let files = [
        ("large", noise(5, 20 << 20)),
        ("holes", holey()),
        ("same", vec![7; 9 << 20]),
        ("small", noise(6, 9)),
    ];
    let mut tree = Tree::new();
    for (name, bytes) in files {
        std::fs::write(source.join(name), &bytes).unwrap();
        tree = tree.file(name, bytes);
    }
    let restic = Restic::new(home.path().join("repository"), PASSWORD);
    restic.init();
    let theirs = restic.backup(&source);
    let store = Arc::new(Local::new(restic.repository()));
    let repository = Repository::open(store, &password(), Limits::default(), &real()).await.unwrap();
    let (ours, report) = back_up(&repository, tree.folder(), None).await.unwrap();
    assert_eq!(report.data_blobs, 0, "restic had stored every piece already");
    let nodes = |snapshot: &str, path: &str| {
        let mut id = restic.cat("snapshot", snapshot)["tree"].as_str().unwrap().to_owned();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let tree = restic.cat("blob", &id);
            let node = tree["nodes"].as_array().unwrap().iter().find(|n| n["name"] == name).unwrap().clone();
            id = node["subtree"].as_str().unwrap().to_owned();
        }
        let tree = restic.cat("blob", &id);
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes.map(|n| (n["name"].clone(), n["content"].clone(), n["size"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&ours.to_string(), ""), nodes(&theirs, source.to_str().unwrap()));
    restic.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_stores_nothing_and_reads_nothing() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let tree = Tree::random(seed(), 80);
    let (_, first) = back_up(&repository, tree.folder(), None).await.unwrap();
    let (_, second) = back_up(&repository, tree.folder(), Some(first.tree)).await.unwrap();
    assert_eq!(second.tree, first.tree);
    assert_eq!((second.bytes_read, second.bytes_added, second.tree_blobs), (0, 0, 0));
    assert_eq!(second.files_unmodified, first.files_new);
    assert_eq!(second.dirs_unmodified, first.dirs_new);
    let (_, blind) = back_up(&repository, tree.folder(), None).await.unwrap();
    assert_eq!((blind.tree, blind.bytes_added), (first.tree, 0), "reading it all again finds every piece");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_cannot_be_read_is_not_taken_for_an_empty_folder() {
    let memory = Memory::new();
    let repository = fresh(Arc::new(memory.clone())).await;
    let (_, first) = back_up(&repository, Tree::random(seed(), 3).folder(), None).await.unwrap();
    let faulty =
        Faulty::new(Arc::new(memory), [Script::always(Op::Get, "data", Fault::Error(Kind::Unavailable))]);
    let repository =
        Repository::open(Arc::new(faulty), &password(), Limits::default(), &real()).await.unwrap();
    let (_, empty) = back_up(&repository, Tree::new().folder(), Some(first.tree)).await.unwrap();
    assert_eq!(empty.tree, Id::of(b"{\"nodes\":[]}\n"));
    assert!(!empty.notes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_writes_nothing() {
    let store = Memory::new();
    let repository = fresh(Arc::new(store.clone())).await;
    let before = store.objects();
    let mut writer =
        Writer::begin(&repository, WriteOptions { dry_run: true, ..WriteOptions::default() }).await.unwrap();
    let report = writer.tree(Tree::random(seed(), 40).folder(), None, "test/files").await.unwrap();
    writer.snapshot(Snapshot::new(repository.env(), report.tree, vec![])).await.unwrap();
    writer.finish().await.unwrap();
    assert!(report.bytes_added > 0 && report.bytes_stored > 0);
    assert_eq!(store.objects(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_36_blobs_of_a_lost_pack_are_stored_again() {
    let store = Memory::new();
    let repository = fresh(Arc::new(store.clone())).await;
    let tree = Tree::random(seed(), 60);
    let (_, first) = back_up(&repository, tree.folder(), None).await.unwrap();
    for (key, bytes) in store.objects() {
        if key.as_str().starts_with("data/") {
            // One missing, the others cut off: both count as absent.
            let cut = bytes.slice(..bytes.len() - 5);
            let first = store.objects().keys().find(|k| k.as_str().starts_with("data/")).cloned();
            store.tamper(&key, |_| (Some(&key) != first.as_ref()).then_some(cut));
        }
    }
    let (_, again) = back_up(&repository, tree.folder(), Some(first.tree)).await.unwrap();
    assert_eq!(again.tree, first.tree);
    assert_eq!(again.bytes_added, first.bytes_added, "everything is stored again");
    assert!(!again.notes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_ends_the_run_without_a_snapshot() {
    for (prefix, fault) in [
        ("data", Fault::NoSpace),
        ("data", Fault::Error(Kind::Unavailable)),
        ("data", Fault::LostAfterOk),
        ("data", Fault::Short(100)),
        ("index", Fault::NoSpace),
        ("index", Fault::LostAfterOk),
        ("snapshots", Fault::Error(Kind::Unavailable)),
        ("snapshots", Fault::LostAfterOk),
    ] {
        let memory = Memory::new();
        fresh(Arc::new(memory.clone())).await;
        let faulty = Faulty::new(Arc::new(memory.clone()), [Script::always(Op::Put, prefix, fault.clone())]);
        let repository =
            Repository::open(Arc::new(faulty), &password(), Limits::default(), &real()).await.unwrap();
        let tree = Tree::random(3, 12).file("large", noise(1, 2 << 20));
        let err = back_up(&repository, tree.folder(), None).await.unwrap_err();
        assert!(matches!(err.kind(), Kind::Unavailable), "{prefix} {fault:?}: {err}");
        let objects = memory.objects();
        let snapshots = objects.keys().filter(|k| k.as_str().starts_with("snapshots/")).count();
        assert_eq!(snapshots, 0, "{prefix} {fault:?}");

        // Randomness of its own, as in life: with the same, a pack could come out under the name of the
        // half one that the first run left.
        let other = Env { entropy: SeededEntropy::new(2), ..real() };
        let repository =
            Repository::open(Arc::new(memory), &password(), Limits::default(), &other).await.unwrap();
        repository.unlock(true).await.unwrap();
        let (_, report) = back_up(&repository, tree.folder(), None).await.unwrap();
        assert!(report.errors.is_empty(), "the next run needs no help");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_thousands_deep_need_no_stack() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let (_, report) = back_up(&repository, Box::new(Deep(3000)), None).await.unwrap();
    assert_eq!((report.dirs(), report.files()), (3000, 0));
    let (_, again) = back_up(&repository, Box::new(Deep(3000)), Some(report.tree)).await.unwrap();
    assert_eq!(again.dirs_unmodified, 3000);
}

/// Directories in directories, so many.
struct Deep(usize);

impl Folder for Deep {
    fn list(&self) -> Result<Listing> {
        let entry = Entry::plain(name("d"), EntryKind::Dir, 0o755, recoup_testkit::tree::dated());
        let item = || Item { entry, body: Body::Folder(Box::new(Deep(self.0 - 1))) };
        Ok(Listing { items: (self.0 > 0).then(item).into_iter().collect(), problems: Vec::new() })
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// A folder whose files behave as `how` says.
struct Troubled(Vec<(&'static str, How)>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Vanishes,
    Denied,
    BreaksHalfway,
    GrowsFor(usize),
    Fine,
}

struct Body1(How, Arc<AtomicUsize>);

struct Reader1 {
    how: How,
    read: usize,
    /// How often the file was opened before.
    opened: usize,
}

const LENGTH: usize = 700_000;

impl Folder for Troubled {
    fn list(&self) -> Result<Listing> {
        let item = |(file, how): &(&'static str, How)| {
            let entry = Entry {
                size: LENGTH as u64,
                ..Entry::plain(name(file), EntryKind::File, 0o600, recoup_testkit::tree::dated())
            };
            Item { entry, body: Body::File(Box::new(Body1(*how, Arc::default()))) }
        };
        let problems = vec![(name("unlistable"), Error::new(Kind::Denied, "look at a file"))];
        Ok(Listing { items: self.0.iter().map(item).collect(), problems })
    }
}

impl FileBody for Body1 {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        let opened = self.1.fetch_add(1, Ordering::Relaxed);
        match self.0 {
            How::Vanishes => Err(Error::new(Kind::NotFound, "open a file")),
            How::Denied => Err(Error::new(Kind::Denied, "open a file")),
            how => Ok(Box::new(Reader1 { how, read: 0, opened })),
        }
    }
}

impl Read for Reader1 {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.how == How::BreaksHalfway && self.read >= LENGTH / 2 {
            return Err(std::io::Error::other("the disk is broken"));
        }
        let extra = match self.how {
            How::GrowsFor(times) if self.opened < times => 10,
            _ => 0,
        };
        let n = out.len().min((LENGTH + extra).saturating_sub(self.read)).min(LENGTH / 2);
        out[..n].fill(1);
        self.read += n;
        Ok(n)
    }
}

impl FileReader for Reader1 {
    fn entry(&self) -> Result<Entry> {
        let size = if self.read > LENGTH { self.read } else { LENGTH } as u64;
        Ok(Entry { size, ..Entry::plain(name("x"), EntryKind::File, 0o600, recoup_testkit::tree::dated()) })
    }
    fn skip(&mut self, _bytes: u64) -> Result<()> {
        unreachable!("there are no holes")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_24_117_118_119_trap_13_trouble_with_one_file_is_told_and_the_rest_goes_on() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let folder = Troubled(vec![
        ("broken", How::BreaksHalfway),
        ("denied", How::Denied),
        ("fine", How::Fine),
        ("gone", How::Vanishes),
        ("restless", How::GrowsFor(9)),
        ("settles", How::GrowsFor(2)),
    ]);
    let (_, report) = back_up(&repository, Box::new(folder), None).await.unwrap();
    let paths = |paths: Vec<&TreePath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(paths(report.errors.iter().map(|p| &p.path).collect()), "broken denied unlistable");
    assert_eq!(paths(report.vanished.iter().collect()), "gone");
    assert_eq!(paths(report.changed_while_read.iter().collect()), "restless");
    assert_eq!(report.files_new, 3);
    assert_eq!(
        report.bytes_total,
        3 * LENGTH as u64 + 10,
        "the size that is stored is the size that was read"
    );
    assert!(!report.is_complete());
}

/// A file of one hole with a byte at each end.
struct Sparse(u64);

struct SparseReader {
    size: u64,
    at: u64,
}

/// Bytes that were read of it.
static SPARSE_READ: AtomicUsize = AtomicUsize::new(0);

impl Folder for Sparse {
    fn list(&self) -> Result<Listing> {
        let entry = SparseReader { size: self.0, at: 0 }.entry()?;
        Ok(Listing {
            items: vec![Item { entry, body: Body::File(Box::new(Sparse(self.0))) }],
            problems: vec![],
        })
    }
}

impl FileBody for Sparse {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(SparseReader { size: self.0, at: 0 }))
    }
}

impl Read for SparseReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min((self.size - self.at) as usize);
        for (at, byte) in out[..n].iter_mut().enumerate() {
            let place = self.at + at as u64;
            *byte = u8::from(place == 0 || place + 1 == self.size);
        }
        self.at += n as u64;
        SPARSE_READ.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
}

impl FileReader for SparseReader {
    fn entry(&self) -> Result<Entry> {
        Ok(Entry {
            size: self.size,
            ..Entry::plain(name("sparse"), EntryKind::File, 0o600, recoup_testkit::tree::dated())
        })
    }
    fn hole(&mut self) -> Result<u64> {
        let end = self.size - 4096;
        Ok(if (4096..end).contains(&self.at) { end - self.at } else { 0 })
    }
    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at += bytes;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_123_holes_are_not_read() {
    let home = tempfile::tempdir().unwrap();
    let repository = fresh(Arc::new(Local::create(home.path()).await.unwrap())).await;
    let (_, report) = back_up(&repository, Box::new(Sparse(64 << 30)), None).await.unwrap();
    assert_eq!(report.bytes_total, 64 << 30);
    assert!(report.changed_while_read.is_empty());
    assert!(SPARSE_READ.load(Ordering::Relaxed) < 4 << 20, "{SPARSE_READ:?} bytes were read");
    assert!(report.data_blobs <= 3, "the first piece, zeros, the last piece");
    Restic::new(home.path(), PASSWORD).check();
}

struct Unlistable;

impl Folder for Unlistable {
    fn list(&self) -> Result<Listing> {
        Err(Error::new(Kind::Denied, "list a folder"))
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_listed_is_an_error_and_not_the_end() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let mut writer = Writer::begin(&repository, WriteOptions::default()).await.unwrap();
    assert_eq!(writer.tree(Box::new(Unlistable), None, "a").await.unwrap_err().kind(), Kind::Denied);
    let report = writer.tree(Tree::new().file("a", b"x".to_vec()).folder(), None, "b").await.unwrap();
    writer.snapshot(Snapshot::new(repository.env(), report.tree, vec![])).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_and_folders_are_put_around_a_tree() {
    let home = tempfile::tempdir().unwrap();
    let repository = fresh(Arc::new(Local::create(home.path()).await.unwrap())).await;
    let mut writer = Writer::begin(&repository, WriteOptions::default()).await.unwrap();
    let time = recoup_testkit::tree::dated();
    let report =
        writer.tree(Tree::new().file("a/b", b"x".to_vec()).folder(), None, "app/files").await.unwrap();
    let dir = Entry::plain(name("media"), EntryKind::Dir, 0o755, time);
    let wrapped = writer.under(name("media"), dir, report.tree).await.unwrap();
    let path = |text: &str| TreePath::parse(text.as_bytes()).unwrap();
    let extra = vec![
        (path(".recoup/point.json"), b"{}".to_vec()),
        (path("media/a/added"), noise(2, 3 << 20)),
        (path(".recoup/point.json"), b"{\"v\":2}".to_vec()),
    ];
    let root = writer.overlay(wrapped, extra, time).await.unwrap();
    let clash = writer.overlay(root, vec![(path("media/a"), vec![])], time).await.unwrap_err();
    assert_eq!(clash.kind(), Kind::Conflict);
    let id = writer.snapshot(Snapshot::new(repository.env(), root, vec!["/app/media".into()])).await.unwrap();
    writer.finish().await.unwrap();

    let restic = Restic::new(home.path(), PASSWORD);
    restic.check();
    let target = tempfile::tempdir().unwrap();
    restic.restore(&id.to_string(), target.path());
    assert_eq!(std::fs::read(target.path().join(".recoup/point.json")).unwrap(), b"{\"v\":2}");
    assert_eq!(std::fs::read(target.path().join("media/a/b")).unwrap(), b"x");
    assert_eq!(std::fs::read(target.path().join("media/a/added")).unwrap(), noise(2, 3 << 20));
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let (env, _): (Env, _) = recoup_testkit::env::scripted("2026-01-01T00:00:00Z", seed);
    let mut out = vec![0; bytes];
    env.entropy.fill(&mut out);
    out
}

/// Data, a long hole, data again, and a hole at the end.
fn holey() -> Vec<u8> {
    let mut bytes = noise(9, 1_300_000);
    bytes.resize(9 << 20, 0);
    bytes.extend(noise(10, 700_000));
    bytes.resize(13 << 20, 0);
    bytes
}

/// A file as the kernel makes them up: it says it is empty, and gives bytes for ever.
struct Endless;

impl Folder for Endless {
    fn list(&self) -> Result<Listing> {
        let entry = Entry::plain(name("x"), EntryKind::File, 0o600, recoup_testkit::tree::dated());
        Ok(Listing { items: vec![Item { entry, body: Body::File(Box::new(Endless)) }], problems: Vec::new() })
    }
}

impl FileBody for Endless {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(Endless))
    }
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        out.fill(0);
        Ok(out.len())
    }
}

impl FileReader for Endless {
    fn entry(&self) -> Result<Entry> {
        Ok(Entry::plain(name("x"), EntryKind::File, 0o600, recoup_testkit::tree::dated()))
    }
    fn skip(&mut self, _bytes: u64) -> Result<()> {
        unreachable!("there are no holes")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_117_a_file_without_end_is_given_up_and_told() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let (_, report) = back_up(&repository, Box::new(Endless), None).await.unwrap();
    let told: Vec<String> = report.changed_while_read.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["x"], "what was read of it is not all of it");
}
