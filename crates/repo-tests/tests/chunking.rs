//! Files cut by pages and by lines: what is stored again after a change, and that stock restic reads it.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test touches the world"
)]

use recoup_core::Result;
use recoup_core::entry::{Body, Chunking, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::env::Env;
use recoup_core::name::{NodeName, TreePath};
use recoup_core::secret::Secret;
use recoup_repo::chunk::ChunkerKind;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{TreeReport, WriteOptions, Writer};
use recoup_repo::{BlobHandle, Id, Snapshot};
use recoup_store::Store;
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_testkit::env::real;
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::{Tree, dated, seed};
use std::io::Read;
use std::sync::Arc;

const PASSWORD: &str = "correct horse";
const PAGE: usize = 4096;

async fn fresh(store: Arc<dyn Store>) -> Repository {
    let options = InitOptions { password_strength: PasswordStrength::Generated, chunker_polynomial: None };
    Repository::init(store, &Secret::new(PASSWORD.into()), &options, &real()).await.unwrap()
}

async fn back_up(
    repository: &Repository,
    folder: Box<dyn Folder>,
    parent: Option<Id>,
    chunker: ChunkerKind,
) -> (Id, TreeReport) {
    let options = WriteOptions { chunker, ..WriteOptions::default() };
    let mut writer = Writer::begin(repository, options).await.unwrap();
    let report = writer.tree(folder, parent, "test/files").await.unwrap();
    assert!(report.errors.is_empty() && report.changed_while_read.is_empty(), "{report:?}");
    let snapshot = Snapshot::new(repository.env(), report.tree, vec!["/test".into()]);
    let id = writer.snapshot(snapshot).await.unwrap();
    writer.finish().await.unwrap();
    (id, report)
}

fn world(seed: u64) -> Env {
    recoup_testkit::env::scripted("2026-01-01T00:00:00Z", seed).0
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    world(seed).entropy.fill(&mut out);
    out
}

/// A database of so many pages that begins as SQLite's do.
fn database(seed: u64, pages: usize) -> Vec<u8> {
    let mut bytes = noise(seed, pages * PAGE);
    bytes[..18].copy_from_slice(b"SQLite format 3\0\x10\x00");
    bytes
}

/// Writes to `share` of a thousand pages, anywhere.
fn written_to(mut bytes: Vec<u8>, seed: u64, share: usize) -> Vec<u8> {
    let (env, pages) = (world(seed), bytes.len() / PAGE);
    for _ in 0..pages * share / 1000 {
        let page = usize::try_from(u32::from_le_bytes(env.random())).unwrap() % pages;
        bytes[page * PAGE + 100..][..32].copy_from_slice(&env.random::<32>());
    }
    bytes
}

/// A folder of one file, changed last so many seconds after the others.
fn one(name: &str, bytes: &[u8], second: u32) -> Tree {
    let mut tree = Tree::new().file(name, bytes);
    let entry = &mut tree.get_mut(name.as_bytes()).unwrap().entry;
    entry.mtime = format!("2024-03-10T12:14:{second:02}Z").parse().unwrap();
    tree
}

fn dump(seed: u64, lines: usize) -> Vec<u8> {
    let env = world(seed);
    (0..lines).flat_map(|n| format!("{n}\t{}\n", Id::from_bytes(env.random())).into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_restic_checks_and_restores_what_was_cut_by_pages_and_by_lines() {
    let seed = seed();
    for chunker in [ChunkerKind::Pages, ChunkerKind::Lines] {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("repository");
        let repository = fresh(Arc::new(Local::create(&root).await.unwrap())).await;
        let first = database(seed, 1500);
        let trees = [
            one("db", &first, 1).file("dump", dump(seed, 60_000)),
            one("db", &written_to(first, seed, 10), 2).file("dump", dump(seed, 50_000)).file("new", "x"),
        ];
        let mut parent = None;
        for tree in trees {
            let (id, report) = back_up(&repository, tree.folder(), parent, chunker).await;
            assert_eq!(report.files_changed, if parent.is_some() { 2 } else { 0 });
            parent = Some(report.tree);
            let target = tempfile::tempdir().unwrap();
            let restic = Restic::new(&root, PASSWORD);
            restic.check();
            restic.restore(&id.to_string(), target.path());
            for name in ["db", "dump"] {
                let (_, bytes) = &tree.flat()[&TreePath::parse(name.as_bytes()).unwrap()];
                assert!(&std::fs::read(target.path().join(name)).unwrap() == bytes, "{name} by {chunker}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_written_to_at_random_costs_its_pages_once_it_was_split() {
    let seed = seed();
    let mut stored = Vec::new();
    for chunker in [ChunkerKind::Rabin, ChunkerKind::Pages] {
        let repository = fresh(Arc::new(Memory::new())).await;
        let (mut bytes, mut parent, mut added) = (database(seed, 8000), None, Vec::new());
        for generation in 0..4 {
            let tree = one("app.db", &bytes, generation);
            let (_, report) = back_up(&repository, tree.folder(), parent, chunker).await;
            added.push(report.bytes_stored);
            parent = Some(report.tree);
            bytes = written_to(bytes, seed ^ u64::from(generation + 1), 10);
        }
        eprintln!("{chunker}: {added:?} bytes stored, {} blobs", repository.index().await.unwrap().len());
        stored.push(added);
    }
    let (rabin, pages) = (&stored[0], &stored[1]);
    // Restic's cut stores nearly all of it again each time: 1 % of pages is in every second piece and more.
    assert!(rabin[3] > rabin[0] / 2);
    assert!(pages[1] < rabin[0] * 11 / 10, "the first change costs about as much as with restic's cut");
    assert!(pages[3] * 10 < rabin[3], "{} of {}", pages[3], rabin[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_database_stays_in_large_pieces() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let mut bytes = database(seed(), 8 * 256);
    let tree = |bytes: &[u8], second| one("app.db", bytes, second).folder();
    let (_, first) = back_up(&repository, tree(&bytes, 1), None, ChunkerKind::Pages).await;
    assert_eq!(first.data_blobs, 8);
    // The head of a SQLite database changes with every transaction.
    bytes[24..28].copy_from_slice(b"1234");
    let (_, second) = back_up(&repository, tree(&bytes, 2), Some(first.tree), ChunkerKind::Pages).await;
    assert_eq!((second.data_blobs, second.bytes_added >> 20), (256, 1), "one run, in pages");
    bytes[24..28].copy_from_slice(b"5678");
    let (_, third) = back_up(&repository, tree(&bytes, 3), Some(second.tree), ChunkerKind::Pages).await;
    assert_eq!(third.data_blobs, 1);
    assert!(third.bytes_added < 100_000, "a page and the list of pieces: {}", third.bytes_added);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_cut_by_rabin_goes_on_by_pages_without_storing_all_again() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let mut bytes = database(seed(), 8000);
    let (_, first) =
        back_up(&repository, Tree::new().file("app.db", bytes.clone()).folder(), None, ChunkerKind::Rabin)
            .await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let tree = one("app.db", &bytes, 2);
    let (_, second) = back_up(&repository, tree.folder(), Some(first.tree), ChunkerKind::Pages).await;
    assert!(second.bytes_added < 9 << 20, "no more than the piece that changed: {}", second.bytes_added);
    assert!(second.data_blobs > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_inserted_into_a_dump_cost_a_few_small_pieces() {
    let repository = fresh(Arc::new(Memory::new())).await;
    let mut bytes = dump(seed(), 100_000);
    let tree = |bytes: &[u8], second| one("dump.sql", bytes, second).folder();
    let (_, first) = back_up(&repository, tree(&bytes, 4), None, ChunkerKind::Lines).await;
    let blobs = first.data_blobs;
    assert!((200..700).contains(&blobs), "{blobs} pieces of {} bytes", bytes.len());
    for place in [1 << 20, 4 << 20] {
        bytes.splice(place..place, *b"here\nis more\n");
    }
    let (_, second) = back_up(&repository, tree(&bytes, 5), Some(first.tree), ChunkerKind::Lines).await;
    assert!((2..=6).contains(&second.data_blobs), "{} new pieces", second.data_blobs);
    let (_, same) = back_up(&repository, tree(&bytes, 5), None, ChunkerKind::Lines).await;
    assert_eq!((same.tree, same.data_blobs), (second.tree, 0), "the cuts do not depend on a parent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_as_it_was_asked() {
    for (chunker, pieces) in
        [(ChunkerKind::Rabin, 1..=9), (ChunkerKind::Pages, 7..=8), (ChunkerKind::Lines, 300..=700)]
    {
        let repository = fresh(Arc::new(Memory::new())).await;
        let options = WriteOptions { chunker, ..WriteOptions::default() };
        let mut writer = Writer::begin(&repository, options).await.unwrap();
        let sent = dump(1, 100_000);
        let source = Box::new(std::io::Cursor::new(sent.clone()));
        let path = TreePath::parse(b"dump.sql").unwrap();
        let (tree, bytes) = writer.stream(&path, source, repository.env().now()).await.unwrap();
        let blobs = writer.added().data_blobs;
        assert!(pieces.contains(&blobs), "{blobs} pieces by {chunker}");
        writer.flush().await.unwrap();
        writer.finish().await.unwrap();
        // Several threads stored the pieces; their order is that of the stream.
        repository.reload_index().await.unwrap();
        let root = repository.tree(&tree).await.unwrap();
        let mut stored = Vec::new();
        for id in root.nodes[0].content.as_ref().unwrap() {
            stored.extend_from_slice(&repository.blob(BlobHandle::data(*id)).await.unwrap());
        }
        assert!(stored == sent && bytes == sent.len() as u64, "{chunker}");
    }
}

/// A folder of one file with a hole in its middle, whose source says how it changes.
#[derive(Clone)]
struct Holey {
    bytes: Arc<Vec<u8>>,
    hole: std::ops::Range<usize>,
    chunking: Chunking,
}

struct HoleyReader {
    file: Holey,
    at: usize,
}

impl Folder for Holey {
    fn list(&self) -> Result<Listing> {
        let entry = HoleyReader { file: self.clone(), at: 0 }.entry()?;
        let body = Body::File(Box::new(self.clone()));
        Ok(Listing { items: vec![Item { entry, body }], problems: Vec::new() })
    }
}

impl FileBody for Holey {
    fn chunking(&self) -> Chunking {
        self.chunking
    }
    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(HoleyReader { file: self.clone(), at: 0 }))
    }
}

impl Read for HoleyReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let end = if self.at < self.file.hole.start { self.file.hole.start } else { self.file.bytes.len() };
        let n = out.len().min(end - self.at);
        out[..n].copy_from_slice(&self.file.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl FileReader for HoleyReader {
    fn entry(&self) -> Result<Entry> {
        let entry = Entry::plain(NodeName::new("db")?, EntryKind::File, 0o600, dated());
        Ok(Entry { size: self.file.bytes.len() as u64, ..entry })
    }
    fn hole(&mut self) -> Result<u64> {
        let left = if self.file.hole.contains(&self.at) { self.file.hole.end - self.at } else { 0 };
        Ok(left as u64)
    }
    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at += usize::try_from(bytes).unwrap();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_the_same_zeros_by_every_chunker_and_a_source_decides_how_it_is_cut() {
    let mut bytes = noise(seed(), 9 << 20);
    bytes[3_000_000..7_000_000].fill(0);
    let file = Holey { bytes: Arc::new(bytes), hole: 3_000_000..7_000_000, chunking: Chunking::Unknown };
    let repository = fresh(Arc::new(Memory::new())).await;
    let mut trees = Vec::new();
    for chunker in [ChunkerKind::Rabin, ChunkerKind::Lines, ChunkerKind::Pages] {
        let (_, holes) = back_up(&repository, Box::new(file.clone()), None, chunker).await;
        let plain = Holey { hole: 0..0, ..file.clone() };
        let (_, read) = back_up(&repository, Box::new(plain), None, chunker).await;
        assert_eq!(holes.tree, read.tree, "{chunker}");
        trees.push(holes.tree);
    }
    for (chunking, tree) in
        [(Chunking::Unknown, trees[0]), (Chunking::Lines, trees[1]), (Chunking::Pages, trees[2])]
    {
        let told = Holey { chunking, ..file.clone() };
        let (_, report) = back_up(&repository, Box::new(told), None, ChunkerKind::Rabin).await;
        assert_eq!(report.tree, tree, "{chunking:?}");
    }
}
